//! The whole table, each time.

use std::sync::Arc;

use parking_lot::Mutex;
use polder_run::StepReport;

use super::Reader;
use super::copy::copy_rows;
use super::cursor::{FullCursor, PgCursor, VERSION, signature};
use crate::hash::{Content, hash};
use crate::intake::{Intake, Sink};
use crate::landing::{Landing, Mode};
use crate::plan::row_schema;
use crate::{IngestError, Result};

pub async fn run(landing: &Landing<'_>, reader: Reader) -> Result<StepReport> {
    let before = match landing.cursor_value::<PgCursor>(VERSION)? {
        Some(PgCursor::Full(cursor)) => Some(cursor),
        _ => None,
    };
    let schema = row_schema(&reader.plan.columns, false);
    let columns = signature(&reader.readings);
    let mut notes = reader.plan.notes.clone();
    let content = Arc::new(Mutex::new(Content::default()));
    let read = Arc::clone(&content);
    let start = move |_: &Arc<Intake>, sinks: Vec<Sink>| {
        // A table is read by one connection, so there is one sink.
        if let Some(sink) = sinks.into_iter().next() {
            tokio::spawn(read_all(reader, read, sink));
        }
    };
    let cursor = |_: &Intake| {
        let now = FullCursor { version: VERSION, columns, content: *content.lock() };
        if before.as_ref() == Some(&now) {
            return Ok(None);
        }
        serde_json::to_string(&PgCursor::Full(now)).map(Some).map_err(|e| IngestError::Defect(e.to_string()))
    };
    let mut report = landing.land(&schema, &Mode::Replace, 1, start, cursor, &mut notes).await?;
    report.note = (!notes.is_empty()).then(|| notes.join("; "));
    Ok(report)
}

async fn read_all(mut reader: Reader, content: Arc<Mutex<Content>>, sink: Sink) {
    let statement =
        format!("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)", reader.select_list(), reader.table.quoted());
    let mut seen = Content::default();
    let Reader { server, connection, readings, .. } = &mut reader;
    let read = copy_rows(server, connection, &statement, readings, &sink, |tuple| {
        seen.add(hash(tuple.bytes));
        true
    });
    if read.await.is_ok() {
        *content.lock() = seen;
        sink.finish().await;
        reader.close().await;
    }
}
