//! The files that one stream of rows is written to.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use polder_store::Warehouse;
use polder_table::spec::{DataFile, Struct};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::WriteTarget;
use super::begun::Begun;
use super::file::{ClosedFile, FileFormat, OpenFile};
use super::metrics::{WrittenFile, data_file};
use super::partition::Partitioner;
use super::rows::RowForm;
use crate::{Lake, Result};

/// Rows that are encoded between two looks at size and memory.
const SLICE_ROWS: usize = 64 * 1024;
/// Partitions that one stream writes to at once. With more, the one that has waited longest is closed.
const MAX_OPEN_FILES: usize = 256;

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
    form: RowForm,
    partitioner: Option<Partitioner>,
    /// By partition key; without partitions there is one, under the empty key.
    open: HashMap<Box<[u8]>, OpenFile>,
    memory: MemoryReservation,
    batches: u64,
    files: Vec<DataFile>,
}

impl StreamWriter {
    pub(crate) fn new(job: Arc<WriteJob>, form: RowForm, lake: &Lake) -> Result<Self> {
        let format = &job.format;
        let partitioner = Partitioner::new(&job.target.partition, &format.schema, &format.arrow)?;
        let memory = MemoryConsumer::new("Parquet writer").with_can_spill(true).register(&lake.runtime().memory_pool);
        Ok(Self { job, form, partitioner, open: HashMap::new(), memory, batches: 0, files: Vec::new() })
    }

    /// Encodes a batch; returns the bytes of the files that this made durable.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<u64> {
        let rows = self.form.apply(batch)?;
        let mut bytes = 0;
        let mut start = 0;
        while start < rows.num_rows() {
            let length = SLICE_ROWS.min(rows.num_rows() - start);
            bytes += self.write_slice(&rows.slice(start, length))?;
            start += length;
        }
        Ok(bytes)
    }

    /// Makes all files durable.
    pub(crate) fn finish(mut self) -> Result<(Vec<DataFile>, u64)> {
        let mut bytes = 0;
        for (_, file) in std::mem::take(&mut self.open) {
            bytes += self.close(file)?;
        }
        Ok((self.files, bytes))
    }

    fn write_slice(&mut self, rows: &RecordBatch) -> Result<u64> {
        self.batches += 1;
        let mut bytes = 0;
        match &self.partitioner {
            None => bytes += self.write_piece(Box::default(), Struct::empty(), rows)?,
            Some(partitioner) => {
                for piece in partitioner.split(rows)? {
                    bytes += self.write_piece(piece.key, piece.partition, &piece.rows)?;
                }
            }
        }
        self.bound_memory()?;
        Ok(bytes)
    }

    fn write_piece(&mut self, key: Box<[u8]>, partition: Struct, rows: &RecordBatch) -> Result<u64> {
        let mut bytes = 0;
        if !self.open.contains_key(&key) {
            if self.open.len() >= MAX_OPEN_FILES {
                bytes += self.close_oldest()?;
            }
            let path = self.path(&partition);
            let file =
                OpenFile::begin(&self.job.format, self.job.warehouse.storage(), path, partition, &self.job.runtime)?;
            self.open.insert(key.clone(), file);
        }
        let full = match self.open.get_mut(&key) {
            Some(file) => {
                file.used = self.batches;
                file.write(rows)?;
                file.size_bytes() >= self.job.target.target_file_bytes
            }
            None => false,
        };
        if full && let Some(file) = self.open.remove(&key) {
            bytes += self.close(file)?;
        }
        Ok(bytes)
    }

    /// Keeps within what the process may use: the largest unfinished row group goes to storage first.
    fn bound_memory(&mut self) -> Result<()> {
        while self.memory.try_resize(self.open.values().map(OpenFile::memory_bytes).sum()).is_err() {
            let Some(largest) = self.open.values_mut().max_by_key(|file| file.memory_bytes()) else { break };
            let before = largest.memory_bytes();
            largest.flush()?;
            if largest.memory_bytes() >= before {
                // Nothing left to give: what a writer needs at least, it takes.
                self.memory.resize(self.open.values().map(OpenFile::memory_bytes).sum());
                break;
            }
        }
        Ok(())
    }

    fn close_oldest(&mut self) -> Result<u64> {
        let oldest = self.open.iter().min_by_key(|(_, file)| file.used).map(|(key, _)| key.clone());
        match oldest.and_then(|key| self.open.remove(&key)) {
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
