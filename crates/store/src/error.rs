//! What can go wrong with storage, cut by what a caller does about it.

/// An error of the warehouse or of the state store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("{path} does not exist")]
    NotFound { path: String },
    #[error("{path} exists already")]
    Exists { path: String },
    /// Full disk or quota: nothing was written, and nothing will be until there is room.
    #[error("no space left for {path}")]
    NoSpace { path: String },
    /// The store cannot be read any more, or was written by something else.
    #[error("{path} is damaged: {detail}")]
    Corrupt { path: String, detail: String },
    /// Written by a newer Polder: this one must not touch it.
    #[error("{path} has format {found}, and this version of Polder knows formats up to {known}")]
    TooNew { path: String, found: u32, known: u32 },
    /// Anything else of the environment. `transient`: the same call may succeed later.
    #[error("{doing}: {detail}")]
    Io { doing: String, detail: String, transient: bool },
}
