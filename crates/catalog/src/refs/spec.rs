//! How people name a commit: `main`, `main~2`, `main@2026-11-20`, `main@2026-11-20T06:00:00Z~1`, a hash.

use polder_base::Timestamp;

use crate::{CatalogError, Result};

/// A name, then steps from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec<'a> {
    pub(crate) name: &'a str,
    pub(crate) at: Option<Timestamp>,
    /// First parents to go back.
    pub(crate) back: u64,
}

pub(crate) fn parse(spec: &str) -> Result<Spec<'_>> {
    let (head, back) = match spec.find('~') {
        Some(start) => (&spec[..start], parse_back(spec, &spec[start..])?),
        None => (spec, 0),
    };
    let (name, at) = match head.split_once('@') {
        Some((name, time)) => (name, Some(parse_time(time).ok_or_else(|| bad_time(spec, time))?)),
        None => (head, None),
    };
    Ok(Spec { name, at, back })
}

fn bad_time(spec: &str, time: &str) -> CatalogError {
    CatalogError::Invalid(format!("`{time}` in `{spec}` is no time: write `2026-11-20`, or `2026-11-20T06:00:00Z`"))
}

/// `~2`, `~`, `~1~1`.
fn parse_back(spec: &str, text: &str) -> Result<u64> {
    text[1..].split('~').try_fold(0u64, |sum, step| {
        let count = if step.is_empty() { Ok(1) } else { step.parse::<u64>() };
        count.ok().and_then(|n| sum.checked_add(n)).ok_or_else(|| {
            CatalogError::Invalid(format!("`{text}` in `{spec}` does not say how far to go back: write `~2`"))
        })
    })
}

/// A date (its first moment, UTC), or a date and time as in RFC 3339, in UTC unless it says otherwise.
fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let date = text.get(..10)?;
    let days = parse_date(date)?;
    let rest = text.get(10..)?;
    if rest.is_empty() {
        return Some(Timestamp(days.checked_mul(86_400_000_000)?));
    }
    let clock = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, offset_minutes) = split_offset(clock)?;
    let micros = parse_clock(clock)?;
    let utc = days.checked_mul(86_400_000_000)?.checked_add(micros)?;
    Some(Timestamp(utc.checked_sub(offset_minutes * 60_000_000)?))
}

/// Days since 1970-01-01 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if parts.next().is_some() || !(1..=longest).contains(&day) {
        return None;
    }
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y - era * 400;
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    Some(era * 146_097 + doe - 719_468)
}

/// `06:00`, `06:00:00`, `06:00:00.123456` as microseconds.
fn parse_clock(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |s| digits(s, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 || fraction.len() > 9 {
        return None;
    }
    let micros = format!("{fraction:0<6}");
    let micros = digits(micros.get(..6)?, 6)?;
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

/// The clock, and the minutes that its zone is ahead of UTC.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(sign) = text.rfind(['+', '-']) else { return Some((text, 0)) };
    let (clock, zone) = (text.get(..sign)?, text.get(sign + 1..)?);
    let (hours, minutes) = match zone.split_once(':') {
        Some((hours, minutes)) => (digits(hours, 2)?, digits(minutes, 2)?),
        None => (digits(zone, 2)?, 0),
    };
    let ahead = hours * 60 + minutes;
    Some((clock, if text.as_bytes().get(sign) == Some(&b'-') { -ahead } else { ahead }))
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let all = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        let at = |text: &str| parse(text).unwrap().at.unwrap().to_string();
        assert_eq!(parse("main").unwrap(), Spec { name: "main", at: None, back: 0 });
        assert_eq!(parse("run/12~2").unwrap(), Spec { name: "run/12", at: None, back: 2 });
        assert_eq!(parse("main~~2").unwrap().back, 3);
        assert_eq!(at("main@2026-11-20"), "2026-11-20T00:00:00Z");
        assert_eq!(at("main@2024-02-29T06:00:00Z"), "2024-02-29T06:00:00Z");
        assert_eq!(at("main@2026-11-20 06:30"), "2026-11-20T06:30:00Z");
        assert_eq!(at("main@2026-11-20T06:00:00.25+02:00"), "2026-11-20T04:00:00.250000Z");
        assert_eq!(at("main@2026-11-20T22:00:00-05"), "2026-11-21T03:00:00Z");
        assert_eq!(parse("main@2026-11-20~1").unwrap().back, 1);
    }

    #[test]
    fn what_is_no_time_is_said() {
        for spec in ["main@", "main@yesterday", "main@2026-13-01", "main@2025-02-29", "main@2026-11-20T25:00", "main~x"]
        {
            assert!(parse(spec).is_err(), "{spec}");
        }
    }
}
