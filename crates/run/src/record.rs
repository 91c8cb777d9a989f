//! What is kept about runs, steps and checks, and under which keys.
//!
//! The records are JSON in the state store's spaces `Runs`, `Steps` and `Checks`, and are read as `system.runs`,
//! `system.steps` and `system.checks`. Fields are only ever added, each with a default.

use std::collections::BTreeMap;

use polder_base::{Publish, RunId, Timestamp};
use polder_diag::Diagnostic;
use serde::{Deserialize, Serialize};

use crate::{CheckFailure, CheckPassed, Fingerprint, RunKind, RunStatus, StepError, StepKey, StepReport, StepStatus};

/// A run, from its start on. Key: the run's number in 20 digits, so that text order is number order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub id: RunId,
    #[serde(default)]
    pub kind: RunKind,
    /// The ref that the run publishes to, or whose tables are checked.
    pub target: String,
    /// The ref that it writes to until then; of checks alone, the ref that they read.
    pub branch: String,
    pub status: RunStatus,
    /// Why it is held or failed, in one line.
    #[serde(default)]
    pub reason: Option<String>,
    pub principal: String,
    pub started: Timestamp,
    /// What `run_time()` and `now()` are in every step of this run, also when it is resumed.
    pub run_time: Timestamp,
    #[serde(default)]
    pub finished: Option<Timestamp>,
    /// The target's commit that the run started from.
    pub base: String,
    /// The commit that the target moved to.
    #[serde(default)]
    pub commit: Option<String>,
    /// The selection as it was typed; empty: everything.
    #[serde(default)]
    pub select: Vec<String>,
    #[serde(default)]
    pub exclude: Vec<String>,
    #[serde(default)]
    pub full_refresh: bool,
    /// The environment of `polder.yaml` that was chosen.
    #[serde(default)]
    pub environment: Option<String>,
    /// Values given on the command line for `var('name')`.
    #[serde(default)]
    pub vars: BTreeMap<String, serde_json::Value>,
    /// The version of Polder that runs it.
    pub version: String,
    /// The commit of the project's git repository, and whether files differed from it.
    #[serde(default)]
    pub git_commit: Option<String>,
    #[serde(default)]
    pub git_dirty: bool,
    /// The project's files as the run saw them: path → BLAKE3 hash of the text, the key in the space `Blobs`.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// How many times the run was taken up again.
    #[serde(default)]
    pub resumed: u32,
    /// What it did does not go on top of what others published meanwhile, however often it is tried.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// What of it is published when something goes wrong.
    #[serde(default)]
    pub publish: Publish,
    /// The commits by which parts of it were published, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// What was held back when the rest was published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldTable>,
    /// Where it went on from what an earlier run had read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub took_over: Vec<TakenOver>,
    /// Later runs that went on from what this one had read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<RunId>,
    /// Who decided that it is published although it was held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Acceptance>,
    /// The held run that this one came to the same as: it has no branch of its own, and what is decided about that run
    /// decides about this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<RunId>,
    /// The person who asked it to end, where that is how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// The pipeline that it is a run of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// The time of its schedule that it is for; none where it was started by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
}

/// A table or view that stays on the run's branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldTable {
    pub table: String,
    /// In a few words: the check that failed, the step that failed, or what it reads.
    pub why: String,
}

/// A stream's table and cursor, taken over from a run that was not published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOver {
    pub table: String,
    pub run: RunId,
    /// The commit on the later run's branch by which it was taken over.
    #[serde(default)]
    pub commit: String,
}

/// The decision to publish a run that was held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
    /// The checks that were overruled: `bronze.orders: unique order_id`.
    #[serde(default)]
    pub checks: Vec<String>,
    /// Rows that were set aside in quarantine, by table.
    #[serde(default)]
    pub set_aside: BTreeMap<String, u64>,
    /// While rows are being set aside: the commit of the run's branch from which on. Whoever takes the run up again does
    /// that to its end first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting_aside: Option<String>,
    /// The run that this was decided about, where a later one took over tables of which rows were set aside. Nobody decided
    /// anything about the later one itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<RunId>,
}

impl Acceptance {
    /// Nothing was overruled, and nothing set aside.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty() && self.set_aside.is_empty()
    }

    /// What of it goes along with a table that a later run takes over; `None`: no row of that was set aside.
    #[must_use]
    pub fn along_with(&self, table: &str, from: RunId) -> Option<Self> {
        let rows = *self.set_aside.get(table)?;
        Some(Self {
            by: self.by.clone(),
            reason: self.reason.clone(),
            at: self.at,
            set_aside: BTreeMap::from([(table.to_owned(), rows)]),
            from: Some(self.from.unwrap_or(from)),
            ..Self::default()
        })
    }

    /// Both: one commit has one author, who is the last that decided, and the reasons of all.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let (mut last, mut earlier) = if self.at >= other.at { (self, other) } else { (other, self) };
        earlier.checks.retain(|check| !last.checks.contains(check));
        last.checks.append(&mut earlier.checks);
        last.setting_aside = last.setting_aside.or(earlier.setting_aside);
        if !last.reason.split("; ").any(|reason| reason == earlier.reason) {
            last.reason = format!("{}; {}", last.reason, earlier.reason);
        }
        last.set_aside.extend(earlier.set_aside);
        last.from = last.from.max(earlier.from);
        last
    }
}

impl RunRecord {
    pub fn key(run: RunId) -> String {
        format!("{:020}", run.0)
    }

    /// Goes on with it: it runs again, and how it ended before counts no more.
    pub fn take_up(&mut self) {
        self.status = RunStatus::Running;
        self.reason = None;
        self.finished = None;
        self.cancelled_by = None;
        self.resumed += 1;
    }

    /// Why it ended as it did, without the word that its branch stays: for whoever names the branch himself.
    pub fn cause(&self) -> Option<&str> {
        let stays = format!("; {} stays to look at", self.branch);
        let reason = self.reason.as_deref().filter(|_| self.status != RunStatus::Cancelled)?;
        Some(reason.strip_suffix(&stays).unwrap_or(reason))
    }

    /// From when to when; up to `now` while it goes on.
    pub fn elapsed_ms(&self, now: Timestamp) -> u64 {
        millis(self.finished.unwrap_or(now).since(self.started))
    }
}

/// A step of a run. Key: the run's number in 20 digits, `/`, the kind, `/`, the resource, and the partition in brackets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    pub run: RunId,
    pub step: StepKey,
    pub status: StepStatus,
    /// 1 for the first try; 0 when it was never tried.
    pub attempt: u32,
    #[serde(default)]
    pub started: Option<Timestamp>,
    #[serde(default)]
    pub finished: Option<Timestamp>,
    #[serde(default)]
    pub fingerprint: Option<Fingerprint>,
    #[serde(default)]
    pub report: StepReport,
    #[serde(default)]
    pub failure: Option<StepFailure>,
}

impl StepRecord {
    pub fn key(run: RunId, step: &StepKey) -> String {
        let partition = step.partition.as_deref().map(|p| format!("[{p}]")).unwrap_or_default();
        format!("{}{}/{}{partition}", Self::prefix(run), step.kind.as_str(), step.resource)
    }

    /// What the keys of all steps of a run start with.
    pub fn prefix(run: RunId) -> String {
        format!("{:020}/", run.0)
    }

    pub fn elapsed_ms(&self) -> u64 {
        match (self.started, self.finished) {
            (Some(started), Some(finished)) => millis(finished.since(started)),
            _ => 0,
        }
    }
}

/// What kind of mistake stopped a step: it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A check of severity `error` did not hold.
    Check,
    /// Files or data are wrong.
    Data,
    Environment,
    Defect,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepFailure {
    pub kind: FailureKind,
    /// One line that stands alone.
    pub message: String,
    /// The whole problem, in the process that met it. It is written for readers of JSON and not read back.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub diagnostic: Option<Box<Diagnostic>>,
}

impl StepFailure {
    /// `None` for a step that was cancelled: that is no failure.
    pub(crate) fn of(error: StepError) -> Option<Self> {
        let message = error.to_string();
        match error {
            StepError::Data(diagnostic) => {
                Some(Self { kind: FailureKind::Data, message, diagnostic: Some(diagnostic) })
            }
            StepError::Outside(diagnostic) => {
                Some(Self { kind: FailureKind::Environment, message, diagnostic: Some(diagnostic) })
            }
            StepError::Environment { .. } => Some(Self { kind: FailureKind::Environment, message, diagnostic: None }),
            StepError::Defect(_) => Some(Self { kind: FailureKind::Defect, message, diagnostic: None }),
            StepError::Cancelled => None,
        }
    }
}

/// How one check of a run came out. Key: the run's number in 20 digits, `/`, the table, `/`, the check's place in its
/// step in 4 digits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckRecord {
    pub run: RunId,
    /// The table that was checked, or the name of a check that is about no one table.
    pub table: String,
    pub check: String,
    pub severity: String,
    pub passed: bool,
    #[serde(default)]
    pub failed_rows: Option<u64>,
    #[serde(default)]
    pub total_rows: Option<u64>,
    #[serde(default)]
    pub detail: Option<String>,
    #[serde(default)]
    pub query: Option<String>,
    pub file: String,
    pub line: u32,
    pub at: Timestamp,
    /// It did not hold, and somebody decided that the run is published all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accepted: bool,
}

impl CheckRecord {
    pub fn key(run: RunId, table: &str, place: usize) -> String {
        format!("{:020}/{table}/{place:04}", run.0)
    }

    fn failed(run: RunId, failure: &CheckFailure, at: Timestamp) -> Self {
        Self {
            run,
            table: failure.table.clone(),
            check: failure.check.clone(),
            severity: failure.severity.clone(),
            passed: false,
            failed_rows: failure.failed_rows,
            total_rows: failure.total_rows,
            detail: failure.detail.clone(),
            query: failure.query.clone(),
            file: failure.file.clone(),
            line: failure.line,
            at,
            accepted: failure.accepted,
        }
    }

    fn passed(run: RunId, check: &CheckPassed, at: Timestamp) -> Self {
        Self {
            run,
            table: check.table.clone(),
            check: check.check.clone(),
            severity: check.severity.clone(),
            passed: true,
            failed_rows: check.total_rows.map(|_| 0),
            total_rows: check.total_rows,
            detail: None,
            query: None,
            file: check.file.clone(),
            line: check.line,
            at,
            accepted: false,
        }
    }

    /// The results that a step reports, each with its key.
    pub fn of_step(step: &StepRecord) -> Vec<(String, Self)> {
        let at = step.finished.or(step.started).unwrap_or_default();
        let failures = step.report.failures.iter().map(|f| Self::failed(step.run, f, at));
        let passed = step.report.passed.iter().map(|p| Self::passed(step.run, p, at));
        failures
            .chain(passed)
            .enumerate()
            .map(|(place, record)| (Self::key(step.run, &step.step.resource, place), record))
            .collect()
    }
}

/// What an equal step left behind, for the whole catalog. Key: the fingerprint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FingerprintRecord {
    pub output: crate::Output,
    pub run: RunId,
    pub step: StepKey,
    pub at: Timestamp,
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use polder_base::RunId;

    use super::{RunRecord, StepRecord};
    use crate::{StepKey, StepKind};

    #[test]
    fn keys_sort_as_runs_do() {
        assert!(RunRecord::key(RunId(9)) < RunRecord::key(RunId(10)));
        let mut step = StepKey::new(StepKind::Model, "gold.daily");
        assert_eq!(StepRecord::key(RunId(7), &step), "00000000000000000007/model/gold.daily");
        step.partition = Some("2026-11-20".to_owned());
        assert_eq!(StepRecord::key(RunId(7), &step), "00000000000000000007/model/gold.daily[2026-11-20]");
    }
}
