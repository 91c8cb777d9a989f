//! Values of parameters, as clients send them.

use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use polder_app::{ScalarValue, type_name, value_of_text};

use super::list;
use super::number::numeric_text;
use super::time::{EPOCH_DAYS, EPOCH_MICROS};

/// Bytes of a UUID.
const UUID_BYTES: usize = 16;

/// The value of a parameter of a type. `as_text`: the client takes the parameter for text, whatever it is here.
///
/// # Errors
/// Bytes that are no value of the type, in words.
pub(crate) fn value(
    bytes: Option<&[u8]>,
    data_type: &DataType,
    binary: bool,
    as_text: bool,
) -> Result<ScalarValue, String> {
    let Some(bytes) = bytes else { return ScalarValue::try_from(data_type).map_err(|e| e.to_string()) };
    if binary && !as_text && !is_text(data_type) {
        return of_binary(bytes, data_type).ok_or_else(|| format!("these bytes are no {}", type_name(data_type)));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    of_text(text, data_type)
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn of_text(text: &str, data_type: &DataType) -> Result<ScalarValue, String> {
    let none = || format!("`{text}` is no {}", type_name(data_type));
    match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let bytes = text.strip_prefix("\\x").map_or_else(|| Some(text.as_bytes().to_vec()), hexadecimal);
            Ok(ScalarValue::Binary(Some(bytes.ok_or_else(none)?)))
        }
        DataType::List(item) => list::of_text(text, item.data_type()).ok_or_else(none),
        _ => value_of_text(text, data_type),
    }
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?, 16).ok()).collect()
}

fn of_binary(bytes: &[u8], data_type: &DataType) -> Option<ScalarValue> {
    let eight = || bytes.try_into().ok().map(i64::from_be_bytes);
    let four = || bytes.try_into().ok().map(i32::from_be_bytes);
    let integer = || match bytes.len() {
        2 => bytes.try_into().ok().map(|b| i64::from(i16::from_be_bytes(b))),
        4 => four().map(i64::from),
        _ => eight(),
    };
    Some(match data_type {
        DataType::Boolean => match bytes {
            [0] => ScalarValue::Boolean(Some(false)),
            [1] => ScalarValue::Boolean(Some(true)),
            _ => return None,
        },
        // Drivers send the width that they took the parameter for.
        DataType::Int16 => ScalarValue::Int16(Some(i16::try_from(integer()?).ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(i32::try_from(integer()?).ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(integer()?)),
        DataType::Float32 => ScalarValue::Float32(Some(f32::from_be_bytes(bytes.try_into().ok()?))),
        DataType::Float64 => ScalarValue::Float64(Some(f64::from_be_bytes(bytes.try_into().ok()?))),
        DataType::Decimal128(..) | DataType::Decimal256(..) => value_of_text(&numeric_text(bytes)?, data_type).ok()?,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ScalarValue::Binary(Some(bytes.to_vec())),
        DataType::FixedSizeBinary(_) if bytes.len() == UUID_BYTES => {
            ScalarValue::FixedSizeBinary(16, Some(bytes.to_vec()))
        }
        DataType::Date32 => ScalarValue::Date32(Some(four()?.checked_add(EPOCH_DAYS)?)),
        DataType::Time64(TimeUnit::Microsecond) => ScalarValue::Time64Microsecond(Some(eight()?)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            ScalarValue::TimestampMicrosecond(Some(eight()?.checked_add(EPOCH_MICROS)?), zone.clone())
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let (micros, rest) = bytes.split_first_chunk::<8>()?;
            let (days, months) = rest.split_first_chunk::<4>()?;
            let nanos = i64::from_be_bytes(*micros).checked_mul(1000)?;
            let days = i32::from_be_bytes(*days);
            let months = i32::from_be_bytes(months.try_into().ok()?);
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, nanos)))
        }
        DataType::List(item) => list::of_binary(bytes, item.data_type())?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Field;
    use proptest::prelude::*;

    use super::*;

    fn list(item: DataType) -> DataType {
        DataType::List(Arc::new(Field::new_list_field(item, true)))
    }

    fn text(text: &str, data_type: &DataType) -> Result<ScalarValue, String> {
        value(Some(text.as_bytes()), data_type, false, false)
    }

    #[test]
    fn texts_become_what_the_statement_asks_for() {
        assert_eq!(text("42", &DataType::Int64).unwrap(), ScalarValue::Int64(Some(42)));
        assert_eq!(text("t", &DataType::Boolean).unwrap(), ScalarValue::Boolean(Some(true)));
        assert_eq!(text("2000-01-02", &DataType::Date32).unwrap(), ScalarValue::Date32(Some(EPOCH_DAYS + 1)));
        assert_eq!(text("x", &DataType::Int64).unwrap_err(), "`x` is no bigint");
        assert_eq!(text("\\x00ff", &DataType::Binary).unwrap(), ScalarValue::Binary(Some(vec![0, 255])));
        assert_eq!(value(None, &DataType::Int64, true, false).unwrap(), ScalarValue::Int64(None));
    }

    #[test]
    fn binary_values_of_any_width_of_integers() {
        for bytes in [&42_i16.to_be_bytes()[..], &42_i32.to_be_bytes(), &42_i64.to_be_bytes()] {
            assert_eq!(value(Some(bytes), &DataType::Int64, true, false).unwrap(), ScalarValue::Int64(Some(42)));
        }
        let day = value(Some(&1_i32.to_be_bytes()), &DataType::Date32, true, false).unwrap();
        assert_eq!(day, ScalarValue::Date32(Some(EPOCH_DAYS + 1)));
        assert!(value(Some(&[1, 2, 3]), &DataType::Int64, true, false).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes: Vec<u8>, binary: bool) {
            let zone = || Some("UTC".into());
            for data_type in [
                DataType::Boolean, DataType::Int16, DataType::Int32, DataType::Int64, DataType::Float32, DataType::Float64,
                DataType::Decimal128(38, 10), DataType::Utf8, DataType::Binary, DataType::Date32,
                DataType::Time64(TimeUnit::Microsecond), DataType::Timestamp(TimeUnit::Microsecond, zone()),
                DataType::Interval(IntervalUnit::MonthDayNano), list(DataType::Int32), list(DataType::Utf8),
                list(DataType::Decimal128(38, 10)),
            ] {
                let _ = value(Some(&bytes), &data_type, binary, false);
            }
        }
    }
}
