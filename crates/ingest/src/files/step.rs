//! One stream of files, read into its table.

use std::path::Path;
use std::sync::Arc;

use polder_diag::Diagnostic;
use polder_project::{FileFormat, FileMode, FileStream, Stream};
use polder_run::StepReport;

use super::{Discovery, Place, SourceFile, discover, find_files, nulls};
use crate::csv::{self, CsvColumn, CsvInput, CsvPlan, Dialect};
use crate::cursor::{FileCursor, VERSION};
use crate::intake::{Intake, Sink};
use crate::json::{self, JsonColumn, JsonInput, JsonPlan};
use crate::landing::{Landing, Mode};
use crate::parquet_file::{self, ParquetInput, ParquetPlan};
use crate::plan::{Planned, plan, row_schema, without_files};
use crate::{IngestError, Result, codes};

/// Less input than this for each thread is not worth another thread, and another data file.
const BYTES_A_READER: u64 = 8 << 20;

/// What there is to read, and what it does to the table.
struct Work {
    files: Vec<SourceFile>,
    mode: Mode,
    cursor: FileCursor,
}

pub async fn run(landing: &Landing<'_>, project: &Path, stream: &FileStream) -> Result<StepReport> {
    let (folder, wanted, span) = (project.to_owned(), stream.clone(), landing.stream.span.clone());
    let files = blocking(move || find_files(&folder, &wanted, &span)).await?;
    let Some(work) = news(landing, stream, files)? else {
        return Ok(StepReport { unchanged: true, ..StepReport::default() });
    };
    let total = work.files.iter().map(|f| f.size_bytes).sum();
    landing.cx.progress.set_total_bytes(total);
    match read(landing, stream, &work, false).await {
        // The sample did not show all keys. What was written so far is gone again; look at everything, once.
        Err(IngestError::UnknownKeys) => match read(landing, stream, &work, true).await {
            Err(IngestError::UnknownKeys) => Err(IngestError::transient(format!(
                "the files of {} were changed while they were read",
                landing.stream.table
            ))),
            other => other,
        },
        other => other,
    }
}

/// `None`: nothing has changed since the last time.
fn news(landing: &Landing<'_>, stream: &FileStream, files: Vec<SourceFile>) -> Result<Option<Work>> {
    let options = options(stream, landing.stream);
    let before: Option<FileCursor> = landing.cursor_value(VERSION)?;
    refuse_emptied(landing, stream, before.as_ref(), &files)?;
    match (stream.mode, before) {
        (FileMode::Replace, before) => {
            let cursor = FileCursor::of(options, &files);
            let unchanged = before.as_ref() == Some(&cursor);
            Ok((!unchanged).then_some(Work { files, mode: Mode::Replace, cursor }))
        }
        (FileMode::Append, None) => {
            let cursor = FileCursor::of(options, &files);
            Ok(Some(Work { files, mode: landing.first_mode()?, cursor }))
        }
        (FileMode::Append, Some(mut cursor)) => {
            let news = cursor.news(files);
            let rewritten: Vec<String> = news.rewritten.iter().map(|f| f.name.to_string()).collect();
            let mut files: Vec<SourceFile> = news.new.into_iter().chain(news.rewritten).collect();
            files.sort_by(|a, b| Path::new(&*a.name).cmp(Path::new(&*b.name)));
            if files.is_empty() {
                return Ok(None);
            }
            files.iter().for_each(|f| cursor.add(f));
            cursor.options = options;
            let mode = if rewritten.is_empty() { Mode::Append } else { Mode::ReplaceFiles(rewritten) };
            Ok(Some(Work { files, mode, cursor }))
        }
    }
}

/// A file without a byte, where there were rows, is most likely an export that broke off or that is being written this
/// moment: no rows are taken away for it. (A header alone is a statement.)
fn refuse_emptied(
    landing: &Landing<'_>,
    stream: &FileStream,
    before: Option<&FileCursor>,
    files: &[SourceFile],
) -> Result<()> {
    let Some(rows) = landing.rows_before().filter(|_| !landing.full_refresh) else { return Ok(()) };
    let no_rows = match stream.format {
        FileFormat::Csv if stream.header => "write the header alone",
        FileFormat::Csv | FileFormat::JsonLines => "write one empty line",
        // Without its footer it is damaged, and told as such.
        FileFormat::Parquet => return Ok(()),
    };
    let had_bytes = |file: &&SourceFile| before.and_then(|cursor| cursor.size_bytes(file)).is_some_and(|size| size > 0);
    let mut empty = files.iter().filter(|file| file.is_empty());
    let all_empty = stream.mode == FileMode::Replace && empty.clone().count() == files.len();
    let emptied = if all_empty { empty.next() } else { empty.find(had_bytes) };
    let Some(file) = emptied else { return Ok(()) };
    let table = &landing.stream.table;
    let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
    let message = format!("{} is empty (0 bytes), and {table} has {rows}: an export that broke off?", file.name);
    Err(Diagnostic::error(codes::EMPTIED, message)
        .at(landing.stream.span.clone(), "")
        .hint("the table stays as it is; run again when the file is whole")
        .hint(format!("if there are no rows any more: {no_rows}, or polder run {table} --full-refresh"))
        .into())
}

/// A file that is shorter now than it was when it was found has been written anew meanwhile: what was read of it is
/// neither the old content nor the new. (Those of other machines are read in the version that was found, or not at all.)
fn refuse_cut(files: &[SourceFile]) -> Result<()> {
    let is_cut = |file: &&SourceFile| match &file.place {
        Place::Here(path) => std::fs::metadata(path).is_ok_and(|now| now.len() < file.size_bytes),
        Place::Remote(_) => false,
    };
    match files.iter().find(is_cut) {
        Some(file) => Err(IngestError::transient(format!("{} was written anew while it was read", file.name))),
        None => Ok(()),
    }
}

/// What decides how a file is read, in short: a replaced table is made anew when it changes.
fn options(stream: &FileStream, declared: &Stream) -> String {
    let types = declared.columns.iter().map(|(name, c)| format!("{name} {}", c.data_type.as_deref().unwrap_or("")));
    let format = match stream.format {
        FileFormat::Csv => format!("csv {:?} {} {:?}", char::from(stream.delimiter), stream.header, stream.nulls),
        FileFormat::JsonLines => "jsonl".to_owned(),
        FileFormat::Parquet => "parquet".to_owned(),
    };
    let text = format!("{format} [{}] {:?}", types.collect::<Vec<_>>().join(", "), declared.key);
    format!("{:016x}", crate::hash::hash(text.as_bytes()) as u64)
}

async fn read(landing: &Landing<'_>, stream: &FileStream, work: &Work, thoroughly: bool) -> Result<StepReport> {
    let (files, options) = (work.files.clone(), stream.clone());
    let Discovery { columns: found, has_records, mut notes } =
        blocking(move || discover(&files, &options, thoroughly)).await?;
    let columns = if found.is_empty() {
        // Broken records say nothing about columns, and neither does an empty file; but that one has no rows to reject.
        let table = landing.table.as_ref().filter(|_| !has_records);
        without_files(landing.stream, table.map(|t| &*t.schema))?
    } else {
        let plan = plan(landing.stream, &found, landing.table_schema().as_deref())?;
        notes.extend(plan.notes);
        plan.columns
    };
    if columns.is_empty() && !has_records && landing.table.is_none() {
        // Without a column there is no table to make; the files are looked at again the next time.
        notes.push("no table was made".to_owned());
        return Ok(StepReport { rows: Some(0), note: Some(notes.join("; ")), ..StepReport::default() });
    }
    let schema = row_schema(&columns, true);
    let cursor = serde_json::to_string(&work.cursor).map_err(|e| IngestError::Defect(e.to_string()))?;
    let total: u64 = work.files.iter().map(|f| f.size_bytes).sum();
    let readers = readers(total);
    let start = |intake: &Arc<Intake>, sinks: Vec<Sink>| start_readers(stream, &work.files, &columns, intake, sinks);
    let cursor = |_: &Intake| refuse_cut(&work.files).map(|()| Some(cursor));
    let mut report = landing.land(&schema, &work.mode, readers, start, cursor, &mut notes).await?;
    report.bytes = Some(total);
    if report.rows == Some(0) && work.mode == Mode::Replace {
        // Right for a file that is what the table holds; and yet perhaps a file that is still being written.
        notes.extend(landing.rows_before().map(|rows| format!("the table had {rows} rows")));
    }
    notes.insert(0, count(work.files.len()));
    report.note = Some(notes.join("; "));
    Ok(report)
}

fn count(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

fn readers(total_bytes: u64) -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 8);
    usize::try_from(total_bytes / BYTES_A_READER).unwrap_or(cores).clamp(1, cores)
}

/// Starts one thread for each sink. They end when the input does, or when nobody takes their rows any more.
fn start_readers(
    stream: &FileStream,
    files: &[SourceFile],
    columns: &[Planned],
    intake: &Arc<Intake>,
    sinks: Vec<Sink>,
) {
    let files = files.to_vec();
    match stream.format {
        FileFormat::Csv => {
            let column =
                |c: &Planned| CsvColumn { name: c.name.clone(), data_type: c.data_type.clone(), lenient: c.declared };
            let plan = CsvPlan {
                files,
                dialect: Dialect { delimiter: stream.delimiter },
                header: stream.header,
                nulls: nulls(stream),
                columns: columns.iter().map(column).collect(),
            };
            let input = CsvInput::new(Arc::new(plan), Arc::clone(&intake.progress));
            on_threads(sinks, move |sink| csv::read(&input, sink));
        }
        FileFormat::JsonLines => {
            let column = |c: &Planned| JsonColumn {
                key: c.original.clone(),
                name: c.name.clone(),
                data_type: c.data_type.clone(),
                lenient: c.declared,
            };
            let plan = JsonPlan { files, columns: columns.iter().map(column).collect() };
            let input = JsonInput::new(Arc::new(plan), Arc::clone(&intake.progress));
            on_threads(sinks, move |sink| json::read(&input, sink));
        }
        FileFormat::Parquet => {
            let columns = columns.iter().map(|c| (c.name.clone(), c.data_type.clone())).collect();
            let input = ParquetInput::new(Arc::new(ParquetPlan { files, columns }));
            on_threads(sinks, move |sink| parquet_file::read(&input, sink));
        }
    }
}

fn on_threads(sinks: Vec<Sink>, read: impl Fn(Sink) + Send + Sync + 'static) {
    let read = Arc::new(read);
    for sink in sinks {
        let read = Arc::clone(&read);
        tokio::task::spawn_blocking(move || read(sink));
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| IngestError::Defect(e.to_string()))?
}
