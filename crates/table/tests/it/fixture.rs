//! A warehouse in memory, and tables whose data files exist by name only: nothing here reads rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use polder_base::Timestamp;
use polder_store::{MemoryStorage, ObjectInfo, Result, Storage, Upload, Warehouse};
use polder_system::SimulatedSystem;
use polder_table::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, NestedField, PrimitiveType, Schema,
    Struct, TableMetadata, TableMetadataRef, Transform, Type, UnboundPartitionSpec,
};
use polder_table::{Committed, Operation, TableIo};

/// 2026-11-21T06:00:00Z.
pub const START: Timestamp = Timestamp::from_millis(1_795_240_800_000);

/// Counts what is written, and remembers that nothing is written twice or removed.
#[derive(Debug)]
pub struct Counting {
    pub inner: MemoryStorage,
    pub bytes: AtomicU64,
    pub files: AtomicU64,
}

#[async_trait::async_trait]
impl Storage for Counting {
    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.files.fetch_add(1, Ordering::Relaxed);
        self.inner.put(path, bytes).await
    }
    async fn get(&self, path: &str) -> Result<Bytes> {
        self.inner.get(path).await
    }
    async fn get_range(&self, path: &str, start: u64, end: u64) -> Result<Bytes> {
        self.inner.get_range(path, start, end).await
    }
    async fn head(&self, path: &str) -> Result<ObjectInfo> {
        self.inner.head(path).await
    }
    async fn delete(&self, path: &str) -> Result<()> {
        panic!("a commit deleted {path}")
    }
    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>> {
        self.inner.list(folder).await
    }
    async fn upload(&self, path: &str) -> Result<Box<dyn Upload>> {
        self.inner.upload(path).await
    }
}

pub struct Fixture {
    pub system: Arc<SimulatedSystem>,
    pub storage: Arc<Counting>,
    pub io: TableIo,
    /// Added to every snapshot.
    pub summary: BTreeMap<String, String>,
}

/// A table at some metadata file.
#[derive(Debug, Clone)]
pub struct Table {
    pub path: String,
    pub metadata: TableMetadataRef,
}

impl From<Committed> for Table {
    fn from(committed: Committed) -> Self {
        Self { path: committed.metadata_path, metadata: committed.metadata }
    }
}

impl Fixture {
    pub fn new() -> Self {
        let system = Arc::new(SimulatedSystem::new(7, START));
        let inner = MemoryStorage::new(system.clone());
        let storage = Arc::new(Counting { inner, bytes: AtomicU64::new(0), files: AtomicU64::new(0) });
        let warehouse = Warehouse::new(storage.clone(), "file:///warehouse");
        let io = TableIo::new(warehouse, system.clone());
        Self { system, storage, io, summary: BTreeMap::from([("polder.run".to_owned(), "12".to_owned())]) }
    }

    pub async fn create(&self, files: Vec<DataFile>) -> Table {
        self.create_with(UnboundPartitionSpec::default(), BTreeMap::new(), files).await
    }

    pub async fn create_with(
        &self,
        partition: UnboundPartitionSpec,
        properties: BTreeMap<String, String>,
        files: Vec<DataFile>,
    ) -> Table {
        let folder = format!("silver/orders-{:08x}", self.storage.files.load(Ordering::Relaxed));
        let create = Operation::Create { folder, schema: schema(), partition, sort: None, properties, files };
        self.io.commit(None, &[create], &self.summary).await.unwrap().into()
    }

    /// Commits a second later than what came before.
    pub async fn commit(&self, table: &Table, operations: &[Operation]) -> Table {
        self.try_commit(table, operations).await.unwrap()
    }

    pub async fn try_commit(&self, table: &Table, operations: &[Operation]) -> polder_table::Result<Table> {
        self.system.advance(Duration::from_secs(1));
        let base = Some((table.metadata.as_ref(), table.path.as_str()));
        Ok(self.io.commit(base, operations, &self.summary).await?.into())
    }

    pub async fn append(&self, table: &Table, files: &[&str]) -> Table {
        self.commit(table, &[Operation::Append { files: files.iter().map(|f| file(f)).collect() }]).await
    }

    /// Live files as a reader who has only the metadata file finds them.
    pub async fn live(&self, table: &Table) -> BTreeSet<String> {
        let metadata = self.io.metadata(&table.path).await.unwrap();
        assert_eq!(metadata, table.metadata, "what was written is what was returned");
        let files = self.io.snapshot_files(&metadata, metadata.current_snapshot_id()).await.unwrap();
        let names: BTreeSet<_> = files.iter().map(|f| name(f.file.file_path())).collect();
        assert_eq!(names.len(), files.len(), "a file is listed twice");
        names
    }
}

pub fn location(name: &str) -> String {
    format!("file:///warehouse/data/{name}")
}

pub fn name(location: &str) -> String {
    location.strip_prefix("file:///warehouse/data/").unwrap().to_owned()
}

pub fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

pub fn locations(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| location(n)).collect()
}

/// A file of ten rows and a thousand bytes.
pub fn file(name: &str) -> DataFile {
    partitioned_file(name, Struct::empty())
}

pub fn partitioned_file(name: &str, partition: Struct) -> DataFile {
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(location(name))
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .record_count(10)
        .file_size_in_bytes(1000)
        .value_counts([(1, 10), (2, 10)].into())
        .null_value_counts([(1, 0), (2, 3)].into())
        .lower_bounds([(1, Datum::long(1)), (2, Datum::string("a"))].into())
        .upper_bounds([(1, Datum::long(9)), (2, Datum::string("z"))].into())
        .build()
        .unwrap()
}

pub fn schema() -> Schema {
    Schema::builder()
        .with_fields([column(1, "id", PrimitiveType::Long), column(2, "city", PrimitiveType::String)])
        .build()
        .unwrap()
}

/// The schema with more columns.
pub fn extended(more: impl IntoIterator<Item = Arc<NestedField>>) -> Schema {
    let mut fields = schema().as_struct().fields().to_vec();
    fields.extend(more);
    Schema::builder().with_fields(fields).build().unwrap()
}

pub fn column(id: i32, name: &str, primitive: PrimitiveType) -> Arc<NestedField> {
    NestedField::optional(id, name, Type::Primitive(primitive)).into()
}

pub fn by_city() -> UnboundPartitionSpec {
    UnboundPartitionSpec::builder().add_partition_field(2, "city", Transform::Identity).unwrap().build()
}

pub fn city(name: &str) -> Struct {
    Struct::from_iter([Some(Literal::string(name))])
}

/// What must hold for any metadata: the log, the chain of parents, sequence numbers and times.
pub fn assert_history(metadata: &TableMetadata) {
    let log = metadata.history();
    if let Some(current) = metadata.current_snapshot() {
        assert_eq!(log.last().unwrap().snapshot_id, current.snapshot_id());
        assert_eq!(metadata.last_sequence_number(), current.sequence_number());
        assert_eq!(metadata.snapshot_for_ref("main"), Some(current));
    }
    for entry in log {
        assert!(metadata.snapshot_by_id(entry.snapshot_id).is_some(), "the log names a snapshot that is gone");
    }
    for pair in log.windows(2) {
        assert!(pair[0].timestamp_ms < pair[1].timestamp_ms);
    }
    for snapshot in metadata.snapshots() {
        if let Some(parent) = snapshot.parent_snapshot_id().and_then(|id| metadata.snapshot_by_id(id)) {
            assert!(parent.sequence_number() < snapshot.sequence_number());
            assert!(parent.timestamp_ms() < snapshot.timestamp_ms());
        }
    }
    for pair in metadata.metadata_log().windows(2) {
        assert!(pair[0].timestamp_ms < pair[1].timestamp_ms);
    }
}
