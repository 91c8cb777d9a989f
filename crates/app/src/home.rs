//! The folder of state and warehouse, `.polder/`.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use polder_catalog::MAIN;

use crate::AppError;

/// The folder that holds what the project does not: state, warehouse, the ref that is looked at.
#[derive(Debug, Clone)]
pub struct Home {
    folder: PathBuf,
}

impl Home {
    /// Opens the folder, making it where it is missing.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, AppError> {
        let failed = |e: std::io::Error| AppError::Environment(format!("opening {}: {e}", folder.display()));
        let fresh = !folder.exists();
        fs::create_dir_all(&folder).map_err(failed)?;
        if fresh {
            protect(&folder).map_err(failed)?;
        }
        hide_from_git(&folder);
        Ok(Self { folder })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state.db")
    }

    pub(crate) fn warehouse(&self) -> PathBuf {
        self.folder.join("warehouse")
    }

    /// Where the prompt keeps its history.
    pub fn history(&self) -> PathBuf {
        self.folder.join("history")
    }

    /// The locks of runs that a process works on.
    pub(crate) fn locks(&self) -> PathBuf {
        self.folder.join("locks")
    }

    /// The lock of the server, in which it says where it listens.
    pub(crate) fn server_lock(&self) -> PathBuf {
        self.locks().join("server")
    }

    /// This process's folder for spill files; those of dead processes are removed.
    pub(crate) fn spill_folder(&self) -> Result<PathBuf, AppError> {
        let all = self.folder.join("tmp");
        let own = all.join(std::process::id().to_string());
        for entry in fs::read_dir(&all).into_iter().flatten().flatten() {
            let owner = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            if owner.is_none_or(|pid| !is_alive(pid)) {
                // Left by a process that died; another may be removing it at the same time.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        fs::create_dir_all(&own).map_err(|e| AppError::Environment(format!("making {}: {e}", own.display())))?;
        Ok(own)
    }

    /// The ref that this checkout looks at and publishes to.
    pub(crate) fn current_ref(&self) -> Result<String, AppError> {
        match fs::read_to_string(self.folder.join("HEAD")) {
            Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            Ok(_) => Ok(MAIN.to_owned()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(MAIN.to_owned()),
            Err(e) => Err(AppError::Environment(format!("reading {}: {e}", self.folder.join("HEAD").display()))),
        }
    }

    pub(crate) fn set_current_ref(&self, name: &str) -> Result<(), AppError> {
        let path = self.folder.join("HEAD");
        let write = || {
            let fresh = self.folder.join("HEAD.new");
            let mut file = fs::File::create(&fresh)?;
            writeln!(file, "{name}")?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        write().map_err(|e| AppError::Environment(format!("writing {}: {e}", path.display())))
    }
}

/// Keeps git's hands off: the folder ignores itself, and looks like a repository of its own, which `git clean -fdx`
/// leaves alone.
fn protect(folder: &Path) -> std::io::Result<()> {
    fs::write(folder.join(".gitignore"), "# State and data of Polder: not for git.\n*\n")?;
    let git = folder.join(".git");
    fs::create_dir_all(git.join("objects"))?;
    fs::create_dir_all(git.join("refs"))?;
    fs::write(git.join("HEAD"), "ref: refs/heads/kept-from-git-clean\n")
}

/// Tells the git repository around the folder, if there is one, not to look at it: in its own list of exclusions, which
/// is no file of the project. Where that cannot be written, `git status` shows the folder, and nothing else happens.
fn hide_from_git(folder: &Path) {
    let Ok(folder) = folder.canonicalize() else { return };
    let Some(root) = folder.ancestors().skip(1).find(|a| a.join(".git").is_dir()) else { return };
    let Ok(relative) = folder.strip_prefix(root) else { return };
    let line = format!("/{}/", relative.to_string_lossy());
    let exclude = root.join(".git/info/exclude");
    let known = fs::read_to_string(&exclude).unwrap_or_default();
    if known.lines().any(|l| l.trim() == line) {
        return;
    }
    let write = || {
        fs::create_dir_all(root.join(".git/info"))?;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&exclude)?;
        let gap = if known.is_empty() || known.ends_with('\n') { "" } else { "\n" };
        writeln!(file, "{gap}# State and data of Polder.\n{line}")
    };
    if let Err(error) = write() {
        tracing::debug!(%error, file = %exclude.display(), "git was not told to leave the folder alone");
    }
}

#[cfg(target_os = "linux")]
fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Without a cheap way to know, what is there is left alone.
#[cfg(not(target_os = "linux"))]
fn is_alive(_pid: u32) -> bool {
    true
}
