//! The type of a JSON value, found by looking at a sample.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};

use super::parse::{Json, Malformed, Next};
use crate::text::discover::{Place, Seen};
use crate::types::list_of;

/// An object with more keys than this is a map with keys of its own making, not a record: it is kept as JSON text.
const MAX_FIELDS: usize = 256;

/// What has been seen at one place of the records.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    numbers: Seen,
    texts: Seen,
    counts: Counts,
    fields: Vec<(String, Shape)>,
    index: HashMap<String, usize>,
    item: Option<Box<Shape>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    booleans: u64,
    numbers: u64,
    texts: u64,
    objects: u64,
    lists: u64,
}

impl Counts {
    fn total(self) -> u64 {
        self.booleans + self.numbers + self.texts + self.objects + self.lists
    }
}

impl Shape {
    /// Looks at the value that comes next.
    pub fn look(&mut self, json: &mut Json<'_>, place: Place<'_>) -> Result<(), Malformed> {
        match json.next()? {
            Next::Null => json.null()?,
            Next::Boolean => {
                json.boolean()?;
                self.counts.booleans += 1;
            }
            Next::Number => {
                self.numbers.add(json.number()?.as_bytes(), place);
                self.counts.numbers += 1;
            }
            Next::String => {
                self.texts.add(json.string()?.as_bytes(), place);
                self.counts.texts += 1;
            }
            Next::Object => self.look_at_object(json, place)?,
            Next::List => self.look_at_list(json, place)?,
        }
        Ok(())
    }

    fn look_at_object(&mut self, json: &mut Json<'_>, place: Place<'_>) -> Result<(), Malformed> {
        self.counts.objects += 1;
        json.enter()?;
        let mut first = true;
        while let Some(key) = json.next_key(first)? {
            first = false;
            self.field(&key).look(json, place)?;
        }
        Ok(())
    }

    fn field(&mut self, key: &str) -> &mut Self {
        let at = match self.index.get(key) {
            Some(at) => *at,
            None => {
                self.index.insert(key.to_owned(), self.fields.len());
                self.fields.push((key.to_owned(), Self::default()));
                self.fields.len() - 1
            }
        };
        &mut self.fields[at].1
    }

    fn look_at_list(&mut self, json: &mut Json<'_>, place: Place<'_>) -> Result<(), Malformed> {
        self.counts.lists += 1;
        json.enter()?;
        let item = self.item.get_or_insert_default();
        let mut first = true;
        while json.next_item(first)? {
            first = false;
            item.look(json, place)?;
        }
        Ok(())
    }

    /// The keys of objects, in the order they were first seen.
    pub fn into_fields(self) -> Vec<(String, Self)> {
        self.fields
    }

    /// The type that holds all values seen; `None` when there was none but null.
    pub fn data_type(&self) -> Option<DataType> {
        let (c, total) = (self.counts, self.counts.total());
        if total == 0 {
            return None;
        }
        Some(if c.booleans == total {
            DataType::Boolean
        } else if c.numbers == total {
            self.numbers.data_type().unwrap_or(DataType::Utf8)
        } else if c.texts == total {
            self.text_type()
        } else if c.lists == total {
            list_of(self.item.as_ref().and_then(|i| i.data_type()).unwrap_or(DataType::Utf8))
        } else if c.objects == total && !self.fields.is_empty() && self.fields.len() <= MAX_FIELDS {
            DataType::Struct(self.struct_fields())
        } else {
            DataType::Utf8
        })
    }

    /// Text stays text, but for dates and times: JSON has no other way to write them.
    fn text_type(&self) -> DataType {
        match self.texts.data_type() {
            Some(t @ (DataType::Date32 | DataType::Timestamp(..))) => t,
            _ => DataType::Utf8,
        }
    }

    fn struct_fields(&self) -> Fields {
        let field = |(name, shape): &(String, Self)| {
            Arc::new(Field::new(name, shape.data_type().unwrap_or(DataType::Utf8), true))
        };
        self.fields.iter().map(field).collect()
    }

    /// Values seen, and those among them that a column of this type cannot take.
    pub fn misfits(&self, data_type: &DataType) -> (u64, u64) {
        let (c, total) = (self.counts, self.counts.total());
        let misfits = match data_type {
            DataType::Boolean => total - c.booleans,
            DataType::Int32 | DataType::Int64 | DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => {
                total - c.numbers + self.numbers.misfits(data_type).1
            }
            DataType::Date32 | DataType::Timestamp(..) | DataType::Time64(_) => {
                total - c.texts + self.texts.misfits(data_type).1
            }
            DataType::List(item) => {
                let (items, wrong) = self.item.as_ref().map_or((0, 0), |i| i.misfits(item.data_type()));
                if wrong * 2 > items { total } else { total - c.lists }
            }
            DataType::Struct(fields) => {
                let wrong = fields.iter().any(|f| self.lacks_place_for(f));
                if wrong { total } else { total - c.objects }
            }
            _ => 0,
        };
        (total, misfits)
    }

    /// The first number or text that a column of this type cannot take, with its place: for messages.
    pub fn first_misfit(&self, data_type: &DataType) -> Option<String> {
        // A text never fits a number, whatever it looks like.
        let any = DataType::Null;
        let (numbers, texts) = match data_type {
            DataType::Date32 | DataType::Timestamp(..) | DataType::Time64(_) => (&any, data_type),
            DataType::Boolean | DataType::List(_) | DataType::Struct(_) => (&any, &any),
            _ => (data_type, &any),
        };
        let found = [self.numbers.first_misfit(numbers), self.texts.first_misfit(texts)];
        found.into_iter().flatten().min().map(ToString::to_string)
    }

    fn lacks_place_for(&self, field: &Field) -> bool {
        let Some(at) = self.index.get(field.name()) else { return false };
        let (values, wrong) = self.fields[*at].1.misfits(field.data_type());
        wrong * 2 > values
    }

    pub fn changed(&self, column: &str) -> Option<String> {
        let kinds =
            [self.counts.booleans, self.counts.numbers, self.counts.texts, self.counts.objects, self.counts.lists];
        let mixed = kinds.iter().filter(|n| **n > 0).count() > 1;
        mixed.then(|| format!("`{column}` holds values of several kinds: it is kept as JSON text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::sql_type;

    fn found(lines: &[&str]) -> String {
        let mut shape = Shape::default();
        for (i, line) in lines.iter().enumerate() {
            shape.look(&mut Json::new(line), Place { file: &"e.jsonl".into(), line: i as u64 + 1 }).unwrap();
        }
        shape.data_type().map_or_else(|| "nothing".to_owned(), |t| sql_type(&t))
    }

    #[test]
    fn each_type_is_found() {
        for (lines, want) in [
            (&["1", "null"][..], "bigint"),
            (&["1", "1.5"], "double"),
            (&["1.50", "2.25"], "decimal(18, 2)"),
            (&["0.12345678901234567"], "double"),
            (&["123456789012345678", "0.5", "12345678901234567.25"], "decimal(38, 2)"),
            (&["12345678901234567890.5"], "decimal(38, 1)"),
            (&["12345678901234567890.5", "1e-7"], "double"),
            (&["123456789012345680000", "0.30000000000000004"], "double"),
            (&["12345678901234567890"], "decimal(38, 0)"),
            (&["\"12\""], "text"),
            (&["\"2024-01-31\""], "date"),
            (&["\"2024-01-31T00:00:00Z\""], "timestamptz"),
            (&["1", "\"a\""], "text"),
            (&["[1]", "[]"], "bigint[]"),
            (&["{\"a\":1}", "{\"b\":[\"x\"]}"], "struct(a bigint, b text[])"),
            (&["{}"], "text"),
            (&["{\"a\":1}", "[1]"], "text"),
            (&["null"], "nothing"),
        ] {
            assert_eq!(found(lines), want, "{lines:?}");
        }
    }
}
