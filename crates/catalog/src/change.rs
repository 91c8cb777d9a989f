//! What callers ask of the catalog, and what it answers.

use std::collections::BTreeSet;

use polder_base::{RunId, TableName, Timestamp};
use polder_table::Operation;
use polder_table::spec::SchemaRef;

use crate::{Accepted, Author, CommitId, Entry, EntryKey};

/// One change of one entry.
#[derive(Debug, Clone)]
pub enum Change {
    /// Changes the content or schema of a table, or makes it.
    Table {
        table: TableName,
        operations: Vec<Operation>,
        /// The metadata path that the change was computed from, when the table was read for it: the commit is refused
        /// when the branch's table is another by then. `None`: a blind append, which goes onto whatever is there.
        read: Option<String>,
    },
    /// Makes or replaces a view. `schema`: its columns.
    View {
        table: TableName,
        sql: String,
        schema: SchemaRef,
        comment: Option<String>,
    },
    /// Sets a cursor. `base`: the value that was read before; the commit is refused when it is another by then.
    Cursor {
        name: String,
        table: TableName,
        base: Option<String>,
        value: String,
    },
    /// Takes over an entry as it is.
    Take {
        key: EntryKey,
        entry: Entry,
    },
    Drop {
        key: EntryKey,
    },
}

/// Changes that become one commit.
#[derive(Debug, Clone)]
pub struct ChangeSet {
    pub author: Author,
    pub message: String,
    pub run: Option<RunId>,
    pub changes: Vec<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefKind {
    Branch,
    Tag,
}

/// A ref and the commit that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefInfo {
    pub name: String,
    pub kind: RefKind,
    pub commit: CommitId,
    /// Grows by one with each move.
    pub epoch: u64,
    pub created: Timestamp,
    /// When the ref may be removed: set for branches of runs that were not published.
    pub expires: Option<Timestamp>,
}

/// How one entry differs between two commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryChange {
    pub key: EntryKey,
    pub before: Option<Entry>,
    pub after: Option<Entry>,
}

/// What is to be published.
#[derive(Debug, Clone)]
pub struct Proposal<'a> {
    pub run: Option<RunId>,
    pub branch: &'a str,
    pub target: &'a str,
    pub author: &'a Author,
    pub message: &'a str,
    /// Of a run that was held: why it is published all the same.
    pub accepted: Option<&'a Accepted>,
    /// What of the branch is held back: it stays there alone.
    pub hold: &'a BTreeSet<EntryKey>,
}

/// A run's branch, rebased onto the head of its target: publishing it is moving the target from `onto` to `commit`.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub branch: String,
    pub target: String,
    pub onto: CommitId,
    pub commit: CommitId,
    /// Where the branch is: at `commit`, or at one more on top of it, with what was held back.
    pub tip: CommitId,
    /// Tables whose content is not what the run built and checked: replayed onto a moved table.
    pub rebased: Vec<RebasedTable>,
    /// Tables that others changed on the target since the run forked, and that the run did not touch: a check that
    /// refers to one of them must run again.
    pub moved: Vec<TableName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebasedTable {
    pub table: TableName,
    /// The entries before and after the rebase.
    pub before: Option<Entry>,
    pub after: Entry,
}
