//! What is asked of a run from outside of the process that executes it: that it ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polder_base::{RunId, Timestamp};
use polder_run::{RunRecord, RunStatus};
use polder_store::{Batch, Space};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::journal::encode;
use crate::{App, AppError, codes};

/// How often a run looks whether it is asked for something.
const PERIOD: Duration = Duration::from_millis(500);

/// A run is asked to end. Key: the run's number in 20 digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CancelRequest {
    by: String,
    at: Timestamp,
}

/// Listens to what a run is asked for while it goes on.
#[derive(Debug)]
pub(super) struct Requests {
    by: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Requests {
    /// From now on `stop` is cancelled when somebody asks for it, or has asked since the run's lease was taken.
    pub(super) async fn listen(app: &App, run: RunId, stop: CancellationToken) -> Self {
        let by = Arc::new(Mutex::new(None));
        let (app, heard) = (app.clone(), Arc::clone(&by));
        let task = tokio::spawn(async move {
            while !stop.is_cancelled() {
                // A store that does not answer is asked again.
                if let Ok(Some(bytes)) = app.catalog.state().get(Space::Requests, &RunRecord::key(run)).await
                    && let Ok(request) = serde_json::from_slice::<CancelRequest>(&bytes)
                {
                    *heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.by);
                    stop.cancel();
                }
                app.system().sleep(PERIOD).await;
            }
        });
        Self { by, task }
    }

    /// Who asked for the end; `None`: nobody did.
    pub(super) fn cancelled_by(&self) -> Option<String> {
        self.by.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl App {
    /// Asks a run that goes on, in whichever process, to end. Its branch stays, and it can be taken up again.
    ///
    /// # Errors
    /// A run that is not known, or that does not go on.
    pub async fn cancel(&self, run: RunId) -> Result<(), AppError> {
        let record = self.known_run(run).await?;
        if record.status != RunStatus::Running {
            let message = format!("run {run} does not go on: it is {}", record.status.as_str());
            return Err(AppError::refused(codes::NO_RUN, message));
        }
        if !self.is_executed(run).await? {
            let refused = AppError::refused(
                codes::NO_RUN,
                format!("no process works on run {run}: it was interrupted, and there is nothing to cancel"),
            );
            return Err(refused.hint(format!("polder run --resume {run}")));
        }
        let request = CancelRequest { by: self.principal(), at: self.system().now() };
        let batch = Batch::new().put(Space::Requests, RunRecord::key(run), encode(&request)?);
        self.catalog.state().apply(batch).await?;
        Ok(())
    }

    /// Forgets what a run is asked for. What stays would be forgotten when it is taken up again.
    pub(super) async fn forget_requests(&self, run: RunId) {
        let batch = Batch::new().delete(Space::Requests, RunRecord::key(run));
        if let Err(error) = self.catalog.state().apply(batch).await {
            tracing::warn!(%run, %error, "what the run was asked for was not forgotten");
        }
    }
}
