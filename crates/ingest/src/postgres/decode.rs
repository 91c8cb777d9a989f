//! `COPY … TO STDOUT (FORMAT binary)` → Arrow arrays.
//!
//! The stream is a header, then tuples: a 16-bit count of fields, and for each a 32-bit length (-1: NULL) and its bytes
//! (PostgreSQL documentation, "COPY", section "Binary Format").

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, NullBufferBuilder};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;

use super::types::Wire;
use crate::plain::Plain;
use crate::text::value;
use crate::types::uuid_text;

/// PostgreSQL counts days and microseconds from 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Why a value cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The value has no place in the column's type.
    Value(String),
    /// The bytes are not what PostgreSQL sends for the type.
    Form,
}

type Result<T> = std::result::Result<T, Refusal>;

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| Refusal::Form)
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Refusal::Form)
}

/// The values of one column.
#[derive(Debug)]
pub struct ColumnBuilder {
    wire: Wire,
    data_type: DataType,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Plain(Plain),
    List { field: FieldRef, offsets: Vec<i32>, nulls: NullBufferBuilder, item: Box<ColumnBuilder> },
}

impl ColumnBuilder {
    pub fn new(wire: &Wire, data_type: &DataType) -> Self {
        let values = match data_type {
            DataType::List(field) => Values::List {
                field: Arc::clone(field),
                offsets: vec![0],
                nulls: NullBufferBuilder::new(1024),
                item: Box::new(Self::new(wire.item(), field.data_type())),
            },
            plain => Values::Plain(Plain::new(plain)),
        };
        Self { wire: wire.clone(), data_type: data_type.clone(), values }
    }

    fn len(&self) -> usize {
        match &self.values {
            Values::Plain(values) => values.len(),
            Values::List { nulls, .. } => nulls.len(),
        }
    }

    /// Makes the column `rows` long after a refusal; what is added means nothing.
    pub fn fill(&mut self, rows: usize) {
        while self.len() < rows {
            self.append_null();
        }
    }

    pub fn append_null(&mut self) {
        match &mut self.values {
            Values::Plain(values) => values.append_null(),
            Values::List { offsets, nulls, item, .. } => {
                // Items of a refused list may be left over: they belong to this NULL.
                offsets.push(i32::try_from(item.len()).unwrap_or(i32::MAX));
                nulls.append_null();
            }
        }
    }

    /// Takes in the bytes of a value that is not NULL.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        match (&self.wire, &mut self.values) {
            (Wire::Parsed, _) => return self.append_parsed(text(bytes)?),
            (Wire::Boolean, Values::Plain(Plain::Boolean(b))) => b.append_value(fixed::<1>(bytes)? != [0]),
            (Wire::Int16, Values::Plain(Plain::Int32(b))) => {
                b.append_value(i32::from(i16::from_be_bytes(fixed(bytes)?)))
            }
            (Wire::Int32, Values::Plain(Plain::Int32(b))) => b.append_value(i32::from_be_bytes(fixed(bytes)?)),
            (Wire::Int64, Values::Plain(Plain::Int64(b))) => b.append_value(i64::from_be_bytes(fixed(bytes)?)),
            (Wire::UInt32, Values::Plain(Plain::Int64(b))) => {
                b.append_value(i64::from(u32::from_be_bytes(fixed(bytes)?)))
            }
            (Wire::Float32, Values::Plain(Plain::Float32(b))) => b.append_value(f32::from_be_bytes(fixed(bytes)?)),
            (Wire::Float64, Values::Plain(Plain::Float64(b))) => b.append_value(f64::from_be_bytes(fixed(bytes)?)),
            (Wire::Numeric { precision, scale }, Values::Plain(Plain::Decimal(b))) => {
                b.append_value(numeric(bytes, *precision, *scale)?);
            }
            (Wire::Date, Values::Plain(Plain::Date(b))) => b.append_value(date(i32::from_be_bytes(fixed(bytes)?))?),
            (Wire::Time, Values::Plain(Plain::Time(b))) => b.append_value(i64::from_be_bytes(fixed(bytes)?)),
            (Wire::Timestamp, Values::Plain(Plain::Timestamp(b))) => {
                b.append_value(instant(i64::from_be_bytes(fixed(bytes)?))?)
            }
            (Wire::Text, Values::Plain(Plain::Text(b))) => b.append_value(text(bytes)?),
            (Wire::Jsonb, Values::Plain(Plain::Text(b))) => match bytes {
                [1, json @ ..] => b.append_value(text(json)?),
                _ => return Err(Refusal::Form),
            },
            (Wire::Uuid, Values::Plain(Plain::Text(b))) => b.append_value(uuid_text(fixed(bytes)?)),
            (Wire::Bytes, Values::Plain(Plain::Bytes(b))) => b.append_value(bytes),
            (Wire::Array(_), Values::List { offsets, nulls, item, .. }) => {
                append_items(bytes, item)?;
                offsets.push(i32::try_from(item.len()).unwrap_or(i32::MAX));
                nulls.append_non_null();
            }
            _ => return Err(Refusal::Form),
        }
        Ok(())
    }

    /// Text as the type that a person declared.
    fn append_parsed(&mut self, text: &str) -> Result<()> {
        let bytes = text.trim().as_bytes();
        let done = match (&mut self.values, &self.data_type) {
            (Values::Plain(Plain::Boolean(b)), _) => value::boolean_words(bytes).map(|v| b.append_value(v)),
            (Values::Plain(Plain::Int32(b)), _) => {
                value::integer(bytes, false).and_then(|v| i32::try_from(v).ok()).map(|v| b.append_value(v))
            }
            (Values::Plain(Plain::Int64(b)), _) => value::integer(bytes, false).map(|v| b.append_value(v)),
            (Values::Plain(Plain::Float32(b)), _) => value::double(bytes, false).map(|v| b.append_value(v as f32)),
            (Values::Plain(Plain::Float64(b)), _) => value::double(bytes, false).map(|v| b.append_value(v)),
            (Values::Plain(Plain::Decimal(b)), DataType::Decimal128(p, s)) => {
                value::decimal(bytes, *p, *s, false).map(|v| b.append_value(v))
            }
            (Values::Plain(Plain::Date(b)), _) => value::date(bytes).map(|v| b.append_value(v)),
            (Values::Plain(Plain::Time(b)), _) => value::time(bytes).map(|v| b.append_value(v.value)),
            (Values::Plain(Plain::Timestamp(b)), DataType::Timestamp(_, zone)) => {
                value::instant(bytes, zone.is_some(), false).map(|v| b.append_value(v.value))
            }
            (Values::Plain(Plain::Text(b)), _) => {
                b.append_value(text);
                Some(())
            }
            (Values::Plain(Plain::Bytes(b)), _) => {
                b.append_value(text);
                Some(())
            }
            _ => None,
        };
        done.ok_or_else(|| Refusal::Value(format!("\"{text}\" does not fit into it")))
    }

    pub fn finish(self) -> std::result::Result<ArrayRef, ArrowError> {
        Ok(match self.values {
            Values::Plain(values) => values.finish(),
            Values::List { field, offsets, mut nulls, item } => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                Arc::new(ListArray::try_new(field, offsets, item.finish()?, nulls.finish())?)
            }
        })
    }
}

/// `array_send`: dimensions, a flag, the element type, for each dimension its length and lower bound, then the items.
fn append_items(bytes: &[u8], item: &mut ColumnBuilder) -> Result<()> {
    let mut rest = bytes;
    let dimensions = take_i32(&mut rest)?;
    let (_flags, _element) = (take_i32(&mut rest)?, take_i32(&mut rest)?);
    if dimensions == 0 {
        return Ok(());
    }
    if dimensions != 1 {
        return Err(Refusal::Value(format!("an array of {dimensions} dimensions does not fit into a list")));
    }
    let (length, _lower) = (take_i32(&mut rest)?, take_i32(&mut rest)?);
    for _ in 0..length {
        match take_field(&mut rest)? {
            Some(bytes) => item.append(bytes)?,
            None => item.append_null(),
        }
    }
    Ok(())
}

pub fn take_i32(rest: &mut &[u8]) -> Result<i32> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or(Refusal::Form)?;
    *rest = tail;
    Ok(i32::from_be_bytes(*head))
}

/// A length and as many bytes; `None` for NULL.
#[inline]
pub fn take_field<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(take_i32(rest)?) else { return Ok(None) };
    let (bytes, tail) = rest.split_at_checked(length).ok_or(Refusal::Form)?;
    *rest = tail;
    Ok(Some(bytes))
}

fn date(days: i32) -> Result<i32> {
    match days {
        i32::MAX => Err(Refusal::Value("infinity is no date".to_owned())),
        i32::MIN => Err(Refusal::Value("-infinity is no date".to_owned())),
        days => days.checked_add(EPOCH_DAYS).ok_or(Refusal::Form),
    }
}

fn instant(micros: i64) -> Result<i64> {
    match micros {
        i64::MAX => Err(Refusal::Value("infinity is no timestamp".to_owned())),
        i64::MIN => Err(Refusal::Value("-infinity is no timestamp".to_owned())),
        micros => micros.checked_add(EPOCH_MICROS).ok_or(Refusal::Form),
    }
}

const NEGATIVE: u16 = 0x4000;

/// `numeric_send`: count of digits to base 10,000, weight of the first, sign, places shown, digits.
fn numeric(bytes: &[u8], precision: u8, scale: i8) -> Result<i128> {
    let Some(([a, b, c, d, e, f, _, _], digits)) = bytes.split_first_chunk::<8>() else { return Err(Refusal::Form) };
    let (count, weight, sign) =
        (u16::from_be_bytes([*a, *b]), i16::from_be_bytes([*c, *d]), u16::from_be_bytes([*e, *f]));
    if !matches!(sign, 0 | NEGATIVE) {
        return Err(Refusal::Value(format!("{} is no decimal number", numeric_text(bytes))));
    }
    let (digits, rest) = digits.as_chunks::<2>();
    if digits.len() != usize::from(count) || !rest.is_empty() {
        return Err(Refusal::Form);
    }
    let value = scaled(digits, weight, scale).filter(|v| v.unsigned_abs() < 10u128.pow(u32::from(precision)));
    match value {
        Some(value) => Ok(if sign == NEGATIVE { -value } else { value }),
        None => Err(Refusal::Value(format!("{} does not fit into it", numeric_text(bytes)))),
    }
}

/// The number in units of `10^-scale`; `None` when it is too large, or not whole in them.
fn scaled(digits: &[[u8; 2]], weight: i16, scale: i8) -> Option<i128> {
    let mut value: i128 = 0;
    // The power of ten of the digit group, seen from the unit: it falls by four with each.
    let mut power = i32::from(weight) * 4 + i32::from(scale);
    for digit in digits {
        let digit = i128::from(u16::from_be_bytes(*digit));
        if power >= 0 {
            value = value.checked_add(digit.checked_mul(10i128.checked_pow(u32::try_from(power).ok()?)?)?)?;
        } else {
            let divisor = 10i128.checked_pow(u32::try_from(-power).ok()?).unwrap_or(i128::MAX);
            if digit % divisor != 0 {
                return None;
            }
            value = value.checked_add(digit / divisor)?;
        }
        power -= 4;
    }
    Some(value)
}

/// The number as PostgreSQL writes it, for messages and raw text.
pub fn numeric_text(bytes: &[u8]) -> String {
    let number = |at: usize| bytes.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    let (count, weight, sign, places) = (number(0), number(2) as i16, number(4), usize::from(number(6)));
    match sign {
        0xc000 => return "NaN".to_owned(),
        0xd000 => return "Infinity".to_owned(),
        0xf000 => return "-Infinity".to_owned(),
        _ => {}
    }
    let digit = |group: i32| match usize::try_from(group) {
        Ok(g) if g < usize::from(count) => number(8 + g * 2),
        _ => 0,
    };
    let whole: String = (0..=i32::from(weight)).map(|g| format!("{:04}", digit(g))).collect();
    let whole = whole.trim_start_matches('0');
    let groups = i32::try_from(places.div_ceil(4)).unwrap_or(0);
    let fraction: String = (1..=groups).map(|g| format!("{:04}", digit(i32::from(weight) + g))).collect();
    let sign = if sign == NEGATIVE { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    if places == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{}", &fraction[..places]) }
}

/// A value as text, for the raw form of a rejected row.
pub fn shown(wire: &Wire, bytes: &[u8]) -> String {
    let integer = |bytes: &[u8]| bytes.iter().fold(0i128, |v, b| (v << 8) | i128::from(*b));
    let signed = |bytes: &[u8]| {
        let bits = 8 * bytes.len() as u32;
        let value = integer(bytes);
        if bits > 0 && value >> (bits - 1) == 1 { value - (1 << bits) } else { value }
    };
    match wire {
        Wire::Boolean => (bytes != [0]).to_string(),
        Wire::Int16 | Wire::Int32 | Wire::Int64 => signed(bytes).to_string(),
        Wire::UInt32 => integer(bytes).to_string(),
        Wire::Float32 => bytes.try_into().map_or_else(|_| hex(bytes), |b| f32::from_be_bytes(b).to_string()),
        Wire::Float64 => bytes.try_into().map_or_else(|_| hex(bytes), |b| f64::from_be_bytes(b).to_string()),
        Wire::Numeric { .. } => numeric_text(bytes),
        Wire::Date => match signed(bytes) {
            d if d == i128::from(i32::MAX) => "infinity".to_owned(),
            d if d == i128::from(i32::MIN) => "-infinity".to_owned(),
            d => day_text(d as i64 + i64::from(EPOCH_DAYS)),
        },
        Wire::Timestamp => match signed(bytes) {
            t if t == i128::from(i64::MAX) => "infinity".to_owned(),
            t if t == i128::from(i64::MIN) => "-infinity".to_owned(),
            t => polder_base::Timestamp((t as i64).saturating_add(EPOCH_MICROS)).to_string(),
        },
        Wire::Text | Wire::Parsed => String::from_utf8_lossy(bytes).into_owned(),
        Wire::Jsonb => String::from_utf8_lossy(bytes.get(1..).unwrap_or_default()).into_owned(),
        Wire::Uuid => bytes.try_into().map_or_else(|_| hex(bytes), uuid_text),
        Wire::Time | Wire::Bytes | Wire::Array(_) => hex(bytes),
    }
}

fn day_text(days: i64) -> String {
    let text = polder_base::Timestamp(days.saturating_mul(86_400_000_000)).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("\\x".to_owned(), |text, b| text + &format!("{b:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(digits: &[u16], weight: i16, sign: u16, places: u16) -> Vec<u8> {
        let head = [digits.len() as u16, weight as u16, sign, places];
        head.iter().chain(digits).flat_map(|n| n.to_be_bytes()).collect()
    }

    #[test]
    fn numbers_are_exact_or_refused() {
        let n = number(&[1, 2345, 6700], 1, 0, 2); // 12345.67
        assert_eq!(numeric_text(&n), "12345.67");
        assert_eq!(numeric(&n, 18, 2), Ok(1_234_567));
        assert_eq!(numeric(&n, 18, 9), Ok(12_345_670_000_000));
        assert_eq!(numeric(&n, 18, 1), Err(Refusal::Value("12345.67 does not fit into it".to_owned())));
        assert_eq!(numeric(&n, 6, 2), Err(Refusal::Value("12345.67 does not fit into it".to_owned())));
        let small = number(&[500], -1, NEGATIVE, 4); // -0.0500
        assert_eq!((numeric_text(&small), numeric(&small, 18, 2)), ("-0.0500".to_owned(), Ok(-5)));
        assert_eq!(numeric(&number(&[], 0, 0, 0), 18, 2), Ok(0));
        assert_eq!(
            numeric(&number(&[], 0, 0xc000, 0), 18, 2),
            Err(Refusal::Value("NaN is no decimal number".to_owned()))
        );
        assert!(numeric(&number(&[1], 100, 0, 0), 38, 9).is_err());
        assert_eq!(numeric(&[0, 1, 0], 38, 9), Err(Refusal::Form));
    }

    #[test]
    fn values_are_shown_as_people_write_them() {
        assert_eq!(shown(&Wire::Int32, &(-7i32).to_be_bytes()), "-7");
        assert_eq!(shown(&Wire::Int64, &i64::MIN.to_be_bytes()), i64::MIN.to_string());
        assert_eq!(shown(&Wire::Date, &0i32.to_be_bytes()), "2000-01-01");
        assert_eq!(shown(&Wire::Timestamp, &i64::MAX.to_be_bytes()), "infinity");
        assert_eq!(shown(&Wire::Bytes, &[1, 0xab]), "\\x01ab");
        assert_eq!(uuid_text([0x11; 16]), "11111111-1111-1111-1111-111111111111");
    }
}
