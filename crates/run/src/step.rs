//! One node of a run.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{CheckFailure, CheckPassed};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    Ingest,
    Model,
    Check,
}

impl StepKind {
    /// The word that people read: `ingest`, `model`, `check`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Model => "model",
            Self::Check => "check",
        }
    }
}

/// Which step of a run: stable between plan, run and resume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey {
    pub kind: StepKind,
    /// The table that the step fills, or checks: `bronze.shop_orders`.
    pub resource: String,
    /// The partition of a backfill; `None`: the whole resource.
    pub partition: Option<String>,
}

impl StepKey {
    pub fn new(kind: StepKind, resource: impl Into<String>) -> Self {
        Self { kind, resource: resource.into(), partition: None }
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.resource)?;
        self.partition.iter().try_for_each(|p| write!(f, "[{p}]"))
    }
}

/// A hash over all that decides a step's output: equal fingerprints, equal output.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

/// What a step left behind, in the words of the step itself: enough to adopt it instead of running again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Output(pub serde_json::Value);

/// How a finished step went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Rows that came (or were counted); `None` where rows say nothing, as for a view.
    pub rows: Option<u64>,
    /// Of a step that adds to a table: older rows whose place they took.
    #[serde(default)]
    pub replaced: Option<u64>,
    /// Rows set aside in quarantine.
    pub rejected: u64,
    /// Bytes read from the source or written to the table.
    pub bytes: Option<u64>,
    /// There was nothing to do: no new rows, same fingerprint on this branch.
    pub unchanged: bool,
    /// A few words for the summary, such as `cursor 06:00:02`.
    pub note: Option<String>,
    /// What adopting this step needs.
    pub output: Option<Output>,
    /// The fingerprint that the step has from now on while nothing that it reads changes, where that is another one
    /// than before it ran: an incremental model's own rows are part of its fingerprint.
    #[serde(default)]
    pub settled: Option<Fingerprint>,
    /// Failed checks (of a check step).
    #[serde(default)]
    pub failures: Vec<CheckFailure>,
    /// Checks that held (of a check step).
    #[serde(default)]
    pub passed: Vec<CheckPassed>,
}

/// Why a step did not finish.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The person's files or data are wrong: trying again changes nothing.
    #[error("{0}")]
    Data(Box<polder_diag::Diagnostic>),
    /// Something outside of the project refuses, such as a database its password: trying again changes nothing.
    #[error("{0}")]
    Outside(Box<polder_diag::Diagnostic>),
    /// The environment failed. `transient`: worth another try.
    #[error("{message}")]
    Environment { message: String, transient: bool },
    #[error("cancelled")]
    Cancelled,
    /// A defect of Polder, caught at the step.
    #[error("defect: {0}")]
    Defect(String),
}

impl From<polder_diag::Diagnostic> for StepError {
    fn from(diagnostic: polder_diag::Diagnostic) -> Self {
        Self::Data(Box::new(diagnostic))
    }
}

/// How far a running step has come. Cheap to update from any thread; read by whoever draws the bar.
#[derive(Debug, Default)]
pub struct Progress {
    rows: AtomicU64,
    bytes_done: AtomicU64,
    bytes_total: AtomicI64,
}

impl Progress {
    pub fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }
    /// Sets how many bytes there are in all, once that is known.
    pub fn set_total_bytes(&self, bytes: u64) {
        self.bytes_total.store(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }
    pub fn bytes(&self) -> u64 {
        self.bytes_done.load(Ordering::Relaxed)
    }
    pub fn total_bytes(&self) -> Option<u64> {
        u64::try_from(self.bytes_total.load(Ordering::Relaxed)).ok().filter(|n| *n > 0)
    }
}

/// What the executor hands to a running step.
#[derive(Debug, Clone)]
pub struct StepContext {
    pub cancel: CancellationToken,
    pub progress: Arc<Progress>,
    /// 1 for the first try.
    pub attempt: u32,
}

/// A unit of work. Its dependencies have finished when any of its methods is called.
#[async_trait::async_trait]
pub trait Step: Send + Sync {
    fn key(&self) -> &StepKey;

    /// The fingerprint, where the step's output follows from what is known before it runs (models do; reading from a
    /// source does not).
    async fn fingerprint(&self) -> Result<Option<Fingerprint>, StepError>;

    /// Takes over the output of an equal step instead of running. `Ok(None)`: it is not to be had any more; run.
    async fn adopt(&self, output: &Output) -> Result<Option<StepReport>, StepError>;

    async fn run(&self, cx: &StepContext) -> Result<StepReport, StepError>;
}

/// A step that tells how it went in another way; all else of it stays.
pub struct Retold<F> {
    step: Arc<dyn Step>,
    retell: F,
}

impl<F: Fn(StepReport) -> StepReport + Send + Sync> Retold<F> {
    /// `retell`: from the step's own report, after it ran, to the one that counts.
    pub fn new(step: Arc<dyn Step>, retell: F) -> Self {
        Self { step, retell }
    }
}

#[async_trait::async_trait]
impl<F: Fn(StepReport) -> StepReport + Send + Sync> Step for Retold<F> {
    fn key(&self) -> &StepKey {
        self.step.key()
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>, StepError> {
        self.step.fingerprint().await
    }

    async fn adopt(&self, output: &Output) -> Result<Option<StepReport>, StepError> {
        self.step.adopt(output).await
    }

    async fn run(&self, cx: &StepContext) -> Result<StepReport, StepError> {
        Ok((self.retell)(self.step.run(cx).await?))
    }
}
