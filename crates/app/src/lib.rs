//! Use cases: plain data in and out. What a door offers is here; how it looks is the door's business.
//!
//! [`App`] is a project, opened. [`App::run`] forks a branch, executes the steps on it and publishes it;
//! [`App::plan`], [`App::check`], [`App::compile`], [`App::session`] and the words of git are beside it. [`validate`]
//! and [`init`] need files only.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod add;
mod app;
mod behind;
mod bisect;
mod blueprint;
mod checks;
pub mod codes;
mod damage;
mod error;
mod files;
mod history;
mod home;
mod housekeeping;
mod init;
mod leftovers;
mod lock;
mod machine;
mod names;
mod plan;
mod query;
mod rows;
mod run;
mod runs;
mod schedule;
mod server;
mod tables;
mod unpublished;
mod warehouse;

pub use add::{Added, Addition};
pub use app::{App, OpenOptions};
pub use behind::Undone;
pub use bisect::{BisectOutcome, BisectRequest, Bisected, Culprit};
pub use checks::CheckSummary;
pub use damage::Damaged;
pub use error::{AppError, Problems, Told};
pub use files::{CompiledSql, schemas, validate};
pub use history::{Difference, LogEntry, LoggedChange, Moved, OpenRun, RefRow, Status};
pub use home::Home;
pub use init::{Initialised, examples, init};
pub use leftovers::Dropped;
pub use lock::{Looked, look, write_lock};
pub use names::{NamedRelation, Names};
pub use plan::{Action, Plan, PlannedStep};
pub use polder_catalog::{CatalogError, Expired};
pub use polder_ingest::{Cursor, Surveyed};
pub use polder_project::{Doors, Listen, parse_duration_seconds as duration_seconds};
pub use polder_sql::{
    DataType, Function, Prepared, QueryResult, ScalarValue, SqlError, by_offset, json_values, type_name, value_of_text,
};
pub use query::{SqlOptions, SqlSession};
pub use rows::{ColumnDifference, RowDifference, RowSample};
pub use run::{AcceptRequest, LoggedEvent, RunRequest, RunSummary, Shown};
pub use runs::RunRow;
pub use schedule::{PipelineLog, PipelineRow, Scheduler};
pub use server::{
    Address, Admission, Ailment, Claim, Counted, Door, Entrance, Guest, Health, Measured, Metrics, NewToken, Outcome,
    Served, Server, ServerLog, ServerNote, Serving, ServingOptions, TokenRow, served,
};
pub use tables::{ColumnDetails, SnapshotDetails, TableDetails, TableRow};
