//! The project folder: files → resources and diagnostics. This crate never touches the network or a table.
//!
//! [`load`] reads a folder. Each kind of file is a module: its raw form with places, and how that resolves into the
//! types of [`resource`]. Keys are spelled once, as fields of the raw forms: decoder, list of allowed keys and JSON
//! schema ([`schemas`]) come from them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod check;
pub mod codes;
mod common;
mod docs;
mod doors;
mod dotenv;
mod files;
mod loader;
mod lock;
mod model;
mod names;
mod pipeline;
mod policy;
mod references;
pub mod resource;
mod schema;
mod settings;
mod source;
mod storage;
mod types;
mod units;
mod yaml;

pub use files::{SETTINGS, is_of_policies, stamp};
pub use loader::{Options, load, load_texts};
pub use lock::{Drift, LOCK, Lock, LockedColumn, LockedTable};
pub use names::Tables;
pub use pipeline::schedule::Schedule;
pub use resource::*;
pub use schema::schemas;
pub use types::SQL_TYPES;
pub use units::parse_duration_seconds;
