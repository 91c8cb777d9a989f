//! Publishing a run that was held, because somebody decided so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polder_base::RunId;
use polder_catalog::CommitId;
use polder_check::{Decision, set_aside};
use polder_ingest::{cursor_of, quarantine_of};
use polder_run::{
    Acceptance, CheckFailure, EventSink, Graph, RunRecord, RunStatus, StepError, StepKey, StepKind, StepStatus,
};
use tokio_util::sync::CancellationToken;

use super::journal::{Earlier, steps_of};
use super::lease::LeaseKeeper;
use super::resume::{Resumed, Taker};
use super::{RunSummary, stored};
use crate::blueprint::Work;
use crate::{App, AppError, codes};

/// The decision to publish a run that was held.
#[derive(Debug, Clone, Default)]
pub struct AcceptRequest {
    /// Why. Nothing is published without.
    pub reason: Option<String>,
    /// Set the rows aside that break checks about rows, instead of overruling the checks.
    pub quarantine: bool,
}

/// What was decided about a run.
struct Decided {
    acceptance: Acceptance,
    /// Rows are to be set aside; otherwise, the checks that failed are overruled.
    quarantine: bool,
}

impl App {
    /// Publishes a run that was held, with the project as it was stored: what it was held for is what was decided about.
    /// The checks that had failed no longer hold it; what fails besides does. With `quarantine` no check is overruled:
    /// the rows that broke them are set aside first, what depends on their tables is built again, and all checks must
    /// hold then.
    ///
    /// # Errors
    /// No reason; a run in which no check failed; one that a later one went on from; as [`App::resume`].
    pub async fn accept(
        &self,
        run: RunId,
        request: &AcceptRequest,
        sink: Arc<dyn EventSink>,
        cancel: &CancellationToken,
    ) -> Result<RunSummary, AppError> {
        let reason = request.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
        let Some(reason) = reason else {
            let message = format!("run {run} is not accepted without a reason: it is kept with the commit");
            let refused = AppError::refused(codes::NO_REASON, message);
            return Err(refused.hint(how_to_accept(run, request.quarantine)));
        };
        self.acceptable(self.known_run(run).await?, request.quarantine).await?;
        let lost = CancellationToken::new();
        let lease = LeaseKeeper::acquire(self, run, lost.clone()).await?;
        let prepared = async {
            // While we waited, the other process may have gone on with it.
            let record = self.known_run(run).await?;
            let (record, failures) = self.acceptable(record, request.quarantine).await?;
            let mut acceptance = Acceptance {
                by: self.principal(),
                reason: reason.to_owned(),
                at: self.system().now(),
                ..Acceptance::default()
            };
            if let Some(earlier) = record.accepted.clone() {
                // Whatever the clock says, this is the last word.
                acceptance.at = acceptance.at.max(earlier.at);
                acceptance = Acceptance { from: None, ..acceptance.and(earlier) };
            }
            let decided = Decided { acceptance, quarantine: request.quarantine };
            self.prepare_accept(record, &failures, decided, Taker::Person, cancel).await
        };
        match prepared.await {
            Ok(resumed) => self.go_on(resumed, sink, lease, lost, cancel).await,
            Err(error) => {
                self.clean_up(run, lease).await;
                Err(error)
            }
        }
    }

    /// A run that can be accepted, with the failures that hold it. `quarantine`: rows are to be set aside.
    async fn acceptable(
        &self,
        record: RunRecord,
        quarantine: bool,
    ) -> Result<(RunRecord, Vec<CheckFailure>), AppError> {
        let run = record.id;
        if record.status == RunStatus::Published {
            return Err(AppError::refused(codes::NO_RUN, format!("run {run} is published: nothing of it is held")));
        }
        self.refuse_closed(&record).await?;
        self.refuse_taken_over(&record, "accepted", quarantine).await?;
        self.refuse_read_on(&record).await?;
        let failures = self.failures(run).await?;
        let interrupted = record.accepted.as_ref().is_some_and(|accepted| accepted.from.is_none());
        let status = record.status.as_str();
        let refused =
            |message: String| Err(AppError::refused(codes::NO_RUN, message).hint(format!("polder run --resume {run}")));
        match (record.status == RunStatus::Held || interrupted, failures.is_empty() && !interrupted) {
            (_, true) => {
                refused(format!("run {run} is {status}, and no check of it failed: there is nothing to accept"))
            }
            (false, false) => refused(format!("run {run} is {status}: more than its checks went wrong")),
            (true, false) => Ok((record, failures)),
        }
    }

    /// The failures that hold a run.
    async fn failures(&self, run: RunId) -> Result<Vec<CheckFailure>, AppError> {
        let steps = steps_of(self.catalog.state(), run).await?;
        let failed = steps.into_iter().filter(|s| s.step.kind == StepKind::Check && s.status == StepStatus::Failed);
        Ok(failed.flat_map(|s| s.report.failures).filter(|failure| failure.severity == "error").collect())
    }

    /// Refuses a run whose sources have been read on for its target since: what it had read is there, or would conflict.
    async fn refuse_read_on(&self, record: &RunRecord) -> Result<(), AppError> {
        let Some(branch) = self.catalog.find_ref(&record.branch).await? else { return Ok(()) };
        if !self.was_read_on(record, &branch).await? {
            return Ok(());
        }
        let (run, target) = (record.id, &record.target);
        let message = format!("run {run} is not accepted: {target} has read on since from where it began");
        Err(AppError::refused(codes::NO_RUN, message).hint("polder run"))
    }

    /// Refuses `what` of a run whose rows a later one has as well: of two that publish them, one would conflict.
    /// `quarantine`: rows are to be set aside; what is hinted at does the same.
    async fn refuse_taken_over(&self, record: &RunRecord, what: &str, quarantine: bool) -> Result<(), AppError> {
        let Some(later) = self.taken_over_by(record).await? else { return Ok(()) };
        let (run, id, status) = (record.id, later.id, later.status.as_str());
        let message = format!("run {run} is not {what}: run {id} went on from what it had read, and is {status}");
        let instead = match later.status {
            RunStatus::Held => how_to_accept(id, quarantine),
            RunStatus::Published => "polder run".to_owned(),
            _ => format!("polder run --resume {id}"),
        };
        Err(AppError::refused(codes::NO_RUN, message).hint(instead))
    }

    /// Prepares a run whose rows were being set aside when the process ended that did it.
    pub(super) async fn prepare_decided(
        &self,
        record: RunRecord,
        taker: Taker,
        cancel: &CancellationToken,
    ) -> Result<Resumed, AppError> {
        self.refuse_taken_over(&record, "taken up again", true).await?;
        let failures = self.failures(record.id).await?;
        let acceptance = record.accepted.clone().unwrap_or_default();
        self.prepare_accept(record, &failures, Decided { acceptance, quarantine: true }, taker, cancel).await
    }

    async fn prepare_accept(
        &self,
        mut record: RunRecord,
        failures: &[CheckFailure],
        decided: Decided,
        taker: Taker,
        cancel: &CancellationToken,
    ) -> Result<Resumed, AppError> {
        let Decided { mut acceptance, quarantine } = decided;
        let before = record.accepted.clone().map(|earlier| Acceptance { setting_aside: None, ..earlier });
        let loaded = stored::load(self.catalog.state(), &record, &self.options.project).await?;
        let app = self.with_vars(&record);
        let graph = app.graph(&loaded, &CommitId(record.base.clone()), &Self::request_of(&record)).await?;
        self.claim(&record, &graph).await?;
        // What depends on rows that are set aside is built again, and what depends on nothing else is known.
        let begun = acceptance.setting_aside.take();
        let aside = quarantine || begun.is_some() || !acceptance.set_aside.is_empty();
        let earlier = if aside { Earlier::IngestOnly } else { Earlier::Everything };
        self.undo_unfinished(&record, &graph, earlier).await?;
        let from = match begun {
            None if quarantine => Some(self.catalog.resolve(&record.branch).await?),
            begun => begun.map(CommitId),
        };
        if let Some(from) = from.as_ref().filter(|_| quarantine) {
            // Before the first row goes: wherever this ends, the decision is known, and done to its end.
            let acceptance = Acceptance { setting_aside: Some(from.0.clone()), ..acceptance.clone() };
            record.accepted = Some(acceptance.clone());
            self.put_record(&record).await?;
            let namespace = polder_model::default_namespace(&loaded.project);
            self.set_aside(&record, &graph, failures, &acceptance, &namespace, cancel).await?;
        }
        let gone = match &from {
            Some(from) => self.gone_since(&record, &graph, from).await?,
            None => BTreeMap::new(),
        };
        // Where a decision was cut short when all were set aside, there is the rest to do.
        let none_gone = gone.is_empty() && (record.status == RunStatus::Held || acceptance.set_aside.is_empty());
        for (table, rows) in gone {
            *acceptance.set_aside.entry(table).or_default() += rows;
        }
        if !quarantine {
            let checks: BTreeSet<String> = std::mem::take(&mut acceptance.checks)
                .into_iter()
                .chain(failures.iter().map(CheckFailure::name))
                .collect();
            acceptance.checks = checks.into_iter().collect();
        } else if none_gone {
            record.accepted = before.filter(|earlier| !earlier.is_empty());
            self.put_record(&record).await?;
            return Err(nothing_to_set_aside(record.id));
        }
        record.accepted = Some(acceptance);
        self.take_up(&mut record, taker).await?;
        Ok(Resumed { loaded, record, graph, earlier })
    }

    /// How many rows were set aside since a commit of the run's branch, by table.
    async fn gone_since(
        &self,
        record: &RunRecord,
        graph: &Graph<Work>,
        from: &CommitId,
    ) -> Result<BTreeMap<String, u64>, AppError> {
        let head = self.catalog.resolve(&record.branch).await?;
        let mut gone = BTreeMap::new();
        for (_, work) in graph.iter() {
            let Work::Ingest(_, stream) = work else { continue };
            let aside = quarantine_of(&stream.table);
            let (before, after) = (self.rows_at(from, &aside).await?, self.rows_at(&head, &aside).await?);
            if after > before {
                gone.insert(stream.table.to_string(), after - before);
            }
        }
        Ok(gone)
    }

    /// Sets aside the rows that break checks, out of tables that sources fill: those of a model would come again with its
    /// next build. What is set aside already is not found again.
    async fn set_aside(
        &self,
        record: &RunRecord,
        graph: &Graph<Work>,
        failures: &[CheckFailure],
        acceptance: &Acceptance,
        namespace: &str,
        cancel: &CancellationToken,
    ) -> Result<(), AppError> {
        let workspace = self.workspace(record);
        for (_, work) in graph.iter() {
            let Work::Check(set) = work else { continue };
            let Some(table) = &set.table else { continue };
            let filler = graph.index_of(&StepKey::new(StepKind::Ingest, table.to_string()));
            let Some(Work::Ingest(source, stream)) = filler.map(|index| graph.value(index)) else { continue };
            let decision = Decision {
                reason: format!("{} (set aside by {})", acceptance.reason, acceptance.by),
                source: cursor_of(source, stream),
                default_namespace: namespace.to_owned(),
            };
            set_aside(set, failures, &decision, &workspace, &self.engine, cancel).await.map_err(not_set_aside)?;
        }
        Ok(())
    }
}

fn how_to_accept(run: RunId, quarantine: bool) -> String {
    let quarantine = if quarantine { " --quarantine" } else { "" };
    format!("polder accept {run}{quarantine} --reason \"…\"")
}

fn nothing_to_set_aside(run: RunId) -> AppError {
    let message = format!("run {run}: no failed check tells rows of a source's table that could be set aside");
    let refused = AppError::refused(codes::REFUSED, message);
    refused.hint(format!("{} overrules the checks", how_to_accept(run, false)))
}

fn not_set_aside(error: StepError) -> AppError {
    match error {
        StepError::Data(diagnostic) | StepError::Outside(diagnostic) => AppError::Refused(diagnostic),
        StepError::Environment { message, .. } => AppError::Environment(message),
        StepError::Cancelled => AppError::Cancelled,
        StepError::Defect(message) => AppError::Defect(message),
    }
}
