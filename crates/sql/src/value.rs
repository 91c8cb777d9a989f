//! Values that clients write as text.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use crate::seconds;
use crate::type_name::type_name;

/// Digits of the longest decimal.
const MOST_DIGITS: usize = 38;

/// The value of a type that a text writes. A decimal has the digits that were written, whatever the type's scale, which
/// would round it.
///
/// # Errors
/// A text that writes no value of the type, in words.
pub fn value_of_text(text: &str, data_type: &DataType) -> Result<ScalarValue, String> {
    let none = || format!("`{text}` is no {}", type_name(data_type));
    match data_type {
        DataType::Decimal128(..) | DataType::Decimal256(..) => decimal(text.trim()).ok_or_else(none),
        DataType::Timestamp(..) => {
            let text = seconds::complete(text).unwrap_or_else(|| text.to_owned());
            ScalarValue::try_from_string(text, data_type).map_err(|_| none())
        }
        _ => ScalarValue::try_from_string(text.to_owned(), data_type).map_err(|_| none()),
    }
}

/// `-12.50`, `1e-05`.
fn decimal(text: &str) -> Option<ScalarValue> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let (digits, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i8>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut all = format!("{}{fraction}", whole.trim_start_matches('0'));
    let mut scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
    if scale < 0 {
        all.extend(std::iter::repeat_n('0', usize::try_from(-scale).ok()?));
        scale = 0;
    }
    let precision = all.len().max(usize::try_from(scale).ok()?).max(1);
    if precision > MOST_DIGITS || !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: i128 = format!("{sign}0{all}").parse().ok()?;
    Some(ScalarValue::Decimal128(Some(value), u8::try_from(precision).ok()?, i8::try_from(scale).ok()?))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn decimals_keep_the_digits_that_were_written() {
        let of = |text| value_of_text(text, &DataType::Decimal128(12, 2));
        let is = |value, precision, scale| Ok(ScalarValue::Decimal128(Some(value), precision, scale));
        assert_eq!(of("12.345"), is(12_345, 5, 3));
        assert_eq!(of("-0.10"), is(-10, 2, 2));
        assert_eq!(of("1e-05"), is(1, 5, 5));
        assert_eq!(of("-1.5E+3"), is(-1500, 4, 0));
        assert_eq!(of("0"), is(0, 1, 0));
        for none in ["NaN", "", ".", "e5", "1e", "1e99", "1-2", "--1", "1e-39"] {
            assert!(of(none).is_err(), "{none}");
        }
    }

    #[test]
    fn times_need_no_seconds() {
        let of = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let (short, long) = ("2026-01-05 09:15", "2026-01-05 09:15:00");
        assert_eq!(value_of_text(short, &of), value_of_text(long, &of));
        assert_eq!(value_of_text("soon", &of).unwrap_err(), "`soon` is no timestamptz");
    }
}
