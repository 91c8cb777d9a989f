//! JSON values → Arrow arrays, without a tree of values in between.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, NullBufferBuilder, StructArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields};
use arrow::error::ArrowError;

use super::parse::{Json, Malformed, Next};
use crate::plain::Plain;
use crate::text::discover::shorten;
use crate::text::value;
use crate::types::sql_type;

/// Why a record cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    Malformed(Malformed),
    Misfit(String),
    /// A key that the plan does not know: it lies beyond the sample.
    UnknownKey,
}

impl From<Malformed> for Refusal {
    fn from(m: Malformed) -> Self {
        Self::Malformed(m)
    }
}

type Result<T> = std::result::Result<T, Refusal>;

/// The values of one place in the records, as they come in.
#[derive(Debug)]
pub struct Column {
    /// `items.price`: for messages.
    path: String,
    data_type: DataType,
    /// The type was declared: numbers and booleans in quotes are taken too.
    lenient: bool,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Plain(Plain),
    List { field: FieldRef, offsets: Vec<i32>, nulls: NullBufferBuilder, item: Box<Column> },
    Struct { fields: Fields, record: Record, nulls: NullBufferBuilder },
}

impl Column {
    pub fn new(path: String, data_type: &DataType, lenient: bool) -> Self {
        let values = match data_type {
            DataType::List(field) => Values::List {
                field: Arc::clone(field),
                offsets: vec![0],
                nulls: NullBufferBuilder::new(1024),
                item: Box::new(Self::new(format!("{path}[]"), field.data_type(), lenient)),
            },
            DataType::Struct(fields) => {
                let column = |f: &FieldRef| {
                    (f.name().clone(), Self::new(format!("{path}.{}", f.name()), f.data_type(), lenient))
                };
                let record = Record::new(fields.iter().map(column).collect());
                Values::Struct { fields: fields.clone(), record, nulls: NullBufferBuilder::new(1024) }
            }
            plain => Values::Plain(Plain::new(plain)),
        };
        Self { path, data_type: data_type.clone(), lenient, values }
    }

    fn len(&self) -> usize {
        match &self.values {
            Values::Plain(values) => values.len(),
            Values::List { nulls, .. } | Values::Struct { nulls, .. } => nulls.len(),
        }
    }

    fn append_null(&mut self) {
        match &mut self.values {
            Values::Plain(values) => values.append_null(),
            Values::List { offsets, nulls, item, .. } => {
                item.settle();
                offsets.push(offset(item.len()));
                nulls.append_null();
            }
            Values::Struct { record, nulls, .. } => {
                nulls.append_null();
                record.fill(nulls.len());
            }
        }
    }

    /// Evens out what a refused value left half done.
    fn settle(&mut self) {
        match &mut self.values {
            Values::List { offsets, nulls, item, .. } => {
                item.settle();
                if offsets.last() != Some(&offset(item.len())) {
                    offsets.push(offset(item.len()));
                    nulls.append_null();
                }
            }
            Values::Struct { record, nulls, .. } => {
                let rows = record.settle().max(nulls.len());
                nulls.append_n_nulls(rows - nulls.len());
                record.fill(rows);
            }
            _ => {}
        }
    }

    /// Takes in the value that comes next.
    fn take(&mut self, json: &mut Json<'_>) -> Result<()> {
        let next = json.next()?;
        if next == Next::Null {
            json.null()?;
            self.append_null();
            return Ok(());
        }
        match (&mut self.values, next) {
            (Values::Plain(Plain::Text(b)), Next::String) => b.append_value(json.string()?),
            (Values::Plain(Plain::Text(b)), _) => b.append_value(json.raw()?),
            (Values::Plain(Plain::Boolean(b)), Next::Boolean) => b.append_value(json.boolean()?),
            (Values::List { offsets, nulls, item, .. }, Next::List) => {
                json.enter()?;
                let mut first = true;
                while json.next_item(first)? {
                    first = false;
                    item.take(json)?;
                }
                offsets.push(offset(item.len()));
                nulls.append_non_null();
            }
            (Values::Struct { record, nulls, .. }, Next::Object) => {
                record.take(json, nulls.len() + 1)?;
                nulls.append_non_null();
            }
            (_, Next::Number) => {
                let number = json.number()?;
                self.take_number(number)?;
            }
            (_, Next::String) => {
                let text = json.string()?;
                self.take_text(&text)?;
            }
            _ => return Err(self.misfit(next, json.raw()?)),
        }
        Ok(())
    }

    fn take_number(&mut self, number: &str) -> Result<()> {
        let bytes = number.as_bytes();
        let lenient = self.lenient;
        let double = |b: &[u8]| if lenient { value::double(b, true) } else { value::whole_double(b) };
        let fits = match (&mut self.values, &self.data_type) {
            (Values::Plain(Plain::Int64(b)), _) => value::integer(bytes, true).map(|v| b.append_value(v)),
            (Values::Plain(Plain::Float64(b)), _) => double(bytes).map(|v| b.append_value(v)),
            (Values::Plain(Plain::Decimal(b)), DataType::Decimal128(p, s)) => {
                value::decimal(bytes, *p, *s, true).map(|v| b.append_value(v))
            }
            (Values::Plain(Plain::Int32(b)), _) => {
                value::integer(bytes, true).and_then(|v| i32::try_from(v).ok()).map(|v| b.append_value(v))
            }
            (Values::Plain(Plain::Float32(b)), _) => double(bytes).map(|v| b.append_value(v as f32)),
            _ => None,
        };
        fits.ok_or_else(|| self.misfit(Next::Number, number))
    }

    fn take_text(&mut self, text: &str) -> Result<()> {
        let (bytes, lenient) = (text.as_bytes(), self.lenient);
        let cut = |m: value::Micros| (lenient || !m.cut).then_some(m.value);
        let fits = match (&mut self.values, &self.data_type) {
            (Values::Plain(Plain::Date(b)), _) => value::date(bytes).map(|v| b.append_value(v)),
            (Values::Plain(Plain::Time(b)), _) => value::time(bytes).and_then(cut).map(|v| b.append_value(v)),
            (Values::Plain(Plain::Timestamp(b)), DataType::Timestamp(_, zone)) => {
                value::instant(bytes, zone.is_some(), !lenient).and_then(cut).map(|v| b.append_value(v))
            }
            (Values::Plain(Plain::Bytes(b)), _) => {
                b.append_value(bytes);
                Some(())
            }
            (Values::Plain(Plain::Boolean(b)), _) if lenient => value::boolean_words(bytes).map(|v| b.append_value(v)),
            _ if lenient => return self.take_number(text.trim()),
            _ => None,
        };
        fits.ok_or_else(|| self.misfit(Next::String, text))
    }

    #[cold]
    fn misfit(&self, next: Next, text: &str) -> Refusal {
        let found = match next {
            Next::Null => "null",
            Next::Boolean => "a boolean",
            Next::Number => "a number that does not fit",
            Next::String => "text",
            Next::Object => "an object",
            Next::List => "a list",
        };
        let quote = if next == Next::String { "\"" } else { "" };
        let (path, is, text) = (&self.path, sql_type(&self.data_type), shorten(text));
        Refusal::Misfit(format!("`{path}` is {is}, but {quote}{text}{quote} is {found}"))
    }

    pub fn finish(self) -> std::result::Result<ArrayRef, ArrowError> {
        Ok(match self.values {
            Values::Plain(values) => values.finish(),
            Values::List { field, offsets, mut nulls, item } => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                Arc::new(ListArray::try_new(field, offsets, item.finish()?, nulls.finish())?)
            }
            Values::Struct { fields, record, mut nulls } => {
                let rows = nulls.len();
                Arc::new(StructArray::try_new_with_length(fields, record.finish()?, nulls.finish(), rows)?)
            }
        })
    }
}

/// A chunk is far shorter than 2 GiB, and so are its lists.
fn offset(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// The columns of an object.
#[derive(Debug)]
pub struct Record {
    columns: Vec<Column>,
    /// The key of each column. Records of one file mostly have the same keys in the same order: the key after
    /// the last one is tried first.
    keys: Vec<String>,
    index: HashMap<String, usize>,
}

impl Record {
    pub fn new(columns: Vec<(String, Column)>) -> Self {
        let (keys, columns): (Vec<String>, Vec<Column>) = columns.into_iter().unzip();
        let index = keys.iter().cloned().zip(0..).collect();
        Self { columns, keys, index }
    }

    /// Takes in an object as row number `rows` (from 1).
    pub fn take(&mut self, json: &mut Json<'_>, rows: usize) -> Result<()> {
        json.enter()?;
        let mut guess = 0;
        let mut first = true;
        while let Some(key) = json.next_key(first)? {
            first = false;
            let at = match self.keys.get(guess) {
                Some(name) if *name == key => guess,
                _ => *self.index.get(&*key).ok_or(Refusal::UnknownKey)?,
            };
            guess = at + 1;
            let column = &mut self.columns[at];
            if column.len() >= rows {
                return Err(Refusal::Misfit(format!("the key `{}` comes twice", column.path)));
            }
            column.take(json)?;
        }
        self.fill(rows);
        Ok(())
    }

    /// Missing keys are NULL.
    fn fill(&mut self, rows: usize) {
        for column in &mut self.columns {
            while column.len() < rows {
                column.append_null();
            }
        }
    }

    /// Evens out all columns after a refused record; gives their length.
    fn settle(&mut self) -> usize {
        self.columns.iter_mut().for_each(Column::settle);
        self.columns.iter().map(Column::len).max().unwrap_or(0)
    }

    /// Makes row number `rows` (from 1) whole after a refusal; its values mean nothing.
    pub fn abandon(&mut self, rows: usize) {
        self.settle();
        self.fill(rows);
    }

    pub fn finish(self) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        self.columns.into_iter().map(Column::finish).collect()
    }
}
