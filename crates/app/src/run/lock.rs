//! Which runs have a living process: each holds a lock on a file, which the operating system takes back however the
//! process ends.
//!
//! A lease alone would do, but whoever killed a run would have to wait until it is over.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use polder_base::RunId;
use polder_catalog::Lease;

/// The lock of one run, held until it is dropped.
#[derive(Debug)]
pub(crate) struct RunLock {
    file: File,
    path: PathBuf,
}

impl RunLock {
    /// Takes the lock of a run; `None`: a living process has it.
    pub(crate) fn take(folder: &Path, run: RunId) -> io::Result<Option<Self>> {
        fs::create_dir_all(folder)?;
        let path = path(folder, run);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        locked(file, path)
    }

    /// Takes the lock that a process has left behind. `None`: it lives, or it gave the lock back, or there never was
    /// one on this machine.
    pub(crate) fn take_left_behind(folder: &Path, run: RunId) -> io::Result<Option<Self>> {
        let path = path(folder, run);
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => locked(file, path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The term of the lease that the last holder had: this one lease is over, for its holder is dead. Leases of others,
    /// such as a process on another machine, have another term.
    pub(crate) fn last_term(&mut self) -> Option<u64> {
        let mut text = String::new();
        self.file.rewind().ok()?;
        self.file.read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    /// Notes whose lease the lock stands for.
    pub(crate) fn note(&mut self, lease: &Lease) -> io::Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        write!(self.file, "{}", lease.term)
    }

    /// Gives the lock back. The lease must be given back before.
    pub(crate) fn give_back(self) {
        // A file that stays is an empty promise: its lock is free, and the term in it is nobody's.
        let _ = fs::remove_file(&self.path);
    }
}

fn path(folder: &Path, run: RunId) -> PathBuf {
    folder.join(format!("run-{run}"))
}

fn locked(file: File, path: PathBuf) -> io::Result<Option<RunLock>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(RunLock { file, path })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use polder_base::Timestamp;

    use super::*;

    #[test]
    fn a_lock_is_free_once_its_holder_is_gone_and_tells_whose_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, run) = (folder.path(), RunId(7));
        assert!(RunLock::take_left_behind(folder, run).unwrap().is_none(), "there never was one");
        let mut held = RunLock::take(folder, run).unwrap().unwrap();
        let lease = Lease { run, holder: 1, term: 42, expires: Timestamp(0) };
        held.note(&lease).unwrap();
        assert!(RunLock::take(folder, run).unwrap().is_none());
        assert!(RunLock::take_left_behind(folder, run).unwrap().is_none());
        drop(held);
        let mut found = RunLock::take_left_behind(folder, run).unwrap().unwrap();
        assert_eq!(found.last_term(), Some(42));
        found.note(&Lease { term: 7, ..lease }).unwrap();
        assert_eq!(found.last_term(), Some(7));
        found.give_back();
        assert!(RunLock::take_left_behind(folder, run).unwrap().is_none());
    }
}
