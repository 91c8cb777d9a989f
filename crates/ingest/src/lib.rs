//! Sources → bronze tables: files and PostgreSQL.
//!
//! A reader gives rows as a bounded stream of Arrow batches (memory does not grow with the input) and records that it
//! cannot take, with position, raw text and reason. A step finds out what is new, writes it, and commits table,
//! quarantine and cursor at once: what was read and how far are never told apart.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod chunk;
mod codes;
mod csv;
mod cursor;
mod error;
mod files;
mod hash;
mod intake;
mod json;
mod landing;
mod look;
mod parquet_file;
mod plain;
mod plan;
mod postgres;
mod step;
mod text;
mod types;

pub use error::IngestError;
pub use files::{Place, SourceFile, find_files, s3_options, still_there};
pub use look::{Cursor, Surveyed, look, survey};
pub use polder_lake::quarantine_of;
pub use step::{IngestStep, cursor_of};
pub use types::{parse_sql_type, sql_type};

pub type Result<T, E = IngestError> = std::result::Result<T, E>;
