//! Catalog objects: commits, and the entries of trees.
//!
//! On disk an object is a kind byte, a format byte and CBOR with numbered fields (unknown numbers are skipped, so that
//! fields can be added); its name is the BLAKE3 hash of all that, in hexadecimal.

use std::fmt;

use minicbor::{Decode, Encode};
use polder_base::{TableName, Timestamp};

/// The hash of a commit: 64 hexadecimal digits; 12 are shown to people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct CommitId(pub String);

impl CommitId {
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a tree's key names. Tables and views share their names; cursors have their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKey {
    Relation(TableName),
    /// A cursor, by source and stream: `shop.orders`.
    Cursor(String),
}

impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relation(name) => write!(f, "{name}"),
            Self::Cursor(name) => write!(f, "cursor {name}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Entry {
    #[n(0)]
    Table(#[n(0)] TableEntry),
    #[n(1)]
    View(#[n(0)] ViewEntry),
    #[n(2)]
    Cursor(#[n(0)] CursorEntry),
}

/// An Iceberg table.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TableEntry {
    /// The table's UUID: it stays when the table is renamed or its branch merged.
    #[n(0)]
    pub uuid: String,
    /// The metadata file, relative to the warehouse, so that a warehouse can move.
    #[n(1)]
    pub metadata_path: String,
    /// The current snapshot, for showing; the metadata decides.
    #[n(2)]
    pub snapshot_id: Option<i64>,
}

/// An Iceberg view.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ViewEntry {
    #[n(0)]
    pub uuid: String,
    #[n(1)]
    pub metadata_path: String,
}

/// How far a stream of a source has been read, together with the rows it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CursorEntry {
    /// The table that the rows are in.
    #[n(0)]
    pub table: String,
    /// JSON, its form known to the kind of source that wrote it.
    #[n(1)]
    pub value: String,
}

/// Who made a commit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Author {
    #[n(0)]
    pub principal: String,
}

/// Why a commit shows what checks speak against, or shows it without some of its rows. Whose decision that was is the
/// commit's author.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
pub struct Accepted {
    /// In the words of who decided.
    #[n(0)]
    pub reason: String,
    /// The checks that were overruled: `bronze.shop_orders: created_at <= run_time()`. None where rows were set aside
    /// instead.
    #[n(1)]
    pub checks: Vec<String>,
}

/// One change in history. Immutable.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Commit {
    /// The root node of the tree, as a hash.
    #[n(0)]
    pub tree: String,
    /// The first parent is the history of the ref; a second one is the branch that was published or merged.
    #[n(1)]
    pub parents: Vec<String>,
    #[n(2)]
    pub author: Author,
    /// Microseconds since the epoch.
    #[n(3)]
    pub time: i64,
    /// One line, then perhaps more.
    #[n(4)]
    pub message: String,
    #[n(5)]
    pub run: Option<u64>,
    /// What was done to each table: what a rebase decides by.
    #[n(6)]
    pub operations: Vec<TableOperation>,
    /// Of a prepared commit: the run's own last commit, which this one is a rebase of. Preparing again starts there. Of a
    /// commit whose only parent is a prepared one, and which holds what that held back: the same.
    #[n(7)]
    pub rebased_from: Option<String>,
    /// A run that was held and published all the same.
    #[n(8)]
    pub accepted: Option<Accepted>,
}

impl Commit {
    pub fn at(&self) -> Timestamp {
        Timestamp(self.time)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TableOperation {
    #[n(0)]
    pub entry: String,
    #[n(1)]
    pub action: TableAction,
    /// The table was read to make this change, so it holds on an unchanged table only. A blind append is not.
    #[n(2)]
    pub read: bool,
    #[n(3)]
    pub added_rows: u64,
    #[n(4)]
    pub removed_rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum TableAction {
    #[n(0)]
    Create,
    #[n(1)]
    Append,
    #[n(2)]
    Overwrite,
    #[n(3)]
    Replace,
    #[n(4)]
    SetSchema,
    #[n(5)]
    Drop,
    #[n(6)]
    View,
    #[n(7)]
    Cursor,
    /// An entry taken over as it is from elsewhere (an equal step's output, a rollback, a merge).
    #[n(8)]
    Take,
    #[n(9)]
    SetProperties,
}
