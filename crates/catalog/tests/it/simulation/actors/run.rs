//! Runs: fork, steps, prepare, publish; resumed by whoever finds them unfinished.
//!
//! A step and its record are one transaction under the run's lease, and so are the publication and the run's record:
//! a resumed run does each step once, and no run is published twice or without knowing.

use std::collections::BTreeSet;
use std::time::Duration;

use polder_base::RunId;
use polder_catalog::{Author, CatalogError, Change, Entry, EntryKey, Lease, TableEntry};
use polder_store::{Batch, Outcome as Applied, Space, StoreError};
use polder_table::Operation;
use serde::{Deserialize, Serialize};

use super::{Outcome, Trouble, any_source, ingest, trouble};
use crate::simulation::world::{Cx, Sabotage};
use crate::support::{
    append_change, change_set, create, cursor, find_table, new_folder, relation, rows_of, rows_of_file, schema, table,
    write_rows,
};

pub const MARKS: [&str; 2] = ["audit.first", "audit.second"];
pub const COUNTER: &str = "audit.counter";
pub const SERIES: &str = "audit.series";
const MODEL: &str = "silver.model";
const VIEW: &str = "gold.latest";
const TTL: Duration = Duration::from_secs(300);
const KEPT: Duration = Duration::from_secs(2400);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Writes the run's number into one of two tables: either both are published or none.
    Mark(usize),
    Ingest(usize),
    /// Reads the counter's files and writes them anew with the run's number added.
    Increment,
    /// Reads the greatest number of a table and appends the next one.
    Next,
    /// A model built in full, or taken over from an equal build.
    Model,
    View,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Running,
    Published,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    pub run: RunId,
    pub status: Status,
    pub steps: Vec<Step>,
}

impl RunRecord {
    pub fn increments(&self) -> bool {
        self.steps.contains(&Step::Increment)
    }
}

pub fn run_key(run: RunId) -> String {
    format!("{:020}", run.0)
}

pub async fn program(cx: Cx) {
    while !cx.world.is_stopping() {
        let turn = async {
            let unfinished = unfinished(&cx).await?;
            match cx.world.pick(&unfinished).filter(|_| cx.world.chance(0.7)) {
                Some(record) => drive(&cx, record.clone()).await,
                None => {
                    let record = plan(&cx).await?;
                    drive(&cx, record).await
                }
            }
        };
        if let Err(error) = turn.await {
            trouble(&cx, "run", &error);
        }
    }
}

/// Brings all unfinished runs to an end.
pub async fn finish_all(cx: &Cx) -> Outcome {
    for record in unfinished(cx).await? {
        // Whoever had it is gone; its lease is not over yet.
        cx.world.pass_time(TTL);
        drive(cx, record).await?;
    }
    Ok(())
}

async fn unfinished(cx: &Cx) -> Outcome<Vec<RunRecord>> {
    let records = cx.catalog.state().scan(Space::Runs, "", None, 10_000).await?;
    let records = records.into_iter().map(|(_, raw)| serde_json::from_slice::<RunRecord>(&raw).unwrap());
    Ok(records.filter(|r| r.status == Status::Running).collect())
}

fn author(run: RunId) -> Author {
    Author { principal: format!("run {run}") }
}

/// A new run, with its record.
async fn plan(cx: &Cx) -> Outcome<RunRecord> {
    let run = cx.catalog.next_run().await?;
    let mut steps = vec![Step::Mark(0), Step::Mark(1)];
    if cx.world.chance(0.7) {
        steps.push(Step::Ingest(any_source(cx)));
    }
    if cx.world.chance(0.4) {
        steps.push(Step::Increment);
    }
    if cx.world.chance(0.3) {
        steps.push(Step::Next);
    }
    if cx.world.chance(0.6) {
        steps.push(Step::Model);
    }
    if cx.world.chance(0.15) {
        steps.push(Step::View);
    }
    for last in (1..steps.len()).rev() {
        steps.swap(last, cx.world.below(last as u64 + 1) as usize);
    }
    let record = RunRecord { run, status: Status::Running, steps };
    let batch = Batch::new().expect(Space::Runs, run_key(run), None).put(
        Space::Runs,
        run_key(run),
        serde_json::to_vec(&record).unwrap(),
    );
    match cx.catalog.state().apply(batch).await? {
        Applied::Applied => Ok(record),
        Applied::Refused { .. } => panic!("run {run} was given out twice"),
    }
}

/// Takes a run as far as it goes. Errors leave it for another time.
async fn drive(cx: &Cx, record: RunRecord) -> Outcome {
    let mut lease = cx.catalog.acquire_lease(record.run, TTL).await?;
    let raw = cx.catalog.state().get(Space::Runs, &run_key(record.run)).await?.unwrap();
    // Another process may have ended it since we looked.
    let record: RunRecord = serde_json::from_slice(&raw).unwrap();
    let end = if record.status == Status::Running { execute(cx, &record, &mut lease).await } else { Ok(()) };
    match &end {
        Ok(()) => {}
        Err(CatalogError::Conflict { .. }) => fail(cx, &record, &lease).await?,
        Err(error) if trouble(cx, "run", error) == Trouble::Gone => fail(cx, &record, &lease).await?,
        Err(_) => {}
    }
    cx.catalog.release_claims(record.run).await?;
    cx.catalog.release_lease(&lease).await?;
    Ok(())
}

/// A run that cannot go on: the branch stays until it expires.
async fn fail(cx: &Cx, record: &RunRecord, lease: &Lease) -> Outcome {
    cx.world.count("runs failed");
    let batch = lease.expect(Batch::new())?;
    let batch = finished(batch, record, Status::Failed);
    cx.catalog.state().apply(batch).await?;
    Ok(())
}

/// Changes a run's record, provided that it is as it was.
fn finished(batch: Batch, record: &RunRecord, status: Status) -> Batch {
    let raw = |record: &RunRecord| serde_json::to_vec(record).unwrap();
    batch.expect(Space::Runs, run_key(record.run), Some(raw(record).into())).put(
        Space::Runs,
        run_key(record.run),
        raw(&RunRecord { status, ..record.clone() }),
    )
}

async fn execute(cx: &Cx, record: &RunRecord, lease: &mut Lease) -> Outcome {
    let (run, branch) = (record.run, record.run.branch());
    // The record moves with the ref, so a run that is running is not published.
    assert_eq!(cx.catalog.find_published(run, "main").await?, None, "run {run} was published without its record");
    if record.increments() && cx.world.chance(0.5) {
        cx.catalog.claim(run, "main", &[table(COUNTER)]).await?;
    }
    let done = steps_done(cx, run).await?;
    if cx.catalog.find_ref(&branch).await?.is_none() {
        if !done.is_empty() {
            return Err(CatalogError::UnknownRef { name: branch, nearest: None });
        }
        let head = cx.head("main").await?;
        let expires = cx.catalog.system().now() + KEPT;
        cx.catalog.create_branch(&branch, &head, Some(expires)).await?;
    }
    for (index, step) in record.steps.iter().enumerate() {
        if !done.contains(&index) {
            if cx.world.chance(0.2) {
                *lease = cx.catalog.renew_lease(lease, TTL).await?;
            }
            do_step(cx, run, index, step, lease).await?;
        }
    }
    publish(cx, record, lease).await
}

async fn steps_done(cx: &Cx, run: RunId) -> Outcome<BTreeSet<usize>> {
    let prefix = format!("{}/", run_key(run));
    let records = cx.catalog.state().scan(Space::Steps, &prefix, None, 1000).await?;
    Ok(records.into_iter().map(|(key, _)| key[prefix.len()..].parse().unwrap()).collect())
}

/// Commits a step to the run's branch, with its record.
async fn do_step(cx: &Cx, run: RunId, index: usize, step: &Step, lease: &Lease) -> Outcome {
    let changes = match step {
        Step::Mark(which) => mark(cx, run, *which).await?,
        Step::Ingest(source) => {
            let head = cx.head(&run.branch()).await?;
            ingest(cx, &head, *source, &file_name(cx, run)).await?.unwrap_or_default()
        }
        Step::Increment => increment(cx, run).await?,
        Step::Next => next(cx, run).await?,
        Step::Model => model(cx, run).await?,
        Step::View => view(run),
    };
    let key = format!("{}/{index}", run_key(run));
    let also = lease.expect(Batch::new())?.expect(Space::Steps, key.clone(), None).put(Space::Steps, key, "done");
    cx.catalog.commit_with(&run.branch(), change_set(&format!("{step:?}"), Some(run), changes), also).await?;
    Ok(())
}

fn file_name(cx: &Cx, run: RunId) -> String {
    cx.world.unique(&format!("run-{run}"))
}

async fn mark(cx: &Cx, run: RunId, which: usize) -> Outcome<Vec<Change>> {
    let head = cx.head(&run.branch()).await?;
    let row = vec![run.to_string()];
    Ok(vec![append_change(&cx.catalog, &head, MARKS[which], &file_name(cx, run), &row).await?])
}

/// Read, modify, write.
async fn increment(cx: &Cx, run: RunId) -> Outcome<Vec<Change>> {
    let head = cx.head(&run.branch()).await?;
    let warehouse = cx.catalog.tables().warehouse();
    let Some((entry, folder)) = find_table(&cx.catalog, &head, COUNTER).await? else {
        let folder = new_folder(&cx.catalog, COUNTER);
        let file = write_rows(warehouse, &folder, &file_name(cx, run), &[run.to_string()]).await?;
        let operations = vec![create(&folder, vec![file])];
        return Ok(vec![Change::Table { table: table(COUNTER), operations, read: None }]);
    };
    let metadata = cx.catalog.metadata(&entry).await?;
    let files = cx.catalog.tables().snapshot_files(&metadata, metadata.current_snapshot_id()).await?;
    let mut rows = vec![run.to_string()];
    let mut remove = BTreeSet::new();
    for info in files {
        // Some of the files: the others stay as they are.
        if remove.is_empty() || cx.world.chance(0.5) {
            rows.extend(rows_of_file(warehouse, info.file.file_path()).await?);
            remove.insert(info.file.file_path().to_owned());
        }
    }
    let add = vec![write_rows(warehouse, &folder, &file_name(cx, run), &rows).await?];
    let read = Some(entry.metadata_path);
    Ok(vec![Change::Table { table: table(COUNTER), operations: vec![Operation::Overwrite { remove, add }], read }])
}

/// An append, but not a blind one.
async fn next(cx: &Cx, run: RunId) -> Outcome<Vec<Change>> {
    let head = cx.head(&run.branch()).await?;
    let warehouse = cx.catalog.tables().warehouse();
    let file = file_name(cx, run);
    let Some((entry, folder)) = find_table(&cx.catalog, &head, SERIES).await? else {
        return Ok(vec![append_change(&cx.catalog, &head, SERIES, &file, &["1".to_owned()]).await?]);
    };
    let rows = rows_of(cx.catalog.tables(), &entry.metadata_path).await?;
    let greatest = rows.iter().map(|row| row.parse::<u64>().unwrap()).max().unwrap_or_default();
    let files = vec![write_rows(warehouse, &folder, &file, &[(greatest + 1).to_string()]).await?];
    let read = Some(entry.metadata_path).filter(|_| !cx.world.is_sabotaged_by(Sabotage::ReadNotSaid));
    Ok(vec![Change::Table { table: table(SERIES), operations: vec![Operation::Append { files }], read }])
}

/// What a finished build left for equal ones.
#[derive(Debug, Serialize, Deserialize)]
struct Built {
    uuid: String,
    metadata_path: String,
    snapshot_id: Option<i64>,
}

/// Says how far a source was read when it was built.
async fn model(cx: &Cx, run: RunId) -> Outcome<Vec<Change>> {
    let head = cx.head(&run.branch()).await?;
    let source = super::source_cursor(0);
    let read = cursor(&cx.catalog, &head, &source).await?.map_or(0, |value| value.parse::<u64>().unwrap());
    // Coarse, so that equal builds are frequent.
    let fingerprint = (read / 8).to_string();
    if let Some(raw) = cx.catalog.state().get(Space::Fingerprints, &fingerprint).await? {
        let built: Built = serde_json::from_slice(&raw).unwrap();
        let entry = Entry::Table(TableEntry {
            uuid: built.uuid,
            metadata_path: built.metadata_path,
            snapshot_id: built.snapshot_id,
        });
        let take = vec![Change::Take { key: relation(MODEL), entry }];
        match cx.catalog.commit(&run.branch(), change_set("Take over", Some(run), take)).await {
            Ok(_) => {
                cx.world.count("builds taken over");
                return Ok(Vec::new());
            }
            Err(CatalogError::Invalid(text)) if text.contains("not there any more") => {
                cx.world.count("builds that were gone");
            }
            Err(other) => return Err(other),
        }
    }
    let rows = vec![format!("as of {fingerprint}")];
    let warehouse = cx.catalog.tables().warehouse();
    let change = match find_table(&cx.catalog, &head, MODEL).await? {
        None => {
            let folder = new_folder(&cx.catalog, MODEL);
            let file = write_rows(warehouse, &folder, &file_name(cx, run), &rows).await?;
            Change::Table { table: table(MODEL), operations: vec![create(&folder, vec![file])], read: None }
        }
        Some((entry, folder)) => {
            let file = write_rows(warehouse, &folder, &file_name(cx, run), &rows).await?;
            let operations = vec![Operation::Replace { schema: None, files: vec![file] }];
            Change::Table { table: table(MODEL), operations, read: Some(entry.metadata_path) }
        }
    };
    let commit = cx.catalog.commit(&run.branch(), change_set("Build", Some(run), vec![change])).await?;
    if let Some(Entry::Table(entry)) = cx.catalog.entry(&commit, &relation(MODEL)).await? {
        let built = Built { uuid: entry.uuid, metadata_path: entry.metadata_path, snapshot_id: entry.snapshot_id };
        let raw = serde_json::to_vec(&built).unwrap();
        cx.catalog.state().apply(Batch::new().put(Space::Fingerprints, fingerprint, raw)).await?;
    }
    Ok(Vec::new())
}

fn view(run: RunId) -> Vec<Change> {
    let sql = format!("select * from silver.model -- {}", run.0 % 3);
    vec![Change::View { table: table(VIEW), sql, schema: schema().into(), comment: None }]
}

async fn publish(cx: &Cx, record: &RunRecord, lease: &Lease) -> Outcome {
    let run = record.run;
    for _ in 0..4 {
        let prepared =
            cx.catalog.prepare(Some(run), &run.branch(), "main", &author(run), &format!("Run {run}")).await?;
        if !prepared.rebased.is_empty() {
            cx.world.count("tables replayed");
        }
        let batch = finished(Batch::new(), record, Status::Published);
        if let Some(commit) = cx.catalog.publish(&prepared, Some(lease), batch).await? {
            // Only a process that took the run over can have published it, and then the lease says so.
            assert_ne!(prepared.commit, prepared.onto, "run {run} marked two tables, and had nothing to publish");
            cx.world.count("runs published");
            cx.world.trace(|| format!("p{} published run {run} as {}", cx.process, commit.short()));
            if cx.world.chance(0.7) {
                // A branch that is left behind expires.
                match cx.catalog.delete_ref(&run.branch()).await {
                    Ok(()) | Err(CatalogError::UnknownRef { .. } | CatalogError::Store(StoreError::Io { .. })) => {}
                    Err(other) => return Err(other),
                }
            }
            return Ok(());
        }
        cx.world.count("publications lost");
    }
    Ok(())
}

/// The marks of a published run must not depend on who counts them.
pub fn key_of_marks() -> [EntryKey; 2] {
    MARKS.map(relation)
}
