//! Whether a server can do its work.

use std::time::Duration;

use polder_catalog::MAIN;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Server;
use crate::{App, AppError, Shown};

/// A state store that has not answered by then is as good as gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// A task that has not come to its turn on a thread of statements by then is late.
const TURN: Duration = Duration::from_secs(1);

/// How a server is.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Health {
    /// `main`, as the state store has it now.
    pub main: Shown,
    /// The files that are served are not the ones that are there, for those have mistakes.
    pub files_wrong: bool,
    /// Something keeps pipelines from going on: a damaged record, a state store that cannot be written.
    pub pipelines_stuck: bool,
    /// Pipelines that have not come to a good end since they last failed, were held, or timed out.
    pub pipelines_failing: usize,
    /// The threads of statements are all taken, by work that does not give way.
    pub statements_late: bool,
    pub uptime_seconds: u64,
}

/// Why a server cannot do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ailment {
    #[error("the state store does not answer as it should")]
    StateStore,
    #[error("the state store does not answer in time")]
    StateStoreLate,
}

impl Server {
    /// How the server is: it asks the state store, and whether statements come to their turn. It takes some seconds at
    /// most.
    ///
    /// # Errors
    /// What keeps it from working.
    pub async fn health(&self) -> Result<Health, Ailment> {
        let app = self.app();
        let (main, statements_late) = tokio::join!(main(&app), are_taken(app.options.workers.as_ref(), TURN));
        let main = main?;
        let pipelines_failing = failing(&app).await?;
        self.metrics().pipelines_failing(pipelines_failing);
        self.metrics().main_shown(&main);
        let uptime_seconds = app.system().now().since(self.started).as_secs();
        let pipelines_stuck = !self.stuck.lock().is_empty();
        let files_wrong = self.problems().is_some();
        Ok(Health { main, files_wrong, pipelines_stuck, pipelines_failing, statements_late, uptime_seconds })
    }
}

async fn main(app: &App) -> Result<Shown, Ailment> {
    in_time(app.shown(MAIN)).await
}

async fn failing(app: &App) -> Result<usize, Ailment> {
    in_time(app.failing_pipelines()).await
}

async fn in_time<T>(answer: impl Future<Output = Result<T, AppError>>) -> Result<T, Ailment> {
    match timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|_| Ailment::StateStore),
        Err(_) => Err(Ailment::StateStoreLate),
    }
}

/// Whether no thread of statements has time for a task within `patience`.
async fn are_taken(workers: Option<&Handle>, patience: Duration) -> bool {
    match workers {
        Some(workers) => timeout(patience, workers.spawn(async {})).await.is_err(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn threads_that_are_all_taken_are_noticed() {
        let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        assert!(!are_taken(Some(workers.handle()), PATIENCE).await);
        let (free, taken) = std::sync::mpsc::channel::<()>();
        workers.spawn(async move { taken.recv() });
        assert!(are_taken(Some(workers.handle()), Duration::from_millis(50)).await);
        drop(free);
        workers.shutdown_background();
    }
}
