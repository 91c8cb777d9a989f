//! The PostgreSQL protocol: psql, drivers and tools connect to a served project as to a database.
//!
//! The database is the ref (`main`, `run/12`, `main@2026-11-20`), the schema the namespace. A statement opens a session
//! of its own; between BEGIN and COMMIT all of them read the same commit. Nothing is written here.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod backend;
mod cancel;
mod command;
mod connection;
mod door;
mod frames;
mod frontend;
mod problem;
mod results;
mod settings;
mod startup;
mod statement;
mod types;
mod values;

pub use door::PostgresDoor;
