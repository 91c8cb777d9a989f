//! How columns of PostgreSQL types are asked for, and what they become.

use arrow::datatypes::{DataType, TimeUnit};

use super::catalog::{PgColumn, quote};
use crate::types::{list_of, timestamp, timestamp_tz};

/// How the bytes of a value are read: PostgreSQL's binary forms (`src/backend/utils/adt/*send`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    Boolean,
    Int16,
    Int32,
    Int64,
    /// `oid` and its like: unsigned, kept as bigint.
    UInt32,
    Float32,
    Float64,
    Numeric {
        precision: u8,
        scale: i8,
    },
    Date,
    Time,
    Timestamp,
    Text,
    /// A version byte before the text.
    Jsonb,
    Uuid,
    Bytes,
    Array(Box<Wire>),
    /// Text that is read as another, declared type.
    Parsed,
}

impl Wire {
    /// Of an array, the form of its elements.
    pub fn item(&self) -> &Self {
        match self {
            Self::Array(item) => item,
            other => other,
        }
    }
}

/// One column of the SELECT list.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The column's name in PostgreSQL, and in the table.
    pub original: String,
    pub name: String,
    /// What stands in the SELECT list.
    pub expression: String,
    pub wire: Wire,
    pub data_type: DataType,
}

/// The type of numbers of a column without precision: more digits than this are rejected, never rounded.
const NUMERIC: (u8, i8) = (38, 9);

/// The type that a column becomes when nothing was declared.
pub fn natural(column: &PgColumn) -> (Wire, DataType) {
    let wire = match (column.element_id, column.type_id) {
        (0, id) => wire_of(id, column.modifier),
        (element, _) => wire_of(element, column.modifier).map(|w| Wire::Array(Box::new(w))),
    };
    let wire = wire.unwrap_or(Wire::Text);
    let data_type = type_of(&wire, column);
    (wire, data_type)
}

/// `None`: there is no form of ours for it, so that it is asked for as text.
fn wire_of(type_id: u32, modifier: i32) -> Option<Wire> {
    Some(match type_id {
        16 => Wire::Boolean,
        17 => Wire::Bytes,
        20 => Wire::Int64,
        21 => Wire::Int16,
        23 => Wire::Int32,
        26 => Wire::UInt32,
        700 => Wire::Float32,
        701 => Wire::Float64,
        18 | 19 | 25 | 114 | 1042 | 1043 => Wire::Text,
        1082 => Wire::Date,
        1083 => Wire::Time,
        1114 | 1184 => Wire::Timestamp,
        1700 => return numeric(modifier),
        2950 => Wire::Uuid,
        3802 => Wire::Jsonb,
        _ => return None,
    })
}

/// `numeric(p, s)` by its modifier; what does not fit into 38 digits stays text.
fn numeric(modifier: i32) -> Option<Wire> {
    if modifier < 4 {
        return Some(Wire::Numeric { precision: NUMERIC.0, scale: NUMERIC.1 });
    }
    let (precision, scale) = ((modifier - 4) >> 16, (modifier - 4) & 0x7ff);
    // Eleven bits with a sign.
    let scale = if scale >= 1024 { scale - 2048 } else { scale };
    let precision = if scale < 0 { precision - scale } else { precision.max(scale) };
    let scale = scale.max(0);
    (precision <= 38)
        .then_some(Wire::Numeric { precision: u8::try_from(precision).ok()?, scale: i8::try_from(scale).ok()? })
}

fn type_of(wire: &Wire, column: &PgColumn) -> DataType {
    match wire {
        Wire::Boolean => DataType::Boolean,
        Wire::Int16 | Wire::Int32 => DataType::Int32,
        Wire::Int64 | Wire::UInt32 => DataType::Int64,
        Wire::Float32 => DataType::Float32,
        Wire::Float64 => DataType::Float64,
        Wire::Numeric { precision, scale } => DataType::Decimal128(*precision, *scale),
        Wire::Date => DataType::Date32,
        Wire::Time => DataType::Time64(TimeUnit::Microsecond),
        Wire::Timestamp if column.type_id == 1184 || column.element_id == 1184 => timestamp_tz(),
        Wire::Timestamp => timestamp(),
        Wire::Text | Wire::Jsonb | Wire::Uuid | Wire::Parsed => DataType::Utf8,
        Wire::Bytes => DataType::Binary,
        Wire::Array(item) => list_of(type_of(item, column)),
    }
}

impl Reading {
    /// `declared` differs from the natural type when a person has declared another: the column is then asked for as
    /// text and read as that type, so that a value that does not fit is one rejected row.
    pub fn new(column: &PgColumn, name: &str, data_type: &DataType) -> Self {
        let (wire, natural) = natural(column);
        let quoted = quote(&column.name);
        let known = match column.element_id {
            0 => wire_of(column.type_id, column.modifier).is_some(),
            element => wire_of(element, column.modifier).is_some(),
        };
        let (expression, wire) = if *data_type != natural {
            let wire = if *data_type == DataType::Utf8 { Wire::Text } else { Wire::Parsed };
            (format!("{quoted}::text"), wire)
        } else if known {
            (quoted, wire)
        } else {
            (format!("{quoted}::text"), Wire::Text)
        };
        Self { original: column.name.clone(), name: name.to_owned(), expression, wire, data_type: data_type.clone() }
    }
}

/// Types whose values are ordered, and whose text form gives the same value back.
pub fn can_be_cursor(column: &PgColumn) -> bool {
    matches!(column.type_id, 20 | 21 | 23 | 25 | 26 | 700 | 701 | 1042 | 1043 | 1082 | 1114 | 1184 | 1700)
}

/// Types that know infinity, which no cursor can pass.
pub fn may_be_infinite(column: &PgColumn) -> bool {
    matches!(column.type_id, 1082 | 1114 | 1184)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_and_scale_are_in_the_modifier() {
        let modifier = |p: i32, s: i32| ((p << 16) | (s & 0x7ff)) + 4;
        let of = |p, s| numeric(modifier(p, s));
        assert_eq!(of(12, 2), Some(Wire::Numeric { precision: 12, scale: 2 }));
        assert_eq!(of(3, -2), Some(Wire::Numeric { precision: 5, scale: 0 }));
        assert_eq!(of(3, 5), Some(Wire::Numeric { precision: 5, scale: 5 }));
        assert_eq!(of(50, 2), None);
        assert_eq!(numeric(-1), Some(Wire::Numeric { precision: 38, scale: 9 }));
    }
}
