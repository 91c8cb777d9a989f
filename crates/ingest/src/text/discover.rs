//! The type of a column of text, found by looking at a sample of its values.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;

use super::value;
use crate::types::{sql_type, timestamp, timestamp_tz};

/// What one value looks like by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    /// More digits than a bigint has.
    LongInteger,
    Point,
    Exponent,
    Boolean,
    Date,
    Timestamp,
    TimestampTz,
    Text,
}

const KINDS: usize = 9;

impl Kind {
    /// Whether the digits of such a value are all of it.
    fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::LongInteger | Self::Point)
    }
}

/// What has been seen of one column.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    counts: [u64; KINDS],
    /// Longest run of digits before the point, and after it; fewest after it.
    integer_digits: u32,
    max_scale: u32,
    min_scale: Option<u32>,
    trailing_zero: bool,
    /// Numbers with more digits than a double keeps.
    long: u64,
    /// The first value of each kind, and of the long numbers.
    first: [Option<First>; KINDS],
    first_long: Option<First>,
    /// Values seen before the first that is text.
    before_text: u64,
    /// A whole file looked like another type before one came with text.
    turned: bool,
}

/// Where a value stands.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub file: &'a Arc<str>,
    pub line: u64,
}

/// A value, and where it stands. The order is that of the places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct First {
    file: Arc<str>,
    line: u64,
    value: String,
}

impl First {
    fn new(bytes: &[u8], place: Place<'_>) -> Self {
        let value = shorten(&String::from_utf8_lossy(bytes));
        Self { file: Arc::clone(place.file), line: place.line, value }
    }
}

impl fmt::Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} has \"{}\"", self.file, self.line, self.value)
    }
}

impl Seen {
    /// Takes in one value that is not NULL. `quoted` empty fields say nothing and are left out by the caller.
    pub fn add(&mut self, bytes: &[u8], place: Place<'_>) {
        let kind = self.look(bytes);
        let slot = kind as usize;
        if kind.is_number() && value::outgrows_double(bytes) {
            self.long += 1;
            self.first_long.get_or_insert_with(|| First::new(bytes, place));
        }
        if kind == Kind::Text && self.counts[slot] == 0 {
            self.before_text = self.total();
        }
        self.counts[slot] += 1;
        self.first[slot].get_or_insert_with(|| First::new(bytes, place));
    }

    /// What one value by itself looks like.
    pub fn type_of(bytes: &[u8]) -> Option<DataType> {
        let mut seen = Self::default();
        let kind = seen.look(bytes);
        seen.counts[kind as usize] = 1;
        seen.long = u64::from(kind.is_number() && value::outgrows_double(bytes));
        seen.data_type()
    }

    /// Adds what was seen of the same column elsewhere.
    pub fn merge(&mut self, other: Self) {
        let text = Kind::Text as usize;
        if self.counts[text] == 0 && other.counts[text] > 0 {
            self.before_text = self.total() + other.before_text;
            self.turned = self.total() > 0;
        }
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        for (first, later) in self.first.iter_mut().zip(other.first) {
            *first = first.take().or(later);
        }
        self.integer_digits = self.integer_digits.max(other.integer_digits);
        self.max_scale = self.max_scale.max(other.max_scale);
        self.min_scale = self.min_scale.into_iter().chain(other.min_scale).min();
        self.trailing_zero |= other.trailing_zero;
        self.long += other.long;
        self.first_long = self.first_long.take().or(other.first_long);
    }

    fn look(&mut self, bytes: &[u8]) -> Kind {
        match bytes.first() {
            Some(b'0'..=b'9' | b'-' | b'.') => {}
            Some(b't' | b'T' | b'f' | b'F') if value::boolean(bytes).is_some() => return Kind::Boolean,
            _ => return Kind::Text,
        }
        if let Some(form) = value::number_form(bytes) {
            return self.look_at_number(bytes, form);
        }
        if value::date(bytes).is_some() {
            return Kind::Date;
        }
        match value::timestamp(bytes) {
            Some(t) if t.cut => Kind::Text,
            Some(t) if t.zoned => Kind::TimestampTz,
            Some(_) => Kind::Timestamp,
            None => Kind::Text,
        }
    }

    fn look_at_number(&mut self, bytes: &[u8], form: value::NumberForm) -> Kind {
        if form.has_exponent {
            return Kind::Exponent;
        }
        self.integer_digits = self.integer_digits.max(form.integer_digits);
        if form.has_point {
            self.max_scale = self.max_scale.max(form.scale);
            self.min_scale = Some(self.min_scale.map_or(form.scale, |s| s.min(form.scale)));
            self.trailing_zero |= form.trailing_zero;
            return Kind::Point;
        }
        if value::integer(bytes, true).is_some() {
            Kind::Integer
        } else if form.integer_digits <= 18 {
            // `-0` and its like: no whole number writes itself so.
            Kind::Text
        } else {
            Kind::LongInteger
        }
    }

    fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn only(&self, kinds: &[Kind]) -> bool {
        self.total() > 0 && kinds.iter().map(|k| self.count(*k)).sum::<u64>() == self.total()
    }

    /// The type that holds all values seen, exactly; `None` when there was none.
    pub fn data_type(&self) -> Option<DataType> {
        use Kind::{Boolean, Date, Exponent, Integer, LongInteger, Point, Text, Timestamp, TimestampTz};
        if self.total() == 0 {
            return None;
        }
        Some(if self.count(Text) > 0 {
            DataType::Utf8
        } else if self.only(&[Integer]) {
            DataType::Int64
        } else if self.only(&[Integer, LongInteger]) {
            if self.integer_digits <= 38 { DataType::Decimal128(38, 0) } else { DataType::Utf8 }
        } else if self.only(&[Integer, LongInteger, Point, Exponent]) {
            self.fraction_type()
        } else if self.only(&[Boolean]) {
            DataType::Boolean
        } else if self.only(&[Date]) {
            DataType::Date32
        } else if self.only(&[Date, Timestamp]) {
            timestamp()
        } else if self.only(&[TimestampTz]) {
            timestamp_tz()
        } else {
            DataType::Utf8
        })
    }

    /// Numbers that are all written with the same number of places, zeros at the end included, are money or measures
    /// that somebody rounded on purpose: decimal.
    fn rounded_type(&self) -> Option<DataType> {
        let scale = self.max_scale;
        let rounded = self.count(Kind::Point) == self.total()
            && self.min_scale == Some(scale)
            && scale >= 2
            && self.trailing_zero;
        let digits = self.integer_digits + scale;
        match (u8::try_from(scale), i8::try_from(scale)) {
            (Ok(p), Ok(s)) if rounded && digits <= 18 => Some(DataType::Decimal128(18.max(p), s)),
            (_, Ok(s)) if rounded && digits <= 38 => Some(DataType::Decimal128(38, s)),
            _ => None,
        }
    }

    /// Numbers that nobody rounded are doubles, unless one has more digits than a double keeps: all of them are decimals
    /// then, where there is one with room for them. Where there is none, the long ones do not fit.
    fn fraction_type(&self) -> DataType {
        let counted = self.long > 0 && self.count(Kind::Exponent) == 0 && self.integer_digits + self.max_scale <= 38;
        match (self.rounded_type(), i8::try_from(self.max_scale)) {
            (Some(rounded), _) => rounded,
            (None, Ok(scale)) if counted => DataType::Decimal128(38, scale),
            _ => DataType::Float64,
        }
    }

    /// Values seen, and those among them that a column of this type cannot take.
    pub fn misfits(&self, data_type: &DataType) -> (u64, u64) {
        let misfits: u64 = ALL.iter().filter(|k| !self.fits(**k, data_type)).map(|k| self.count(*k)).sum();
        let long = if data_type.is_floating() { self.long } else { 0 };
        (self.total(), misfits + long)
    }

    fn fits(&self, kind: Kind, data_type: &DataType) -> bool {
        use Kind::{Boolean, Date, Exponent, Integer, LongInteger, Point, Timestamp, TimestampTz};
        match data_type {
            DataType::Boolean => kind == Boolean,
            DataType::Int32 | DataType::Int64 => kind == Integer,
            DataType::Float32 | DataType::Float64 => matches!(kind, Integer | LongInteger | Point | Exponent),
            DataType::Decimal128(p, s) => {
                let places = i64::from(self.max_scale) <= i64::from(*s);
                let digits = i64::from(self.integer_digits) <= i64::from(*p) - i64::from(*s);
                matches!(kind, Integer | LongInteger) && digits || kind == Point && places && digits
            }
            DataType::Date32 => kind == Date,
            DataType::Timestamp(_, None) => matches!(kind, Date | Timestamp),
            DataType::Timestamp(_, Some(_)) => kind == TimestampTz,
            // What nothing fits: for a kind of values that a column cannot take, whatever they look like.
            DataType::Null => false,
            // Text takes everything; other types cannot be told from a sample of text.
            _ => true,
        }
    }

    /// The first value that does not fit, with its place: for messages.
    pub fn first_misfit(&self, data_type: &DataType) -> Option<&First> {
        let candidates = ALL.iter().filter(|k| !self.fits(**k, data_type));
        let long = self.first_long.as_ref().filter(|_| data_type.is_floating());
        candidates.filter_map(|k| self.first[*k as usize].as_ref()).chain(long).min()
    }

    /// Told when a column begins as one type and goes on as text: it is read as text, which loses nothing, but it was
    /// perhaps not meant.
    pub fn changed(&self, column: &str) -> Option<String> {
        let text = self.first[Kind::Text as usize].as_ref()?;
        let typed: Vec<Kind> = ALL.iter().copied().filter(|k| *k != Kind::Text && self.count(*k) > 0).collect();
        if (self.before_text < 10 && !self.turned) || typed.is_empty() {
            return None;
        }
        let mut others = self.clone();
        others.counts[Kind::Text as usize] = 0;
        let was = others.data_type().filter(|t| *t != DataType::Utf8)?;
        let values = if self.before_text == 1 { "value" } else { "values" };
        Some(format!("`{column}` is text: after {} {values} of type {}, {text}", self.before_text, sql_type(&was)))
    }
}

const ALL: [Kind; KINDS] = [
    Kind::Integer,
    Kind::LongInteger,
    Kind::Point,
    Kind::Exponent,
    Kind::Boolean,
    Kind::Date,
    Kind::Timestamp,
    Kind::TimestampTz,
    Kind::Text,
];

/// At most 40 characters of a value, for a message.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(values: &[&str]) -> Seen {
        let mut seen = Seen::default();
        for (v, line) in values.iter().zip(2..) {
            seen.add(v.as_bytes(), Place { file: &"a.csv".into(), line });
        }
        seen
    }

    #[test]
    fn each_type_is_found() {
        for (values, want) in [
            (&["1", "-20", "0"][..], "bigint"),
            (&["1", "007"], "text"),
            (&["+4917012345"], "text"),
            (&["1", "12345678901234567890"], "decimal(38, 0)"),
            (&["1.5", "2"], "double"),
            (&["12.50", "9.99"], "decimal(18, 2)"),
            (&["12.55", "9.99"], "double"),
            (&["12.50", "9.9"], "double"),
            (&["12.50", "9"], "double"),
            (&["1.0", "2.0"], "double"),
            (&["3.1415926535897932384"], "double"),
            (&["0.12345678901234567", "12345.5"], "double"),
            (&["123456789.5", "0.123456789"], "double"),
            (&["1234567890123456789.25"], "decimal(38, 2)"),
            (&["123456789012345678", "0.5", "12345678901234567890"], "decimal(38, 1)"),
            (&["12345678901234567.25", "0.30000000000000004"], "decimal(38, 17)"),
            (&["12345678901234567", "0.5", "100000000000000000000"], "decimal(38, 1)"),
            (&["123456789012345", "0.5", "100000000000000000000"], "double"),
            (&["1234567890.123456717", "0.1"], "double"),
            // No decimal has room for all of it.
            (&["1234567890123456789.25", "1e5"], "double"),
            (&["1e5"], "double"),
            (&["true", "FALSE"], "boolean"),
            (&["true", "1"], "text"),
            (&["2024-01-31"], "date"),
            (&["2024-01-31", "2024-01-31 10:00"], "timestamp"),
            (&["2024-01-31T10:00:00Z"], "timestamptz"),
            (&["2024-01-31T10:00:00Z", "2024-01-31T10:00:00"], "text"),
            (&["2024-01-31T10:00:00.123456789"], "text"),
            (&["2024-02-31"], "text"),
            (&["-0"], "text"),
        ] {
            assert_eq!(seen(values).data_type().map(|t| sql_type(&t)).as_deref(), Some(want), "{values:?}");
        }
        assert_eq!(seen(&[]).data_type(), None);
    }

    #[test]
    fn a_change_half_way_is_told() {
        let mut values = vec!["1"; 50];
        values.extend(["abc"; 50]);
        let told = seen(&values).changed("amount").unwrap();
        assert_eq!(told, "`amount` is text: after 50 values of type bigint, a.csv:52 has \"abc\"");
        assert_eq!(seen(&["a", "1", "2"]).changed("code"), None);
    }

    #[test]
    fn a_change_from_file_to_file_is_told_with_its_place() {
        let mut all = seen(&["1"]);
        all.merge(seen(&["2", "x"]));
        assert_eq!(all.changed("n").unwrap(), "`n` is text: after 2 values of type bigint, a.csv:3 has \"x\"");
        // The other way round it is a column of text, some of which looks like numbers.
        let mut all = seen(&["x"]);
        all.merge(seen(&["1"]));
        assert_eq!(all.changed("n"), None);
    }

    #[test]
    fn values_that_do_not_fit_a_table_are_counted() {
        let s = seen(&["1", "2", "x", "2.5"]);
        assert_eq!(s.misfits(&DataType::Int64), (4, 2));
        assert_eq!(s.misfits(&DataType::Float64), (4, 1));
        assert_eq!(s.misfits(&DataType::Utf8), (4, 0));
        assert_eq!(s.first_misfit(&DataType::Int64).unwrap().to_string(), "a.csv:4 has \"x\"");
    }

    #[test]
    fn numbers_with_more_digits_than_a_double_keeps_do_not_fit_it() {
        let mut s = seen(&["0.5", "12345678901234567.25", "1e5", "3.1415926535897932384"]);
        s.merge(seen(&["123456789012345678"]));
        assert_eq!((s.misfits(&DataType::Float64), s.misfits(&DataType::Float32)), ((5, 2), (5, 2)));
        assert_eq!(s.first_misfit(&DataType::Float64).unwrap().to_string(), "a.csv:3 has \"12345678901234567.25\"");
        assert_eq!(s.misfits(&DataType::Utf8), (5, 0));
    }
}
