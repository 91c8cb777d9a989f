//! For which columns a dictionary does not pay.
//!
//! A dictionary costs a look into a hash table for each value, and is given up when it gets too large: for columns where
//! that would happen anyhow it is not begun. Neither is it for a fixed-width column that is the same in all rows, which
//! compresses to nothing by itself.

use std::collections::HashSet;

use datafusion::arrow::array::{Array, ArrayRef, GenericByteArray, RecordBatch};
use datafusion::arrow::datatypes::{ArrowNativeType, ByteArrayType, DataType};
use datafusion::common::hash_utils::{RandomState, create_hashes};

/// Values that are looked at. With fewer rows it does not matter.
const SAMPLE: usize = 4096;

/// A dictionary that gets larger than this is given up: the Parquet writer's default.
const LARGEST_BYTES: usize = 1024 * 1024;

/// The columns to write without a dictionary, judged by some of the rows, all of one schema.
pub(super) fn without_dictionary(rows: &[RecordBatch]) -> HashSet<usize> {
    let total: usize = rows.iter().map(RecordBatch::num_rows).sum();
    let Some(first) = rows.first().filter(|_| total >= SAMPLE) else { return HashSet::new() };
    let is_plain = |column: &usize| {
        let arrays: Vec<&ArrayRef> = rows.iter().map(|batch| batch.column(*column)).collect();
        is_plain(&arrays, total).unwrap_or(false)
    };
    (0..first.num_columns()).filter(is_plain).collect()
}

fn is_plain(arrays: &[&ArrayRef], total: usize) -> Option<bool> {
    let data_type = arrays.first()?.data_type();
    let width = match data_type.primitive_width() {
        Some(width) => width,
        None => text_bytes(data_type, arrays)? / total + size_of::<u32>(),
    };
    let distinct = distinct_of_sample(arrays, total / SAMPLE)?;
    if distinct == 1 {
        return Some(data_type.primitive_width().is_some());
    }
    // Of n values drawn from D, about n²/2D are like one drawn before.
    let alike = SAMPLE.saturating_sub(distinct);
    let estimate = (SAMPLE * SAMPLE).checked_div(2 * alike).unwrap_or(usize::MAX);
    Some(estimate > LARGEST_BYTES / width)
}

/// How many different values there are among `SAMPLE` of them, evenly spread: neighbours are often alike.
fn distinct_of_sample(arrays: &[&ArrayRef], step: usize) -> Option<usize> {
    let state = RandomState::default();
    let mut distinct: HashSet<u64> = HashSet::with_capacity(SAMPLE);
    let mut buffer = Vec::new();
    let mut skip = 0;
    let mut left = SAMPLE;
    for array in arrays {
        buffer.clear();
        buffer.resize(array.len(), 0);
        create_hashes([*array], &state, &mut buffer).ok()?;
        let looked_at = buffer.iter().skip(skip).step_by(step).take(left);
        left -= looked_at.len();
        distinct.extend(looked_at);
        skip = (skip + step - array.len() % step) % step;
    }
    Some(distinct.len())
}

/// The bytes of all values of a text or binary column; `None` for types that keep their dictionary.
fn text_bytes(data_type: &DataType, arrays: &[&ArrayRef]) -> Option<usize> {
    use datafusion::arrow::array::AsArray;
    let of = |array: &ArrayRef| -> Option<usize> {
        Some(match data_type {
            DataType::Utf8 => of_slice(array.as_string::<i32>()),
            DataType::LargeUtf8 => of_slice(array.as_string::<i64>()),
            DataType::Utf8View => array.as_string_view().lengths().map(|length| length as usize).sum(),
            DataType::Binary => of_slice(array.as_binary::<i32>()),
            DataType::LargeBinary => of_slice(array.as_binary::<i64>()),
            DataType::BinaryView => array.as_binary_view().lengths().map(|length| length as usize).sum(),
            _ => return None,
        })
    };
    arrays.iter().map(|array| of(array)).sum()
}

/// The bytes of an array's own values: its buffer may hold those of a larger array that it was cut from.
fn of_slice<T: ByteArrayType>(array: &GenericByteArray<T>) -> usize {
    let offsets = array.value_offsets();
    let [first, .., last] = offsets else { return 0 };
    last.as_usize() - first.as_usize()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, StringArray, StringViewArray};
    use datafusion::arrow::compute::cast;
    use datafusion::arrow::datatypes::{Field, Schema};

    use super::*;

    fn plain(columns: Vec<ArrayRef>) -> Vec<usize> {
        let field = |(i, array): (usize, &ArrayRef)| Field::new(i.to_string(), array.data_type().clone(), true);
        let schema = Arc::new(Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>()));
        let whole = RecordBatch::try_new(schema, columns).unwrap();
        // In uneven pieces, as streams give them.
        let half = whole.num_rows() / 3;
        let pieces = [whole.slice(0, half), whole.slice(half, whole.num_rows() - half)];
        let mut plain: Vec<usize> = without_dictionary(&pieces).into_iter().collect();
        plain.sort_unstable();
        plain
    }

    fn numbers(rows: i64, value: impl Fn(i64) -> i64) -> ArrayRef {
        Arc::new((0..rows).map(value).collect::<Int64Array>())
    }

    #[test]
    fn unique_and_constant_numbers_are_plain_and_repeated_ones_are_not() {
        let rows = 100_000;
        let scattered = |i: i64| i.wrapping_mul(0x5851_f42d_4c95_7f2d).rotate_left(17);
        let columns = vec![
            numbers(rows, |i| i),
            numbers(rows, |i| i / 3),
            numbers(rows, |_| 7),
            numbers(rows, |i| scattered(i).rem_euclid(20_000)),
            numbers(rows, |i| i % 10),
        ];
        assert_eq!(plain(columns), [0, 1, 2]);
        assert_eq!(plain(vec![numbers(4000, |i| i)]), [0usize; 0], "too few rows to care");
    }

    #[test]
    fn slices_count_for_their_own_values() {
        let whole: ArrayRef = Arc::new(StringArray::from_iter_values((0..5000).map(|i| format!("{i:010}"))));
        for data_type in
            [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View, DataType::Binary, DataType::LargeBinary]
        {
            let whole = cast(&whole, &data_type).unwrap();
            let slices: Vec<ArrayRef> = (0..50).map(|i| whole.slice(i * 100, 100)).collect();
            assert_eq!(text_bytes(&data_type, &slices.iter().collect::<Vec<_>>()), Some(50_000), "{data_type}");
        }
        assert_eq!(text_bytes(&DataType::Utf8, &[&whole.slice(7, 0)]), Some(0));
    }

    #[test]
    fn texts_count_by_their_length() {
        let rows = 50_000;
        let text = |i: usize, width: usize| format!("{i:0width$}");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values((0..rows).map(|i| text(i, 36)))),
            Arc::new(StringViewArray::from_iter_values((0..rows).map(|i| text(i % 1000, 36)))),
            Arc::new(StringArray::from_iter_values((0..rows).map(|_| text(1, 60)))),
        ];
        assert_eq!(plain(columns), [0]);
    }
}
