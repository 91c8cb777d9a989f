//! "Did you mean": the nearest of some known names.

/// The candidate nearest to `wrong`, when it is near enough to be what was meant.
///
/// Distance is Damerau-Levenshtein's (a swap of neighbours counts once); up to a third of the letters may differ.
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wrong.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|c| (distance(&wrong.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

fn distance(a: &str, b: &str) -> usize {
    strsim::damerau_levenshtein(a, b)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(nearest("ordes", ["customers", "orders"]), Some("orders"));
        assert_eq!(nearest("tabel", ["table", "checks"]), Some("table"));
        assert_eq!(nearest("payments", ["orders"]), None);
    }
}
