//! What was made.

use crate::{DefectCounts, Table};

/// How far a table has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub table: Table,
    pub rows: u64,
    pub bytes: u64,
}

/// One table, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSummary {
    pub table: Table,
    pub rows: u64,
    /// Of the file, or of the text sent to the database.
    pub bytes: u64,
    /// The file, or the table in the database.
    pub target: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub tables: Vec<TableSummary>,
    pub defects: DefectCounts,
    /// What was asked for and could not be done, in a sentence each.
    pub notes: Vec<String>,
}

impl Summary {
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|t| t.rows).sum()
    }
}
