//! The way of rows from readers to the table: bounded channels, the count of rejected records, and the first error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use parking_lot::Mutex;
use polder_base::{RunId, TableName, Timestamp};
use polder_diag::Diagnostic;
use polder_lake::quarantine_schema;
use polder_run::Progress;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::types::{UTC, timestamp_tz};
use crate::{IngestError, Result, codes};

/// Columns that Polder adds, in this order, after those of the source.
pub const SYSTEM_COLUMNS: [&str; 4] = ["_run", "_loaded_at", "_file", "_position"];

/// Batches that wait between a reader and the writer.
const BATCHES_AHEAD: usize = 2;

/// Rejected records that wait for quarantine. Few, because each may be as long as a record may be.
const REJECTS_AHEAD: usize = 64;

/// A record that cannot be read or cast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The file, or nothing for a database.
    pub file: Option<Arc<str>>,
    /// Line or row, from 1.
    pub position: Option<u64>,
    /// The record as it came; bytes that are no UTF-8 are replaced.
    pub raw: String,
    pub reason: String,
}

impl Rejected {
    /// One line for a message.
    fn describe(&self) -> String {
        let place = match (&self.file, self.position) {
            (Some(file), Some(position)) => format!("{file}:{position}: "),
            (Some(file), None) => format!("{file}: "),
            (None, Some(position)) => format!("row {position}: "),
            (None, None) => String::new(),
        };
        format!("{place}{}", self.reason)
    }
}

/// Rejections that a message names.
const NAMED: usize = 5;

/// What the readers of one attempt share.
#[derive(Debug)]
pub struct Intake {
    pub table: TableName,
    pub run: RunId,
    pub loaded_at: Timestamp,
    pub progress: Arc<Progress>,
    /// Stops this attempt: readers look at it between batches.
    pub stop: CancellationToken,
    max_rejected: u64,
    rows: AtomicU64,
    rejected: AtomicU64,
    /// A stream of rows ended without having said that it is complete.
    broken_off: AtomicBool,
    first_rejected: Mutex<Vec<Rejected>>,
    error: Mutex<Option<IngestError>>,
    notes: Mutex<Vec<String>>,
}

/// A reader's answer to "go on?": the rows are no longer wanted, and why is known elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

pub struct IntakeSettings {
    pub table: TableName,
    pub run: RunId,
    pub loaded_at: Timestamp,
    pub max_rejected: u64,
    pub progress: Arc<Progress>,
    pub stop: CancellationToken,
}

impl Intake {
    pub fn new(settings: IntakeSettings) -> Arc<Self> {
        Arc::new(Self {
            table: settings.table,
            run: settings.run,
            loaded_at: settings.loaded_at,
            progress: settings.progress,
            stop: settings.stop,
            max_rejected: settings.max_rejected,
            rows: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            broken_off: AtomicBool::new(false),
            first_rejected: Mutex::default(),
            error: Mutex::default(),
            notes: Mutex::default(),
        })
    }

    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    pub fn is_broken_off(&self) -> bool {
        self.broken_off.load(Ordering::Relaxed)
    }

    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// The first error is the one that is told; what follows from it is noise.
    pub fn fail(&self, error: IngestError) -> Stopped {
        self.error.lock().get_or_insert(error);
        self.stop.cancel();
        Stopped
    }

    pub fn take_error(&self) -> Option<IngestError> {
        self.error.lock().take()
    }

    pub fn note(&self, note: impl Into<String>) {
        let note = note.into();
        let mut notes = self.notes.lock();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock())
    }

    /// More rejected records than the person allows stop the run.
    fn count_rejected(&self, records: &[Rejected]) -> Result<(), Stopped> {
        let mut first = self.first_rejected.lock();
        let room = NAMED.saturating_sub(first.len());
        first.extend(records.iter().take(room).cloned());
        let count = self.rejected.fetch_add(records.len() as u64, Ordering::Relaxed) + records.len() as u64;
        drop(first);
        if count > self.max_rejected { Err(self.fail(IngestError::TooManyRejected)) } else { Ok(()) }
    }

    /// What a person is told once the readers have stopped. `all`: where the rejected records are to be seen.
    pub fn too_many(&self, all: Option<String>) -> Diagnostic {
        let (count, table, allowed) = (self.rejected(), &self.table, self.max_rejected);
        let (records, were) = if count == 1 { ("record", "was") } else { ("records", "were") };
        // The rest of the input was not looked at.
        let message = format!(
            "{count} {records} for {table} {were} rejected, {allowed} allowed; reading stopped there, so there may be more"
        );
        let mut diagnostic = Diagnostic::error(codes::TOO_MANY_REJECTED, message);
        for record in self.first_rejected.lock().iter() {
            let raw = crate::text::discover::shorten(&record.raw);
            diagnostic = diagnostic.hint(format!("{}: {raw}", record.describe()));
        }
        let diagnostic = all.into_iter().fold(diagnostic, Diagnostic::hint);
        diagnostic.hint(
            "mend the source, declare the column's type under `columns`, or set `max_rejected` to let that many go to \
             quarantine",
        )
    }
}

/// A reader's end of a stream of rows. Adds the system columns.
#[derive(Debug)]
pub struct Sink {
    intake: Arc<Intake>,
    schema: SchemaRef,
    batches: mpsc::Sender<Option<RecordBatch>>,
    rejects: mpsc::Sender<Rejected>,
}

/// Where the rows of a batch come from.
#[derive(Debug, Clone)]
pub enum Origin {
    Database,
    File { name: Arc<str>, positions: Vec<i64> },
}

impl Sink {
    pub fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    /// Counts rejected records of one batch and hands them to quarantine: also those that are too many, because a
    /// person will want to see them.
    pub fn reject_blocking(&self, records: Vec<Rejected>) -> Result<(), Stopped> {
        let allowed = self.intake.count_rejected(&records);
        records.into_iter().try_for_each(|r| self.rejects.blocking_send(r).map_err(|_| Stopped))?;
        allowed
    }

    /// As [`Self::reject_blocking`], for readers that are not threads.
    pub async fn reject(&self, records: Vec<Rejected>) -> Result<(), Stopped> {
        let allowed = self.intake.count_rejected(&records);
        for record in records {
            self.rejects.send(record).await.map_err(|_| Stopped)?;
        }
        allowed
    }

    pub fn send_blocking(&self, columns: Vec<ArrayRef>, rows: usize, origin: Origin) -> Result<(), Stopped> {
        let Some(batch) = self.batch(columns, rows, origin)? else { return Ok(()) };
        self.batches.blocking_send(Some(batch)).map_err(|_| Stopped)
    }

    pub async fn send(&self, columns: Vec<ArrayRef>, rows: usize, origin: Origin) -> Result<(), Stopped> {
        let Some(batch) = self.batch(columns, rows, origin)? else { return Ok(()) };
        self.batches.send(Some(batch)).await.map_err(|_| Stopped)
    }

    /// Says that the stream is complete. Without it a stream that ends is an error: a reader that broke must not look
    /// like one that has read everything.
    pub fn finish_blocking(self) {
        let _ = self.batches.blocking_send(None);
    }

    pub async fn finish(self) {
        let _ = self.batches.send(None).await;
    }

    fn batch(&self, columns: Vec<ArrayRef>, rows: usize, origin: Origin) -> Result<Option<RecordBatch>, Stopped> {
        if self.intake.stop.is_cancelled() {
            return Err(Stopped);
        }
        if rows == 0 {
            return Ok(None);
        }
        let batch = self.with_system_columns(columns, rows, origin).map_err(|e| self.intake.fail(e.into()))?;
        self.intake.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.intake.progress.add_rows(rows as u64);
        Ok(Some(batch))
    }

    fn with_system_columns(
        &self,
        mut columns: Vec<ArrayRef>,
        rows: usize,
        origin: Origin,
    ) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
        let run = i64::try_from(self.intake.run.0).unwrap_or(i64::MAX);
        columns.push(Arc::new(Int64Array::from_value(run, rows)));
        let at = TimestampMicrosecondArray::from_value(self.intake.loaded_at.micros(), rows).with_timezone(UTC);
        columns.push(Arc::new(at));
        if let Origin::File { name, positions } = origin {
            columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&*name, rows))));
            columns.push(Arc::new(Int64Array::from(positions)));
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

/// The system columns of rows from files, or from a database.
pub fn system_fields(from_files: bool) -> Vec<Field> {
    let types = [DataType::Int64, timestamp_tz(), DataType::Utf8, DataType::Int64];
    let count = if from_files { 4 } else { 2 };
    SYSTEM_COLUMNS.into_iter().zip(types).take(count).map(|(name, t)| Field::new(name, t, true)).collect()
}

/// The way of rejected records to quarantine; it ends when all sinks are gone.
pub fn reject_channel() -> (mpsc::Sender<Rejected>, mpsc::Receiver<Rejected>) {
    mpsc::channel(REJECTS_AHEAD)
}

/// A bounded stream of rows of `schema` (which includes the system columns), and the reader's end of it.
pub fn row_stream(
    intake: &Arc<Intake>,
    schema: &SchemaRef,
    rejects: mpsc::Sender<Rejected>,
) -> (Sink, SendableRecordBatchStream) {
    let (batches, mut receiver) = mpsc::channel::<Option<RecordBatch>>(BATCHES_AHEAD);
    let sink = Sink { intake: Arc::clone(intake), schema: Arc::clone(schema), batches, rejects };
    let intake = Arc::clone(intake);
    let rows = futures::stream::poll_fn(move |cx| {
        receiver.poll_recv(cx).map(|message| match message {
            Some(Some(batch)) => Some(Ok(batch)),
            Some(None) => None,
            None => Some(Err(broken_off(&intake))),
        })
    });
    // The end is told once: polling on would find the channel closed.
    let rows = futures::StreamExt::fuse(rows);
    (sink, Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), rows)))
}

fn broken_off(intake: &Intake) -> DataFusionError {
    intake.broken_off.store(true, Ordering::Relaxed);
    // What happened is kept in the intake, with its type; this only ends the writing.
    DataFusionError::Execution("reading stopped".to_owned())
}

/// Rejected records as rows of the quarantine table. `source` is the stream's name.
pub fn quarantine_stream(
    intake: &Arc<Intake>,
    source: &str,
    mut rejects: mpsc::Receiver<Rejected>,
) -> SendableRecordBatchStream {
    let schema = quarantine_schema();
    let (run, at, source) = (intake.run, intake.loaded_at, source.to_owned());
    let rows = futures::stream::poll_fn(move |cx| {
        let mut records = Vec::new();
        rejects.poll_recv_many(cx, &mut records, REJECTS_AHEAD).map(|n| (n > 0).then_some(records))
    });
    let out = Arc::clone(&schema);
    let rows = futures::StreamExt::map(rows, move |records| {
        quarantine_batch(&out, run, at, &source, &records).map_err(|e| DataFusionError::ArrowError(Box::new(e), None))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

fn quarantine_batch(
    schema: &SchemaRef,
    run: RunId,
    at: Timestamp,
    source: &str,
    records: &[Rejected],
) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let rows = records.len();
    let text = |value: &dyn Fn(&Rejected) -> Option<String>| -> ArrayRef {
        Arc::new(records.iter().map(value).collect::<StringArray>())
    };
    let positions: Int64Array = records.iter().map(|r| r.position.and_then(|p| i64::try_from(p).ok())).collect();
    RecordBatch::try_new(
        Arc::clone(schema),
        vec![
            Arc::new(Int64Array::from_value(i64::try_from(run.0).unwrap_or(i64::MAX), rows)),
            Arc::new(TimestampMicrosecondArray::from_value(at.micros(), rows).with_timezone(UTC)),
            text(&|_| Some(source.to_owned())),
            text(&|r| r.file.as_deref().map(str::to_owned)),
            Arc::new(positions),
            text(&|r| Some(r.raw.clone())),
            text(&|r| Some(r.reason.clone())),
        ],
    )
}
