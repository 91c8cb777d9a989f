//! What the scheduler stands on: projects, runs and webhooks; the real ones, and simulated ones in tests.

use std::sync::Arc;

use polder_base::{RunId, Timestamp};
use polder_project::Pipeline;
use polder_run::{EventSink, FailureKind, RunRecord, RunStatus, SlotStatus, StepRecord};
use polder_store::State;
use polder_system::System;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::notices::Sender;
use super::plan::Ending;
use crate::app::has_errors;
use crate::run::Taker;
use crate::run::journal::{run_record, steps_of};
use crate::{App, AppError, RunSummary, codes};

/// What came of an attempt to execute a run.
#[derive(Debug)]
pub(super) enum Came {
    /// The run was executed to an end.
    Ended(Ending),
    /// It could not begin, or not be executed to an end.
    Failed(Ending),
    /// Another run writes its tables.
    Busy(String),
    /// Another server has begun the slot, or executes its run.
    Taken,
    /// Nothing can become of its run any more, for a later one has published what it had read, but not all that it was to
    /// do: another is to begin.
    Superseded(String),
}

/// How a run fares that nobody here executes.
#[derive(Debug)]
pub(super) enum Found {
    /// Another process executes it.
    Executed,
    /// Its process is dead.
    Interrupted,
    Ended(Ending),
}

/// The pipelines of a project.
pub(super) struct Declared {
    /// The project's name.
    pub(super) project: String,
    pub(super) pipelines: Vec<Pipeline>,
    /// Nothing is missing: the project has no mistakes.
    pub(super) complete: bool,
}

/// What the scheduler stands on.
#[async_trait::async_trait]
pub(super) trait Ground: Send + Sync + 'static {
    fn state(&self) -> Arc<dyn State>;
    fn system(&self) -> Arc<dyn System>;
    /// As the files are now.
    fn declared(&self) -> Declared;
    /// Begins the run of a slot, and executes it.
    async fn begin(&self, pipeline: &Pipeline, due: Timestamp, cancel: &CancellationToken) -> Came;
    /// Goes on with the run of a slot.
    async fn resume(&self, pipeline: &Pipeline, run: RunId, cancel: &CancellationToken) -> Came;
    async fn look(&self, run: RunId) -> Result<Found, AppError>;
    /// Tells what keeps a pipeline from going on; of all of them, where it has no name. `None`: nothing does any more.
    fn trouble(&self, pipeline: &str, what: Option<&str>);
    /// Posts a JSON body. The error says why it was not taken, without the address.
    async fn send(&self, address: &str, body: Vec<u8>) -> Result<(), String>;
}

/// Who hears of pipelines.
pub trait PipelineLog: Send + Sync {
    /// The sink that hears of the runs of a pipeline.
    fn runs(&self, pipeline: &str) -> Arc<dyn EventSink>;

    /// A run could not begin, or not go on.
    fn not_run(&self, _pipeline: &str, _error: &AppError) {}

    /// Something keeps a pipeline from going on; all of them, where it has no name. `None`: nothing does any more.
    fn trouble(&self, _pipeline: &str, _what: Option<&str>) {}
}

/// The newest app that a server has.
pub(super) struct OfApp {
    pub(super) apps: watch::Receiver<Arc<App>>,
    pub(super) log: Arc<dyn PipelineLog>,
    pub(super) sender: Sender,
}

impl OfApp {
    fn app(&self) -> Arc<App> {
        Arc::clone(&self.apps.borrow())
    }

    /// What came of an attempt. One that no run tells of is told here.
    fn came(&self, pipeline: &Pipeline, run: Option<RunId>, result: Result<RunSummary, AppError>) -> Came {
        let came = came(run, result.as_ref());
        if let (Came::Failed(_), Err(error)) = (&came, &result) {
            self.log.not_run(&pipeline.name, error);
        }
        came
    }
}

#[async_trait::async_trait]
impl Ground for OfApp {
    fn state(&self) -> Arc<dyn State> {
        Arc::clone(self.app().catalog.state())
    }

    fn system(&self) -> Arc<dyn System> {
        Arc::clone(self.app().system())
    }

    fn declared(&self) -> Declared {
        let app = self.app();
        let project = app.project();
        Declared {
            project: project.name.clone(),
            pipelines: project.pipelines.clone(),
            complete: !has_errors(&app.loaded.diagnostics),
        }
    }

    async fn begin(&self, pipeline: &Pipeline, due: Timestamp, cancel: &CancellationToken) -> Came {
        let (app, mut request) = self.app().for_pipeline(pipeline);
        request.due = Some(due);
        let result = app.run(&request, self.log.runs(&pipeline.name), cancel).await;
        self.came(pipeline, None, result)
    }

    async fn resume(&self, pipeline: &Pipeline, run: RunId, cancel: &CancellationToken) -> Came {
        let app = self.app();
        let result = app.resume_if(run, Taker::Scheduler, self.log.runs(&pipeline.name), cancel).await;
        if let Err(AppError::Refused(refused)) = &result
            && refused.code == codes::NO_RUN
            && let Some(came) = instead(&app, run).await
        {
            return came;
        }
        self.came(pipeline, Some(run), result)
    }

    async fn look(&self, run: RunId) -> Result<Found, AppError> {
        let app = self.app();
        let state = app.catalog.state();
        // In this order: how a run ended is kept before its process lets go of it.
        if app.is_executed(run).await? {
            return Ok(Found::Executed);
        }
        let Some(record) = run_record(state, run).await? else {
            let reason = Some(format!("the record of run {run} is gone"));
            return Ok(Found::Ended(Ending::new(Some(run), SlotStatus::Failed, reason)));
        };
        Ok(match record.status {
            RunStatus::Running => Found::Interrupted,
            _ => Found::Ended(ending(&record, &steps_of(state, run).await?)),
        })
    }

    fn trouble(&self, pipeline: &str, what: Option<&str>) {
        self.log.trouble(pipeline, what);
    }

    async fn send(&self, address: &str, body: Vec<u8>) -> Result<(), String> {
        self.sender.send(address, body).await
    }
}

/// What comes of a run in whose place a later one was published; `None`: there is no such run.
async fn instead(app: &App, run: RunId) -> Option<Came> {
    let (later, covers) = match app.published_instead(run).await {
        Ok(found) => found?,
        Err(error) => return Some(came(Some(run), Err(&error))),
    };
    let reason = format!("run {later} went on from what run {run} had read");
    Some(match covers {
        true => {
            let reason = Some(reason);
            Came::Ended(Ending::new(Some(later), SlotStatus::Published, reason))
        }
        false => Came::Superseded(format!("{reason}, and did not do all that it was to do")),
    })
}

fn came(run: Option<RunId>, result: Result<&RunSummary, &AppError>) -> Came {
    let error = match result {
        Ok(summary) => {
            let mut ending = ending(&summary.record, &summary.steps);
            // What stopped it from outside of its steps is known here alone.
            ending.may_pass &= summary.stopped.is_none_or(|code| code == AppError::ENVIRONMENT);
            return Came::Ended(ending);
        }
        Err(error) => error,
    };
    let reason = Some(match error {
        AppError::Refused(diagnostic) => diagnostic.message.clone(),
        other => other.in_one_line(),
    });
    match error {
        AppError::Refused(diagnostic) if diagnostic.code == codes::CLAIMED => Came::Busy(diagnostic.message.clone()),
        AppError::Refused(diagnostic) if [codes::SLOT_TAKEN, codes::RUNNING].contains(&diagnostic.code) => Came::Taken,
        AppError::Cancelled => Came::Ended(Ending::new(run, SlotStatus::Cancelled, reason)),
        AppError::Environment(_) => {
            Came::Failed(Ending { may_pass: true, ..Ending::new(run, SlotStatus::Failed, reason) })
        }
        _ => Came::Failed(Ending::new(run, SlotStatus::Failed, reason)),
    }
}

/// How a run that is at its end came there.
fn ending(record: &RunRecord, steps: &[StepRecord]) -> Ending {
    let status = match record.status {
        RunStatus::Published | RunStatus::Passed => SlotStatus::Published,
        RunStatus::Held => SlotStatus::Held,
        RunStatus::Cancelled => SlotStatus::Cancelled,
        RunStatus::Failed | RunStatus::Running => SlotStatus::Failed,
    };
    let worst = steps.iter().filter_map(|step| step.failure.as_ref()).map(|failure| failure.kind).max();
    // No step failed, and nobody else changed what it wrote: something outside of the steps stopped it.
    let outside = matches!(worst, None | Some(FailureKind::Environment)) && !record.stale;
    let may_pass = status == SlotStatus::Failed && outside;
    Ending {
        may_pass,
        asked: record.cancelled_by.is_some(),
        ..Ending::new(Some(record.id), status, record.reason.clone())
    }
}
