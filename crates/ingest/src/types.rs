//! SQL type names and Arrow types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

/// The zone that all points in time are kept in.
pub(crate) const UTC: &str = "UTC";

pub(crate) fn timestamp_tz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from(UTC)))
}

pub(crate) const fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// The Arrow type of a declared SQL type; `None` when the name is not known.
///
/// `uuid` and `json` are kept as text: the engine has no type of theirs.
pub fn parse_sql_type(name: &str) -> Option<DataType> {
    let name = name.trim().to_ascii_lowercase();
    if let Some(item) = name.strip_suffix("[]") {
        return Some(list_of(parse_sql_type(item)?));
    }
    let (base, arguments) = split_arguments(&name)?;
    let base = base.split_whitespace().collect::<Vec<_>>().join(" ");
    match (base.as_str(), arguments.as_slice()) {
        ("boolean" | "bool", []) => Some(DataType::Boolean),
        ("smallint" | "int2" | "tinyint" | "int" | "integer" | "int4", []) => Some(DataType::Int32),
        ("bigint" | "int8" | "long", []) => Some(DataType::Int64),
        ("real" | "float4" | "float", []) => Some(DataType::Float32),
        ("double" | "double precision" | "float8", []) => Some(DataType::Float64),
        ("decimal" | "numeric", []) => Some(DataType::Decimal128(38, 9)),
        ("decimal" | "numeric", [p]) => decimal_type(*p, 0),
        ("decimal" | "numeric", [p, s]) => decimal_type(*p, *s),
        ("date", []) => Some(DataType::Date32),
        ("time" | "time without time zone", []) => Some(DataType::Time64(TimeUnit::Microsecond)),
        ("timestamp" | "timestamp without time zone" | "datetime", [] | [_]) => Some(timestamp()),
        ("timestamptz" | "timestamp with time zone", [] | [_]) => Some(timestamp_tz()),
        ("text" | "string" | "uuid" | "json" | "jsonb", []) => Some(DataType::Utf8),
        ("varchar" | "char" | "character varying" | "character", [] | [_]) => Some(DataType::Utf8),
        ("bytea" | "binary" | "blob" | "varbinary", []) => Some(DataType::Binary),
        _ => None,
    }
}

fn decimal_type(precision: u32, scale: u32) -> Option<DataType> {
    let (p, s) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
    ((1..=38).contains(&precision) && scale <= precision).then_some(DataType::Decimal128(p, s))
}

/// `decimal(12, 2)` → `decimal`, `[12, 2]`; `timestamp(6) with time zone` → `timestamp with time zone`, `[6]`.
fn split_arguments(name: &str) -> Option<(String, Vec<u32>)> {
    let Some(open) = name.find('(') else { return Some((name.to_owned(), Vec::new())) };
    let close = name.find(')').filter(|close| *close > open)?;
    let arguments = name[open + 1..close].split(',').map(|a| a.trim().parse().ok()).collect::<Option<_>>()?;
    Some((format!("{} {}", &name[..open], &name[close + 1..]), arguments))
}

pub(crate) fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// The type as SQL writes it: what people read in messages.
pub fn sql_type(data_type: &DataType) -> String {
    polder_lake::sql_type_name_of_arrow(data_type)
}

/// The type that a table keeps values of another system's type in, losing nothing but nanoseconds; `None` when there is
/// no such type (intervals, …).
pub(crate) fn storable(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean | DataType::Int32 | DataType::Int64 | DataType::Float32 | DataType::Float64 => {
            data_type.clone()
        }
        DataType::Null => DataType::Utf8,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) if *s >= 0 => {
            DataType::Decimal128(*p, *s)
        }
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, None) => timestamp(),
        DataType::Timestamp(_, Some(_)) => timestamp_tz(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => list_of(storable(item.data_type())?),
        DataType::Struct(fields) => DataType::Struct(storable_fields(fields)?),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(pair) = entries.data_type() else { return None };
            let keep = |f: &Arc<Field>| Some(Field::new(f.name(), storable(f.data_type())?, f.is_nullable()));
            let pair = pair.iter().map(keep).collect::<Option<Fields>>()?;
            DataType::Map(Arc::new(Field::new(entries.name(), DataType::Struct(pair), false)), *sorted)
        }
        DataType::Dictionary(_, value) => storable(value)?,
        DataType::RunEndEncoded(_, value) => storable(value.data_type())?,
        _ => return None,
    })
}

fn storable_fields(fields: &Fields) -> Option<Fields> {
    fields.iter().map(|f| Some(Field::new(f.name(), storable(f.data_type())?, true))).collect()
}

/// A UUID as it is written (RFC 9562, section 4).
pub(crate) fn uuid_text(bytes: [u8; 16]) -> String {
    let h = format!("{:032x}", u128::from_be_bytes(bytes));
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

/// Whether every value of `from` has an equal one in `to`, so that a column of `to` takes them as they come.
pub(crate) fn widens(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Int32, DataType::Int64 | DataType::Float64) | (DataType::Float32, DataType::Float64) => true,
        (DataType::Int32, DataType::Decimal128(p, s)) => i16::from(*p) - i16::from(*s) >= 10,
        (DataType::Int64, DataType::Decimal128(p, s)) => i16::from(*p) - i16::from(*s) >= 19,
        (DataType::Decimal128(p, s), DataType::Decimal128(q, t)) => {
            t >= s && i16::from(*q) - i16::from(*t) >= i16::from(*p) - i16::from(*s)
        }
        (DataType::Date32, DataType::Timestamp(_, None)) => true,
        _ => false,
    }
}

/// Equal but for what scans may add: field metadata, nullability, another layout of text or bytes.
pub(crate) fn same_type(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::List(a), DataType::List(b)) => same_type(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(f, g)| f.name() == g.name() && same_type(f.data_type(), g.data_type()))
        }
        _ => match (storable(a), storable(b)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_names_are_understood() {
        for (name, want) in [
            ("BIGINT", DataType::Int64),
            (" decimal( 12 , 2 ) ", DataType::Decimal128(12, 2)),
            ("numeric(5)", DataType::Decimal128(5, 0)),
            ("double  precision", DataType::Float64),
            ("timestamp(6) with time zone", timestamp_tz()),
            ("timestamp without time zone", timestamp()),
            ("varchar(20)", DataType::Utf8),
            ("bigint[]", list_of(DataType::Int64)),
        ] {
            assert_eq!(parse_sql_type(name), Some(want), "{name}");
        }
        for wrong in ["bigit", "decimal(39,2)", "decimal(2,3)", "decimal(a)", "date(3)", ")("] {
            assert_eq!(parse_sql_type(wrong), None, "{wrong}");
        }
        for name in polder_project::SQL_TYPES {
            assert!(parse_sql_type(name).is_some(), "{name}");
        }
    }

    #[test]
    fn types_are_shown_as_sql_reads_them() {
        for name in [
            "boolean",
            "integer",
            "bigint",
            "real",
            "double",
            "decimal(12, 2)",
            "date",
            "timestamp",
            "timestamptz",
            "text",
            "bigint[]",
        ] {
            assert_eq!(parse_sql_type(name).map(|t| sql_type(&t)).as_deref(), Some(name));
        }
    }

    #[test]
    fn only_lossless_changes_widen() {
        assert!(widens(&DataType::Int32, &DataType::Int64));
        assert!(!widens(&DataType::Int64, &DataType::Int32));
        assert!(!widens(&DataType::Int64, &DataType::Float64));
        assert!(widens(&DataType::Decimal128(10, 2), &DataType::Decimal128(18, 2)));
        assert!(!widens(&DataType::Decimal128(18, 2), &DataType::Decimal128(18, 4)));
    }
}
