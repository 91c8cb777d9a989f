//! How far a stream of files has been read: which files, as they were then.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::files::SourceFile;

/// The value of a cursor of files. Kept readable, and short for many files: names are grouped by folder, times are
/// whole microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileCursor {
    pub version: u32,
    /// How the files were read: delimiter, declared types, …. Another way of reading makes a replaced table new.
    pub options: String,
    /// Folder → file → (size in bytes, modification time in microseconds since the epoch; a hash of the ETag of
    /// what has one).
    pub files: BTreeMap<String, BTreeMap<String, (u64, i64)>>,
}

pub const VERSION: u32 = 1;

/// What has changed since the cursor was written.
#[derive(Debug, Default)]
pub struct News {
    pub new: Vec<SourceFile>,
    /// Seen before with another size or time.
    pub rewritten: Vec<SourceFile>,
}

impl FileCursor {
    pub fn new(options: String) -> Self {
        Self { version: VERSION, options, files: BTreeMap::new() }
    }

    pub fn add(&mut self, file: &SourceFile) {
        let (folder, name) = split(&file.name);
        let version = (file.size_bytes, file.modified_us);
        self.files.entry(folder.to_owned()).or_default().insert(name.to_owned(), version);
    }

    fn get(&self, file: &SourceFile) -> Option<(u64, i64)> {
        let (folder, name) = split(&file.name);
        self.files.get(folder)?.get(name).copied()
    }

    /// The size that a file had when it was read; `None`: it was not.
    pub fn size_bytes(&self, file: &SourceFile) -> Option<u64> {
        self.get(file).map(|(size_bytes, _)| size_bytes)
    }

    pub fn news(&self, files: Vec<SourceFile>) -> News {
        let mut news = News::default();
        for file in files {
            match self.get(&file) {
                Some(version) if version == (file.size_bytes, file.modified_us) => {}
                Some(_) => news.rewritten.push(file),
                None => news.new.push(file),
            }
        }
        news
    }

    pub fn of(options: String, files: &[SourceFile]) -> Self {
        let mut cursor = Self::new(options);
        files.iter().for_each(|f| cursor.add(f));
        cursor
    }
}

fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Place;
    use std::sync::Arc;

    fn file(name: &str, size_bytes: u64) -> SourceFile {
        SourceFile { place: Place::Here(name.into()), name: Arc::from(name), size_bytes, modified_us: 7 }
    }

    #[test]
    fn new_and_rewritten_files_are_told_apart() {
        let cursor = FileCursor::of("x".to_owned(), &[file("a/1.csv", 1), file("2.csv", 2)]);
        let text = serde_json::to_string(&cursor).unwrap();
        assert_eq!(text, r#"{"version":1,"options":"x","files":{"":{"2.csv":[2,7]},"a":{"1.csv":[1,7]}}}"#);
        let cursor: FileCursor = serde_json::from_str(&text).unwrap();
        let news = cursor.news(vec![file("a/1.csv", 1), file("2.csv", 3), file("a/2.csv", 2)]);
        let names = |files: &[SourceFile]| files.iter().map(|f| f.name.to_string()).collect::<Vec<_>>();
        assert_eq!((names(&news.new), names(&news.rewritten)), (vec!["a/2.csv".into()], vec!["2.csv".into()]));
    }
}
