//! CSV files → batches, on as many threads as there are sinks. One thread at a time reads and finds the borders of a
//! chunk; all parse.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use parking_lot::Mutex;
use polder_run::Progress;

use super::convert::{ColumnReader, CsvColumn, Misfit};
use super::sample::header;
use super::split::{Broken, Dialect, Records};
use crate::chunk::{Chunk, Chunker, RECORD_LIMIT_BYTES};
use crate::files::{SourceFile, open, read_error};
use crate::intake::{Origin, Rejected, Sink, Stopped};
use crate::{IngestError, Result};

/// What is read, and how.
#[derive(Debug, Clone)]
pub struct CsvPlan {
    pub files: Vec<SourceFile>,
    pub dialect: Dialect,
    /// The first record of each file names its columns.
    pub header: bool,
    /// Text that means NULL.
    pub nulls: Vec<Vec<u8>>,
    /// The columns of the batches, in order. A file need not have all of them.
    pub columns: Vec<CsvColumn>,
}

/// Which field of a file fills which column.
#[derive(Debug)]
struct Layout {
    width: usize,
    fields: Vec<Option<usize>>,
}

struct OpenFile {
    file: SourceFile,
    chunker: Chunker<Dialect>,
    layout: Arc<Layout>,
}

/// The files of a plan as one sequence of chunks.
pub struct CsvInput {
    plan: Arc<CsvPlan>,
    progress: Arc<Progress>,
    next: usize,
    current: Option<OpenFile>,
}

struct Work {
    chunk: Chunk,
    name: Arc<str>,
    layout: Arc<Layout>,
}

impl CsvInput {
    pub fn new(plan: Arc<CsvPlan>, progress: Arc<Progress>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { plan, progress, next: 0, current: None }))
    }

    fn next(&mut self) -> Result<Option<Work>> {
        loop {
            if let Some(open) = &mut self.current {
                if let Some(chunk) = open.chunker.next_chunk().map_err(|e| read_error(&open.file, &e))? {
                    let (name, layout) = (Arc::clone(&open.file.name), Arc::clone(&open.layout));
                    return Ok(Some(Work { chunk, name, layout }));
                }
                self.current = None;
            }
            let Some(file) = self.plan.files.get(self.next).cloned() else { return Ok(None) };
            self.next += 1;
            self.current = self.open(file)?;
        }
    }

    /// `None`: the file is empty.
    fn open(&self, file: SourceFile) -> Result<Option<OpenFile>> {
        let input = open(&file, Some(&self.progress))?;
        let mut chunker = Chunker::new(self.plan.dialect, input).map_err(|e| read_error(&file, &e))?;
        let Some(found) = header(&mut chunker, self.plan.dialect, self.plan.header, &file)? else { return Ok(None) };
        let by_name: BTreeMap<&str, usize> =
            found.columns.iter().enumerate().map(|(i, (name, _))| (name.as_str(), i)).collect();
        let fields: Vec<_> = self.plan.columns.iter().map(|c| by_name.get(c.name.as_str()).copied()).collect();
        if fields.iter().flatten().count() != by_name.len() {
            return Err(IngestError::transient(format!("{} was changed while it was being read", file.name)));
        }
        Ok(Some(OpenFile { layout: Arc::new(Layout { width: found.columns.len(), fields }), chunker, file }))
    }
}

/// Reads until the input ends or the rows are no longer wanted. Blocks: runs on a thread of its own.
pub fn read(input: &Mutex<CsvInput>, sink: Sink) {
    let plan = Arc::clone(&input.lock().plan);
    loop {
        let work = input.lock().next();
        match work {
            Ok(Some(work)) => {
                if parse(&plan, work, &sink).is_err() {
                    return;
                }
            }
            Ok(None) => return sink.finish_blocking(),
            Err(error) => {
                sink.intake().fail(error);
                return;
            }
        }
    }
}

fn parse(plan: &CsvPlan, work: Work, sink: &Sink) -> Result<(), Stopped> {
    let Work { chunk, name, layout } = work;
    if chunk.oversized {
        return sink.reject_blocking(vec![oversized(&chunk, &name)]);
    }
    let mut records = Records::split(plan.dialect, &chunk.bytes, chunk.line, layout.width);
    let text = match String::from_utf8(chunk.bytes) {
        Ok(text) => text,
        Err(error) => {
            let bytes = error.into_bytes();
            let broken = without_invalid(&mut records, plan.dialect, &bytes);
            let rejected = broken.iter().map(|b| rejected(b, &bytes, &name)).collect();
            sink.reject_blocking(rejected)?;
            match String::from_utf8(patched(&bytes)) {
                Ok(text) => text,
                Err(_) => return Err(sink.intake().fail(IngestError::Defect("text was not mended".to_owned()))),
            }
        }
    };
    let mut rejects: Vec<Rejected> = records.broken.iter().map(|b| rejected(b, text.as_bytes(), &name)).collect();
    let mut misfits = Vec::new();
    let reader = ColumnReader { text: &text, records: &records, nulls: &plan.nulls };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(plan.columns.len() + 4);
    for (column, field) in plan.columns.iter().zip(&layout.fields) {
        columns.push(match field {
            Some(index) => reader.read(*index, column, &mut misfits),
            None => arrow::array::new_null_array(&column.data_type, records.rows()),
        });
    }
    let mut positions: Vec<i64> = records.lines.iter().map(|l| i64::try_from(*l).unwrap_or(i64::MAX)).collect();
    if !misfits.is_empty() {
        let keep = keep_fitting(plan.dialect, &records, &text, &name, misfits, &mut rejects);
        positions = positions.into_iter().zip(&keep).filter_map(|(p, keep)| keep.then_some(p)).collect();
        let mask = BooleanArray::from(keep);
        for column in &mut columns {
            *column = arrow::compute::filter(column, &mask).map_err(|e| sink.intake().fail(e.into()))?;
        }
    }
    if !rejects.is_empty() {
        rejects.sort_by_key(|r| r.position);
        sink.reject_blocking(rejects)?;
    }
    let rows = positions.len();
    sink.send_blocking(columns, rows, Origin::File { name, positions })
}

fn rejected(broken: &Broken, bytes: &[u8], name: &Arc<str>) -> Rejected {
    Rejected {
        file: Some(Arc::clone(name)),
        position: Some(broken.line),
        raw: String::from_utf8_lossy(&bytes[broken.start..broken.end]).into_owned(),
        reason: broken.reason.clone(),
    }
}

pub fn oversized(chunk: &Chunk, name: &Arc<str>) -> Rejected {
    Rejected {
        file: Some(Arc::clone(name)),
        position: Some(chunk.line),
        raw: String::from_utf8_lossy(&chunk.bytes).into_owned(),
        reason: format!(
            "the line is longer than {} MiB; the raw text is its first {} KiB",
            RECORD_LIMIT_BYTES >> 20,
            chunk.bytes.len() >> 10
        ),
    }
}

/// Turns rows that misfits stand in into rejected records; gives the mask of the rows that stay.
fn keep_fitting(
    dialect: Dialect,
    records: &Records,
    text: &str,
    name: &Arc<str>,
    misfits: Vec<Misfit>,
    rejects: &mut Vec<Rejected>,
) -> Vec<bool> {
    let mut by_row: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for misfit in misfits {
        by_row.entry(misfit.row).or_default().push(misfit.reason);
    }
    let mut keep = vec![true; records.rows()];
    for (row, reasons) in by_row {
        keep[row] = false;
        rejects.push(Rejected {
            file: Some(Arc::clone(name)),
            position: Some(records.lines[row]),
            raw: text[records.raw(dialect, text.as_bytes(), row)].to_owned(),
            reason: reasons.join("; "),
        });
    }
    keep
}

/// Takes out the rows (and the broken records) that are not UTF-8, and gives them as broken records.
fn without_invalid(records: &mut Records, dialect: Dialect, bytes: &[u8]) -> Vec<Broken> {
    let mut invalid = std::mem::take(&mut records.broken);
    let mut kept = Records { width: records.width, ..Records::default() };
    for row in 0..records.rows() {
        let range = records.raw(dialect, bytes, row);
        let Err(error) = std::str::from_utf8(&bytes[range.clone()]) else {
            kept.fields.extend_from_slice(&records.fields[row * records.width..(row + 1) * records.width]);
            kept.starts.push(records.starts[row]);
            kept.lines.push(records.lines[row]);
            continue;
        };
        let byte = bytes[range.start + error.valid_up_to()];
        let reason = format!("not UTF-8: byte 0x{byte:02x} after {} bytes of the record", error.valid_up_to());
        invalid.push(Broken { start: range.start, end: range.end, line: records.lines[row], reason });
    }
    *records = kept;
    invalid.sort_by_key(|b| b.line);
    invalid
}

/// The same length, with `?` in place of bytes that are no UTF-8: the rows they stood in are out already.
fn patched(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        out.extend_from_slice(part.valid().as_bytes());
        out.extend(std::iter::repeat_n(b'?', part.invalid().len()));
    }
    out
}
