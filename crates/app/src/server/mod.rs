//! A project that is served: what doors, the scheduler and the person at the terminal share while `polder up` goes on.
//!
//! Doors find here the newest version of the project's files that had no mistakes, who may come in, and where to count.
//! They open sessions as everybody does, with [`App::session`].

mod admission;
mod door;
mod health;
mod lock;
mod metrics;
mod reload;
mod runs;
mod serving;
mod tokens;

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use polder_base::{RunId, Timestamp};
use polder_run::RunStatus;
use tokio::sync::watch;

use crate::{App, AppError, Problems};

pub use admission::{Admission, Claim, Guest};
pub use door::{Address, Door, Entrance};
pub use health::{Ailment, Health};
pub use lock::{Served, served};
pub use metrics::{Counted, Measured, Metrics, Outcome};
pub use serving::{Serving, ServingOptions};
pub use tokens::{NewToken, TokenRow};

/// A project that is served.
#[derive(Debug)]
pub struct Server {
    apps: watch::Sender<Arc<App>>,
    /// What is wrong with the files as they are now, where that is not what is served.
    wrong: Mutex<Option<Arc<Problems>>>,
    metrics: Arc<Metrics>,
    started: Timestamp,
    /// Pipelines that something keeps from going on; without a name, all of them.
    stuck: Mutex<BTreeSet<String>>,
}

/// What happens to a server, for whoever watches it.
#[derive(Debug, Clone)]
pub enum ServerNote {
    /// Files changed, and are served now.
    Reloaded,
    /// Files changed, and are wrong: what was served before still is.
    Wrong(Arc<Problems>),
    /// Settings changed that a server takes when it starts.
    NeedsRestart(Vec<&'static str>),
    /// A run of a pipeline begins.
    RunBegan { pipeline: String, run: RunId },
    /// A run of a pipeline is at its end.
    RunEnded { pipeline: String, run: RunId, status: RunStatus, reason: Option<String>, elapsed_ms: u64 },
    /// A pipeline was due, and its run could not begin or not go on.
    NotRun { pipeline: String, reason: String, problems: Option<Arc<Problems>> },
    /// The branch of a run that waits for somebody is removed soon.
    Expiring { run: RunId, expires: Option<Timestamp> },
    /// Something went wrong that concerns nobody else, and the server goes on.
    Trouble(String),
}

/// Who is told what happens to a server.
pub trait ServerLog: Send + Sync + std::fmt::Debug {
    fn note(&self, note: &ServerNote);
}

impl Server {
    pub(crate) fn new(app: App) -> Result<Self, AppError> {
        let started = app.system().now();
        let metrics = Arc::new(Metrics::new());
        let apps = watch::Sender::new(Arc::new(app));
        Ok(Self { apps, wrong: Mutex::new(None), metrics, started, stuck: Mutex::default() })
    }

    /// The project as it is served: opened with the newest files that have no mistakes.
    pub fn app(&self) -> Arc<App> {
        Arc::clone(&self.apps.borrow())
    }

    /// The same, followed.
    pub fn apps(&self) -> watch::Receiver<Arc<App>> {
        self.apps.subscribe()
    }

    /// What is wrong with the files as they are now; `None`: they are what is served.
    pub fn problems(&self) -> Option<Arc<Problems>> {
        self.wrong.lock().clone()
    }

    /// Notes whether something keeps a pipeline from going on; all of them, where it has no name.
    pub(crate) fn note_stuck(&self, pipeline: &str, stuck: bool) {
        let mut names = self.stuck.lock();
        match stuck {
            true => _ = names.insert(pipeline.to_owned()),
            false => _ = names.remove(pipeline),
        }
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What is counted, in the text format of Prometheus.
    pub async fn metrics_text(&self) -> String {
        self.metrics.files_wrong(self.problems().is_some());
        // Whether the server can do its work is told as well.
        let healthy = self.health().await.is_ok();
        self.metrics.text(healthy)
    }
}
