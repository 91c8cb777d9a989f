//! The state store in an SQLite file.
//!
//! One connection of the process writes, from a task of its own: whoever waits for a batch may be dropped without
//! leaving a transaction open. A few connections read. Other processes may use the same file at the same time.

mod mount;
mod open;
mod statement;
mod writer;

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sqlx::SqlitePool;

use crate::{Batch, Key, MEND_STATE, Outcome, Result, Space, State, StoreError};

/// The format of the file: tables, keys and what `Meta` says. A greater one is refused.
pub(crate) const FORMAT: u32 = 1;

/// A state store in an SQLite file (WAL, `synchronous=FULL`).
#[derive(Clone)]
pub struct SqliteState {
    path: Arc<Path>,
    readers: SqlitePool,
    writer: writer::Writer,
}

impl SqliteState {
    /// Opens a state file, or makes one.
    ///
    /// # Errors
    /// `TooNew` for a file of a newer Polder, `Corrupt` for one that is damaged or no state file, and `Io` on a network
    /// file system, where SQLite's locks do not hold.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path: Arc<Path> = path.into().into();
        let writer = open::writer(&path).await?;
        let readers = open::readers(&path).await?;
        Ok(Self { writer: writer::Writer::start(path.clone(), writer), path, readers })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version of the SQLite library in use.
    pub async fn library_version(&self) -> Result<String> {
        sqlx::query_scalar("SELECT sqlite_version()")
            .fetch_one(&self.readers)
            .await
            .map_err(|e| sqlite_error(&self.path, "asking for the version of SQLite", &e))
    }

    fn failed(&self, e: &sqlx::Error) -> StoreError {
        sqlite_error(&self.path, "reading the state", e)
    }
}

impl fmt::Debug for SqliteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteState").field("path", &self.path).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl State for SqliteState {
    async fn get(&self, space: Space, key: &str) -> Result<Option<Bytes>> {
        let found: Option<Vec<u8>> = sqlx::query_scalar(statement::get(space))
            .bind(key)
            .fetch_optional(&self.readers)
            .await
            .map_err(|e| self.failed(&e))?;
        Ok(found.map(Bytes::from))
    }

    async fn scan(&self, space: Space, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(Key, Bytes)>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found: Vec<(String, Vec<u8>)> = sqlx::query_as(statement::scan(space))
            .bind(prefix)
            .bind(after)
            .bind(statement::end_of_prefix(prefix))
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.failed(&e))?;
        Ok(found.into_iter().map(|(key, value)| (key, Bytes::from(value))).collect())
    }

    async fn apply(&self, batch: Batch) -> Result<Outcome> {
        self.writer.apply(batch).await
    }
}

/// SQLite's primary result codes that a caller acts on (<https://www.sqlite.org/rescode.html>).
mod code {
    pub const BUSY: u32 = 5;
    pub const LOCKED: u32 = 6;
    pub const IO: u32 = 10;
    pub const CORRUPT: u32 = 11;
    pub const FULL: u32 = 13;
    pub const CANNOT_OPEN: u32 = 14;
    pub const NOT_A_DATABASE: u32 = 26;
}

/// The low byte of an extended code is the primary one.
fn primary_code(e: &sqlx::Error) -> Option<u32> {
    e.as_database_error().and_then(|e| e.code()).and_then(|c| c.parse::<u32>().ok()).map(|c| c & 0xff)
}

fn is_busy(e: &sqlx::Error) -> bool {
    matches!(primary_code(e), Some(code::BUSY | code::LOCKED))
}

fn sqlite_error(path: &Path, doing: &str, e: &sqlx::Error) -> StoreError {
    let file = path.display().to_string();
    match primary_code(e) {
        Some(code::CORRUPT | code::NOT_A_DATABASE) => damaged(path, &e.to_string()),
        Some(code::FULL) => StoreError::NoSpace { path: file },
        // SQLite does not always say why a file could not grow.
        Some(code::IO | code::CANNOT_OPEN) if is_full(path) => StoreError::NoSpace { path: file },
        Some(code::BUSY | code::LOCKED) => StoreError::Io {
            doing: format!("{doing} in {file}"),
            detail: format!("another process has been writing to it for {} s: {e}", open::BUSY_TIMEOUT.as_secs()),
            transient: true,
        },
        _ => StoreError::Io {
            doing: format!("{doing} in {file}"),
            detail: e.to_string(),
            transient: matches!(e, sqlx::Error::PoolTimedOut),
        },
    }
}

/// Whether the disk of a file has no room for what SQLite asks for at least (32 KiB for the index of its log).
fn is_full(path: &Path) -> bool {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let tried = tempfile::tempfile_in(folder).and_then(|mut file| file.write_all(&[0; 64 << 10]));
    tried.is_err_and(|e| matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

/// A damaged file, and what its owner can do.
fn damaged(path: &Path, detail: &str) -> StoreError {
    StoreError::Corrupt { path: path.display().to_string(), detail: format!("{detail}; {MEND_STATE}") }
}
