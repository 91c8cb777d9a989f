//! One server for a project: it holds a lock on a file, in which others read where it listens.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};

use serde::{Deserialize, Serialize};

use super::Address;
use crate::{App, AppError, Home, codes};

/// A server that lives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    pub process: u32,
    pub doors: Vec<Address>,
}

/// The lock of the project's server, held until it is dropped.
#[derive(Debug)]
pub(super) struct ServerLock(File);

impl ServerLock {
    /// # Errors
    /// A server of this project lives.
    pub(super) fn take(app: &App) -> Result<Self, AppError> {
        let home = app.home();
        let failed = |e: io::Error| AppError::Environment(format!("locking {}: {e}", home.server_lock().display()));
        let mut file = open(home).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(served_already(&read(&mut file).unwrap_or_default())),
            Err(TryLockError::Error(e)) => Err(failed(e)),
        }
    }

    /// Notes where the server listens.
    pub(super) fn note(&mut self, doors: &[Address]) -> io::Result<()> {
        let served = Served { process: std::process::id(), doors: doors.to_vec() };
        self.0.rewind()?;
        self.0.set_len(0)?;
        self.0.write_all(&serde_json::to_vec(&served)?)?;
        self.0.flush()
    }
}

/// The server of the project of a home; `None`: none lives on this machine.
pub fn served(home: &Home) -> Option<Served> {
    let mut file = OpenOptions::new().read(true).open(home.server_lock()).ok()?;
    match file.try_lock_shared() {
        // Nobody holds it: what stands in it is of a server that is gone.
        Ok(()) => None,
        Err(_) => read(&mut file),
    }
}

fn open(home: &Home) -> io::Result<File> {
    fs::create_dir_all(home.locks())?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(home.server_lock())
}

fn read(file: &mut File) -> Option<Served> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn served_already(by: &Served) -> AppError {
    let process = if by.process == 0 { String::new() } else { format!(", by process {}", by.process) };
    let refused = AppError::refused(codes::SERVED, format!("this project is served already{process}"));
    let hint = |door: &Address| format!("{}: {}", door.door, door.greeting);
    by.doors.iter().fold(refused, |refused, door| refused.hint(hint(door)))
}
