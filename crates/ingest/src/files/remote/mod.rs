//! Files that are not on this machine: objects of a bucket, and what a web server has.
//!
//! They are read as they come, from threads that may wait; what breaks off is taken up again where it broke.

mod http;
mod s3;

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use polder_diag::Span;
use polder_project::FileStream;
use tempfile::TempPath;
use tokio::runtime::Handle;

pub use self::s3::s3_options;
use super::SourceFile;
use crate::{IngestError, Result};

/// The bytes of a file, as they come.
pub type Bytestream = BoxStream<'static, Result<Bytes, Unread>>;

/// A file of another machine, in the version that was found.
#[async_trait]
pub trait Remote: fmt::Debug + Send + Sync {
    /// The bytes from `start` on, up to `end` or to the file's end.
    async fn read(&self, start: u64, end: Option<u64>) -> Result<Bytestream, Unread>;

    /// How long the file is could not be found out.
    fn is_of_unknown_size(&self) -> bool {
        false
    }

    /// Where a copy is kept of a file that can only be had as a whole; `None`: parts of it can be asked for.
    fn copy(&self) -> Option<&OnceLock<TempPath>> {
        None
    }
}

/// Why a file of another machine could not be read. `transient`: it may be readable later.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Unread {
    pub message: String,
    pub transient: bool,
}

impl From<Unread> for IngestError {
    fn from(unread: Unread) -> Self {
        Self::Environment { message: unread.message, transient: unread.transient }
    }
}

/// Whether a pattern names files of another machine.
pub fn is_remote(pattern: &str) -> bool {
    ["s3://", "http://", "https://"].iter().any(|scheme| pattern.starts_with(scheme))
}

/// The files that a stream's pattern names, in the order of their names. Blocks: for a thread that may wait.
///
/// # Errors
/// `I001` when there is none; a store or server that cannot be reached, or refuses us.
pub fn find(stream: &FileStream, span: &Span) -> Result<Vec<SourceFile>> {
    let found = async {
        match stream.pattern.starts_with("s3://") {
            true => s3::find(stream, span).await,
            false => http::find(&stream.pattern, span).await.map(|file| vec![file]),
        }
    };
    Handle::current().block_on(found)
}

/// Bytes of a remote file for those who read files. Blocks: for a thread that may wait.
pub struct RemoteReader {
    stream: Bytestream,
    current: Bytes,
    runtime: Handle,
}

impl RemoteReader {
    pub fn open(remote: &Arc<dyn Remote>, start: u64) -> Result<Self, Unread> {
        let runtime = Handle::current();
        let stream = runtime.block_on(remote.read(start, None))?;
        Ok(Self { stream, current: Bytes::new(), runtime })
    }
}

impl Read for RemoteReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(unread)) => return Err(io::Error::other(unread)),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

/// A part of a remote file, whole in memory. Blocks: for a thread that may wait.
pub fn range(remote: &Arc<dyn Remote>, start: u64, end: u64) -> Result<Bytes, Unread> {
    let read = async {
        let mut stream = remote.read(start, Some(end)).await?;
        let mut bytes = Vec::with_capacity(usize::try_from(end - start).unwrap_or_default());
        while let Some(part) = stream.next().await {
            bytes.extend_from_slice(&part?);
        }
        Ok(Bytes::from(bytes))
    };
    Handle::current().block_on(read)
}

/// The version of a file as a cursor keeps it in the place of a time: what has the same ETag is the same.
fn version_of(etag: &str) -> i64 {
    crate::hash::hash(etag.as_bytes()) as i64
}
