//! Statements that nobody waits for any more end, also inside operators that work long without giving way.
//!
//! Tokio ends a task where it waits. Most operators of DataFusion wait often enough; joins may not: they go through
//! pairs of rows for as long as no pair is a result. So the conditions of joins look whether their statement is still
//! wanted, and now and then leave their thread's other tasks to another thread; and what joins give counts against the
//! task's turn.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::RecordBatchStream;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::{Stream, StreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::SqlError;
use crate::govern::BarrierExec;

/// A plan whose operators end with [`SqlError::Cancelled`] soon after `stop` is cancelled, which has to be done by a thread
/// that none of them may be working on.
pub(crate) fn stoppable(plan: Arc<dyn ExecutionPlan>, stop: &CancellationToken) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(|plan| {
        if let Some(barrier) = plan.downcast_ref::<BarrierExec>() {
            let barrier = barrier.map_inner(|inner| stoppable(inner, stop))?;
            return Ok(Transformed::yes(Arc::new(barrier) as Arc<dyn ExecutionPlan>));
        }
        let join = match plan.is::<CrossJoinExec>() {
            true => Some(plan.clone()),
            false => with_condition(&plan, stop)?,
        };
        Ok(match join {
            Some(join) => Transformed::yes(Arc::new(CooperativeExec::new(join)) as Arc<dyn ExecutionPlan>),
            None => Transformed::no(plan),
        })
    })?;
    Ok(plan.data)
}

/// The same join with a condition that looks at `stop`; `None`: it is no join that goes through pairs.
fn with_condition(plan: &Arc<dyn ExecutionPlan>, stop: &CancellationToken) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let looking = |filter: &JoinFilter| {
        let expression = Arc::new(Condition::new(Arc::clone(filter.expression()), stop.clone()));
        JoinFilter::new(expression, filter.column_indices().to_vec(), SchemaRef::clone(filter.schema()))
    };
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let filter = join.filter().map(looking);
        return Ok(Some(Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?)));
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return match join.filter().map(looking) {
            Some(filter) => join.builder().with_filter(Some(filter)).build_exec().map(Some),
            None => Ok(Some(Arc::clone(plan))),
        };
    }
    Ok(None)
}

/// Somebody waits for the rows of a statement. Dropping the last clone ends it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted(#[expect(dead_code, reason = "it is there to be dropped")] Arc<DropGuard>);

impl Wanted {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self(Arc::new(stop.drop_guard()))
    }

    /// Rows that are wanted for as long as the stream is there.
    pub(crate) fn stream(&self, inner: SendableRecordBatchStream) -> SendableRecordBatchStream {
        Box::pin(WantedStream { inner, _wanted: self.clone() })
    }
}

struct WantedStream {
    inner: SendableRecordBatchStream,
    _wanted: Wanted,
}

impl Stream for WantedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.poll_next_unpin(cx)
    }
}

impl RecordBatchStream for WantedStream {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}

/// So often a condition is computed, for a batch of pairs each time, before others get their turn: tenths of a second.
const TURN: u32 = 1024;

/// What another thread needs to take over the tasks that wait.
const MOMENT: Duration = Duration::from_millis(1);

/// A condition of a join that fails once its statement is stopped.
#[derive(Debug)]
struct Condition {
    inner: Arc<dyn PhysicalExpr>,
    stop: CancellationToken,
    computed: AtomicU32,
}

impl Condition {
    fn new(inner: Arc<dyn PhysicalExpr>, stop: CancellationToken) -> Self {
        Self { inner, stop, computed: AtomicU32::new(0) }
    }
}

/// Leaves the tasks of this thread to another one: this one is in the middle of what does not give way.
fn let_others_work() {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    if matches!(flavor, Ok(RuntimeFlavor::MultiThread)) {
        tokio::task::block_in_place(|| std::thread::sleep(MOMENT));
    }
}

impl PhysicalExpr for Condition {
    fn return_field(&self, input: &Schema) -> Result<FieldRef> {
        self.inner.return_field(input)
    }

    fn data_type(&self, input: &Schema) -> Result<DataType> {
        self.inner.data_type(input)
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        self.inner.nullable(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.stop.is_cancelled() {
            return Err(SqlError::Cancelled.into_datafusion());
        }
        if self.computed.fetch_add(1, Ordering::Relaxed) % TURN == TURN - 1 {
            let_others_work();
        }
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match children.pop() {
            Some(inner) => Ok(Arc::new(Self::new(inner, self.stop.clone()))),
            None => Ok(self),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// What a condition says is what the one inside says.
impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Condition {}

impl Hash for Condition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}
