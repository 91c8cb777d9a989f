//! One bucket.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig,
};
use polder_base::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use super::conditional::CreateOnly;
use super::credentials::Credentials;
use super::error::store_error;
use super::options::S3Options;
use crate::{Result, StoreError};

/// Requests of one process to one bucket at once: more would wait for each other in the network.
const AT_ONCE: usize = 128;
/// Parts of all uploads that are on their way at once: each is in memory.
const PARTS_AT_ONCE: usize = 16;
/// What one request reads at most of an object that is read as a whole, and how many of them are on their way or wait
/// for the reader.
const READ_BYTES: u64 = 8 * 1024 * 1024;
const READ_AHEAD: usize = 2;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request that is read as fast as a query goes over it. There is no limit for silence alone; Ctrl-C is one.
const LONGEST_READ: Duration = Duration::from_hours(1);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// What a request is tried again at most, within the time that it has for that.
const MOST_RETRIES: usize = 30;

/// The bytes of an object, as they come.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// An object of a bucket, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketObject {
    pub key: String,
    pub size_bytes: u64,
    pub modified: Timestamp,
    /// What changes when the object does.
    pub etag: Option<String>,
}

/// A bucket that can be read and written. Cheap to clone; the clones share connections and credentials.
#[derive(Clone)]
pub struct Bucket {
    name: Arc<str>,
    /// Whom requests go to: `127.0.0.1:9000`; nothing for Amazon.
    host: Option<Arc<str>>,
    store: Arc<AmazonS3>,
    credentials: Arc<Credentials>,
    permits: Arc<Semaphore>,
    parts: Arc<Semaphore>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("name", &self.name).field("host", &self.host).finish_non_exhaustive()
    }
}

impl Bucket {
    /// Prepares everything; nothing is asked of the store yet.
    ///
    /// # Errors
    /// Options that do not go together, or a profile that cannot be read.
    pub async fn open(name: &str, options: &S3Options) -> Result<Self> {
        Self::with_client(name, options, patience(options).with_timeout(options.timeout)).await
    }

    /// A bucket as a store of objects, for those who read it as one, and as slowly as they like.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) async fn object_store(name: &str, options: &S3Options) -> Result<Arc<dyn ObjectStore>> {
        Ok(Self::with_client(name, options, as_slow_as_read(options)).await?.store)
    }

    async fn with_client(name: &str, options: &S3Options, client: ClientOptions) -> Result<Self> {
        let credentials = Arc::new(Credentials::new(options).await?);
        let region = credentials.region().to_owned();
        let endpoint = options.endpoint.clone().or_else(|| credentials.endpoint());
        // A certificate for `*.host` is none for `a.b.host`.
        let path_style = options.path_style.unwrap_or(endpoint.is_some() || name.contains('.'));
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(name)
            .with_region(region)
            .with_client_options(client)
            .with_retry(retries(options.retry_for))
            .with_http_connector(CreateOnly::default())
            .with_virtual_hosted_style_request(!path_style)
            .with_skip_signature(options.anonymous)
            .with_credentials(Arc::<Credentials>::clone(&credentials));
        let host = match &endpoint {
            Some(endpoint) => {
                let host = check_endpoint(endpoint, options.allow_http)?;
                let endpoint = endpoint.trim_end_matches('/');
                let with_bucket = || endpoint.replacen("://", &format!("://{name}."), 1);
                builder = builder.with_endpoint(if path_style { endpoint.to_owned() } else { with_bucket() });
                Some(Arc::from(host))
            }
            None => None,
        };
        let place = format!("s3://{name}");
        let store = builder.build().map_err(|e| store_error("opening", &place, &place, &e))?;
        Ok(Self {
            name: name.into(),
            host,
            store: Arc::new(store),
            credentials,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            parts: Arc::new(Semaphore::new(PARTS_AT_ONCE)),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whom requests go to, where that is not Amazon: `127.0.0.1:9000`.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// `s3://bucket/key`, and the host where it is not Amazon's.
    pub(super) fn place(&self, key: &str) -> String {
        let slash = if key.is_empty() { "" } else { "/" };
        match &self.host {
            Some(host) => format!("s3://{}{slash}{key} ({host})", self.name),
            None => format!("s3://{}{slash}{key}", self.name),
        }
    }

    pub(super) fn store(&self) -> &Arc<AmazonS3> {
        &self.store
    }

    /// Waits for a turn. Nobody closes the semaphore; if somebody did, nobody would have to wait.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }

    /// As [`Self::turn`], for a part of an upload.
    pub(super) async fn turn_of_part(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.parts).acquire_owned().await.ok()
    }

    pub(super) fn failed(&self, doing: &str, key: &str, path: &str, error: &object_store::Error) -> StoreError {
        let error = store_error(doing, &self.place(key), path, error);
        if error.to_string().contains("ExpiredToken") {
            self.credentials.forget();
        }
        error
    }

    pub(super) fn key(&self, key: &str) -> Result<Path> {
        Path::parse(key).map_err(|e| StoreError::Io {
            doing: format!("using {}", self.place(key)),
            detail: e.to_string(),
            transient: false,
        })
    }

    /// All objects below a folder of the bucket (`""`: the bucket), in the order of their keys.
    pub async fn list(&self, folder: &str) -> Result<Vec<BucketObject>> {
        let _turn = self.turn().await;
        let prefix = if folder.is_empty() { None } else { Some(self.key(folder)?) };
        let listed = self.store.list(prefix.as_ref()).map_ok(bucket_object).try_collect().await;
        listed.map_err(|e| self.failed("listing", folder, folder, &e))
    }

    /// # Errors
    /// `NotFound`, by its URL.
    pub async fn head(&self, key: &str) -> Result<BucketObject> {
        let _turn = self.turn().await;
        let found = self.store.head(&self.key(key)?).await;
        found.map(bucket_object).map_err(|e| self.failed("looking at", key, &self.place(key), &e))
    }

    /// The bytes from `start` on, up to `end` or the object's end, of the object as it was found. They are asked for part
    /// by part, a little ahead of the reader: a request has an end also where whoever reads takes hours.
    ///
    /// # Errors
    /// In the stream; an object that was replaced since it was found is worth another look (`transient`).
    pub fn read(&self, object: &BucketObject, start: u64, end: Option<u64>) -> ByteStream {
        let end = end.unwrap_or(object.size_bytes).min(object.size_bytes);
        let starts = (start..end).step_by(READ_BYTES as usize);
        let (bucket, object) = (self.clone(), Arc::new(object.clone()));
        let parts = starts.map(move |start| {
            let (bucket, object) = (bucket.clone(), Arc::clone(&object));
            // A task of its own: a part that is on its way arrives, whatever the reader is busy with.
            let part = async move { bucket.part(&object, start..end.min(start + READ_BYTES)).await };
            async move { AbortOnDropHandle::new(tokio::spawn(part)).await.unwrap_or_else(|e| Err(ended(&e))) }
        });
        stream::iter(parts).buffered(READ_AHEAD).boxed()
    }

    async fn part(&self, object: &BucketObject, range: Range<u64>) -> Result<Bytes> {
        let (key, place) = (&*object.key, self.place(&object.key));
        let replaced = || StoreError::Io {
            doing: format!("reading {place}"),
            detail: "it was replaced since it was found".to_owned(),
            transient: true,
        };
        let bounds = Some(GetRange::Bounded(range.clone()));
        let options = GetOptions { range: bounds, if_match: object.etag.clone(), ..GetOptions::default() };
        let found = match self.get(key, &place, options).await {
            Err(StoreError::Exists { .. }) => return Err(replaced()),
            found => found?,
        };
        let bytes = found.bytes().await.map_err(|e| self.failed("reading", key, &place, &e))?;
        // Of an object without an ETag this is all that tells.
        if bytes.len() as u64 != range.end - range.start { Err(replaced()) } else { Ok(bytes) }
    }

    pub(super) async fn get(&self, key: &str, path: &str, options: GetOptions) -> Result<GetResult> {
        let _turn = self.turn().await;
        let result = self.store.get_opts(&self.key(key)?, options).await;
        result.map_err(|e| self.failed("reading", key, path, &e))
    }
}

/// A task that was ended before its end: the process ends, or it is a defect.
fn ended(error: &JoinError) -> StoreError {
    StoreError::Io { doing: "reading from a bucket".to_owned(), detail: error.to_string(), transient: false }
}

fn bucket_object(meta: ObjectMeta) -> BucketObject {
    BucketObject {
        key: meta.location.to_string(),
        size_bytes: meta.size,
        modified: Timestamp(meta.last_modified.timestamp_micros()),
        etag: meta.e_tag,
    }
}

fn patience(options: &S3Options) -> ClientOptions {
    ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT.min(options.timeout)).with_allow_http(true)
}

/// Requests whose bytes somebody at the command line reads as they come.
pub(crate) fn as_slow_as_read(options: &S3Options) -> ClientOptions {
    patience(options).with_timeout(LONGEST_READ)
}

fn retries(within: Duration) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig { init_backoff: FIRST_WAIT, max_backoff: LONGEST_WAIT, base: 2.0 },
        max_retries: MOST_RETRIES,
        retry_timeout: within,
    }
}

/// The host of an endpoint, with its port.
fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<&str> {
    let wrong = |detail: &str| {
        Err(StoreError::Io {
            doing: "reading the endpoint of the store".to_owned(),
            detail: detail.to_owned(),
            transient: false,
        })
    };
    let Some((scheme, rest)) = endpoint.split_once("://") else {
        return wrong("it begins with `https://` or `http://`");
    };
    let host = rest.trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '@', '?', '#']) {
        return wrong("it is a URL with nothing behind its host and port, such as `https://minio.example:9000`");
    }
    match scheme {
        "https" => Ok(host),
        "http" if allow_http || is_this_machine(host) => Ok(host),
        "http" => wrong("it is not encrypted: where that is meant, set `allow_http: true`"),
        _ => wrong("it begins with `https://` or `http://`"),
    }
}

fn is_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.starts_with("127.") || name == "[::1]"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_encrypted_or_near() {
        assert_eq!(check_endpoint("https://minio.example:9000/", false).unwrap(), "minio.example:9000");
        assert_eq!(check_endpoint("http://127.0.0.1:9000", false).unwrap(), "127.0.0.1:9000");
        assert_eq!(check_endpoint("http://minio.example", true).unwrap(), "minio.example");
        for wrong in ["http://minio.example", "minio:9000", "ftp://x", "https://", "https://h/b", "https://u:p@h"] {
            assert!(check_endpoint(wrong, false).is_err(), "{wrong}");
        }
    }
}
