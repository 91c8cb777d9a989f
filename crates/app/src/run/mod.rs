//! Runs: fork a branch, execute the steps on it, publish it.
//!
//! A run that ends in any other way than published leaves its target as it was, and its branch to look at.

mod accept;
mod events;
mod held;
pub(crate) mod journal;
mod keep;
mod lease;
mod lock;
mod publish;
mod requests;
mod resume;
mod steps;
pub(crate) mod stored;
mod takeover;
mod unchanged;
pub(crate) mod workers;

use std::sync::Arc;

use polder_base::{Publish, RunId, TableName, Timestamp};
use polder_catalog::{CatalogError, CommitId};
use polder_diag::Sources;
use polder_lake::Workspace;
use polder_run::{
    Event, EventSink, Execution, Executor, ExecutorOptions, FailureKind, Graph, RunKind, RunRecord, RunStatus,
    Selection, StepKey, StepRecord,
};
use polder_store::{Batch, Outcome, Space};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::app::Loaded;
use crate::blueprint::{Blueprint, Ground, Work, selection_error};
use crate::{App, AppError, codes, machine, schedule};
pub use accept::AcceptRequest;
pub use events::LoggedEvent;
pub(crate) use publish::scanned_by;
pub(crate) use resume::Taker;

use events::EventLog;
use held::Held;
use journal::{Earlier, StateJournal, encode};
use lease::LeaseKeeper;
use requests::Requests;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// Selections as they were typed; none: everything.
    pub select: Vec<String>,
    pub exclude: Vec<String>,
    /// The branch to publish to; the current one unless set.
    pub target: Option<String>,
    /// Build incremental models in full, and take over nothing.
    pub full_refresh: bool,
    /// Steps at once; the project's setting or the number of cores unless set.
    pub concurrency: Option<usize>,
    /// What is published when something goes wrong; the project's setting unless set.
    pub publish: Option<Publish>,
    /// Go on from nothing that an earlier run has read and not published: read from where the target stands.
    pub anew: bool,
    /// The pipeline whose run this is.
    pub pipeline: Option<String>,
    /// The time of its schedule that it is for: only the one server that decided it begins a run for it.
    pub due: Option<Timestamp>,
}

/// How a run went.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    pub record: RunRecord,
    /// In the order of the graph.
    pub steps: Vec<StepRecord>,
    /// What the target shows now: the run itself once it is published.
    pub shown: Shown,
    /// Publishing had happened before: there was nothing to do.
    pub already_published: bool,
    /// Of this execution; a run that was taken up again had others before.
    pub elapsed_ms: u64,
    /// The exit code of what ended the run from outside of its steps, such as a full disk.
    #[serde(skip)]
    pub stopped: Option<u8>,
    /// Files that the diagnostics of failed steps point into.
    #[serde(skip)]
    pub sources: Sources,
}

/// What a ref shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    #[serde(rename = "ref")]
    pub name: String,
    pub commit: String,
    pub at: Timestamp,
    pub run: Option<u64>,
}

impl RunSummary {
    /// 0 published; 1 held, failed over data, or cancelled; 3 the environment failed; 70 a bug.
    pub fn exit_code(&self) -> u8 {
        let worst = self.steps.iter().filter_map(|s| s.failure.as_ref()).map(|f| f.kind).max();
        match (self.record.status, worst) {
            (RunStatus::Published, _) => 0,
            _ if self.stopped.is_some() => self.stopped.unwrap_or(1),
            (_, Some(FailureKind::Defect)) => 70,
            (_, Some(FailureKind::Environment)) => 3,
            _ => 1,
        }
    }
}

impl App {
    /// Runs a selection and publishes it.
    ///
    /// # Errors
    /// What keeps the run from starting, or its state from being kept. How the steps went is in the summary.
    pub async fn run(
        &self,
        request: &RunRequest,
        sink: Arc<dyn EventSink>,
        cancel: &CancellationToken,
    ) -> Result<RunSummary, AppError> {
        self.loaded.valid()?;
        let (target, base) = self.target(request.target.as_deref()).await?;
        let graph = self.graph(&self.loaded, &base, request).await?;
        if graph.is_empty() {
            let message = "there is nothing to run: the project declares no sources and no models";
            return Err(AppError::refused(codes::SELECTION, message));
        }
        let run = self.catalog.next_run().await?;
        let lost = CancellationToken::new();
        let lease = LeaseKeeper::acquire(self, run, lost.clone()).await?;
        let mut record = self.new_record(run, RunKind::Run, target, base).await;
        record.select.clone_from(&request.select);
        record.exclude.clone_from(&request.exclude);
        record.full_refresh = request.full_refresh;
        record.publish = request.publish.unwrap_or(record.publish);
        record.pipeline.clone_from(&request.pipeline);
        record.due = request.due;
        let begun = async {
            self.begin(&mut record, &graph).await?;
            if request.full_refresh || request.anew {
                return Ok(());
            }
            self.take_over(&mut record, &graph).await
        };
        if let Err(error) = begun.await {
            self.clean_up(run, lease).await;
            return Err(error);
        }
        let conductor = Conductor {
            app: self.clone(),
            loaded: self.loaded.clone(),
            begun: record.started,
            record,
            earlier: Earlier::Everything,
            concurrency: request.concurrency,
            sink,
            lease,
            lost,
        };
        conductor.conduct(graph, cancel).await
    }

    /// A record of a run that begins now.
    pub(crate) async fn new_record(&self, run: RunId, kind: RunKind, target: String, base: CommitId) -> RunRecord {
        let now = self.system().now();
        let git = self.git().await;
        RunRecord {
            id: run,
            kind,
            branch: if kind == RunKind::Check { target.clone() } else { run.branch() },
            target,
            status: RunStatus::Running,
            reason: None,
            principal: self.principal(),
            started: now,
            run_time: now,
            finished: None,
            base: base.0,
            commit: None,
            select: Vec::new(),
            exclude: Vec::new(),
            full_refresh: false,
            environment: self.loaded.project.settings.environment.clone(),
            vars: self.options.vars.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: git.as_ref().map(|(commit, _)| commit.clone()),
            git_dirty: git.is_some_and(|(_, dirty)| dirty),
            files: std::collections::BTreeMap::new(),
            resumed: 0,
            stale: false,
            publish: self.loaded.project.settings.publish.unwrap_or_default(),
            parts: Vec::new(),
            held: Vec::new(),
            took_over: Vec::new(),
            superseded: Vec::new(),
            accepted: None,
            same_as: None,
            cancelled_by: None,
            pipeline: None,
            due: None,
        }
    }

    /// The graph of a request on a commit.
    pub(crate) async fn graph(
        &self,
        loaded: &Loaded,
        base: &CommitId,
        request: &RunRequest,
    ) -> Result<Graph<Work>, AppError> {
        let blueprint = self.blueprint(loaded, base, request.full_refresh).await?.valid()?;
        let selection = Selection::parse(&request.select, &request.exclude).map_err(selection_error)?;
        blueprint.run_graph(&blueprint.select(&selection)?)
    }

    pub(crate) async fn blueprint(
        &self,
        loaded: &Loaded,
        base: &CommitId,
        full_refresh: bool,
    ) -> Result<Blueprint, AppError> {
        let project = loaded.valid()?;
        let vars = self.vars(project);
        let existing = self.relations(base).await?;
        Ok(Blueprint::of(project, &Ground { vars: &vars, existing: &existing, full_refresh }))
    }

    /// Claims the tables, keeps the project, makes the branch, and records that the run goes on.
    async fn begin(&self, record: &mut RunRecord, graph: &Graph<Work>) -> Result<(), AppError> {
        self.claim(record, graph).await?;
        record.files = stored::store(self.catalog.state(), &self.loaded.project).await?;
        let base = CommitId(record.base.clone());
        let expires = self.kept_until(&base).await?;
        self.catalog.create_branch(&record.branch, &base, Some(expires)).await?;
        let (Some(pipeline), Some(due)) = (&record.pipeline, record.due) else { return self.put_record(record).await };
        let begun = schedule::records::begin(self.catalog.state(), record, pipeline, due).await;
        if matches!(begun, Err(AppError::Refused(_))) {
            // No run is known of, so nobody would look at its branch.
            self.catalog.delete_ref(&record.branch).await?;
        }
        begun
    }

    /// Reserves the tables that a run writes. Those of a run whose process died are free.
    async fn claim(&self, record: &RunRecord, graph: &Graph<Work>) -> Result<(), AppError> {
        let tables: Vec<TableName> = graph.iter().filter_map(|(_, work)| work.writes().cloned()).collect();
        loop {
            match self.catalog.claim(record.id, &record.target, &tables).await {
                Err(CatalogError::Claimed { run, .. }) if self.end_if_dead(RunId(run)).await? => {}
                other => return Ok(other?),
            }
        }
    }

    /// The branch of a run, to be written to.
    fn workspace(&self, record: &RunRecord) -> Workspace {
        Workspace {
            lake: Arc::clone(&self.lake),
            branch: record.branch.clone(),
            run: record.id,
            run_time: record.run_time,
            author: polder_catalog::Author { principal: record.principal.clone() },
        }
    }

    pub(crate) async fn put_record(&self, record: &RunRecord) -> Result<(), AppError> {
        self.catalog.state().apply(record_batch(record)?).await?;
        Ok(())
    }

    /// Gives back what a run holds. What fails here ends with the lease.
    async fn clean_up(&self, run: RunId, lease: LeaseKeeper) {
        if let Err(error) = self.catalog.release_claims(run).await {
            tracing::warn!(%run, %error, "claims were not given back");
        }
        self.forget_requests(run).await;
        lease.release().await;
    }

    /// What a ref shows now.
    pub(crate) async fn shown(&self, name: &str) -> Result<Shown, AppError> {
        let commit = self.catalog.resolve(name).await?;
        let object = self.catalog.commit_object(&commit).await?;
        Ok(Shown { name: name.to_owned(), commit: commit.0, at: object.at(), run: object.run })
    }

    async fn git(&self) -> Option<(String, bool)> {
        let folder = self.options.project.clone();
        tokio::task::spawn_blocking(move || machine::git_commit(&folder)).await.ok().flatten()
    }
}

fn record_batch(record: &RunRecord) -> Result<Batch, AppError> {
    Ok(Batch::new().put(Space::Runs, RunRecord::key(record.id), encode(record)?))
}

fn taken_over(run: RunId) -> AppError {
    AppError::refused(codes::RUNNING, format!("run {run} was taken over by another process"))
}

/// How a run ended, before it is recorded.
struct Ending {
    status: RunStatus,
    reason: Option<String>,
}

impl Ending {
    fn new(status: RunStatus, reason: impl Into<String>) -> Self {
        Self { status, reason: Some(reason.into()) }
    }

    /// The same, with who or what asked for it in the place of `cancelled`.
    fn asked_for(self, words: Option<String>) -> Self {
        let (RunStatus::Cancelled, Some(words), Some(reason)) = (self.status, words, &self.reason) else { return self };
        Self::new(self.status, reason.replacen("cancelled", &words, 1))
    }
}

/// Conducts a run that has begun to its end.
struct Conductor {
    app: App,
    /// The project that runs: as it is in the folder, or as it was stored.
    loaded: Loaded,
    record: RunRecord,
    earlier: Earlier,
    concurrency: Option<usize>,
    sink: Arc<dyn EventSink>,
    lease: LeaseKeeper,
    /// Cancelled when another process has taken the run over.
    lost: CancellationToken,
    /// When this execution began; the run may have had others before.
    begun: Timestamp,
}

impl Conductor {
    async fn conduct(mut self, graph: Graph<Work>, cancel: &CancellationToken) -> Result<RunSummary, AppError> {
        let (log, sink) = EventLog::open(&self.app, self.record.id, Arc::clone(&self.sink)).await;
        self.sink = sink;
        let summary = self.conduct_logged(graph, cancel).await;
        log.close().await;
        summary
    }

    async fn conduct_logged(mut self, graph: Graph<Work>, cancel: &CancellationToken) -> Result<RunSummary, AppError> {
        self.sink.sources(&self.loaded.project.files);
        self.sink.event(&Event::RunStarted {
            run: self.record.id,
            kind: RunKind::Run,
            target: self.record.target.clone(),
            branch: self.record.branch.clone(),
            at: self.begun,
            steps: graph.iter().map(|(key, _)| key.clone()).collect(),
        });
        let stop = cancel.child_token();
        let requests = Requests::listen(&self.app, self.record.id, stop.clone()).await;
        let lost = self.lost.clone();
        let (watched, watch) = (stop.clone(), lost.clone());
        let watcher = tokio::spawn(async move {
            watch.cancelled().await;
            watched.cancel();
        });
        let result = self.execute_and_publish(graph, &stop).await;
        watcher.abort();
        match result {
            _ if lost.is_cancelled() => {
                // Whoever took over writes the record now.
                Err(taken_over(self.record.id))
            }
            Ok((steps, ending)) => {
                let by = requests.cancelled_by();
                self.record.cancelled_by = by.clone().filter(|_| ending.status == RunStatus::Cancelled);
                let words = match by {
                    Some(by) => Some(format!("cancelled by {by}")),
                    None if ending.status == RunStatus::Cancelled => self.told_by_scheduler().await,
                    None => None,
                };
                self.end(steps, ending.asked_for(words)).await
            }
            Err(error) => self.stop(error).await,
        }
    }

    async fn execute_and_publish(
        &mut self,
        graph: Graph<Work>,
        cancel: &CancellationToken,
    ) -> Result<(Vec<StepRecord>, Ending), AppError> {
        let plan = graph.clone();
        let workspace = self.workspace();
        let execution = self.execute(graph, self.earlier, &workspace, cancel).await?;
        let ending = self.judge(&execution);
        let in_part = self.record.publish == Publish::Healthy && !execution.cancelled();
        let steps = execution.records;
        let held = match &ending {
            None => Some(Held::nothing(&plan)),
            Some(_) if in_part => self.hold(&plan, &steps).await?,
            Some(_) => None,
        };
        match (held, ending) {
            (Some(held), why) => self.publish(held, why, steps, cancel).await,
            (None, Some(ending)) => Ok((steps, ending)),
            (None, None) => Err(AppError::Defect("a run neither ends nor is published".to_owned())),
        }
    }

    async fn execute(
        &self,
        graph: Graph<Work>,
        earlier: Earlier,
        workspace: &Workspace,
        cancel: &CancellationToken,
    ) -> Result<Execution, AppError> {
        let steps = graph.map(|_, work| self.step(work, workspace))?;
        let settings = &self.loaded.project.settings;
        let options = ExecutorOptions {
            concurrency: self.concurrency.or(settings.concurrency).unwrap_or_else(machine::cores),
            reuse: !self.record.full_refresh,
            ..ExecutorOptions::default()
        };
        let state = Arc::clone(self.app.catalog.state());
        let executor = Executor {
            system: Arc::clone(self.app.system()),
            journal: Arc::new(StateJournal { state, run: self.record.id, earlier }),
            sink: Arc::clone(&self.sink),
            options,
        };
        Ok(executor.execute(self.record.id, &steps, cancel).await?)
    }

    fn workspace(&self) -> Workspace {
        self.app.workspace(&self.record)
    }

    /// Why a run ends before it is published; `None`: it does not.
    fn judge(&self, execution: &Execution) -> Option<Ending> {
        let failures = execution.failures();
        let branch = &self.record.branch;
        if let Some((step, failure)) = failures.first() {
            let more = match failures.len() - 1 {
                0 => String::new(),
                1 => ", and 1 more step failed".to_owned(),
                n => format!(", and {n} more steps failed"),
            };
            let (status, what) = match failure.kind {
                FailureKind::Check => (RunStatus::Held, failure.message.clone()),
                _ => (RunStatus::Failed, format!("{step}: {}", failure.message)),
            };
            return Some(Ending::new(status, format!("{what}{more}; {branch} stays to look at")));
        }
        if execution.cancelled() {
            return Some(Ending::new(RunStatus::Cancelled, format!("cancelled; {branch} stays to look at")));
        }
        debug_assert!(execution.succeeded(), "a step that neither failed nor was cancelled succeeded");
        None
    }

    /// How the scheduler told the run to end, in words; `None`: it did not.
    async fn told_by_scheduler(&self) -> Option<String> {
        let (pipeline, _) = (self.record.pipeline.as_ref()?, self.record.due?);
        let kept = schedule::records::read(self.app.catalog.state(), pipeline).await.ok()??;
        let active = kept.active.filter(|active| active.run == Some(self.record.id))?;
        let declared = self.loaded.project.pipelines.iter().find(|declared| declared.name == *pipeline);
        let limit = declared.and_then(|declared| declared.timeout_seconds);
        match (active.timed_out, active.interrupted) {
            (true, _) => Some(limit.map_or("timed out".to_owned(), |seconds| format!("timed out after {seconds}s"))),
            (false, true) => Some("interrupted because the server stopped".to_owned()),
            (false, false) => None,
        }
    }

    /// Keeps the run's record, as long as the run is this process's.
    async fn keep_record(&self) -> Result<(), AppError> {
        let batch = self.lease.lease().expect(record_batch(&self.record)?)?;
        match self.app.catalog.state().apply(batch).await? {
            Outcome::Applied => Ok(()),
            Outcome::Refused { .. } => {
                self.lost.cancel();
                Err(taken_over(self.record.id))
            }
        }
    }

    /// Ends a run that something outside of its steps has stopped: a full disk, a state store that cannot be read.
    async fn stop(mut self, error: AppError) -> Result<RunSummary, AppError> {
        if let Ok(Some(kept)) = journal::run_record(self.app.catalog.state(), self.record.id).await
            && matches!(kept.status, RunStatus::Published | RunStatus::Held)
        {
            // What failed came after the target had moved.
            self.record = kept;
            return self.tell(Vec::new()).await;
        }
        self.ended(Ending::new(RunStatus::Failed, error.to_string()));
        if let Err(error) = self.keep_record().await {
            tracing::warn!(run = %self.record.id, %error, "how the run ended was not kept");
        }
        self.stopped(Vec::new(), error).await
    }

    /// Tells how a run ended that something outside of its steps stopped. Where that could not be kept, its record says
    /// that it was interrupted.
    async fn stopped(self, steps: Vec<StepRecord>, error: AppError) -> Result<RunSummary, AppError> {
        if self.lost.is_cancelled() {
            return Err(error);
        }
        let exit_code = error.exit_code();
        match self.tell(steps).await {
            Ok(summary) => Ok(RunSummary { stopped: Some(exit_code), ..summary }),
            Err(_) => Err(error),
        }
    }

    fn ended(&mut self, ending: Ending) {
        self.record.finished.get_or_insert(self.app.system().now());
        self.record.status = ending.status;
        self.record.reason = ending.reason;
    }

    /// Records how the run ended, gives back what it held, and tells.
    async fn end(mut self, steps: Vec<StepRecord>, ending: Ending) -> Result<RunSummary, AppError> {
        self.ended(ending);
        if self.record.status != RunStatus::Published {
            if let Err(error) = self.forget_overruled(&steps).await {
                return self.stopped(steps, error).await;
            }
            self.note_same(&steps).await;
            if let Err(error) = self.keep_record().await {
                return self.stopped(steps, error).await;
            }
            self.fold().await;
        } else if let Err(error) = self.app.catalog.delete_ref(&self.record.branch).await {
            // The branch has an expiry, too.
            tracing::warn!(branch = %self.record.branch, %error, "the branch was not removed");
        }
        self.tell(steps).await
    }

    /// What somebody overruled to publish this run, which was not published, holds for no other run: where the same is
    /// checked again, it fails again.
    async fn forget_overruled(&self, steps: &[StepRecord]) -> Result<(), AppError> {
        let overruled = steps.iter().filter(|step| step.report.failures.iter().any(|failure| failure.accepted));
        let fingerprints = overruled.flat_map(|step| step.fingerprint.iter().chain(&step.report.settled));
        let batch = fingerprints.fold(Batch::new(), |batch, known| batch.delete(Space::Fingerprints, known.0.clone()));
        if !batch.writes.is_empty() {
            self.app.catalog.state().apply(batch).await?;
        }
        Ok(())
    }

    /// Gives back what the run held, and tells how it ended.
    async fn tell(self, steps: Vec<StepRecord>) -> Result<RunSummary, AppError> {
        self.app.clean_up(self.record.id, self.lease).await;
        let finished = self.record.finished.unwrap_or(self.begun);
        let elapsed_ms = u64::try_from(finished.since(self.begun).as_millis()).unwrap_or(u64::MAX);
        self.sink.event(&Event::RunFinished {
            run: self.record.id,
            status: self.record.status,
            reason: self.record.reason.clone(),
            commit: self.record.commit.clone(),
            elapsed_ms,
            at: finished,
        });
        let shown = self.app.shown(&self.record.target).await?;
        let sources = self.loaded.project.files.clone();
        Ok(RunSummary {
            record: self.record,
            steps,
            shown,
            already_published: false,
            elapsed_ms,
            stopped: None,
            sources,
        })
    }
}

/// Puts the records of steps that ran again in the place of the earlier ones.
fn replace_steps(steps: &mut Vec<StepRecord>, again: Vec<StepRecord>) {
    for record in again {
        match steps.iter_mut().find(|s: &&mut StepRecord| s.step == record.step) {
            Some(step) => *step = record,
            None => steps.push(record),
        }
    }
}

/// What has no reader but a person: a list of names, shortened.
fn names(keys: impl Iterator<Item = StepKey>) -> String {
    keys.map(|k| k.resource).collect::<Vec<_>>().join(", ")
}
