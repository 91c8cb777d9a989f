//! The warehouse as DataFusion reads it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use polder_store::{Storage, StoreError};

const NAME: &str = "warehouse";

/// Where the warehouse is registered. Not its real root: whatever that is, paths inside are relative to it, so a plan
/// means the same on another machine.
pub(crate) fn warehouse_url() -> datafusion::error::Result<ObjectStoreUrl> {
    ObjectStoreUrl::parse("polder://warehouse/")
}

/// Data files of a warehouse: read, and nothing else, because whatever is written has to go through a commit.
#[derive(Debug)]
pub(crate) struct WarehouseFiles {
    storage: Arc<dyn Storage>,
}

impl WarehouseFiles {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage }
    }

    async fn range(&self, location: &Path, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.storage.get_range(location.as_ref(), range.start, range.end).await;
        bytes.map_err(|e| store_error(location, e))
    }
}

impl fmt::Display for WarehouseFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

#[async_trait]
impl ObjectStore for WarehouseFiles {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (size, range) = match &options.range {
            // The size is not asked for: whoever reads a range knows it.
            Some(GetRange::Bounded(range)) if !options.head => (range.end, range.clone()),
            wanted => {
                let info = self.storage.head(location.as_ref()).await.map_err(|e| store_error(location, e))?;
                let all = 0..info.size_bytes;
                let range = match wanted {
                    Some(range) => range.as_range(info.size_bytes).map_err(|e| generic(e.into()))?,
                    None => all,
                };
                (info.size_bytes, range)
            }
        };
        let bytes = if options.head { Bytes::new() } else { self.range(location, range.clone()).await? };
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed()),
            meta: data_file_meta(location.clone(), size),
            range,
            attributes: Attributes::default(),
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.storage.get_ranges(location.as_ref(), ranges).await.map_err(|e| store_error(location, e))
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only())
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only())
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(async { Err(read_only()) }).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(async { Err(read_only()) }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(read_only())
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only())
    }
}

/// What identifies a data file. Data files never change, so their time is always the same, and what is cached about one
/// stays true.
pub(crate) fn data_file_meta(location: Path, size: u64) -> ObjectMeta {
    ObjectMeta { location, last_modified: Default::default(), size, e_tag: None, version: None }
}

fn store_error(location: &Path, error: StoreError) -> Error {
    match error {
        StoreError::NotFound { .. } => Error::NotFound { path: location.to_string(), source: Box::new(error) },
        error => generic(Box::new(error)),
    }
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic { store: NAME, source }
}

fn read_only() -> Error {
    Error::NotSupported { source: "the files of the warehouse are only read here".into() }
}
