//! Which partition a row belongs to.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{cast, concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use polder_table::spec::{Literal, PartitionSpec, PrimitiveType, Schema, Struct, Transform, Type};

use crate::transform::apply;
use crate::value::to_typed_literal;
use crate::{LakeError, Result};

/// Most letters of a partition value in a folder's name.
const MAX_FOLDER_VALUE: usize = 64;

/// Divides batches by the partition spec of a table.
#[derive(Debug)]
pub(crate) struct Partitioner {
    fields: Vec<PartitionColumn>,
    converter: RowConverter,
}

#[derive(Debug)]
struct PartitionColumn {
    /// Of the source column in the table's schema.
    index: usize,
    name: String,
    column: String,
    transform: Transform,
    source: DataType,
    result: Type,
}

/// The rows of a batch that belong to one partition.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Equal for equal partitions, over all batches.
    pub(crate) key: Box<[u8]>,
    pub(crate) partition: Struct,
    pub(crate) rows: RecordBatch,
}

impl Partitioner {
    /// `None`: the spec has no fields, and everything is one partition.
    pub(crate) fn new(spec: &PartitionSpec, schema: &Schema, arrow: &SchemaRef) -> Result<Option<Self>> {
        if spec.is_unpartitioned() {
            return Ok(None);
        }
        let mut fields = Vec::with_capacity(spec.fields().len());
        let mut sort_fields = Vec::with_capacity(spec.fields().len());
        for field in spec.fields() {
            let position = schema.as_struct().fields().iter().position(|f| f.id == field.source_id);
            let (Some(index), Some(source)) = (position, schema.field_by_id(field.source_id)) else {
                return Err(LakeError::Schema(format!(
                    "the partition field `{}` is not made from a column at the top of the table",
                    field.name
                )));
            };
            let result = field.transform.result_type(&source.field_type);
            let result = result.map_err(|e| LakeError::Schema(format!("partition field `{}`: {e}", field.name)))?;
            if matches!(result, Type::Primitive(PrimitiveType::Uuid)) {
                // The manifests of `iceberg` 0.10 cannot hold the value.
                return Err(LakeError::Schema(format!(
                    "a table cannot be partitioned by the uuid `{}` as it is: partition by bucket of it",
                    source.name
                )));
            }
            let source_type = arrow.field(index).data_type().clone();
            let example =
                apply(field.transform, &datafusion::arrow::array::new_empty_array(&source_type), &source.name)?;
            sort_fields.push(SortField::new(example.data_type().clone()));
            fields.push(PartitionColumn {
                index,
                name: field.name.clone(),
                column: source.name.clone(),
                transform: field.transform,
                source: source_type,
                result,
            });
        }
        let converter = RowConverter::new(sort_fields).map_err(arrow_error)?;
        Ok(Some(Self { fields, converter }))
    }

    /// Divides batches whose columns are in the order of the table's schema.
    pub(crate) fn split(&self, batches: Vec<RecordBatch>) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        for alike in batches.chunk_by(|a, b| a.schema() == b.schema()) {
            let [first, rest @ ..] = alike else { continue };
            // One by one, each batch would give each partition a few rows.
            let joined = if rest.is_empty() {
                first.clone()
            } else {
                concat_batches(&first.schema(), alike).map_err(arrow_error)?
            };
            self.split_one(&joined, &mut pieces)?;
        }
        Ok(pieces)
    }

    fn split_one(&self, batch: &RecordBatch, pieces: &mut Vec<Piece>) -> Result<()> {
        let values = self.values(batch)?;
        let keys = self.converter.convert_columns(&values).map_err(arrow_error)?;
        let mut all = keys.iter();
        // Rows mostly come in some order of time, and so do most partitions.
        if let Some(first) = all.next()
            && all.all(|key| key == first)
        {
            let partition = self.partition(&values, 0)?;
            pieces.push(Piece { key: first.data().into(), partition, rows: batch.clone() });
            return Ok(());
        }
        let mut rows_of: HashMap<&[u8], Vec<u32>> = HashMap::new();
        for (row, key) in (0u32..).zip(&keys) {
            rows_of.entry(key.data()).or_default().push(row);
        }
        for (key, rows) in rows_of {
            let first = rows.first().map_or(0, |row| *row as usize);
            let partition = self.partition(&values, first)?;
            let rows = take_record_batch(batch, &UInt32Array::from(rows)).map_err(arrow_error)?;
            pieces.push(Piece { key: key.into(), partition, rows });
        }
        Ok(())
    }

    /// Folder of a partition below `data/`: `day=2026-11-20/region=EU`. Only for people: what a file's partition is, its
    /// manifest says. So letters that file systems and URLs disagree about are simply replaced.
    pub(crate) fn folder(&self, partition: &Struct) -> String {
        let parts: Vec<_> = self
            .fields
            .iter()
            .zip(partition.iter())
            .map(|(field, value)| format!("{}={}", plain(&field.name), plain(&field.text(value))))
            .collect();
        parts.join("/")
    }

    fn values(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.fields
            .iter()
            .map(|field| {
                let column = batch.column(field.index);
                let column = if *column.data_type() == field.source {
                    Arc::clone(column)
                } else {
                    cast(column, &field.source).map_err(arrow_error)?
                };
                apply(field.transform, &column, &field.column)
            })
            .collect()
    }

    fn partition(&self, values: &[ArrayRef], row: usize) -> Result<Struct> {
        self.fields
            .iter()
            .zip(values)
            .map(|(field, array)| {
                let scalar = ScalarValue::try_from_array(array, row)?;
                Ok(if scalar.is_null() { None } else { to_typed_literal(&scalar, &field.result) })
            })
            .collect()
    }
}

impl PartitionColumn {
    fn text(&self, value: Option<&Literal>) -> String {
        self.transform.to_human_string(&self.result, value)
    }
}

fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    text.chars().take(MAX_FOLDER_VALUE).map(plain).collect()
}

fn arrow_error(error: datafusion::arrow::error::ArrowError) -> LakeError {
    LakeError::Query(error.into())
}
