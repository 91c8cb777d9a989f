//! Rows as text: CSV and JSON lines.
//!
//! Made for the few types of the shop's columns: one pass over the rows, no formatting machinery, no allocation.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use chrono::{Datelike, NaiveDate};

use crate::calendar::{DAY, SECOND};

/// A column, its type known.
enum Column<'a> {
    Text(&'a arrow::array::StringArray),
    Long(&'a [i64], &'a ArrayRef),
    Int(&'a [i32]),
    Decimal(&'a [i128], u32),
    Time(&'a [i64]),
    Date(&'a [i32]),
    Bool(&'a arrow::array::BooleanArray),
}

impl<'a> Column<'a> {
    fn of(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::Int64 => Self::Long(array.as_primitive::<Int64Type>().values(), array),
            DataType::Int32 => Self::Int(array.as_primitive::<Int32Type>().values()),
            DataType::Decimal128(_, scale) => {
                Self::Decimal(array.as_primitive::<Decimal128Type>().values(), u32::from(scale.unsigned_abs()))
            }
            DataType::Timestamp(..) => Self::Time(array.as_primitive::<TimestampMicrosecondType>().values()),
            DataType::Date32 => Self::Date(array.as_primitive::<Date32Type>().values()),
            DataType::Boolean => Self::Bool(array.as_boolean()),
            other => return Err(ArrowError::NotYetImplemented(format!("{other} as text"))),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Text(a) => a.is_null(row),
            Self::Long(_, a) => a.is_null(row),
            _ => false,
        }
    }
}

fn columns(batch: &RecordBatch) -> Result<Vec<Column<'_>>, ArrowError> {
    batch.columns().iter().map(Column::of).collect()
}

/// The names of the columns as the first line of a CSV file.
pub(crate) fn csv_header(batch: &arrow::datatypes::Schema, out: &mut Vec<u8>) {
    for (i, field) in batch.fields().iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(field.name().as_bytes());
    }
    out.push(b'\n');
}

/// Rows as CSV (RFC 4180, `\n` at the end of lines): NULL is the empty field. `torn` says after each line, given its
/// row and bytes, how many bytes of it are left; the line end stays.
pub(crate) fn csv(
    batch: &RecordBatch,
    out: &mut Vec<u8>,
    mut torn: impl FnMut(usize, &[u8]) -> Option<usize>,
) -> Result<(), ArrowError> {
    let columns = columns(batch)?;
    for row in 0..batch.num_rows() {
        let start = out.len();
        for (i, column) in columns.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            if column.is_null(row) {
                continue;
            }
            match column {
                Column::Text(a) => csv_text(a.value(row), out),
                other => plain(other, row, out),
            }
        }
        end_line(out, start, row, &mut torn);
    }
    Ok(())
}

/// Rows as JSON lines: one object a line, keys of NULL columns left out, decimals as numbers.
pub(crate) fn json_lines(
    batch: &RecordBatch,
    out: &mut Vec<u8>,
    mut torn: impl FnMut(usize, &[u8]) -> Option<usize>,
) -> Result<(), ArrowError> {
    let columns = columns(batch)?;
    let schema = batch.schema();
    let keys: Vec<String> = schema.fields().iter().map(|f| format!("\"{}\":", f.name())).collect();
    for row in 0..batch.num_rows() {
        let start = out.len();
        out.push(b'{');
        for (key, column) in keys.iter().zip(&columns) {
            if column.is_null(row) {
                continue;
            }
            if out.last() != Some(&b'{') {
                out.push(b',');
            }
            out.extend_from_slice(key.as_bytes());
            match column {
                Column::Text(a) => json_text(a.value(row), out),
                Column::Time(_) | Column::Date(_) => {
                    out.push(b'"');
                    plain(column, row, out);
                    out.push(b'"');
                }
                other => plain(other, row, out),
            }
        }
        out.push(b'}');
        end_line(out, start, row, &mut torn);
    }
    Ok(())
}

fn end_line(out: &mut Vec<u8>, start: usize, row: usize, torn: &mut impl FnMut(usize, &[u8]) -> Option<usize>) {
    if let Some(left) = torn(row, &out[start..]) {
        out.truncate(start + left);
    }
    out.push(b'\n');
}

/// A value that needs no quotes in CSV.
fn plain(column: &Column<'_>, row: usize, out: &mut Vec<u8>) {
    match column {
        Column::Text(a) => out.extend_from_slice(a.value(row).as_bytes()),
        Column::Long(v, _) => integer(v[row], out),
        Column::Int(v) => integer(i64::from(v[row]), out),
        Column::Decimal(v, scale) => decimal(v[row], *scale, out),
        Column::Time(v) => timestamp(v[row], out),
        Column::Date(v) => date(i64::from(v[row]), out),
        Column::Bool(a) => out.extend_from_slice(if a.value(row) { b"true" } else { b"false" }),
    }
}

fn integer(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    digits(value.unsigned_abs(), 1, out);
}

/// A number with at least `width` digits.
fn digits(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = [b'0'; 20];
    let mut at = buffer.len();
    while value > 0 || buffer.len() - at < width {
        at -= 1;
        buffer[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
    out.extend_from_slice(&buffer[at..]);
}

fn decimal(value: i128, scale: u32, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let whole = 10_u64.pow(scale);
    let value = u64::try_from(value.unsigned_abs()).unwrap_or(u64::MAX);
    digits(value / whole, 1, out);
    out.push(b'.');
    digits(value % whole, scale as usize, out);
}

/// RFC 3339 in UTC: `2025-11-20T08:15:02Z`, with milliseconds where there are any.
fn timestamp(micros: i64, out: &mut Vec<u8>) {
    let within = micros.rem_euclid(DAY);
    date(micros.div_euclid(DAY), out);
    let seconds = (within / SECOND).unsigned_abs();
    for (before, value) in [(b'T', seconds / 3600), (b':', seconds / 60 % 60), (b':', seconds % 60)] {
        out.push(before);
        digits(value, 2, out);
    }
    let fraction = (within % SECOND).unsigned_abs();
    if fraction > 0 {
        out.push(b'.');
        digits(fraction / 1000, 3, out);
    }
    out.push(b'Z');
}

/// Days since 1970 as `2025-11-20`.
fn date(days: i64, out: &mut Vec<u8>) {
    let date = i32::try_from(days).ok().and_then(NaiveDate::from_epoch_days).unwrap_or_default();
    digits(u64::from(date.year().unsigned_abs()), 4, out);
    out.push(b'-');
    digits(u64::from(date.month()), 2, out);
    out.push(b'-');
    digits(u64::from(date.day()), 2, out);
}

fn csv_text(text: &str, out: &mut Vec<u8>) {
    let quoted = text.is_empty() || text.bytes().any(|b| matches!(b, b',' | b'"' | b'\n' | b'\r'));
    if !quoted {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn json_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(f: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_and_times_are_written_as_people_write_them() {
        assert_eq!(text(|o| integer(0, o)), "0");
        assert_eq!(text(|o| integer(i64::MIN, o)), "-9223372036854775808");
        assert_eq!(text(|o| decimal(-5, 2, o)), "-0.05");
        assert_eq!(text(|o| decimal(123_456, 2, o)), "1234.56");
        assert_eq!(text(|o| decimal(9_200, 4, o)), "0.9200");
        assert_eq!(text(|o| timestamp(0, o)), "1970-01-01T00:00:00Z");
        assert_eq!(text(|o| timestamp(1_763_626_502_120_000, o)), "2025-11-20T08:15:02.120Z");
        assert_eq!(text(|o| date(-1, o)), "1969-12-31");
    }

    #[test]
    fn text_is_quoted_where_it_must_be() {
        assert_eq!(text(|o| csv_text("a,b", o)), "\"a,b\"");
        assert_eq!(text(|o| csv_text("say \"hi\"", o)), "\"say \"\"hi\"\"\"");
        assert_eq!(text(|o| csv_text("", o)), "\"\"");
        assert_eq!(text(|o| json_text("a\"b\\c\u{1}", o)), "\"a\\\"b\\\\c\\u0001\"");
    }
}
