//! The rows of a stream in the form of a table.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use datafusion::common::ScalarValue;
use polder_table::spec::Schema;

use crate::cast::cast_for_writing;
use crate::value::default_to_scalar;
use crate::{LakeError, Result};

/// Brings batches of one stream into the order and types of a table's schema.
#[derive(Debug)]
pub(crate) struct RowForm {
    table: SchemaRef,
    columns: Vec<Column>,
    /// The schema of the batches made last: text columns keep whatever form they came in.
    made: Option<SchemaRef>,
}

#[derive(Debug)]
enum Column {
    At(usize),
    /// The stream does not have it: its default, mostly NULL.
    Missing(ScalarValue),
}

impl RowForm {
    /// # Errors
    /// A column that the table does not have, or has twice, or a required one that the stream lacks.
    pub(crate) fn new(incoming: &ArrowSchema, table: &SchemaRef, schema: &Schema) -> Result<Self> {
        for (index, field) in incoming.fields().iter().enumerate() {
            if table.index_of(field.name()).is_err() {
                return Err(LakeError::Schema(format!("the table has no column `{}`", field.name())));
            }
            if incoming.index_of(field.name()).ok() != Some(index) {
                return Err(LakeError::Schema(format!("the rows have two columns called `{}`", field.name())));
            }
        }
        let columns = table
            .fields()
            .iter()
            .zip(schema.as_struct().fields())
            .map(|(field, iceberg)| match incoming.index_of(field.name()) {
                Ok(index) => Ok(Column::At(index)),
                Err(_) => {
                    let default =
                        iceberg.write_default.as_ref().and_then(|v| default_to_scalar(v, &iceberg.field_type));
                    match default {
                        Some(value) => Ok(Column::Missing(value)),
                        None if field.is_nullable() => Ok(Column::Missing(ScalarValue::Null)),
                        None => Err(LakeError::Schema(format!(
                            "column `{}` is required, and the rows do not have it",
                            field.name()
                        ))),
                    }
                }
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { table: Arc::clone(table), columns, made: None })
    }

    pub(crate) fn apply(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self
            .columns
            .iter()
            .zip(self.table.fields())
            .map(|(column, field)| match column {
                Column::At(index) => cast_for_writing(batch.column(*index), field),
                Column::Missing(ScalarValue::Null) => Ok(new_null_array(field.data_type(), batch.num_rows())),
                Column::Missing(value) => Ok(value.to_array_of_size(batch.num_rows())?),
            })
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let schema = self.schema_of(&columns);
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(|e| LakeError::Query(e.into()))
    }

    fn schema_of(&mut self, columns: &[ArrayRef]) -> SchemaRef {
        let fits =
            |schema: &SchemaRef| schema.fields().iter().zip(columns).all(|(f, c)| f.data_type() == c.data_type());
        if let Some(schema) = self.made.as_ref().filter(|s| fits(s)) {
            return Arc::clone(schema);
        }
        let with_type = |(field, column): (&Arc<Field>, &ArrayRef)| -> Field {
            let data_type: DataType = column.data_type().clone();
            field.as_ref().clone().with_data_type(data_type)
        };
        let fields: Vec<Field> = self.table.fields().iter().zip(columns).map(with_type).collect();
        let schema = Arc::new(ArrowSchema::new(fields));
        self.made = Some(Arc::clone(&schema));
        schema
    }
}
