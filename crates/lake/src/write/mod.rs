//! Rows → Parquet files with field ids, bounds and counts, partitioned, as many at once as there are streams.
//!
//! Each stream is drawn by a task of its own and encoded by a thread of its own, with a short queue between them, so that
//! reading and encoding overlap and memory does not grow with the input. Streams that have only a few rows share a file.

mod begun;
mod dictionary;
mod file;
mod metrics;
mod partition;
mod rows;
mod writer;

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;
use polder_table::spec::{DataFile, PartitionSpec, Schema};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::begun::Begun;
use self::file::FileFormat;
use self::rows::RowForm;
use self::writer::{Finished, StreamWriter, WriteJob};
use crate::{Lake, LakeError, Result};

/// Batches between a stream and its encoder.
const QUEUE_BATCHES: usize = 2;

/// Size of data files unless the table says otherwise.
pub(crate) const DEFAULT_FILE_BYTES: u64 = 128 * 1024 * 1024;

/// Where rows are written to, and how.
#[derive(Debug, Clone)]
pub struct WriteTarget {
    /// The table's folder, relative to the warehouse.
    pub folder: String,
    pub schema: Arc<Schema>,
    pub partition: Arc<PartitionSpec>,
    /// Start of the file names: the run, such as `run-12`.
    pub prefix: String,
    /// Files are closed when they reach this size. 128 MiB unless a table property says otherwise.
    pub target_file_bytes: u64,
}

/// What was written. The files are durable, but no table refers to them yet.
#[derive(Debug, Clone, Default)]
pub struct Written {
    pub files: Vec<DataFile>,
    pub rows: u64,
    pub bytes: u64,
}

/// Rows and bytes that a write has done since it last said so.
struct Increment {
    rows: u64,
    bytes: u64,
}

impl Lake {
    /// Writes the rows of all streams at once. Columns are matched to the schema by name and cast where that loses
    /// nothing; missing optional ones are NULL. `written` is called with the rows and bytes done since its last call.
    ///
    /// # Errors
    /// The first error of a stream or of the disk, a value that does not fit its column, a column that the table does
    /// not have, or `Cancelled`. Files begun until then are removed, also when the future is dropped.
    pub async fn write(
        &self,
        target: &WriteTarget,
        streams: Vec<SendableRecordBatchStream>,
        cancel: &CancellationToken,
        written: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Written> {
        let warehouse = self.catalog().tables().warehouse().clone();
        let runtime = tokio::runtime::Handle::current();
        let begun = Arc::new(Begun::new(Arc::clone(warehouse.storage()), runtime.clone()));
        let job = Arc::new(WriteJob {
            target: target.clone(),
            format: Arc::new(FileFormat::new(&target.schema)?),
            warehouse,
            begun: Arc::clone(&begun),
            runtime,
        });
        let result = self.write_all(&job, streams, cancel, written).await;
        match &result {
            Ok(_) => begun.keep(),
            Err(_) => begun.remove().await,
        }
        result
    }

    async fn write_all(
        &self,
        job: &Arc<WriteJob>,
        streams: Vec<SendableRecordBatchStream>,
        cancel: &CancellationToken,
        written: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Written> {
        let (done, mut progress) = mpsc::unbounded_channel();
        // Ours, so that the first error stops the other streams too.
        let cancel = cancel.child_token();
        let mut writers = Vec::with_capacity(streams.len());
        for stream in streams {
            let form = RowForm::new(&stream.schema(), &job.format.arrow, &job.format.schema)?;
            writers.push((form, StreamWriter::new(Arc::clone(job), self)?, stream));
        }
        let mut tasks = JoinSet::new();
        for (form, writer, stream) in writers {
            tasks.spawn(write_stream(form, writer, stream, cancel.clone(), done.clone()));
        }
        drop(done);
        let mut total = Written::default();
        let mut report = |increment: Increment| {
            total.rows += increment.rows;
            total.bytes += increment.bytes;
            written(increment.rows, increment.bytes);
        };
        while let Some(increment) = progress.recv().await {
            report(increment);
        }
        let mut finished = join(tasks).await?;
        let held = std::mem::take(&mut finished.held);
        if !held.is_empty() {
            let rest = self.write_held(job, held).await?;
            report(Increment { rows: 0, bytes: rest.bytes });
            finished.files.extend(rest.files);
        }
        total.files = finished.files;
        Ok(total)
    }

    /// Writes what streams had too little of, together.
    async fn write_held(&self, job: &Arc<WriteJob>, held: Vec<RecordBatch>) -> Result<Finished> {
        let mut writer = StreamWriter::new(Arc::clone(job), self)?;
        let encoder = tokio::task::spawn_blocking(move || {
            let bytes = writer.write_rest(held)?;
            let mut finished = writer.finish()?;
            finished.bytes += bytes;
            Ok(finished)
        });
        encoder.await.unwrap_or_else(|error| Err(panicked(&error)))
    }
}

/// What all streams left, or why the first of them failed.
async fn join(mut tasks: JoinSet<Result<Finished>>) -> Result<Finished> {
    let mut all = Finished::default();
    let mut failed: Option<LakeError> = None;
    while let Some(joined) = tasks.join_next().await {
        match joined.unwrap_or_else(|error| Err(panicked(&error))) {
            Ok(finished) => {
                all.files.extend(finished.files);
                all.held.extend(finished.held);
            }
            // The first error is the cause; that the others were stopped follows from it.
            Err(LakeError::Cancelled) if failed.is_some() => {}
            Err(error) => failed = failed.filter(|e| !matches!(e, LakeError::Cancelled)).or(Some(error)),
        }
    }
    failed.map_or(Ok(all), Err)
}

/// Draws one stream and encodes it; the first failure stops all streams.
async fn write_stream(
    form: RowForm,
    writer: StreamWriter,
    stream: SendableRecordBatchStream,
    cancel: CancellationToken,
    done: mpsc::UnboundedSender<Increment>,
) -> Result<Finished> {
    let (queue, batches) = mpsc::channel(QUEUE_BATCHES);
    let encoder = tokio::task::spawn_blocking(move || encode(form, writer, batches, &done));
    let drawn = draw(stream, &queue, &cancel).await;
    if drawn.is_ok() {
        // An encoder that failed has hung up, and says why itself.
        let _ = queue.send(Message::End).await;
    }
    drop(queue);
    let encoded = encoder.await.unwrap_or_else(|error| Err(panicked(&error)));
    let result = match (drawn, encoded) {
        (Err(error), _) => Err(error),
        (Ok(()), encoded) => encoded,
    };
    if result.is_err() {
        cancel.cancel();
    }
    result
}

enum Message {
    Batch(RecordBatch),
    /// The stream is whole. A queue that closes without it was given up.
    End,
}

async fn draw(
    mut stream: SendableRecordBatchStream,
    queue: &mpsc::Sender<Message>,
    cancel: &CancellationToken,
) -> Result<()> {
    loop {
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(LakeError::Cancelled),
            next = stream.next() => next,
        };
        let Some(batch) = next else { return Ok(()) };
        let sent = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(LakeError::Cancelled),
            sent = queue.send(Message::Batch(batch?)) => sent,
        };
        if sent.is_err() {
            return Ok(());
        }
    }
}

fn encode(
    mut form: RowForm,
    mut writer: StreamWriter,
    mut batches: mpsc::Receiver<Message>,
    done: &mpsc::UnboundedSender<Increment>,
) -> Result<Finished> {
    // Nobody listening any more is no reason to stop: whoever gave up closes the queue.
    let report = |rows: usize, bytes: u64| {
        let _ = done.send(Increment { rows: rows as u64, bytes });
    };
    loop {
        match batches.blocking_recv() {
            Some(Message::Batch(batch)) => {
                let bytes = writer.write(form.apply(&batch)?)?;
                report(batch.num_rows(), bytes);
            }
            Some(Message::End) => {
                let finished = writer.finish()?;
                report(0, finished.bytes);
                return Ok(finished);
            }
            None => return Err(LakeError::Cancelled),
        }
    }
}

fn panicked(error: &tokio::task::JoinError) -> LakeError {
    if error.is_cancelled() { LakeError::Cancelled } else { LakeError::Defect(error.to_string()) }
}
