//! Whether a server can do its work.

use std::time::Duration;

use polder_catalog::MAIN;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Server;
use crate::{App, Shown};

/// So long a part of the server may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a server is.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Health {
    /// `main`, as the state store has it now.
    pub main: Shown,
    /// The files that are served are not the ones that are there, for those have mistakes.
    pub files_wrong: bool,
    /// Something keeps pipelines from going on: a damaged record, a state store that cannot be written.
    pub pipelines_stuck: bool,
    pub uptime_seconds: u64,
}

/// Why a server cannot do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ailment {
    #[error("the state store does not answer as it should")]
    StateStore,
    #[error("the state store does not answer in time")]
    StateStoreLate,
    #[error("statements do not come to their turn in time")]
    Statements,
}

impl Server {
    /// How the server is: it asks the state store, and lets a statement's thread take its turn. It takes some seconds
    /// at most.
    ///
    /// # Errors
    /// What keeps it from working.
    pub async fn health(&self) -> Result<Health, Ailment> {
        let app = self.app();
        let (main, ()) = tokio::try_join!(main(&app), turn(app.options.workers.as_ref(), PATIENCE))?;
        self.metrics().main_shown(&main);
        let uptime_seconds = app.system().now().since(self.started).as_secs();
        let pipelines_stuck = !self.stuck.lock().is_empty();
        Ok(Health { main, files_wrong: self.problems().is_some(), pipelines_stuck, uptime_seconds })
    }
}

async fn main(app: &App) -> Result<Shown, Ailment> {
    match timeout(PATIENCE, app.shown(MAIN)).await {
        Ok(shown) => shown.map_err(|_| Ailment::StateStore),
        Err(_) => Err(Ailment::StateStoreLate),
    }
}

/// Waits until a thread of statements has had time for a task.
async fn turn(workers: Option<&Handle>, patience: Duration) -> Result<(), Ailment> {
    let Some(workers) = workers else { return Ok(()) };
    match timeout(patience, workers.spawn(async {})).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Ailment::Statements),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn threads_that_are_all_taken_are_noticed() {
        let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        assert_eq!(turn(Some(workers.handle()), PATIENCE).await, Ok(()));
        let (free, taken) = std::sync::mpsc::channel::<()>();
        workers.spawn(async move { taken.recv() });
        assert_eq!(turn(Some(workers.handle()), Duration::from_millis(50)).await, Err(Ailment::Statements));
        drop(free);
        workers.shutdown_background();
    }
}
