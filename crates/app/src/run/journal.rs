//! The journal of a run in the state store.

use std::sync::Arc;

use polder_base::RunId;
use polder_run::{
    CheckRecord, Fingerprint, FingerprintRecord, Journal, JournalError, Output, RunRecord, StepKind, StepRecord,
};
use polder_store::{Batch, Space, State, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::AppError;

/// Records read from the state store at once.
const PAGE: usize = 500;

/// What of an earlier try of the run still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// All that succeeded: the run was interrupted.
    Everything,
    /// What was read from sources: the files changed since, and models and checks are judged by their fingerprints.
    IngestOnly,
    /// Nothing: checks after a rebase.
    Nothing,
}

/// Steps, check results and fingerprints of one run.
#[derive(Debug)]
pub(crate) struct StateJournal {
    pub(crate) state: Arc<dyn State>,
    pub(crate) run: RunId,
    pub(crate) earlier: Earlier,
}

#[async_trait::async_trait]
impl Journal for StateJournal {
    async fn steps(&self) -> Result<Vec<StepRecord>, JournalError> {
        if self.earlier == Earlier::Nothing {
            return Ok(Vec::new());
        }
        let mut steps = steps_of(&self.state, self.run).await.map_err(failed)?;
        steps.retain(|s| self.earlier == Earlier::Everything || s.step.kind == StepKind::Ingest);
        Ok(steps)
    }

    async fn record(&self, record: &StepRecord) -> Result<(), JournalError> {
        let mut batch =
            Batch::new().put(Space::Steps, StepRecord::key(self.run, &record.step), encode(record).map_err(failed)?);
        for (key, check) in CheckRecord::of_step(record) {
            batch = batch.put(Space::Checks, key, encode(&check).map_err(failed)?);
        }
        if let (true, Some(output)) = (record.status.succeeded(), &record.report.output) {
            let known = FingerprintRecord {
                output: output.clone(),
                run: self.run,
                step: record.step.clone(),
                at: record.finished.unwrap_or_default(),
            };
            let value = encode(&known).map_err(failed)?;
            for fingerprint in record.fingerprint.iter().chain(&record.report.settled) {
                batch = batch.put(Space::Fingerprints, fingerprint.0.clone(), value.clone());
            }
        }
        self.state.apply(batch).await.map_err(|e| JournalError::new(e.to_string()))?;
        Ok(())
    }

    async fn lookup(&self, fingerprint: &Fingerprint) -> Result<Option<Output>, JournalError> {
        let known = fingerprint_record(&self.state, fingerprint).await.map_err(failed)?;
        Ok(known.map(|k| k.output))
    }
}

fn failed(error: AppError) -> JournalError {
    JournalError::new(error.to_string())
}

/// What is known about a fingerprint. A record that cannot be read is none: the step runs again.
pub(crate) async fn fingerprint_record(
    state: &Arc<dyn State>,
    fingerprint: &Fingerprint,
) -> Result<Option<FingerprintRecord>, AppError> {
    let found = state.get(Space::Fingerprints, &fingerprint.0).await?;
    Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// All steps of a run.
pub(crate) async fn steps_of(state: &Arc<dyn State>, run: RunId) -> Result<Vec<StepRecord>, AppError> {
    all(state, Space::Steps, &StepRecord::prefix(run)).await
}

/// The record of a run.
pub(crate) async fn run_record(state: &Arc<dyn State>, run: RunId) -> Result<Option<RunRecord>, AppError> {
    let key = RunRecord::key(run);
    let found = state.get(Space::Runs, &key).await?;
    found.map(|bytes| decode(Space::Runs, &key, &bytes)).transpose()
}

/// As [`run_record`], for whom one that cannot be read is none: what others do has nothing to do with it.
pub(crate) async fn readable_run(state: &Arc<dyn State>, run: RunId) -> Result<Option<RunRecord>, AppError> {
    let found = state.get(Space::Runs, &RunRecord::key(run)).await?;
    let record = found.map(|bytes| serde_json::from_slice(&bytes));
    Ok(record.transpose().unwrap_or_else(|error| {
        tracing::warn!(%run, %error, "the record of a run cannot be read, and is passed over");
        None
    }))
}

/// All records of a space whose keys start with `prefix`. One that cannot be read is left out, and told to the log: the
/// others have nothing to do with that, and what it was about is as good as never recorded.
pub(crate) async fn all<T: DeserializeOwned>(
    state: &Arc<dyn State>,
    space: Space,
    prefix: &str,
) -> Result<Vec<T>, AppError> {
    let mut records = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = state.scan(space, prefix, after.as_deref(), PAGE).await?;
        for (key, bytes) in &page {
            match decode(space, key, bytes) {
                Ok(record) => records.push(record),
                Err(error) => tracing::warn!(%error, "left out"),
            }
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
            _ => return Ok(records),
        }
    }
}

fn decode<T: DeserializeOwned>(space: Space, key: &str, bytes: &[u8]) -> Result<T, AppError> {
    serde_json::from_slice(bytes)
        .map_err(|e| StoreError::Corrupt { path: format!("record {space:?}/{key}"), detail: e.to_string() }.into())
}

pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, AppError> {
    serde_json::to_vec(record).map_err(|e| AppError::Defect(format!("a record does not become JSON: {e}")))
}
