//! A look at the beginning of a CSV file: its columns, and what their values look like.

use std::string::FromUtf8Error;

use polder_base::ColumnNames;
use polder_diag::Diagnostic;

use super::split::{Dialect, Field, Records, Walk, unescape};
use crate::chunk::Chunker;
use crate::files::{SourceFile, collision, open, read_error};
use crate::text::discover::{Place, Seen, shorten};
use crate::{IngestError, Result, codes};

/// The columns of one file: normalised and original names.
#[derive(Debug, Clone)]
pub struct CsvHeader {
    pub columns: Vec<(String, String)>,
}

/// Reads the header off the front of a file, or counts the fields of its first record where there is no header. `None`:
/// the file is empty.
pub fn header(
    chunker: &mut Chunker<Dialect>,
    dialect: Dialect,
    named: bool,
    file: &SourceFile,
) -> Result<Option<CsvHeader>> {
    let head = chunker.peek().map_err(|e| read_error(file, &e))?;
    let short = memchr::memchr(b'\n', head.trim_ascii_start()).is_some() && !head.contains(&b'"');
    let buffer = if short { chunker.peek() } else { chunker.peek_chunk() }.map_err(|e| read_error(file, &e))?;
    refuse_other_encodings(buffer, file)?;
    let blank = buffer.iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
    if blank == buffer.len() {
        return Ok(None);
    }
    let mut fields = Vec::new();
    let end = match dialect.walk(buffer, blank, |f| fields.push(f)) {
        Walk::Record { end } => end,
        Walk::Open | Walk::Stray if named => return Err(broken_header(file).into()),
        Walk::Open | Walk::Stray => return Err(broken_first_record(file).into()),
    };
    if !named {
        let columns = (1..=fields.len()).map(|n| format!("column_{n}")).map(|c| (c.clone(), c)).collect();
        return Ok(Some(CsvHeader { columns }));
    }
    let original = |f: &Field| {
        let bytes = &buffer[f.start()..f.end()];
        let bytes = if f.is_escaped() { unescape(bytes) } else { bytes.to_vec() };
        String::from_utf8(bytes).map(|name| name.trim().to_owned()).map_err(|e| IngestError::from(not_utf8(file, &e)))
    };
    let originals = fields.iter().map(original).collect::<Result<Vec<_>>>()?;
    let names = ColumnNames::normalise(originals).map_err(|e| collision(file, &e))?;
    chunker.skip(end);
    Ok(Some(CsvHeader { columns: names.columns }))
}

fn broken_header(file: &SourceFile) -> Diagnostic {
    Diagnostic::error(codes::WRONG_FORMAT, format!("{}: the header's quotes do not match", file.name))
        .hint("write `header: false` if the first line holds no column names")
}

/// Without the first record nobody knows how many columns there are.
fn broken_first_record(file: &SourceFile) -> Diagnostic {
    Diagnostic::error(codes::WRONG_FORMAT, format!("{}: the quotes of the first record do not match", file.name))
}

/// A name with a replacement character in it would be another column than the one that was meant.
fn not_utf8(file: &SourceFile, error: &FromUtf8Error) -> Diagnostic {
    let byte = error.as_bytes()[error.utf8_error().valid_up_to()];
    let name = String::from_utf8_lossy(error.as_bytes());
    let message =
        format!("{}: the header is not UTF-8: byte 0x{byte:02x} in the column `{}`", file.name, shorten(&name));
    Diagnostic::error(codes::WRONG_FORMAT, message).hint("convert the file: `iconv -f LATIN1 -t UTF-8`")
}

fn refuse_other_encodings(buffer: &[u8], file: &SourceFile) -> Result<()> {
    let problem = if buffer.starts_with(&[0xff, 0xfe]) || buffer.starts_with(&[0xfe, 0xff]) {
        ("is UTF-16, UTF-8 is expected", "convert it: `iconv -f UTF-16 -t UTF-8`")
    } else if buffer.starts_with(b"PAR1") {
        ("is a Parquet file, CSV is expected", "set `format: parquet`")
    } else if buffer.iter().take(4096).any(|b| *b == 0) {
        ("holds bytes that are no text", "is it CSV at all?")
    } else if memchr::memchr(b'\n', buffer).is_none() && buffer.iter().filter(|b| **b == b'\r').count() > 1 {
        ("ends its lines with CR alone", "convert it: `tr '\\r' '\\n'`")
    } else {
        return Ok(());
    };
    Err(Diagnostic::error(codes::WRONG_FORMAT, format!("{} {}", file.name, problem.0)).hint(problem.1).into())
}

/// Columns of a file, with what the values of its first records look like.
pub struct CsvSample {
    /// Normalised and original names.
    pub columns: Vec<(String, String)>,
    pub seen: Vec<Seen>,
    pub rows: u64,
}

/// Reads the header, and up to `max_rows` records to look at. `None`: the file is empty.
pub fn sample(
    file: &SourceFile,
    dialect: Dialect,
    named: bool,
    nulls: &[Vec<u8>],
    max_rows: u64,
) -> Result<Option<CsvSample>> {
    let mut chunker = Chunker::new(dialect, open(file, None)?).map_err(|e| read_error(file, &e))?;
    let Some(header) = header(&mut chunker, dialect, named, file)? else { return Ok(None) };
    let mut sample = CsvSample { seen: vec![Seen::default(); header.columns.len()], columns: header.columns, rows: 0 };
    while sample.rows < max_rows {
        let Some(chunk) = chunker.next_chunk().map_err(|e| read_error(file, &e))? else { break };
        if chunk.oversized {
            continue;
        }
        let records = Records::split(dialect, &chunk.bytes, chunk.line, sample.seen.len());
        let wanted = usize::try_from(max_rows - sample.rows).unwrap_or(usize::MAX).min(records.rows());
        sample.look(file, &chunk.bytes, &records, wanted, nulls);
        sample.rows += wanted as u64;
    }
    Ok(Some(sample))
}

impl CsvSample {
    fn look(&mut self, file: &SourceFile, bytes: &[u8], records: &Records, rows: usize, nulls: &[Vec<u8>]) {
        for row in 0..rows {
            let fields = &records.fields[row * records.width..(row + 1) * records.width];
            for (field, seen) in fields.iter().zip(&mut self.seen) {
                let value = &bytes[field.start()..field.end()];
                let null = value.is_empty() || (!field.is_quoted() && nulls.iter().any(|n| n == value));
                if !null {
                    seen.add(value, Place { file: &file.name, line: records.lines[row] });
                }
            }
        }
    }
}
