//! Manifests and manifest lists as bytes.
//!
//! The writers of `iceberg` want a file of their own: they get one in memory, and what they wrote goes to the warehouse
//! under our rules (never over an existing file, durable).

use bytes::Bytes;
use iceberg::io::FileIO;

use crate::spec::{
    DataFile, ManifestContentType, ManifestFile, ManifestListWriter, ManifestWriter, ManifestWriterBuilder,
    PartitionSpec, SchemaRef, Snapshot, UNASSIGNED_SEQUENCE_NUMBER,
};
use crate::{DataFileInfo, Result, TableError};

/// Where the writers write to.
const IN_MEMORY: &str = "memory:/file";

/// What a manifest is written with.
#[derive(Debug, Clone)]
pub(crate) struct ManifestKind {
    pub schema: SchemaRef,
    pub spec: PartitionSpec,
    pub content: ManifestContentType,
}

/// Entries of a manifest.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// New files. Their snapshot and sequence number stay open: they are inherited from the manifest list, so that the
    /// manifest can be taken over by a snapshot on another head.
    pub added: Vec<DataFile>,
    /// Files from earlier snapshots that this manifest lists from now on.
    pub existing: Vec<DataFileInfo>,
    /// Files that the snapshot removes, which must be named then.
    pub deleted: Vec<DataFileInfo>,
}

/// Encodes a manifest for `location`. `snapshot_id`: of the snapshot that adds it. The result's sequence number is
/// assigned by the manifest list.
pub(crate) async fn manifest(
    location: String,
    snapshot_id: i64,
    kind: ManifestKind,
    entries: Entries,
) -> Result<(ManifestFile, Bytes)> {
    let io = FileIO::new_with_memory();
    // An explicit id is for deletions alone: a removal belongs to one snapshot and is never replayed.
    let explicit_id = (!entries.deleted.is_empty()).then_some(snapshot_id);
    let output = io.new_output(IN_MEMORY).map_err(TableError::invalid)?;
    let builder = ManifestWriterBuilder::new(output, explicit_id, kind.schema, kind.spec);
    let mut writer = match kind.content {
        ManifestContentType::Data => builder.build_v2_data(),
        ManifestContentType::Deletes => builder.build_v2_deletes(),
    };
    add_entries(&mut writer, entries).map_err(TableError::invalid)?;
    let mut file = writer.write_manifest_file().await.map_err(TableError::invalid)?;
    file.manifest_path = location;
    file.added_snapshot_id = snapshot_id;
    Ok((file, written(&io).await?))
}

fn add_entries(writer: &mut ManifestWriter, entries: Entries) -> iceberg::Result<()> {
    for file in entries.added {
        writer.add_file(file, UNASSIGNED_SEQUENCE_NUMBER)?;
    }
    for info in entries.existing {
        let file_sequence_number = Some(info.file_sequence_number);
        writer.add_existing_file(info.file, info.snapshot_id, info.sequence_number, file_sequence_number)?;
    }
    for info in entries.deleted {
        writer.add_delete_file(info.file, info.sequence_number, Some(info.file_sequence_number))?;
    }
    Ok(())
}

/// Encodes the manifest list of a snapshot, and returns the manifests with their sequence numbers assigned.
pub(crate) async fn manifest_list(
    snapshot: &Snapshot,
    mut manifests: Vec<ManifestFile>,
) -> Result<(Vec<ManifestFile>, Bytes)> {
    let (id, sequence_number) = (snapshot.snapshot_id(), snapshot.sequence_number());
    for manifest in manifests.iter_mut().filter(|m| m.sequence_number == UNASSIGNED_SEQUENCE_NUMBER) {
        manifest.sequence_number = sequence_number;
        if manifest.min_sequence_number == UNASSIGNED_SEQUENCE_NUMBER {
            manifest.min_sequence_number = sequence_number;
        }
    }
    let io = FileIO::new_with_memory();
    let output = io.new_output(IN_MEMORY).map_err(TableError::invalid)?;
    let file = output.writer().await.map_err(TableError::invalid)?;
    let mut writer = ManifestListWriter::v2(file, id, snapshot.parent_snapshot_id(), sequence_number);
    writer.add_manifests(manifests.iter().cloned()).map_err(TableError::invalid)?;
    writer.close().await.map_err(TableError::invalid)?;
    Ok((manifests, written(&io).await?))
}

async fn written(io: &FileIO) -> Result<Bytes> {
    let input = io.new_input(IN_MEMORY).map_err(TableError::invalid)?;
    input.read().await.map_err(TableError::invalid)
}
