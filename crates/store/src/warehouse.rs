//! The warehouse: files below one root.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{OBJECT_STORE_COALESCE_DEFAULT, coalesce_ranges};
use polder_base::Timestamp;

use crate::{Result, StoreError};

/// A file of the warehouse. Paths are relative to its root, with `/` between parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    pub path: String,
    pub size_bytes: u64,
    pub modified: Timestamp,
}

/// Files that are written once and never changed.
#[async_trait::async_trait]
pub trait Storage: Debug + Send + Sync {
    /// Writes a whole file, which must not exist (`StoreError::Exists`). It survives a crash of the machine when this
    /// returns, and nobody ever sees a part of it.
    async fn put(&self, path: &str, bytes: Bytes) -> Result<()>;

    async fn get(&self, path: &str) -> Result<Bytes>;

    /// The bytes from `start` up to, but not including, `end`. A file shorter than that is damaged
    /// (`StoreError::Corrupt`): whoever asks knows from elsewhere how long it must be.
    async fn get_range(&self, path: &str, start: u64, end: u64) -> Result<Bytes>;

    /// Several parts of a file, in the order in which they are asked for; else as [`Storage::get_range`]. What lies close
    /// together is asked for at once, with what is between: a request to far away takes longer than a megabyte more.
    async fn get_ranges(&self, path: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let get = |range: Range<u64>| self.get_range(path, range.start, range.end);
        coalesce_ranges(ranges, get, OBJECT_STORE_COALESCE_DEFAULT).await
    }

    async fn head(&self, path: &str) -> Result<ObjectInfo>;

    /// Deletes a file; one that does not exist is deleted already.
    async fn delete(&self, path: &str) -> Result<()>;

    /// All files below a folder, at any depth, in no particular order; none where there is no such folder. The empty
    /// name is the root.
    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>>;

    /// Starts a file too large to hold in memory. That it exists already shows at the end.
    async fn upload(&self, path: &str) -> Result<Box<dyn Upload>>;
}

/// A file being written. Dropped before `finish`, it never existed.
#[async_trait::async_trait]
pub trait Upload: Debug + Send {
    async fn write(&mut self, bytes: Bytes) -> Result<()>;
    /// Makes the file durable and visible.
    async fn finish(self: Box<Self>) -> Result<ObjectInfo>;
}

/// A storage and the URL of its root: what turns the paths of storage into the absolute locations of Iceberg.
#[derive(Debug, Clone)]
pub struct Warehouse {
    storage: Arc<dyn Storage>,
    root: String,
}

impl Warehouse {
    /// `root` is a URL such as `file:///srv/shop/.polder/warehouse`, with or without a slash at the end.
    pub fn new(storage: Arc<dyn Storage>, root: &str) -> Self {
        Self { storage, root: root.trim_end_matches('/').to_owned() }
    }

    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub fn root(&self) -> &str {
        &self.root
    }

    /// `silver/orders/data/x.parquet` → `file:///…/silver/orders/data/x.parquet`.
    pub fn location(&self, path: &str) -> String {
        format!("{}/{path}", self.root)
    }

    /// The path of an absolute location.
    ///
    /// # Errors
    /// A location outside this warehouse.
    pub fn path<'a>(&self, location: &'a str) -> Result<&'a str> {
        location.strip_prefix(&self.root).and_then(|rest| rest.strip_prefix('/')).ok_or_else(|| StoreError::Corrupt {
            path: location.to_owned(),
            detail: format!("it lies outside the warehouse {}", self.root),
        })
    }
}

/// Refuses a path that is not a plain relative one: nothing may reach outside the root.
pub(crate) fn check_path(path: &str) -> Result<()> {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\0', '\\']);
    if path.split('/').all(plain) {
        return Ok(());
    }
    Err(StoreError::Io {
        doing: "using the warehouse".to_owned(),
        detail: format!("{path:?} is not a path below its root"),
        transient: false,
    })
}

/// What the paths of a folder's files begin with.
pub(crate) fn folder_prefix(folder: &str) -> Result<String> {
    let folder = folder.trim_end_matches('/');
    if folder.is_empty() {
        return Ok(String::new());
    }
    check_path(folder)?;
    Ok(format!("{folder}/"))
}

/// The range that was asked for, if the file has it.
pub(crate) fn check_range(path: &str, start: u64, end: u64, size_bytes: u64) -> Result<Range<usize>> {
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(from), Ok(to)) if from <= to && end <= size_bytes => Ok(from..to),
        _ => Err(StoreError::Corrupt {
            path: path.to_owned(),
            detail: format!("it has {size_bytes} bytes, and bytes {start} to {end} were asked for"),
        }),
    }
}
