//! The scan of a table's data files, as a file source of DataFusion.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::{ConfigOptions, ParquetOptions, TableParquetOptions};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{CachedParquetFileReaderFactory, ParquetFileReaderFactory};
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, PhysicalExpr, SortOrderPushdownResult};
use object_store::ObjectStore;
use polder_table::spec::Schema;
use serde::{Deserialize, Serialize};

use super::adapter::FieldIdAdapterFactory;
use super::readers::IndexedReaders;

/// Read from the end of a file at first: most footers fit.
const FOOTER_BYTES: usize = 64 * 1024;

/// What a scan of a table is, apart from its files: plain data, so that a codec can carry a plan to another process and
/// lose nothing. Reading itself is left to [`ParquetSource`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LakeScan {
    /// Field ids, types, names as they are now, and defaults of columns that older files lack.
    pub(crate) schema: Arc<Schema>,
    /// Data files of the snapshot, and how many of them were left after pruning.
    pub(crate) files_total: usize,
    pub(crate) files_read: usize,
    /// Floating-point columns that may hold NaN in the files to read. The statistics of Parquet do not count NaN, but
    /// DataFusion's comparisons do (it is greater than everything), so row groups are not left out by these columns.
    pub(crate) nan_columns: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct LakeSource {
    scan: Arc<LakeScan>,
    parquet: ParquetSource,
    footers: Arc<FileMetadataCache>,
}

impl LakeSource {
    pub(crate) fn new(
        scan: LakeScan,
        table_schema: TableSchema,
        options: ParquetOptions,
        footers: Arc<FileMetadataCache>,
    ) -> Self {
        let options = TableParquetOptions { global: options, ..TableParquetOptions::default() };
        let parquet =
            ParquetSource::new(table_schema).with_table_parquet_options(options).with_metadata_size_hint(FOOTER_BYTES);
        Self { scan: Arc::new(scan), parquet, footers }
    }

    /// Whether a filter looks at a column that may hold NaN.
    fn compares_nan(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        !self.scan.nan_columns.is_empty()
            && collect_columns(filter).iter().any(|column| self.scan.nan_columns.iter().any(|c| c == column.name()))
    }

    /// This source around what an operation on the inner one gave.
    fn around(&self, inner: &Arc<dyn FileSource>) -> Result<Arc<dyn FileSource>> {
        match inner.downcast_ref::<ParquetSource>() {
            Some(parquet) => Ok(Arc::new(Self {
                scan: Arc::clone(&self.scan),
                parquet: parquet.clone(),
                footers: Arc::clone(&self.footers),
            })),
            None => internal_err!("a Parquet source became a source of {}", inner.file_type()),
        }
    }
}

impl FileSource for LakeSource {
    fn create_file_opener(&self, _: Arc<dyn ObjectStore>, _: &FileScanConfig, _: usize) -> Result<Arc<dyn FileOpener>> {
        internal_err!("a scan of the lake gives morsels")
    }

    fn create_morselizer(
        &self,
        object_store: Arc<dyn ObjectStore>,
        base_config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn datafusion_datasource::morsel::Morselizer>> {
        let (store, footers) = (Arc::clone(&object_store), Arc::clone(&self.footers));
        // Who reads all rows has no use for an index of them.
        let readers: Arc<dyn ParquetFileReaderFactory> = match self.parquet.filter() {
            Some(_) => Arc::new(IndexedReaders::new(store, footers)),
            None => Arc::new(CachedParquetFileReaderFactory::new(store, footers)),
        };
        let parquet = self.parquet.clone().with_parquet_file_reader_factory(readers);
        let mut config = base_config.clone();
        config.expr_adapter_factory = Some(Arc::new(FieldIdAdapterFactory::new(&self.scan.schema)?));
        parquet.create_morselizer(object_store, &config, partition)
    }

    fn table_schema(&self) -> &TableSchema {
        self.parquet.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        let inner = self.parquet.with_batch_size(batch_size);
        self.around(&inner).unwrap_or(inner)
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.parquet.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.parquet.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.parquet.metrics()
    }

    fn file_type(&self) -> &str {
        "iceberg"
    }

    fn fmt_extra(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (read, total) = (self.scan.files_read, self.scan.files_total);
        match t {
            DisplayFormatType::TreeRender => writeln!(f, "pruned={}", total - read)?,
            _ => write!(f, ", files={read}/{total}")?,
        }
        self.parquet.fmt_extra(t, f)
    }

    /// Files were divided by row group when the scan was planned: a cut at any other byte would give work that no cache
    /// of row groups knows.
    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn repartitioned(
        &self,
        _: usize,
        _: usize,
        _: Option<LexOrdering>,
        _: &FileScanConfig,
    ) -> Result<Option<FileScanConfig>> {
        Ok(None)
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let prunes: Vec<bool> = filters.iter().map(|filter| !self.compares_nan(filter)).collect();
        let safe = filters.into_iter().zip(&prunes).filter_map(|(filter, safe)| safe.then_some(filter)).collect();
        let pushed = self.parquet.try_pushdown_filters(safe, config)?;
        let mut results = pushed.filters.into_iter();
        let results = prunes.iter().map(|safe| if *safe { results.next() } else { None }.unwrap_or(PushedDown::No));
        Ok(FilterPushdownPropagation {
            filters: results.collect(),
            updated_node: pushed.updated_node.map(|inner| self.around(&inner)).transpose()?,
        })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        eq_properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        Ok(match self.parquet.try_pushdown_sort(order, eq_properties)? {
            SortOrderPushdownResult::Exact { inner } => SortOrderPushdownResult::Exact { inner: self.around(&inner)? },
            SortOrderPushdownResult::Inexact { inner } => {
                SortOrderPushdownResult::Inexact { inner: self.around(&inner)? }
            }
            SortOrderPushdownResult::Unsupported => SortOrderPushdownResult::Unsupported,
        })
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.parquet.reorder_files(files)
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        let inner = self.parquet.try_pushdown_projection(projection)?;
        inner.map(|inner| self.around(&inner)).transpose()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.parquet.apply_expressions(f)
    }
}
