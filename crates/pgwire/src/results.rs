//! Rows on their way to a client.

use std::fmt;

use arrow::array::RecordBatch;
use futures::StreamExt;
use polder_app::{AppError, Measured, Outcome, QueryResult, SqlSession};
use tokio_util::sync::CancellationToken;

use crate::frontend::Formats;
use crate::problem::{Problem, sqlstate};
use crate::values::Rows;

/// What a statement gives: rows as they come, one batch of them at hand.
pub(crate) struct Results {
    result: QueryResult,
    session: SqlSession,
    sql: String,
    formats: Formats,
    /// The batch at hand, and its next row.
    rows: Option<(Rows, usize)>,
    /// Cancelled when the client asks for it.
    pub(crate) stop: CancellationToken,
    /// Counts the statement; away once it has ended.
    measured: Option<Measured>,
    /// Rows that were given.
    pub(crate) given: u64,
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").field("sql", &self.sql).field("given", &self.given).finish_non_exhaustive()
    }
}

impl Results {
    pub(crate) fn new(
        result: QueryResult,
        session: SqlSession,
        sql: &str,
        formats: Formats,
        stop: CancellationToken,
        measured: Measured,
    ) -> Self {
        Self { result, session, sql: sql.to_owned(), formats, rows: None, stop, measured: Some(measured), given: 0 }
    }

    pub(crate) fn schema(&self) -> &arrow::datatypes::SchemaRef {
        &self.result.schema
    }

    /// Makes sure that a row is at hand; `false`: there are no more. May be dropped while it waits.
    pub(crate) async fn has_row(&mut self) -> Result<bool, Problem> {
        loop {
            if self.rows.as_ref().is_some_and(|(rows, next)| *next < rows.count) {
                return Ok(true);
            }
            let batch: RecordBatch = match self.result.stream.next().await {
                Some(Ok(batch)) => batch,
                Some(Err(error)) => {
                    let problem = Problem::of(&self.session.stream_error(error, &self.sql), &self.sql);
                    self.end(problem.outcome());
                    return Err(problem);
                }
                None => {
                    self.end(Outcome::Ok);
                    return Ok(false);
                }
            };
            let rows = Rows::new(&batch, &self.formats).map_err(|error| {
                let defect = AppError::Defect(error.to_string());
                Problem::new(sqlstate::DEFECT, format!("rows cannot be written as PostgreSQL does: {defect}"))
            })?;
            self.rows = Some((rows, 0));
        }
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(measured) = self.measured.take() {
            measured.rows(self.given);
            measured.end(outcome);
        }
    }

    /// Writes rows of the batch at hand until there are `most` of them, or `enough` says so.
    pub(crate) fn write(
        &mut self,
        most: u64,
        out: &mut bytes::BytesMut,
        enough: impl Fn(&bytes::BytesMut) -> bool,
    ) -> u64 {
        let Some((rows, next)) = &mut self.rows else { return 0 };
        let mut written = 0;
        while *next < rows.count && written < most && !enough(out) {
            rows.write(*next, out);
            *next += 1;
            written += 1;
        }
        self.given += written;
        written
    }
}
