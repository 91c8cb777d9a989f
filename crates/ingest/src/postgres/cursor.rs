//! How far a table of PostgreSQL has been read.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::copy::Tuple;
use super::types::Reading;
use crate::hash::{Content, hash};

/// Hashes of the rows at the boundary are kept up to this number; beyond, only their sum is.
const BOUNDARY_ROWS: usize = 50_000;

pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "read", rename_all = "snake_case")]
pub enum PgCursor {
    Full(FullCursor),
    Incremental(IncrementalCursor),
}

/// What the table held: read again and equal, nothing has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FullCursor {
    pub version: u32,
    pub columns: Vec<String>,
    pub content: Content,
}

/// The greatest value that was read, and the boundary, the rows that had it: others with the same value may follow. With
/// a lag, the boundary is all rows that are less than the lag behind that value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncrementalCursor {
    pub version: u32,
    pub column: String,
    /// As PostgreSQL writes it, in UTC. `None`: no row yet.
    pub value: Option<String>,
    /// What was read of each row: what the hashes are of.
    pub columns: Vec<String>,
    pub boundary: Content,
    /// Sixteen hexadecimal digits for each row at the boundary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
    /// Rows that no cursor can pass: NULL or infinity in its column. They are in quarantine.
    pub unread: Content,
}

/// What is read of a column, in short.
pub fn signature(readings: &[Reading]) -> Vec<String> {
    readings.iter().map(|r| format!("{} {}", r.expression, crate::types::sql_type(&r.data_type))).collect()
}

impl IncrementalCursor {
    /// The rows at the boundary, counted; `None` when there were too many to keep them.
    pub fn known_rows(&self) -> Option<Known> {
        let text = self.rows.as_ref()?;
        let (digits, _) = text.as_bytes().as_chunks::<16>();
        let mut known = HashMap::new();
        for digits in digits {
            let row = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            *known.entry(row).or_insert(0) += 1;
        }
        Some(Known { rows: known })
    }
}

/// Rows that are in the table already, each as often as it was read.
#[derive(Debug, Clone, Default)]
pub struct Known {
    rows: HashMap<u64, u32>,
}

impl Known {
    /// Whether a row is known; each is taken off once.
    pub fn take(&mut self, row: u128) -> bool {
        match self.rows.get_mut(&(row as u64)) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}

/// Gathers the rows at the new boundary.
#[derive(Debug, Clone, Default)]
pub struct Boundary {
    content: Content,
    rows: Vec<u64>,
}

impl Boundary {
    pub fn add(&mut self, row: u128) {
        self.content.add(row);
        if self.rows.len() <= BOUNDARY_ROWS {
            self.rows.push(row as u64);
        }
    }

    pub fn content(&self) -> Content {
        self.content
    }

    pub fn rows(&self) -> Option<String> {
        if self.rows.len() > BOUNDARY_ROWS {
            return None;
        }
        let mut rows = self.rows.clone();
        rows.sort_unstable();
        Some(rows.iter().map(|row| format!("{row:016x}")).collect())
    }
}

/// How the rows of a boundary were hashed: over which of the columns that are read now.
#[derive(Debug, Clone)]
pub enum OldColumns {
    Same,
    /// Other columns have come, or the order is another.
    At(Vec<usize>),
    /// One of them is gone, or is read in another way: the old rows cannot be recognised.
    Lost,
}

impl OldColumns {
    pub fn find(old: &[String], now: &[String]) -> Self {
        if old == now {
            return Self::Same;
        }
        match old.iter().map(|o| now.iter().position(|n| n == o)).collect() {
            Some(places) => Self::At(places),
            None => Self::Lost,
        }
    }

    /// The hash that a row had then; `count` columns are read now.
    pub fn hash(&self, tuple: &Tuple<'_>, count: usize) -> Option<u128> {
        match self {
            Self::Same => Some(hash(tuple.head(count))),
            Self::Lost => None,
            Self::At(places) => {
                let mut bytes = Vec::new();
                for place in places {
                    match tuple.field(*place) {
                        Some(field) => {
                            bytes.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
                            bytes.extend_from_slice(field);
                        }
                        None => bytes.extend_from_slice(&(-1i32).to_be_bytes()),
                    }
                }
                Some(hash(&bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_rows_are_taken_off_once_each() {
        let mut boundary = Boundary::default();
        [7, 9, 7].into_iter().for_each(|row| boundary.add(row));
        let cursor = IncrementalCursor {
            version: VERSION,
            column: "at".to_owned(),
            value: Some("1".to_owned()),
            columns: vec![],
            boundary: boundary.content(),
            rows: boundary.rows(),
            unread: Content::default(),
        };
        let text = serde_json::to_string(&PgCursor::Incremental(cursor.clone())).unwrap();
        assert_eq!(serde_json::from_str::<PgCursor>(&text).unwrap(), PgCursor::Incremental(cursor.clone()));
        let mut known = cursor.known_rows().unwrap();
        assert_eq!([7, 7, 7, 9, 8].map(|row| known.take(row)), [true, true, false, true, false]);
    }

    #[test]
    fn a_new_column_does_not_make_old_rows_unknown() {
        let bytes = [0, 0, 0, 1, 5, 255, 255, 255, 255];
        let old = Tuple { bytes: &bytes, fields: &[Some(4..5), None] };
        let more = [0, 0, 0, 1, 8, 0, 0, 0, 1, 5, 255, 255, 255, 255];
        let now = Tuple { bytes: &more, fields: &[Some(4..5), Some(9..10), None] };
        let names = |n: &[&str]| n.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let columns = OldColumns::find(&names(&["a", "b"]), &names(&["new", "a", "b"]));
        assert_eq!(columns.hash(&now, 3), Some(hash(old.head(2))));
        assert!(matches!(OldColumns::find(&names(&["a", "gone"]), &names(&["a"])), OldColumns::Lost));
    }
}
