//! Numbers and times as people read them.

use polder_base::Timestamp;

/// `1234567` → `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 row`, `2 rows`.
pub fn counted(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {one}s", count(n)) }
}

/// `12.3 MB`; powers of 1000.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if n < 1000 {
        return format!("{n} B");
    }
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `0.1s`, `12.3s`, `2m 05s`, `1h 02m`.
pub fn elapsed(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..100 => format!("{}.{}s", seconds, ms % 1000 / 100),
        100..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// A time near `now` in few words, in UTC: `today 06:00`, `yesterday 06:00`, `2026-11-18 06:00`.
pub fn moment(at: Timestamp, now: Timestamp) -> String {
    near(at, now, "06:00".len())
}

/// The same to the second: `today 06:00:30`.
pub fn second(at: Timestamp, now: Timestamp) -> String {
    near(at, now, "06:00:30".len())
}

fn near(at: Timestamp, now: Timestamp, digits: usize) -> String {
    const DAY: i64 = 86_400_000_000;
    let text = at.to_string();
    let (date, time) = text.split_at(10);
    let time = &time[1..=digits];
    match now.micros().div_euclid(DAY) - at.micros().div_euclid(DAY) {
        0 => format!("today {time}"),
        1 => format!("yesterday {time}"),
        _ => format!("{date} {time}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        for (n, want) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), want);
        }
        assert_eq!((counted(1, "row"), counted(0, "row")), ("1 row".to_owned(), "0 rows".to_owned()));
    }

    #[test]
    fn bytes_have_the_unit_that_fits() {
        for (n, want) in [(999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (12_345_678, "12.3 MB")] {
            assert_eq!(bytes(n), want);
        }
    }

    #[test]
    fn durations() {
        for (ms, want) in [(49, "0.0s"), (2_140, "2.1s"), (99_990, "99.9s"), (125_000, "2m 05s"), (3_720_000, "1h 02m")]
        {
            assert_eq!(elapsed(ms), want);
        }
    }

    #[test]
    fn recent_days_have_names() {
        const HOUR: i64 = 3_600_000_000;
        let now = Timestamp(1_763_700_000_000_000); // 2025-11-21 04:40
        assert_eq!(moment(Timestamp(now.0 - HOUR), now), "today 03:40");
        assert_eq!(second(Timestamp(now.0 - HOUR + 7_000_000), now), "today 03:40:07");
        assert_eq!(moment(Timestamp(now.0 - 5 * HOUR), now), "yesterday 23:40");
        assert_eq!(moment(Timestamp(now.0 - 60 * HOUR), now), "2025-11-18 16:40");
    }
}
