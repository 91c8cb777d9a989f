//! Statements on threads of their own: those who wait for rows stay awake, however long an operator works.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::execution::RecordBatchStream;
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::stopping::Wanted;
use crate::{Prepared, QueryResult, Result, Session, SqlError};

/// A statement whose planning takes longer is none that a person wrote.
const PREPARED_WITHIN: Duration = Duration::from_secs(60);

/// Batches that are ready before somebody asks for them.
const AHEAD: usize = 2;

impl Session {
    /// Runs one statement as [`Session::query_with`] does, planned and executed on other threads. Dropping what comes
    /// back, or the wait for it, cancels the statement.
    ///
    /// # Errors
    /// As [`Session::query_with`].
    pub async fn query_on(&self, threads: &Handle, sql: &str, values: &[ScalarValue]) -> Result<QueryResult> {
        // The limits are kept, and the statement is stopped, from here: its threads may all be busy.
        let stop = self.stop_of_statement();
        let (session, sql, values) = (self.stopped_by(&stop), sql.to_owned(), values.to_vec());
        let wanted = Wanted::new(stop);
        let deadline = self.deadline();
        let (tell, told) = oneshot::channel();
        let task = threads.spawn(async move {
            let mut stream = match session.begin(&sql, &values).await {
                Ok(stream) => stream,
                Err(error) => {
                    // Nobody may be waiting any more.
                    let _ = tell.send(Err(error));
                    return;
                }
            };
            let (give, taken) = mpsc::channel(AHEAD);
            if tell.send(Ok((stream.schema(), taken))).is_err() {
                return;
            }
            while let Some(batch) = stream.next().await {
                if give.send(batch).await.is_err() {
                    return;
                }
            }
        });
        let task = AbortOnDropHandle::new(task);
        let told = self.within(deadline, async { Ok(told.await) }).await?;
        match told {
            Ok(Ok((schema, rows))) => {
                let stream = Elsewhere { schema, rows, task: Some(task) };
                Ok(self.limited(wanted.stream(Box::pin(stream)), deadline))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ended(task.await)),
        }
    }
}

impl Session {
    /// Looks at a statement as [`Session::prepare`] does, on other threads.
    ///
    /// # Errors
    /// As [`Session::prepare`]; also a limit of time.
    pub async fn prepare_on(&self, threads: &Handle, sql: &str, types: &[Option<DataType>]) -> Result<Prepared> {
        let (session, sql, types) = (self.clone(), sql.to_owned(), types.to_vec());
        let timeout = self.options().limits.timeout.unwrap_or(PREPARED_WITHIN);
        let task = AbortOnDropHandle::new(threads.spawn(async move { session.prepare(&sql, &types).await }));
        match tokio::time::timeout(timeout, task).await {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Ok(Err(_)) => Err(SqlError::Cancelled),
            Err(_) => Err(SqlError::Limit(format!("the statement could not be planned within {timeout:?}"))),
        }
    }
}

/// Why a statement ended without a word: the threads are being ended, or it is a defect, which is the caller's to catch.
fn ended(result: std::result::Result<(), tokio::task::JoinError>) -> SqlError {
    match result {
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        _ => SqlError::Cancelled,
    }
}

/// Rows that are made on other threads.
struct Elsewhere {
    schema: SchemaRef,
    rows: mpsc::Receiver<DfResult<RecordBatch>>,
    /// Away once it has ended.
    task: Option<AbortOnDropHandle<()>>,
}

impl Stream for Elsewhere {
    type Item = DfResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(batch) = std::task::ready!(self.rows.poll_recv(cx)) {
            return Poll::Ready(Some(batch));
        }
        let Some(task) = &mut self.task else { return Poll::Ready(None) };
        let result = std::task::ready!(Pin::new(task).poll(cx));
        self.task = None;
        Poll::Ready(match result {
            Ok(()) => None,
            Err(_) => Some(Err(ended(result).into_datafusion())),
        })
    }
}

impl RecordBatchStream for Elsewhere {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
