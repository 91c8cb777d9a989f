//! JSON-lines files → batches, on as many threads as there are sinks.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::DataType;
use parking_lot::Mutex;
use polder_run::Progress;

use super::build::{Column, Record, Refusal};
use super::parse::{Json, Malformed, Next};
use super::shape::Shape;
use crate::chunk::{Chunk, Chunker, Lines};
use crate::files::{SourceFile, open, read_error};
use crate::intake::{Origin, Rejected, Sink, Stopped};
use crate::text::discover::Place;
use crate::{IngestError, Result, codes};
use polder_diag::Diagnostic;

/// How a key of the records is read.
#[derive(Debug, Clone)]
pub struct JsonColumn {
    /// As the records write it.
    pub key: String,
    /// The column's name in the table, for messages.
    pub name: String,
    pub data_type: DataType,
    /// The type was declared: numbers and booleans in quotes are taken too.
    pub lenient: bool,
}

#[derive(Debug, Clone)]
pub struct JsonPlan {
    pub files: Vec<SourceFile>,
    pub columns: Vec<JsonColumn>,
}

/// The files of a plan as one sequence of chunks.
pub struct JsonInput {
    plan: Arc<JsonPlan>,
    progress: Arc<Progress>,
    next: usize,
    current: Option<(SourceFile, Chunker<Lines>)>,
}

impl JsonInput {
    pub fn new(plan: Arc<JsonPlan>, progress: Arc<Progress>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { plan, progress, next: 0, current: None }))
    }

    fn next(&mut self) -> Result<Option<(Chunk, Arc<str>)>> {
        loop {
            if let Some((file, chunker)) = &mut self.current {
                if let Some(chunk) = chunker.next_chunk().map_err(|e| read_error(file, &e))? {
                    return Ok(Some((chunk, Arc::clone(&file.name))));
                }
                self.current = None;
            }
            let Some(file) = self.plan.files.get(self.next).cloned() else { return Ok(None) };
            self.next += 1;
            let chunker = open_lines(&file, Some(&self.progress))?;
            self.current = Some((file, chunker));
        }
    }
}

fn open_lines(file: &SourceFile, progress: Option<&Arc<Progress>>) -> Result<Chunker<Lines>> {
    let mut chunker = Chunker::new(Lines, open(file, progress)?).map_err(|e| read_error(file, &e))?;
    let head = chunker.peek().map_err(|e| read_error(file, &e))?;
    let problem = if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        ("is UTF-16, UTF-8 is expected", "convert it: `iconv -f UTF-16 -t UTF-8`")
    } else if head.starts_with(b"PAR1") {
        ("is a Parquet file, JSON lines are expected", "set `format: parquet`")
    } else if is_one_list(head) {
        ("is one JSON list, one object a line is expected", "convert it: `jq -c '.[]'`")
    } else {
        return Ok(chunker);
    };
    Err(Diagnostic::error(codes::WRONG_FORMAT, format!("{} {}", file.name, problem.0)).hint(problem.1).into())
}

/// A list that does not end on the line it begins on, or that holds objects.
fn is_one_list(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    head.strip_prefix(b"[").is_some_and(|rest| matches!(rest.trim_ascii_start().first(), Some(b'{') | None))
}

/// Reads until the input ends or the rows are no longer wanted. Blocks: runs on a thread of its own.
pub fn read(input: &Mutex<JsonInput>, sink: Sink) {
    let plan = Arc::clone(&input.lock().plan);
    loop {
        let work = input.lock().next();
        match work {
            Ok(Some((chunk, name))) => {
                if parse(&plan, chunk, name, &sink).is_err() {
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

fn parse(plan: &JsonPlan, chunk: Chunk, name: Arc<str>, sink: &Sink) -> Result<(), Stopped> {
    if chunk.oversized {
        return sink.reject_blocking(vec![crate::csv::oversized(&chunk, &name)]);
    }
    let column = |c: &JsonColumn| (c.key.clone(), Column::new(c.name.clone(), &c.data_type, c.lenient));
    let mut record = Record::new(plan.columns.iter().map(column).collect());
    let (mut positions, mut keep, mut rejects) = (Vec::new(), Vec::new(), Vec::new());
    for (line, position) in lines_of(&chunk) {
        let refusal = match std::str::from_utf8(line) {
            Ok(text) if text.trim_ascii().is_empty() => continue,
            Ok(text) => match take(&mut record, text, keep.len() + 1) {
                Ok(()) => None,
                // Only of a sound record the key can be learned: a torn one would be asked about for ever.
                Err(Refusal::UnknownKey) => match sound(text) {
                    Ok(()) => return Err(sink.intake().fail(IngestError::UnknownKeys)),
                    Err(m) => Some(m.to_string()),
                },
                Err(Refusal::Malformed(m)) => Some(m.to_string()),
                Err(Refusal::Misfit(reason)) => Some(reason),
            },
            Err(e) => Some(format!("not UTF-8 after {} bytes", e.valid_up_to())),
        };
        keep.push(refusal.is_none());
        let Some(reason) = refusal else {
            positions.push(i64::try_from(position).unwrap_or(i64::MAX));
            continue;
        };
        record.abandon(keep.len());
        let raw = String::from_utf8_lossy(line).into_owned();
        rejects.push(Rejected { file: Some(Arc::clone(&name)), position: Some(position), raw, reason });
    }
    let mut columns = record.finish().map_err(|e| sink.intake().fail(e.into()))?;
    if !rejects.is_empty() {
        let mask = BooleanArray::from(keep);
        for column in &mut columns {
            *column = arrow::compute::filter(column, &mask).map_err(|e| sink.intake().fail(e.into()))?;
        }
        sink.reject_blocking(rejects)?;
    }
    let rows = positions.len();
    sink.send_blocking(columns, rows, Origin::File { name, positions })
}

/// The lines of a chunk, without their ends, and their numbers.
fn lines_of(chunk: &Chunk) -> impl Iterator<Item = (&[u8], u64)> {
    let bytes = chunk.bytes.strip_suffix(b"\n").unwrap_or(&chunk.bytes);
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', bytes).chain(std::iter::once(bytes.len()));
    ends.zip(chunk.line..).map(move |(end, line)| {
        let record = &bytes[start..end];
        start = end + 1;
        (record.strip_suffix(b"\r").unwrap_or(record), line)
    })
}

fn take(record: &mut Record, text: &str, row: usize) -> Result<(), Refusal> {
    let mut json = Json::new(text);
    if json.next()? != Next::Object {
        json.raw()?;
        json.end()?;
        return Err(Refusal::Misfit("not an object".to_owned()));
    }
    record.take(&mut json, row)?;
    Ok(json.end()?)
}

/// Looks at the first `max_rows` records of a file, and says how many there were. Broken ones are among them; they are
/// left for reading to reject.
pub fn sample(file: &SourceFile, shape: &mut Shape, max_rows: u64) -> Result<u64> {
    let mut chunker = open_lines(file, None)?;
    let mut rows = 0;
    while rows < max_rows {
        let Some(chunk) = chunker.next_chunk().map_err(|e| read_error(file, &e))? else { break };
        if chunk.oversized {
            rows += 1;
            continue;
        }
        let records = lines_of(&chunk).filter(|(line, _)| !line.trim_ascii().is_empty());
        for (line, position) in records.take(usize::try_from(max_rows - rows).unwrap_or(usize::MAX)) {
            look(line, shape, &file.name, position);
            rows += 1;
        }
    }
    Ok(rows)
}

fn look(line: &[u8], shape: &mut Shape, file: &Arc<str>, position: u64) {
    let Ok(text) = std::str::from_utf8(line) else { return };
    if Json::new(text).next() == Ok(Next::Object) && sound(text).is_ok() {
        // The record is sound, so that looking at it cannot fail half way and leave a false trace.
        let _ = shape.look(&mut Json::new(text), Place { file, line: position });
    }
}

/// Whether a text is one JSON value from end to end.
fn sound(text: &str) -> Result<(), Malformed> {
    let mut json = Json::new(text);
    json.next()?;
    json.raw()?;
    json.end()
}
