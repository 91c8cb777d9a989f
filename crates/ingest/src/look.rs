//! What sources have, found out without reading them: for `polder.lock`, and for whoever adds a source.

use std::path::Path;

use polder_base::ColumnNames;
use polder_diag::Span;
use polder_project::{Connection, FileStream, LockedColumn, LockedTable, ReadMode, Source, Stream};

use crate::files::{discover, find_files};
use crate::plan::{Planned, plan, without_files};
use crate::postgres::{self, PgTable};
use crate::types::sql_type;
use crate::{IngestError, Result};

pub use crate::postgres::survey::{Cursor, Surveyed};

/// What a stream has now. Of files, a sample is read; of a database, its catalog alone.
///
/// # Errors
/// As reading the stream: no such table or file, declarations that do not fit, the network.
pub async fn look(project: &Path, source: &Source, stream: &Stream) -> Result<LockedTable> {
    match (&source.connection, &stream.read) {
        (Connection::Files, ReadMode::Files(files)) => look_at_files(project, stream, files).await,
        (Connection::Postgres { url }, _) => {
            let table = postgres::look(url, stream).await?;
            of_table(stream, &table)
        }
        _ => Err(IngestError::Defect(format!("{} does not go with its source", stream.name))),
    }
}

/// The tables of a database, with what decides how each is best read.
///
/// # Errors
/// An address that is none, a database that cannot be reached or does not let us in.
pub async fn survey(url: &str, span: &Span) -> Result<Vec<Surveyed>> {
    postgres::survey::survey(url, span).await
}

async fn look_at_files(project: &Path, stream: &Stream, files: &FileStream) -> Result<LockedTable> {
    let (folder, declared, files) = (project.to_owned(), stream.clone(), files.clone());
    let work = move || {
        let found = find_files(&folder, &files, &declared.span)?;
        let discovery = discover(&found, &files, false)?;
        match discovery.columns.is_empty() {
            true => without_files(&declared, None),
            false => plan(&declared, &discovery.columns, None).map(|plan| plan.columns),
        }
    };
    let columns = tokio::task::spawn_blocking(work).await.map_err(|e| IngestError::Defect(e.to_string()))??;
    Ok(LockedTable { key: Vec::new(), columns: columns.iter().map(|column| locked(column, false)).collect() })
}

fn of_table(stream: &Stream, table: &PgTable) -> Result<LockedTable> {
    let found = postgres::found(stream, table)?;
    let planned = plan(stream, &found, None)?.columns;
    let columns =
        planned.iter().zip(&table.columns).map(|(planned, column)| locked(planned, column.not_null)).collect();
    let key = ColumnNames::normalise(&table.key).map(|names| names.columns.into_iter().map(|(name, _)| name).collect());
    Ok(LockedTable { key: key.unwrap_or_default(), columns })
}

fn locked(column: &Planned, not_null: bool) -> (String, LockedColumn) {
    (column.name.clone(), LockedColumn { data_type: sql_type(&column.data_type), not_null })
}

/// What the source has now and did not have when it was last asked, and the other way round, in a few words; none where
/// nothing differs. Types of files are found in samples: what differs there is perhaps nothing new.
pub(crate) fn drift(stream: &Stream, columns: &[Planned], types_are_exact: bool) -> Option<String> {
    let locked = &stream.locked.as_ref()?.columns;
    let more = columns.iter().filter(|c| !locked.contains_key(&c.name)).map(|c| c.name.clone()).collect();
    let fewer = locked.keys().filter(|name| columns.iter().all(|c| c.name != **name)).cloned().collect();
    let retyped = |column: &&Planned| {
        let was = locked.get(&column.name).map(|was| was.data_type.as_str());
        types_are_exact && was.is_some_and(|was| was != sql_type(&column.data_type))
    };
    let others = columns.iter().filter(retyped).map(|c| c.name.clone()).collect();
    let parts = [told(more, "more"), told(fewer, "fewer"), told(others, "of another type")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("not as polder.lock has it: {}", parts.join("; ")))
}

fn told(names: Vec<String>, what: &str) -> Option<String> {
    const SHOWN: usize = 5;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let columns = if names.len() == 1 { "column" } else { "columns" };
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| format!("{} {columns} {what} ({shown}{more})", names.len()))
}
