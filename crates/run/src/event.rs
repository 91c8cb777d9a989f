//! What a run tells while it goes: one stream of events for the terminal, for `--format json` and for `system.steps`.

use std::sync::Arc;

use polder_base::{RunId, Timestamp};
use polder_diag::Sources;
use serde::{Deserialize, Serialize};

use crate::{Progress, StepFailure, StepKey, StepReport};

/// What a run is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// To bring tables up to date, and publish them.
    #[default]
    Run,
    /// To check tables as they are: it has no branch, and publishes nothing.
    Check,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Running,
    /// Every step is done and the target moved (or there was nothing to publish).
    Published,
    /// Of checks alone: all hold.
    Passed,
    /// A check failed: the branch stays, and the target did not move. Of a run that publishes what is healthy: it moved to
    /// all but what the branch stays for.
    Held,
    /// A step failed, or the rebase met a conflict; of checks alone: some do not hold.
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    Waiting,
    Running,
    Done,
    /// Done without work: nothing new, or the output of an equal step was taken over.
    Unchanged,
    Reused,
    /// A check with severity `warn` failed, or one that somebody has overruled; what follows goes on.
    Warned,
    Failed,
    /// Something before it failed.
    Skipped,
    Cancelled,
}

impl StepStatus {
    /// What follows may go on, and a resumed run does not run the step again.
    pub fn succeeded(self) -> bool {
        matches!(self, Self::Done | Self::Unchanged | Self::Reused | Self::Warned)
    }

    /// Nothing more will happen to the step.
    pub fn finished(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Unchanged => "unchanged",
            Self::Reused => "reused",
            Self::Warned => "warned",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

impl RunStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Published => "published",
            Self::Passed => "passed",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A check that did not hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckFailure {
    /// The table that was checked.
    pub table: String,
    /// The check in one line, as a person would say it: `created_at <= run_time()`, `unique order_id`.
    pub check: String,
    /// `error` holds the run, `warn` does not.
    pub severity: String,
    /// Rows that break it, and rows looked at; `None` where the check is not about rows.
    pub failed_rows: Option<u64>,
    pub total_rows: Option<u64>,
    /// What was found, where rows do not say it: `12 rows, at least 1000 expected`.
    pub detail: Option<String>,
    /// A few of the rows: column and value as text, the key first.
    pub sample: Vec<Vec<(String, String)>>,
    /// The query that shows all of them.
    pub query: Option<String>,
    /// Where the check is written: file and line, relative to the project.
    pub file: String,
    pub line: u32,
    /// The tables and views that it names, the one that it is about among them.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Somebody decided that it does not hold the run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accepted: bool,
}

impl CheckFailure {
    /// Whether it holds the run: a failure of severity `error` that nobody has overruled.
    pub fn holds(&self) -> bool {
        self.severity == "error" && !self.accepted
    }

    /// `bronze.orders: unique order_id`: what is written down of a check that was overruled.
    pub fn name(&self) -> String {
        format!("{}: {}", self.table, self.check)
    }
}

/// A check that held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckPassed {
    pub table: String,
    pub check: String,
    pub severity: String,
    /// Rows looked at; `None` where the check is not about rows.
    pub total_rows: Option<u64>,
    pub file: String,
    pub line: u32,
}

/// Something happened in a run. Serialised as one JSON object a line by `--format json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    RunStarted {
        run: RunId,
        #[serde(default)]
        kind: RunKind,
        target: String,
        branch: String,
        at: Timestamp,
        steps: Vec<StepKey>,
    },
    StepStarted {
        run: RunId,
        step: StepKey,
        attempt: u32,
        at: Timestamp,
    },
    StepRetried {
        run: RunId,
        step: StepKey,
        attempt: u32,
        reason: String,
        wait_ms: u64,
        at: Timestamp,
    },
    StepFinished {
        run: RunId,
        step: StepKey,
        status: StepStatus,
        report: Box<StepReport>,
        failure: Option<Box<StepFailure>>,
        /// It was finished when the run was interrupted, and was not run again.
        resumed: bool,
        elapsed_ms: u64,
        at: Timestamp,
    },
    /// The target had moved: the run was rebased, and checks of these tables run again.
    Rebased {
        run: RunId,
        tables: Vec<String>,
        at: Timestamp,
    },
    RunFinished {
        run: RunId,
        status: RunStatus,
        reason: Option<String>,
        commit: Option<String>,
        elapsed_ms: u64,
        at: Timestamp,
    },
}

/// Who is told what happens. Called in order, from one task at a time for each step; what it is told is durable.
pub trait EventSink: Send + Sync {
    fn event(&self, event: &Event);

    /// The files that diagnostics of steps point into. Told before anything else.
    fn sources(&self, _sources: &Sources) {}

    /// A step starts, and its progress can be read here until it is finished.
    fn progress(&self, _step: &StepKey, _progress: &Arc<Progress>) {}
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl EventSink for Silent {
    fn event(&self, _event: &Event) {}
}
