//! Time zones by offset: Arrow's formatters know `+00:00`, and without a time-zone database not `UTC`.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Field, Schema, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
};
use datafusion::arrow::datatypes::{TimestampNanosecondType, TimestampSecondType};
use datafusion::arrow::error::ArrowError;

/// The same rows, with columns in UTC told by offset.
///
/// # Errors
/// None that rows could cause.
pub fn by_offset(batch: &RecordBatch) -> Result<Cow<'_, RecordBatch>, ArrowError> {
    if !batch.schema().fields().iter().any(|f| is_utc(f.data_type())) {
        return Ok(Cow::Borrowed(batch));
    }
    let columns: Vec<ArrayRef> = batch.columns().iter().map(with_offset).collect();
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(&columns);
    let fields: Vec<Field> = fields.map(|(f, c)| f.as_ref().clone().with_data_type(c.data_type().clone())).collect();
    Ok(Cow::Owned(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?))
}

fn is_utc(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(zone)) if matches!(zone.as_ref(), "UTC" | "Etc/UTC" | "Z" | "z"))
}

fn with_offset(column: &ArrayRef) -> ArrayRef {
    macro_rules! offset {
        ($unit:ty) => {
            Arc::new(column.as_primitive::<$unit>().clone().with_timezone("+00:00"))
        };
    }
    match column.data_type() {
        data_type if !is_utc(data_type) => Arc::clone(column),
        DataType::Timestamp(TimeUnit::Second, _) => offset!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => offset!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => offset!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => offset!(TimestampNanosecondType),
        _ => Arc::clone(column),
    }
}
