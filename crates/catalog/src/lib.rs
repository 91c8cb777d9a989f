//! The catalog: a small git for tables. Objects, refs, commits, merge, publish, and the collection of garbage.
//!
//! A commit holds a tree; a tree maps names to entries (tables, views, cursors); a ref names a commit. Everything here
//! works without Arrow and without SQL, and is tested by a seeded simulation that stops processes between any two
//! operations of storage.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod behind;
mod bundle;
mod cache;
mod catalog;
mod change;
mod codec;
mod commit;
mod error;
mod expire;
mod guard;
mod history;
mod lease;
mod merge;
mod moving;
mod object;
mod objects;
mod overlap;
mod publish;
mod rebuild;
mod records;
mod refs;
mod three_way;
mod tree;

pub use catalog::{Catalog, MAIN};
pub use change::{Change, ChangeSet, EntryChange, Prepared, Proposal, RebasedTable, RefInfo, RefKind};
pub use error::CatalogError;
pub use expire::Expired;
pub use lease::Lease;
pub use object::{
    Accepted, Author, Commit, CommitId, CursorEntry, Entry, EntryKey, TableAction, TableEntry, TableOperation,
    ViewEntry,
};
pub use rebuild::Rebuilt;
pub use refs::Shown;

pub type Result<T, E = CatalogError> = std::result::Result<T, E>;
