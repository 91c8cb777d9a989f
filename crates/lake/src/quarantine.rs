//! `quarantine.<table>`: records that a table does not take, whole, each with the reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use polder_base::{RunId, TableName, Timestamp};
use polder_catalog::Change;
use polder_table::Operation;
use polder_table::spec::{PartitionSpec, UnboundPartitionSpec};
use tokio_util::sync::CancellationToken;

use crate::schema::from_arrow;
use crate::{Result, Workspace, WriteTarget, Written};

/// The namespace of these tables.
const NAMESPACE: &str = "quarantine";

const UTC: &str = "UTC";

/// Where the records are that a table did not take.
pub fn quarantine_of(table: &TableName) -> TableName {
    TableName::new(NAMESPACE, &*table.name)
}

/// The schema of `quarantine.<table>`.
pub fn quarantine_schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        Field::new("_run", DataType::Int64, true),
        Field::new("_loaded_at", DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from(UTC))), true),
        text("source"),
        text("file"),
        Field::new("position", DataType::Int64, true),
        text("raw"),
        text("reason"),
    ]))
}

/// The quarantine of one table on a run's branch, made when it is first needed.
#[derive(Debug)]
pub struct Quarantine {
    pub name: TableName,
    target: WriteTarget,
    /// The table is to be made.
    make: bool,
}

impl Quarantine {
    /// The quarantine of `table`.
    pub async fn of(workspace: &Workspace, table: &TableName) -> Result<Self> {
        let name = quarantine_of(table);
        let (target, make) = match workspace.table(&name).await? {
            Some(found) => (workspace.target(&found), false),
            None => {
                let folder = workspace.new_folder(&name);
                let schema = from_arrow(&quarantine_schema())?;
                (workspace.new_target(&folder, schema, PartitionSpec::unpartition_spec()), true)
            }
        };
        Ok(Self { name, target, make })
    }

    /// Writes records of [`quarantine_schema`]. No table refers to them before [`Self::change`] is committed.
    pub async fn write(
        &self,
        workspace: &Workspace,
        records: SendableRecordBatchStream,
        cancel: &CancellationToken,
    ) -> Result<Written> {
        workspace.lake.write(&self.target, vec![records], cancel, &|_, _| {}).await
    }

    /// What adds written records to the table; `None`: there are none.
    pub fn change(&self, written: Written) -> Option<Change> {
        if written.files.is_empty() {
            return None;
        }
        let operation = match self.make {
            true => Operation::Create {
                folder: self.target.folder.clone(),
                schema: self.target.schema.as_ref().clone(),
                partition: UnboundPartitionSpec::default(),
                sort: None,
                properties: BTreeMap::new(),
                files: written.files,
            },
            false => Operation::Append { files: written.files },
        };
        Some(Change::Table { table: self.name.clone(), operations: vec![operation], read: None })
    }
}

/// Whose decision it was to set rows aside that a table had taken, and when.
#[derive(Debug, Clone)]
pub struct SetAside {
    pub run: RunId,
    pub at: Timestamp,
    /// Where the rows came from: the cursor of the stream that fills their table, such as `shop.orders`.
    pub source: String,
}

impl SetAside {
    /// Rows of a table as records of its quarantine: the row as JSON, its place from `_file` and `_position` where it
    /// has them. The last column of `rows` is the reason.
    pub fn records(self, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let schema = quarantine_schema();
        let out = Arc::clone(&schema);
        let records = rows.map(move |batch| {
            let batch = batch?;
            self.batch(&out, &batch).map_err(|e| DataFusionError::ArrowError(Box::new(e), None))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, records))
    }

    fn batch(&self, schema: &SchemaRef, rows: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
        let count = rows.num_rows();
        let last = rows.num_columns().saturating_sub(1);
        let row = rows.project(&(0..last).collect::<Vec<_>>())?;
        let column = |name: &str, as_type: &DataType| -> std::result::Result<ArrayRef, ArrowError> {
            match row.column_by_name(name) {
                Some(values) => cast(values, as_type),
                None => Ok(arrow::array::new_null_array(as_type, count)),
            }
        };
        let positions = column("_position", &DataType::Int64)?;
        let reasons = cast(rows.column(last), &DataType::Utf8)?;
        RecordBatch::try_new(
            Arc::clone(schema),
            vec![
                Arc::new(Int64Array::from_value(i64::try_from(self.run.0).unwrap_or(i64::MAX), count)),
                Arc::new(TimestampMicrosecondArray::from_value(self.at.micros(), count).with_timezone(UTC)),
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&self.source, count))),
                column("_file", &DataType::Utf8)?,
                Arc::new(positions.as_primitive::<Int64Type>().clone()),
                Arc::new(json(&row)?),
                Arc::new(reasons.as_string::<i32>().clone()),
            ],
        )
    }
}

/// Each row as one JSON object, NULLs included.
fn json(rows: &RecordBatch) -> std::result::Result<StringArray, ArrowError> {
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer: LineDelimitedWriter<Vec<u8>> = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(rows)?;
    writer.finish()?;
    let text = String::from_utf8(writer.into_inner()).map_err(|e| ArrowError::JsonError(e.to_string()))?;
    Ok(text.lines().map(Some).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;

    #[test]
    fn a_row_becomes_a_record_with_its_place() {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("note", DataType::Utf8, true),
            Field::new("_position", DataType::Int64, true),
            Field::new("reason", DataType::Utf8, true),
        ]);
        let rows = RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(Int64Array::from(vec![Some(7), None])),
                Arc::new(StringArray::from(vec!["a\nb", "c"])),
                Arc::new(Int64Array::from(vec![3, 4])),
                Arc::new(StringArray::from(vec!["unique id", "not_null id"])),
            ],
        )
        .unwrap();
        let aside = SetAside { run: RunId(12), at: Timestamp(5), source: "shop.orders".to_owned() };
        let records = aside.batch(&quarantine_schema(), &rows).unwrap();
        let text = |name: &str| records.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
        assert_eq!(text("raw"), r#"{"id":7,"note":"a\nb","_position":3}"#);
        assert_eq!((text("reason").as_str(), text("source").as_str()), ("unique id", "shop.orders"));
        assert_eq!(records.column_by_name("position").unwrap().as_primitive::<Int64Type>().value(1), 4);
        assert!(records.column_by_name("file").unwrap().is_null(0));
    }
}
