//! Statements on threads of their own: those who wait for rows stay awake, however long an operator works.

use std::time::Duration;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::stopping::Wanted;
use crate::{Prepared, QueryResult, Result, Session, SqlError};

/// A statement whose planning takes longer is none that a person wrote.
const PREPARED_WITHIN: Duration = Duration::from_secs(60);

impl Session {
    /// Runs one statement as [`Session::query_with`] does, planned and executed on other threads. Dropping what comes
    /// back, or the wait for it, cancels the statement.
    ///
    /// # Errors
    /// As [`Session::query_with`].
    pub async fn query_on(&self, threads: &Handle, sql: &str, values: &[ScalarValue]) -> Result<QueryResult> {
        // The limits are kept, and the statement is stopped, from here: its threads may all be busy.
        let (stop, deadline) = (self.stop_of_statement(), self.deadline());
        let wanted = Wanted::new(stop.clone());
        let (session, sql, values) = (self.clone(), sql.to_owned(), values.to_vec());
        // What it gives is a channel of the task that makes the rows there.
        let begun = AbortOnDropHandle::new(threads.spawn(async move { session.begin(&sql, &values, &stop).await }));
        match self.within(deadline, async { Ok(begun.await) }).await? {
            Ok(rows) => Ok(self.limited(wanted.stream(rows?), deadline)),
            Err(error) => Err(ended(error)),
        }
    }

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
            Ok(Err(error)) => Err(ended(error)),
            Err(_) => Err(SqlError::Limit(format!("the statement could not be planned within {timeout:?}"))),
        }
    }
}

/// Why a task ended without a word: the threads are being ended, or it is a defect, which is the caller's to catch.
fn ended(error: JoinError) -> SqlError {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => SqlError::Cancelled,
    }
}
