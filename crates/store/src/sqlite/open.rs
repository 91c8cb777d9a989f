//! Opening a state file: what must hold before anything is read from it.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

use super::{FORMAT, damaged, is_busy, mount, sqlite_error, statement};
use crate::{Result, Space, StoreError};

/// How long to wait for another process that writes.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two tries to open a file that another process is just making.
const PAUSE: Duration = Duration::from_millis(20);

const READERS: u32 = 4;

/// Versions up to 3.50.2 can damage a WAL that two connections use at once.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// Key of `Space::Meta` with the format of the file.
const FORMAT_KEY: &str = "format";

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // A ref that was reported as moved must have moved after a power cut.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(false)
        .disable_statement_logging()
}

/// The connection that writes. Makes the file and its tables where they are missing.
pub(super) async fn writer(path: &Path) -> Result<SqliteConnection> {
    refuse_network(path)?;
    let failed = |e| sqlite_error(path, "opening the state", &e);
    let mut connection = connect(path).await.map_err(failed)?;
    refuse_old_library(path, &mut connection).await?;
    prepare(path, &mut connection).await?;
    Ok(connection)
}

/// A new file becomes one with a log while nobody else has it open, and SQLite does not wait for that.
async fn connect(path: &Path) -> sqlx::Result<SqliteConnection> {
    let mut left = BUSY_TIMEOUT;
    loop {
        match options(path).create_if_missing(true).connect().await {
            Err(error) if is_busy(&error) && !left.is_zero() => {
                left = left.saturating_sub(PAUSE);
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}

pub(super) async fn readers(path: &Path) -> Result<SqlitePool> {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        // A file does not hang up.
        .test_before_acquire(false)
        .connect_with(options(path).create_if_missing(false).pragma("query_only", "on"))
        .await
        .map_err(|e| sqlite_error(path, "opening the state", &e))
}

fn refuse_network(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|e| StoreError::Io {
        doing: format!("opening the state in {}", path.display()),
        detail: e.to_string(),
        transient: false,
    })?;
    match mount::network_file_system(&folder) {
        None => Ok(()),
        Some(kind) => Err(StoreError::Io {
            doing: format!("opening the state in {}", path.display()),
            detail: format!(
                "it lies on a network file system ({kind}), where two machines could damage it; put it on a local disk"
            ),
            transient: false,
        }),
    }
}

async fn refuse_old_library(path: &Path, connection: &mut SqliteConnection) -> Result<()> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(connection)
        .await
        .map_err(|e| sqlite_error(path, "opening the state", &e))?;
    if parse_version(&version).is_some_and(|v| v >= OLDEST_SQLITE) {
        return Ok(());
    }
    let (major, minor, patch) = OLDEST_SQLITE;
    Err(StoreError::Io {
        doing: format!("opening the state in {}", path.display()),
        detail: format!("this program was built with SQLite {version}, and needs {major}.{minor}.{patch} at least"),
        transient: false,
    })
}

fn parse_version(version: &str) -> Option<(u32, u32, u32)> {
    let mut parts = version.split('.').map(|p| p.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// Checks the format of a file that exists, and makes the tables of a new one, in one transaction: two processes may
/// open a new file at once.
async fn prepare(path: &Path, connection: &mut SqliteConnection) -> Result<()> {
    let failed = |e| sqlite_error(path, "opening the state", &e);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
    if tables.iter().any(|t| t == "meta") {
        let found: Option<Vec<u8>> = sqlx::query_scalar(statement::get(Space::Meta))
            .bind(FORMAT_KEY)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(failed)?;
        check_format(path, found.as_deref())?;
    } else if !tables.is_empty() {
        return Err(damaged(path, "it is a database of something else"));
    }
    for create in statement::CREATE {
        sqlx::query(*create).execute(&mut *transaction).await.map_err(failed)?;
    }
    sqlx::query(statement::put(Space::Meta))
        .bind(FORMAT_KEY)
        .bind(FORMAT.to_string().into_bytes())
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

fn check_format(path: &Path, found: Option<&[u8]>) -> Result<()> {
    let found = found.and_then(|f| std::str::from_utf8(f).ok()).and_then(|f| f.trim().parse::<u32>().ok());
    match found {
        Some(found) if found > FORMAT => {
            Err(StoreError::TooNew { path: path.display().to_string(), found, known: FORMAT })
        }
        Some(_) => Ok(()),
        None => Err(damaged(path, "it does not say which format it has")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(parse_version("3.51.3").unwrap() >= OLDEST_SQLITE);
        assert!(parse_version("3.100.0").unwrap() >= OLDEST_SQLITE);
        assert!(parse_version("3.50.2").unwrap() < OLDEST_SQLITE);
        assert_eq!(parse_version("3.x"), None);
    }

    #[test]
    fn a_format_must_be_known() {
        let path = Path::new("state.db");
        assert!(check_format(path, Some(b"1")).is_ok());
        assert!(matches!(check_format(path, Some(b"2")), Err(StoreError::TooNew { found: 2, known: 1, .. })));
        assert!(matches!(check_format(path, None), Err(StoreError::Corrupt { .. })));
    }
}
