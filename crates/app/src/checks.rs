//! The checks of a project on data as it is: `polder check`.

use std::sync::Arc;

use polder_base::RunId;
use polder_check::CheckStep;
use polder_diag::Sources;
use polder_lake::Workspace;
use polder_run::{
    Event, EventSink, Executor, ExecutorOptions, FailureKind, Fingerprint, Graph, Journal, JournalError, Output,
    RunStatus, Selection, Step, StepRecord,
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::blueprint::{Work, selection_error};
use crate::{App, AppError, codes, machine};

/// How the checks came out.
#[derive(Debug, Clone, Serialize)]
pub struct CheckSummary {
    #[serde(rename = "ref")]
    pub at: String,
    pub commit: String,
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
}

/// Checks alone are no run: nothing of them is kept.
#[derive(Debug)]
struct NoJournal;

#[async_trait::async_trait]
impl Journal for NoJournal {
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
    /// Tests the chosen tables as a ref shows them.
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
        let now = self.system().now();
        let run = RunId(0);
        let workspace = Workspace {
            lake: Arc::clone(&self.lake),
            branch: commit.0.clone(),
            run,
            run_time: now,
            author: self.author(),
        };
        let steps = graph.iter().map(|(key, _)| key.clone()).collect();
        sink.event(&Event::RunStarted { run, target: name.clone(), branch: name.clone(), at: now, steps });
        let graph = self.check_steps(graph, &workspace)?;
        let concurrency = self.loaded.project.settings.concurrency.unwrap_or_else(machine::cores);
        let executor = Executor {
            system: Arc::clone(self.system()),
            journal: Arc::new(NoJournal),
            sink: Arc::clone(&sink),
            options: ExecutorOptions { concurrency, reuse: false, ..ExecutorOptions::default() },
        };
        let execution = executor.execute(run, &graph, cancel).await?;
        let at = self.system().now();
        let status = match (execution.cancelled(), execution.succeeded()) {
            (true, _) => RunStatus::Cancelled,
            (_, true) => RunStatus::Published,
            _ => RunStatus::Held,
        };
        let elapsed_ms = u64::try_from(at.since(now).as_millis()).unwrap_or(u64::MAX);
        sink.event(&Event::RunFinished { run, status, reason: None, commit: Some(commit.0.clone()), elapsed_ms, at });
        let sources = self.loaded.project.files.clone();
        Ok(CheckSummary { at: name, commit: commit.0, steps: execution.records, sources })
    }

    fn check_steps(&self, graph: Graph<Work>, workspace: &Workspace) -> Result<Graph<Arc<dyn Step>>, AppError> {
        let namespace = polder_model::default_namespace(&self.loaded.project);
        graph.map(|key, work| match work {
            Work::Check(set) => {
                let engine = Arc::clone(&self.engine);
                Ok(Arc::new(CheckStep::new(set, workspace.clone(), engine, namespace.clone())) as Arc<dyn Step>)
            }
            Work::Ingest(..) | Work::Model(_) => Err(AppError::Defect(format!("{key} is no check"))),
        })
    }
}
