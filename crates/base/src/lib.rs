//! Names and numbers that every level speaks: table names, run numbers, points in time.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod name;
mod nearest;
mod sql;
pub mod statements;
mod time;

pub use name::{ColumnNames, NameError, TableName, normalise_column};
pub use nearest::nearest;
pub use sql::{quote_name, quote_text};
pub use time::{TimeError, Timestamp, civil};

/// What of a run is published when something in it goes wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Publish {
    /// Nothing: all of it or nothing.
    #[default]
    All,
    /// All but what went wrong and what is made from that.
    Healthy,
}

/// The number of a run, counted from 1 in each project; its branch is `run/<number>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

impl RunId {
    /// The branch that the run writes to until it is published.
    pub fn branch(self) -> String {
        format!("run/{}", self.0)
    }
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
