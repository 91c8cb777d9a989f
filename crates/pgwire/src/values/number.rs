//! Numbers: doubles as PostgreSQL prints them, decimals digit by digit.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

/// A double of this power of ten or more is printed with an exponent.
const EXPONENT_OF_DOUBLES: i32 = 15;
/// The same of a float of four bytes.
const EXPONENT_OF_FLOATS: i32 = 6;
/// What is smaller than this power of ten is, too.
const LEAST_EXPONENT: i32 = -4;

/// Text that is written into the bytes of a message.
pub(super) struct Text<'a>(pub(super) &'a mut BytesMut);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.put_slice(text.as_bytes());
        Ok(())
    }
}

/// Writes what is formatted; that never fails, for the buffer grows.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        let _ = std::fmt::Write::write_fmt(&mut $crate::values::number::Text($out), format_args!($($arg)*));
    }};
}
pub(super) use put;

pub(super) fn double(value: f64, out: &mut BytesMut) {
    float(value.is_nan(), value.is_infinite(), value < 0.0, &format!("{value:e}"), EXPONENT_OF_DOUBLES, out);
}

pub(super) fn single(value: f32, out: &mut BytesMut) {
    float(value.is_nan(), value.is_infinite(), value < 0.0, &format!("{value:e}"), EXPONENT_OF_FLOATS, out);
}

/// `scientific`: the shortest digits that mean the number, as `-1.25e3`.
fn float(nan: bool, infinite: bool, negative: bool, scientific: &str, most: i32, out: &mut BytesMut) {
    if nan {
        return out.put_slice(b"NaN");
    }
    if infinite {
        return out.put_slice(if negative { b"-Infinity" } else { b"Infinity" });
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    out.put_slice(sign.as_bytes());
    if exponent < LEAST_EXPONENT || exponent >= most {
        let sign = if exponent < 0 { '-' } else { '+' };
        return put!(out, "{mantissa}e{sign}{:02}", exponent.unsigned_abs());
    }
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    // How many digits stand before the point.
    match usize::try_from(exponent + 1) {
        Ok(0) | Err(_) => {
            let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or_default());
            put!(out, "0.{zeros}{digits}");
        }
        Ok(before) if before >= digits.len() => put!(out, "{digits}{}", "0".repeat(before - digits.len())),
        Ok(before) => put!(out, "{}.{}", &digits[..before], &digits[before..]),
    }
}

const NEGATIVE: u16 = 0x4000;

/// A decimal, written as `-12.50`, in PostgreSQL's binary form: groups of four digits around the point.
pub(super) fn numeric(text: &str, out: &mut BytesMut) {
    let (sign, text) = text.strip_prefix('-').map_or((0, text), |rest| (NEGATIVE, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    let scale = u16::try_from(fraction.len()).unwrap_or(u16::MAX);
    // Filled up with zeros, both sides are groups of four.
    let digits = format!(
        "{:0>before$}{:0<after$}",
        whole,
        fraction,
        before = whole.len().next_multiple_of(4),
        after = fraction.len().next_multiple_of(4)
    );
    let group = |at: usize| digits[at..at + 4].parse::<u16>().unwrap_or_default();
    let mut groups: Vec<u16> = (0..digits.len()).step_by(4).map(group).collect();
    let mut weight = i16::try_from(whole.len().div_ceil(4)).unwrap_or(i16::MAX) - 1;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= i16::try_from(leading).unwrap_or_default();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    out.put_u16(u16::try_from(groups.len()).unwrap_or_default());
    out.put_i16(weight);
    out.put_u16(sign);
    out.put_u16(scale);
    groups.iter().for_each(|group| out.put_u16(*group));
}

/// The digits of a decimal in PostgreSQL's binary form; `None`: it is none, or no number.
pub(super) fn numeric_text(mut bytes: &[u8]) -> Option<String> {
    let mut next = || {
        let (value, rest) = bytes.split_first_chunk::<2>()?;
        bytes = rest;
        Some(u16::from_be_bytes(*value))
    };
    let (count, weight, sign, scale) = (next()?, next()?.cast_signed(), next()?, usize::from(next()?));
    let groups: Vec<u16> = (0..count).map(|_| next()).collect::<Option<_>>()?;
    if !matches!(sign, 0 | NEGATIVE) || groups.iter().any(|group| *group > 9999) {
        return None;
    }
    let at = |place: i32| {
        // The first group stands for 10000 to the power of `weight`.
        usize::try_from(i32::from(weight) - place).ok().and_then(|n| groups.get(n)).copied().unwrap_or_default()
    };
    let mut text = if sign == NEGATIVE { "-".to_owned() } else { String::new() };
    for place in (0..=i32::from(weight.max(0))).rev() {
        let _ = write!(text, "{:04}", at(place));
    }
    if scale > 0 {
        let places = i32::try_from(scale.div_ceil(4)).ok()?;
        let fraction: String = (1..=places).map(|place| format!("{:04}", at(-place))).collect();
        let _ = write!(text, ".{}", &fraction[..scale]);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn doubles_read_as_postgresql_prints_them() {
        // What PostgreSQL 15 prints for `select x::float8`.
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1234567.5, "1234567.5"),
            (123456789012345.0, "123456789012345"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(written(|out| double(value, out)), text);
        }
        assert_eq!(written(|out| single(123_456.0, out)), "123456");
        assert_eq!(written(|out| single(1_234_567.0, out)), "1.234567e+06");
    }

    #[test]
    fn decimals_in_groups_of_four_digits() {
        let groups = |text| {
            let mut out = BytesMut::new();
            numeric(text, &mut out);
            out.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect::<Vec<_>>()
        };
        assert_eq!(groups("12345.67"), [3, 1, 0, 2, 1, 2345, 6700]);
        assert_eq!(groups("-0.0001"), [1, (-1_i16).cast_unsigned(), NEGATIVE, 4, 1]);
        assert_eq!(groups("0.00"), [0, 0, 0, 2]);
        assert_eq!(groups("10000"), [1, 1, 0, 0, 1]);
        assert_eq!(numeric_text(&[0, 0, 0, 0, 0xc0, 0, 0, 0]), None, "not a number");
    }

    proptest! {
        #[test]
        fn decimals_come_back(whole in 0_u128..10_u128.pow(28), fraction in "[0-9]{0,10}", negative: bool) {
            let sign = if negative { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            let text = format!("{sign}{whole}{point}{fraction}");
            let mut out = BytesMut::new();
            numeric(&text, &mut out);
            let back = numeric_text(&out).unwrap();
            let (sign_back, digits) = back.strip_prefix('-').map_or(("", &*back), |rest| ("-", rest));
            let trimmed = digits.trim_start_matches('0');
            let digits = if trimmed.is_empty() || trimmed.starts_with('.') { format!("0{trimmed}") } else { trimmed.to_owned() };
            prop_assert_eq!(format!("{}{}", sign_back, digits), text);
        }

        #[test]
        fn any_bytes_are_a_decimal_or_none(bytes: Vec<u8>) {
            let _ = numeric_text(&bytes);
        }
    }
}
