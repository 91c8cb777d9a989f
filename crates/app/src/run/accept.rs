//! Publishing a run that was held, because somebody decided so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polder_base::RunId;
use polder_catalog::CommitId;
use polder_check::{Decision, set_aside};
use polder_ingest::cursor_of;
use polder_run::{
    Acceptance, CheckFailure, EventSink, Graph, RunRecord, RunStatus, StepError, StepKey, StepKind, StepStatus,
};
use tokio_util::sync::CancellationToken;

use super::journal::{Earlier, steps_of};
use super::lease::LeaseKeeper;
use super::resume::Resumed;
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

impl App {
    /// Publishes a run that was held, with the project as it was stored: what it was held for is what was decided about.
    /// The checks that had failed no longer hold it; what fails besides does. With `quarantine` no check is overruled:
    /// the rows that broke them are set aside first, what depends on their tables is built again, and all checks must
    /// hold then.
    ///
    /// # Errors
    /// No reason; a run in which no check failed; as [`App::resume`].
    pub async fn accept(
        &self,
        run: RunId,
        request: &AcceptRequest,
        sink: Arc<dyn EventSink>,
        cancel: &CancellationToken,
    ) -> Result<RunSummary, AppError> {
        let reason = request.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
        let Some(reason) = reason else {
            let aside = if request.quarantine { " --quarantine" } else { "" };
            let message = format!("run {run} is not accepted without a reason: it is kept with the commit");
            let refused = AppError::refused(codes::NO_REASON, message);
            return Err(refused.hint(format!("polder accept {run}{aside} --reason \"…\"")));
        };
        self.acceptable(self.known_run(run).await?).await?;
        let lost = CancellationToken::new();
        let lease = LeaseKeeper::acquire(self, run, lost.clone()).await?;
        let prepared = async {
            // While we waited, the other process may have gone on with it.
            let (record, failures) = self.acceptable(self.known_run(run).await?).await?;
            self.prepare_accept(record, &failures, reason, request.quarantine, cancel).await
        };
        match prepared.await {
            Ok(resumed) => self.go_on(resumed, sink, lease, lost, cancel).await,
            Err(error) => {
                self.clean_up(run, lease).await;
                Err(error)
            }
        }
    }

    /// A run that can be accepted, with the failures that hold it.
    async fn acceptable(&self, record: RunRecord) -> Result<(RunRecord, Vec<CheckFailure>), AppError> {
        let run = record.id;
        if record.status == RunStatus::Published {
            return Err(AppError::refused(codes::NO_RUN, format!("run {run} is published: nothing of it is held")));
        }
        self.refuse_closed(&record).await?;
        let steps = steps_of(self.catalog.state(), run).await?;
        let failed = steps.into_iter().filter(|s| s.step.kind == StepKind::Check && s.status == StepStatus::Failed);
        let failures: Vec<CheckFailure> =
            failed.flat_map(|s| s.report.failures).filter(|failure| failure.severity == "error").collect();
        let interrupted = record.accepted.is_some();
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

    async fn prepare_accept(
        &self,
        mut record: RunRecord,
        failures: &[CheckFailure],
        reason: &str,
        quarantine: bool,
        cancel: &CancellationToken,
    ) -> Result<Resumed, AppError> {
        let loaded = stored::load(self.catalog.state(), &record, &self.options.project).await?;
        let app = self.with_vars(&record);
        let graph = app.graph(&loaded, &CommitId(record.base.clone()), &Self::request_of(&record)).await?;
        self.claim(&record, &graph).await?;
        let before = record.accepted.take();
        let mut acceptance = Acceptance {
            by: self.principal(),
            reason: reason.to_owned(),
            at: self.system().now(),
            checks: before.as_ref().map(|b| b.checks.clone()).unwrap_or_default(),
            set_aside: before.as_ref().map(|b| b.set_aside.clone()).unwrap_or_default(),
        };
        // What depends on rows that are set aside is built again, and what depends on nothing else is known.
        let earlier =
            if quarantine || !acceptance.set_aside.is_empty() { Earlier::IngestOnly } else { Earlier::Everything };
        self.undo_unfinished(&record, &graph, earlier).await?;
        if quarantine {
            let namespace = polder_model::default_namespace(&loaded.project);
            let rows = self.set_aside(&record, &graph, failures, reason, &namespace, cancel).await?;
            if rows.is_empty() && before.is_none() {
                let message = format!(
                    "run {}: no failed check tells rows of a source's table that could be set aside",
                    record.id
                );
                let refused = AppError::refused(codes::REFUSED, message);
                return Err(refused.hint(format!("polder accept {} --reason \"…\" overrules the checks", record.id)));
            }
            for (table, rows) in rows {
                *acceptance.set_aside.entry(table).or_default() += rows;
            }
        } else {
            let checks: BTreeSet<String> =
                acceptance.checks.into_iter().chain(failures.iter().map(CheckFailure::name)).collect();
            acceptance.checks = checks.into_iter().collect();
        }
        record.accepted = Some(acceptance);
        record.status = RunStatus::Running;
        record.reason = None;
        record.finished = None;
        record.resumed += 1;
        self.put_record(&record).await?;
        Ok(Resumed { loaded, record, graph, earlier })
    }

    /// Sets aside the rows that break checks, out of tables that sources fill: those of a model would come again with its
    /// next build. Gives their numbers by table.
    async fn set_aside(
        &self,
        record: &RunRecord,
        graph: &Graph<Work>,
        failures: &[CheckFailure],
        reason: &str,
        namespace: &str,
        cancel: &CancellationToken,
    ) -> Result<BTreeMap<String, u64>, AppError> {
        let workspace = self.workspace(record);
        let mut gone = BTreeMap::new();
        for (_, work) in graph.iter() {
            let Work::Check(set) = work else { continue };
            let Some(table) = &set.table else { continue };
            let filler = graph.index_of(&StepKey::new(StepKind::Ingest, table.to_string()));
            let Some(Work::Ingest(source, stream)) = filler.map(|index| graph.value(index)) else { continue };
            let decision = Decision {
                reason: format!("{reason} (set aside by {})", self.principal()),
                source: cursor_of(source, stream),
                default_namespace: namespace.to_owned(),
            };
            let rows =
                set_aside(set, failures, &decision, &workspace, &self.engine, cancel).await.map_err(not_set_aside)?;
            if rows > 0 {
                gone.insert(table.to_string(), rows);
            }
        }
        Ok(gone)
    }
}

fn not_set_aside(error: StepError) -> AppError {
    match error {
        StepError::Data(diagnostic) | StepError::Outside(diagnostic) => AppError::Refused(diagnostic),
        StepError::Environment { message, .. } => AppError::Environment(message),
        StepError::Cancelled => AppError::Cancelled,
        StepError::Defect(message) => AppError::Defect(message),
    }
}
