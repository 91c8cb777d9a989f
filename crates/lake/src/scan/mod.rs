//! A table at one snapshot, as a DataFusion table provider.

mod adapter;
mod bounds;
mod few;
mod manifests;
mod plan;
mod prune;
mod readers;
mod source;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::datasource::physical_plan::FileScanConfigBuilder;
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use polder_table::DataFileInfo;
use polder_table::spec::{
    FormatVersion, Schema, SortOrder, TableMetadataBuilder, TableMetadataRef, UnboundPartitionSpec,
};

use self::bounds::{column_bounds, may_hold_nan, null_count};
pub(crate) use self::manifests::ManifestCache;
use self::plan::TableFiles;
use self::prune::prune;
use self::source::{LakeScan, LakeSource};
use crate::evolve::evolve_after;
use crate::schema::{FieldIds, build_schema, fresh_field, scan_schema};
use crate::warehouse::warehouse_url;
use crate::{Evolution, Lake, LakeError, Result, SchemaChange, WriteTarget};

/// A table at one snapshot.
#[derive(Debug, Clone)]
pub struct LakeTable {
    /// Relative to the warehouse.
    pub metadata_path: String,
    pub metadata: TableMetadataRef,
    /// `None`: the table has no rows yet.
    pub snapshot_id: Option<i64>,
    /// What scans give.
    pub schema: SchemaRef,
    iceberg: Arc<Schema>,
    lake: Arc<Lake>,
}

impl LakeTable {
    /// A table as its metadata says that it is now.
    pub(crate) fn new(
        lake: &Arc<Lake>,
        metadata_path: String,
        metadata: TableMetadataRef,
        snapshot_id: Option<i64>,
    ) -> Result<Self> {
        let iceberg = Arc::clone(metadata.current_schema());
        let schema = scan_schema(&iceberg)?;
        Ok(Self { metadata_path, metadata, snapshot_id, schema, iceberg, lake: Arc::clone(lake) })
    }

    /// A table without a snapshot that has the columns of a target: to read files that were just written there.
    pub(crate) fn of_target(lake: &Arc<Lake>, target: &WriteTarget) -> Result<Self> {
        let iceberg = Arc::clone(&target.schema);
        let schema = scan_schema(&iceberg)?;
        let location = lake.catalog().tables().warehouse().location(&target.folder);
        // Of it only partition specs are looked up, and files that were just written know all bounds without them.
        let metadata = TableMetadataBuilder::new(
            iceberg.as_ref().clone(),
            UnboundPartitionSpec::default(),
            SortOrder::unsorted_order(),
            location,
            FormatVersion::V2,
            HashMap::new(),
        )
        .and_then(TableMetadataBuilder::build)
        .map_err(|e| LakeError::Schema(e.to_string()))?;
        let metadata = Arc::new(metadata.metadata);
        Ok(Self { metadata_path: String::new(), metadata, snapshot_id: None, schema, iceberg, lake: Arc::clone(lake) })
    }

    /// The same table at one of the snapshots that its metadata lists, with the schema that it had then.
    pub fn at_snapshot(&self, snapshot_id: i64) -> Result<Option<Self>> {
        if self.metadata.snapshot_by_id(snapshot_id).is_none() {
            return Ok(None);
        }
        let iceberg = self.lake.catalog().tables().schema(&self.metadata, Some(snapshot_id))?;
        let schema = scan_schema(&iceberg)?;
        Ok(Some(Self { snapshot_id: Some(snapshot_id), schema, iceberg, ..self.clone() }))
    }

    /// The Iceberg schema that scans have.
    pub fn iceberg_schema(&self) -> &Arc<Schema> {
        &self.iceberg
    }

    /// The table's folder, relative to the warehouse.
    pub fn folder(&self) -> String {
        let location = self.metadata.location().trim_end_matches('/');
        let warehouse = self.lake.catalog().tables().warehouse();
        warehouse.path(location).map_or_else(|_| location.to_owned(), str::to_owned)
    }

    /// The data files of the snapshot.
    pub async fn files(&self) -> Result<Vec<Arc<DataFileInfo>>> {
        self.lake.manifests().files(self.lake.catalog().tables(), &self.metadata, self.snapshot_id).await
    }

    /// Fits rows of another schema to the table. See [`evolve`](crate::evolve); new ids follow all that the table ever
    /// had.
    pub fn evolve(&self, incoming: &ArrowSchema) -> Result<std::result::Result<Evolution, Vec<SchemaChange>>> {
        evolve_after(self.metadata.current_schema(), self.metadata.last_column_id(), incoming)
    }

    /// The schema for content that replaces all of the table's: the incoming columns in their order. A column that keeps
    /// name and type keeps its field id; all others get ids that the table never had.
    pub fn replacement(&self, incoming: &ArrowSchema) -> Result<Schema> {
        let mut ids = FieldIds::after(self.metadata.last_column_id());
        let current = self.metadata.current_schema().as_struct();
        let fields = incoming
            .fields()
            .iter()
            .map(|field| {
                let same = current.field_by_name(field.name());
                let kept = same.map(|same| keep_ids(same, field)).transpose()?.flatten();
                match kept {
                    Some(kept) => Ok(kept),
                    None => fresh_field(field, &mut ids),
                }
            })
            .collect::<Result<Vec<_>>>()?;
        build_schema(fields)
    }

    /// For `SessionContext::register_table` and the like.
    pub fn provider(&self) -> Arc<dyn TableProvider> {
        Arc::new(LakeProvider { table: self.clone(), only: None, file_column: None, schema: Arc::clone(&self.schema) })
    }

    /// Scans these files instead of the snapshot's. With `file_column`, an integer column of that name tells which file
    /// (of the list, from 0) a row is from.
    pub(crate) fn provider_of(
        &self,
        files: Vec<Arc<DataFileInfo>>,
        file_column: Option<&str>,
    ) -> Arc<dyn TableProvider> {
        let field = file_column.map(|name| Arc::new(Field::new(name, DataType::UInt64, false)));
        let schema = match &field {
            None => Arc::clone(&self.schema),
            Some(field) => {
                let fields: Vec<_> = self.schema.fields().iter().cloned().chain([Arc::clone(field)]).collect();
                Arc::new(ArrowSchema::new(fields))
            }
        };
        Arc::new(LakeProvider { table: self.clone(), only: Some(files), file_column: field, schema })
    }

    /// The files of the snapshot that may have rows for which all these hold.
    pub(crate) async fn pruned_files(&self, filters: &[Expr]) -> Result<Vec<Arc<DataFileInfo>>> {
        let files = self.files().await?;
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(files) };
        let context = SessionContext::new();
        let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
        let predicate = context.create_physical_expr(filter, &schema)?;
        Ok(prune(files, &predicate, &self.iceberg, &self.schema, &self.metadata))
    }

    /// The least and greatest value of a column over files, where all of them know.
    pub(crate) fn bounds_over(&self, files: &[Arc<DataFileInfo>], column: &str) -> Option<(ScalarValue, ScalarValue)> {
        let field = self.iceberg.as_struct().field_by_name(column)?;
        let mut all: Option<(ScalarValue, ScalarValue)> = None;
        for info in files {
            if null_count(info, &self.metadata, field) == Some(info.file.record_count()) {
                continue;
            }
            let bounds = column_bounds(info, &self.metadata, field);
            let (lower, upper) = (bounds.lower?, bounds.upper?);
            all = Some(match all {
                None => (lower, upper),
                Some((low, high)) => (if lower < low { lower } else { low }, if upper > high { upper } else { high }),
            });
        }
        all
    }
}

/// The table's field with the comment of the incoming one, when both have the same type.
fn keep_ids(
    table: &polder_table::spec::NestedFieldRef,
    incoming: &Field,
) -> Result<Option<polder_table::spec::NestedFieldRef>> {
    let fresh = fresh_field(incoming, &mut FieldIds::after(0))?;
    if !same_type(&table.field_type, &fresh.field_type) {
        return Ok(None);
    }
    let mut field = polder_table::spec::NestedField::clone(table);
    field.doc.clone_from(&fresh.doc);
    field.required = false;
    Ok(Some(Arc::new(field)))
}

/// Whether two types are the same but for field ids and what is required.
fn same_type(a: &polder_table::spec::Type, b: &polder_table::spec::Type) -> bool {
    use polder_table::spec::Type;
    match (a, b) {
        (Type::Primitive(a), Type::Primitive(b)) => a == b,
        (Type::List(a), Type::List(b)) => same_type(&a.element_field.field_type, &b.element_field.field_type),
        (Type::Map(a), Type::Map(b)) => {
            same_type(&a.key_field.field_type, &b.key_field.field_type)
                && same_type(&a.value_field.field_type, &b.value_field.field_type)
        }
        (Type::Struct(a), Type::Struct(b)) => {
            a.fields().len() == b.fields().len()
                && (a.fields().iter().zip(b.fields()))
                    .all(|(a, b)| a.name == b.name && same_type(&a.field_type, &b.field_type))
        }
        _ => false,
    }
}

#[derive(Debug)]
struct LakeProvider {
    table: LakeTable,
    /// `None`: the files of the snapshot.
    only: Option<Vec<Arc<DataFileInfo>>>,
    file_column: Option<Arc<Field>>,
    /// The table's columns, and the file column where there is one.
    schema: SchemaRef,
}

impl LakeProvider {
    async fn files(&self) -> Result<Vec<Arc<DataFileInfo>>> {
        match &self.only {
            Some(files) => Ok(files.clone()),
            None => self.table.files().await,
        }
    }

    /// The files that have to be read, with their places in the list of all.
    fn pruned(
        &self,
        files: Vec<Arc<DataFileInfo>>,
        state: &dyn Session,
        filters: &[Expr],
    ) -> datafusion::error::Result<Vec<Arc<DataFileInfo>>> {
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(files) };
        let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
        let predicate = state.create_physical_expr(filter, &schema)?;
        Ok(prune(files, &predicate, &self.table.iceberg, &self.schema, &self.table.metadata))
    }

    fn source(&self, total: usize, files: &[Arc<DataFileInfo>], options: &ConfigOptions) -> LakeSource {
        let fields = self.table.iceberg.as_struct().fields();
        let nan = fields.iter().filter(|field| files.iter().any(|info| may_hold_nan(info, field)));
        let scan = LakeScan {
            schema: Arc::clone(&self.table.iceberg),
            files_total: total,
            files_read: files.len(),
            nan_columns: nan.map(|field| field.name.clone()).collect(),
        };
        let partition_columns: Vec<_> = self.file_column.iter().cloned().collect();
        let table_schema =
            TableSchema::builder(Arc::clone(&self.table.schema)).with_table_partition_cols(partition_columns).build();
        let footers = self.table.lake.runtime().cache_manager.get_file_metadata_cache();
        LakeSource::new(scan, table_schema, options.execution.parquet.clone(), footers)
    }
}

#[async_trait]
impl TableProvider for LakeProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> datafusion::error::Result<Vec<TableProviderFilterPushDown>> {
        // Files, row groups and pages are left out by it; which rows hold is decided above the scan.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let all = self.files().await?;
        let total = all.len();
        let places: HashMap<_, _> = match self.file_column {
            Some(_) => all.iter().enumerate().map(|(place, info)| (Arc::as_ptr(info), place)).collect(),
            None => HashMap::new(),
        };
        let mut files = self.pruned(all, state, filters)?;
        if let (Some(limit), true) = (limit, filters.is_empty()) {
            enough_for(&mut files, limit);
        }
        let columns: Vec<usize> = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.table.schema.fields().len()).collect(),
        };
        let planned = TableFiles {
            warehouse: self.table.lake.catalog().tables().warehouse(),
            metadata: &self.table.metadata,
            schema: &self.table.iceberg,
            columns: &columns,
        };
        let place = |index: usize| {
            let place = files.get(index).and_then(|info| places.get(&Arc::as_ptr(info)));
            ScalarValue::UInt64(place.map(|place| *place as u64))
        };
        let values = |index: usize| self.file_column.iter().map(|_| place(index)).collect();
        let groups = planned.groups(&files, values, state.config().target_partitions())?;
        let mut statistics = planned.statistics(&files);
        if self.file_column.is_some() {
            statistics.column_statistics.push(Default::default());
        }
        let source = Arc::new(self.source(total, &files, state.config_options()));
        let config = FileScanConfigBuilder::new(warehouse_url()?, source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// Keeps as many files as have `limit` rows.
fn enough_for(files: &mut Vec<Arc<DataFileInfo>>, limit: usize) {
    let mut rows = 0u64;
    let enough = files.iter().position(|info| {
        rows += info.file.record_count();
        rows >= limit as u64
    });
    if let Some(last) = enough {
        files.truncate(last + 1);
    }
}
