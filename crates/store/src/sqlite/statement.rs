//! The SQL of the state store: one table for each space.

use crate::Space;

/// All spaces, with the names of their tables.
///
/// Objects and blobs are large and come in random order: in ordinary tables they are appended, and only the index of
/// their keys is touched at random. Everything else is small and lives in the tree of its keys.
macro_rules! spaces {
    ($($space:ident $table:literal $options:literal),* $(,)?) => {
        pub(super) const CREATE: &[&str] = &[$(concat!(
            "CREATE TABLE IF NOT EXISTS ", $table, " (key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL)", $options
        )),*];

        pub(super) fn get(space: Space) -> &'static str {
            match space { $(Space::$space => concat!("SELECT value FROM ", $table, " WHERE key = ?1")),* }
        }

        /// Parameters: prefix, the key to come after or NULL, the end of the prefix or NULL, limit.
        ///
        /// Both bounds are plain comparisons, so that the index is read from the one to the other and no further. A
        /// blob sorts after every text.
        pub(super) fn scan(space: Space) -> &'static str {
            match space { $(Space::$space => concat!(
                "SELECT key, value FROM ", $table,
                " WHERE key >= max(?1, ifnull(?2, '')) AND key < ifnull(?3, x'') AND (?2 IS NULL OR key > ?2)",
                " ORDER BY key LIMIT ?4"
            )),* }
        }

        pub(super) fn put(space: Space) -> &'static str {
            match space { $(Space::$space => concat!(
                "INSERT INTO ", $table, " (key, value) VALUES (?1, ?2)",
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
            )),* }
        }

        pub(super) fn delete(space: Space) -> &'static str {
            match space { $(Space::$space => concat!("DELETE FROM ", $table, " WHERE key = ?1")),* }
        }
    };
}

spaces! {
    Objects "objects" "",
    Refs "refs" " WITHOUT ROWID",
    Claims "claims" " WITHOUT ROWID",
    Leases "leases" " WITHOUT ROWID",
    Runs "runs" " WITHOUT ROWID",
    Steps "steps" " WITHOUT ROWID",
    Checks "checks" " WITHOUT ROWID",
    Events "events" "",
    Requests "requests" " WITHOUT ROWID",
    Fingerprints "fingerprints" " WITHOUT ROWID",
    Blobs "blobs" "",
    Pipelines "pipelines" " WITHOUT ROWID",
    Tokens "tokens" " WITHOUT ROWID",
    Meta "meta" " WITHOUT ROWID",
}

/// The first text after all that begin with a prefix, in the order of bytes; `None` when nothing comes after them.
pub(super) fn end_of_prefix(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        // UTF-8 sorts as code points do; the surrogates between them are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(last as u32 + 1) };
        if let Some(next) = next {
            end.push(next);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::end_of_prefix;

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        assert_eq!(end_of_prefix("run/"), Some("run0".to_owned()));
        assert_eq!(end_of_prefix("a\u{10ffff}"), Some("b".to_owned()));
        assert_eq!(end_of_prefix("\u{d7ff}"), Some("\u{e000}".to_owned()));
        assert_eq!(end_of_prefix("\u{7f}"), Some("\u{80}".to_owned()));
        assert_eq!(end_of_prefix(""), None);
        assert_eq!(end_of_prefix("\u{10ffff}"), None);
    }
}
