//! Reading a table's metadata.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use polder_store::Warehouse;
use polder_system::System;

use crate::spec::{
    DataFile, Manifest, ManifestContentType, ManifestEntry, ManifestFile, ManifestList, Schema, Snapshot,
    TableMetadata, TableMetadataRef,
};
use crate::{Result, TableError};

/// A data file of a snapshot, with what its manifest entry says beyond the file itself.
#[derive(Debug, Clone)]
pub struct DataFileInfo {
    pub file: DataFile,
    /// The data sequence number: deletes of a greater one apply to the file.
    pub sequence_number: i64,
    /// The sequence number of the snapshot that added the file.
    pub file_sequence_number: i64,
    /// The snapshot that added it.
    pub snapshot_id: i64,
    pub partition_spec_id: i32,
}

impl DataFileInfo {
    /// Fills in what an entry inherits from the manifest list.
    fn inherit(entry: &ManifestEntry, manifest: &ManifestFile) -> Self {
        Self {
            file: entry.data_file.clone(),
            sequence_number: entry.sequence_number.unwrap_or(manifest.sequence_number),
            file_sequence_number: entry.file_sequence_number.unwrap_or(manifest.sequence_number),
            snapshot_id: entry.snapshot_id.unwrap_or(manifest.added_snapshot_id),
            partition_spec_id: manifest.partition_spec_id,
        }
    }
}

/// Reads and writes the metadata of tables in a warehouse.
#[derive(Debug, Clone)]
pub struct TableIo {
    pub(crate) warehouse: Warehouse,
    pub(crate) system: Arc<dyn System>,
}

impl TableIo {
    pub fn new(warehouse: Warehouse, system: Arc<dyn System>) -> Self {
        Self { warehouse, system }
    }

    pub fn warehouse(&self) -> &Warehouse {
        &self.warehouse
    }

    /// Reads a metadata file; `path` is relative to the warehouse.
    ///
    /// # Errors
    /// A file that is missing, damaged, or says what the specification does not allow.
    pub async fn metadata(&self, path: &str) -> Result<TableMetadataRef> {
        let bytes = self.warehouse.storage().get(path).await?;
        serde_json::from_slice(&bytes).map(Arc::new).map_err(|e| not_metadata(path, &bytes, &e))
    }

    /// The manifests of a snapshot; none for a table without one.
    ///
    /// # Errors
    /// A snapshot that the metadata does not know (any more), or a manifest list that cannot be read.
    pub async fn manifests(&self, metadata: &TableMetadata, snapshot_id: Option<i64>) -> Result<Vec<ManifestFile>> {
        let Some(id) = snapshot_id else { return Ok(Vec::new()) };
        let path = self.warehouse.path(snapshot(metadata, id)?.manifest_list())?;
        let bytes = self.warehouse.storage().get(path).await?;
        let list = ManifestList::parse_with_version(&bytes, metadata.format_version());
        Ok(list.map_err(|e| TableError::corrupt(path, e))?.consume_entries().into_iter().collect())
    }

    /// The live files that a manifest lists, sequence numbers and snapshot ids inherited.
    ///
    /// # Errors
    /// A manifest that cannot be read, or of a partition spec that the table does not have.
    pub async fn files(&self, metadata: &TableMetadata, manifest: &ManifestFile) -> Result<Vec<DataFileInfo>> {
        if metadata.partition_spec_by_id(manifest.partition_spec_id).is_none() {
            let detail = format!("the table has no partition spec {}", manifest.partition_spec_id);
            return Err(TableError::corrupt(&manifest.manifest_path, detail));
        }
        self.live_files(manifest).await
    }

    /// All live data files of a snapshot (not its delete files).
    ///
    /// # Errors
    /// As `manifests` and `files`.
    pub async fn snapshot_files(
        &self,
        metadata: &TableMetadata,
        snapshot_id: Option<i64>,
    ) -> Result<Vec<DataFileInfo>> {
        let manifests = self.manifests(metadata, snapshot_id).await?;
        let data = manifests.iter().filter(|m| m.content == ManifestContentType::Data);
        Ok(try_join_all(data.map(|m| self.files(metadata, m))).await?.into_iter().flatten().collect())
    }

    /// The schema to read a snapshot with: the table's own for the current snapshot (columns may have been added since
    /// it was made) and for none, else that of the snapshot's time.
    ///
    /// # Errors
    /// A snapshot that the metadata does not know.
    pub fn schema(&self, metadata: &TableMetadata, snapshot_id: Option<i64>) -> Result<Arc<Schema>> {
        match snapshot_id {
            Some(id) if metadata.current_snapshot_id() != Some(id) => {
                snapshot(metadata, id)?.schema(metadata).map_err(TableError::invalid)
            }
            _ => Ok(metadata.current_schema().clone()),
        }
    }

    pub(crate) async fn live_files(&self, manifest: &ManifestFile) -> Result<Vec<DataFileInfo>> {
        Ok(live(&self.manifest(manifest).await?, manifest))
    }

    /// A manifest as it is on disk, with nothing inherited.
    pub(crate) async fn manifest(&self, manifest: &ManifestFile) -> Result<Manifest> {
        let path = self.warehouse.path(&manifest.manifest_path)?;
        let bytes = self.warehouse.storage().get(path).await?;
        Manifest::parse_avro(&bytes).map_err(|e| TableError::corrupt(path, e))
    }

    /// Writes new files, all at once: nothing refers to any of them yet.
    pub(crate) async fn write(&self, files: Vec<NewFile>) -> Result<()> {
        let storage = self.warehouse.storage();
        try_join_all(files.into_iter().map(|f| async move { storage.put(&f.path, f.bytes).await })).await?;
        Ok(())
    }
}

/// A file to write: its path relative to the warehouse.
#[derive(Debug)]
pub(crate) struct NewFile {
    pub path: String,
    pub bytes: Bytes,
}

/// Why a file cannot be read as metadata. The crate tries one format version after the other and says of none what was
/// wrong with it: where the text is no JSON at all, its parser knows better.
pub(crate) fn not_metadata(path: &str, bytes: &[u8], error: &serde_json::Error) -> TableError {
    match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
        Err(syntax) => TableError::corrupt(path, syntax),
        Ok(_) => TableError::corrupt(path, format!("it does not hold the metadata that it should ({error})")),
    }
}

/// The live entries of a manifest.
pub(crate) fn live(manifest: &Manifest, file: &ManifestFile) -> Vec<DataFileInfo> {
    manifest.entries().iter().filter(|e| e.is_alive()).map(|e| DataFileInfo::inherit(e, file)).collect()
}

fn snapshot(metadata: &TableMetadata, id: i64) -> Result<&Arc<Snapshot>> {
    metadata
        .snapshot_by_id(id)
        .ok_or_else(|| TableError::Invalid(format!("the table at {} has no snapshot {id}", metadata.location())))
}
