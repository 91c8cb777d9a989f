//! Fields of a chunk → one Arrow array a column.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array,
    Int64Array, NullBufferBuilder, StringBuilder, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::split::{Field, Records, unescape};
use crate::text::discover::{Seen, shorten};
use crate::text::value;
use crate::types::{UTC, sql_type};

/// How a column of a CSV file is read.
#[derive(Debug, Clone)]
pub struct CsvColumn {
    /// The column's name in the table, for messages.
    pub name: String,
    pub data_type: DataType,
    /// The type was declared: other spellings of a value (`007`, `+1`, `yes`, blanks around it) are taken too.
    pub lenient: bool,
}

/// A value that does not fit its column.
#[derive(Debug)]
pub struct Misfit {
    pub row: usize,
    pub reason: String,
}

/// One column of a chunk's records.
pub struct ColumnReader<'a> {
    /// Valid UTF-8.
    pub text: &'a str,
    pub records: &'a Records,
    pub nulls: &'a [Vec<u8>],
}

impl ColumnReader<'_> {
    /// The array of the field at `index`, and the values that do not fit; they are NULL in the array.
    pub fn read(&self, index: usize, column: &CsvColumn, misfits: &mut Vec<Misfit>) -> ArrayRef {
        let strict = !column.lenient;
        let cut = |m: value::Micros| (!strict || !m.cut).then_some(m);
        let double = |b: &[u8]| if strict { value::whole_double(b) } else { value::double(b, false) };
        match &column.data_type {
            DataType::Boolean => self.booleans(index, column, misfits),
            DataType::Int32 => {
                let parse = |b: &[u8]| value::integer(b, strict).and_then(|v| i32::try_from(v).ok());
                let (values, nulls) = self.values(index, column, misfits, parse);
                Arc::new(Int32Array::new(values.into(), nulls))
            }
            DataType::Int64 => {
                let (values, nulls) = self.values(index, column, misfits, |b| value::integer(b, strict));
                Arc::new(Int64Array::new(values.into(), nulls))
            }
            DataType::Float32 => {
                let parse = |b: &[u8]| double(b).map(|v| v as f32);
                let (values, nulls) = self.values(index, column, misfits, parse);
                Arc::new(Float32Array::new(values.into(), nulls))
            }
            DataType::Float64 => {
                let (values, nulls) = self.values(index, column, misfits, double);
                Arc::new(Float64Array::new(values.into(), nulls))
            }
            DataType::Decimal128(p, s) => {
                let (p, s) = (*p, *s);
                let (values, nulls) = self.values(index, column, misfits, |b| value::decimal(b, p, s, strict));
                Arc::new(Decimal128Array::new(values.into(), nulls).with_data_type(column.data_type.clone()))
            }
            DataType::Date32 => {
                let (values, nulls) = self.values(index, column, misfits, value::date);
                Arc::new(Date32Array::new(values.into(), nulls))
            }
            DataType::Time64(_) => {
                let parse = |b: &[u8]| value::time(b).and_then(cut).map(|m| m.value);
                let (values, nulls) = self.values(index, column, misfits, parse);
                Arc::new(Time64MicrosecondArray::new(values.into(), nulls))
            }
            DataType::Timestamp(_, zone) => {
                let zoned = zone.is_some();
                let parse = |b: &[u8]| value::instant(b, zoned, strict).and_then(cut).map(|m| m.value);
                let (values, nulls) = self.values(index, column, misfits, parse);
                let array = TimestampMicrosecondArray::new(values.into(), nulls);
                if zoned { Arc::new(array.with_timezone(UTC)) } else { Arc::new(array) }
            }
            DataType::Binary => self.binaries(index),
            _ => self.texts(index),
        }
    }

    fn field(&self, row: usize, index: usize) -> Field {
        self.records.fields[row * self.records.width + index]
    }

    fn bytes(&self, field: Field) -> &[u8] {
        &self.text.as_bytes()[field.start()..field.end()]
    }

    fn is_null(&self, field: Field, bytes: &[u8]) -> bool {
        !field.is_quoted() && (bytes.is_empty() || self.nulls.iter().any(|n| n == bytes))
    }

    /// Values of a type with a native form. An empty field in quotes is NULL here: programs that quote everything have
    /// no other way to write it.
    #[inline]
    fn values<T: Default>(
        &self,
        index: usize,
        column: &CsvColumn,
        misfits: &mut Vec<Misfit>,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> (Vec<T>, Option<NullBuffer>) {
        let rows = self.records.rows();
        let mut values = Vec::with_capacity(rows);
        let mut nulls = NullBufferBuilder::new(rows);
        for row in 0..rows {
            let field = self.field(row, index);
            let mut bytes = self.bytes(field);
            if column.lenient {
                bytes = bytes.trim_ascii();
            }
            if bytes.is_empty() || self.is_null(field, bytes) {
                values.push(T::default());
                nulls.append_null();
            } else if let Some(value) = parse(bytes) {
                values.push(value);
                nulls.append_non_null();
            } else {
                values.push(T::default());
                nulls.append_null();
                misfits.push(Misfit { row, reason: does_not_fit(column, bytes) });
            }
        }
        (values, nulls.finish())
    }

    fn booleans(&self, index: usize, column: &CsvColumn, misfits: &mut Vec<Misfit>) -> ArrayRef {
        let parse = if column.lenient { value::boolean_words } else { value::boolean };
        let (values, nulls) = self.values(index, column, misfits, parse);
        let mut builder = BooleanBuilder::with_capacity(values.len());
        for (row, value) in values.iter().enumerate() {
            builder.append_option(nulls.as_ref().is_none_or(|n| n.is_valid(row)).then_some(*value));
        }
        Arc::new(builder.finish())
    }

    fn texts(&self, index: usize) -> ArrayRef {
        let rows = self.records.rows();
        let mut builder = StringBuilder::with_capacity(rows, rows * 12);
        for row in 0..rows {
            let field = self.field(row, index);
            let text = &self.text[field.start()..field.end()];
            if self.is_null(field, text.as_bytes()) {
                builder.append_null();
            } else if field.is_escaped() {
                builder.append_value(unescape_text(text));
            } else {
                builder.append_value(text);
            }
        }
        Arc::new(builder.finish())
    }

    /// PostgreSQL's `\x…` is hexadecimal; anything else is taken byte for byte.
    fn binaries(&self, index: usize) -> ArrayRef {
        let mut builder = BinaryBuilder::new();
        for row in 0..self.records.rows() {
            let field = self.field(row, index);
            let bytes = self.bytes(field);
            if self.is_null(field, bytes) {
                builder.append_null();
                continue;
            }
            let bytes = if field.is_escaped() { Cow::Owned(unescape(bytes)) } else { Cow::Borrowed(bytes) };
            match bytes.strip_prefix(b"\\x").and_then(from_hex) {
                Some(decoded) => builder.append_value(decoded),
                None => builder.append_value(bytes),
            }
        }
        Arc::new(builder.finish())
    }
}

fn unescape_text(text: &str) -> String {
    text.replace("\"\"", "\"")
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[a, b]| Some(digit(*a)? << 4 | digit(*b)?)).collect())?
}

/// `` `amount` is bigint, but "abc" is text ``.
pub fn does_not_fit(column: &CsvColumn, bytes: &[u8]) -> String {
    let value = shorten(&String::from_utf8_lossy(bytes));
    let wanted = sql_type(&column.data_type);
    let found = Seen::type_of(bytes).map_or_else(String::new, |t| sql_type(&t));
    if found == wanted {
        format!("`{}` is {wanted}, but \"{value}\" does not fit into it", column.name)
    } else {
        format!("`{}` is {wanted}, but \"{value}\" is {found}", column.name)
    }
}
