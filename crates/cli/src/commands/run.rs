//! `polder run` and `polder check`.

use std::sync::Arc;

use polder_app::{AcceptRequest, App, CheckSummary, OpenRun, RunRequest, RunSummary, Shown};
use polder_base::{Publish, RunId, Timestamp};
use polder_run::{CheckFailure, EventSink, FailureKind, HeldTable, RunStatus, StepKind, StepRecord};

use super::context::{Context, cancelled_by_signal, now};
use crate::args::{self, Accept, Check, Format, Run};
use crate::failure::{Exit, Failure};
use crate::human;
use crate::report::{Bars, JsonEvents, Lines, Report, TextEvents};
use crate::terminal::{self, BAD, BOLD, DIM, GOOD, Paint, Terminal, WARN};
use crate::text::{one_line, pad_right, width};

pub fn run(cx: Context<'_>, arguments: &Run) -> Result<Exit, Failure> {
    cx.with_workers(cx.options_with(&arguments.vars), async |app| {
        let report = report(cx.terminal, arguments.format);
        let sink: Arc<dyn EventSink> = Arc::clone(&report) as _;
        let cancel = cancelled_by_signal(move |text| report.note(text))?;
        let summary = match (arguments.resume, &arguments.pipeline) {
            (Some(run), _) => app.resume(run.map(RunId), sink, &cancel).await?,
            (None, Some(name)) => {
                let (app, request) = app.for_pipeline(app.pipeline(name)?);
                app.run(&request, sink, &cancel).await?
            }
            (None, None) => {
                let request = RunRequest {
                    select: arguments.selection.select.clone(),
                    exclude: arguments.selection.exclude.clone(),
                    target: arguments.at.clone(),
                    full_refresh: arguments.full_refresh,
                    publish: arguments.publish.map(|publish| match publish {
                        args::Publish::All => Publish::All,
                        args::Publish::Healthy => Publish::Healthy,
                    }),
                    anew: arguments.anew,
                    ..RunRequest::default()
                };
                app.run(&request, sink, &cancel).await?
            }
        };
        end(cx, &app, &summary, arguments.format).await;
        housekeep(&app, arguments.format).await;
        Ok(Exit::of(summary.exit_code()))
    })
}

pub fn accept(cx: Context<'_>, arguments: &Accept) -> Result<Exit, Failure> {
    cx.with_workers(cx.options(), async |app| {
        let report = report(cx.terminal, arguments.format);
        let sink: Arc<dyn EventSink> = Arc::clone(&report) as _;
        let cancel = cancelled_by_signal(move |text| report.note(text))?;
        let request = AcceptRequest { reason: arguments.reason.clone(), quarantine: arguments.quarantine };
        let summary = app.accept(RunId(arguments.run), &request, sink, &cancel).await?;
        end(cx, &app, &summary, arguments.format).await;
        Ok(Exit::of(summary.exit_code()))
    })
}

/// Tells how a run ended, and which others wait for somebody and will not for long.
async fn end(cx: Context<'_>, app: &App, summary: &RunSummary, format: Format) {
    if format != Format::Text {
        return;
    }
    let (paint, now) = (cx.terminal.paint(), now(app));
    terminal::print(&ending(summary, paint, now));
    match app.expiring().await {
        Ok(runs) => runs.iter().for_each(|run| terminal::print(&expiring_text(run, paint, now))),
        // How this one ended does not depend on others.
        Err(error) => terminal::note(&format!("which runs expire soon is not known: {error}")),
    }
}

/// A run whose branch is removed soon.
fn expiring_text(run: &OpenRun, paint: Paint, now: Timestamp) -> String {
    let record = &run.record;
    let at = run.expires.map(|at| human::moment(at, now)).unwrap_or_default();
    let warning = paint.style(WARN, "warning:");
    let go_on = paint.style(BOLD, &format!("polder run --resume {}", record.id));
    format!(
        "{warning} {} of run {}, which is {}, expires {at}: {go_on}\n",
        record.branch,
        record.id,
        record.status.as_str()
    )
}

/// Throws away what is past its keep. How the run ended does not depend on it.
async fn housekeep(app: &App, format: Format) {
    match app.housekeep().await {
        Ok(Some(gone)) if format == Format::Text && (gone.files > 0 || !gone.refs.is_empty()) => {
            let branches = gone.refs.len();
            let (files, bytes) = (human::count(gone.files), human::bytes(gone.bytes));
            terminal::note(&format!("removed what was past its keep: {branches} branches, {files} files, {bytes}"));
        }
        Ok(_) => {}
        Err(error) => terminal::note(&format!("what is past its keep was not removed: {error}")),
    }
}

pub fn check(cx: Context<'_>, arguments: &Check) -> Result<Exit, Failure> {
    cx.with_workers(cx.options(), async |app: App| {
        let report = report(cx.terminal, arguments.format);
        let sink: Arc<dyn EventSink> = Arc::clone(&report) as _;
        let cancel = cancelled_by_signal(move |text| report.note(text))?;
        let summary = app.check(&arguments.select, arguments.at.as_deref(), sink, &cancel).await?;
        if arguments.format == Format::Text {
            terminal::print(&check_ending(&summary, cx.terminal.paint()));
        }
        Ok(Exit::of(summary.exit_code()))
    })
}

/// Who is told what happens: a program, or a person with or without bars.
fn report(terminal: Terminal, format: Format) -> Arc<dyn Report> {
    match format {
        Format::Json => Arc::new(JsonEvents),
        Format::Text => {
            let bars = terminal.shows_bars().then(|| Bars::new(terminal.width));
            Arc::new(TextEvents::new(Lines::new(terminal.paint(), terminal.width), bars))
        }
    }
}

/// What stands below the steps, which have told what went wrong: what became of the target, what to type next.
fn ending(summary: &RunSummary, paint: Paint, now: Timestamp) -> String {
    let record = &summary.record;
    let mut out = String::from("\n");
    let time = human::elapsed(summary.elapsed_ms);
    if record.status == RunStatus::Published {
        out += &format!("{}\n", published(summary, paint, now));
        out += &set_aside(summary);
        out += &format!("{}\n", paint.style(DIM, &time));
        return out;
    }
    let (word, style) = match record.status {
        RunStatus::Held => ("HELD.", BAD),
        RunStatus::Cancelled => ("CANCELLED.", WARN),
        _ => ("FAILED.", BAD),
    };
    let target = &summary.shown.name;
    out += &match in_part(summary) {
        true => format!("{} in part: {target} shows all of run {} but\n", paint.style(GOOD, "published"), record.id),
        false => format!(
            "{} {target} is unchanged: {}.\n",
            paint.style(style, word),
            shown(&summary.shown, now, "it is empty")
        ),
    };
    if in_part(summary) {
        out += &held_tables(&record.held);
        out += &format!("{} {} has what is held.\n", paint.style(style, word), record.branch);
    }
    let failed = failed_steps(&summary.steps);
    match &record.reason {
        Some(reason) if record.status == RunStatus::Failed && failed.is_empty() => out += &format!("  {reason}\n"),
        _ => out += &failed,
    }
    let mut look = vec![format!("polder sql --ref {}", record.branch)];
    look.extend(queries(&summary.steps, &record.branch, record.id));
    out += &hints("look", &look, paint);
    out += &match (record.stale, record.status) {
        (true, _) => hints("run anew", &["polder run".to_owned()], paint),
        (false, RunStatus::Cancelled) => hints("go on", &[format!("polder run --resume {}", record.id)], paint),
        (false, _) => hints("fix, go", &[format!("polder run --resume {}", record.id)], paint),
    };
    if record.status == RunStatus::Held && is_of_source(&summary.steps) {
        // Whoever goes on goes on with what was read; where the source was wrong, it has to be read again.
        out += &hints("or anew", &["polder run --anew".to_owned()], paint);
    }
    if record.status == RunStatus::Held && !record.stale {
        out += &hints_to_accept(summary, paint);
    }
    out += &format!("{}\n", paint.style(DIM, &format!("{time} · exit {}", summary.exit_code())));
    out
}

/// Whether this run has moved its target, to all but what is held.
fn in_part(summary: &RunSummary) -> bool {
    let last = summary.record.parts.last();
    !summary.record.held.is_empty() && last.is_some_and(|commit| *commit == summary.shown.commit)
}

/// Tables that are held, of which there may be many.
const HELD: usize = 10;

fn held_tables(held: &[HeldTable]) -> String {
    let names = held.iter().take(HELD).map(|h| width(&h.table)).max().unwrap_or(0);
    let lines = held.iter().take(HELD).map(|h| format!("  {}  {}\n", pad_right(&h.table, names), one_line(&h.why)));
    let more = held.len().saturating_sub(HELD);
    let more = (more > 0).then(|| format!("  and {} more\n", human::count(more as u64)));
    lines.chain(more).collect()
}

/// What publishes a held run all the same. Rows can be set aside of a source's table alone.
fn hints_to_accept(summary: &RunSummary, paint: Paint) -> String {
    let of_check = |f: &CheckFailure| f.severity == "error";
    let failures: Vec<&CheckFailure> =
        summary.steps.iter().flat_map(|s| &s.report.failures).filter(|f| of_check(f)).collect();
    if failures.is_empty() {
        return String::new();
    }
    let is_read =
        |table: &str| summary.steps.iter().any(|s| s.step.kind == StepKind::Ingest && s.step.resource == table);
    let run = summary.record.id;
    match failures.iter().any(|f| f.failed_rows.is_some() && is_read(&f.table)) {
        true => hints("set aside", &[format!("polder accept {run} --quarantine --reason \"…\"")], paint),
        false => hints("accept", &[format!("polder accept {run} --reason \"…\"")], paint),
    }
}

/// Whether a check failed on a table that this run brought in.
fn is_of_source(steps: &[StepRecord]) -> bool {
    let is_read = |table: &str| {
        steps.iter().any(|s| s.step.kind == StepKind::Ingest && s.step.resource == table && s.report.rows.is_some())
    };
    steps.iter().any(|s| s.step.kind == StepKind::Check && !s.report.failures.is_empty() && is_read(&s.step.resource))
}

fn published(summary: &RunSummary, paint: Paint, now: Timestamp) -> String {
    let (record, target) = (&summary.record, &summary.shown.name);
    let run = record.id;
    let shows = format!("{target} shows {}.", shown(&summary.shown, now, "nothing yet"));
    match (summary.already_published, &record.commit) {
        (true, _) => format!("run {run} was {} before. {shows}", paint.style(GOOD, "published")),
        (false, None) => format!("{} {shows}", paint.style(GOOD, "nothing new:")),
        (false, Some(_)) => format!("{} run {run} is what {target} shows.", paint.style(GOOD, "published:")),
    }
}

/// The rows that were set aside so that the run could be published.
fn set_aside(summary: &RunSummary) -> String {
    let aside = summary.record.accepted.iter().flat_map(|accepted| &accepted.set_aside);
    let line = |(table, rows): (&String, &u64)| {
        let rows = human::counted(*rows, "row");
        format!("  set aside {rows} of {table}: quarantine.{}\n", table.rsplit('.').next().unwrap_or(table))
    };
    aside.map(line).collect()
}

fn check_ending(summary: &CheckSummary, paint: Paint) -> String {
    let mut out = String::from("\n");
    let record = &summary.record;
    let (passed, failed, warned) = (summary.passed(), summary.failed("error"), summary.failed("warn"));
    let all = human::counted((passed + failed + warned) as u64, "check");
    let warned = if warned == 0 { String::new() } else { format!(" {} warned.", human::count(warned as u64)) };
    let time = human::elapsed(record.elapsed_ms(record.finished.unwrap_or(record.started)));
    let target = &record.target;
    match record.status {
        RunStatus::Passed => {
            out += &format!("{} {all} of {target} hold.{warned}\n", paint.style(GOOD, "passed:"));
            out += &paint.style(DIM, &time);
        }
        status => {
            let word = if status == RunStatus::Cancelled { ("CANCELLED.", WARN) } else { ("FAILED.", BAD) };
            let failed = human::count(failed as u64);
            out += &format!("{} {failed} of {all} of {target} do not hold.{warned}\n", paint.style(word.1, word.0));
            out += &failed_steps(&summary.steps);
            out += &hints("look", &queries(&summary.steps, target, record.id), paint);
            out += &paint.style(DIM, &format!("{time} · exit {}", summary.exit_code()));
        }
    }
    out.push('\n');
    out
}

/// Commands that a person may want to type next, one below the other.
fn hints(what: &str, commands: &[String], paint: Paint) -> String {
    let heads = std::iter::once(what).chain(std::iter::repeat(""));
    let lines = heads.zip(commands).map(|(head, command)| format!("  {head:<9} {}\n", paint.style(BOLD, command)));
    lines.collect()
}

/// Queries beyond these, and longer ones, are left to `system.checks`.
const QUERIES: usize = 3;
const QUERY: usize = 120;

/// Commands that show all rows of failed checks.
fn queries(steps: &[StepRecord], at: &str, run: RunId) -> Vec<String> {
    let failures = steps.iter().flat_map(|s| &s.report.failures).filter(|f: &&CheckFailure| f.severity == "error");
    let all: Vec<&str> = failures.filter_map(|f| f.query.as_deref()).collect();
    let short = all.iter().filter(|q| q.len() <= QUERY && !q.contains('\n')).take(QUERIES);
    let mut commands: Vec<String> = short.map(|query| format!("polder sql --ref {at} {}", quoted(query))).collect();
    if commands.len() < all.len() {
        let query = format!("select check_name, query from system.checks where run = {run} and not passed");
        commands.push(format!("polder sql {}", quoted(&query)));
    }
    commands
}

/// A statement as one word for a shell.
fn quoted(statement: &str) -> String {
    match statement.contains(['"', '$', '`', '\\', '!']) {
        false => format!("\"{statement}\""),
        true => format!("'{}'", statement.replace('\'', "'\\''")),
    }
}

/// The steps that did not come to their end, above which many others may stand.
fn failed_steps(steps: &[StepRecord]) -> String {
    let failed = steps.iter().filter(|s| s.failure.as_ref().is_some_and(|f| f.kind != FailureKind::Check));
    let names: Vec<String> = failed.map(|s| s.step.to_string()).collect();
    if names.is_empty() { String::new() } else { format!("  {:<8}  {}\n", "failed", names.join(", ")) }
}

/// `run 11, yesterday 06:00`
fn shown(shown: &Shown, now: Timestamp, empty: &str) -> String {
    match (shown.run, shown.at.micros()) {
        // The first of all commits has no time.
        (None, 0) => empty.to_owned(),
        (None, _) => format!("as of {}", human::moment(shown.at, now)),
        (Some(run), _) => format!("run {run}, {}", human::moment(shown.at, now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_one_word_for_a_shell() {
        assert_eq!(quoted("select * from t where a = 'x'"), "\"select * from t where a = 'x'\"");
        assert_eq!(quoted("select \"A\" from t where a = 'x'"), r#"'select "A" from t where a = '\''x'\'''"#);
    }
}
