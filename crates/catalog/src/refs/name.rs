//! What a ref may be called.

use crate::{CatalogError, Result};

/// A path of the warehouse holds the name, and `@`, `~` and `:` have a meaning behind it.
const MAX_BYTES: usize = 200;

/// # Errors
/// A name that could be taken for something else, or that makes no path.
pub(crate) fn validate(name: &str) -> Result<()> {
    let problem = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_BYTES {
        "it is longer than 200 bytes"
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c)) {
        "only letters, digits, `.`, `_`, `-` and `/` may be in it"
    } else if name.split('/').any(str::is_empty) {
        "a `/` must stand between two parts"
    } else if name.split('/').any(|part| part.starts_with(['.', '-']) || part.ends_with('.') || part.contains("..")) {
        "no part may start with `.` or `-`, end with `.` or contain `..`"
    } else if name.split('/').any(|part| part.ends_with(".bundle")) {
        "`.bundle` is what its own files are called"
    } else if looks_like_hash(name) {
        "it could be taken for a commit's hash"
    } else {
        return Ok(());
    };
    Err(CatalogError::Invalid(format!("`{name}` cannot be the name of a ref: {problem}")))
}

/// Eight hexadecimal digits or more: what a commit can be named by.
pub(crate) fn looks_like_hash(text: &str) -> bool {
    (8..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_cannot_be_misread() {
        for name in ["main", "run/12", "pr-42", "v1.2", "Feature_x/y", "abcdef1", "release-abcdef12"] {
            validate(name).unwrap();
        }
        for name in [
            "", "a b", "main@x", "main~1", "/a", "a/", "a//b", ".a", "a/.b", "-a", "a..b", "a.", "x.bundle",
            "abcdef12", "ä",
        ] {
            validate(name).unwrap_err();
        }
        validate(&"x".repeat(201)).unwrap_err();
    }
}
