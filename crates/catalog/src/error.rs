//! What can go wrong with a commit, cut by what a caller does about it.

use polder_base::Timestamp;
use polder_store::StoreError;
use polder_table::TableError;

#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Table(#[from] TableError),
    /// No ref, commit or time of this name. `nearest`: a ref that was perhaps meant.
    #[error("there is no ref `{name}`")]
    UnknownRef { name: String, nearest: Option<String> },
    #[error("`{name}` exists already")]
    RefExists { name: String },
    #[error("there is no table `{name}` at {at}")]
    UnknownTable { name: String, at: String },
    /// Both sides changed one entry in ways that do not go together.
    #[error("{entry} was changed by {ours} and by {theirs}: {detail}")]
    Conflict { entry: String, ours: String, theirs: String, detail: String },
    /// The ref was moved by others each time that we tried.
    #[error("`{name}` kept moving: gave up after {attempts} attempts")]
    Contended { name: String, attempts: u32 },
    /// Another run has reserved this table.
    #[error("{table} is being written by run {run} for `{target}`")]
    Claimed { table: String, target: String, run: u64 },
    /// This process held the run too long without renewing, and another took over.
    #[error("run {run} was taken over by another process")]
    LeaseLost { run: u64 },
    /// Another process works on this run.
    #[error("run {run} is in the hands of another process until {until}")]
    LeaseHeld { run: u64, until: Timestamp },
    /// A record that was to change together with a ref is another by now.
    #[error("the record `{key}` was changed by another process")]
    RecordChanged { key: String },
    #[error("commit {commit} is not known, or its history was cut")]
    UnknownCommit { commit: String },
    #[error("{0}")]
    Invalid(String),
}
