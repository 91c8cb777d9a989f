//! Dates, times and intervals.

use bytes::{BufMut, BytesMut};
use polder_base::civil;

use super::number::put;

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL begins to count.
pub(super) const EPOCH_DAYS: i32 = 10_957;
pub(super) const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * DAY_MICROS;

const DAY_MICROS: i64 = 86_400_000_000;
const MICROS: i64 = 1_000_000;

pub(super) fn date(days: i32, out: &mut BytesMut) {
    if day(i64::from(days), out) {
        out.put_slice(b" BC");
    }
}

/// Writes a day, and says whether it is before the year 1.
fn day(days: i64, out: &mut BytesMut) -> bool {
    let (year, month, day) = civil(days);
    // The year before 1 is 1 BC.
    let before = year < 1;
    put!(out, "{:04}-{month:02}-{day:02}", if before { 1 - year } else { year });
    before
}

pub(super) fn time(micros: i64, out: &mut BytesMut) {
    let (seconds, fraction) = (micros.div_euclid(MICROS), micros.rem_euclid(MICROS));
    put!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    fraction_of_second(fraction, out);
}

fn fraction_of_second(fraction: i64, out: &mut BytesMut) {
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        put!(out, ".{}", digits.trim_end_matches('0'));
    }
}

/// `zone`: sessions are in UTC, and a time that has a zone says so.
pub(super) fn timestamp(micros: i64, zone: bool, out: &mut BytesMut) {
    let before = day(micros.div_euclid(DAY_MICROS), out);
    out.put_u8(b' ');
    time(micros.rem_euclid(DAY_MICROS), out);
    if zone {
        out.put_slice(b"+00");
    }
    if before {
        out.put_slice(b" BC");
    }
}

/// In the style `postgres`: `1 year 2 mons 3 days 04:05:06.5`.
pub(super) fn interval(months: i32, days: i32, micros: i64, out: &mut BytesMut) {
    let mut empty = true;
    // Once a part was negative, a positive one says its sign.
    let mut negative = false;
    for (count, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count == 0 {
            continue;
        }
        let space = if empty { "" } else { " " };
        let plus = if negative && count > 0 { "+" } else { "" };
        let plural = if count == 1 { "" } else { "s" };
        put!(out, "{space}{plus}{count} {unit}{plural}");
        negative = count < 0;
        empty = false;
    }
    if micros == 0 && !empty {
        return;
    }
    let sign = if micros < 0 {
        "-"
    } else if negative {
        "+"
    } else {
        ""
    };
    let space = if empty { "" } else { " " };
    let (seconds, fraction) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    put!(out, "{space}{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    fraction_of_second(i64::try_from(fraction).unwrap_or_default(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn times_read_as_postgresql_prints_them() {
        assert_eq!(written(|out| date(0, out)), "1970-01-01");
        assert_eq!(written(|out| date(-719_529, out)), "0002-12-31 BC");
        assert_eq!(written(|out| date(EPOCH_DAYS, out)), "2000-01-01");
        assert_eq!(written(|out| timestamp(1_500_000, false, out)), "1970-01-01 00:00:01.5");
        assert_eq!(written(|out| timestamp(-1, true, out)), "1969-12-31 23:59:59.999999+00");
        assert_eq!(written(|out| time(86_399_000_000, out)), "23:59:59");
    }

    #[test]
    fn intervals_read_as_postgresql_prints_them() {
        let text = |months, days, micros| written(|out| interval(months, days, micros, out));
        assert_eq!(text(14, 3, 14_706_500_000), "1 year 2 mons 3 days 04:05:06.5");
        assert_eq!(text(0, 0, 0), "00:00:00");
        assert_eq!(text(0, 1, 0), "1 day");
        assert_eq!(text(-1, 2, 0), "-1 mons +2 days");
        assert_eq!(text(0, -1, 3_600_000_000), "-1 days +01:00:00");
        assert_eq!(text(0, 0, -90_000_000), "-00:01:30");
    }
}
