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
const TABLES_PER_COMMIT: usize = 500;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let tables = numbers.first().copied().unwrap_or(10_000);
    let commits = numbers.get(1).copied().unwrap_or(200);
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run(tables, commits));
}

async fn run(tables: usize, commits: usize) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Arc::new(open(folder.path()).await);

    let started = Instant::now();
    for first in (0..tables).step_by(TABLES_PER_COMMIT) {
        let changes = (first..tables.min(first + TABLES_PER_COMMIT)).map(create).collect();
        catalog.commit(MAIN, change_set(changes)).await.unwrap();
    }
    let setup = started.elapsed();
    println!("{}", serde_json::json!({ "case": "setup", "tables": tables, "seconds": setup.as_secs_f64() }));

    let before = bytes_below(folder.path());
    let one = commit_each(&catalog, 1, commits, |_, _| 0).await;
    report("one table, one writer", tables, commits, one, bytes_below(folder.path()) - before);

    let before = bytes_below(folder.path());
    let many = commit_each(&catalog, 1, commits, move |_, i| i % tables).await;
    report("many tables, one writer", tables, commits, many, bytes_below(folder.path()) - before);

    let before = bytes_below(folder.path());
    let shared = commit_each(&catalog, 8, commits / 8, move |writer, _| writer % tables).await;
    report("many tables, eight writers", tables, commits / 8 * 8, shared, bytes_below(folder.path()) - before);

    // Nothing was lost: every commit appended one file.
    let head = catalog.resolve(MAIN).await.unwrap();
    let found = catalog.log(&head, usize::MAX).await.unwrap().len();
    assert_eq!(found, 1 + tables.div_ceil(TABLES_PER_COMMIT) + 2 * commits + commits / 8 * 8, "a commit is missing");
}

async fn open(folder: &Path) -> Catalog {
    let warehouse = folder.join("warehouse");
    let state = SqliteState::open(&folder.join("state.db")).await.unwrap();
    let disk = LocalDisk::open(&warehouse).unwrap();
    let root = format!("file://{}", warehouse.display());
    Catalog::open(Arc::new(state), Warehouse::new(Arc::new(disk), &root), RealSystem::shared()).await.unwrap()
}

/// `writers` tasks, each `commits` appends, to the table that `choose(writer, i)` names.
async fn commit_each(
    catalog: &Arc<Catalog>,
    writers: usize,
    commits: usize,
    choose: impl Fn(usize, usize) -> usize + Copy + Send + 'static,
) -> Duration {
    let started = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let catalog = Arc::clone(catalog);
            tokio::spawn(async move {
                for i in 0..commits {
                    let change = append(&catalog, choose(writer, i));
                    catalog.commit(MAIN, change_set(vec![change])).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    started.elapsed()
}

fn change_set(changes: Vec<Change>) -> ChangeSet {
    ChangeSet { author: Author { principal: "bench".into() }, message: "bench".into(), run: None, changes }
}

fn table(n: usize) -> TableName {
    TableName::new(format!("ns{}", n % 20), format!("table_{n:05}"))
}

fn create(n: usize) -> Change {
    let fields = (1..=8)
        .map(|id| Arc::new(NestedField::optional(id, format!("column_{id}"), Type::Primitive(PrimitiveType::Long))));
    let operation = Operation::Create {
        folder: format!("ns{}/table_{n:05}", n % 20),
        schema: Schema::builder().with_fields(fields).build().unwrap(),
        partition: UnboundPartitionSpec::default(),
        sort: None,
        properties: BTreeMap::new(),
        files: Vec::new(),
    };
    Change::Table { table: table(n), operations: vec![operation], read: None }
}

fn append(catalog: &Catalog, n: usize) -> Change {
    let operation = Operation::Append { files: vec![data_file(catalog, n)] };
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

fn report(case: &str, tables: usize, commits: usize, elapsed: Duration, bytes: u64) {
    let rate = commits as f64 / elapsed.as_secs_f64();
    println!(
        "{}",
        serde_json::json!({
            "case": case, "tables": tables, "commits": commits,
            "commits_per_second": rate, "bytes_per_commit": bytes / commits as u64,
        })
    );
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
