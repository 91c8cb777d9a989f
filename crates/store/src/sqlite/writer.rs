//! The one connection that writes.
//!
//! Batches that wait at the same time share a transaction, and so the one flush to disk that it costs: each still holds
//! or does not hold for itself.

use std::path::Path;
use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::{sqlite_error, statement};
use crate::{Batch, Outcome, Result, StoreError, Write};

/// Batches that may wait before callers are held back.
const QUEUE: usize = 256;

/// Batches in one transaction, at most.
const GROUP: usize = 64;

struct Request {
    batch: Batch,
    reply: oneshot::Sender<Result<Outcome>>,
}

/// A handle to the task that writes. The task ends with the last handle, after what was asked until then.
#[derive(Clone)]
pub(super) struct Writer {
    path: Arc<Path>,
    requests: mpsc::Sender<Request>,
}

impl Writer {
    pub(super) fn start(path: Arc<Path>, connection: SqliteConnection) -> Self {
        let (requests, received) = mpsc::channel(QUEUE);
        tokio::spawn(serve(path.clone(), connection, received));
        Self { path, requests }
    }

    pub(super) async fn apply(&self, batch: Batch) -> Result<Outcome> {
        let (reply, answer) = oneshot::channel();
        let gone = || StoreError::Io {
            doing: format!("writing the state in {}", self.path.display()),
            detail: "the process is shutting down".to_owned(),
            transient: false,
        };
        self.requests.send(Request { batch, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn serve(path: Arc<Path>, mut connection: SqliteConnection, mut received: mpsc::Receiver<Request>) {
    let mut group = Vec::with_capacity(GROUP);
    while received.recv_many(&mut group, GROUP).await > 0 {
        let (batches, replies): (Vec<_>, Vec<_>) = group.drain(..).map(|r| (r.batch, r.reply)).unzip();
        let outcomes = apply_group(&path, &mut connection, &batches).await;
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // Whoever asked may have gone away meanwhile.
            let _ = reply.send(outcome);
        }
    }
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "closing the state");
    }
}

/// Applies batches in one transaction; when that fails, each in one of its own, so that none fails for another.
async fn apply_group(path: &Path, connection: &mut SqliteConnection, batches: &[Batch]) -> Vec<Result<Outcome>> {
    match apply_together(connection, batches).await {
        Ok(outcomes) => return outcomes.into_iter().map(Ok).collect(),
        Err(e) if batches.len() == 1 => return vec![Err(sqlite_error(path, "writing the state", &e))],
        Err(error) => tracing::debug!(%error, batches = batches.len(), "a group of batches failed: trying each"),
    }
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        let outcome = apply_together(connection, std::slice::from_ref(batch)).await;
        outcomes.push(match outcome {
            Ok(mut outcome) => Ok(outcome.pop().unwrap_or(Outcome::Applied)),
            Err(e) => Err(sqlite_error(path, "writing the state", &e)),
        });
    }
    outcomes
}

/// Begin and end are said to SQLite itself, not through sqlx's `Transaction`: on some errors, such as a full disk,
/// SQLite rolls back by itself, and then `Transaction` takes the connection for one that is inside a transaction still.
async fn apply_together(connection: &mut SqliteConnection, batches: &[Batch]) -> sqlx::Result<Vec<Outcome>> {
    let result = attempt(connection, batches).await;
    if result.is_err() {
        // There is no transaction to end when the beginning failed or SQLite has ended it.
        let _ = sqlx::query("ROLLBACK").execute(connection).await;
    }
    result
}

async fn attempt(connection: &mut SqliteConnection, batches: &[Batch]) -> sqlx::Result<Vec<Outcome>> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        // Preconditions come before the first write: a refused batch leaves nothing to undo.
        outcomes.push(match refusal(connection, batch).await? {
            Some(refused) => refused,
            None => {
                write(connection, &batch.writes).await?;
                Outcome::Applied
            }
        });
    }
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(outcomes)
}

async fn refusal(connection: &mut SqliteConnection, batch: &Batch) -> sqlx::Result<Option<Outcome>> {
    for (index, expect) in batch.expects.iter().enumerate() {
        let found: Option<Vec<u8>> =
            sqlx::query_scalar(statement::get(expect.space)).bind(&expect.key).fetch_optional(&mut *connection).await?;
        if found.as_deref() != expect.value.as_deref() {
            return Ok(Some(Outcome::Refused { expect: index, found: found.map(Into::into) }));
        }
    }
    Ok(None)
}

async fn write(connection: &mut SqliteConnection, writes: &[Write]) -> sqlx::Result<()> {
    for write in writes {
        let query = match write {
            Write::Put { space, key, value } => sqlx::query(statement::put(*space)).bind(key).bind(&value[..]),
            Write::Delete { space, key } => sqlx::query(statement::delete(*space)).bind(key),
        };
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
