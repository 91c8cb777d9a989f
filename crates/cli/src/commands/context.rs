//! What commands share: the terminal, the project, the runtime.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use polder_app::{App, OpenOptions};
use polder_base::Timestamp;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::{Global, Vars};
use crate::failure::Failure;
use crate::human;
use crate::terminal::{self, Terminal, WARN};

/// The file that makes a folder a project.
const SETTINGS: &str = "polder.yaml";

#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub terminal: Terminal,
    pub global: &'a Global,
}

impl Context<'_> {
    /// The project that is meant: `--project`, or the nearest folder upwards with a `polder.yaml`, or else this one, so
    /// that the error names it.
    pub fn project(&self) -> PathBuf {
        if let Some(folder) = &self.global.project {
            return folder.clone();
        }
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let found = here.ancestors().find(|f| f.join(SETTINGS).is_file()).map(Path::to_path_buf);
        found.unwrap_or(here)
    }

    pub fn options(&self) -> OpenOptions {
        OpenOptions { environment: self.global.env.clone(), ..OpenOptions::new(self.project()) }
    }

    pub fn options_with(&self, vars: &Vars) -> OpenOptions {
        OpenOptions { vars: vars.vars.iter().cloned().collect::<BTreeMap<_, _>>(), ..self.options() }
    }

    /// Opens the project and does one thing with it.
    pub fn with_app<T>(
        &self,
        options: &OpenOptions,
        work: impl AsyncFnOnce(App) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        with_runtime(async || work(self.open(options).await?).await)
    }

    /// As [`Context::with_app`], for what the project's state knows alone: its warehouse may be away.
    pub fn with_records<T>(&self, work: impl AsyncFnOnce(App) -> Result<T, Failure>) -> Result<T, Failure> {
        with_runtime(async || work(self.told(App::open_records(&self.options()).await?)).await)
    }

    /// As [`Context::with_app`], for what runs steps: they work on threads of their own.
    pub fn with_workers<T>(
        &self,
        options: OpenOptions,
        work: impl AsyncFnOnce(App) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let workers = threads(Some(working_threads()))?;
        let result = self.with_app(&OpenOptions { workers: Some(workers.handle().clone()), ..options }, work);
        // A step that was cancelled and does not notice has nobody left to work for.
        workers.shutdown_background();
        result
    }

    /// Opens the project, and tells when its state was lost.
    pub async fn open(&self, options: &OpenOptions) -> Result<App, Failure> {
        Ok(self.told(App::open(options).await?))
    }

    fn told(&self, app: App) -> App {
        if let Some(rebuilt) = app.catalog().rebuilt() {
            let warning = self.terminal.paint_err().style(WARN, "warning:");
            let refs = human::counted(rebuilt.refs.len() as u64, "ref");
            terminal::note(&format!(
                "{warning} the state in {} was gone, and was built again from the warehouse: {refs}, each at the last \
                 commit that was found; records of earlier runs are lost",
                app.home().folder().display()
            ));
        }
        app
    }
}

/// Does one thing on a runtime of its own.
fn with_runtime<T>(work: impl AsyncFnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let runtime = runtime()?;
    let result = runtime.block_on(work());
    end(runtime);
    result
}

/// What threads get to end by themselves. One that is busy for longer has nobody left to work for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Ends a runtime, also one with threads that were cancelled and do not notice.
pub fn end(runtime: Runtime) {
    runtime.shutdown_timeout(PATIENCE);
}

/// What time it is for the project.
pub fn now(app: &App) -> Timestamp {
    app.catalog().system().now()
}

/// The runtime, for the commands that need one. It is not started before the arguments are known, so that `--version`
/// and `--help` answer at once.
pub fn runtime() -> Result<Runtime, Failure> {
    threads(None)
}

/// Threads for steps and statements: more than cores, for an operator that works long on one batch does not let go of
/// its thread, and others must not wait for it.
fn working_threads() -> usize {
    2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get) + 4
}

fn threads(count: Option<usize>) -> Result<Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(count) = count {
        builder.worker_threads(count);
    }
    builder
        .enable_all()
        .thread_name("polder")
        // Plans of nested queries are walked recursively.
        .thread_stack_size(8 << 20)
        .build()
        .map_err(|e| Failure::environment(format!("cannot start threads: {e}")))
}

/// What a process ends with that a second signal ended.
const ENDED_BY_SIGNAL: i32 = 130;

/// A token that Ctrl-C cancels, and whoever asks the process to end; the second time, the process ends at once.
pub fn cancelled_by_signal(say: impl Fn(&str) + Send + 'static) -> Result<CancellationToken, Failure> {
    let token = CancellationToken::new();
    let cancel = token.clone();
    on_signals(&[SignalKind::interrupt(), SignalKind::terminate()], move || {
        if cancel.is_cancelled() {
            std::process::exit(ENDED_BY_SIGNAL);
        }
        say("cancelling … (once more to end at once)");
        cancel.cancel();
    })?;
    Ok(token)
}

/// Calls `heard` for each signal, from now on until the process ends.
///
/// On a thread of its own: a join that does not let go of the runtime's threads is what people press Ctrl-C for.
pub fn on_signals(kinds: &[SignalKind], heard: impl Fn() + Send + 'static) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::environment(format!("cannot listen to signals: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let listeners: std::io::Result<Vec<Signal>> = {
        let _entered = runtime.enter();
        kinds.iter().map(|kind| signal(*kind)).collect()
    };
    let mut listeners = listeners.map_err(failed)?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                futures::future::select_all(listeners.iter_mut().map(|listener| Box::pin(listener.recv()))).await;
                heard();
            }
        });
    });
    Ok(())
}
