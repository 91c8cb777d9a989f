//! The shop as files: `DIR/<table>/<slice>.<format>`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::Compression as ParquetCompression;
use parquet::file::properties::WriterProperties;

use crate::parallel::in_order;
use crate::random::{Purpose, Stream};
use crate::summary::{Progress, Summary, TableSummary};
use crate::{Defect, DefectCounts, Defects, GenerateError, Shop, Slice, Table, encode};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    JsonLines,
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileKind {
    pub format: Format,
    /// Of the whole file; Parquet compresses its pages itself.
    pub compression: Compression,
}

impl FileKind {
    pub fn extension(self) -> String {
        let format = match self.format {
            Format::Csv => "csv",
            Format::JsonLines => "jsonl",
            Format::Parquet => return "parquet".to_owned(),
        };
        match self.compression {
            Compression::None => format.to_owned(),
            Compression::Gzip => format!("{format}.gz"),
            Compression::Zstd => format!("{format}.zst"),
        }
    }
}

impl FromStr for Format {
    type Err = GenerateError;

    fn from_str(s: &str) -> Result<Self, GenerateError> {
        match s {
            "csv" => Ok(Self::Csv),
            "jsonl" | "json" => Ok(Self::JsonLines),
            "parquet" => Ok(Self::Parquet),
            _ => Err(GenerateError::Options(format!("`{s}` is no format of files: csv, jsonl or parquet"))),
        }
    }
}

impl FromStr for Compression {
    type Err = GenerateError;

    fn from_str(s: &str) -> Result<Self, GenerateError> {
        match s {
            "none" => Ok(Self::None),
            "gzip" | "gz" => Ok(Self::Gzip),
            "zstd" | "zst" => Ok(Self::Zstd),
            _ => Err(GenerateError::Options(format!("`{s}` is no compression: none, gzip or zstd"))),
        }
    }
}

/// What to write, where and how.
#[derive(Debug, Clone)]
pub struct FileOptions {
    pub folder: PathBuf,
    pub tables: Vec<Table>,
    /// `None`: as systems of a shop would send them; payments as gzipped CSV, events as JSON lines, the rest as CSV.
    pub format: Option<Format>,
    pub compression: Option<Compression>,
    /// Threads that make and encode rows. The bytes do not depend on it.
    pub threads: usize,
}

impl FileOptions {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { folder: folder.into(), tables: Table::ALL.to_vec(), format: None, compression: None, threads }
    }

    /// How a table is written.
    pub fn kind(&self, table: Table) -> FileKind {
        let usual = match table {
            Table::Payments => (Format::Csv, Compression::Gzip),
            Table::Events => (Format::JsonLines, Compression::None),
            _ => (Format::Csv, Compression::None),
        };
        let (format, compression) = self.format.map_or(usual, |f| (f, Compression::None));
        FileKind { format, compression: self.compression.unwrap_or(compression) }
    }
}

/// Writes a slice of the shop. A file appears under its name once it is complete; one of the same name is replaced.
///
/// # Errors
/// The disk, or a day that is not after the history.
pub fn write_files(
    shop: &Shop,
    slice: Slice,
    defects: &Defects,
    options: &FileOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Summary, GenerateError> {
    let mut summary = Summary::default();
    for table in &options.tables {
        if shop.chunks(*table, slice)?.is_empty() {
            continue;
        }
        let kind = options.kind(*table);
        let folder = options.folder.join(table.as_str());
        std::fs::create_dir_all(&folder).map_err(|e| write_error(&folder, e))?;
        let path = folder.join(format!("{}.{}", shop.slice_name(slice), kind.extension()));
        let job = Job { shop, table: *table, slice, defects, threads: options.threads, progress };
        let (written, counts) = job.write(&path, kind)?;
        summary.tables.push(written);
        summary.defects.merge(&counts);
    }
    Ok(summary)
}

fn write_error(path: &Path, source: std::io::Error) -> GenerateError {
    GenerateError::Write { path: path.to_path_buf(), source }
}

/// One table on its way into one file.
struct Job<'a> {
    shop: &'a Shop,
    table: Table,
    slice: Slice,
    defects: &'a Defects,
    threads: usize,
    progress: &'a (dyn Fn(Progress) + Sync),
}

impl Job<'_> {
    fn write(&self, path: &Path, kind: FileKind) -> Result<(TableSummary, DefectCounts), GenerateError> {
        let part = path.with_added_extension("part");
        let file = File::create(&part).map_err(|e| write_error(&part, e))?;
        let mut out = CountingFile { inner: BufWriter::with_capacity(1 << 20, file), bytes: 0 };
        let done = match kind.format {
            Format::Parquet => self.write_parquet(&mut out),
            format => self.write_text(&mut out, &part, format, kind.compression),
        };
        let finished = done.and_then(|counts| {
            out.inner.flush().and_then(|()| std::fs::rename(&part, path)).map_err(|e| write_error(path, e))?;
            Ok(counts)
        });
        if finished.is_err() {
            // What failed is reported; a part that cannot be removed either does no harm.
            let _ = std::fs::remove_file(&part);
        }
        let (rows, counts) = finished?;
        let target = path.display().to_string();
        Ok((TableSummary { table: self.table, rows, bytes: out.bytes, target }, counts))
    }

    fn write_text(
        &self,
        out: &mut CountingFile,
        path: &Path,
        format: Format,
        compression: Compression,
    ) -> Result<(u64, DefectCounts), GenerateError> {
        let mut tally = Tally::new(self.table, self.progress);
        if format == Format::Csv {
            let mut header = Vec::new();
            encode::csv_header(&self.table.schema(), &mut header);
            let header = compress(header, compression).map_err(|e| write_error(path, e))?;
            out.write_all(&header).map_err(|e| write_error(path, e))?;
        }
        let work = |chunk: crate::Chunk| {
            let rows = self.shop.rows(&chunk, self.defects)?;
            let mut counts = rows.defects;
            let text = self.encode(&rows.batch, format, chunk.index as u64, &mut counts)?;
            let bytes = compress(text, compression).map_err(|e| write_error(path, e))?;
            Ok::<_, GenerateError>((rows.batch.num_rows(), bytes, counts))
        };
        in_order(self.threads, self.shop.chunks(self.table, self.slice)?, work, |(rows, bytes, counts)| {
            out.write_all(&bytes).map_err(|e| write_error(path, e))?;
            tally.add(rows as u64, bytes.len() as u64, &counts);
            Ok(())
        })?;
        Ok((tally.rows, tally.defects))
    }

    fn encode(
        &self,
        batch: &RecordBatch,
        format: Format,
        chunk: u64,
        counts: &mut DefectCounts,
    ) -> Result<Vec<u8>, GenerateError> {
        let mut torn_rows = 0;
        let torn = |row: usize, line: &[u8]| {
            let id = chunk << 32 | row as u64;
            let mut how = self.tear(id)?;
            torn_rows += 1;
            // Somewhere in the first half: later, and the rest might still be read as a record.
            Some(1 + usize::try_from(how.below(line.len() as u64 / 2)).unwrap_or(0)).map(|n| boundary(line, n))
        };
        let mut text = Vec::with_capacity(batch.num_rows() * 128);
        match format {
            Format::Csv => encode::csv(batch, &mut text, torn)?,
            _ => encode::json_lines(batch, &mut text, torn)?,
        }
        counts.add(Defect::TornLines, self.table, torn_rows);
        Ok(text)
    }

    /// Exports of payments and events are what gets cut off; the other tables come out of a database.
    fn tear(&self, row: u64) -> Option<Stream> {
        let torn = matches!(self.table, Table::Payments | Table::Events);
        torn.then(|| {
            let seed = self.shop.seed.wrapping_add(self.table as u64).wrapping_add(self.slice_salt());
            self.defects.strikes(Defect::TornLines, Purpose::TornLine, seed, row)
        })?
    }

    fn slice_salt(&self) -> u64 {
        match self.slice {
            Slice::History => 0,
            Slice::Day(date) => u64::from(date.to_epoch_days().unsigned_abs()),
        }
    }

    fn write_parquet(&self, out: &mut CountingFile) -> Result<(u64, DefectCounts), GenerateError> {
        let schema = self.table.schema();
        let properties = WriterProperties::builder()
            .set_compression(ParquetCompression::SNAPPY)
            .set_created_by("polder generate".to_owned())
            .build();
        let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties))?;
        let (mut writer, factory) = writer.into_serialized_writer()?;
        let mut tally = Tally::new(self.table, self.progress);
        let work = |chunk: crate::Chunk| {
            let rows = self.shop.rows(&chunk, self.defects)?;
            let columns = encode_row_group(&factory, chunk.index, &rows.batch)?;
            Ok::<_, GenerateError>((rows.batch.num_rows(), columns, rows.defects))
        };
        in_order(self.threads, self.shop.chunks(self.table, self.slice)?, work, |(rows, columns, counts)| {
            // A chunk may come out empty where few orders change on a day.
            if rows > 0 {
                let mut group = writer.next_row_group()?;
                for column in columns {
                    column.append_to_row_group(&mut group)?;
                }
                let bytes = group.close()?.compressed_size();
                tally.add(rows as u64, bytes.unsigned_abs(), &counts);
            }
            Ok(())
        })?;
        writer.close()?;
        Ok((tally.rows, tally.defects))
    }
}

fn encode_row_group(
    factory: &ArrowRowGroupWriterFactory,
    index: usize,
    batch: &RecordBatch,
) -> Result<Vec<ArrowColumnChunk>, GenerateError> {
    let mut writers = factory.create_column_writers(index)?.into_iter();
    let mut columns = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        for leaf in compute_leaves(field, column)? {
            let Some(mut writer) = writers.next() else { continue };
            writer.write(&leaf)?;
            columns.push(writer.close()?);
        }
    }
    Ok(columns)
}

/// A piece of a compressed file: gzip and zstd files may be several streams one after another, so that each chunk can be
/// compressed by itself.
fn compress(text: Vec<u8>, compression: Compression) -> std::io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(text),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), flate2::Compression::new(4));
            encoder.write_all(&text)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::bulk::compress(&text, 3),
    }
}

/// The end of the character that begins before `at`.
fn boundary(line: &[u8], at: usize) -> usize {
    (at..line.len()).find(|i| line[*i] & 0b1100_0000 != 0b1000_0000).unwrap_or(line.len())
}

struct CountingFile {
    inner: BufWriter<File>,
    bytes: u64,
}

impl Write for CountingFile {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(data)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// What has come so far.
pub(crate) struct Tally<'a> {
    table: Table,
    progress: &'a (dyn Fn(Progress) + Sync),
    pub rows: u64,
    bytes: u64,
    pub defects: DefectCounts,
}

impl<'a> Tally<'a> {
    pub fn new(table: Table, progress: &'a (dyn Fn(Progress) + Sync)) -> Self {
        Self { table, progress, rows: 0, bytes: 0, defects: DefectCounts::default() }
    }

    pub fn add(&mut self, rows: u64, bytes: u64, defects: &DefectCounts) {
        self.rows += rows;
        self.bytes += bytes;
        self.defects.merge(defects);
        (self.progress)(Progress { table: self.table, rows: self.rows, bytes: self.bytes });
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
