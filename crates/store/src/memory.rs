//! State and warehouse in memory: deterministic and without threads, for simulations and tests.
//!
//! Both are handles: a clone sees the same records and files, so that a test can drop everything that used them and
//! start "the process" again.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use polder_base::Timestamp;
use polder_system::System;

use crate::warehouse::{check_path, check_range, folder_prefix};
use crate::{Batch, Key, ObjectInfo, Outcome, Result, Space, State, Storage, StoreError, Upload, Write};

type Records = BTreeMap<(Space, Key), Bytes>;

/// A state store in memory.
#[derive(Clone, Default)]
pub struct MemoryState {
    records: Arc<Mutex<Records>>,
}

impl MemoryState {
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for MemoryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryState").field("records", &self.records.lock().len()).finish()
    }
}

#[async_trait::async_trait]
impl State for MemoryState {
    async fn get(&self, space: Space, key: &str) -> Result<Option<Bytes>> {
        Ok(self.records.lock().get(&(space, key.to_owned())).cloned())
    }

    async fn scan(&self, space: Space, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(Key, Bytes)>> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded((space, after.to_owned())),
            _ => Bound::Included((space, prefix.to_owned())),
        };
        let records = self.records.lock();
        let found = records.range((start, Bound::Unbounded));
        Ok(found
            .take_while(|((s, key), _)| *s == space && key.starts_with(prefix))
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    async fn apply(&self, batch: Batch) -> Result<Outcome> {
        let mut records = self.records.lock();
        for (index, expect) in batch.expects.iter().enumerate() {
            let found = records.get(&(expect.space, expect.key.clone()));
            if found != expect.value.as_ref() {
                return Ok(Outcome::Refused { expect: index, found: found.cloned() });
            }
        }
        for write in batch.writes {
            match write {
                Write::Put { space, key, value } => records.insert((space, key), value),
                Write::Delete { space, key } => records.remove(&(space, key)),
            };
        }
        Ok(Outcome::Applied)
    }
}

#[derive(Debug, Clone)]
struct MemoryFile {
    bytes: Bytes,
    modified: Timestamp,
}

type Files = BTreeMap<String, MemoryFile>;

/// A warehouse in memory. Times of modification come from the system that it was made with.
#[derive(Clone)]
pub struct MemoryStorage {
    files: Arc<Mutex<Files>>,
    system: Arc<dyn System>,
}

impl MemoryStorage {
    pub fn new(system: Arc<dyn System>) -> Self {
        Self { files: Arc::default(), system }
    }

    fn insert(&self, path: &str, bytes: Bytes) -> Result<ObjectInfo> {
        let modified = self.system.now();
        let mut files = self.files.lock();
        if files.contains_key(path) {
            return Err(StoreError::Exists { path: path.to_owned() });
        }
        let info = ObjectInfo { path: path.to_owned(), size_bytes: bytes.len() as u64, modified };
        files.insert(path.to_owned(), MemoryFile { bytes, modified });
        Ok(info)
    }

    fn file(&self, path: &str) -> Result<MemoryFile> {
        check_path(path)?;
        self.files.lock().get(path).cloned().ok_or_else(|| StoreError::NotFound { path: path.to_owned() })
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").field("files", &self.files.lock().len()).finish()
    }
}

#[async_trait::async_trait]
impl Storage for MemoryStorage {
    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        check_path(path)?;
        self.insert(path, bytes).map(drop)
    }

    async fn get(&self, path: &str) -> Result<Bytes> {
        Ok(self.file(path)?.bytes)
    }

    async fn get_range(&self, path: &str, start: u64, end: u64) -> Result<Bytes> {
        let bytes = self.file(path)?.bytes;
        let range = check_range(path, start, end, bytes.len() as u64)?;
        Ok(bytes.slice(range))
    }

    async fn head(&self, path: &str) -> Result<ObjectInfo> {
        let file = self.file(path)?;
        Ok(ObjectInfo { path: path.to_owned(), size_bytes: file.bytes.len() as u64, modified: file.modified })
    }

    async fn delete(&self, path: &str) -> Result<()> {
        check_path(path)?;
        self.files.lock().remove(path);
        Ok(())
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>> {
        let prefix = folder_prefix(folder)?;
        let files = self.files.lock();
        Ok(files
            .range(prefix.clone()..)
            .take_while(|(path, _)| path.starts_with(&prefix))
            .map(|(path, file)| ObjectInfo {
                path: path.clone(),
                size_bytes: file.bytes.len() as u64,
                modified: file.modified,
            })
            .collect())
    }

    async fn upload(&self, path: &str) -> Result<Box<dyn Upload>> {
        check_path(path)?;
        Ok(Box::new(MemoryUpload { storage: self.clone(), path: path.to_owned(), bytes: BytesMut::new() }))
    }
}

#[derive(Debug)]
struct MemoryUpload {
    storage: MemoryStorage,
    path: String,
    bytes: BytesMut,
}

#[async_trait::async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<ObjectInfo> {
        let Self { storage, path, bytes } = *self;
        storage.insert(&path, bytes.freeze())
    }
}
