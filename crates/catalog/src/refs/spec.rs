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
        Some((name, time)) => (name, Some(time.parse().map_err(|_| bad_time(spec, time))?)),
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
