//! What the files of a stream hold: their columns, and what the types look like.

use std::collections::BTreeMap;
use std::sync::Arc;

use polder_base::ColumnNames;
use polder_diag::Diagnostic;
use polder_project::{FileFormat, FileStream};

use super::SourceFile;
use crate::csv::{self, Dialect};
use crate::json::{self, Shape};
use crate::parquet_file;
use crate::plan::{Evidence, Found};
use crate::types::{same_type, sql_type, widens};
use crate::{Result, codes, text::discover::Seen};

/// Records that are looked at in each of the first files, and how many files those are. The other files are looked into
/// for columns that are not known yet.
const SAMPLE_ROWS: u64 = 20_000;
const SAMPLE_FILES: usize = 3;
const LATER_ROWS: u64 = 1_000;

#[derive(Debug, Default)]
pub struct Discovery {
    pub columns: Vec<Found>,
    /// There is something to read or to reject, even where no column was found.
    pub has_records: bool,
    pub notes: Vec<String>,
}

/// Looks into the files. `thoroughly`: at all records, because the sample has missed something.
pub fn discover(files: &[SourceFile], stream: &FileStream, thoroughly: bool) -> Result<Discovery> {
    match stream.format {
        FileFormat::Csv => in_csv(files, stream),
        FileFormat::JsonLines => in_json(files, thoroughly),
        FileFormat::Parquet => in_parquet(files),
    }
}

pub fn nulls(stream: &FileStream) -> Vec<Vec<u8>> {
    stream.nulls.iter().map(|n| n.clone().into_bytes()).collect()
}

/// Columns by normalised name, in the order they were first seen.
struct Columns<T> {
    order: Vec<(String, String, T)>,
    index: BTreeMap<String, usize>,
}

impl<T> Columns<T> {
    fn new() -> Self {
        Self { order: Vec::new(), index: BTreeMap::new() }
    }

    fn get(&mut self, name: &str, original: &str, make: impl FnOnce() -> T) -> &mut T {
        let at = *self.index.entry(name.to_owned()).or_insert(self.order.len());
        if at == self.order.len() {
            self.order.push((name.to_owned(), original.to_owned(), make()));
        }
        &mut self.order[at].2
    }

    fn knows(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    fn found(self, evidence: impl Fn(T) -> Evidence) -> Vec<Found> {
        let found = |(name, original, what)| Found { name, original, comment: None, evidence: evidence(what) };
        self.order.into_iter().map(found).collect()
    }
}

fn in_csv(files: &[SourceFile], stream: &FileStream) -> Result<Discovery> {
    let dialect = Dialect { delimiter: stream.delimiter };
    let nulls = nulls(stream);
    let mut columns = Columns::new();
    let mut empty = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let mut rows = if number < SAMPLE_FILES { SAMPLE_ROWS } else { 0 };
        let mut sample = csv::sample(file, dialect, stream.header, &nulls, rows)?;
        let unknown = |s: &csv::CsvSample| s.columns.iter().any(|(name, _)| !columns.knows(name));
        if rows == 0 && sample.as_ref().is_some_and(unknown) {
            rows = LATER_ROWS;
            sample = csv::sample(file, dialect, stream.header, &nulls, rows)?;
        }
        let Some(sample) = sample else {
            empty.push(file);
            continue;
        };
        for ((name, original), seen) in sample.columns.iter().zip(sample.seen) {
            columns.get(name, original, Seen::default).merge(seen);
        }
    }
    Ok(Discovery {
        columns: columns.found(|seen| Evidence::Text(Box::new(seen))),
        has_records: empty.len() < files.len(),
        notes: told_empty(&empty),
    })
}

fn told_empty(files: &[&SourceFile]) -> Vec<String> {
    match files {
        [] => Vec::new(),
        [file] => vec![format!("{} is empty", file.name)],
        [first, rest @ ..] => vec![format!("{} and {} more files are empty", first.name, rest.len())],
    }
}

fn in_json(files: &[SourceFile], thoroughly: bool) -> Result<Discovery> {
    let mut whole = Shape::default();
    let mut empty = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let rows = match number {
            _ if thoroughly => u64::MAX,
            n if n < SAMPLE_FILES => SAMPLE_ROWS,
            _ => LATER_ROWS,
        };
        if json::sample(file, &mut whole, rows)? == 0 {
            empty.push(file);
        }
    }
    let fields = whole.into_fields();
    let names = ColumnNames::normalise(fields.iter().map(|(key, _)| key)).map_err(|e| {
        Diagnostic::error(codes::COLLISION, format!("{}: {e}", files.first().map_or("", |f| &*f.name)))
            .hint("rename one of the keys in the source")
    })?;
    let found = |((name, original), (_, shape)): ((String, String), (String, Shape))| Found {
        name,
        original,
        comment: None,
        evidence: Evidence::Json(Box::new(shape)),
    };
    Ok(Discovery {
        columns: names.columns.into_iter().zip(fields).map(found).collect(),
        has_records: empty.len() < files.len(),
        notes: told_empty(&empty),
    })
}

fn in_parquet(files: &[SourceFile]) -> Result<Discovery> {
    let mut columns = Columns::new();
    for file in files {
        for column in parquet_file::columns(file)? {
            let known =
                columns.get(&column.name, &column.original, || (column.data_type.clone(), Arc::clone(&file.name)));
            if same_type(&known.0, &column.data_type) || widens(&column.data_type, &known.0) {
                continue;
            }
            if !widens(&known.0, &column.data_type) {
                let (was, first) = (sql_type(&known.0), &known.1);
                let is = sql_type(&column.data_type);
                let message = format!("column `{}` is {was} in {first} and {is} in {}", column.name, file.name);
                return Err(Diagnostic::error(codes::TYPE_CHANGED, message)
                    .hint("declare its type under `columns`")
                    .into());
            }
            known.0 = column.data_type;
        }
    }
    let columns = columns.found(|(data_type, _)| Evidence::Exact(data_type));
    Ok(Discovery { columns, has_records: true, notes: Vec::new() })
}
