//! Ingest against real files, a real catalog on a real disk, and a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod csv;
mod cursors;
mod json;
mod parquet;
mod postgres;
mod server;
mod support;
mod weight;
mod wrong;
