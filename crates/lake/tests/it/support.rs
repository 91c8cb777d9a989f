//! A lake in a temporary folder.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::{Schema as ArrowSchema, SchemaRef};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::stream;
use polder_base::{RunId, TableName, Timestamp};
use polder_catalog::{Author, Catalog, Change, MAIN};
use polder_lake::{Lake, LakeOptions, LakeTable, Result, Workspace, WriteTarget, Written, from_arrow};
use polder_store::{LocalDisk, MemoryState, ObjectInfo, Storage, Upload, Warehouse};
use polder_system::RealSystem;
use polder_table::Operation;
use polder_table::spec::{Schema, Transform, UnboundPartitionSpec};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A disk that remembers which files were read.
#[derive(Debug)]
struct Watched {
    disk: LocalDisk,
    asked: Mutex<Vec<String>>,
}

impl Watched {
    fn ask(&self, path: &str) {
        self.asked.lock().unwrap().push(path.to_owned());
    }
}

#[async_trait::async_trait]
impl Storage for Watched {
    async fn put(&self, path: &str, bytes: Bytes) -> polder_store::Result<()> {
        self.disk.put(path, bytes).await
    }

    async fn get(&self, path: &str) -> polder_store::Result<Bytes> {
        self.ask(path);
        self.disk.get(path).await
    }

    async fn get_range(&self, path: &str, start: u64, end: u64) -> polder_store::Result<Bytes> {
        self.ask(path);
        self.disk.get_range(path, start, end).await
    }

    async fn get_ranges(&self, path: &str, ranges: &[Range<u64>]) -> polder_store::Result<Vec<Bytes>> {
        self.ask(path);
        self.disk.get_ranges(path, ranges).await
    }

    async fn head(&self, path: &str) -> polder_store::Result<ObjectInfo> {
        self.ask(path);
        self.disk.head(path).await
    }

    async fn delete(&self, path: &str) -> polder_store::Result<()> {
        self.disk.delete(path).await
    }

    async fn list(&self, folder: &str) -> polder_store::Result<Vec<ObjectInfo>> {
        self.disk.list(folder).await
    }

    async fn upload(&self, path: &str) -> polder_store::Result<Box<dyn Upload>> {
        self.disk.upload(path).await
    }
}

pub struct World {
    pub workspace: Workspace,
    storage: Arc<Watched>,
    /// Removed with the world.
    _folder: TempDir,
}

pub async fn world() -> World {
    world_with_memory(1 << 30).await
}

pub async fn world_with_memory(memory_limit_bytes: u64) -> World {
    let folder = tempfile::tempdir().unwrap();
    let disk = LocalDisk::open(folder.path().join("warehouse")).unwrap();
    let root = disk.root_url();
    let storage = Arc::new(Watched { disk, asked: Mutex::default() });
    let warehouse = Warehouse::new(Arc::<Watched>::clone(&storage), &root);
    let catalog = Catalog::open(Arc::new(MemoryState::new()), warehouse, RealSystem::shared()).await.unwrap();
    let options =
        LakeOptions { memory_limit_bytes, spill_folder: folder.path().join("spill"), manifest_cache_bytes: 16 << 20 };
    let lake = Lake::open(catalog, &options).unwrap();
    let workspace = Workspace {
        lake,
        branch: MAIN.to_owned(),
        run: RunId(7),
        run_time: Timestamp(0),
        author: Author { principal: "tester".to_owned() },
    };
    World { workspace, storage, _folder: folder }
}

pub fn name() -> TableName {
    TableName::new("silver", "t")
}

pub fn streams(batches: Vec<RecordBatch>) -> Vec<SendableRecordBatchStream> {
    match batches.first().map(RecordBatch::schema) {
        Some(schema) => vec![stream_of(schema, batches)],
        None => Vec::new(),
    }
}

pub fn stream_of(schema: SchemaRef, batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(batches.into_iter().map(Ok))))
}

impl World {
    pub fn lake(&self) -> &Arc<Lake> {
        &self.workspace.lake
    }

    /// The files that were read since this was asked before, one for each time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.storage.asked.lock().unwrap())
    }

    pub async fn table(&self) -> LakeTable {
        self.workspace.table(&name()).await.unwrap().expect("the table is there")
    }

    /// Makes the table, and gives where to write its rows.
    pub async fn create(&self, arrow: &ArrowSchema, partition: &[(&str, Transform)]) -> WriteTarget {
        self.create_with(from_arrow(arrow).unwrap(), partition).await
    }

    pub async fn create_with(&self, schema: Schema, partition: &[(&str, Transform)]) -> WriteTarget {
        let mut unbound = UnboundPartitionSpec::builder();
        for (column, transform) in partition {
            let id = schema.field_id_by_name(column).unwrap();
            unbound = unbound.add_partition_field(id, format!("{column}_{}", partition.len()), *transform).unwrap();
        }
        let operation = Operation::Create {
            folder: self.workspace.new_folder(&name()),
            schema,
            partition: unbound.build(),
            sort: None,
            properties: BTreeMap::new(),
            files: Vec::new(),
        };
        self.commit(operation).await;
        self.workspace.target(&self.table().await)
    }

    pub async fn commit(&self, operation: Operation) {
        let change = Change::Table { table: name(), operations: vec![operation], read: None };
        self.workspace.commit("test", vec![change]).await.unwrap();
    }

    pub async fn write(&self, target: &WriteTarget, batches: Vec<RecordBatch>) -> Result<Written> {
        self.lake().write(target, streams(batches), &CancellationToken::new(), &|_, _| {}).await
    }

    /// Appends rows, each call as files of its own.
    pub async fn append(&self, batches: Vec<RecordBatch>) {
        let target = self.workspace.target(&self.table().await);
        let written = self.write(&target, batches).await.unwrap();
        if !written.files.is_empty() {
            self.commit(Operation::Append { files: written.files }).await;
        }
    }

    /// A session in which the table is called `t`.
    pub async fn session(&self) -> SessionContext {
        let config = SessionConfig::new().with_target_partitions(2);
        let context = SessionContext::new_with_config_rt(config, Arc::clone(self.lake().runtime()));
        context.register_table("t", self.table().await.provider()).unwrap();
        context
    }

    pub async fn query(&self, sql: &str) -> Vec<RecordBatch> {
        self.session().await.sql(sql).await.unwrap().collect().await.unwrap()
    }

    /// Rows as text, in the order of the query.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        self.query(sql).await.iter().flat_map(text_rows).collect()
    }

    pub async fn explain(&self, sql: &str) -> String {
        let rows = self.query(&format!("explain {sql}")).await;
        rows.iter().flat_map(text_rows).collect::<Vec<_>>().join("\n")
    }

    /// Data files on the disk, whether or not a table knows them.
    pub async fn data_files(&self) -> Vec<String> {
        let storage = self.lake().catalog().tables().warehouse().storage().clone();
        let files = storage.list("silver").await.unwrap();
        files.into_iter().map(|info| info.path).filter(|path| path.ends_with(".parquet")).collect()
    }
}

pub fn text_rows(batch: &RecordBatch) -> Vec<String> {
    (0..batch.num_rows())
        .map(|row| {
            let values = batch.columns().iter().map(|column| match column.is_null(row) {
                true => "NULL".to_owned(),
                false => array_value_to_string(column, row).unwrap(),
            });
            values.collect::<Vec<_>>().join("|")
        })
        .collect()
}
