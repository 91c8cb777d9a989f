//! Which files a pattern names.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use polder_diag::{Diagnostic, Span};
use polder_project::FileStream;

use super::remote::{self, Remote};
use crate::{IngestError, Result, codes};

/// A file to be read, as it was when it was found.
#[derive(Debug, Clone)]
pub struct SourceFile {
    pub place: Place,
    /// What `_file` says: relative to the project where the file lies in it, with `/`; else its path or its address.
    pub name: Arc<str>,
    pub size_bytes: u64,
    /// When it was changed, in microseconds since the epoch; a hash of the ETag of what has one.
    pub modified_us: i64,
}

/// Where a file is.
#[derive(Debug, Clone)]
pub enum Place {
    Here(PathBuf),
    Remote(Arc<dyn Remote>),
}

impl SourceFile {
    /// It has not a single byte.
    pub fn is_empty(&self) -> bool {
        let unknown = matches!(&self.place, Place::Remote(remote) if remote.is_of_unknown_size());
        self.size_bytes == 0 && !unknown
    }

    /// As an error of reading names it.
    pub fn shown(&self) -> String {
        match &self.place {
            Place::Here(path) => path.display().to_string(),
            Place::Remote(_) => self.name.to_string(),
        }
    }
}

pub(super) const WILDCARDS: [char; 4] = ['*', '?', '[', '{'];

/// The files that a stream names, in the order of their names. Names that begin with a dot are matched only when they
/// are written out. Blocks: for a thread that may wait.
///
/// # Errors
/// `I001` when there is none, with what was perhaps meant.
pub fn find_files(project: &Path, stream: &FileStream, span: &Span) -> Result<Vec<SourceFile>> {
    let pattern = &*stream.pattern;
    if remote::is_remote(pattern) {
        return remote::find(stream, span);
    }
    let absolute = project.join(pattern);
    let files = if pattern.contains(WILDCARDS) && !absolute.is_file() {
        matching(project, &absolute, pattern, span)?
    } else {
        one_file(project, &absolute, pattern, span)?.into_iter().collect()
    };
    if files.is_empty() { Err(no_match(&absolute, pattern, span).into()) } else { Ok(files) }
}

fn one_file(project: &Path, path: &Path, pattern: &str, span: &Span) -> Result<Option<SourceFile>> {
    match std::fs::metadata(path) {
        Ok(m) if m.is_dir() => Err(Diagnostic::error(codes::NO_FILE, format!("`{pattern}` is a folder"))
            .at(span.clone(), "")
            .hint(format!("name the files in it, such as `{}/*.csv`", pattern.trim_end_matches('/')))
            .into()),
        Ok(m) if !m.is_file() => Err(Diagnostic::error(codes::NO_FILE, format!("`{pattern}` is no regular file"))
            .at(span.clone(), "")
            .into()),
        Ok(m) => Ok(Some(source_file(project, path.to_owned(), &m))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(cannot_read(path, &e)),
    }
}

fn cannot_read(path: &Path, error: &std::io::Error) -> IngestError {
    IngestError::permanent(format!("cannot read {}: {error}", path.display()))
}

fn source_file(project: &Path, path: PathBuf, metadata: &std::fs::Metadata) -> SourceFile {
    let modified = metadata.modified().ok().map_or(0, |t| match t.duration_since(UNIX_EPOCH) {
        Ok(d) => i64::try_from(d.as_micros()).unwrap_or(i64::MAX),
        Err(e) => -i64::try_from(e.duration().as_micros()).unwrap_or(i64::MAX),
    });
    let name = display_name(project, &path);
    SourceFile { place: Place::Here(path), name, size_bytes: metadata.len(), modified_us: modified }
}

fn display_name(project: &Path, path: &Path) -> Arc<str> {
    let shown = path.strip_prefix(project).unwrap_or(path);
    let shown: PathBuf = shown.components().filter(|c| *c != Component::CurDir).collect();
    Arc::from(shown.to_string_lossy().replace('\\', "/"))
}

/// The folder that a pattern begins with: all components before the first with a wildcard.
fn fixed_folder(absolute: &Path) -> PathBuf {
    absolute.components().take_while(|c| !c.as_os_str().to_string_lossy().contains(WILDCARDS)).collect()
}

fn matching(project: &Path, absolute: &Path, pattern: &str, span: &Span) -> Result<Vec<SourceFile>> {
    let wrong = |e: globset::Error| {
        Diagnostic::error(codes::NO_FILE, format!("`{pattern}` is not a pattern: {}", e.kind())).at(span.clone(), "")
    };
    let folder = fixed_folder(absolute);
    let below = absolute.strip_prefix(&folder).unwrap_or(absolute).to_string_lossy().into_owned();
    let glob = globset::GlobBuilder::new(&below).literal_separator(true).build().map_err(wrong)?.compile_matcher();
    let mut found = BTreeMap::new();
    walk(&folder, &mut |path| {
        if glob.is_match(path.strip_prefix(&folder).unwrap_or(path))
            && let Some(metadata) = metadata_of(path)?
        {
            found.insert(path.to_owned(), source_file(project, path.to_owned(), &metadata));
        }
        Ok(())
    })?;
    Ok(found.into_values().collect())
}

/// What there is to know of a file that a pattern names; `None`: it is none, or gone since its folder was read.
fn metadata_of(path: &Path) -> Result<Option<std::fs::Metadata>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata).filter(std::fs::Metadata::is_file)),
        // Somebody put it there to be read.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && path.is_symlink() => {
            Err(IngestError::permanent(format!("cannot read {}: the link leads nowhere", path.display())))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(cannot_read(path, &e)),
    }
}

/// Calls `visit` for whatever is no folder below `folder`. Links to folders are not followed: they could lead back.
fn walk(folder: &Path, visit: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(cannot_read(folder, &e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| cannot_read(folder, &e))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let (path, kind) = (entry.path(), entry.file_type().map_err(|e| cannot_read(folder, &e))?);
        if kind.is_dir() {
            walk(&path, visit)?;
        } else {
            visit(&path)?;
        }
    }
    Ok(())
}

fn no_match(absolute: &Path, pattern: &str, span: &Span) -> Diagnostic {
    let diagnostic = Diagnostic::error(codes::NO_FILE, format!("no file matches `{pattern}`")).at(span.clone(), "");
    match what_was_meant(absolute) {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}

/// Looks in the deepest folder of the path that exists, for the next component's nearest name.
fn what_was_meant(absolute: &Path) -> Option<String> {
    let mut folder = PathBuf::new();
    let mut components = absolute.components().peekable();
    while let Some(next) = components.peek() {
        if !folder.join(next).is_dir() {
            break;
        }
        folder.push(next);
        components.next();
    }
    let wanted = components.next()?.as_os_str().to_string_lossy().into_owned();
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).ok()?.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|n| !n.starts_with('.'));
    names.sort();
    if names.is_empty() {
        return Some(format!("{} is empty", folder.display()));
    }
    if let Some(near) = polder_base::nearest(&wanted, names.iter().map(String::as_str)) {
        return Some(format!("did you mean `{near}`? It is in {}", folder.display()));
    }
    let more = if names.len() > 5 { ", …" } else { "" };
    names.truncate(5);
    Some(format!("in {} there are: {}{more}", folder.display(), names.join(", ")))
}
