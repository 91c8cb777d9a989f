//! What happened in a run, kept: `polder logs` shows it while the run goes on, from another process, and long after.
//!
//! Records of steps are what counts, and are durable before anything is told. Events are kept a moment after they were
//! told, many at once: a crash loses the last of them, and nothing waits for them.

use std::sync::Arc;
use std::time::Duration;

use polder_base::{RunId, Timestamp};
use polder_diag::Sources;
use polder_run::{Event, EventSink, Progress, RunRecord, StepKey};
use polder_store::{Batch, Space, State};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::journal::encode;
use crate::{App, AppError};

/// Events written at once.
const MOST: usize = 256;

/// Records read or deleted at once.
const PAGE: usize = 500;

/// How long the end of a run waits for its last events to be kept.
const PATIENCE: Duration = Duration::from_secs(5);

/// An event with its number, counted from 0 in each run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LoggedEvent {
    pub number: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// What the keys of all events of a run start with.
fn prefix(run: RunId) -> String {
    format!("{}/", RunRecord::key(run))
}

fn key(run: RunId, number: u64) -> String {
    format!("{}{number:010}", prefix(run))
}

/// Tells somebody else, and the log.
struct Logged {
    inner: Arc<dyn EventSink>,
    log: UnboundedSender<Event>,
}

impl EventSink for Logged {
    fn event(&self, event: &Event) {
        // A log that has ended could not write.
        let _ = self.log.send(event.clone());
        self.inner.event(event);
    }

    fn sources(&self, sources: &Sources) {
        self.inner.sources(sources);
    }

    fn progress(&self, step: &StepKey, progress: &Arc<Progress>) {
        self.inner.progress(step, progress);
    }
}

/// The log of a run that goes on.
#[derive(Debug)]
pub(super) struct EventLog {
    writer: JoinHandle<()>,
}

impl EventLog {
    /// Begins, or goes on with, the log of a run. What the sink that comes back is told is kept.
    pub(super) async fn open(app: &App, run: RunId, inner: Arc<dyn EventSink>) -> (Self, Arc<dyn EventSink>) {
        let (log, events) = unbounded_channel();
        let state = Arc::clone(app.catalog.state());
        // Where the earlier events cannot be counted, writing fails as well.
        let next = app.events(run, None).await.ok().and_then(|e| e.last().map(|e| e.number + 1)).unwrap_or_default();
        let writer = tokio::spawn(write(state, run, next, events));
        (Self { writer }, Arc::new(Logged { inner, log }))
    }

    /// Waits until everything is kept. Nobody must hold the sink any more.
    pub(super) async fn close(self) {
        // A step that was cancelled and does not notice may still hold it.
        let _ = tokio::time::timeout(PATIENCE, self.writer).await;
    }
}

async fn write(state: Arc<dyn State>, run: RunId, mut next: u64, mut events: UnboundedReceiver<Event>) {
    let mut waiting = Vec::new();
    while events.recv_many(&mut waiting, MOST).await > 0 {
        let mut batch = Batch::new();
        for event in waiting.drain(..) {
            let Ok(value) = encode(&event) else { continue };
            batch = batch.put(Space::Events, key(run, next), value);
            next += 1;
        }
        if let Err(error) = state.apply(batch).await {
            tracing::warn!(%run, %error, "what happened in the run was not kept");
        }
    }
}

impl App {
    /// What happened in a run, after the event of that number, in order.
    ///
    /// # Errors
    /// The state store does not answer. A run that is not known has no events.
    pub async fn events(&self, run: RunId, after: Option<u64>) -> Result<Vec<LoggedEvent>, AppError> {
        let (prefix, mut after) = (prefix(run), after.map(|number| key(run, number)));
        let mut events = Vec::new();
        loop {
            let page = self.catalog.state().scan(Space::Events, &prefix, after.as_deref(), PAGE).await?;
            for (key, bytes) in &page {
                let number = key.strip_prefix(&prefix).and_then(|number| number.parse().ok());
                // An event of a later version that this one does not know is not worth failing for.
                if let (Some(number), Ok(event)) = (number, serde_json::from_slice(bytes)) {
                    events.push(LoggedEvent { number, event });
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
                _ => return Ok(events),
            }
        }
    }

    /// Forgets what happened in runs that began longer than `keep` before a time.
    pub(crate) async fn forget_events(&self, as_of: Timestamp, keep: Duration) -> Result<(), AppError> {
        let state = self.catalog.state();
        loop {
            // Runs are numbered as they begin: from the first that is young enough on, all are.
            let page = state.scan(Space::Events, "", None, PAGE).await?;
            let mut batch = Batch::new();
            let (mut decided, mut young) = (None, page.len() < PAGE);
            for (key, _) in page {
                let Some(run) = key.split('/').next().and_then(|run| run.parse().ok()).map(RunId) else { continue };
                if decided != Some(run) {
                    // One that cannot be read keeps nothing.
                    let record = state.get(Space::Runs, &RunRecord::key(run)).await?;
                    let record = record.and_then(|raw| serde_json::from_slice::<RunRecord>(&raw).ok());
                    if record.is_some_and(|record| as_of.since(record.started) < keep) {
                        young = true;
                        break;
                    }
                    decided = Some(run);
                }
                batch = batch.delete(Space::Events, key);
            }
            if !batch.writes.is_empty() {
                state.apply(batch).await?;
            }
            if young {
                return Ok(());
            }
        }
    }
}
