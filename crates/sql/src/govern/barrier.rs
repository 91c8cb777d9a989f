//! The leaf that a statement's plan sees in place of what runs below a policy.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::StreamExt;
use polder_base::TableName;

use crate::SqlError;

/// Runs a plan that nobody looks into: no children, no statistics, no ordering, no metrics, and no error that could
/// quote a hidden value.
#[derive(Debug)]
pub(crate) struct BarrierExec {
    table: TableName,
    inner: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl BarrierExec {
    /// `schema`: that of the governed table, projected.
    pub(super) fn new(table: TableName, inner: Arc<dyn ExecutionPlan>, schema: SchemaRef) -> Self {
        let partitions = Partitioning::UnknownPartitioning(inner.output_partitioning().partition_count());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            partitions,
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { table, inner, properties: Arc::new(properties) }
    }

    /// The same table by a plan that is made from the one inside.
    pub(crate) fn map_inner(
        &self,
        map: impl FnOnce(Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>>,
    ) -> Result<Self> {
        let inner = map(Arc::clone(&self.inner))?;
        Ok(Self { table: self.table.clone(), inner, properties: Arc::clone(&self.properties) })
    }
}

impl DisplayAs for BarrierExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "GovernedScan: {}", self.table)
    }
}

impl ExecutionPlan for BarrierExec {
    fn name(&self) -> &str {
        "GovernedScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a governed scan has no children") }
    }

    /// The plan inside has state of its own to reset (a statement may run a scan more than once).
    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        let inner = Arc::clone(&self.inner).reset_state()?;
        Ok(Arc::new(Self { table: self.table.clone(), inner, properties: Arc::clone(&self.properties) }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let table = self.table.clone();
        let inner = self.inner.execute(partition, context).map_err(|error| veiled(&table, error))?;
        let rows = inner.map({
            let schema = Arc::clone(&schema);
            move |batch| batch.and_then(|batch| renamed(&batch, &schema)).map_err(|error| veiled(&table, error))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// The same columns under the schema that the statement was planned with.
fn renamed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)?)
}

/// An error from below the barrier, without its words: they may quote values of hidden rows or columns.
pub(super) fn veiled(table: &TableName, error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::ResourcesExhausted(_) => error,
        // Nobody waits for the rows any more.
        other if is_cancelled(&other) => SqlError::Cancelled.into_datafusion(),
        other => {
            tracing::error!(%table, error = %other, "reading a governed table failed");
            exec_datafusion_err!("{table} could not be read below its policy; the server's log says why")
        }
    }
}

fn is_cancelled(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::External(inner) => matches!(inner.downcast_ref(), Some(SqlError::Cancelled)),
        _ => false,
    }
}
