//! Objects that are written in parts.

use bytes::{Bytes, BytesMut};
use object_store::PutPayload;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::error::Failure;
use super::storage::S3Storage;
use crate::{ObjectInfo, Result, Storage, StoreError, Upload};

/// Of every part but the last. Some stores want all parts to be of one size, and S3 at least 5 MiB; an object has at most
/// 10,000 parts, so that one of 80 GB can be written.
const PART_BYTES: usize = 8 * 1024 * 1024;
const MOST_PARTS: usize = 10_000;
/// Parts of one upload on their way at once.
const PARTS_AT_ONCE: usize = 4;

/// An object being written. What is smaller than a part is written as a whole, at the end.
#[derive(Debug)]
pub(super) struct S3Upload {
    storage: S3Storage,
    path: String,
    full: String,
    /// Not sent yet.
    waiting: BytesMut,
    size_bytes: u64,
    parts: Option<Parts>,
}

/// What the store has of an upload.
#[derive(Debug)]
struct Parts {
    storage: S3Storage,
    key: Path,
    id: String,
    sending: JoinSet<(usize, object_store::Result<PartId>)>,
    /// By number.
    sent: Vec<Option<PartId>>,
    /// Removes what was sent when the upload is dropped.
    runtime: Handle,
    done: bool,
}

impl S3Upload {
    pub(super) fn new(storage: S3Storage, path: &str) -> Result<Self> {
        let (full, _) = storage.key(path)?;
        Ok(Self { storage, path: path.to_owned(), full, waiting: BytesMut::new(), size_bytes: 0, parts: None })
    }

    fn failed(&self, error: &object_store::Error) -> StoreError {
        self.storage.bucket().failed("writing", &self.full, &self.path, error)
    }

    async fn parts(&mut self) -> Result<&mut Parts> {
        if self.parts.is_none() {
            let (_, key) = self.storage.key(&self.path)?;
            let id = self.storage.bucket().store().create_multipart(&key).await.map_err(|e| self.failed(&e))?;
            self.parts = Some(Parts {
                storage: self.storage.clone(),
                key,
                id,
                sending: JoinSet::new(),
                sent: Vec::new(),
                runtime: Handle::current(),
                done: false,
            });
        }
        self.parts.as_mut().ok_or_else(|| StoreError::NotFound { path: self.path.clone() })
    }

    async fn send(&mut self, part: Bytes) -> Result<()> {
        let parts = self.parts().await?;
        if parts.sent.len() == MOST_PARTS {
            return Err(StoreError::Io {
                doing: format!("writing {}", self.storage.bucket().place(&self.full)),
                detail: format!("it is larger than {MOST_PARTS} parts of {PART_BYTES} bytes"),
                transient: false,
            });
        }
        let mut outcome = Ok(());
        while outcome.is_ok() && parts.sending.len() >= PARTS_AT_ONCE {
            outcome = parts.await_one().await;
        }
        if outcome.is_ok() {
            let turn = parts.storage.bucket().turn_of_part().await;
            parts.begin(part, turn);
        }
        outcome.map_err(|e| self.failed(&e))
    }
}

impl Parts {
    fn begin(&mut self, part: Bytes, turn: Option<OwnedSemaphorePermit>) {
        let number = self.sent.len();
        self.sent.push(None);
        let (storage, key, id) = (self.storage.clone(), self.key.clone(), self.id.clone());
        self.sending.spawn(async move {
            let _held = (turn, storage.bucket().turn().await);
            let sent = storage.bucket().store().put_part(&key, &id, number, PutPayload::from_bytes(part)).await;
            (number, sent)
        });
    }

    /// Waits until one more part is there.
    async fn await_one(&mut self) -> object_store::Result<()> {
        match self.sending.join_next().await {
            Some(joined) => {
                let (number, sent) = joined?;
                if let Some(slot) = self.sent.get_mut(number) {
                    *slot = Some(sent?);
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn complete(&mut self) -> object_store::Result<()> {
        while !self.sending.is_empty() {
            self.await_one().await?;
        }
        let parts = self.sent.iter().flatten().cloned().collect();
        self.storage.bucket().store().complete_multipart(&self.key, &self.id, parts).await?;
        self.done = true;
        Ok(())
    }

    /// Whether the store still holds the upload as one that is not complete: one that was completed, it knows no more.
    async fn is_open(&self) -> object_store::Result<bool> {
        let probe = PutPayload::from_static(b".");
        match self.storage.bucket().store().put_part(&self.key, &self.id, MOST_PARTS - 1, probe).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // Parts that are on their way would appear after the upload was given up.
        let mut sending = std::mem::take(&mut self.sending);
        let (storage, key, id) = (self.storage.clone(), self.key.clone(), std::mem::take(&mut self.id));
        self.runtime.spawn(async move {
            sending.shutdown().await;
            if let Err(error) = storage.bucket().store().abort_multipart(&key, &id).await {
                tracing::warn!(%key, %error, "the parts of a write that was given up stay behind");
            }
        });
    }
}

#[async_trait::async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.size_bytes += bytes.len() as u64;
        self.waiting.extend_from_slice(&bytes);
        while self.waiting.len() >= PART_BYTES {
            let part = self.waiting.split_to(PART_BYTES).freeze();
            self.send(part).await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<ObjectInfo> {
        let rest = std::mem::take(&mut self.waiting).freeze();
        if self.parts.is_none() {
            self.storage.put_object(&self.path, rest).await?;
            return Ok(self.storage.written(&self.path, self.size_bytes));
        }
        if !rest.is_empty() {
            self.send(rest).await?;
        }
        let Some(mut parts) = self.parts.take() else { return Err(StoreError::NotFound { path: self.path.clone() }) };
        let Err(error) = parts.complete().await else { return Ok(self.storage.written(&self.path, self.size_bytes)) };
        // A completion whose answer was lost is refused when it is repeated: because of its own object, or because the
        // upload is no more.
        if Failure::of(&error) != Failure::Refused
            && matches!(parts.is_open().await, Ok(false))
            && self.storage.head(&self.path).await.is_ok_and(|found| found.size_bytes == self.size_bytes)
        {
            parts.done = true;
            return Ok(self.storage.written(&self.path, self.size_bytes));
        }
        Err(match self.failed(&error) {
            StoreError::NotFound { .. } => StoreError::Io {
                doing: format!("writing {}", self.storage.bucket().place(&self.full)),
                detail: "the store has given up the upload".to_owned(),
                transient: true,
            },
            other => other,
        })
    }
}
