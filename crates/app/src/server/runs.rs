//! Runs of pipelines, as a server's log tells them.

use std::sync::Arc;

use polder_run::{Event, EventSink};

use super::{Server, ServerLog, ServerNote};
use crate::{AppError, PipelineLog};

/// Tells the log when runs of a pipeline begin and end; `polder logs` has the rest.
struct RunNotes {
    pipeline: String,
    log: Arc<dyn ServerLog>,
}

impl EventSink for RunNotes {
    fn event(&self, event: &Event) {
        let pipeline = self.pipeline.clone();
        match event {
            Event::RunStarted { run, .. } => self.log.note(&ServerNote::RunBegan { pipeline, run: *run }),
            Event::RunFinished { run, status, reason, elapsed_ms, .. } => self.log.note(&ServerNote::RunEnded {
                pipeline,
                run: *run,
                status: *status,
                reason: reason.clone(),
                elapsed_ms: *elapsed_ms,
            }),
            _ => {}
        }
    }
}

/// Tells the server's log of pipelines.
pub(super) struct PipelineNotes {
    pub(super) server: Arc<Server>,
    pub(super) log: Arc<dyn ServerLog>,
}

impl PipelineLog for PipelineNotes {
    fn runs(&self, pipeline: &str) -> Arc<dyn EventSink> {
        Arc::new(RunNotes { pipeline: pipeline.to_owned(), log: Arc::clone(&self.log) })
    }

    fn not_run(&self, pipeline: &str, error: &AppError) {
        let problems = error.problems().map(Arc::new);
        self.log.note(&ServerNote::NotRun { pipeline: pipeline.to_owned(), reason: error.to_string(), problems });
    }

    fn trouble(&self, pipeline: &str, what: Option<&str>) {
        self.server.note_stuck(pipeline, what.is_some());
        let name = if pipeline.is_empty() { "pipelines".to_owned() } else { format!("pipeline {pipeline}") };
        let what = what.unwrap_or("the scheduler goes on");
        self.log.note(&ServerNote::Trouble(format!("{name}: {what}")));
    }
}
