//! The checks of a project on data as it is: `polder check`.

use std::sync::Arc;

use polder_check::CheckStep;
use polder_diag::Sources;
use polder_lake::Workspace;
use polder_run::{
    Event, EventSink, Execution, Executor, ExecutorOptions, FailureKind, Fingerprint, Graph, Journal, JournalError,
    Output, RunKind, RunRecord, RunStatus, Selection, Step, StepRecord,
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::blueprint::{Work, selection_error};
use crate::run::journal::{Earlier, StateJournal};
use crate::run::stored;
use crate::run::workers::on_workers;
use crate::{App, AppError, codes, machine};

/// How the checks came out.
#[derive(Debug, Clone, Serialize)]
pub struct CheckSummary {
    pub record: RunRecord,
    pub steps: Vec<StepRecord>,
    /// Files that the diagnostics of failed steps point into.
    #[serde(skip)]
    pub sources: Sources,
}

impl CheckSummary {
    /// 0 all hold (or only warn); 1 some do not; 3 the environment failed; 70 a bug.
    pub fn exit_code(&self) -> u8 {
        match self.steps.iter().filter_map(|s| s.failure.as_ref()).map(|f| f.kind).max() {
            None if self.steps.iter().all(|s| s.status.succeeded()) => 0,
            Some(FailureKind::Defect) => 70,
            Some(FailureKind::Environment) => 3,
            _ => 1,
        }
    }

    /// Checks that hold.
    pub fn passed(&self) -> usize {
        self.steps.iter().map(|s| s.report.passed.len()).sum()
    }

    /// Checks of a severity that do not hold.
    pub fn failed(&self, severity: &str) -> usize {
        let failures = self.steps.iter().flat_map(|s| &s.report.failures);
        failures.filter(|f| f.severity == severity).count()
    }
}

/// Checks leave nothing half done behind: they are recorded when they are over.
#[derive(Debug)]
struct RecordedLater;

#[async_trait::async_trait]
impl Journal for RecordedLater {
    async fn steps(&self) -> Result<Vec<StepRecord>, JournalError> {
        Ok(Vec::new())
    }

    async fn record(&self, _: &StepRecord) -> Result<(), JournalError> {
        Ok(())
    }

    async fn lookup(&self, _: &Fingerprint) -> Result<Option<Output>, JournalError> {
        Ok(None)
    }
}

impl App {
    /// Tests the chosen tables as a ref shows them. The results are kept as a run of its own kind, which has no branch.
    ///
    /// # Errors
    /// A project with mistakes, a selection that chooses nothing, an unknown ref.
    pub async fn check(
        &self,
        select: &[String],
        at: Option<&str>,
        sink: Arc<dyn EventSink>,
        cancel: &CancellationToken,
    ) -> Result<CheckSummary, AppError> {
        let name = self.ref_or_current(at)?;
        let commit = self.catalog.resolve(&name).await?;
        let blueprint = self.blueprint(&self.loaded, &commit, false).await?.valid()?;
        let chosen = blueprint.select(&Selection::parse(select, &[]).map_err(selection_error)?)?;
        let graph = blueprint.check_graph(&chosen)?;
        if graph.is_empty() {
            let refused = AppError::refused(codes::SELECTION, "there are no checks for what is selected");
            return Err(refused.hint("checks lie in checks/*.yaml, or beside models in *.yml"));
        }
        let run = self.catalog.next_run().await?;
        let mut record = self.new_record(run, RunKind::Check, name, commit).await;
        record.select = select.to_vec();
        let execution = self.execute_checks(&record, graph, &sink, cancel).await?;
        (record.status, record.reason) = judge(&execution);
        let at = self.system().now();
        record.finished = Some(at);
        record.files = stored::store(self.catalog.state(), &self.loaded.project).await?;
        self.keep_checks(&record, &execution).await?;
        sink.event(&Event::RunFinished {
            run,
            status: record.status,
            reason: record.reason.clone(),
            commit: None,
            elapsed_ms: record.elapsed_ms(at),
            at,
        });
        Ok(CheckSummary { record, steps: execution.records, sources: self.loaded.project.files.clone() })
    }

    async fn execute_checks(
        &self,
        record: &RunRecord,
        graph: Graph<Work>,
        sink: &Arc<dyn EventSink>,
        cancel: &CancellationToken,
    ) -> Result<Execution, AppError> {
        let workspace = Workspace {
            lake: Arc::clone(&self.lake),
            branch: record.base.clone(),
            run: record.id,
            run_time: record.run_time,
            author: self.author(),
        };
        sink.sources(&self.loaded.project.files);
        sink.event(&Event::RunStarted {
            run: record.id,
            kind: record.kind,
            target: record.target.clone(),
            branch: record.branch.clone(),
            at: record.started,
            steps: graph.iter().map(|(key, _)| key.clone()).collect(),
        });
        let graph = self.check_steps(graph, &workspace)?;
        let concurrency = self.loaded.project.settings.concurrency.unwrap_or_else(machine::cores);
        let executor = Executor {
            system: Arc::clone(self.system()),
            journal: Arc::new(RecordedLater),
            sink: Arc::clone(sink),
            options: ExecutorOptions { concurrency, reuse: false, ..ExecutorOptions::default() },
        };
        Ok(executor.execute(record.id, &graph, cancel).await?)
    }

    async fn keep_checks(&self, record: &RunRecord, execution: &Execution) -> Result<(), AppError> {
        let journal =
            StateJournal { state: Arc::clone(self.catalog.state()), run: record.id, earlier: Earlier::Nothing };
        for step in &execution.records {
            journal.record(step).await?;
        }
        self.put_record(record).await
    }

    fn check_steps(&self, graph: Graph<Work>, workspace: &Workspace) -> Result<Graph<Arc<dyn Step>>, AppError> {
        let namespace = polder_model::default_namespace(&self.loaded.project);
        graph.map(|key, work| match work {
            Work::Check(set) => {
                let engine = Arc::clone(&self.engine);
                let step = CheckStep::new(set, workspace.clone(), engine, namespace.clone());
                Ok(on_workers(Arc::new(step), self.options.workers.as_ref()))
            }
            Work::Ingest(..) | Work::Model(_) => Err(AppError::Defect(format!("{key} is no check"))),
        })
    }
}

fn judge(execution: &Execution) -> (RunStatus, Option<String>) {
    let failures = execution.failures();
    match failures.first() {
        Some((step, failure)) => {
            let more = failures.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            let what = match failure.kind {
                FailureKind::Check => failure.message.clone(),
                _ => format!("{step}: {}", failure.message),
            };
            (RunStatus::Failed, Some(format!("{what}{more}")))
        }
        None if execution.cancelled() => (RunStatus::Cancelled, None),
        None => (RunStatus::Passed, None),
    }
}
