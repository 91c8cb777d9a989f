//! Rows of Arrow's columns as messages.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch, StringArray,
    StringViewArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, make_encoder};
use bytes::{BufMut, BytesMut};
use pgwire::api::Type;
use polder_app::json_values;
use std::sync::Arc;

use super::number::{double, numeric, put, single};
use super::time::{EPOCH_DAYS, EPOCH_MICROS, date, interval, time, timestamp};
use super::{array, number};
use crate::frontend::Formats;
use crate::types::{is_nested, pg_type};

/// A batch of rows, ready to be written.
#[derive(Debug)]
pub(crate) struct Rows {
    columns: Vec<(Column, bool)>,
    pub(crate) count: usize,
}

/// A column in one of the forms that are written.
#[derive(Debug)]
pub(super) enum Column {
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Float4(Float32Array),
    Float8(Float64Array),
    Numeric(Decimal128Array),
    LongNumeric(Decimal256Array),
    Text(StringArray),
    TextView(StringViewArray),
    Bytes(BinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray, bool),
    Interval(IntervalMonthDayNanoArray),
    List(ListArray, Type, Box<Column>),
    /// JSON of each row, which was made of the whole column.
    Json(Vec<Option<String>>),
    /// No value is anything but NULL.
    Nulls,
}

impl Rows {
    /// # Errors
    /// A column that cannot be brought into a form that is written.
    pub(crate) fn new(batch: &RecordBatch, formats: &Formats) -> Result<Self, ArrowError> {
        let column = |(at, array)| Ok((Column::new(array)?, formats.is_binary(at)));
        let columns: Result<_, ArrowError> = batch.columns().iter().enumerate().map(column).collect();
        Ok(Self { columns: columns?, count: batch.num_rows() })
    }

    /// Writes a row as a `DataRow` message.
    pub(crate) fn write(&self, row: usize, out: &mut BytesMut) {
        out.put_u8(b'D');
        let start = out.len();
        out.put_u32(0);
        out.put_u16(u16::try_from(self.columns.len()).unwrap_or(u16::MAX));
        for (column, binary) in &self.columns {
            put_value(column, row, *binary, out);
        }
        patch_length(out, start, 0);
    }
}

/// Writes a value with its length before it.
pub(super) fn put_value(column: &Column, row: usize, binary: bool, out: &mut BytesMut) {
    if column.is_null(row) {
        return out.put_i32(-1);
    }
    let start = out.len();
    out.put_u32(0);
    if binary {
        column.write_binary(row, out)
    } else {
        column.write_text(row, out)
    }
    patch_length(out, start, 4);
}

/// Puts the count of bytes since `start` into the four bytes there, without the `own` ones that it does not count.
fn patch_length(out: &mut BytesMut, start: usize, own: usize) {
    let length = u32::try_from(out.len() - start - own).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

impl Column {
    pub(super) fn new(array: &ArrayRef) -> Result<Self, ArrowError> {
        let to = |data_type: DataType| cast(array, &data_type);
        Ok(match array.data_type() {
            DataType::Null => Self::Nulls,
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Int16 => Self::Int2(array.as_primitive().clone()),
            DataType::Int8 | DataType::UInt8 => Self::Int2(to(DataType::Int16)?.as_primitive().clone()),
            DataType::Int32 => Self::Int4(array.as_primitive().clone()),
            DataType::UInt16 => Self::Int4(to(DataType::Int32)?.as_primitive().clone()),
            DataType::Int64 => Self::Int8(array.as_primitive().clone()),
            DataType::UInt32 => Self::Int8(to(DataType::Int64)?.as_primitive().clone()),
            DataType::UInt64 => Self::Numeric(to(DataType::Decimal128(20, 0))?.as_primitive().clone()),
            DataType::Float32 => Self::Float4(array.as_primitive().clone()),
            DataType::Float16 => Self::Float4(to(DataType::Float32)?.as_primitive().clone()),
            DataType::Float64 => Self::Float8(array.as_primitive().clone()),
            DataType::Decimal128(..) => Self::Numeric(array.as_primitive().clone()),
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => {
                Self::Numeric(to(DataType::Decimal128(*p, *s))?.as_primitive().clone())
            }
            DataType::Decimal256(..) => Self::LongNumeric(array.as_primitive().clone()),
            DataType::Utf8 => Self::Text(array.as_string().clone()),
            DataType::Utf8View => Self::TextView(array.as_string_view().clone()),
            DataType::Binary => Self::Bytes(array.as_binary().clone()),
            DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::Bytes(to(DataType::Binary)?.as_binary().clone())
            }
            DataType::Date32 => Self::Date(array.as_primitive().clone()),
            DataType::Date64 => Self::Date(to(DataType::Date32)?.as_primitive().clone()),
            DataType::Time32(_) | DataType::Time64(_) => {
                Self::Time(to(DataType::Time64(TimeUnit::Microsecond))?.as_primitive().clone())
            }
            DataType::Timestamp(_, zone) => {
                let micros = to(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
                Self::Timestamp(micros.as_primitive().clone(), zone.is_some())
            }
            DataType::Interval(_) | DataType::Duration(_) => {
                Self::Interval(to(DataType::Interval(IntervalUnit::MonthDayNano))?.as_primitive().clone())
            }
            DataType::Dictionary(_, values) => Self::new(&to(DataType::clone(values))?)?,
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)
                if !is_nested(item.data_type()) && pg_type(array.data_type()).of != Type::JSON =>
            {
                let list = to(DataType::List(Arc::clone(item)))?;
                let list = list.as_list::<i32>().clone();
                let items = Self::new(list.values())?;
                Self::List(list, pg_type(item.data_type()).of, Box::new(items))
            }
            nested if is_nested(nested) => Self::Json(json(array)?),
            _ => Self::Text(to(DataType::Utf8)?.as_string().clone()),
        })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(a) => a.is_null(row),
            Self::Int2(a) => a.is_null(row),
            Self::Int4(a) => a.is_null(row),
            Self::Int8(a) => a.is_null(row),
            Self::Float4(a) => a.is_null(row),
            Self::Float8(a) => a.is_null(row),
            Self::Numeric(a) => a.is_null(row),
            Self::LongNumeric(a) => a.is_null(row),
            Self::Text(a) => a.is_null(row),
            Self::TextView(a) => a.is_null(row),
            Self::Bytes(a) => a.is_null(row),
            Self::Date(a) => a.is_null(row),
            Self::Time(a) => a.is_null(row),
            Self::Timestamp(a, _) => a.is_null(row),
            Self::Interval(a) => a.is_null(row),
            Self::List(a, ..) => a.is_null(row),
            Self::Json(a) => a[row].is_none(),
            Self::Nulls => true,
        }
    }

    pub(super) fn write_text(&self, row: usize, out: &mut BytesMut) {
        match self {
            Self::Bool(a) => out.put_u8(if a.value(row) { b't' } else { b'f' }),
            Self::Int2(a) => put!(out, "{}", a.value(row)),
            Self::Int4(a) => put!(out, "{}", a.value(row)),
            Self::Int8(a) => put!(out, "{}", a.value(row)),
            Self::Float4(a) => single(a.value(row), out),
            Self::Float8(a) => double(a.value(row), out),
            Self::Numeric(a) => out.put_slice(a.value_as_string(row).as_bytes()),
            Self::LongNumeric(a) => out.put_slice(a.value_as_string(row).as_bytes()),
            Self::Text(a) => out.put_slice(a.value(row).as_bytes()),
            Self::TextView(a) => out.put_slice(a.value(row).as_bytes()),
            Self::Bytes(a) => {
                out.put_slice(b"\\x");
                a.value(row).iter().for_each(|byte| put!(out, "{byte:02x}"));
            }
            Self::Date(a) => date(a.value(row), out),
            Self::Time(a) => time(a.value(row), out),
            Self::Timestamp(a, zone) => timestamp(a.value(row), *zone, out),
            Self::Interval(a) => {
                let value = a.value(row);
                interval(value.months, value.days, value.nanoseconds / 1000, out);
            }
            Self::List(list, _, items) => array::text(list, items, row, out),
            Self::Json(a) => a[row].iter().for_each(|text| out.put_slice(text.as_bytes())),
            Self::Nulls => {}
        }
    }

    pub(super) fn write_binary(&self, row: usize, out: &mut BytesMut) {
        match self {
            Self::Bool(a) => out.put_u8(u8::from(a.value(row))),
            Self::Int2(a) => out.put_i16(a.value(row)),
            Self::Int4(a) => out.put_i32(a.value(row)),
            Self::Int8(a) => out.put_i64(a.value(row)),
            Self::Float4(a) => out.put_f32(a.value(row)),
            Self::Float8(a) => out.put_f64(a.value(row)),
            Self::Numeric(a) => numeric(&a.value_as_string(row), out),
            Self::LongNumeric(a) => number::numeric(&a.value_as_string(row), out),
            Self::Bytes(a) => out.put_slice(a.value(row)),
            Self::Date(a) => out.put_i32(a.value(row).saturating_sub(EPOCH_DAYS)),
            Self::Time(a) => out.put_i64(a.value(row)),
            Self::Timestamp(a, _) => out.put_i64(a.value(row).saturating_sub(EPOCH_MICROS)),
            Self::Interval(a) => {
                let value = a.value(row);
                out.put_i64(value.nanoseconds / 1000);
                out.put_i32(value.days);
                out.put_i32(value.months);
            }
            Self::List(list, of, items) => array::binary(list, of, items, row, out),
            // Text and JSON are the same in both.
            Self::Text(_) | Self::TextView(_) | Self::Json(_) | Self::Nulls => self.write_text(row, out),
        }
    }
}

/// What has parts, as JSON.
fn json(array: &ArrayRef) -> Result<Vec<Option<String>>, ArrowError> {
    let field: FieldRef = Arc::new(Field::new("", array.data_type().clone(), true));
    let options = EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(json_values());
    let mut encoder = make_encoder(&field, array, &options)?;
    let mut row_of = |row| {
        if encoder.is_null(row) {
            return None;
        }
        let mut text = Vec::new();
        encoder.encode(row, &mut text);
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    Ok((0..array.len()).map(&mut row_of).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Builder, ListBuilder, StructArray};

    use super::*;

    fn texts(array: ArrayRef) -> Vec<Option<String>> {
        let column = Column::new(&array).unwrap();
        let text = |row| {
            let mut out = BytesMut::new();
            column.write_text(row, &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        };
        (0..array.len()).map(|row| (!column.is_null(row)).then(|| text(row))).collect()
    }

    #[test]
    fn what_has_parts_is_json() {
        let part: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
        let array = StructArray::from(vec![(Arc::new(Field::new("a", DataType::Int32, true)), part)]);
        assert_eq!(texts(Arc::new(array)), [Some("{\"a\":1}".to_owned()), Some("{\"a\":null}".to_owned())]);
    }

    #[test]
    fn lists_are_arrays() {
        let mut lists = ListBuilder::new(Int32Builder::new());
        lists.append_value([Some(1), None, Some(3)]);
        lists.append_null();
        lists.append_value([]);
        let expected = [Some("{1,NULL,3}".to_owned()), None, Some("{}".to_owned())];
        assert_eq!(texts(Arc::new(lists.finish())), expected);
    }

    #[test]
    fn a_row_is_a_message_with_lengths() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(42), None]));
        let batch = RecordBatch::try_from_iter_with_nullable([("n", column, true)]).unwrap();
        let mut out = BytesMut::new();
        let rows = Rows::new(&batch, &Formats::TEXT).unwrap();
        rows.write(0, &mut out);
        assert_eq!(&out[..], b"D\0\0\0\x0c\0\x01\0\0\0\x0242");
        out.clear();
        Rows::new(&batch, &Formats::All { binary: true }).unwrap().write(1, &mut out);
        assert_eq!(&out[..], b"D\0\0\0\x0a\0\x01\xff\xff\xff\xff");
    }
}
