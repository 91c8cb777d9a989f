//! What a manifest says about a data file, computed from the file's own footer.
//!
//! Bounds must never exclude a row that is there: a bound that is in doubt is left out, one that was cut is cut
//! downwards for the lower and upwards for the upper.

use std::collections::{BTreeMap, HashMap};

use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;
use polder_table::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema, Struct, Type,
};

use crate::transform::minimal_bytes;
use crate::{LakeError, Result};

/// Longest bound of a text or binary column, in bytes.
const MAX_BOUND_BYTES: usize = 64;

/// A written file, as its manifest entry will describe it.
pub(crate) struct WrittenFile<'a> {
    pub location: String,
    pub size_bytes: u64,
    pub footer: &'a ParquetMetaData,
    pub schema: &'a Schema,
    /// NaN values by field id, for every floating-point column at the top of the schema.
    pub nans: BTreeMap<i32, u64>,
    pub partition: Struct,
    pub partition_spec_id: i32,
}

pub(crate) fn data_file(file: WrittenFile<'_>) -> Result<DataFile> {
    let mut columns: HashMap<i32, ColumnTotals> = HashMap::new();
    for row_group in file.footer.row_groups() {
        for chunk in row_group.columns() {
            if let Some(id) = leaf_id(chunk) {
                let field_type = file.schema.field_by_id(id).map(|f| f.field_type.as_ref());
                columns.entry(id).or_default().add(chunk, field_type);
            }
        }
    }
    let rows = u64::try_from(file.footer.file_metadata().num_rows()).unwrap_or(0);
    let mut metrics = Metrics::default();
    for (id, totals) in columns {
        totals.put(id, &mut metrics);
    }
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(file.location)
        .file_format(DataFileFormat::Parquet)
        .partition(file.partition)
        .partition_spec_id(file.partition_spec_id)
        .record_count(rows)
        .file_size_in_bytes(file.size_bytes)
        .column_sizes(metrics.sizes)
        .value_counts(metrics.values)
        .null_value_counts(metrics.nulls)
        .nan_value_counts(file.nans.into_iter().collect())
        .lower_bounds(metrics.lower)
        .upper_bounds(metrics.upper)
        .split_offsets(Some(split_offsets(file.footer)))
        .build()
        .map_err(|e| LakeError::Schema(format!("a data file cannot be described: {e}")))
}

#[derive(Default)]
struct Metrics {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
    lower: HashMap<i32, Datum>,
    upper: HashMap<i32, Datum>,
}

/// One column over all row groups.
#[derive(Default)]
struct ColumnTotals {
    bytes: u64,
    values: u64,
    /// `None` once a row group does not say.
    nulls: Option<u64>,
    bounds: Bounds,
    started: bool,
}

impl ColumnTotals {
    fn add(&mut self, chunk: &ColumnChunkMetaData, field_type: Option<&Type>) {
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        let values = count(chunk.num_values());
        let nulls = chunk.statistics().and_then(Statistics::null_count_opt);
        self.bytes += count(chunk.compressed_size());
        self.values += values;
        self.nulls = if self.started { self.nulls.zip(nulls).map(|(a, b)| a + b) } else { nulls };
        self.started = true;
        // A chunk of NULLs alone has no bounds, and needs none.
        if nulls == Some(values) {
            return;
        }
        // Below a list or map a bound is about elements, which no reader prunes by.
        let repeated = chunk.column_descr().max_rep_level() > 0;
        let chunk_bounds = match (chunk.statistics(), field_type) {
            (Some(statistics), Some(Type::Primitive(primitive))) if !repeated => chunk_bounds(statistics, primitive),
            _ => (None, None),
        };
        self.bounds.add(chunk_bounds);
    }

    fn put(self, id: i32, metrics: &mut Metrics) {
        metrics.sizes.insert(id, self.bytes);
        metrics.values.insert(id, self.values);
        if let Some(nulls) = self.nulls {
            metrics.nulls.insert(id, nulls);
        }
        if let Side::Known(lower) = self.bounds.lower {
            metrics.lower.insert(id, lower);
        }
        if let Side::Known(upper) = self.bounds.upper {
            metrics.upper.insert(id, upper);
        }
    }
}

#[derive(Default)]
struct Bounds {
    lower: Side,
    upper: Side,
}

#[derive(Default)]
enum Side {
    #[default]
    Nothing,
    Known(Datum),
    /// A row group with values did not say: there is no bound, whatever others say.
    Unknown,
}

impl Bounds {
    fn add(&mut self, (lower, upper): (Option<Datum>, Option<Datum>)) {
        self.lower.add(lower, std::cmp::Ordering::Less);
        self.upper.add(upper, std::cmp::Ordering::Greater);
    }
}

impl Side {
    fn add(&mut self, value: Option<Datum>, wins: std::cmp::Ordering) {
        let new = match (std::mem::take(self), value) {
            (Self::Unknown, _) | (_, None) => Self::Unknown,
            (Self::Nothing, Some(value)) => Self::Known(value),
            (Self::Known(old), Some(value)) => match value.partial_cmp(&old) {
                Some(order) => Self::Known(if order == wins { value } else { old }),
                None => Self::Unknown,
            },
        };
        *self = new;
    }
}

/// The field id that the file has at this leaf.
fn leaf_id(chunk: &ColumnChunkMetaData) -> Option<i32> {
    let leaf = chunk.column_descr().self_type().get_basic_info();
    leaf.has_id().then(|| leaf.id())
}

fn split_offsets(footer: &ParquetMetaData) -> Vec<i64> {
    let mut offsets: Vec<i64> = footer.row_groups().iter().filter_map(row_group_start).collect();
    offsets.sort_unstable();
    offsets
}

/// Where a row group starts: with the dictionary of its first column, where there is one.
fn row_group_start(row_group: &parquet::file::metadata::RowGroupMetaData) -> Option<i64> {
    let first = row_group.columns().first()?;
    Some(first.dictionary_page_offset().map_or(first.data_page_offset(), |d| d.min(first.data_page_offset())))
}

/// Lower and upper bound of a column chunk.
fn chunk_bounds(statistics: &Statistics, primitive: &PrimitiveType) -> (Option<Datum>, Option<Datum>) {
    match statistics {
        Statistics::Boolean(s) => both(s.min_opt(), s.max_opt(), |v| datum(&[u8::from(*v)], primitive)),
        Statistics::Int32(s) => both(s.min_opt(), s.max_opt(), |v| integer_datum(i64::from(*v), primitive)),
        Statistics::Int64(s) => both(s.min_opt(), s.max_opt(), |v| integer_datum(*v, primitive)),
        Statistics::Float(s) => floating_bounds(s.min_opt().copied(), s.max_opt().copied(), primitive),
        Statistics::Double(s) => floating_bounds(s.min_opt().copied(), s.max_opt().copied(), primitive),
        Statistics::ByteArray(s) => bytes_bounds(
            s.min_opt().map(parquet::data_type::ByteArray::data),
            s.max_opt().map(parquet::data_type::ByteArray::data),
            primitive,
        ),
        Statistics::FixedLenByteArray(s) => {
            let bytes = |v: &parquet::data_type::FixedLenByteArray| match primitive {
                PrimitiveType::Decimal { .. } => datum(minimal_bytes(v.data()), primitive),
                // Without a logical type that orders them, fixed bytes that were cut are no bounds.
                _ if s.min_is_exact() && s.max_is_exact() => datum(v.data(), primitive),
                _ => None,
            };
            both(s.min_opt(), s.max_opt(), bytes)
        }
        Statistics::Int96(_) => (None, None),
    }
}

fn both<T>(min: Option<&T>, max: Option<&T>, datum: impl Fn(&T) -> Option<Datum>) -> (Option<Datum>, Option<Datum>) {
    (min.and_then(&datum), max.and_then(&datum))
}

fn datum(bytes: &[u8], primitive: &PrimitiveType) -> Option<Datum> {
    Datum::try_from_bytes(bytes, primitive.clone()).ok()
}

fn integer_datum(value: i64, primitive: &PrimitiveType) -> Option<Datum> {
    match primitive {
        PrimitiveType::Int | PrimitiveType::Date => datum(&i32::try_from(value).ok()?.to_le_bytes(), primitive),
        PrimitiveType::Decimal { .. } => datum(minimal_bytes(&i128::from(value).to_be_bytes()), primitive),
        _ => datum(&value.to_le_bytes(), primitive),
    }
}

/// Bounds of a floating-point column: without NaN, and with both zeros inside when one of them is a bound, because
/// readers disagree about whether they are equal.
fn floating_bounds<T: Into<f64> + Copy>(
    min: Option<T>,
    max: Option<T>,
    primitive: &PrimitiveType,
) -> (Option<Datum>, Option<Datum>) {
    let bound = |value: Option<T>, zero: f64| {
        let value = value?.into();
        if value.is_nan() {
            return None;
        }
        let value = if value == 0.0 { zero } else { value };
        match primitive {
            // The value came from an f32.
            #[allow(clippy::cast_possible_truncation)]
            PrimitiveType::Float => datum(&(value as f32).to_le_bytes(), primitive),
            _ => datum(&value.to_le_bytes(), primitive),
        }
    };
    (bound(min, -0.0), bound(max, 0.0))
}

fn bytes_bounds(min: Option<&[u8]>, max: Option<&[u8]>, primitive: &PrimitiveType) -> (Option<Datum>, Option<Datum>) {
    match primitive {
        PrimitiveType::String => (
            min.and_then(|m| datum(text_lower(std::str::from_utf8(m).ok()?).as_bytes(), primitive)),
            max.and_then(|m| datum(text_upper(std::str::from_utf8(m).ok()?)?.as_bytes(), primitive)),
        ),
        PrimitiveType::Decimal { .. } => {
            (min.and_then(|m| datum(minimal_bytes(m), primitive)), max.and_then(|m| datum(minimal_bytes(m), primitive)))
        }
        _ => (
            min.and_then(|m| datum(m.get(..MAX_BOUND_BYTES).unwrap_or(m), primitive)),
            max.and_then(|m| datum(&bytes_upper(m)?, primitive)),
        ),
    }
}

/// The longest prefix that is short enough: not greater than the text.
fn text_lower(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_BOUND_BYTES)).unwrap_or(text)
}

/// A short text that is not less than `text`: itself, or its prefix with the last character that has one raised to its
/// successor. `None`: there is no such text.
fn text_upper(text: &str) -> Option<String> {
    if text.len() <= MAX_BOUND_BYTES {
        return Some(text.to_owned());
    }
    let mut prefix: Vec<char> = text_lower(text).chars().collect();
    while let Some(last) = prefix.pop() {
        if let Some(next) = successor(last) {
            prefix.push(next);
            return Some(prefix.into_iter().collect());
        }
    }
    None
}

/// The next character; the surrogates between U+D7FF and U+E000 are none.
fn successor(c: char) -> Option<char> {
    match c {
        '\u{d7ff}' => Some('\u{e000}'),
        char::MAX => None,
        c => char::from_u32(u32::from(c) + 1),
    }
}

fn bytes_upper(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() <= MAX_BOUND_BYTES {
        return Some(bytes.to_vec());
    }
    let mut prefix = bytes.get(..MAX_BOUND_BYTES)?.to_vec();
    while let Some(last) = prefix.pop() {
        if let Some(next) = last.checked_add(1) {
            prefix.push(next);
            return Some(prefix);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_upper_bound_that_cannot_be_raised_is_left_out() {
        assert_eq!(text_upper(&char::MAX.to_string().repeat(40)), None);
        assert_eq!(bytes_upper(&[0xff; 100]), None);
        let mut nearly = vec![0xff; 100];
        nearly[0] = 1;
        assert_eq!(bytes_upper(&nearly), Some(vec![2]));
    }

    #[test]
    fn surrogates_are_stepped_over() {
        assert_eq!(successor('\u{d7ff}'), Some('\u{e000}'));
        let text = format!("{}\u{d7ff}{}", "a".repeat(61), "z".repeat(9));
        assert_eq!(text_upper(&text), Some(format!("{}\u{e000}", "a".repeat(61))));
    }

    #[test]
    fn a_row_group_without_bounds_takes_them_from_the_file() {
        let mut bounds = Bounds::default();
        bounds.add((Some(Datum::long(1)), Some(Datum::long(2))));
        bounds.add((None, Some(Datum::long(9))));
        bounds.add((Some(Datum::long(5)), Some(Datum::long(3))));
        assert!(matches!(bounds.lower, Side::Unknown));
        assert!(matches!(bounds.upper, Side::Known(d) if d == Datum::long(9)));
    }

    proptest! {
        #[test]
        fn text_bounds_hold(text in "\\PC{0,60}|[a-z\u{d7ff}\u{10ffff}]{20,80}") {
            prop_assert!(text_lower(&text) <= text.as_str());
            if let Some(upper) = text_upper(&text) {
                prop_assert!(upper.as_str() >= text.as_str());
            }
        }

        #[test]
        fn byte_bounds_hold(bytes in proptest::collection::vec(prop_oneof![Just(0xffu8), any::<u8>()], 0..100)) {
            if let Some(upper) = bytes_upper(&bytes) {
                prop_assert!(upper >= bytes);
            }
        }
    }
}
