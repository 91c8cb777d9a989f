//! `polder up`.

use std::sync::Arc;

use polder_app::{App, Door, ServerLog, ServerNote, Serving, ServingOptions};
use polder_base::Timestamp;
use polder_run::RunStatus;

use super::context::{Context, cancelled_by_signal, now};
use crate::args::Up;
use crate::failure::{self, Exit, Failure};
use crate::human;
use crate::terminal::{self, BAD, BOLD, DIM, GOOD, Paint, Terminal, WARN};
use crate::text::pad_right;

pub fn up(cx: Context<'_>, arguments: &Up, doors: Vec<Arc<dyn Door>>) -> Result<Exit, Failure> {
    let begun = std::time::Instant::now();
    let terminal = cx.terminal;
    cx.with_workers(cx.options_with(&arguments.vars), async |app| {
        let end = cancelled_by_signal(move |_| terminal::note("stopping … (once more to end at once)"))?;
        let head = head(&app, terminal.paint()).await?;
        let log = Arc::new(Log { terminal, app: app.clone() });
        let serving = Serving::start(app, ServingOptions { doors, log }).await?;
        let mut text = head;
        for door in serving.addresses() {
            text += &format!("  {}  {}\n", pad_right(&door.door, 9), terminal.paint().style(BOLD, &door.greeting));
        }
        let ready = human::elapsed(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        text += &terminal.paint().style(DIM, &format!("ready in {ready} · Ctrl-C ends it"));
        terminal::line(&text);
        serving.until(end).await;
        terminal::note("stopped");
        Ok(Exit::Ok)
    })
}

/// What is served.
async fn head(app: &App, paint: Paint) -> Result<String, Failure> {
    let status = app.status_line().await?;
    let run = match status.run {
        Some(run) => format!("run {run}, {}", human::moment(status.at, now(app))),
        None => "nothing yet".to_owned(),
    };
    Ok(format!("{} · {}: {run}\n", paint.style(BOLD, &app.project().name), status.name))
}

/// Tells what happens on standard error, with the time.
#[derive(Debug)]
struct Log {
    terminal: Terminal,
    app: App,
}

impl ServerLog for Log {
    fn note(&self, note: &ServerNote) {
        let paint = self.terminal.paint_err();
        let time = clock(now(&self.app));
        let time = paint.style(DIM, &time);
        terminal::note(&match note {
            ServerNote::Reloaded => {
                format!("{time} {} the files that changed are served now", paint.style(GOOD, "reloaded:"))
            }
            ServerNote::Wrong(problems) => {
                let word = paint.style(BAD, "not reloaded:");
                let told = failure::told(problems, paint);
                format!("{time} {word} the files have mistakes, and what was served before still is\n\n{told}\n")
            }
            ServerNote::NeedsRestart(settings) => {
                let word = paint.style(WARN, "restart:");
                format!(
                    "{time} {word} `{}` of polder.yaml changed, which is taken up at the next start",
                    settings.join("`, `")
                )
            }
            ServerNote::RunBegan { pipeline, run } => format!("{time} {pipeline}: run {run} begins"),
            // The reason says the word, and who or what ended it.
            ServerNote::RunEnded { pipeline, run, status: RunStatus::Cancelled, reason: Some(reason), elapsed_ms } => {
                let reason = paint.style(BAD, reason);
                format!("{time} {pipeline}: run {run}: {reason} ({})", human::elapsed(*elapsed_ms))
            }
            ServerNote::RunEnded { pipeline, run, status, reason, elapsed_ms } => {
                let good = *status == RunStatus::Published;
                let word = paint.style(if good { GOOD } else { BAD }, status.as_str());
                let reason = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
                format!("{time} {pipeline}: run {run} is {word}{reason} ({})", human::elapsed(*elapsed_ms))
            }
            ServerNote::NotRun { pipeline, reason, problems } => {
                let word = paint.style(BAD, "not run:");
                match problems {
                    Some(problems) => format!("{time} {pipeline}: {word}\n\n{}\n", failure::told(problems, paint)),
                    None => format!("{time} {pipeline}: {word} {reason}"),
                }
            }
            ServerNote::Expiring { run, expires } => {
                let when = expires.map(|at| format!(" ({})", human::moment(at, now(&self.app)))).unwrap_or_default();
                let word = paint.style(WARN, "expires:");
                format!(
                    "{time} {word} the branch of run {run} is removed soon{when}: polder run --resume {run}, or accept it"
                )
            }
            ServerNote::Trouble(what) => format!("{time} {} {what}", paint.style(WARN, "warning:")),
        });
    }
}

/// Time of day, in UTC as everywhere.
fn clock(at: Timestamp) -> String {
    at.to_string().get(11..19).unwrap_or_default().to_owned()
}
