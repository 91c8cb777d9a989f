//! `polder run` and `polder check`.

use std::sync::Arc;

use polder_app::{App, RunRequest, RunSummary};
use polder_base::{RunId, Timestamp};
use polder_diag::{Sources, render_text};
use polder_run::{EventSink, RunStatus, StepRecord};

use super::context::{Context, cancelled_by_keyboard, now};
use crate::args::{Check, Format, Run};
use crate::failure::{Exit, Failure};
use crate::human;
use crate::report::{Bars, JsonEvents, Lines, TextEvents};
use crate::terminal::{self, BAD, BOLD, DIM, GOOD, Paint, Terminal, WARN};

pub fn run(cx: Context<'_>, arguments: &Run) -> Result<Exit, Failure> {
    cx.with_app(&cx.options_with(&arguments.vars), async |app| {
        let cancel = cancelled_by_keyboard();
        let sink = sink(cx.terminal, arguments.format);
        let summary = match arguments.resume {
            Some(run) => app.resume(run.map(RunId), sink, &cancel).await?,
            None => {
                let request = RunRequest {
                    select: arguments.selection.select.clone(),
                    exclude: arguments.selection.exclude.clone(),
                    target: arguments.at.clone(),
                    full_refresh: arguments.full_refresh,
                    ..RunRequest::default()
                };
                app.run(&request, sink, &cancel).await?
            }
        };
        if arguments.format == Format::Text {
            terminal::print(&ending(&summary, cx.terminal.paint(), now(&app)));
        }
        Ok(Exit::of(summary.exit_code()))
    })
}

pub fn check(cx: Context<'_>, arguments: &Check) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app: App| {
        let cancel = cancelled_by_keyboard();
        let sink = sink(cx.terminal, arguments.format);
        let summary = app.check(&arguments.select, arguments.at.as_deref(), sink, &cancel).await?;
        if arguments.format == Format::Text {
            terminal::print(&diagnostics(&summary.steps, &summary.sources, cx.terminal.paint()));
        }
        Ok(Exit::of(summary.exit_code()))
    })
}

/// Who is told what happens: a program, or a person with or without bars.
fn sink(terminal: Terminal, format: Format) -> Arc<dyn EventSink> {
    match format {
        Format::Json => Arc::new(JsonEvents),
        Format::Text => {
            let bars = terminal.shows_bars().then(|| Bars::new(terminal.width));
            Arc::new(TextEvents::new(Lines::new(terminal.paint(), terminal.width), bars))
        }
    }
}

/// What stands below the steps: what is wrong with files, what became of the target, what to type next.
fn ending(summary: &RunSummary, paint: Paint, now: Timestamp) -> String {
    let record = &summary.record;
    let mut out = String::from("\n");
    out += &diagnostics(&summary.steps, &summary.sources, paint);
    let run = record.id;
    let time = human::elapsed(record.elapsed_ms(record.finished.unwrap_or(now)));
    if record.status == RunStatus::Published {
        let what = if summary.already_published { "was published before" } else { "published" };
        out += &format!("{} run {run} is what {} shows.\n", paint.style(GOOD, &format!("{what}:")), record.target);
        out += &paint.style(DIM, &time);
        out.push('\n');
        return out;
    }
    let (word, style) = match record.status {
        RunStatus::Held => ("HELD.", BAD),
        RunStatus::Cancelled => ("CANCELLED.", WARN),
        _ => ("FAILED.", BAD),
    };
    out += &format!("{} {}\n", paint.style(style, word), unchanged(summary, now));
    if record.status == RunStatus::Failed
        && let Some(reason) = &record.reason
    {
        out += &format!("  {reason}\n");
    }
    let again = if record.status == RunStatus::Cancelled { "go on" } else { "fix, go" };
    for (what, command) in
        [("look", format!("polder sql --ref {}", record.branch)), (again, format!("polder run --resume {run}"))]
    {
        out += &format!("  {what:<8}  {}\n", paint.style(BOLD, &command));
    }
    out += &paint.style(DIM, &format!("{time} · exit {}", summary.exit_code()));
    out.push('\n');
    out
}

/// What is wrong with the files or data of failed steps, each with an empty line after it.
fn diagnostics(steps: &[StepRecord], sources: &Sources, paint: Paint) -> String {
    let failures = steps.iter().filter_map(|s| s.failure.as_ref()?.diagnostic.as_deref());
    failures.map(|d| render_text(d, sources, paint.0) + "\n").collect()
}

/// `main is unchanged: run 11, yesterday 06:00.`
fn unchanged(summary: &RunSummary, now: Timestamp) -> String {
    let shown = &summary.shown;
    let at = human::moment(shown.at, now);
    match shown.run {
        Some(run) => format!("{} is unchanged: run {run}, {at}.", shown.name),
        None => format!("{} is unchanged since {at}.", shown.name),
    }
}
