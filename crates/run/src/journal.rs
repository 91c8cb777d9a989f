//! Where the states of steps are kept.

use crate::{Fingerprint, Output, StepRecord};

/// The journal could not be written or read: the run cannot go on, for nothing may be reported that is not durable.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the run's journal: {message}")]
pub struct JournalError {
    pub message: String,
}

impl JournalError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// The durable memory of one run.
#[async_trait::async_trait]
pub trait Journal: Send + Sync {
    /// All steps of this run that were recorded, as they were recorded last.
    async fn steps(&self) -> Result<Vec<StepRecord>, JournalError>;

    /// Records a step's state. It survives a crash of the machine when this returns. A step that succeeded and has a
    /// fingerprint and an output is found by `lookup` from then on, in any run.
    async fn record(&self, record: &StepRecord) -> Result<(), JournalError>;

    /// What a step with this fingerprint left behind, in any run.
    async fn lookup(&self, fingerprint: &Fingerprint) -> Result<Option<Output>, JournalError>;
}
