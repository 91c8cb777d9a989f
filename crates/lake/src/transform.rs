//! Iceberg's partition transforms on Arrow arrays, and what a partition value says about the column it came from.
//!
//! Definitions: Iceberg specification, "Partition Transforms" and appendix B, "32-bit Hash Requirements".

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int32Array, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::substring::{substring, substring_by_char};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampNanosecondType,
};
use datafusion::common::ScalarValue;
use polder_table::spec::Transform;

use crate::{LakeError, Result};

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;
const NANOS_PER_MICRO: i64 = 1000;
const EPOCH_YEAR: i32 = 1970;

/// Applies a transform to a column, which must have the type that scans give it.
///
/// # Errors
/// A type that the transform is not defined for.
pub(crate) fn apply(transform: Transform, array: &ArrayRef, column: &str) -> Result<ArrayRef> {
    let result = match transform {
        Transform::Identity => Some(Arc::clone(array)),
        Transform::Void => Some(new_null_array(array.data_type(), array.len())),
        Transform::Year => days(array).map(|days| int_array(&days, |day| civil(day).0 - EPOCH_YEAR)),
        Transform::Month => days(array).map(|days| int_array(&days, months_since_epoch)),
        Transform::Day => days(array).and_then(|days| cast(&days, &DataType::Date32).ok()),
        Transform::Hour => hours(array),
        Transform::Bucket(buckets) => bucket(buckets, array),
        Transform::Truncate(width) => truncate(width, array),
        Transform::Unknown => None,
    };
    result.ok_or_else(|| {
        LakeError::Schema(format!(
            "column `{column}` is {}, and the partition transform {transform} is not defined for it",
            array.data_type()
        ))
    })
}

/// The smallest and greatest value that a column can have in a partition with this value. `None` where the transform
/// says nothing about order.
pub(crate) fn range(
    transform: Transform,
    value: &ScalarValue,
    column: &DataType,
) -> Option<(ScalarValue, ScalarValue)> {
    match transform {
        Transform::Identity => Some((value.clone(), value.clone())),
        Transform::Year | Transform::Month | Transform::Day | Transform::Hour => {
            let n = match value {
                ScalarValue::Int32(Some(n)) | ScalarValue::Date32(Some(n)) => *n,
                _ => return None,
            };
            let (start, end) = (period_start(transform, n)?, period_start(transform, n.checked_add(1)?)?);
            time_range(start, end, column)
        }
        Transform::Truncate(width) => truncated_range(width, value),
        Transform::Bucket(_) | Transform::Void | Transform::Unknown => None,
    }
}

/// The bucket that a value falls into.
pub(crate) fn bucket_of(buckets: u32, value: &ScalarValue) -> Option<i32> {
    let array = bucket(buckets, &value.to_array().ok()?)?;
    let array = array.as_primitive::<Int32Type>();
    (!array.is_null(0)).then(|| array.value(0))
}

/// Microseconds since the epoch at which a year, month, day or hour starts.
fn period_start(transform: Transform, n: i32) -> Option<i64> {
    let day = match transform {
        Transform::Year => days_from_civil(EPOCH_YEAR.checked_add(n)?, 1),
        Transform::Month => days_from_civil(EPOCH_YEAR + n.div_euclid(12), n.rem_euclid(12) + 1),
        Transform::Day => i64::from(n),
        Transform::Hour => return i64::from(n).checked_mul(MICROS_PER_HOUR),
        _ => return None,
    };
    day.checked_mul(MICROS_PER_DAY)
}

fn time_range(start: i64, end: i64, column: &DataType) -> Option<(ScalarValue, ScalarValue)> {
    match column {
        DataType::Date32 => {
            let day = |micros: i64| i32::try_from(micros.div_euclid(MICROS_PER_DAY)).ok();
            Some((ScalarValue::Date32(Some(day(start)?)), ScalarValue::Date32(Some(day(end - 1)?))))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let at = |micros: i64| ScalarValue::TimestampMicrosecond(Some(micros), zone.clone());
            Some((at(start), at(end - 1)))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let at = |nanos: i64| ScalarValue::TimestampNanosecond(Some(nanos), zone.clone());
            Some((at(start.checked_mul(NANOS_PER_MICRO)?), at(end.checked_mul(NANOS_PER_MICRO)? - 1)))
        }
        _ => None,
    }
}

fn truncated_range(width: u32, value: &ScalarValue) -> Option<(ScalarValue, ScalarValue)> {
    let last = i64::from(width) - 1;
    let upper = match value {
        ScalarValue::Int32(Some(v)) => ScalarValue::Int32(Some(v.saturating_add(i32::try_from(last).ok()?))),
        ScalarValue::Int64(Some(v)) => ScalarValue::Int64(Some(v.saturating_add(last))),
        ScalarValue::Decimal128(Some(v), precision, scale) => {
            ScalarValue::Decimal128(Some(v.saturating_add(i128::from(last))), *precision, *scale)
        }
        // The strings with a prefix have no greatest one.
        _ => return None,
    };
    Some((value.clone(), upper))
}

/// Days since the epoch of dates and timestamps, as integers.
fn days(array: &ArrayRef) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::Date32 => cast(array, &DataType::Int32).ok(),
        _ => {
            let micros = micros(array)?;
            Some(Arc::new(narrow(&micros, |m| m.div_euclid(MICROS_PER_DAY))?))
        }
    }
}

fn hours(array: &ArrayRef) -> Option<ArrayRef> {
    let micros = micros(array)?;
    Some(Arc::new(narrow(&micros, |m| m.div_euclid(MICROS_PER_HOUR))?))
}

fn micros(array: &ArrayRef) -> Option<datafusion::arrow::array::Int64Array> {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Some(array.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>())
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Some(array.as_primitive::<TimestampNanosecondType>().unary(|v| v.div_euclid(NANOS_PER_MICRO)))
        }
        _ => None,
    }
}

fn narrow(array: &datafusion::arrow::array::Int64Array, f: impl Fn(i64) -> i64) -> Option<Int32Array> {
    array.try_unary::<_, Int32Type, _>(|v| i32::try_from(f(v)).map_err(|_| ())).ok()
}

fn int_array(days: &ArrayRef, f: impl Fn(i32) -> i32) -> ArrayRef {
    Arc::new(days.as_primitive::<Int32Type>().unary::<_, Int32Type>(f))
}

fn months_since_epoch(day: i32) -> i32 {
    let (year, month) = civil(day);
    (year - EPOCH_YEAR) * 12 + month - 1
}

/// Year and month (from 1) of a day since the epoch.
fn civil(day: i32) -> (i32, i32) {
    let (year, month, _) = polder_base::civil(i64::from(day));
    // An i32 of days is less than six million years.
    (i32::try_from(year).unwrap_or(i32::MAX), i32::try_from(month).unwrap_or(1))
}

/// The first day of a month, in days since the epoch: the inverse of [`civil`].
fn days_from_civil(year: i32, month: i32) -> i64 {
    let (year, month) = (i64::from(year) - i64::from(month <= 2), i64::from(month));
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

fn bucket(buckets: u32, array: &ArrayRef) -> Option<ArrayRef> {
    let buckets = i32::try_from(buckets).ok().filter(|n| *n > 0)?;
    let of_hash = move |hash: i32| (hash & i32::MAX) % buckets;
    let long = move |v: i64| of_hash(murmur3(&v.to_le_bytes()));
    let bytes = move |v: &[u8]| of_hash(murmur3(v));
    let result: Int32Array = match array.data_type() {
        DataType::Int32 => array.as_primitive::<Int32Type>().unary(|v| long(i64::from(v))),
        DataType::Date32 => array.as_primitive::<Date32Type>().unary(|v| long(i64::from(v))),
        DataType::Int64 => array.as_primitive::<Int64Type>().unary(long),
        DataType::Time64(TimeUnit::Microsecond) => array.as_primitive::<Time64MicrosecondType>().unary(long),
        DataType::Timestamp(_, _) => micros(array)?.unary(long),
        DataType::Decimal128(_, _) => {
            array.as_primitive::<Decimal128Type>().unary(|v| bytes(minimal_bytes(&v.to_be_bytes())))
        }
        DataType::Utf8View => array.as_string_view().iter().map(|v| v.map(|v| bytes(v.as_bytes()))).collect(),
        DataType::Utf8 => array.as_string::<i32>().iter().map(|v| v.map(|v| bytes(v.as_bytes()))).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(|v| v.map(|v| bytes(v.as_bytes()))).collect(),
        DataType::BinaryView => array.as_binary_view().iter().map(|v| v.map(bytes)).collect(),
        DataType::Binary => array.as_binary::<i32>().iter().map(|v| v.map(bytes)).collect(),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().iter().map(|v| v.map(bytes)).collect(),
        _ => return None,
    };
    Some(Arc::new(result))
}

/// The fewest bytes that hold a two's complement number, big-endian.
pub(crate) fn minimal_bytes(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest {
        let redundant = (*first == 0x00 && second & 0x80 == 0) || (*first == 0xff && second & 0x80 != 0);
        if !redundant {
            break;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    rest
}

fn truncate(width: u32, array: &ArrayRef) -> Option<ArrayRef> {
    let length = u64::from(width);
    let result: ArrayRef = match array.data_type() {
        DataType::Int32 => {
            let width = i32::try_from(width).ok().filter(|w| *w > 0)?;
            Arc::new(array.as_primitive::<Int32Type>().unary::<_, Int32Type>(|v| v.wrapping_sub(v.rem_euclid(width))))
        }
        DataType::Int64 => {
            let width = i64::from(width);
            Arc::new(array.as_primitive::<Int64Type>().unary::<_, Int64Type>(|v| v.wrapping_sub(v.rem_euclid(width))))
        }
        DataType::Decimal128(precision, scale) => {
            let width = i128::from(width);
            let values: Decimal128Array =
                array.as_primitive::<Decimal128Type>().unary(|v| v.wrapping_sub(v.rem_euclid(width)));
            Arc::new(values.with_precision_and_scale(*precision, *scale).ok()?)
        }
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Utf8 => {
            let plain = cast(array, &DataType::Utf8).ok()?;
            let prefix = substring_by_char(plain.as_string::<i32>(), 0, Some(length)).ok()?;
            cast(&(Arc::new(prefix) as ArrayRef), &DataType::Utf8View).ok()?
        }
        DataType::BinaryView | DataType::Binary => {
            let plain = cast(array, &DataType::Binary).ok()?;
            cast(&substring(&plain, 0, Some(length)).ok()?, &DataType::BinaryView).ok()?
        }
        _ => return None,
    };
    Some(result)
}

/// MurmurHash3, 32 bits, x86 variant, seed 0 (A. Appleby, public domain).
fn murmur3(bytes: &[u8]) -> i32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let scramble = |k: u32| k.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let mut hash = 0u32;
    let (blocks, tail) = bytes.as_chunks::<4>();
    for block in blocks {
        hash = (hash ^ scramble(u32::from_le_bytes(*block))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let last = tail.iter().rev().fold(0u32, |k, byte| (k << 8) | u32::from(*byte));
    hash ^= scramble(last);
    // The specification of the hash wraps lengths beyond 32 bits.
    #[allow(clippy::cast_possible_truncation)]
    let length = bytes.len() as u32;
    hash ^= length;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    (hash ^ (hash >> 16)).cast_signed()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        BinaryViewArray, Date32Array, FixedSizeBinaryArray, Int64Array, StringViewArray, Time64MicrosecondArray,
        TimestampMicrosecondArray,
    };

    use super::*;

    fn ints(array: &ArrayRef) -> Vec<i32> {
        cast(array, &DataType::Int32).unwrap().as_primitive::<Int32Type>().values().to_vec()
    }

    /// The table of appendix B, whose hashes are unreduced: a single huge bucket count leaves them as they are.
    #[test]
    fn hashes_are_those_of_the_specification() {
        let hash = |v: i64| murmur3(&v.to_le_bytes());
        assert_eq!(hash(34), 2_017_239_379);
        assert_eq!(hash(17_486), -653_330_422, "date 2017-11-16");
        assert_eq!(hash(81_068_000_000), -662_762_989, "time 22:31:08");
        assert_eq!(hash(1_510_871_468_000_000), -2_047_944_441, "timestamp 2017-11-16T22:31:08");
        assert_eq!(murmur3(b"iceberg"), 1_210_000_089);
        assert_eq!(murmur3(minimal_bytes(&1420i128.to_be_bytes())), -500_754_589, "decimal 14.20");
        assert_eq!(murmur3(&[0, 1, 2, 3]), -188_683_207);
        let uuid = 0xf79c_3e09_677c_4bbd_a479_3f34_9cb7_85e7_u128;
        assert_eq!(murmur3(&uuid.to_be_bytes()), 1_488_055_340);
    }

    #[test]
    fn buckets_of_all_types() {
        let column = |array: ArrayRef| ints(&apply(Transform::Bucket(16), &array, "c").unwrap());
        let expected = |hash: i32| vec![(hash & i32::MAX) % 16];
        assert_eq!(column(Arc::new(Int32Array::from(vec![34]))), expected(2_017_239_379));
        assert_eq!(column(Arc::new(Int64Array::from(vec![34]))), expected(2_017_239_379));
        assert_eq!(column(Arc::new(Date32Array::from(vec![17_486]))), expected(-653_330_422));
        assert_eq!(column(Arc::new(Time64MicrosecondArray::from(vec![81_068_000_000]))), expected(-662_762_989));
        assert_eq!(
            column(Arc::new(TimestampMicrosecondArray::from(vec![1_510_871_468_000_000]))),
            expected(-2_047_944_441)
        );
        assert_eq!(column(Arc::new(StringViewArray::from(vec!["iceberg"]))), expected(1_210_000_089));
        assert_eq!(column(Arc::new(BinaryViewArray::from(vec![&[0u8, 1, 2, 3][..]]))), expected(-188_683_207));
        let fixed = FixedSizeBinaryArray::try_from_iter([[0u8, 1, 2, 3]].iter()).unwrap();
        assert_eq!(column(Arc::new(fixed)), expected(-188_683_207));
    }

    #[test]
    fn minimal_bytes_keep_the_sign() {
        for v in [0i128, 1, -1, 127, 128, -128, -129, i128::MAX, i128::MIN] {
            let bytes = v.to_be_bytes();
            let minimal = minimal_bytes(&bytes);
            let fill = if v < 0 { 0xff } else { 0 };
            let mut back = [fill; 16];
            back[16 - minimal.len()..].copy_from_slice(minimal);
            assert_eq!(i128::from_be_bytes(back), v);
        }
        assert_eq!(minimal_bytes(&128i128.to_be_bytes()), [0, 128]);
    }

    #[test]
    fn times_before_the_epoch_round_down() {
        let micros: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![-1, 0, 1_510_871_468_000_000]));
        let at = |t| ints(&apply(t, &micros, "c").unwrap());
        assert_eq!(at(Transform::Year), [-1, 0, 47]);
        assert_eq!(at(Transform::Month), [-1, 0, 574]);
        assert_eq!(at(Transform::Day), [-1, 0, 17_486]);
        assert_eq!(at(Transform::Hour), [-1, 0, 419_686]);
        let dates: ArrayRef = Arc::new(Date32Array::from(vec![-1, 59, 60]));
        assert_eq!(ints(&apply(Transform::Month, &dates, "c").unwrap()), [-1, 2, 2]);
    }

    #[test]
    fn truncation_rounds_down() {
        let at = |array: ArrayRef, width| apply(Transform::Truncate(width), &array, "c").unwrap();
        assert_eq!(ints(&at(Arc::new(Int32Array::from(vec![1, -1, 10, -11])), 10)), [0, -10, 10, -20]);
        let text = at(Arc::new(StringViewArray::from(vec!["iceberg", "añb", "ü"])), 2);
        assert_eq!(text.as_string_view().iter().flatten().collect::<Vec<_>>(), ["ic", "añ", "ü"]);
        let decimals = Decimal128Array::from(vec![1065, -5]).with_precision_and_scale(9, 2).unwrap();
        let decimals = at(Arc::new(decimals), 50);
        assert_eq!(decimals.as_primitive::<Decimal128Type>().values().to_vec(), [1050, -50]);
    }

    #[test]
    fn a_partition_covers_exactly_its_values() {
        for transform in [Transform::Year, Transform::Month, Transform::Day, Transform::Hour] {
            for micros in [-86_400_000_001_i64, -1, 0, 951_782_399_999_999, 951_782_400_000_000] {
                let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![micros]));
                let value = ints(&apply(transform, &column, "c").unwrap())[0];
                let (low, high) = range(transform, &ScalarValue::Int32(Some(value)), column.data_type()).unwrap();
                let at = |s: &ScalarValue| match s {
                    ScalarValue::TimestampMicrosecond(Some(v), _) => *v,
                    other => panic!("{other}"),
                };
                assert!(at(&low) <= micros && micros <= at(&high), "{transform} of {micros}");
                for outside in [at(&low) - 1, at(&high) + 1] {
                    let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![outside]));
                    assert_ne!(ints(&apply(transform, &column, "c").unwrap())[0], value, "{transform} of {outside}");
                }
            }
        }
    }
}
