//! Records of runs: `system.runs`, `system.steps`, `system.checks`, `system.pipelines`.

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result as DfResult;
use polder_base::{RunId, TableName, Timestamp};
use polder_run::{CheckRecord, PipelineRecord, RunRecord, StepRecord};
use polder_store::Space;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Reader;
use super::columns::Columns;
use super::wanted::Wanted;
use crate::Result;

/// A record, and what of it may be told.
pub(super) struct Told<R> {
    record: R,
    /// The principal may see all of its table.
    open: bool,
    /// No policy at all is for the principal.
    unbound: bool,
}

impl<R> Told<R> {
    /// What counts rows of the record's table.
    fn count(&self, f: impl Fn(&R) -> Option<u64>) -> Option<u64> {
        if self.open { f(&self.record) } else { None }
    }

    /// What quotes or counts rows of any table that was read.
    fn free<T>(&self, f: impl Fn(&R) -> Option<T>) -> Option<T> {
        if self.open && self.unbound { f(&self.record) } else { None }
    }
}

impl Reader {
    pub(super) async fn read_runs(&self, wanted: &Wanted) -> Result<Vec<Told<RunRecord>>> {
        let prefix = wanted.run.map_or_else(String::new, |run| RunRecord::key(RunId(run)));
        let records: Vec<RunRecord> = self.records(Space::Runs, &prefix).await?;
        let unbound = !self.is_bound();
        Ok(records.into_iter().map(|record| Told { record, open: true, unbound }).collect())
    }

    pub(super) async fn read_steps(&self, wanted: &Wanted) -> Result<Vec<Told<StepRecord>>> {
        let prefix = wanted.run.map_or_else(String::new, |run| StepRecord::prefix(RunId(run)));
        let records: Vec<StepRecord> = self.records(Space::Steps, &prefix).await?;
        Ok(self.told(records, |record| &record.step.resource))
    }

    pub(super) async fn read_checks(&self, wanted: &Wanted) -> Result<Vec<Told<CheckRecord>>> {
        let prefix = wanted.run.map_or_else(String::new, |run| StepRecord::prefix(RunId(run)));
        let records: Vec<CheckRecord> = self.records(Space::Checks, &prefix).await?;
        Ok(self.told(records, |record| &record.table))
    }

    pub(super) async fn read_pipelines(&self) -> Result<Vec<Told<PipelineRecord>>> {
        let records: Vec<PipelineRecord> = self.records(Space::Pipelines, "").await?;
        let unbound = !self.is_bound();
        Ok(records.into_iter().map(|record| Told { record, open: true, unbound }).collect())
    }

    /// The records that the principal may know of, by the name of what they are about: a table, or a query, which may
    /// read any table.
    fn told<R>(&self, records: Vec<R>, about: impl Fn(&R) -> &str) -> Vec<Told<R>> {
        let unbound = !self.is_bound();
        let told = |record: R| match about(&record).parse::<TableName>() {
            Ok(table) => {
                let decision = self.decide(&table, None);
                decision.denied.is_none().then(|| Told { open: decision.is_open(), record, unbound })
            }
            Err(_) => Some(Told { open: unbound, record, unbound }),
        };
        records.into_iter().filter_map(told).collect()
    }

    async fn records<R: DeserializeOwned>(&self, space: Space, prefix: &str) -> Result<Vec<R>> {
        const PAGE: usize = 1000;
        let state = self.catalog().state();
        let (mut records, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = state.scan(space, prefix, after.as_deref(), PAGE).await?;
            for (key, bytes) in &page {
                // The others have nothing to do with one that cannot be read.
                match serde_json::from_slice(bytes) {
                    Ok(record) => records.push(record),
                    Err(error) => tracing::warn!(?space, key, %error, "a record cannot be read: it is left out"),
                }
            }
            let full = page.len() == PAGE;
            match page.into_iter().next_back() {
                Some((last, _)) if full => after = Some(last),
                _ => return Ok(records),
            }
        }
    }
}

/// The name that an enum of the records has in JSON: `published`, `reused`.
fn word(value: &impl serde::Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => Some(word),
        _ => None,
    }
}

pub(super) fn runs(rows: &[Told<RunRecord>], now: Timestamp) -> DfResult<RecordBatch> {
    Columns::of(rows)
        .count("run", |r| Some(r.record.id.0))
        .text("kind", |r| word(&r.record.kind))
        .text("status", |r| word(&r.record.status))
        .text("reason", |r| r.free(|r| r.reason.clone()))
        .text("target", |r| Some(r.record.target.as_str()))
        .text("branch", |r| Some(r.record.branch.as_str()))
        .text("principal", |r| Some(r.record.principal.as_str()))
        .time("started", |r| Some(r.record.started))
        .time("finished", |r| r.record.finished)
        .count("elapsed_ms", |r| Some(r.record.elapsed_ms(now)))
        .time("run_time", |r| Some(r.record.run_time))
        .text("base", |r| Some(r.record.base.as_str()))
        .text("published", |r| r.record.commit.as_deref())
        .text("selection", |r| Some(selection(&r.record)))
        .boolean("full_refresh", |r| Some(r.record.full_refresh))
        .text("environment", |r| r.record.environment.as_deref())
        .text("version", |r| Some(r.record.version.as_str()))
        .text("git_commit", |r| r.record.git_commit.as_deref())
        .boolean("git_dirty", |r| Some(r.record.git_dirty))
        .count("resumed", |r| Some(u64::from(r.record.resumed)))
        .text("held", |r| r.free(|r| joined(r.held.iter().map(|held| held.table.as_str()))))
        .text("took_over_from", |r| joined(r.record.took_over.iter().map(|t| t.run.to_string())))
        .text("superseded_by", |r| joined(r.record.superseded.iter().map(ToString::to_string)))
        .count("same_as", |r| r.record.same_as.map(|first| first.0))
        .text("pipeline", |r| r.record.pipeline.as_deref())
        .time("due", |r| r.record.due)
        .batch()
}

/// A list, each of its items once; NULL for an empty one.
fn joined<T: AsRef<str>>(items: impl Iterator<Item = T>) -> Option<String> {
    let mut all: Vec<String> = Vec::new();
    for item in items {
        if !all.iter().any(|known| known == item.as_ref()) {
            all.push(item.as_ref().to_owned());
        }
    }
    (!all.is_empty()).then(|| all.join(", "))
}

/// As it was typed: `silver.* --exclude silver.tmp`.
fn selection(run: &RunRecord) -> String {
    let mut words = run.select.clone();
    words.extend(run.exclude.iter().flat_map(|name| ["--exclude".to_owned(), name.clone()]));
    words.join(" ")
}

pub(super) fn steps(rows: &[Told<StepRecord>]) -> DfResult<RecordBatch> {
    Columns::of(rows)
        .count("run", |s| Some(s.record.run.0))
        .text("kind", |s| Some(s.record.step.kind.as_str()))
        .text("resource", |s| Some(s.record.step.resource.as_str()))
        .text("partition", |s| s.record.step.partition.as_deref())
        .text("status", |s| word(&s.record.status))
        .count("attempt", |s| Some(u64::from(s.record.attempt)))
        .time("started", |s| s.record.started)
        .time("finished", |s| s.record.finished)
        .count("elapsed_ms", |s| s.record.finished.map(|_| s.record.elapsed_ms()))
        .count("rows", |s| s.count(|r| r.report.rows))
        .count("replaced", |s| s.count(|r| r.report.replaced))
        .count("rejected", |s| s.count(|r| Some(r.report.rejected)))
        .count("bytes", |s| s.count(|r| r.report.bytes))
        .text("note", |s| s.free(|r| r.report.note.clone()))
        .text("error", |s| s.free(|r| r.failure.as_ref().map(|failure| failure.message.clone())))
        .text("fingerprint", |s| s.record.fingerprint.as_ref().map(|f| f.0.as_str()))
        .batch()
}

pub(super) fn checks(rows: &[Told<CheckRecord>]) -> DfResult<RecordBatch> {
    Columns::of(rows)
        .count("run", |c| Some(c.record.run.0))
        .text("resource", |c| Some(c.record.table.as_str()))
        .text("check_name", |c| c.open.then_some(c.record.check.as_str()))
        .text("severity", |c| Some(c.record.severity.as_str()))
        .boolean("passed", |c| Some(c.record.passed))
        .count("failed_rows", |c| c.free(|r| r.failed_rows))
        .count("total_rows", |c| c.count(|r| r.total_rows))
        .text("detail", |c| c.free(|r| r.detail.clone()))
        .text("query", |c| c.free(|r| r.query.clone()))
        .text("file", |c| Some(c.record.file.as_str()))
        .count("line", |c| Some(u64::from(c.record.line)))
        .time("at", |c| Some(c.record.at))
        .boolean("accepted", |c| Some(c.record.accepted))
        .batch()
}

/// Pipelines as the scheduler last left them.
pub(super) fn pipelines(rows: &[Told<PipelineRecord>]) -> DfResult<RecordBatch> {
    Columns::of(rows)
        .text("name", |p| Some(p.record.pipeline.as_str()))
        .text("schedule", |p| Some(p.record.schedule.as_str()))
        .text("time_zone", |p| p.record.time_zone.as_deref())
        .boolean("paused", |p| Some(p.record.paused))
        .text("status", |p| p.record.status())
        .time("next", |p| p.record.next)
        .time("last_due", |p| p.record.last_due())
        .count("last_run", |p| p.record.last_run().map(|run| run.0))
        .text("reason", |p| p.free(|p| p.reason().map(str::to_owned)))
        .time("failing_since", |p| p.record.failing_since)
        .time("skipped", |p| p.record.skipped)
        .batch()
}
