//! The queries of a merge, as plans: no name of a column is ever parsed.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Int64Type, UInt64Type};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{Column, JoinType};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::physical_plan::{SendableRecordBatchStream, execute_stream_partitioned};
use datafusion::prelude::{SessionConfig, SessionContext};
use polder_table::DataFileInfo;
use tokio_util::sync::CancellationToken;

use crate::{Lake, LakeError, LakeTable, Result};

/// The column of a scan that tells the file of a row.
const FILE: &str = "__file";
const OLD: &str = "old";
const NEW: &str = "new";
/// The keys that come more than once.
const AGAIN: &str = "again";
const RANK: &str = "__rank";
const ROWS: &str = "__rows";

/// A key is taken to have this many bytes when the size of a join is estimated.
const KEY_BYTES: u64 = 64;

/// Which of the old rows go.
pub(super) enum Doomed {
    /// Those with a key of these new files.
    Keys { keys: Vec<String>, new: Vec<Arc<DataFileInfo>> },
    /// Those for which this is true.
    Where(Expr),
}

pub(super) struct Queries<'a> {
    table: &'a LakeTable,
    context: SessionContext,
}

impl<'a> Queries<'a> {
    /// `new_rows`: how many keys a join has to keep.
    pub(super) fn new(lake: &Lake, table: &'a LakeTable, new_rows: u64) -> Self {
        Self { table, context: context(lake, new_rows) }
    }

    /// A key that the new files have more than once, as text, and how often.
    pub(super) async fn duplicate(
        &self,
        keys: &[String],
        new: &[Arc<DataFileInfo>],
        cancel: &CancellationToken,
    ) -> Result<Option<(String, u64)>> {
        let plan = self.repeated(keys, new)?.limit(0, Some(1))?.build()?;
        for batch in self.collect(plan, cancel).await? {
            if batch.num_rows() > 0 {
                return Ok(Some((key_text(&batch, keys)?, row_count(&batch))));
            }
        }
        Ok(None)
    }

    /// The new files that have rows with a key that comes more than once.
    pub(super) async fn with_repeated(
        &self,
        keys: &[String],
        new: &[Arc<DataFileInfo>],
        cancel: &CancellationToken,
    ) -> Result<Vec<Arc<DataFileInfo>>> {
        let rows = self.scan(NEW, new, keys, Some(FILE))?;
        let plan = self.by_repetition(keys, new, rows, JoinType::RightSemi)?;
        let plan = plan.aggregate([column(FILE)], [count(lit(1i64)).alias(ROWS)])?.build()?;
        let matches = self.file_counts(plan, cancel).await?;
        Ok(matches.into_keys().filter_map(|place| new.get(place).cloned()).collect())
    }

    /// The rows of some of the new files, one for each key: the one that comes last by `order`. Rows without a whole key
    /// all stay. These files must have all rows whose key comes more than once in `new`.
    pub(super) async fn last_by_key(
        &self,
        keys: &[String],
        order: &[String],
        new: &[Arc<DataFileInfo>],
        files: &[Arc<DataFileInfo>],
    ) -> Result<Vec<SendableRecordBatchStream>> {
        let rows = || self.scan_all(NEW, files, None);
        let once = self.by_repetition(keys, new, rows()?, JoinType::RightAnti)?;
        let rank = row_number()
            .partition_by(keys.iter().map(|key| column(key)).collect())
            .order_by(order.iter().map(|c| column(c).sort(false, false)).collect())
            .build()?
            .alias(RANK);
        let columns: Vec<Expr> = self.table.schema.fields().iter().map(|f| column(f.name())).collect();
        let last = self
            .by_repetition(keys, new, rows()?, JoinType::RightSemi)?
            .window([rank])?
            .filter(column(RANK).eq(lit(1u64)))?
            .project(columns)?
            .build()?;
        streams(&self.context, once.union(last)?.build()?).await
    }

    /// Whole keys that come more than once, and how often.
    fn repeated(&self, keys: &[String], new: &[Arc<DataFileInfo>]) -> Result<LogicalPlanBuilder> {
        let columns: Vec<Expr> = keys.iter().map(|key| column(key)).collect();
        let complete = columns.iter().map(|c| c.clone().is_not_null()).reduce(Expr::and).unwrap_or_else(|| lit(true));
        let counted = self.scan(NEW, new, keys, None)?.filter(complete)?;
        let counted = counted.aggregate(columns, [count(lit(1i64)).alias(ROWS)])?;
        Ok(counted.filter(column(ROWS).gt(lit(1i64)))?)
    }

    /// Those of `rows` (a scan called `NEW`) whose key comes more than once, or those where it does not. The repeated
    /// keys, which are mostly few, are what the join keeps in memory.
    fn by_repetition(
        &self,
        keys: &[String],
        new: &[Arc<DataFileInfo>],
        rows: LogicalPlanBuilder,
        join: JoinType,
    ) -> Result<LogicalPlanBuilder> {
        let side = |table: &str| -> Vec<Column> { keys.iter().map(|key| Column::new(Some(table), key)).collect() };
        let again = self.repeated(keys, new)?.project(keys.iter().map(|key| column(key)))?.alias(AGAIN)?;
        Ok(again.join(rows.build()?, join, (side(AGAIN), side(NEW)), None)?)
    }

    /// How many rows of each file go, by the file's place in the list; files that keep all are left out.
    pub(super) async fn matches(
        &self,
        files: &[Arc<DataFileInfo>],
        doomed: &Doomed,
        cancel: &CancellationToken,
    ) -> Result<BTreeMap<usize, u64>> {
        let plan = match doomed {
            Doomed::Keys { keys, new } => self.join(files, keys, new, JoinType::LeftSemi, Some(FILE))?,
            Doomed::Where(predicate) => {
                self.scan_all(OLD, files, Some(FILE))?.filter(Expr::IsTrue(Box::new(predicate.clone())))?
            }
        };
        let plan = plan.aggregate([column(FILE)], [count(lit(1i64)).alias(ROWS)])?.build()?;
        self.file_counts(plan, cancel).await
    }

    /// The answer of a plan that counts rows by file.
    async fn file_counts(&self, plan: LogicalPlan, cancel: &CancellationToken) -> Result<BTreeMap<usize, u64>> {
        let mut matches = BTreeMap::new();
        for batch in self.collect(plan, cancel).await? {
            let files = batch.column(0).as_primitive::<UInt64Type>();
            let rows = batch.column(1).as_primitive::<Int64Type>();
            for (file, rows) in files.values().iter().zip(rows.values()) {
                let file = usize::try_from(*file).unwrap_or(usize::MAX);
                matches.insert(file, u64::try_from(*rows).unwrap_or(0));
            }
        }
        Ok(matches)
    }

    /// The rows of these files that stay.
    pub(super) async fn survivors(
        &self,
        files: &[Arc<DataFileInfo>],
        doomed: &Doomed,
    ) -> Result<Vec<SendableRecordBatchStream>> {
        let plan = match doomed {
            Doomed::Keys { keys, new } => self.join(files, keys, new, JoinType::LeftAnti, None)?,
            Doomed::Where(predicate) => {
                self.scan_all(OLD, files, None)?.filter(Expr::IsNotTrue(Box::new(predicate.clone())))?
            }
        };
        streams(&self.context, plan.build()?).await
    }

    fn join(
        &self,
        files: &[Arc<DataFileInfo>],
        keys: &[String],
        new: &[Arc<DataFileInfo>],
        join_type: JoinType,
        file_column: Option<&str>,
    ) -> Result<LogicalPlanBuilder> {
        let old = match file_column {
            Some(_) => self.scan(OLD, files, keys, file_column)?,
            None => self.scan_all(OLD, files, None)?,
        };
        let new = self.scan(NEW, new, keys, None)?.build()?;
        let side = |table: &str| -> Vec<Column> { keys.iter().map(|key| Column::new(Some(table), key)).collect() };
        Ok(old.join(new, join_type, (side(OLD), side(NEW)), None)?)
    }

    fn scan_all(
        &self,
        name: &str,
        files: &[Arc<DataFileInfo>],
        file_column: Option<&str>,
    ) -> Result<LogicalPlanBuilder> {
        let provider = self.table.provider_of(files.to_vec(), file_column);
        Ok(LogicalPlanBuilder::scan(name, provider_as_source(provider), None)?)
    }

    /// A scan of some columns, and of the file column where there is one.
    fn scan(
        &self,
        name: &str,
        files: &[Arc<DataFileInfo>],
        columns: &[String],
        file_column: Option<&str>,
    ) -> Result<LogicalPlanBuilder> {
        let provider = self.table.provider_of(files.to_vec(), file_column);
        let schema = provider.schema();
        let wanted = columns.iter().map(String::as_str).chain(file_column);
        let projection = wanted.map(|c| schema.index_of(c)).collect::<std::result::Result<Vec<_>, _>>();
        let projection = projection.map_err(|e| LakeError::Query(e.into()))?;
        Ok(LogicalPlanBuilder::scan(name, provider_as_source(provider), Some(projection))?)
    }

    async fn collect(&self, plan: LogicalPlan, cancel: &CancellationToken) -> Result<Vec<RecordBatch>> {
        let run = async { self.context.execute_logical_plan(plan).await?.collect().await };
        tokio::select! {
            () = cancel.cancelled() => Err(LakeError::Cancelled),
            batches = run => Ok(batches?),
        }
    }
}

fn context(lake: &Lake, keys: u64) -> SessionContext {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut config = SessionConfig::new().with_target_partitions(threads);
    // A hash join keeps all keys in memory; one by sorting spills.
    let limit = match lake.runtime().memory_pool.memory_limit() {
        datafusion::execution::memory_pool::MemoryLimit::Finite(bytes) => bytes as u64 / 4,
        _ => u64::MAX,
    };
    config.options_mut().optimizer.prefer_hash_join = keys.saturating_mul(KEY_BYTES) < limit;
    SessionContext::new_with_config_rt(config, Arc::clone(lake.runtime()))
}

async fn streams(context: &SessionContext, plan: LogicalPlan) -> Result<Vec<SendableRecordBatchStream>> {
    let plan = context.execute_logical_plan(plan).await?.create_physical_plan().await?;
    Ok(execute_stream_partitioned(plan, context.task_ctx())?)
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// `order_id = 7, line = 2`, of the first row.
fn key_text(batch: &RecordBatch, keys: &[String]) -> Result<String> {
    let parts = keys
        .iter()
        .zip(batch.columns())
        .map(|(key, values)| {
            let value = array_value_to_string(values, 0).map_err(|e| LakeError::Query(e.into()))?;
            Ok(format!("{key} = {value}"))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(parts.join(", "))
}

fn row_count(batch: &RecordBatch) -> u64 {
    let rows = batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>();
    rows.values().first().map_or(0, |rows| u64::try_from(*rows).unwrap_or(0))
}
