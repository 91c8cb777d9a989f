//! Reading the project's files again when they change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use polder_sql::Engine;
use tokio_util::sync::CancellationToken;

use super::{Server, ServerLog, ServerNote};
use crate::app::Loaded;
use crate::{App, AppError};

/// How often somebody looks whether files have changed. What is asked for are names, sizes and times: a few
/// milliseconds for a thousand files, on every file system and in every container, where notices may not come.
const PERIOD: Duration = Duration::from_millis(500);

impl App {
    /// The same project with the files as they are now.
    pub(super) async fn reread(&self) -> Result<Loaded, AppError> {
        let (root, environment) = (self.options.project.clone(), self.options.environment.clone());
        let read = move || Loaded::read(&root, environment, std::collections::BTreeMap::new());
        tokio::task::spawn_blocking(read).await.map_err(|e| AppError::Defect(format!("reading the project: {e}")))
    }

    /// The same project with other files: state, warehouse and caches stay.
    fn with_files(&self, loaded: Loaded) -> Result<Self, AppError> {
        let engine = Engine::new(Arc::clone(&self.lake), loaded.project.policies.clone())?;
        Ok(Self { loaded, engine, ..self.clone() })
    }

    /// Settings that differ from those that this process was started with, and that it cannot take up.
    fn settings_for_start(&self, loaded: &Loaded) -> Vec<&'static str> {
        let (ours, theirs) = (&self.loaded.project.settings, &loaded.project.settings);
        let changed = [
            ("home", ours.home != theirs.home),
            ("warehouse", ours.warehouse != theirs.warehouse),
            ("s3", ours.s3 != theirs.s3),
            ("memory_limit", ours.memory_limit_bytes != theirs.memory_limit_bytes),
            ("doors", ours.doors != theirs.doors),
        ];
        changed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
    }
}

/// Looks after the files until it is stopped.
pub(super) async fn follow(server: Arc<Server>, log: Arc<dyn ServerLog>, stop: CancellationToken) {
    let root = server.app().options.project.clone();
    let mut known = stamp(&root).await;
    // Of the files that were read last.
    let mut read = known;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let now = stamp(&root).await;
        // An editor, or `git switch`, may be in the middle of it.
        let settled = now == known;
        known = now;
        // A failure that passes, such as too many open files, is tried again.
        if settled && now != read && server.reload(&*log).await {
            read = now;
        }
    }
}

async fn stamp(root: &std::path::Path) -> u64 {
    let root: PathBuf = root.to_path_buf();
    tokio::task::spawn_blocking(move || polder_project::stamp(&root)).await.unwrap_or_default()
}

impl Server {
    /// Serves the files as they are now, if nothing is wrong with them. `false`: they could not be read.
    pub(super) async fn reload(&self, log: &dyn ServerLog) -> bool {
        let app = self.app();
        let reread = async {
            let loaded = app.reread().await?;
            loaded.valid()?;
            let restart = app.settings_for_start(&loaded);
            Ok((app.with_files(loaded)?, restart))
        };
        match reread.await {
            Ok((app, restart)) => {
                *self.wrong.lock() = None;
                self.apps.send_replace(Arc::new(app));
                log.note(&ServerNote::Reloaded);
                if !restart.is_empty() {
                    log.note(&ServerNote::NeedsRestart(restart));
                }
            }
            Err(AppError::Project(problems)) => {
                let problems = Arc::from(problems);
                *self.wrong.lock() = Some(Arc::clone(&problems));
                log.note(&ServerNote::Wrong(problems));
            }
            Err(other) => {
                log.note(&ServerNote::Trouble(format!("the project could not be read again: {other}")));
                return false;
            }
        }
        true
    }
}
