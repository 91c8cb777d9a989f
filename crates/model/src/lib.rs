//! Models: SQL files that become views and tables.
//!
//! [`compile`] is pure: files and the names of what exists in; SQL, dependencies and diagnostics out. A [`ModelStep`]
//! plans that SQL on a run's branch, writes its rows and commits the table.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod codes;
mod columns;
mod compile;
mod config;
mod error;
mod locked;
mod names;
mod partition;
mod render;
mod step;
mod write;

pub use compile::{CompileContext, Compiled, CompiledModel, Read, compile};
pub use config::{Config, Materialization, PartitionBy, Strategy};
pub use names::{RelationKind, Resolved, default_namespace};
pub use step::ModelStep;
