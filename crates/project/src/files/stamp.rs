//! Whether files have changed, without reading them.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::place::FOLDERS;

/// A number that is another one once a file of the project below `root` came, went, or was written.
///
/// It tells by names, sizes and times of modification, of what [`crate::load`] would read.
pub fn stamp(root: &Path) -> u64 {
    let mut stamp = Stamp { hasher: DefaultHasher::new(), seen: HashSet::new() };
    for (name, path) in entries(root) {
        if FOLDERS.contains(&name.as_str()) {
            stamp.folder(&path);
        } else if is_of_root(&name) && path.is_file() {
            stamp.file(&path);
        }
    }
    stamp.hasher.finish()
}

/// Files beside the known folders that are read, or told of; what else lies there is not the project's.
fn is_of_root(name: &str) -> bool {
    matches!(name, ".env" | "polder.lock") || [".yaml", ".yml", ".sql"].iter().any(|ending| name.ends_with(ending))
}

struct Stamp {
    hasher: DefaultHasher,
    /// Folders that were entered: a link may lead back into one.
    seen: HashSet<PathBuf>,
}

impl Stamp {
    fn folder(&mut self, folder: &Path) {
        if !folder.canonicalize().is_ok_and(|real| self.seen.insert(real)) {
            return;
        }
        for (_, path) in entries(folder) {
            if path.is_dir() { self.folder(&path) } else { self.file(&path) }
        }
    }

    fn file(&mut self, path: &Path) {
        path.hash(&mut self.hasher);
        let Ok(metadata) = path.metadata() else { return };
        metadata.len().hash(&mut self.hasher);
        let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        modified.hash(&mut self.hasher);
    }
}

/// The entries of a folder in the order of their names; none of one that cannot be read.
fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries: Vec<(String, PathBuf)> =
        found.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect();
    entries.sort();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_changes_the_stamp_and_what_is_not_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("polder.yaml", "name: shop\n");
        write("models/gold/daily.sql", "select 1");
        let first = stamp(root);
        assert_eq!(stamp(root), first);
        write("models/gold/daily.sql", "select 1 as one");
        let second = stamp(root);
        assert_ne!(second, first);
        write("data/orders.csv", "a\n1\n");
        write("notes.txt", "buy milk");
        assert_eq!(stamp(root), second, "files beside the known folders are data");
        write(".env", "A=1\n");
        let third = stamp(root);
        assert_ne!(third, second);
        fs::remove_file(root.join("models/gold/daily.sql")).unwrap();
        assert_ne!(stamp(root), third);
        std::os::unix::fs::symlink(root.join("models"), root.join("models/again")).unwrap();
        stamp(root);
    }
}
