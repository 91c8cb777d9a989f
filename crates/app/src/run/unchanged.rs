//! A pipeline that is held for the same at each of its times: only the first of these runs keeps a branch.
//!
//! A run finds out by doing its work whether there is something new, as every run does: it reads on where the held one
//! stopped, and takes over what equal steps left. Where it comes to the same tables from the same files, and the same
//! fails, it is the held run once more.

use std::collections::{BTreeMap, BTreeSet};

use polder_base::RunId;
use polder_catalog::{CommitId, Entry, EntryKey};
use polder_run::{FailureKind, RunRecord, RunStatus, StepRecord, StepStatus};

use super::Conductor;
use super::journal::steps_of;
use crate::{App, AppError};

/// What a run came to.
#[derive(Debug, PartialEq)]
struct CameTo {
    /// What its branch has in the place of what it began with.
    changes: BTreeMap<EntryKey, Option<Entry>>,
    /// What went wrong, in words.
    failures: BTreeSet<String>,
}

impl Conductor {
    /// Notes in the record of a pipeline's held run that an earlier one came to the same.
    pub(super) async fn note_same(&mut self, steps: &[StepRecord]) {
        match self.kept_same_as(steps).await {
            Ok(Some(first)) => {
                let cause = self.record.cause().map(|cause| format!(" ({cause})")).unwrap_or_default();
                self.record.reason = Some(format!("still held by run {first}: nothing changed{cause}"));
                self.record.same_as = Some(first);
            }
            Ok(None) => {}
            // Then it keeps its branch.
            Err(error) => tracing::warn!(run = %self.record.id, %error, "the run was not compared with earlier ones"),
        }
    }

    /// Removes what a run that came to the same as an earlier one has on top of that.
    pub(super) async fn fold(&self) {
        let (app, record) = (&self.app, &self.record);
        let Some(first) = record.same_as else { return };
        let folded = async {
            app.catalog.delete_ref(&record.branch).await?;
            app.give_back_to(first, record.id).await
        };
        if let Err(error) = folded.await {
            // The branch has an expiry, too.
            tracing::warn!(run = %record.id, %error, "what the run has twice was not removed");
        }
    }

    /// The earlier run that this one came to the same as. Its branch stands for this one's from now on, and is kept as long.
    async fn kept_same_as(&self, steps: &[StepRecord]) -> Result<Option<RunId>, AppError> {
        let Some(first) = self.same_as(steps).await? else { return Ok(None) };
        Ok(self.app.prolong(&first.branch()).await?.then_some(first))
    }

    async fn same_as(&self, steps: &[StepRecord]) -> Result<Option<RunId>, AppError> {
        let record = &self.record;
        if record.due.is_none() || record.status != RunStatus::Held || !record.parts.is_empty() {
            return Ok(None);
        }
        let mut ours = None;
        for earlier in self.app.runs().await?.into_iter().filter(|earlier| asked_for_the_same(earlier, record)) {
            if ours.is_none() {
                ours = self.app.outcome(record, steps).await?;
            }
            if !self.app.is_kept(&earlier.branch).await? {
                continue;
            }
            let theirs = self.app.outcome(&earlier, &steps_of(self.app.catalog.state(), earlier.id).await?).await?;
            if ours.is_some() && ours == theirs {
                return Ok(Some(earlier.id));
            }
        }
        Ok(None)
    }
}

/// Whether an earlier run is held, and was made from the same files in the same way.
fn asked_for_the_same(earlier: &RunRecord, record: &RunRecord) -> bool {
    earlier.id < record.id
        && earlier.status == RunStatus::Held
        && earlier.accepted.as_ref().is_none_or(|accepted| accepted.from.is_some())
        && earlier.accepted == record.accepted
        && earlier.same_as.is_none()
        && earlier.target == record.target
        && earlier.files == record.files
        && earlier.environment == record.environment
        && earlier.vars == record.vars
        && earlier.select == record.select
        && earlier.exclude == record.exclude
        && earlier.full_refresh == record.full_refresh
        && earlier.publish == record.publish
}

impl App {
    /// `None`: its branch is gone.
    async fn outcome(&self, record: &RunRecord, steps: &[StepRecord]) -> Result<Option<CameTo>, AppError> {
        let Some(branch) = self.catalog.find_ref(&record.branch).await? else { return Ok(None) };
        let changes = self.catalog.diff(&CommitId(record.base.clone()), &branch.commit).await?;
        let changes = changes.into_iter().map(|change| (change.key, change.after)).collect();
        let failed = steps.iter().filter(|step| step.status == StepStatus::Failed);
        Ok(Some(CameTo { changes, failures: failed.flat_map(failures_of).collect() }))
    }
}

/// What went wrong in a step: the checks that do not hold, whatever they counted, or its failure.
fn failures_of(step: &StepRecord) -> Vec<String> {
    match &step.failure {
        Some(failure) if failure.kind != FailureKind::Check => vec![format!("{}: {}", step.step, failure.message)],
        _ => step.report.failures.iter().filter(|failure| failure.holds()).map(|failure| failure.name()).collect(),
    }
}
