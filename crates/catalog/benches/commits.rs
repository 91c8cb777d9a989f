//! Commits per second in a catalog of many tables, and the bytes that each writes: SQLite and local disk, everything
//! durable, as in use. Prints one JSON object a line; `make bench` reads them.
//!
//! `cargo bench -p polder-catalog --bench commits -- [TABLES] [COMMITS]`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use polder_base::TableName;
use polder_catalog::{Author, Catalog, Change, ChangeSet, MAIN};
use polder_store::{LocalDisk, SqliteState, Warehouse};
use polder_system::RealSystem;
use polder_table::Operation;
use polder_table::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, NestedField, PrimitiveType, Schema, Struct, Type,
    UnboundPartitionSpec,
};

/// Tables that one commit of the set-up makes.
const TABLES_PER_COMMIT: usize = 100;
/// Tables that one commit over many appends to: a run that publishes.
const TABLES_OF_A_RUN: usize = 100;
const WRITERS: usize = 8;
/// The step from one table to the next where commits go to many: neighbours share nodes of the tree.
const STRIDE: usize = 7919;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let tables = numbers.first().copied().unwrap_or(10_000);
    let commits = numbers.get(1).copied().unwrap_or(200);
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run(tables, commits));
}

async fn run(tables: usize, commits: usize) {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench { catalog: Arc::new(open(folder.path()).await), folder: folder.path(), tables };

    // Writers at once: the tables of one commit are written one after the other.
    let mut makes = vec![Vec::new(); WRITERS];
    for (commit, first) in (0..tables).step_by(TABLES_PER_COMMIT).enumerate() {
        makes[commit % WRITERS].push((first..tables.min(first + TABLES_PER_COMMIT)).map(create).collect());
    }
    let mut made = bench.measure("making the tables, 100 at once, eight writers", makes).await;

    let each = commits.div_ceil(WRITERS);
    let mut many = (0..).map(|n| n * STRIDE % tables);
    let mut next = |_| vec![bench.append(many.next().unwrap())];
    let one = |_| vec![bench.append(0)];
    made += bench.measure("to one table", vec![(0..commits).map(one).collect()]).await;
    made += bench.measure("to one table, eight writers", batches(each, one)).await;
    made += bench.measure("to many tables", vec![(0..commits).map(&mut next).collect()]).await;
    made += bench.measure("to many tables, eight writers", batches(each, &mut next)).await;
    let mut publish = |_| (0..TABLES_OF_A_RUN.min(tables)).flat_map(&mut next).collect();
    made += bench.measure("to 100 tables at once", vec![(0..commits.div_ceil(20)).map(&mut publish).collect()]).await;

    // Nothing was lost, and no two became one. The first commit is the empty one of a new catalog.
    let head = bench.catalog.resolve(MAIN).await.unwrap();
    assert_eq!(bench.catalog.log(&head, usize::MAX).await.unwrap().len(), 1 + made, "a commit is missing");
}

/// The commits of all writers.
fn batches(each: usize, mut changes: impl FnMut(usize) -> Vec<Change>) -> Vec<Vec<Vec<Change>>> {
    (0..WRITERS).map(|_| (0..each).map(&mut changes).collect()).collect()
}

async fn open(folder: &Path) -> Catalog {
    let warehouse = folder.join("warehouse");
    let state = SqliteState::open(&folder.join("state.db")).await.unwrap();
    let disk = LocalDisk::open(&warehouse).unwrap();
    let root = format!("file://{}", warehouse.display());
    Catalog::open(Arc::new(state), Warehouse::new(Arc::new(disk), &root), RealSystem::shared()).await.unwrap()
}

struct Bench<'a> {
    catalog: Arc<Catalog>,
    folder: &'a Path,
    tables: usize,
}

impl Bench<'_> {
    /// Makes the commits of each writer, all writers at once, and prints what they cost. Returns how many they were.
    async fn measure(&self, case: &str, writers: Vec<Vec<Vec<Change>>>) -> usize {
        let commits = writers.iter().map(Vec::len).sum();
        let (written, kept) = (bytes_written(), bytes_below(self.folder));
        let started = Instant::now();
        let tasks: Vec<_> =
            writers.into_iter().map(|all| tokio::spawn(commit_all(Arc::clone(&self.catalog), all))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        let elapsed = started.elapsed();
        let written = bytes_written().zip(written).map(|(after, before)| after - before);
        // The log of SQLite may have become shorter.
        let kept = bytes_below(self.folder).saturating_sub(kept);
        self.report(case, commits, elapsed, written, kept);
        commits
    }

    fn report(&self, case: &str, commits: usize, elapsed: Duration, written: Option<u64>, kept: u64) {
        let each = |bytes: u64| bytes / commits.max(1) as u64;
        println!(
            "{}",
            serde_json::json!({
                "case": case,
                "tables": self.tables,
                "commits": commits,
                "commits_per_second": commits as f64 / elapsed.as_secs_f64(),
                "bytes_written_per_commit": written.map(each),
                "bytes_kept_per_commit": each(kept),
            })
        );
    }

    /// One file more. The file is made here, so that it is not on the clock.
    fn append(&self, n: usize) -> Change {
        let operation = Operation::Append { files: vec![data_file(&self.catalog, n)] };
        Change::Table { table: table(n), operations: vec![operation], read: None }
    }
}

async fn commit_all(catalog: Arc<Catalog>, all: Vec<Vec<Change>>) {
    for changes in all {
        let author = Author { principal: "bench".into() };
        catalog.commit(MAIN, ChangeSet { author, message: "bench".into(), run: None, changes }).await.unwrap();
    }
}

fn table(n: usize) -> TableName {
    TableName::new(format!("ns{}", n % 20), format!("table_{n:05}"))
}

fn create(n: usize) -> Change {
    let fields = (1..=8)
        .map(|id| Arc::new(NestedField::optional(id, format!("column_{id}"), Type::Primitive(PrimitiveType::Long))));
    let operation = Operation::Create {
        // One for many tables: thousands of folders take longer to remove than all that is measured here.
        folder: format!("ns{}", n % 20),
        schema: Schema::builder().with_fields(fields).build().unwrap(),
        partition: UnboundPartitionSpec::default(),
        sort: None,
        properties: BTreeMap::new(),
        files: Vec::new(),
    };
    Change::Table { table: table(n), operations: vec![operation], read: None }
}

/// An empty data file: a commit looks whether it is there, and at its numbers.
fn data_file(catalog: &Catalog, n: usize) -> DataFile {
    let location = catalog.tables().warehouse().location(&format!("data-{n}-{}.parquet", uuid::Uuid::new_v4()));
    std::fs::File::create(location.strip_prefix("file://").unwrap()).unwrap();
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(location)
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .partition_spec_id(0)
        .record_count(1000)
        .file_size_in_bytes(100_000)
        .build()
        .unwrap()
}

/// What this process has written so far, to files or elsewhere, where the system counts it (Linux).
fn bytes_written() -> Option<u64> {
    let counts = std::fs::read_to_string("/proc/self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok())
}

fn bytes_below(folder: &Path) -> u64 {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() { bytes_below(&entry.path()) } else { metadata.len() }
        })
        .sum()
}
