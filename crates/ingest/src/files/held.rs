//! Whether files are still there as a run has read them that was not published.

use std::path::Path;

use polder_project::{ReadMode, Stream};

use super::{SourceFile, find_files};
use crate::cursor::FileCursor;

/// Whether all that was read of a stream between two cursors lies there unchanged, so that the later one can be gone on
/// from. Rows of a file that was replaced or removed since may have taken the place of others with the same key: only
/// reading again from the earlier cursor brings those back. What a database has changed comes with its cursor.
///
/// `before`: the value of the earlier cursor, if there was one. It blocks: call it on a thread that may wait.
pub fn still_there(project: &Path, stream: &Stream, before: Option<&str>, after: &str) -> bool {
    let ReadMode::Files(files) = &stream.read else { return true };
    let parsed = |text: &str| serde_json::from_str::<FileCursor>(text).ok();
    let Some(after) = parsed(after) else { return false };
    let before = before.and_then(parsed).unwrap_or_default();
    let Ok(found) = find_files(project, files, &stream.span) else { return false };
    stands(&before, &after, &found)
}

fn stands(before: &FileCursor, after: &FileCursor, found: &[SourceFile]) -> bool {
    let mut now = FileCursor::default();
    found.iter().for_each(|file| now.add(file));
    let version = |cursor: &FileCursor, folder: &str, name: &str| cursor.files.get(folder)?.get(name).copied();
    after.files.iter().all(|(folder, files)| {
        files.iter().all(|(name, read)| {
            let known = version(before, folder, name) == Some(*read);
            known || version(&now, folder, name) == Some(*read)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Place;
    use super::*;

    fn file(name: &str, size_bytes: u64) -> SourceFile {
        SourceFile { place: Place::Here(name.into()), name: Arc::from(name), size_bytes, modified_us: 7 }
    }

    #[test]
    fn a_file_that_was_replaced_or_removed_is_not_taken_over() {
        let cursor = |files: &[SourceFile]| FileCursor::of("x".to_owned(), files);
        let before = cursor(&[file("d/a.csv", 1), file("d/gone.csv", 1)]);
        let after = cursor(&[file("d/a.csv", 1), file("d/gone.csv", 1), file("d/b.csv", 2)]);
        let found = [file("d/a.csv", 9), file("d/b.csv", 2), file("d/c.csv", 3)];
        assert!(stands(&before, &after, &found), "only what was read between the two counts");
        assert!(!stands(&before, &after, &[file("d/a.csv", 1), file("d/b.csv", 3)]));
        assert!(!stands(&before, &after, &[file("d/a.csv", 1)]));
    }
}
