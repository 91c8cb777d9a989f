//! `polder.lock`: what sources had when they were last asked.
//!
//! A run never writes it: what is in git changes when somebody wants it to, and a server that runs at night would leave
//! changes behind that nobody made. A run that meets something else says so.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use futures::{StreamExt, stream};
use polder_base::{TableName, nearest};
use polder_ingest::IngestError;
use polder_project::{Drift, LOCK, Lock, LockedTable, Project};

use crate::app::Loaded;
use crate::{AppError, Problems, codes};

/// Streams that are asked at once.
const AT_ONCE: usize = 4;

/// What sources have now, beside what `polder.lock` has.
#[derive(Debug)]
pub struct Looked {
    /// The lock as it should be: of sources that could not be asked, what it has.
    pub lock: Lock,
    /// What differs from the file.
    pub drift: Vec<Drift>,
    /// Tables of which nothing could be found out.
    pub failed: Vec<(TableName, AppError)>,
}

/// Asks the sources of a project what they have: the named ones, or all.
///
/// # Errors
/// Mistakes in the project, a source that it does not have.
pub async fn look(project: &Path, environment: Option<&str>, names: &[String]) -> Result<Looked, AppError> {
    let loaded = Loaded::read(project, environment.map(str::to_owned), BTreeMap::new());
    let declared = loaded.valid()?;
    for name in names {
        if !declared.sources.iter().any(|source| source.name == *name) {
            return Err(unknown_source(name, declared));
        }
    }
    let (found, failed) =
        ask(project, declared, |source| names.is_empty() || names.iter().any(|name| name == source)).await;
    let before = &declared.lock;
    // What no source fills any more goes, where all were asked.
    let is_filled = |table: &TableName| declared.sources.iter().flat_map(|s| &s.streams).any(|s| s.table == *table);
    let kept = before.tables.iter().filter(|(table, _)| !names.is_empty() || is_filled(table));
    let mut lock = Lock { tables: kept.map(|(name, table)| (name.clone(), table.clone())).collect() };
    lock.tables.extend(found);
    Ok(Looked { drift: lock.drift(before), lock, failed })
}

/// What the streams of some sources have.
pub(crate) async fn ask(
    folder: &Path,
    project: &Project,
    is_asked: impl Fn(&str) -> bool,
) -> (BTreeMap<TableName, LockedTable>, Vec<(TableName, AppError)>) {
    let sources = project.sources.iter().filter(|source| is_asked(&source.name));
    let streams = sources.flat_map(|source| source.streams.iter().map(move |stream| (source, stream)));
    let asked = streams.map(|(source, stream)| async move {
        let result = polder_ingest::look(folder, source, stream).await;
        (stream.table.clone(), result.map_err(|error| told(error, project)))
    });
    let answers: Vec<_> = stream::iter(asked.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await;
    let (mut found, mut failed) = (BTreeMap::new(), Vec::new());
    for (table, answer) in answers {
        match answer {
            Ok(locked) => drop(found.insert(table, locked)),
            Err(error) => failed.push((table, error)),
        }
    }
    (found, failed)
}

/// A problem of a source as one of the project's files.
pub(crate) fn told(error: IngestError, project: &Project) -> AppError {
    match error {
        IngestError::Data(diagnostic) | IngestError::Refused(diagnostic) => {
            let sources = project.files.clone();
            AppError::Project(Box::new(Problems { diagnostics: vec![*diagnostic], sources }))
        }
        IngestError::Lake(error) => error.into(),
        IngestError::Cancelled => AppError::Cancelled,
        IngestError::Defect(message) => AppError::Defect(message),
        other => AppError::Environment(other.to_string()),
    }
}

fn unknown_source(name: &str, project: &Project) -> AppError {
    let refused = AppError::refused(codes::UNKNOWN_SOURCE, format!("no source is called `{name}`"));
    match nearest(name, project.sources.iter().map(|source| source.name.as_str())) {
        Some(near) => refused.hint(format!("did you mean `{near}`?")),
        None => refused.hint("a source has the name of its file below `sources/`"),
    }
}

/// Writes the lock into the project: whole, or not at all.
///
/// # Errors
/// The disk.
pub fn write_lock(project: &Path, lock: &Lock) -> Result<(), AppError> {
    let path = project.join(LOCK);
    let write = || {
        let fresh = project.join(format!(".{LOCK}.new"));
        let mut file = std::fs::File::create(&fresh)?;
        file.write_all(lock.text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, &path)
    };
    write().map_err(|e: std::io::Error| AppError::Environment(format!("writing {}: {e}", path.display())))
}
