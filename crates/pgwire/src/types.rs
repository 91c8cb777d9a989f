//! Arrow's types as PostgreSQL's.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use pgwire::api::Type;

/// What a client is told of a column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PgType {
    pub(crate) of: Type,
    /// Bytes of a value; below zero: it differs.
    pub(crate) size: i16,
    /// Precision and scale of a decimal; -1: none.
    pub(crate) modifier: i32,
}

impl PgType {
    fn new(of: Type, size: i16) -> Self {
        Self { of, size, modifier: -1 }
    }
}

/// The type under which a column is given. What PostgreSQL has no type for is given as text, or as JSON where it has
/// parts.
pub(crate) fn pg_type(data_type: &DataType) -> PgType {
    match data_type {
        DataType::Boolean => PgType::new(Type::BOOL, 1),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => PgType::new(Type::INT2, 2),
        DataType::Int32 | DataType::UInt16 => PgType::new(Type::INT4, 4),
        DataType::Int64 | DataType::UInt32 => PgType::new(Type::INT8, 8),
        DataType::Float16 | DataType::Float32 => PgType::new(Type::FLOAT4, 4),
        DataType::Float64 => PgType::new(Type::FLOAT8, 8),
        DataType::UInt64 => numeric(20, 0),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => numeric(*precision, *scale),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            PgType::new(Type::BYTEA, -1)
        }
        DataType::Date32 | DataType::Date64 => PgType::new(Type::DATE, 4),
        DataType::Time32(_) | DataType::Time64(_) => PgType::new(Type::TIME, 8),
        DataType::Timestamp(_, None) => PgType::new(Type::TIMESTAMP, 8),
        DataType::Timestamp(_, Some(_)) => PgType::new(Type::TIMESTAMPTZ, 8),
        DataType::Interval(_) | DataType::Duration(_) => PgType::new(Type::INTERVAL, 16),
        DataType::Dictionary(_, values) => pg_type(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            match array_of(&pg_type(item.data_type()).of) {
                Some(array) if !is_nested(item.data_type()) => PgType::new(array, -1),
                _ => PgType::new(Type::JSON, -1),
            }
        }
        nested if is_nested(nested) => PgType::new(Type::JSON, -1),
        _ => PgType::new(Type::TEXT, -1),
    }
}

fn numeric(precision: u8, scale: i8) -> PgType {
    // What PostgreSQL packs: precision above, scale below, and four.
    let modifier = ((i32::from(precision) << 16) | i32::from(scale.max(0))) + 4;
    PgType { of: Type::NUMERIC, size: -1, modifier }
}

pub(crate) fn is_nested(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Struct(_)
            | DataType::Map(..)
            | DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::Union(..)
    )
}

/// Types and those of their arrays. The first ones are given, the others only taken.
static ARRAYS: [(Type, Type); 21] = [
    (Type::BOOL, Type::BOOL_ARRAY),
    (Type::INT2, Type::INT2_ARRAY),
    (Type::INT4, Type::INT4_ARRAY),
    (Type::INT8, Type::INT8_ARRAY),
    (Type::FLOAT4, Type::FLOAT4_ARRAY),
    (Type::FLOAT8, Type::FLOAT8_ARRAY),
    (Type::NUMERIC, Type::NUMERIC_ARRAY),
    (Type::TEXT, Type::TEXT_ARRAY),
    (Type::BYTEA, Type::BYTEA_ARRAY),
    (Type::DATE, Type::DATE_ARRAY),
    (Type::TIME, Type::TIME_ARRAY),
    (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY),
    (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
    (Type::INTERVAL, Type::INTERVAL_ARRAY),
    (Type::VARCHAR, Type::VARCHAR_ARRAY),
    (Type::BPCHAR, Type::BPCHAR_ARRAY),
    (Type::NAME, Type::NAME_ARRAY),
    (Type::OID, Type::OID_ARRAY),
    (Type::UUID, Type::UUID_ARRAY),
    (Type::JSON, Type::JSON_ARRAY),
    (Type::JSONB, Type::JSONB_ARRAY),
];

/// `None`: what is in lists of these has no array, and is given as JSON.
fn array_of(item: &Type) -> Option<Type> {
    let found = ARRAYS.iter().find(|(of, _)| of == item && *of != Type::JSON);
    found.map(|(_, array)| array.clone())
}

/// Whether what a client says a parameter is has bytes of its own in binary, and is a text here.
pub(crate) fn is_text_alone(oid: u32) -> bool {
    [Type::UUID, Type::UUID_ARRAY, Type::JSONB, Type::JSONB_ARRAY].iter().any(|of| of.oid() == oid)
}

/// The type of an array's items; `None`: it is no array.
fn item_of(array: &Type) -> Option<&'static Type> {
    ARRAYS.iter().find(|(_, of)| of == array).map(|(item, _)| item)
}

/// The Arrow type of a parameter that a client says a type for; `None`: it leaves that to the statement.
///
/// # Errors
/// A type that no value is taken of.
pub(crate) fn parameter_type(oid: u32) -> Result<Option<DataType>, u32> {
    let Some(said) = Type::from_oid(oid).filter(|_| oid != 0) else {
        return if oid == 0 { Ok(None) } else { Err(oid) };
    };
    Ok(Some(match said {
        Type::UNKNOWN | Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => {
            // What drivers send for text they did not look into: the statement knows better.
            return Ok(None);
        }
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 | Type::OID => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        // The digits tell precision and scale.
        Type::NUMERIC => DataType::Decimal128(38, 10),
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        Type::UUID | Type::JSON | Type::JSONB => DataType::Utf8,
        array => match item_of(&array) {
            Some(item) => list(parameter_type(item.oid())?.unwrap_or(DataType::Utf8)),
            None => return Err(oid),
        },
    }))
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_tell_precision_and_scale() {
        let told = pg_type(&DataType::Decimal128(12, 2));
        assert_eq!(told, PgType { of: Type::NUMERIC, size: -1, modifier: (12 << 16 | 2) + 4 });
    }

    #[test]
    fn lists_are_arrays_and_what_has_parts_is_json() {
        assert_eq!(pg_type(&list(DataType::Utf8)).of, Type::TEXT_ARRAY);
        assert_eq!(pg_type(&list(list(DataType::Int64))).of, Type::JSON);
        assert_eq!(pg_type(&DataType::Struct(vec![Field::new("a", DataType::Int64, true)].into())).of, Type::JSON);
    }

    #[test]
    fn types_that_clients_say() {
        assert_eq!(parameter_type(23), Ok(Some(DataType::Int32)));
        assert_eq!(parameter_type(0), Ok(None));
        assert_eq!(parameter_type(600), Err(600), "points are not taken");
        assert_eq!(parameter_type(1007), Ok(Some(list(DataType::Int32))));
        assert_eq!(parameter_type(1009), Ok(Some(list(DataType::Utf8))));
        assert_eq!(parameter_type(1017), Err(1017), "nor are arrays of points");
        assert_eq!(parameter_type(4_000_000), Err(4_000_000));
    }
}
