//! Leaving out files that cannot have a row of the answer.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::PhysicalExpr;
use polder_table::DataFileInfo;
use polder_table::spec::{NestedFieldRef, Schema, TableMetadata, Transform};

use super::bounds::{ColumnBounds, column_bounds, null_count, partition_values};
use crate::schema::primitive_to_arrow_top;
use crate::transform::bucket_of;

/// Lists of `IN` up to this length are compared with the bounds value by value.
const MAX_IN_LIST: usize = 200;

/// The files that may have rows for which `predicate` holds. It is in terms of `arrow`, the schema of the scan.
pub(crate) fn prune(
    files: Vec<Arc<DataFileInfo>>,
    predicate: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
    arrow: &SchemaRef,
    metadata: &TableMetadata,
) -> Vec<Arc<DataFileInfo>> {
    let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(arrow)).with_max_in_list_size(MAX_IN_LIST);
    let Some(pruning) = builder.build(Arc::clone(predicate)) else { return files };
    let statistics = FileStatistics { files: &files, schema, metadata };
    match pruning.prune(&statistics) {
        Ok(keep) => files.into_iter().zip(keep).filter_map(|(file, keep)| keep.then_some(file)).collect(),
        Err(error) => {
            // Reading too much is slow, and right.
            tracing::warn!(%error, "files are not pruned");
            files
        }
    }
}

/// Files as containers of rows.
struct FileStatistics<'a> {
    files: &'a [Arc<DataFileInfo>],
    schema: &'a Schema,
    metadata: &'a TableMetadata,
}

impl FileStatistics<'_> {
    fn field(&self, column: &Column) -> Option<&NestedFieldRef> {
        self.schema.as_struct().field_by_name(&column.name)
    }

    fn bounds(&self, column: &Column, side: impl Fn(ColumnBounds) -> Option<ScalarValue>) -> Option<ArrayRef> {
        let field = self.field(column)?;
        let data_type = primitive_to_arrow_top(field.field_type.as_primitive_type()?).ok()?;
        let null = ScalarValue::try_from(&data_type).ok()?;
        let values: Vec<_> = self.files.iter().map(|file| side(column_bounds(file, self.metadata, field))).collect();
        if values.iter().all(Option::is_none) {
            return None;
        }
        ScalarValue::iter_to_array(values.into_iter().map(|value| value.unwrap_or_else(|| null.clone()))).ok()
    }
}

impl PruningStatistics for FileStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |bounds| bounds.lower)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |bounds| bounds.upper)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let field = self.field(column)?;
        let counts: UInt64Array = self.files.iter().map(|file| null_count(file, self.metadata, field)).collect();
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts: UInt64Array = self.files.iter().map(|file| Some(file.file.record_count())).collect();
        Some(Arc::new(counts))
    }

    /// `false` where the hash of no value is the file's bucket.
    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let field = self.field(column)?;
        let data_type = primitive_to_arrow_top(field.field_type.as_primitive_type()?).ok()?;
        let values: Vec<_> = values.iter().map(|v| v.cast_to(&data_type).ok()).collect::<Option<_>>()?;
        let outside = |file: &DataFileInfo| {
            partition_values(file, self.metadata, field.id).any(|(transform, bucket)| match (transform, bucket) {
                (Transform::Bucket(buckets), Some(bucket)) => values.iter().all(|value| {
                    bucket_of(buckets, value).is_some_and(|b| *bucket != polder_table::spec::Literal::int(b))
                }),
                _ => false,
            })
        };
        Some(self.files.iter().map(|file| outside(file).then_some(false)).collect())
    }
}
