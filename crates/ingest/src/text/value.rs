//! Values that are written as text, read as what they are: integers, decimals, doubles, dates, times.
//!
//! All functions take the bytes of one field. `None` means "is not such a value"; nothing is rounded to make it fit.

/// Whole numbers: an optional sign and digits. In `strict` form `007` and `+7` are text, as codes and phone numbers are.
pub fn integer(bytes: &[u8], strict: bool) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] if !strict => (false, rest),
        _ => (false, bytes),
    };
    if digits.is_empty() || (strict && digits[0] == b'0' && (digits.len() > 1 || negative)) {
        return None;
    }
    let mut value: i64 = 0;
    if digits.len() <= 18 {
        for b in digits {
            let d = b.wrapping_sub(b'0');
            if d > 9 {
                return None;
            }
            value = value * 10 + i64::from(d);
        }
        return Some(if negative { -value } else { value });
    }
    for b in digits {
        let d = b.wrapping_sub(b'0');
        if d > 9 {
            return None;
        }
        // Counted downwards, so that the smallest number fits.
        value = value.checked_mul(10)?.checked_sub(i64::from(d))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberForm {
    pub integer_digits: u32,
    pub scale: u32,
    pub has_point: bool,
    pub has_exponent: bool,
    /// The last digit after the point is a zero: somebody formats numbers to a fixed number of places.
    pub trailing_zero: bool,
}

/// The form of a number that is not a code: no leading zeros, no plus sign. `.5` and `5.` are numbers.
pub fn number_form(bytes: &[u8]) -> Option<NumberForm> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let whole = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if whole > 1 && digits[0] == b'0' {
        return None;
    }
    let mut rest = &digits[whole..];
    let mut form = NumberForm {
        integer_digits: u32::try_from(whole).ok()?,
        scale: 0,
        has_point: false,
        has_exponent: false,
        trailing_zero: false,
    };
    if let [b'.', after @ ..] = rest {
        let places = after.iter().take_while(|b| b.is_ascii_digit()).count();
        form.has_point = true;
        form.scale = u32::try_from(places).ok()?;
        form.trailing_zero = places > 0 && after[places - 1] == b'0';
        rest = &after[places..];
    }
    if form.integer_digits + form.scale == 0 {
        return None;
    }
    if let [b'e' | b'E', after @ ..] = rest {
        let after = after.strip_prefix(b"-").or_else(|| after.strip_prefix(b"+")).unwrap_or(after);
        if after.is_empty() || !after.iter().all(u8::is_ascii_digit) {
            return None;
        }
        form.has_exponent = true;
        rest = &[];
    }
    rest.is_empty().then_some(form)
}

/// A double. In `strict` form only what [`number_form`] knows; else also `+1`, `007.5`, `NaN` and `inf`.
pub fn double(bytes: &[u8], strict: bool) -> Option<f64> {
    if let Some(value) = short_double(bytes) {
        return if strict && leading_zeros(bytes) { None } else { Some(value) };
    }
    if strict {
        number_form(bytes)?;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok().filter(|v: &f64| v.is_finite() || !strict)
}

/// A double that nobody declared: in the form that [`number_form`] knows, and with no digits that it would lose.
pub fn whole_double(bytes: &[u8]) -> Option<f64> {
    double(bytes, true).filter(|value| keeps(*value, bytes))
}

/// Whether a number has digits that a double would lose.
pub fn outgrows_double(bytes: &[u8]) -> bool {
    bytes.len() > EXACT_DIGITS && whole_double(bytes).is_none()
}

/// Digits that are enough to tell each double from all others: who writes more of them may have more to say.
const DOUBLE_DIGITS: usize = 17;

/// Digits of which a double keeps every whole number.
const EXACT_DIGITS: usize = 15;

/// Places of the smallest fractions that are counted, such as those of currencies. What has more of them was computed,
/// and the last of its digits mean little.
const COUNTED_PLACES: usize = 9;

/// Whether a double keeps a number: it was computed, or has few digits, or is what the double itself prints (many
/// programs print all places of a large double).
fn keeps(value: f64, number: &[u8]) -> bool {
    if number.len() <= EXACT_DIGITS || memchr::memchr2(b'e', b'E', number).is_some() {
        return true;
    }
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let Some(point) = memchr::memchr(b'.', digits) else {
        // Programs print all digits of a large double, or zeros after those that tell it from others.
        let prints = |printed: String| printed.as_bytes() == digits;
        return prints(format!("{}", value.abs())) || prints(format!("{:.0}", value.abs()));
    };
    let (whole, places) = (&digits[..point], without_end_zeros(&digits[point + 1..]));
    if places.len() > COUNTED_PLACES || significant_digits(whole, places) <= DOUBLE_DIGITS {
        return true;
    }
    let printed = format!("{:.*}", places.len(), value.abs());
    let (printed_whole, printed_places) = printed.split_once('.').unwrap_or((&printed, ""));
    printed_whole.as_bytes() == whole && printed_places.as_bytes() == places
}

/// Digits between the first and the last one that is not zero, both counted. `places` do not end in zeros.
fn significant_digits(whole: &[u8], places: &[u8]) -> usize {
    let whole = if places.is_empty() { without_end_zeros(whole) } else { whole };
    whole.iter().chain(places).skip_while(|b| **b == b'0').count()
}

fn without_end_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|b| **b == b'0').count();
    &digits[..digits.len() - zeros]
}

fn leading_zeros(bytes: &[u8]) -> bool {
    matches!(bytes.strip_prefix(b"-").unwrap_or(bytes), [b'0', next, ..] if next.is_ascii_digit())
}

/// Numbers of up to 15 digits and 22 places are exact as a whole number divided by a power of ten (W. Clinger, "How to
/// read floating point numbers accurately").
fn short_double(bytes: &[u8]) -> Option<f64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let mut mantissa: u64 = 0;
    let mut point: Option<usize> = None;
    for (i, b) in digits.iter().enumerate() {
        let d = b.wrapping_sub(b'0');
        if d <= 9 {
            mantissa = mantissa * 10 + u64::from(d);
        } else if *b == b'.' && point.is_none() && digits.len() > 1 {
            point = Some(i);
        } else {
            return None;
        }
    }
    if mantissa >= 1 << 53 {
        return None;
    }
    let places = point.map_or(0, |p| digits.len() - p - 1);
    let value = mantissa as f64 / POWERS[places];
    Some(if negative { -value } else { value })
}

const POWERS: [f64; 17] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16];

/// A decimal as a whole number of units of `10^-scale`. More places than `scale` must be zeros.
pub fn decimal(bytes: &[u8], precision: u8, scale: i8, strict: bool) -> Option<i128> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] if !strict => (false, rest),
        _ => (false, bytes),
    };
    if strict && matches!(digits, [b'0', next, ..] if next.is_ascii_digit()) {
        return None;
    }
    let scale = usize::try_from(scale).ok()?;
    let (whole, places) = match memchr::memchr(b'.', digits) {
        Some(p) => (&digits[..p], &digits[p + 1..]),
        None => (digits, &[][..]),
    };
    if whole.is_empty() && places.is_empty() {
        return None;
    }
    let (kept, beyond) = places.split_at(places.len().min(scale));
    if beyond.iter().any(|b| *b != b'0') {
        return None;
    }
    let value =
        if whole.len() + scale <= 18 { small_decimal(whole, kept, scale) } else { big_decimal(whole, kept, scale) }?;
    if value >= 10i128.checked_pow(u32::from(precision))? {
        return None;
    }
    Some(if negative { -value } else { value })
}

fn small_decimal(whole: &[u8], places: &[u8], scale: usize) -> Option<i128> {
    let mut value: i64 = 0;
    for b in whole.iter().chain(places) {
        let d = b.wrapping_sub(b'0');
        if d > 9 {
            return None;
        }
        value = value * 10 + i64::from(d);
    }
    for _ in places.len()..scale {
        value *= 10;
    }
    Some(i128::from(value))
}

fn big_decimal(whole: &[u8], places: &[u8], scale: usize) -> Option<i128> {
    let mut value: i128 = 0;
    for b in whole.iter().chain(places) {
        let d = b.wrapping_sub(b'0');
        if d > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i128::from(d))?;
    }
    for _ in places.len()..scale {
        value = value.checked_mul(10)?;
    }
    Some(value)
}

/// `true` and `false` in any case.
pub fn boolean(bytes: &[u8]) -> Option<bool> {
    match bytes.len() {
        4 if bytes.eq_ignore_ascii_case(b"true") => Some(true),
        5 if bytes.eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
    }
}

/// What a declared boolean may also look like: `t`, `f`, `yes`, `no`, `on`, `off`, `1`, `0`.
pub fn boolean_words(bytes: &[u8]) -> Option<bool> {
    const TRUE: [&[u8]; 6] = [b"true", b"t", b"yes", b"y", b"on", b"1"];
    const FALSE: [&[u8]; 6] = [b"false", b"f", b"no", b"n", b"off", b"0"];
    let is = |words: &[&[u8]]| words.iter().any(|w| w.eq_ignore_ascii_case(bytes));
    if is(&TRUE) {
        Some(true)
    } else if is(&FALSE) {
        Some(false)
    } else {
        None
    }
}

fn two_digits(bytes: &[u8], at: usize) -> Option<u32> {
    let (a, b) = (bytes.get(at)?.wrapping_sub(b'0'), bytes.get(at + 1)?.wrapping_sub(b'0'));
    (a <= 9 && b <= 9).then(|| u32::from(a) * 10 + u32::from(b))
}

/// `2026-11-20`, as days since 1970-01-01.
pub fn date(bytes: &[u8]) -> Option<i32> {
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = two_digits(bytes, 0)? * 100 + two_digits(bytes, 2)?;
    let (month, day) = (two_digits(bytes, 5)?, two_digits(bytes, 8)?);
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    i32::try_from(days_from_civil(i64::from(year), month, day)).ok()
}

fn days_in_month(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = i64::from((month + 9) % 12);
    let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

/// A point on the clock or in time, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Micros {
    pub value: i64,
    /// A zone was written; `value` is UTC then.
    pub zoned: bool,
    /// There were digits beyond the microsecond, other than zeros. `value` is cut.
    pub cut: bool,
}

const DAY: i64 = 86_400_000_000;

/// `2026-11-20T06:00:02.5Z`, `2026-11-20 06:00`, `…+02`, `…+0200`, `…+02:00`: microseconds since the epoch.
pub fn timestamp(bytes: &[u8]) -> Option<Micros> {
    if bytes.len() < 16 || !matches!(bytes[10], b'T' | b' ' | b't') {
        return None;
    }
    let days = date(&bytes[..10])?;
    let (clock, rest) = clock(&bytes[11..])?;
    let offset_minutes = zone(rest)?;
    let local = i64::from(days) * DAY + clock.value;
    Some(Micros {
        value: local - i64::from(offset_minutes.unwrap_or(0)) * 60_000_000,
        zoned: offset_minutes.is_some(),
        cut: clock.cut,
    })
}

/// A point in time for a column with or without a zone. What has no zone is UTC when a zone was declared; a date is its
/// midnight.
pub fn instant(bytes: &[u8], zoned: bool, strict: bool) -> Option<Micros> {
    let parsed = match timestamp(bytes) {
        Some(t) => t,
        None => Micros { value: i64::from(date(bytes)?) * DAY, zoned: false, cut: false },
    };
    match (parsed.zoned, zoned) {
        (true, false) => None,
        (false, true) if strict => None,
        _ => Some(parsed),
    }
}

/// `06:00`, `06:00:02`, `06:00:02.125`: microseconds since midnight.
pub fn time(bytes: &[u8]) -> Option<Micros> {
    clock(bytes).filter(|(_, rest)| rest.is_empty()).map(|(clock, _)| clock)
}

fn clock(bytes: &[u8]) -> Option<(Micros, &[u8])> {
    let (hour, minute) = (two_digits(bytes, 0)?, two_digits(bytes, 3)?);
    if bytes[2] != b':' || hour > 23 || minute > 59 {
        return None;
    }
    let mut rest = &bytes[5..];
    let mut second = 0;
    let mut fraction = Micros { value: 0, zoned: false, cut: false };
    if rest.first() == Some(&b':') {
        second = two_digits(rest, 1)?;
        if second > 59 {
            return None;
        }
        rest = &rest[3..];
        if let [b'.' | b',', after @ ..] = rest {
            let digits = after.iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            fraction = micros_of_fraction(&after[..digits]);
            rest = &after[digits..];
        }
    }
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    fraction.value += seconds * 1_000_000;
    Some((fraction, rest))
}

fn micros_of_fraction(digits: &[u8]) -> Micros {
    let mut value = 0;
    for i in 0..6 {
        value = value * 10 + digits.get(i).map_or(0, |b| i64::from(b - b'0'));
    }
    Micros { value, zoned: false, cut: digits.iter().skip(6).any(|b| *b != b'0') }
}

/// Minutes east of UTC; `Some(None)`: nothing is written.
fn zone(bytes: &[u8]) -> Option<Option<i32>> {
    let bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
    let (sign, rest) = match bytes {
        [] => return Some(None),
        [b'Z' | b'z'] => return Some(Some(0)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return (bytes == b"UTC").then_some(Some(0)),
    };
    let hours = two_digits(rest, 0)?;
    let minutes = match &rest[2..] {
        [] => 0,
        [b':', m @ ..] | m if m.len() == 2 => two_digits(m, 0)?,
        _ => return None,
    };
    if hours > 18 || minutes > 59 {
        return None;
    }
    Some(Some(sign * i32::try_from(hours * 60 + minutes).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_not_numbers() {
        assert_eq!(integer(b"007", true), None);
        assert_eq!(integer(b"007", false), Some(7));
        assert_eq!(integer(b"+49170", true), None);
        assert_eq!(integer(b"-0", true), None);
        assert_eq!(integer(b"0", true), Some(0));
        assert_eq!(integer(b"", true), None);
        assert_eq!(integer(b"-", true), None);
        assert_eq!(integer(b"1_0", true), None);
        assert!(number_form(b"00.5").is_none());
        assert_eq!(double(b"007.5", true), None);
        assert_eq!(decimal(b"007.5", 18, 1, true), None);
        assert_eq!(decimal(b"007.5", 18, 1, false), Some(75));
    }

    #[test]
    fn integers_reach_both_ends() {
        for v in [i64::MIN, i64::MIN + 1, -1, 1, 999_999_999_999_999_999, i64::MAX] {
            assert_eq!(integer(v.to_string().as_bytes(), true), Some(v));
        }
        assert_eq!(integer(b"9223372036854775808", true), None);
        assert_eq!(integer(b"-9223372036854775809", true), None);
    }

    #[test]
    fn doubles_are_what_the_standard_library_reads() {
        for s in ["0.1", "12.50", "-3", ".5", "5.", "123456789012345", "0.000001", "9007199254740993", "1e5", "-1.5E-3"]
        {
            assert_eq!(double(s.as_bytes(), true), Some(s.parse::<f64>().unwrap()), "{s}");
        }
        for s in ["", ".", "-", "1e", "1.2.3", "NaN", "inf", "1,5", "0x10", "1e999"] {
            assert_eq!(double(s.as_bytes(), true), None, "{s}");
        }
        assert!(double(b"NaN", false).unwrap().is_nan());
    }

    #[test]
    fn doubles_that_nobody_declared_lose_no_digits() {
        for kept in [
            "0.1",
            "1e300",
            "1.2345678901234567890123e5",
            "0.30000000000000004",
            "3.1415926535897932384",
            "123456789012345680000",
            "1234567890123456.7000000000000",
            "-1000000000000000000000000",
            // What programs print of a double, to all of its places or to some.
            "123456789012345683968",
            "1234567890.123456717",
            "-1234567890.123456717",
            "0.1000000000000000055511151231257827",
            "9007199254740992",
        ] {
            assert_eq!(whole_double(kept.as_bytes()), Some(kept.parse::<f64>().unwrap()), "{kept}");
        }
        for lost in [
            "123456789012345678",
            "-123456789012345678",
            "12345678901234567890",
            "12345678901234567.25",
            "1234567890123456789.250000000000",
            "1234567890.123456789",
            "9007199254740993",
            "12345678901234567",
            "123456789012345678000",
            "007",
            "1e999",
        ] {
            assert_eq!(whole_double(lost.as_bytes()), None, "{lost}");
        }
        assert!(outgrows_double(b"123456789012345678") && !outgrows_double(b"12345678901234567.5e0"));
        assert!(double(b"12345678901234567.25", true).is_some(), "of a declared type");
    }

    #[test]
    fn decimals_lose_nothing() {
        assert_eq!(decimal(b"12.50", 18, 2, true), Some(1250));
        assert_eq!(decimal(b"-12.5", 18, 2, true), Some(-1250));
        assert_eq!(decimal(b"12.500", 18, 2, true), Some(1250));
        assert_eq!(decimal(b"12.505", 18, 2, true), None);
        assert_eq!(decimal(b"100", 4, 2, true), None);
        assert_eq!(decimal(b"99.99", 4, 2, true), Some(9999));
        assert_eq!(
            decimal(b"12345678901234567890123456789012345678", 38, 0, true),
            Some(12345678901234567890123456789012345678)
        );
        assert_eq!(decimal(b"1e3", 18, 2, true), None);
        assert_eq!(decimal(b".", 18, 2, true), None);
    }

    #[test]
    fn dates_and_timestamps() {
        assert_eq!(date(b"1970-01-01"), Some(0));
        assert_eq!(date(b"2000-02-29"), Some(11_016));
        assert_eq!(date(b"1900-02-29"), None);
        assert_eq!(date(b"2024-13-01"), None);
        assert_eq!(date(b"0000-01-01"), Some(-719_528));
        let at = |s: &str| timestamp(s.as_bytes());
        assert_eq!(at("1970-01-01T00:00:01Z"), Some(Micros { value: 1_000_000, zoned: true, cut: false }));
        assert_eq!(at("1970-01-01 00:00"), Some(Micros { value: 0, zoned: false, cut: false }));
        assert_eq!(at("1970-01-01 02:00:00.5+02:00"), Some(Micros { value: 500_000, zoned: true, cut: false }));
        assert_eq!(at("1969-12-31 22:30:00-0130").map(|m| m.value), Some(0));
        assert_eq!(at("1970-01-01 00:00:00 UTC").map(|m| m.zoned), Some(true));
        assert_eq!(at("1970-01-01 00:00:00.123456789").map(|m| (m.value, m.cut)), Some((123_456, true)));
        assert_eq!(at("1970-01-01 00:00:00.123456000").map(|m| (m.value, m.cut)), Some((123_456, false)));
        for wrong in [
            "1970-01-01T24:00:00",
            "1970-01-01 00:60:00",
            "1970-01-01 00:00:00.",
            "1970-01-01 00:00:00+2",
            "1970-01-01x00:00",
        ] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
        assert_eq!(time(b"06:00:02.5").map(|m| m.value), Some(21_602_500_000));
        assert_eq!(time(b"6:00"), None);
    }
}
