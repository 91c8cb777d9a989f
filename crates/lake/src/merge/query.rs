//! The queries of a merge, as plans: no name of a column is ever parsed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int64Type, UInt64Type};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{Column, JoinType};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::physical_plan::{SendableRecordBatchStream, execute_stream_partitioned};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use polder_table::DataFileInfo;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::watch::KeyHasher;
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

/// Up to this size the keys of a join are kept once for all threads.
const SHARED_TABLE_BYTES: usize = 32 * 1024 * 1024;

/// Which of the old rows go.
pub(super) struct Doomed {
    /// Those with a key of these new files.
    pub(super) by_key: Option<(Vec<String>, Vec<Arc<DataFileInfo>>)>,
    /// Those for which this is true.
    pub(super) by_value: Option<Expr>,
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

    /// The keys that new files have more than once. With `suspects` only keys with these hashes are looked at.
    pub(super) async fn repeated(
        &self,
        keys: &[String],
        new: &[Arc<DataFileInfo>],
        suspects: Option<HashSet<u64>>,
        cancel: &CancellationToken,
    ) -> Result<Repeated> {
        let rows = match suspects {
            Some(hashes) => self.with_hash_in(keys, new, hashes, cancel).await?,
            None => self.scan(NEW, new, keys, Some(FILE))?,
        };
        let columns: Vec<Expr> = keys.iter().map(|key| column(key)).collect();
        let complete = columns.iter().map(|c| c.clone().is_not_null()).reduce(Expr::and).unwrap_or_else(|| lit(true));
        let counted = rows.clone().filter(complete)?.aggregate(columns, [count(lit(1i64)).alias(ROWS)])?;
        let plan = counted.filter(column(ROWS).gt(lit(1i64)))?.build()?;
        let schema = Arc::clone(plan.schema().inner());
        let batches = self.collect(plan, cancel).await?;
        let again = Arc::new(MemTable::try_new(schema, vec![batches.clone()])?);
        let plan = by_repetition(&again, keys, rows, JoinType::RightSemi)?;
        let plan = plan.aggregate([column(FILE)], [count(lit(1i64)).alias(ROWS)])?.build()?;
        let files = self.file_counts(plan, cancel).await?;
        let files = files.into_keys().filter_map(|place| new.get(place).cloned()).collect();
        Ok(Repeated { again, batches, files })
    }

    /// The rows of the files that have a repeated key, one for each key: the one that comes last by `order`. Rows without
    /// a whole key all stay.
    pub(super) async fn last_by_key(
        &self,
        keys: &[String],
        order: &[String],
        repeated: &Repeated,
    ) -> Result<Vec<SendableRecordBatchStream>> {
        let rows = || self.scan_all(NEW, &repeated.files, None);
        let once = by_repetition(&repeated.again, keys, rows()?, JoinType::RightAnti)?;
        let rank = row_number()
            .partition_by(keys.iter().map(|key| column(key)).collect())
            .order_by(order.iter().map(|c| column(c).sort(false, false)).collect())
            .build()?
            .alias(RANK);
        let columns: Vec<Expr> = self.table.schema.fields().iter().map(|f| column(f.name())).collect();
        let last = by_repetition(&repeated.again, keys, rows()?, JoinType::RightSemi)?
            .window([rank])?
            .filter(column(RANK).eq(lit(1u64)))?
            .project(columns)?
            .build()?;
        streams(&self.context, once.union(last)?.build()?).await
    }

    /// The keys and files of the rows whose keys have one of these hashes, kept in memory.
    async fn with_hash_in(
        &self,
        keys: &[String],
        new: &[Arc<DataFileInfo>],
        hashes: HashSet<u64>,
        cancel: &CancellationToken,
    ) -> Result<LogicalPlanBuilder> {
        let plan = self.scan(NEW, new, keys, Some(FILE))?.build()?;
        let schema = Arc::clone(plan.schema().inner());
        let hasher = KeyHasher::new(keys, &schema)
            .ok_or_else(|| LakeError::Defect("keys of this type have no hashes".to_owned()))?;
        let hashes = Arc::new(hashes);
        let mut tasks = JoinSet::new();
        for stream in streams(&self.context, plan).await? {
            tasks.spawn(only_hashed(stream, keys.len(), hasher.clone(), Arc::clone(&hashes)));
        }
        let mut batches = Vec::new();
        loop {
            let done = tokio::select! {
                () = cancel.cancelled() => return Err(LakeError::Cancelled),
                done = tasks.join_next() => done,
            };
            match done {
                Some(done) => batches.extend(done.map_err(|e| LakeError::Defect(e.to_string()))??),
                None => break,
            }
        }
        let table = Arc::new(MemTable::try_new(schema, vec![batches])?);
        Ok(LogicalPlanBuilder::scan(NEW, provider_as_source(table), None)?)
    }

    /// How many rows of each file go, by the file's place in the list; files that keep all are left out.
    pub(super) async fn matches(
        &self,
        files: &[Arc<DataFileInfo>],
        doomed: &Doomed,
        cancel: &CancellationToken,
    ) -> Result<BTreeMap<usize, u64>> {
        let stay = self.staying(files, doomed, Some(FILE))?;
        let plan = stay.aggregate([column(FILE)], [count(lit(1i64)).alias(ROWS)])?.build()?;
        let stay = self.file_counts(plan, cancel).await?;
        let go = files.iter().enumerate().map(|(place, info)| {
            let stay = stay.get(&place).copied().unwrap_or_default();
            (place, info.file.record_count().saturating_sub(stay))
        });
        Ok(go.filter(|(_, rows)| *rows > 0).collect())
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
        streams(&self.context, self.staying(files, doomed, None)?.build()?).await
    }

    fn staying(
        &self,
        files: &[Arc<DataFileInfo>],
        doomed: &Doomed,
        file_column: Option<&str>,
    ) -> Result<LogicalPlanBuilder> {
        let mut stay = self.scan_all(OLD, files, file_column)?;
        if let Some(predicate) = &doomed.by_value {
            stay = stay.filter(Expr::IsNotTrue(Box::new(predicate.clone())))?;
        }
        let Some((keys, new)) = &doomed.by_key else { return Ok(stay) };
        let new = self.scan(NEW, new, keys, None)?.build()?;
        let side = |table: &str| -> Vec<Column> { keys.iter().map(|key| Column::new(Some(table), key)).collect() };
        Ok(stay.join(new, JoinType::LeftAnti, (side(OLD), side(NEW)), None)?)
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

/// Keys that come more than once.
pub(super) struct Repeated {
    again: Arc<MemTable>,
    /// The same, each with how often it comes.
    batches: Vec<RecordBatch>,
    /// The new files that have them.
    pub(super) files: Vec<Arc<DataFileInfo>>,
}

impl Repeated {
    /// One of them as text, and how often it comes.
    pub(super) fn example(&self, keys: &[String]) -> Result<Option<(String, u64)>> {
        let Some(batch) = self.batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
        Ok(Some((key_text(batch, keys)?, row_count(batch))))
    }
}

/// Those of `rows` (a scan called `NEW`) whose key is in `again`, or those whose key is not. The keys that come again are
/// what the join keeps in memory.
fn by_repetition(
    again: &Arc<MemTable>,
    keys: &[String],
    rows: LogicalPlanBuilder,
    join: JoinType,
) -> Result<LogicalPlanBuilder> {
    let side = |table: &str| -> Vec<Column> { keys.iter().map(|key| Column::new(Some(table), key)).collect() };
    let again = LogicalPlanBuilder::scan(AGAIN, provider_as_source(Arc::clone(again) as _), None)?;
    Ok(again.join(rows.build()?, join, (side(AGAIN), side(NEW)), None)?)
}

/// The rows of a stream whose first columns, the key, have one of these hashes.
async fn only_hashed(
    mut rows: SendableRecordBatchStream,
    keys: usize,
    mut hasher: KeyHasher,
    hashes: Arc<HashSet<u64>>,
) -> Result<Vec<RecordBatch>> {
    let mut found = Vec::new();
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let key: Vec<_> = batch.columns().iter().take(keys).collect();
        let of_rows = hasher.hash(&key, batch.num_rows())?;
        let wanted: BooleanArray = of_rows.iter().map(|hash| Some(hashes.contains(hash))).collect();
        if wanted.has_true() {
            found.push(filter_record_batch(&batch, &wanted).map_err(|e| LakeError::Query(e.into()))?);
        }
    }
    Ok(found)
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
    // Few keys are looked up by all threads in one table, and rows stay where they are.
    config.options_mut().optimizer.hash_join_single_partition_threshold = SHARED_TABLE_BYTES;
    config.options_mut().optimizer.hash_join_single_partition_threshold_rows = SHARED_TABLE_BYTES / KEY_BYTES as usize;
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
