//! Pipelines: what runs by itself, and when.
//!
//! [`plan`] says what a pipeline needs, from its file, its record and the time; [`driver`] does it. What is decided is kept
//! before it is done, and that a run has begun is kept in the transaction that begins it. So wherever the process ends, the
//! next one finds each slot either not decided, decided and not begun, or with its run: none is lost, and none is run twice.

mod driver;
mod ground;
mod notices;
mod plan;
pub(crate) mod records;
#[cfg(test)]
mod tests;
mod view;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use polder_base::nearest;
use polder_catalog::MAIN;
use polder_project::Pipeline;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{App, AppError, RunRequest, codes};
use driver::Driver;
use ground::OfApp;
pub use ground::PipelineLog;
pub use view::PipelineRow;

/// How often the scheduler looks what is due.
const TICK: Duration = Duration::from_secs(1);

/// Runs the pipelines of a project when they are due.
pub struct Scheduler {
    apps: watch::Receiver<Arc<App>>,
    log: Arc<dyn PipelineLog>,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").finish_non_exhaustive()
    }
}

impl Scheduler {
    /// `apps`: the newest project that is whole; each tick takes it as it is then.
    pub fn new(apps: watch::Receiver<Arc<App>>, log: Arc<dyn PipelineLog>) -> Self {
        Self { apps, log }
    }

    /// Works until it is told to stop. Runs that go on then are cancelled, and taken up by whoever works next; that takes a
    /// few seconds at most.
    pub async fn work(self, stop: CancellationToken) {
        let Self { mut apps, log } = self;
        let ground = OfApp { apps: apps.clone(), log, sender: notices::Sender::default() };
        let mut driver = Driver::new(Arc::new(ground));
        while !stop.is_cancelled() {
            if AssertUnwindSafe(driver.tick()).catch_unwind().await.is_err() {
                tracing::error!("a defect of the scheduler was caught; it goes on");
            }
            let system = Arc::clone(apps.borrow_and_update().system());
            tokio::select! {
                () = stop.cancelled() => {}
                () = system.sleep(TICK) => {}
                changed = apps.changed() => if changed.is_err() { system.sleep(TICK).await },
            }
        }
        driver.stop().await;
    }
}

impl App {
    /// The pipeline of a name.
    ///
    /// # Errors
    /// The project has none of that name; mistakes in the project.
    pub fn pipeline(&self, name: &str) -> Result<&Pipeline, AppError> {
        let pipelines = &self.loaded.valid()?.pipelines;
        let found = pipelines.iter().find(|pipeline| pipeline.name == name);
        found.ok_or_else(|| {
            let refused = AppError::refused(codes::UNKNOWN_PIPELINE, format!("no pipeline is called `{name}`"));
            match nearest(name, pipelines.iter().map(|pipeline| pipeline.name.as_str())) {
                Some(near) => refused.hint(format!("did you mean `{near}`?")),
                None => refused.hint("`polder pipelines` lists them"),
            }
        })
    }

    /// What runs a pipeline now, by hand: the app with the pipeline's variables, and the request.
    #[must_use]
    pub fn for_pipeline(&self, pipeline: &Pipeline) -> (Self, RunRequest) {
        let mut app = self.clone();
        let mut vars = pipeline.vars.clone();
        vars.append(&mut app.options.vars);
        app.options.vars = vars;
        let request = RunRequest {
            select: pipeline.select.clone(),
            exclude: pipeline.exclude.clone(),
            target: Some(pipeline.target.clone().unwrap_or_else(|| MAIN.to_owned())),
            full_refresh: pipeline.full_refresh,
            publish: pipeline.publish,
            pipeline: Some(pipeline.name.clone()),
            ..RunRequest::default()
        };
        (app, request)
    }
}
