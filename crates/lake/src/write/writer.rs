//! The files that one stream of rows is written to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use parquet::file::properties::WriterProperties;
use polder_store::Warehouse;
use polder_table::spec::{DataFile, Struct};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::WriteTarget;
use super::begun::Begun;
use super::dictionary::without_dictionary;
use super::file::{ClosedFile, FileFormat, OpenFile};
use super::metrics::{WrittenFile, data_file};
use super::partition::Partitioner;
use crate::{Lake, Result};

/// Rows that are encoded between two looks at the size of a file.
const SLICE_ROWS: usize = 64 * 1024;
/// Partitions that one stream writes to at once. With more, the one that has waited longest is closed.
const MAX_OPEN_FILES: usize = 1024;
/// Files that one stream has begun in storage at once: each takes a file handle or a connection.
const MAX_UPLOADS: usize = 64;
/// With more partitions than this, rows are collected before they are divided, or each batch would give each partition a
/// handful.
const FEW_PARTITIONS: usize = 32;

/// A stream with no more than this is left to be written together with others.
const SMALL: Limit = Limit { rows: 128 * 1024, bytes: 8 * 1024 * 1024 };
/// What is collected before it is divided among many partitions.
const SCATTERED: Limit = Limit { rows: 512 * 1024, bytes: 32 * 1024 * 1024 };

/// What the writers of one call share.
#[derive(Debug)]
pub(crate) struct WriteJob {
    pub(crate) target: WriteTarget,
    pub(crate) format: Arc<FileFormat>,
    pub(crate) warehouse: Warehouse,
    pub(crate) begun: Arc<Begun>,
    pub(crate) runtime: Handle,
}

/// Writes the rows of one stream. Its methods block.
pub(crate) struct StreamWriter {
    job: Arc<WriteJob>,
    partitioner: Option<Partitioner>,
    pending: Pending,
    /// How files are written, judged by the first rows; `None` until the stream was more than a few rows.
    properties: Option<WriterProperties>,
    /// By partition key; without partitions there is one, under the empty key.
    open: HashMap<Box<[u8]>, OpenFile>,
    memory: MemoryReservation,
    rounds: u64,
    files: Vec<DataFile>,
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    rows: usize,
    bytes: usize,
}

/// Rows that are collected before they are encoded.
#[derive(Debug, Default)]
struct Pending {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl Pending {
    fn push(&mut self, rows: RecordBatch) {
        self.rows += rows.num_rows();
        self.bytes += rows.get_array_memory_size();
        self.batches.push(rows);
    }

    fn within(&self, limit: Limit) -> bool {
        self.rows < limit.rows && self.bytes < limit.bytes
    }
}

/// What a writer leaves.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    pub(crate) files: Vec<DataFile>,
    /// Of the files that finishing made durable.
    pub(crate) bytes: u64,
    /// Rows too few for a file of their own.
    pub(crate) held: Vec<RecordBatch>,
}

impl StreamWriter {
    pub(crate) fn new(job: Arc<WriteJob>, lake: &Lake) -> Result<Self> {
        let format = &job.format;
        let partitioner = Partitioner::new(&job.target.partition, &format.schema, &format.arrow)?;
        let memory = MemoryConsumer::new("Parquet writer").with_can_spill(true).register(&lake.runtime().memory_pool);
        Ok(Self {
            job,
            partitioner,
            pending: Pending::default(),
            properties: None,
            open: HashMap::new(),
            memory,
            rounds: 0,
            files: Vec::new(),
        })
    }

    /// Takes rows in the form of the table; returns the bytes of the files that this made durable.
    pub(crate) fn write(&mut self, rows: RecordBatch) -> Result<u64> {
        self.pending.push(rows);
        let limit = match self.properties {
            None => Some(SMALL),
            Some(_) if self.open.len() > FEW_PARTITIONS => Some(SCATTERED),
            Some(_) => None,
        };
        let wait = limit.is_some_and(|limit| self.pending.within(limit));
        if wait && self.memory.try_resize(self.memory_bytes()).is_ok() {
            return Ok(0);
        }
        self.encode_pending()
    }

    /// Takes what other writers left, few rows as it may be.
    pub(crate) fn write_rest(&mut self, held: Vec<RecordBatch>) -> Result<u64> {
        held.into_iter().for_each(|rows| self.pending.push(rows));
        self.encode_pending()
    }

    /// Makes all files durable.
    pub(crate) fn finish(mut self) -> Result<Finished> {
        let mut bytes = 0;
        let mut held = Vec::new();
        if self.properties.is_some() {
            bytes += self.encode_pending()?;
        } else {
            held = std::mem::take(&mut self.pending).batches;
        }
        for (_, file) in std::mem::take(&mut self.open) {
            bytes += self.close(file)?;
        }
        Ok(Finished { files: self.files, bytes, held })
    }

    fn encode_pending(&mut self) -> Result<u64> {
        self.rounds += 1;
        let batches = std::mem::take(&mut self.pending).batches;
        self.properties.get_or_insert_with(|| self.job.format.properties(&without_dictionary(&batches)));
        let mut bytes = 0;
        match self.partitioner.take() {
            None => {
                for rows in &batches {
                    bytes += self.write_piece(&[], &Struct::empty(), rows)?;
                }
            }
            Some(partitioner) => {
                let pieces = partitioner.split(batches);
                // Back before any error can leave.
                self.partitioner = Some(partitioner);
                for piece in pieces? {
                    bytes += self.write_piece(&piece.key, &piece.partition, &piece.rows)?;
                }
            }
        }
        bytes += self.bound_uploads()?;
        self.bound_memory()?;
        Ok(bytes)
    }

    fn write_piece(&mut self, key: &[u8], partition: &Struct, rows: &RecordBatch) -> Result<u64> {
        let mut bytes = 0;
        let mut start = 0;
        while start < rows.num_rows() {
            let length = SLICE_ROWS.min(rows.num_rows() - start);
            bytes += self.write_slice(key, partition, &rows.slice(start, length))?;
            start += length;
        }
        Ok(bytes)
    }

    fn write_slice(&mut self, key: &[u8], partition: &Struct, rows: &RecordBatch) -> Result<u64> {
        let mut bytes = 0;
        if !self.open.contains_key(key) {
            if self.open.len() >= MAX_OPEN_FILES {
                bytes += self.close_first_by(|file| file.used)?;
            }
            let path = self.path(partition);
            let storage = self.job.warehouse.storage();
            let properties = self.properties.clone().unwrap_or_else(|| self.job.format.properties(&HashSet::new()));
            let file =
                OpenFile::begin(&self.job.format, properties, storage, path, partition.clone(), &self.job.runtime)?;
            self.open.insert(key.into(), file);
        }
        let Some(file) = self.open.get_mut(key) else { return Ok(bytes) };
        file.used = self.rounds;
        file.write(rows)?;
        if file.size_bytes() >= self.job.target.target_file_bytes
            && let Some(file) = self.open.remove(key)
        {
            bytes += self.close(file)?;
        }
        Ok(bytes)
    }

    /// Keeps within what the process may use: the largest unfinished row group goes to storage first.
    fn bound_memory(&mut self) -> Result<()> {
        while self.memory.try_resize(self.memory_bytes()).is_err() {
            let Some(largest) = self.open.values_mut().max_by_key(|file| file.memory_bytes()) else { break };
            let before = largest.memory_bytes();
            largest.flush()?;
            if largest.memory_bytes() >= before {
                // Nothing left to give: what a writer needs at least, it takes.
                self.memory.resize(self.memory_bytes());
                break;
            }
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        self.pending.bytes + self.open.values().map(OpenFile::memory_bytes).sum::<usize>()
    }

    /// Closes the largest files that storage has begun, until few enough are left.
    fn bound_uploads(&mut self) -> Result<u64> {
        let mut bytes = 0;
        let mut uploads = self.open.values().filter(|file| file.is_uploading()).count();
        while uploads > MAX_UPLOADS {
            bytes +=
                self.close_first_by(|file| std::cmp::Reverse(if file.is_uploading() { file.size_bytes() } else { 0 }))?;
            uploads -= 1;
        }
        Ok(bytes)
    }

    fn close_first_by<K: Ord>(&mut self, key: impl Fn(&OpenFile) -> K) -> Result<u64> {
        let first = self.open.iter().min_by_key(|(_, file)| key(file)).map(|(name, _)| name.clone());
        match first.and_then(|name| self.open.remove(&name)) {
            Some(file) => self.close(file),
            None => Ok(0),
        }
    }

    fn close(&mut self, file: OpenFile) -> Result<u64> {
        let file = file.finish()?;
        self.job.begun.add(&file.path);
        let size_bytes = file.size_bytes;
        self.files.push(self.describe(file)?);
        Ok(size_bytes)
    }

    fn describe(&self, file: ClosedFile) -> Result<DataFile> {
        data_file(WrittenFile {
            location: self.job.warehouse.location(&file.path),
            size_bytes: file.size_bytes,
            footer: &file.footer,
            schema: &self.job.format.schema,
            nans: file.nans,
            partition: file.partition,
            partition_spec_id: self.job.target.partition.spec_id(),
        })
    }

    fn path(&self, partition: &Struct) -> String {
        let target = &self.job.target;
        let folder = self.partitioner.as_ref().map(|p| p.folder(partition) + "/").unwrap_or_default();
        format!("{}/data/{folder}{}-{}.parquet", target.folder, target.prefix, Uuid::new_v4())
    }
}
