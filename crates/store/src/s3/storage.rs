//! A warehouse in a bucket.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};
use polder_base::Timestamp;
use uuid::Uuid;

use super::bucket::Bucket;
use super::error::{Failure, is_unanswered};
use super::options::{S3Location, S3Options};
use super::upload::S3Upload;
use crate::warehouse::{check_path, check_range, folder_prefix};
use crate::{ObjectInfo, Result, Storage, StoreError, Upload};

/// Objects that tell whether the store keeps conditions.
const PROBES: &str = "_polder/probe/";
/// That a store does. One for each host, because a bucket may be copied to another store.
const KEPT: &str = "_polder/conditional-writes";
/// Of each object that is written as a whole: who wrote it. So whoever wrote it knows it again when the answer was lost.
const WRITER: &str = "polder-writer";
/// How often a write is begun of which the store shows nothing afterwards: no answer came, or the answer was that another
/// write is going on.
const ATTEMPTS: usize = 3;

/// A warehouse below a prefix of a bucket.
///
/// An object appears as a whole, and writes are conditional: `If-None-Match: *` makes the store refuse to replace one.
/// What needs that condition are **bundles**. Two processes that make the same move of a ref write the same bundle, and
/// the one that loses deletes what it wrote: without the condition both would believe that they wrote it, and the loser
/// would delete what the winner's move is rebuilt from. All other names have random parts, or (`_polder/format`) the same
/// content whoever writes it. Bundles are written in one request; for uploads in parts, which only data files are, the
/// condition is asked for, and a store that ignores it does no harm.
#[derive(Debug, Clone)]
pub struct S3Storage {
    bucket: Bucket,
    location: Arc<S3Location>,
}

impl S3Storage {
    /// Opens the warehouse at `s3://bucket/prefix`, and makes sure that the store keeps conditions: by one look at a mark,
    /// or by trying it, once for each store.
    ///
    /// # Errors
    /// Options that do not go together; a store that cannot be reached, refuses us, or overwrites what it must not.
    pub async fn open(location: S3Location, options: &S3Options) -> Result<Self> {
        let storage = Self::unasked(location, options).await?;
        // Amazon's keeps them.
        if let Some(host) = storage.bucket.host() {
            let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
            let mark = format!("{KEPT}/{}", host.chars().map(plain).collect::<String>());
            match storage.head(&mark).await {
                Ok(_) => {}
                Err(StoreError::NotFound { .. }) => {
                    storage.probe().await?;
                    match storage.put(&mark, Bytes::from_static(b"kept\n")).await {
                        Ok(()) | Err(StoreError::Exists { .. }) => {}
                        Err(e) => return Err(e),
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(storage)
    }

    /// The warehouse at `s3://bucket/prefix`, of which nothing is asked yet: for who reads, if anything.
    ///
    /// # Errors
    /// Options that do not go together.
    pub async fn unasked(location: S3Location, options: &S3Options) -> Result<Self> {
        Ok(Self { bucket: Bucket::open(&location.bucket, options).await?, location: Arc::new(location) })
    }

    /// The root as Iceberg's locations begin: `s3://bucket/prefix`.
    pub fn root_url(&self) -> String {
        self.location.to_string()
    }

    pub(super) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    pub(super) fn key(&self, path: &str) -> Result<(String, Path)> {
        check_path(path)?;
        let key = self.full(path);
        let parsed = self.bucket.key(&key)?;
        Ok((key, parsed))
    }

    fn full(&self, path: &str) -> String {
        if self.location.path.is_empty() { path.to_owned() } else { format!("{}/{path}", self.location.path) }
    }

    /// Writes one object twice. The second write must be refused.
    async fn probe(&self) -> Result<()> {
        let path = format!("{PROBES}{}", Uuid::new_v4().simple());
        match self.put_object(&path, Bytes::from_static(b"first")).await {
            Err(StoreError::Io { detail, .. }) if detail.contains("answered 501") => {
                return Err(self.unfit("it does not know writes that must not overwrite anything (If-None-Match: *)"));
            }
            other => other?,
        }
        let second = self.create(&path, Bytes::from_static(b"second"), "second").await;
        self.delete(&path).await?;
        match second {
            Ok(()) => Err(self.unfit("it overwrites objects although it is asked not to (If-None-Match: *)")),
            Err(e) if Failure::of(&e) == Failure::Exists => Ok(()),
            Err(e) => Err(self.bucket.failed("writing", &self.full(&path), &path, &e)),
        }
    }

    fn unfit(&self, why: &str) -> StoreError {
        StoreError::Io {
            doing: format!("using {} as a warehouse", self.bucket.place(&self.location.path)),
            detail: format!(
                "{why}: two runs that publish at once could destroy each other's commits. Use a store that can, such as \
                 Amazon S3, MinIO, R2 or versitygw in a present version, or a warehouse on disk"
            ),
            transient: false,
        }
    }

    /// One conditional write, with the writer's name on it.
    async fn create(&self, path: &str, bytes: Bytes, writer: &str) -> object_store::Result<()> {
        let key = Path::parse(self.full(path))?;
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::Metadata(WRITER.into()), writer.to_owned().into());
        let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
        let _turn = self.bucket.turn().await;
        self.bucket.store().put_opts(&key, PutPayload::from_bytes(bytes), options).await.map(drop)
    }

    /// Whether there is an object, and who wrote it (`Some("")`: nobody knows).
    async fn writer_of(&self, key: &Path) -> object_store::Result<Option<String>> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let _turn = self.bucket.turn().await;
        match self.bucket.store().get_opts(key, options).await {
            Ok(found) => {
                let writer = found.attributes.get(&Attribute::Metadata(WRITER.into()));
                Ok(Some(writer.map(|w| w.as_ref().to_owned()).unwrap_or_default()))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes an object that must not exist. A write whose answer was lost is looked for: it may have been done, and then
    /// the store refuses its repetition as it refuses anybody's.
    pub(super) async fn put_object(&self, path: &str, bytes: Bytes) -> Result<()> {
        let (full, key) = self.key(path)?;
        let writer = Uuid::new_v4().simple().to_string();
        let mut attempt = 1;
        loop {
            let Err(error) = self.create(path, bytes.clone(), &writer).await else { return Ok(()) };
            let failure = Failure::of(&error);
            if failure == Failure::Refused {
                return Err(self.bucket.failed("writing", &full, path, &error));
            }
            match self.writer_of(&key).await {
                Ok(Some(found)) if found == writer => return Ok(()),
                Ok(Some(_)) => return Err(StoreError::Exists { path: path.to_owned() }),
                // Safe, whatever becomes of the first one: it has the same writer's name.
                Ok(None) if attempt < ATTEMPTS && (failure == Failure::Exists || is_unanswered(&error)) => attempt += 1,
                Ok(None) if failure == Failure::Exists => {
                    return Err(StoreError::Io {
                        doing: format!("writing {}", self.bucket.place(&full)),
                        detail: "the store says that it is being written by somebody else".to_owned(),
                        transient: true,
                    });
                }
                // What the store does not show now it may still be doing; whoever tries again will find it.
                Ok(None) | Err(_) => return Err(self.bucket.failed("writing", &full, path, &error)),
            }
        }
    }

    pub(super) fn written(&self, path: &str, size_bytes: u64) -> ObjectInfo {
        // By this machine's clock: the store's is known only by asking again.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        ObjectInfo { path: path.to_owned(), size_bytes, modified: Timestamp(0) + now }
    }
}

#[async_trait::async_trait]
impl Storage for S3Storage {
    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.put_object(path, bytes).await
    }

    async fn get(&self, path: &str) -> Result<Bytes> {
        let (full, _) = self.key(path)?;
        let result = self.bucket.get(&full, path, GetOptions::default()).await?;
        result.bytes().await.map_err(|e| self.bucket.failed("reading", &full, path, &e))
    }

    async fn get_range(&self, path: &str, start: u64, end: u64) -> Result<Bytes> {
        let (full, _) = self.key(path)?;
        if start >= end {
            let size_bytes = self.head(path).await?.size_bytes;
            return check_range(path, start, end, size_bytes).map(|_| Bytes::new());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(start..end)), ..GetOptions::default() };
        let read = async {
            let result = self.bucket.get(&full, path, options).await?;
            // Of a range that goes beyond the end, stores give what there is.
            check_range(path, start, end, result.meta.size)?;
            result.bytes().await.map_err(|e| self.bucket.failed("reading", &full, path, &e))
        };
        match read.await {
            // Stores say in different ways that the object is shorter.
            Err(error @ StoreError::Io { transient: false, .. }) => match self.head(path).await {
                Ok(info) => check_range(path, start, end, info.size_bytes).and(Err(error)),
                Err(_) => Err(error),
            },
            other => other,
        }
    }

    async fn head(&self, path: &str) -> Result<ObjectInfo> {
        let (full, key) = self.key(path)?;
        let _turn = self.bucket.turn().await;
        let found = self.bucket.store().head(&key).await;
        let found = found.map_err(|e| self.bucket.failed("looking at", &full, path, &e))?;
        let modified = Timestamp(found.last_modified.timestamp_micros());
        Ok(ObjectInfo { path: path.to_owned(), size_bytes: found.size, modified })
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let (full, key) = self.key(path)?;
        let _turn = self.bucket.turn().await;
        match self.bucket.store().delete(&key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.bucket.failed("deleting", &full, path, &e)),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>> {
        let prefix = folder_prefix(folder)?;
        let root = self.full("");
        let objects = self.bucket.list(self.full(&prefix).trim_end_matches('/')).await?;
        let found = objects.into_iter().filter_map(|object| {
            let path = object.key.strip_prefix(&root)?.to_owned();
            let ours = path.starts_with(&prefix) && !path.starts_with(PROBES);
            ours.then_some(ObjectInfo { path, size_bytes: object.size_bytes, modified: object.modified })
        });
        Ok(found.collect())
    }

    async fn upload(&self, path: &str) -> Result<Box<dyn Upload>> {
        Ok(Box::new(S3Upload::new(self.clone(), path)?))
    }
}
