//! What manifests list, kept in memory by bytes.

use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::execution::cache::default_cache::DefaultCache;
use datafusion::execution::cache::{Cache, CacheKey, CacheValue};
use futures::stream::{self, StreamExt, TryStreamExt};
use polder_table::spec::{DataFileFormat, ManifestContentType, ManifestFile, TableMetadata};
use polder_table::{DataFileInfo, TableIo};

use crate::{LakeError, Result};

/// Manifests that are read at once.
const CONCURRENT_READS: usize = 8;

/// The live data files of one manifest.
#[derive(Debug, Clone)]
pub(crate) struct ManifestFiles(pub(crate) Arc<[Arc<DataFileInfo>]>);

/// A manifest list, by its path: it is written once, with its snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ListKey(String);

impl CacheKey for ListKey {
    fn size(&self) -> usize {
        size_of::<Self>() + self.0.len()
    }

    fn table_ref(&self) -> Option<&TableReference> {
        None
    }
}

/// The manifests of one snapshot.
#[derive(Debug, Clone)]
struct Listed(Arc<[ManifestFile]>);

impl CacheValue for Listed {
    fn size(&self) -> usize {
        // A summary for each partition field, and its bounds.
        const PARTITION: usize = 128;
        let one = |manifest: &ManifestFile| {
            let partitions = manifest.partitions.as_ref().map_or(0, Vec::len);
            size_of::<ManifestFile>() + manifest.manifest_path.len() + partitions * PARTITION
        };
        size_of::<Self>() + self.0.iter().map(one).sum::<usize>()
    }
}

/// A manifest as one snapshot lists it: the same file listed by another takes other sequence numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ManifestKey {
    path: String,
    sequence_number: i64,
    snapshot_id: i64,
}

impl CacheKey for ManifestKey {
    fn size(&self) -> usize {
        size_of::<Self>() + self.path.len()
    }

    fn table_ref(&self) -> Option<&TableReference> {
        None
    }
}

impl CacheValue for ManifestFiles {
    fn size(&self) -> usize {
        self.0.iter().map(|info| file_bytes(info)).sum()
    }
}

/// About what a file's entry takes: a map node for each number, more for each bound.
fn file_bytes(info: &DataFileInfo) -> usize {
    const ENTRY: usize = 512;
    const COUNT: usize = 16;
    const BOUND: usize = 128;
    let file = &info.file;
    let counts = file.column_sizes().len()
        + file.value_counts().len()
        + file.null_value_counts().len()
        + file.nan_value_counts().len();
    let bounds = file.lower_bounds().len() + file.upper_bounds().len();
    ENTRY + file.file_path().len() + counts * COUNT + bounds * BOUND
}

/// A cache of manifests for the whole process.
pub(crate) struct ManifestCache {
    cache: DefaultCache<ManifestKey, ManifestFiles>,
    lists: DefaultCache<ListKey, Listed>,
}

impl std::fmt::Debug for ManifestCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.cache.memory_used() + self.lists.memory_used();
        f.debug_struct("ManifestCache").field("bytes", &bytes).finish()
    }
}

impl ManifestCache {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        // A list is a small part of what it lists.
        let lists = limit_bytes / 8;
        Self { cache: DefaultCache::new(limit_bytes - lists), lists: DefaultCache::new(lists) }
    }

    /// The live data files of a snapshot, in the order of its manifests.
    ///
    /// # Errors
    /// A table with rows deleted by position or by value, or with files that are not Parquet.
    pub(crate) async fn files(
        &self,
        tables: &TableIo,
        metadata: &TableMetadata,
        snapshot_id: Option<i64>,
    ) -> Result<Vec<Arc<DataFileInfo>>> {
        let Listed(manifests) = self.list(tables, metadata, snapshot_id).await?;
        if manifests.iter().any(|m| m.content == ManifestContentType::Deletes && may_have_files(m)) {
            return Err(unsupported(
                metadata,
                "another engine deleted rows of it in place (merge-on-read), which Polder does not read yet: let that \
                 engine rewrite the table's data files first",
            ));
        }
        let reads: Vec<_> = manifests.iter().map(|manifest| self.manifest(tables, metadata, manifest)).collect();
        let listed: Vec<ManifestFiles> = stream::iter(reads).buffered(CONCURRENT_READS).try_collect().await?;
        let files: Vec<_> = listed.iter().flat_map(|files| files.0.iter().cloned()).collect();
        match files.iter().find(|info| info.file.file_format() != DataFileFormat::Parquet) {
            Some(info) => Err(unsupported(metadata, &format!("{} is not a Parquet file", info.file.file_path()))),
            None => Ok(files),
        }
    }

    async fn list(&self, tables: &TableIo, metadata: &TableMetadata, snapshot_id: Option<i64>) -> Result<Listed> {
        let snapshot = snapshot_id.and_then(|id| metadata.snapshot_by_id(id));
        let key = snapshot.map(|snapshot| ListKey(snapshot.manifest_list().to_owned()));
        if let Some(listed) = key.as_ref().and_then(|key| self.lists.get(key)) {
            return Ok(listed);
        }
        let listed = Listed(tables.manifests(metadata, snapshot_id).await?.into());
        if let Some(key) = key {
            self.lists.put(&key, listed.clone());
        }
        Ok(listed)
    }

    async fn manifest(
        &self,
        tables: &TableIo,
        metadata: &TableMetadata,
        manifest: &ManifestFile,
    ) -> Result<ManifestFiles> {
        let key = ManifestKey {
            path: manifest.manifest_path.clone(),
            sequence_number: manifest.sequence_number,
            snapshot_id: manifest.added_snapshot_id,
        };
        if let Some(files) = self.cache.get(&key) {
            return Ok(files);
        }
        let files = tables.files(metadata, manifest).await?;
        let files = ManifestFiles(files.into_iter().map(Arc::new).collect());
        self.cache.put(&key, files.clone());
        Ok(files)
    }
}

/// Counts may be missing in tables of format 1: then there may be files.
fn may_have_files(manifest: &ManifestFile) -> bool {
    manifest.has_added_files() || manifest.has_existing_files()
}

fn unsupported(metadata: &TableMetadata, detail: &str) -> LakeError {
    LakeError::Unsupported { table: metadata.location().to_owned(), detail: detail.to_owned() }
}
