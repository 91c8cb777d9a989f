//! A warehouse on a local disk.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use polder_base::Timestamp;
use tempfile::NamedTempFile;

use crate::warehouse::{check_path, check_range, folder_prefix};
use crate::{ObjectInfo, Result, Storage, StoreError, Upload};

/// Where files are while they are written. In the warehouse itself, so that the last step is a rename.
const TEMPORARY: &str = "_polder/tmp";

/// A temporary file that nobody has written to for this long was left by a process that died.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);

/// A warehouse in a folder.
///
/// A file is written under a temporary name, flushed, and then renamed without replacing anything; then its folder is
/// flushed. So a file is there as a whole or not at all, and what is there survives a crash of the machine.
#[derive(Debug, Clone)]
pub struct LocalDisk {
    root: Arc<Path>,
}

impl LocalDisk {
    /// Opens a warehouse, making the folder where it is missing, and removes temporary files that a dead process left.
    ///
    /// # Errors
    /// A folder that cannot be made or written to.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let failed = |e| io_error("opening the warehouse", &root.display().to_string(), &e);
        make_folder(root).map_err(failed)?;
        let root = root.canonicalize().map_err(failed)?;
        let disk = Self { root: root.as_path().into() };
        make_folder(&disk.temporary()).map_err(failed)?;
        disk.remove_leftovers().map_err(failed)?;
        Ok(disk)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The root as Iceberg's locations begin: `file:///srv/shop/.polder/warehouse`. Nothing is escaped, because readers
    /// of Iceberg take what follows `file://` as it is.
    pub fn root_url(&self) -> String {
        format!("file://{}", self.root.display())
    }

    fn temporary(&self) -> PathBuf {
        self.root.join(TEMPORARY)
    }

    fn remove_leftovers(&self) -> std::io::Result<()> {
        let now = SystemTime::now();
        for entry in fs::read_dir(self.temporary())? {
            let entry = entry?;
            let old = entry
                .metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|modified| now.duration_since(modified).is_ok_and(|age| age > LEFTOVER_AGE));
            if old {
                // Another process may open the warehouse at the same time.
                match fs::remove_file(entry.path()) {
                    Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn file_path(&self, path: &str) -> Result<PathBuf> {
        check_path(path)?;
        Ok(self.root.join(path))
    }

    fn begin(&self) -> std::io::Result<NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("").suffix(".tmp");
        // Not only the user who wrote a table reads it: leave the permissions to the umask.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        builder.tempfile_in(self.temporary())
    }

    /// Flushes a temporary file and gives it its name, durably.
    fn finish(&self, file: NamedTempFile, path: &str) -> Result<ObjectInfo> {
        let target = self.file_path(path)?;
        let failed = |e| io_error("writing", path, &e);
        file.as_file().sync_all().map_err(failed)?;
        let folder = target.parent().unwrap_or(&self.root);
        make_folder(folder).map_err(failed)?;
        let file = file.persist_noclobber(&target).map_err(|e| failed(e.error))?;
        sync_folder(folder).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        Ok(object_info(path.to_owned(), &metadata))
    }

    fn put_blocking(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let target = self.file_path(path)?;
        if target.exists() {
            return Err(StoreError::Exists { path: path.to_owned() });
        }
        let write = || {
            let mut file = self.begin()?;
            file.write_all(bytes)?;
            Ok(file)
        };
        let file = write().map_err(|e| io_error("writing", path, &e))?;
        self.finish(file, path).map(drop)
    }

    fn ranges_blocking(&self, path: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let failed = |e| io_error("reading", path, &e);
        let mut file = File::open(self.file_path(path)?).map_err(failed)?;
        let size_bytes = file.metadata().map_err(failed)?.len();
        let mut read = |range: &Range<u64>| {
            let mut bytes = vec![0; check_range(path, range.start, range.end, size_bytes)?.len()];
            file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
            file.read_exact(&mut bytes).map_err(failed)?;
            Ok(Bytes::from(bytes))
        };
        ranges.iter().map(&mut read).collect()
    }

    fn list_blocking(&self, folder: &str) -> Result<Vec<ObjectInfo>> {
        let prefix = folder_prefix(folder)?;
        let mut found = Vec::new();
        let mut folders = vec![prefix];
        while let Some(prefix) = folders.pop() {
            if prefix.strip_suffix('/') == Some(TEMPORARY) {
                continue;
            }
            self.list_folder(&prefix, &mut folders, &mut found).map_err(|e| io_error("listing", folder, &e))?;
        }
        Ok(found)
    }

    /// Files and folders may vanish while they are listed: they are left out then.
    fn list_folder(&self, prefix: &str, folders: &mut Vec<String>, found: &mut Vec<ObjectInfo>) -> std::io::Result<()> {
        let entries = match fs::read_dir(self.root.join(prefix)) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            // Polder's own names are all UTF-8: whatever is not was put there by somebody else.
            let Some(path) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else { continue };
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(path + "/"),
                Ok(metadata) => found.push(object_info(path, &metadata)),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Storage for LocalDisk {
    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        let (disk, path) = (self.clone(), path.to_owned());
        blocking(move || disk.put_blocking(&path, &bytes)).await
    }

    async fn get(&self, path: &str) -> Result<Bytes> {
        let (file, path) = (self.file_path(path)?, path.to_owned());
        blocking(move || fs::read(file).map(Bytes::from).map_err(|e| io_error("reading", &path, &e))).await
    }

    async fn get_range(&self, path: &str, start: u64, end: u64) -> Result<Bytes> {
        let parts = self.get_ranges(path, std::slice::from_ref(&(start..end))).await?;
        Ok(parts.into_iter().next().unwrap_or_default())
    }

    /// All in one visit to the disk's threads, and nothing of what lies between: here the way is short.
    async fn get_ranges(&self, path: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (disk, path, ranges) = (self.clone(), path.to_owned(), ranges.to_vec());
        blocking(move || disk.ranges_blocking(&path, &ranges)).await
    }

    async fn head(&self, path: &str) -> Result<ObjectInfo> {
        let (file, path) = (self.file_path(path)?, path.to_owned());
        blocking(move || match fs::metadata(file) {
            Ok(metadata) if metadata.is_dir() => Err(StoreError::NotFound { path }),
            Ok(metadata) => Ok(object_info(path, &metadata)),
            Err(e) => Err(io_error("reading", &path, &e)),
        })
        .await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let (file, path) = (self.file_path(path)?, path.to_owned());
        blocking(move || match fs::remove_file(file) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(io_error("deleting", &path, &e)),
            _ => Ok(()),
        })
        .await
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>> {
        let (disk, folder) = (self.clone(), folder.to_owned());
        blocking(move || disk.list_blocking(&folder)).await
    }

    async fn upload(&self, path: &str) -> Result<Box<dyn Upload>> {
        self.file_path(path)?;
        let (disk, path) = (self.clone(), path.to_owned());
        blocking(move || {
            let file = disk.begin().map_err(|e| io_error("writing", &path, &e))?;
            Ok(Box::new(DiskUpload { disk, path, file: Some(file) }) as Box<dyn Upload>)
        })
        .await
    }
}

#[derive(Debug)]
struct DiskUpload {
    disk: LocalDisk,
    path: String,
    /// Away while a thread writes to it. A write that failed or was dropped half way does not bring it back, and the
    /// temporary file goes with it.
    file: Option<NamedTempFile>,
}

impl DiskUpload {
    fn take(&mut self) -> Result<NamedTempFile> {
        self.file.take().ok_or_else(|| StoreError::Io {
            doing: format!("writing {}", self.path),
            detail: "an earlier write of this file failed".to_owned(),
            transient: false,
        })
    }
}

#[async_trait::async_trait]
impl Upload for DiskUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut file = self.take()?;
        let path = self.path.clone();
        let write = move || file.write_all(&bytes).map(|()| file).map_err(|e| io_error("writing", &path, &e));
        self.file = Some(blocking(write).await?);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<ObjectInfo> {
        let file = self.take()?;
        blocking(move || self.disk.finish(file, &self.path)).await
    }
}

/// Runs what waits for a disk where it keeps no other task waiting.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(_) => Err(StoreError::Io {
            doing: "using the warehouse".to_owned(),
            detail: "the process is shutting down".to_owned(),
            transient: false,
        }),
    }
}

/// Makes a folder and those above it, and flushes the folders that got a new entry: a file is only as durable as the
/// way to it.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new(""));
    make_folder(parent)?;
    match fs::create_dir(folder) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(e) => Err(e),
        Ok(()) => sync_folder(parent),
    }
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

fn object_info(path: String, metadata: &fs::Metadata) -> ObjectInfo {
    let since_epoch = metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    ObjectInfo { path, size_bytes: metadata.len(), modified: Timestamp(0) + since_epoch }
}

fn io_error(doing: &str, path: &str, e: &std::io::Error) -> StoreError {
    let path = path.to_owned();
    match e.kind() {
        ErrorKind::NotFound => StoreError::NotFound { path },
        ErrorKind::AlreadyExists => StoreError::Exists { path },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::NoSpace { path },
        kind => StoreError::Io {
            doing: format!("{doing} {path}"),
            detail: e.to_string(),
            transient: matches!(
                kind,
                ErrorKind::Interrupted | ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::ResourceBusy
            ),
        },
    }
}
