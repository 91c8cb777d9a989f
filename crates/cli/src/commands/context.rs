//! What commands share: the terminal, the project, the runtime.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polder_app::{App, OpenOptions};
use polder_base::Timestamp;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::args::{Global, Vars};
use crate::failure::Failure;
use crate::terminal::{self, Terminal};

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
        runtime()?.block_on(async {
            let app = App::open(options).await?;
            work(app).await
        })
    }
}

/// What time it is for the project.
pub fn now(app: &App) -> Timestamp {
    app.catalog().system().now()
}

/// The runtime, for the commands that need one. It is not started before the arguments are known, so that `--version`
/// and `--help` answer at once.
pub fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("polder")
        // Plans of nested queries are walked recursively.
        .thread_stack_size(8 << 20)
        .build()
        .map_err(|e| Failure::environment(format!("cannot start threads: {e}")))
}

/// A token that Ctrl-C cancels; the second Ctrl-C ends the process at once.
pub fn cancelled_by_keyboard() -> CancellationToken {
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if cancel.is_cancelled() {
                std::process::exit(130);
            }
            terminal::note("cancelling; once more to end at once");
            cancel.cancel();
        }
    });
    token
}
