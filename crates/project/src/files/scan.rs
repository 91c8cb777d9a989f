//! Reading the folder.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polder_diag::{Diagnostic, Sources, Span};

use super::place::{FOLDERS, Kind, LATER, SETTINGS, belongs, folder_meant, has_folders_below, is_of_policies, kind_of};
use crate::codes;

/// A file that people write by hand is smaller than this.
const MAX_BYTES: u64 = 16 << 20;
/// Folders below folders: far beyond what anybody sorts their models into.
const MAX_DEPTH: usize = 32;

/// What was found: texts by path, in the order of the paths.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Files that can be parsed.
    pub(crate) texts: BTreeMap<Arc<str>, (Kind, Arc<str>)>,
    /// Files in a known place that could not be read.
    pub(crate) unreadable: Vec<Arc<str>>,
    /// Everything that a diagnostic may point into.
    pub(crate) sources: Sources,
    /// The text of `.env`.
    pub(crate) dotenv: Option<String>,
}

impl Files {
    /// Takes a file whose text is known, where it is one that is read.
    pub(crate) fn add(&mut self, path: &str, text: &str, problems: &mut Vec<Diagnostic>) {
        let file: Arc<str> = path.into();
        match kind_of(path) {
            Ok(kind) => {
                let text: Arc<str> = text.strip_prefix('\u{feff}').unwrap_or(text).into();
                self.sources.add(Arc::clone(&file), Arc::clone(&text));
                self.unreadable.retain(|f| *f != file);
                self.texts.insert(file, (kind, text));
            }
            Err(Some(hint)) => problems.push(stray(path, &hint)),
            Err(None) => {}
        }
    }
}

/// Something that looks as if it should be read, and is not. Among policies that is a mistake, elsewhere a slip.
fn unread(code: &'static str, path: &str, message: String) -> Diagnostic {
    let diagnostic = match is_of_policies(path) {
        true => Diagnostic::error(code, message),
        false => Diagnostic::warning(code, message),
    };
    diagnostic.at(Span::file(&path.into()), "")
}

fn stray(path: &str, hint: &str) -> Diagnostic {
    unread(codes::STRAY_FILE, path, format!("`{path}` is not read")).hint(hint)
}

/// Puts unsaved texts in the place of what is on the disk.
pub(crate) fn overlay(files: &mut Files, texts: &BTreeMap<String, String>, problems: &mut Vec<Diagnostic>) {
    for (path, text) in texts {
        if path == ".env" {
            files.dotenv = Some(text.clone());
            continue;
        }
        // What the disk has in its place is not the person's text any more.
        problems.retain(|p| p.label.as_ref().is_none_or(|l| *l.span.file != **path));
        files.add(path, text, problems);
    }
}

/// Reads all files in the known places below `root`.
pub(crate) fn scan(root: &Path, problems: &mut Vec<Diagnostic>) -> Files {
    let mut scan = Scan { files: Files::default(), problems, open: Vec::new() };
    let names = match entries(root) {
        Ok(names) => names,
        Err(error) => {
            let message = format!("the project folder {} cannot be read: {}", root.display(), reason(&error));
            scan.problems.push(Diagnostic::error(codes::NO_PROJECT, message));
            return scan.files;
        }
    };
    scan.open.extend(root.canonicalize());
    for name in names {
        scan.top(root, &name);
    }
    scan.files
}

struct Scan<'p> {
    files: Files,
    problems: &'p mut Vec<Diagnostic>,
    /// Real paths of the folders that are being read, outermost first: a link back into one of them is a loop.
    open: Vec<PathBuf>,
}

impl Scan<'_> {
    /// An entry of the root: only known names are entered, for beside them there may lie terabytes of data.
    fn top(&mut self, root: &Path, name: &str) {
        let path = root.join(name);
        match name {
            ".env" => self.dotenv(&path),
            _ if name.starts_with('.') => {}
            _ if FOLDERS.contains(&name) => {
                if path.is_dir() {
                    self.folder(&path, name);
                } else {
                    let message = format!("`{name}` is a file, but should be a folder");
                    let span = Span::file(&name.into());
                    self.problems.push(Diagnostic::error(codes::UNREADABLE, message).at(span, ""));
                }
            }
            _ if path.is_dir() => self.other_folder(&path, name),
            _ => self.file(&path, name),
        }
    }

    fn dotenv(&mut self, path: &Path) {
        match fs::read(path) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => self.files.dotenv = Some(text),
                Err(_) => self.problems.push(Diagnostic::error(codes::ENV_FILE, ".env is not UTF-8 text")),
            },
            Err(error) if error.kind() == io::ErrorKind::IsADirectory || path.is_dir() => {}
            Err(error) => {
                let message = format!(".env cannot be read: {}", reason(&error));
                self.problems.push(Diagnostic::error(codes::ENV_FILE, message));
            }
        }
    }

    fn other_folder(&mut self, path: &Path, name: &str) {
        let later = LATER.contains(&name);
        let Some(kind) = folder_meant(name).or(later.then_some(name)) else { return };
        if !holds_files_of(kind, path) {
            return;
        }
        let (code, hint) = match later {
            true => (codes::UNSUPPORTED, "this version of Polder does not use it".to_owned()),
            false => (codes::STRAY_FILE, format!("did you mean `{kind}/`?")),
        };
        let folder = format!("{name}/");
        self.problems.push(unread(code, &folder, format!("folder `{folder}` is not read")).hint(hint));
    }

    fn folder(&mut self, path: &Path, relative: &str) {
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) => return self.unreadable(relative, &error),
        };
        if self.open.contains(&real) || self.open.len() > MAX_DEPTH {
            let why = match self.open.len() > MAX_DEPTH {
                true => "lies too deep",
                false => "is a link back into a folder above it",
            };
            let folder = format!("{relative}/");
            self.problems.push(unread(codes::UNREADABLE, &folder, format!("`{folder}` {why}, and was skipped")));
            return;
        }
        self.open.push(real);
        match entries_of(path) {
            Ok(Entries { names, unnamed }) => {
                for path in unnamed.iter().map(|name| format!("{relative}/{name}")) {
                    if kind_of(&path) != Err(None) {
                        let message = format!("`{path}` is not read: its name is not UTF-8");
                        self.problems.push(unread(codes::UNREADABLE, &path, message));
                    }
                }
                for name in names.iter().filter(|n| !n.starts_with('.')) {
                    let (path, relative) = (path.join(name), format!("{relative}/{name}"));
                    if path.is_dir() { self.folder(&path, &relative) } else { self.file(&path, &relative) }
                }
            }
            Err(error) => self.unreadable(relative, &error),
        }
        self.open.pop();
    }

    fn file(&mut self, path: &Path, relative: &str) {
        match kind_of(relative) {
            Ok(_) => {}
            Err(Some(hint)) => return self.problems.push(stray(relative, &hint)),
            Err(None) => return,
        }
        match read(path) {
            Ok(bytes) => self.text(relative, bytes),
            Err(error) => self.unreadable(relative, &error),
        }
    }

    fn text(&mut self, relative: &str, bytes: Vec<u8>) {
        let error = match String::from_utf8(bytes) {
            Ok(text) => return self.files.add(relative, &text, self.problems),
            Err(error) => error,
        };
        let at = error.utf8_error().valid_up_to();
        let utf16 = matches!(error.as_bytes(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
        let file = self.files.sources.add(relative, String::from_utf8_lossy(error.as_bytes()));
        self.files.unreadable.push(Arc::clone(&file));
        let diagnostic = Diagnostic::error(codes::UNREADABLE, format!("`{relative}` is not UTF-8 text"));
        let diagnostic = if utf16 {
            diagnostic.at(Span::file(&file), "").hint("it looks like UTF-16: save it as UTF-8")
        } else {
            // The replacement character is three bytes long.
            diagnostic.at(Span::new(&file, at..at + 3), "from here").hint("save it as UTF-8")
        };
        self.problems.push(diagnostic);
    }

    fn unreadable(&mut self, relative: &str, error: &io::Error) {
        let file: Arc<str> = relative.into();
        let message = format!("`{relative}` cannot be read: {}", reason(error));
        self.problems.push(Diagnostic::error(codes::UNREADABLE, message).at(Span::file(&file), ""));
        self.files.unreadable.push(file);
    }
}

/// What is in a folder, in byte order.
#[derive(Default)]
struct Entries {
    names: Vec<String>,
    /// Names that are not UTF-8, as well as they can be shown.
    unnamed: Vec<String>,
}

fn entries_of(path: &Path) -> io::Result<Entries> {
    let mut entries = Entries::default();
    for entry in fs::read_dir(path)? {
        match entry?.file_name().into_string() {
            Ok(name) => entries.names.push(name),
            Err(name) => entries.unnamed.push(name.to_string_lossy().into_owned()),
        }
    }
    entries.names.sort_unstable();
    entries.unnamed.sort_unstable();
    Ok(entries)
}

/// The names in a folder that is not ours alone: one that is not UTF-8 is none of ours.
fn entries(path: &Path) -> io::Result<Vec<String>> {
    entries_of(path).map(|entries| entries.names)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() > MAX_BYTES {
        return Err(io::Error::other(format!("it is greater than {} MB", MAX_BYTES >> 20)));
    }
    fs::read(path)
}

/// An error of the system without its number.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file (or the link leads nowhere)".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        }
    }
}

/// Whether a folder holds what belongs into a folder of this name: directly, or in folders below where files of the kind
/// may lie there. It is none of ours, and may be as great as it likes; the first folders tell.
fn holds_files_of(kind: &str, path: &Path) -> bool {
    const MOST_FOLDERS: usize = 256;
    let mut open = VecDeque::from([path.to_owned()]);
    for _ in 0..MOST_FOLDERS {
        let Some(folder) = open.pop_front() else { break };
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            // A link to a folder is none: it may lead back.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.extend(has_folders_below(kind).then(|| entry.path()));
            } else if belongs(kind, name) {
                return true;
            }
        }
    }
    false
}

/// Whether a folder looks like a project at all.
pub(crate) fn has_settings(files: &Files) -> bool {
    files.texts.contains_key(SETTINGS) || files.unreadable.iter().any(|f| **f == *SETTINGS)
}
