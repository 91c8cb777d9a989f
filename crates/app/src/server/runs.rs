//! Runs of pipelines, as a server's log tells them.

use std::sync::Arc;

use polder_run::{Event, EventSink};

use super::{ServerLog, ServerNote};

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

/// Who hears of the runs of a pipeline.
pub(super) fn sink(log: &Arc<dyn ServerLog>, pipeline: &str) -> Arc<dyn EventSink> {
    Arc::new(RunNotes { pipeline: pipeline.to_owned(), log: Arc::clone(log) })
}
