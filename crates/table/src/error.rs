//! What can go wrong with a table's files.

use std::fmt::Display;

use polder_store::StoreError;

#[derive(Debug, Clone, thiserror::Error)]
pub enum TableError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the table does not say what the specification demands.
    #[error("{path} is damaged: {detail}")]
    Corrupt { path: String, detail: String },
    /// The change does not fit the table: a file to remove that is not there, a schema that does not evolve, …
    #[error("{0}")]
    Invalid(String),
}

impl TableError {
    pub(crate) fn corrupt(path: &str, detail: impl Display) -> Self {
        Self::Corrupt { path: path.to_owned(), detail: detail.to_string() }
    }

    pub(crate) fn invalid(detail: impl Display) -> Self {
        Self::Invalid(detail.to_string())
    }
}
