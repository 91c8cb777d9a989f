//! Quantities with units: durations and sizes.

/// Seconds of `90s`, `15m`, `2h`, `1d`, `1w`, or several of them: `1d 12h`. `None`: it is no duration.
pub fn parse_duration_seconds(text: &str) -> Option<u64> {
    sum(text, |unit| match unit {
        "s" | "sec" | "second" | "seconds" => Some(1),
        "m" | "min" | "minute" | "minutes" => Some(60),
        "h" | "hour" | "hours" => Some(3600),
        "d" | "day" | "days" => Some(86_400),
        "w" | "week" | "weeks" => Some(604_800),
        _ => None,
    })
}

/// Bytes of `512MB`, `2GiB`, `1073741824`. Both spellings of a unit are powers of 1024, as memory is sold.
pub(crate) fn parse_size_bytes(text: &str) -> Option<u64> {
    sum(text, |unit| match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kb" | "kib" => Some(1 << 10),
        "m" | "mb" | "mib" => Some(1 << 20),
        "g" | "gb" | "gib" => Some(1 << 30),
        "t" | "tb" | "tib" => Some(1 << 40),
        _ => None,
    })
}

fn sum(text: &str, unit: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let word = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit(&after[..word])?)?)?;
        rest = after[word..].trim_start();
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, want) in [
            ("90s", Some(90)),
            ("15 min", Some(900)),
            ("2h", Some(7200)),
            ("1d 12h", Some(129_600)),
            ("1w", Some(604_800)),
            ("2", None),
            ("h", None),
            ("", None),
            ("-1h", None),
            ("99999999999999999999h", None),
            ("18446744073709551615w", None),
        ] {
            assert_eq!(parse_duration_seconds(text), want, "{text}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size_bytes("512MB"), Some(512 << 20));
        assert_eq!(parse_size_bytes("2 GiB"), Some(2 << 30));
        assert_eq!(parse_size_bytes("1024"), Some(1024));
        assert_eq!(parse_size_bytes("1.5GB"), None);
        assert_eq!(parse_size_bytes("2 elephants"), None);
    }
}
