//! Project folders as text.

use std::collections::BTreeMap;
use std::path::Path;

use polder_diag::{Diagnostic, Sources, render_text};
use polder_project::{Options, Project, load};
use tempfile::TempDir;

/// A folder of files on the disk.
pub struct Folder {
    pub dir: TempDir,
    pub overlay: BTreeMap<String, String>,
    pub environment: Option<String>,
    pub variables: BTreeMap<String, String>,
}

impl Folder {
    /// Writes the files; `polder.yaml` is added where it is not given.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Self { dir, overlay: BTreeMap::new(), environment: None, variables: BTreeMap::new() };
        folder.write("polder.yaml", b"name: shop\n");
        for (path, text) in files {
            folder.write(path, text.as_bytes());
        }
        folder
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn load(&self) -> (Project, Vec<Diagnostic>) {
        let options = Options {
            environment: self.environment.clone(),
            overlay: self.overlay.clone(),
            variables: &|name| self.variables.get(name).cloned(),
        };
        load(self.path(), &options)
    }

    /// The project, which must have no problems.
    pub fn project(&self) -> Project {
        let (project, problems) = self.load();
        assert_eq!(rendered(&problems, &project.files), "");
        project
    }

    /// All problems as a terminal shows them.
    pub fn problems(&self) -> String {
        let (project, problems) = self.load();
        rendered(&problems, &project.files)
    }
}

pub fn rendered(problems: &[Diagnostic], files: &Sources) -> String {
    problems.iter().map(|p| render_text(p, files, false)).collect::<Vec<_>>().join("\n")
}

/// The problems of a project with these files.
pub fn problems(files: &[(&str, &str)]) -> String {
    Folder::new(files).problems()
}

/// The first lines of the problems.
pub fn headlines(files: &[(&str, &str)]) -> Vec<String> {
    Folder::new(files).load().1.iter().map(ToString::to_string).collect()
}
