//! What can go wrong with storage, cut by what a caller does about it.

/// What mends a damaged state store.
pub const MEND_STATE: &str = "the tables in the warehouse are not affected. Stop every process that uses the state, and \
    move `state.db`, `state.db-wal` and `state.db-shm` away: refs and commits are then built again from the warehouse; \
    only the records of runs are lost";

/// An error of the warehouse or of the state store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("{path} does not exist")]
    NotFound { path: String },
    #[error("{path} exists already")]
    Exists { path: String },
    /// Full disk or quota: nothing was written, and nothing will be until there is room.
    #[error("no space left for {path}: make room on that disk, and try again")]
    NoSpace { path: String },
    /// The store cannot be read any more, or was written by something else.
    #[error("{path} is damaged: {detail}")]
    Corrupt { path: String, detail: String },
    /// Written by a newer Polder: this one must not touch it.
    #[error("{path} has format {found}, and this version of Polder knows formats up to {known}: install a newer one")]
    TooNew { path: String, found: u32, known: u32 },
    /// The files name one another by absolute locations, which no longer hold.
    #[error(
        "this warehouse was made at {made} and is at {found} now: its tables name their files by where they were; move it back"
    )]
    Moved { made: String, found: String },
    /// Anything else of the environment. `transient`: the same call may succeed later.
    #[error("{doing}: {detail}")]
    Io { doing: String, detail: String, transient: bool },
}
