//! A project folder and a lake in a temporary folder.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::util::display::array_value_to_string;
use datafusion::prelude::{SessionConfig, SessionContext};
use polder_base::{RunId, TableName, Timestamp};
use polder_catalog::{Author, Catalog, MAIN};
use polder_diag::Span;
use polder_ingest::IngestStep;
use polder_lake::{Lake, LakeOptions, Workspace};
use polder_project::{ColumnSpec, Connection, FileFormat, FileMode, FileStream, ReadMode, S3Settings, Source, Stream};
use polder_run::{Progress, Step, StepContext, StepError, StepReport};
use polder_store::{LocalDisk, MemoryState, Warehouse};
use polder_system::RealSystem;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub struct World {
    pub folder: TempDir,
    lake: Arc<Lake>,
    runs: AtomicU64,
    pub connection: Connection,
}

pub async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let disk = LocalDisk::open(folder.path().join("warehouse")).unwrap();
    let root = disk.root_url();
    let warehouse = Warehouse::new(Arc::new(disk), &root);
    let catalog = Catalog::open(Arc::new(MemoryState::new()), warehouse, RealSystem::shared()).await.unwrap();
    let options = LakeOptions {
        memory_limit_bytes: 1 << 30,
        spill_folder: folder.path().join("spill"),
        manifest_cache_bytes: 16 << 20,
    };
    let lake = Lake::open(catalog, &options).unwrap();
    World { folder, lake, runs: AtomicU64::new(0), connection: Connection::Files }
}

pub fn span() -> Span {
    Span::file(&Arc::from("sources/test.yaml"))
}

pub fn declared(types: &[(&str, &str)]) -> BTreeMap<String, ColumnSpec> {
    let spec = |data_type: &str| ColumnSpec { data_type: Some(data_type.to_owned()), comment: None, span: span() };
    types.iter().map(|(name, data_type)| ((*name).to_owned(), spec(data_type))).collect()
}

/// A stream of files that lands in `bronze.t`.
pub fn files(pattern: &str, format: FileFormat) -> Stream {
    let mode = if pattern.contains('*') { FileMode::Append } else { FileMode::Replace };
    let s3 = S3Settings::default();
    let pattern = pattern.to_owned();
    let read = FileStream { pattern, s3, format, mode, delimiter: b',', header: true, nulls: vec![] };
    stream("t", ReadMode::Files(read))
}

pub fn csv(pattern: &str) -> Stream {
    files(pattern, FileFormat::Csv)
}

pub fn file_options(stream: &mut Stream) -> &mut FileStream {
    match &mut stream.read {
        ReadMode::Files(files) => files,
        _ => panic!("not a stream of files"),
    }
}

pub fn stream(name: &str, read: ReadMode) -> Stream {
    Stream {
        name: name.to_owned(),
        table: TableName::new("bronze", "t"),
        read,
        columns: BTreeMap::new(),
        key: vec![],
        max_rejected: 0,
        locked: None,
        span: span(),
    }
}

impl World {
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the project.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path).unwrap().write_all(content.as_ref()).unwrap();
    }

    pub fn workspace(&self) -> Workspace {
        Workspace {
            lake: Arc::clone(&self.lake),
            branch: MAIN.to_owned(),
            run: RunId(self.runs.fetch_add(1, Ordering::Relaxed) + 1),
            run_time: Timestamp(1_700_000_000_000_000),
            author: Author { principal: "tester".to_owned() },
        }
    }

    pub fn step(&self, stream: &Stream, full_refresh: bool) -> IngestStep {
        let source = Source {
            name: "test".to_owned(),
            connection: self.connection.clone(),
            streams: vec![stream.clone()],
            span: span(),
        };
        IngestStep::new(self.workspace(), self.folder.path(), &source, stream, full_refresh)
    }

    pub async fn ingest(&self, stream: &Stream) -> Result<StepReport, StepError> {
        self.step(stream, false).run(&context()).await
    }

    /// Ingests, expecting success.
    pub async fn take(&self, stream: &Stream) -> StepReport {
        match self.ingest(stream).await {
            Ok(report) => report,
            Err(error) => panic!("{}", told(&error)),
        }
    }

    /// Ingests, expecting failure; gives the message, with its hints.
    pub async fn refused(&self, stream: &Stream) -> String {
        match self.ingest(stream).await {
            Ok(report) => panic!("it went well: {report:?}"),
            Err(error) => told(&error),
        }
    }

    /// The rows of a query over `t`, which is `bronze.t`, one line each.
    pub async fn sql(&self, query: &str) -> Vec<String> {
        self.sql_over("bronze.t", query).await
    }

    pub async fn sql_over(&self, table: &str, query: &str) -> Vec<String> {
        let table = self.workspace().table(&table.parse().unwrap()).await.unwrap().expect("the table is there");
        let context = SessionContext::new_with_config_rt(SessionConfig::new(), Arc::clone(self.lake.runtime()));
        context.register_table("t", table.provider()).unwrap();
        let batches = context.sql(query).await.unwrap().collect().await.unwrap();
        let mut lines = Vec::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let cell = |c| match batch.column(c) {
                    column if column.is_null(row) => "∅".to_owned(),
                    column => array_value_to_string(column, row).unwrap(),
                };
                lines.push((0..batch.num_columns()).map(cell).collect::<Vec<_>>().join(" | "));
            }
        }
        lines
    }

    pub async fn exists(&self, table: &str) -> bool {
        self.workspace().table(&table.parse().unwrap()).await.unwrap().is_some()
    }

    /// `name type` of each column that came from the source.
    pub async fn columns(&self) -> Vec<String> {
        let table = self.workspace().table(&"bronze.t".parse().unwrap()).await.unwrap().expect("the table is there");
        let fields = table.schema.fields().iter();
        fields
            .filter(|f| !f.name().starts_with('_'))
            .map(|f| format!("{} {}", f.name(), polder_ingest::sql_type(f.data_type())))
            .collect()
    }

    pub async fn comment(&self, column: &str) -> Option<String> {
        let table = self.workspace().table(&"bronze.t".parse().unwrap()).await.unwrap().unwrap();
        table.schema.field_with_name(column).unwrap().metadata().get(polder_lake::COMMENT).cloned()
    }

    pub async fn cursor(&self, name: &str) -> Option<String> {
        self.workspace().cursor(name).await.unwrap()
    }
}

pub fn context() -> StepContext {
    StepContext { cancel: CancellationToken::new(), progress: Arc::new(Progress::default()), attempt: 1 }
}

pub fn told(error: &StepError) -> String {
    match error {
        StepError::Data(diagnostic) | StepError::Outside(diagnostic) => {
            let hints: Vec<String> = diagnostic.hints.iter().map(|h| format!("\n  = {h}")).collect();
            format!("{diagnostic}{}", hints.concat())
        }
        StepError::Environment { message, transient } => {
            format!("{}: {message}", if *transient { "transient" } else { "permanent" })
        }
        other => other.to_string(),
    }
}

/// Data files below a folder: nothing may be left of a failed attempt.
pub fn parquet_files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let count = |e: std::fs::DirEntry| {
        let path = e.path();
        if path.is_dir() { parquet_files(&path) } else { usize::from(path.extension().is_some_and(|x| x == "parquet")) }
    };
    entries.flatten().map(count).sum()
}
