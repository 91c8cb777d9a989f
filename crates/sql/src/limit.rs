//! A stream of rows that ends with an error when it takes too long or grows too large.

use std::pin::Pin;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use futures::{Future, Stream, StreamExt};
use tokio::time::{Instant, Sleep};

use crate::{Limits, SqlError};

pub(crate) struct Limited {
    inner: SendableRecordBatchStream,
    schema: SchemaRef,
    deadline: Option<Pin<Box<Sleep>>>,
    limits: Limits,
    rows: u64,
    done: bool,
}

impl Limited {
    pub(crate) fn new(inner: SendableRecordBatchStream, deadline: Option<Instant>, limits: &Limits) -> Self {
        let deadline = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        Self { schema: inner.schema(), inner, deadline, limits: limits.clone(), rows: 0, done: false }
    }

    fn stop(&mut self, message: String) -> Poll<Option<Result<RecordBatch>>> {
        self.done = true;
        Poll::Ready(Some(Err(SqlError::Limit(message).into_datafusion())))
    }
}

pub(crate) fn timeout_message(limits: &Limits) -> String {
    let seconds = limits.timeout.unwrap_or_default().as_secs_f64();
    format!("the statement was stopped after {seconds} s, the limit of this session")
}

impl Stream for Limited {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            let message = timeout_message(&self.limits);
            return self.stop(message);
        }
        let next = std::task::ready!(self.inner.poll_next_unpin(cx));
        if let Some(Ok(batch)) = &next {
            self.rows += batch.num_rows() as u64;
            if let Some(max) = self.limits.max_rows.filter(|max| self.rows > *max) {
                return self
                    .stop(format!("the statement gives more than {max} rows, the limit of this session; add a LIMIT"));
            }
        }
        self.done = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }
}

impl RecordBatchStream for Limited {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}
