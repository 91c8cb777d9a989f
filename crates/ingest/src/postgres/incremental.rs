//! Rows beyond the cursor.
//!
//! Rows that have the very value of the cursor may come after it was read (two orders in one microsecond, a date as
//! cursor). So rows are read *from* the cursor on, and those that were read before are recognised by their hashes: they
//! are neither lost nor doubled.
//!
//! With a lag, rows may come behind the cursor as well: what holds for the rows at the cursor's value then holds for all
//! that are less than the lag behind it.

use std::sync::Arc;

use parking_lot::Mutex;
use polder_diag::Diagnostic;
use polder_project::Lag;
use polder_run::StepReport;
use sqlx::{AssertSqlSafe, Row};

use super::Reader;
use super::catalog::{PgColumn, literal, quote};
use super::copy::{copy_each, copy_rows};
use super::cursor::{Boundary, IncrementalCursor, Known, OldColumns, PgCursor, VERSION, signature};
use super::lag::Behind;
use super::types::{can_be_cursor, may_be_infinite};
use crate::hash::{Content, hash};
use crate::intake::{Intake, Rejected, Sink, Stopped};
use crate::landing::{Landing, Mode};
use crate::plan::row_schema;
use crate::{IngestError, Result, codes};

/// What is to be read, decided in the step's snapshot.
struct Task {
    /// The cursor column, quoted, and its type.
    column: String,
    column_type: String,
    /// The type has infinite values, which are not read.
    infinite: bool,
    behind: Option<Behind>,
    last: Option<IncrementalCursor>,
    /// The greatest value there is; `None` when no row is at or beyond the cursor.
    greatest: Option<String>,
    /// Rows at the boundary, or behind it by less than the lag, that are in the table already.
    known: Known,
    old: OldColumns,
    /// `>` instead of `>=`: nothing at the boundary has changed.
    beyond_only: bool,
    unread: Content,
    /// Tells rows that no cursor can pass, when they are not in quarantine yet.
    reject: Option<String>,
}

pub async fn run(landing: &Landing<'_>, mut reader: Reader, cursor: &str, lag: Option<Lag>) -> Result<StepReport> {
    let column = cursor_column(landing, &reader, cursor)?.clone();
    let behind = lag.map(|lag| Behind::new(landing, &column, lag)).transpose().map_err(IngestError::Data)?;
    let (last, mode) = match landing.cursor_value::<PgCursor>(VERSION)? {
        Some(PgCursor::Incremental(last)) if last.column == column.name => (Some(last), Mode::Append),
        Some(PgCursor::Incremental(last)) => return Err(other_column(landing, &last.column, cursor).into()),
        // The table was read in full until now: its rows are all there, and must not come twice.
        Some(PgCursor::Full(_)) => (None, Mode::Replace),
        None => (None, landing.first_mode()?),
    };
    let mut notes = reader.plan.notes.clone();
    let task = prepare(landing, &mut reader, &column, behind, last).await?;
    if mode == Mode::Append && landing.table.is_some() && task.has_nothing_to_read() {
        return Ok(StepReport { unchanged: true, ..StepReport::default() });
    }
    let schema = row_schema(&reader.plan.columns, false);
    let columns = signature(&reader.readings);
    let next = Arc::new(Mutex::new(Boundary::default()));
    let value = task.greatest.clone().or_else(|| task.last.as_ref().and_then(|l| l.value.clone()));
    let (before, unread) = (task.last.clone(), task.unread);
    let read = Arc::clone(&next);
    let start = move |_: &Arc<Intake>, sinks: Vec<Sink>| {
        if let Some(sink) = sinks.into_iter().next() {
            tokio::spawn(read_new(reader, task, read, sink));
        }
    };
    let written = value.clone();
    let cursor = move |_: &Intake| {
        let boundary = next.lock();
        let (columns, content, rows) = match before.clone() {
            // Nothing at or beyond the boundary was read: it is what it was, hashed over the columns of then.
            Some(last) if boundary.content() == Content::default() => (last.columns, last.boundary, last.rows),
            _ => (columns, boundary.content(), boundary.rows()),
        };
        let now = IncrementalCursor {
            version: VERSION,
            column: column.name,
            value: written,
            columns,
            boundary: content,
            rows,
            unread,
        };
        if before.as_ref() == Some(&now) {
            return Ok(None);
        }
        let text = serde_json::to_string(&PgCursor::Incremental(now));
        text.map(Some).map_err(|e| IngestError::Defect(e.to_string()))
    };
    let mut report = landing.land(&schema, &mode, 1, start, cursor, &mut notes).await?;
    notes.splice(0..0, value.map(|v| format!("cursor {}", shown(&v, landing))));
    report.note = (!notes.is_empty()).then(|| notes.join("; "));
    Ok(report)
}

/// The time alone, when the cursor is of the day of the run.
fn shown(value: &str, landing: &Landing<'_>) -> String {
    let today = landing.workspace.run_time.to_string();
    let value = value.strip_suffix("+00").unwrap_or(value);
    match (value.split_once(' '), today.split_once('T')) {
        (Some((day, time)), Some((now, _))) if day == now => time.split('.').next().unwrap_or(time).to_owned(),
        _ => value.to_owned(),
    }
}

fn cursor_column<'a>(landing: &Landing<'_>, reader: &'a Reader, cursor: &str) -> Result<&'a PgColumn> {
    let columns = &reader.table.columns;
    let normalised = |c: &&PgColumn| polder_base::normalise_column(&c.name) == cursor;
    let Some(column) = columns.iter().find(|c| c.name == cursor).or_else(|| columns.iter().find(normalised)) else {
        let message = format!("the cursor column `{cursor}` is not in {}", reader.table.quoted());
        let problem = Diagnostic::error(codes::UNKNOWN_CURSOR, message).at(landing.stream.span.clone(), "");
        let names = columns.iter().map(|c| c.name.as_str());
        return Err(match polder_base::nearest(cursor, names.clone()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint(format!("its columns are: {}", names.collect::<Vec<_>>().join(", "))),
        }
        .into());
    };
    if !can_be_cursor(column) {
        let message = format!("`{}` is {}, which cannot be a cursor", column.name, column.type_name);
        let problem = Diagnostic::error(codes::NO_CURSOR, message).at(landing.stream.span.clone(), "");
        return Err(problem
            .hint("a cursor is a number, a text, a date or a timestamp that grows with each change")
            .into());
    }
    Ok(column)
}

fn other_column(landing: &Landing<'_>, before: &str, now: &str) -> Diagnostic {
    let message = format!("{}: the cursor was `{before}` and is `{now}` now", landing.stream.table);
    Diagnostic::error(codes::NO_CURSOR, message)
        .at(landing.stream.span.clone(), "")
        .hint("read everything anew with `--full-refresh`")
}

async fn prepare(
    landing: &Landing<'_>,
    reader: &mut Reader,
    column: &PgColumn,
    behind: Option<Behind>,
    last: Option<IncrementalCursor>,
) -> Result<Task> {
    let mut task = Task {
        column: quote(&column.name),
        column_type: column.type_name.clone(),
        infinite: may_be_infinite(column),
        behind,
        greatest: None,
        known: Known::default(),
        old: OldColumns::Same,
        beyond_only: false,
        unread: Content::default(),
        reject: None,
        last,
    };
    task.greatest = greatest(reader, &task).await?;
    if !column.not_null || task.infinite {
        unreadable_rows(landing, reader, column, &mut task).await?;
    }
    recognise(landing, reader, &mut task).await?;
    Ok(task)
}

/// The greatest value, when it is not below the cursor.
async fn greatest(reader: &mut Reader, task: &Task) -> Result<Option<String>> {
    let name = &task.column;
    let mut conditions = vec![format!("{name} IS NOT NULL")];
    conditions.extend(task.infinite.then(|| format!("isfinite({name})")));
    conditions.extend(task.last_value().map(|last| format!("{name} >= {}", task.value_literal(last))));
    let sql = format!("SELECT max({name})::text FROM {} WHERE {}", reader.table.quoted(), conditions.join(" AND "));
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut reader.connection).await;
    row.and_then(|row| row.try_get(0)).map_err(|e| reader.server.error(&e))
}

impl Task {
    fn value_literal(&self, value: &str) -> String {
        format!("{}::{}", literal(value), self.column_type)
    }

    /// Nothing on the first read.
    fn last_value(&self) -> Option<&str> {
        self.last.as_ref()?.value.as_deref()
    }

    /// From where on rows may still come while the cursor stands at a value, as SQL.
    fn start(&self, value: &str) -> String {
        self.behind.as_ref().map_or_else(|| self.value_literal(value), |behind| behind.of(value))
    }

    /// Up to where rows are read; `None`: there is nothing to read.
    fn end(&self) -> Option<&str> {
        self.greatest.as_deref().or_else(|| self.last_value().filter(|_| self.behind.is_some()))
    }

    fn has_nothing_to_read(&self) -> bool {
        let known_unread = self.last.as_ref().is_some_and(|l| l.unread == self.unread);
        self.last.is_some() && known_unread && self.end().is_none()
    }

    /// Two more columns say of each row whether it may have been read before, and whether it is at the new boundary.
    fn select(&self, reader: &Reader) -> String {
        let column = &self.column;
        let or_false = |condition: Option<String>| condition.unwrap_or_else(|| "false".to_owned());
        let read_before = self.last_value().map(|last| format!("({column} <= {})", self.value_literal(last)));
        let at_boundary = self.end().map(|end| format!("({column} >= {})", self.start(end)));
        let mut conditions: Vec<String> = Vec::new();
        conditions.extend(self.last_value().map(|last| match self.beyond_only {
            true => format!("{column} > {}", self.value_literal(last)),
            false => format!("{column} >= {}", self.start(last)),
        }));
        conditions.extend(self.infinite.then(|| format!("isfinite({column})")));
        // NULL is beyond any end.
        conditions.push(or_false(self.end().map(|end| format!("{column} <= {}", self.value_literal(end)))));
        format!(
            "COPY (SELECT {}, {}, {} FROM {} WHERE {}) TO STDOUT (FORMAT binary)",
            reader.select_list(),
            or_false(read_before),
            or_false(at_boundary),
            reader.table.quoted(),
            conditions.join(" AND ")
        )
    }
}

/// Finds out how the rows at the boundary are told from new ones.
async fn recognise(landing: &Landing<'_>, reader: &mut Reader, task: &mut Task) -> Result<()> {
    let Some(last) = task.last.clone().filter(|l| l.value.is_some()) else { return Ok(()) };
    task.old = OldColumns::find(&last.columns, &signature(&reader.readings));
    let (keyed, lagging) = (!landing.stream.key.is_empty(), task.behind.is_some());
    match (last.known_rows(), &task.old) {
        // Behind the cursor, only a row that alone has its key can be left out: of several, the newest must win.
        (Some(known), OldColumns::Same | OldColumns::At(_)) if !lagging || landing.unique => task.known = known,
        (_, old) if lagging => {
            let stands = task.greatest.as_ref().is_none_or(|greatest| last.value.as_ref() == Some(greatest));
            task.beyond_only =
                stands && !matches!(old, OldColumns::Lost) && boundary_now(reader, task, old).await? == last.boundary;
        }
        // Rows with a key may come twice: the later takes the earlier's place.
        _ if keyed => {}
        (_, OldColumns::Lost) => return Err(cannot_tell(landing, "its columns have changed since").into()),
        (_, old) => {
            let now = boundary_now(reader, task, old).await?;
            if now != last.boundary {
                return Err(cannot_tell(landing, &format!("{} rows had it", last.boundary.rows)).into());
            }
            task.beyond_only = true;
        }
    }
    Ok(())
}

fn cannot_tell(landing: &Landing<'_>, why: &str) -> Diagnostic {
    let message =
        format!("{}: rows at the cursor's last value cannot be told from new ones: {why}", landing.stream.table);
    Diagnostic::error(codes::BOUNDARY, message)
        .at(landing.stream.span.clone(), "")
        .hint("give the stream a `key`, so that rows may come twice, or read everything anew with `--full-refresh`")
}

/// The rows at the last boundary as they are now, hashed as they were then.
async fn boundary_now(reader: &mut Reader, task: &Task, old: &OldColumns) -> Result<Content> {
    let Some(last) = task.last_value() else { return Ok(Content::default()) };
    let (list, table, column) = (reader.select_list(), reader.table.quoted(), &task.column);
    let condition = format!("{column} >= {} AND {column} <= {}", task.start(last), task.value_literal(last));
    let statement = format!("COPY (SELECT {list} FROM {table} WHERE {condition}) TO STDOUT (FORMAT binary)");
    let count = reader.readings.len();
    let mut content = Content::default();
    copy_each(&reader.server, &mut reader.connection, &statement, |tuple| {
        content.add(old.hash(tuple, count).unwrap_or_default());
    })
    .await?;
    Ok(content)
}

/// Rows whose cursor is NULL or infinite would never be read, or would stop the cursor for good. They are told: they
/// count as rejected records, and go to quarantine once.
async fn unreadable_rows(landing: &Landing<'_>, reader: &mut Reader, column: &PgColumn, task: &mut Task) -> Result<()> {
    let name = &task.column;
    let infinite = if may_be_infinite(column) { format!(" OR NOT isfinite({name})") } else { String::new() };
    let condition = format!("({name} IS NULL{infinite})");
    let statement = reject_statement(reader, &condition);
    copy_each(&reader.server, &mut reader.connection, &statement, |tuple| task.unread.add(hash(tuple.bytes))).await?;
    let known = task.last.as_ref().map(|l| l.unread).unwrap_or_default();
    if task.unread == known {
        return Ok(());
    }
    let rows = task.unread.rows;
    if rows > landing.stream.max_rejected {
        let (rows_have, it) = if rows == 1 { ("row has", "it") } else { ("rows have", "they") };
        let message = format!(
            "{}: {rows} {rows_have} no usable value in the cursor column `{}`, so {it} cannot be read incrementally",
            landing.stream.table, column.name
        );
        return Err(Diagnostic::error(codes::CURSOR_UNUSABLE, message)
            .at(landing.stream.span.clone(), "")
            .hint("fill the column, read the table in full, or set `max_rejected` to let them go to quarantine")
            .into());
    }
    task.reject = Some(statement);
    Ok(())
}

fn reject_statement(reader: &Reader, condition: &str) -> String {
    let table = reader.table.quoted();
    format!("COPY (SELECT to_jsonb(t)::text FROM {table} AS t WHERE {condition}) TO STDOUT (FORMAT binary)")
}

async fn read_new(mut reader: Reader, task: Task, next: Arc<Mutex<Boundary>>, sink: Sink) {
    let mut boundary = Boundary::default();
    if read_rows(&mut reader, task, &mut boundary, &sink).await.is_ok() {
        *next.lock() = boundary;
        sink.finish().await;
        reader.close().await;
    }
}

async fn read_rows(reader: &mut Reader, task: Task, boundary: &mut Boundary, sink: &Sink) -> Result<(), Stopped> {
    let statement = task.select(reader);
    let Task { mut known, old, reject, column, .. } = task;
    let count = reader.readings.len();
    let readings = Arc::clone(&reader.readings);
    copy_rows(&reader.server, &mut reader.connection, &statement, &readings, sink, |tuple| {
        let (read_before, at_boundary) = (tuple.is_true(count), tuple.is_true(count + 1));
        if at_boundary {
            boundary.add(hash(tuple.head(count)));
        }
        !(read_before && old.hash(tuple, count).is_some_and(|row| known.take(row)))
    })
    .await?;
    let Some(statement) = reject else { return Ok(()) };
    let mut rejects = Vec::new();
    let told = copy_each(&reader.server, &mut reader.connection, &statement, |tuple| {
        rejects.push(Rejected {
            file: None,
            position: None,
            raw: String::from_utf8_lossy(tuple.field(0).unwrap_or_default()).into_owned(),
            reason: format!("no usable value in the cursor column {}", column.replace('"', "`")),
        });
    });
    told.await.map_err(|e| sink.intake().fail(e))?;
    sink.reject(rejects).await
}
