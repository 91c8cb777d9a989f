//! `polder runs`, `polder logs` and `polder cancel`.

use std::collections::BTreeMap;
use std::time::Duration;

use polder_app::{App, LoggedEvent, PipelineRow, RunRow};
use polder_base::{RunId, Timestamp};
use polder_run::{EventSink, RunStatus};

use super::context::{Context, cancelled_by_signal, now};
use super::history::{RUN_COLUMNS, Standing, run_row};
use super::print_json;
use crate::args::{Cancel, Format, Logs, Runs};
use crate::failure::{Exit, Failure};
use crate::human;
use crate::report::{JsonEvents, Lines, TextEvents};
use crate::rows::texts;
use crate::terminal::{self, BOLD, GOOD, Paint, WARN};

/// How often there is a look at what is new.
const PERIOD: Duration = Duration::from_millis(500);

/// Runs that are watched by who follows.
const WATCHED: usize = 20;

/// How long `cancel` waits for the end.
const PATIENCE: Duration = Duration::from_secs(30);

fn is_interrupted(row: &RunRow) -> bool {
    row.record.status == RunStatus::Running && !row.executed
}

pub fn runs(cx: Context<'_>, arguments: &Runs) -> Result<Exit, Failure> {
    cx.with_records(async |app| {
        // Who follows knows of more runs than are listed: those that end later are told.
        let mut rows =
            app.run_rows(if arguments.follow { arguments.limit.max(WATCHED) } else { arguments.limit }).await?;
        let known = rows.clone();
        rows.truncate(arguments.limit);
        match (arguments.format, arguments.follow) {
            (Format::Json, false) => print_json(&rows)?,
            (Format::Json, true) => rows.iter().rev().try_for_each(json_line)?,
            (Format::Text, _) if rows.is_empty() => terminal::line("there are no runs yet: `polder run` makes one"),
            (Format::Text, _) => {
                let (paint, now) = (cx.terminal.paint(), now(&app));
                // Whoever follows reads on at the end.
                terminal::print(&match arguments.follow {
                    true => followed(rows.iter().rev(), paint, now, |row| row.record.started),
                    false => {
                        let cells: Vec<Vec<String>> = rows.iter().map(|row| cells(row, now)).collect();
                        texts(paint, &RUN_COLUMNS, &cells, &[0, 4])
                    }
                });
            }
        }
        if arguments.format == Format::Text && !arguments.follow {
            terminal::print(&not_begun(&app, cx.terminal.paint()).await);
        }
        if arguments.follow { follow(cx, &app, known, arguments.format).await } else { Ok(Exit::Ok) }
    })
}

/// Pipelines that failed before they had a run that could be listed.
async fn not_begun(app: &App, paint: Paint) -> String {
    // What is wrong with the files is told where they matter.
    let rows = app.pipelines().await.unwrap_or_default();
    let failed = rows.iter().filter(|row| row.last_run.is_none() && matches!(row.status, Some("failed" | "damaged")));
    let due = |row: &PipelineRow| row.last_due.map(|at| human::moment(at, now(app)));
    let lines = failed.map(|row| {
        let due = due(row).map(|at| format!(", due {at}")).unwrap_or_default();
        let reason = row.reason.as_deref().unwrap_or_default();
        format!("\npipeline {}{due}, began no run: {reason}\n", paint.style(BOLD, &row.name))
    });
    lines.collect()
}

fn cells(row: &RunRow, now: Timestamp) -> Vec<String> {
    let standing = if is_interrupted(row) { Standing::Interrupted } else { Standing::AsItSays };
    run_row(&row.record, standing, now)
}

/// Runs as lines that begin with when each came to be as it is: its end, or before that what `otherwise` says.
fn followed<'a>(
    rows: impl Iterator<Item = &'a RunRow>,
    paint: Paint,
    now: Timestamp,
    otherwise: impl Fn(&RunRow) -> Timestamp,
) -> String {
    let since = |row: &RunRow| row.record.finished.unwrap_or_else(|| otherwise(row));
    let cells = rows.map(|row| std::iter::once(human::second(since(row), now)).chain(cells(row, now)).collect());
    let cells: Vec<Vec<String>> = cells.collect();
    let columns: Vec<&str> = std::iter::once("at").chain(RUN_COLUMNS).collect();
    texts(paint, &columns, &cells, &[1, 5])
}

fn json_line(row: &RunRow) -> Result<(), Failure> {
    let text = serde_json::to_string(row).map_err(|e| Failure::defect(format!("a run has no JSON form: {e}")))?;
    terminal::line(&text);
    Ok(())
}

/// Tells of every run that begins, ends or is taken up again.
async fn follow(cx: Context<'_>, app: &App, rows: Vec<RunRow>, format: Format) -> Result<Exit, Failure> {
    let end = cancelled_by_signal(|_| {})?;
    let state = |row: &RunRow| (row.record.status, row.record.resumed, row.executed);
    let mut known: BTreeMap<RunId, _> = rows.iter().map(|row| (row.record.id, state(row))).collect();
    let looked_at = rows.len().max(WATCHED);
    loop {
        tokio::select! {
            () = end.cancelled() => return Ok(Exit::Ok),
            () = tokio::time::sleep(PERIOD) => {}
        }
        for row in app.run_rows(looked_at).await?.iter().rev() {
            let before = known.insert(row.record.id, state(row));
            if before == Some(state(row)) {
                continue;
            }
            match format {
                Format::Json => json_line(row)?,
                Format::Text => {
                    let now = now(app);
                    let table = followed(std::iter::once(row), cx.terminal.paint(), now, |_| now);
                    // The head stands above already.
                    terminal::line(table.lines().last().unwrap_or_default());
                }
            }
        }
    }
}

pub fn logs(cx: Context<'_>, arguments: &Logs) -> Result<Exit, Failure> {
    cx.with_records(async |app| {
        let run = match arguments.run {
            Some(run) => RunId(run),
            None => app.newest_run().await?.ok_or_else(|| Failure::refused("there are no runs yet"))?,
        };
        let sink: Box<dyn EventSink> = match arguments.format {
            Format::Json => Box::new(JsonEvents),
            Format::Text => Box::new(TextEvents::new(Lines::new(cx.terminal.paint(), cx.terminal.width), None)),
        };
        let end = cancelled_by_signal(|_| {})?;
        let (mut last, mut ended) = (None, false);
        loop {
            let row = app.run_row(run).await?;
            if !row.executed && !ended && arguments.follow {
                // Events are kept a moment after they were told.
                ended = true;
                tokio::time::sleep(PERIOD).await;
            }
            let events = app.events(run, last).await?;
            last = events.last().map_or(last, |event| Some(event.number));
            events.iter().for_each(|event| tell(&*sink, event));
            let over = !row.executed;
            if over && last.is_none() {
                terminal::note("nothing was kept of what happened in this run");
            }
            if over || !arguments.follow {
                if arguments.format == Format::Text {
                    terminal::line(&ending(&row, cx.terminal.paint()));
                }
                return Ok(Exit::Ok);
            }
            tokio::select! {
                () = end.cancelled() => return Ok(Exit::Ok),
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    })
}

fn tell(sink: &dyn EventSink, logged: &LoggedEvent) {
    sink.event(&logged.event);
}

fn ending(row: &RunRow, paint: Paint) -> String {
    let record = &row.record;
    let word = match is_interrupted(row) {
        true => paint.style(WARN, "interrupted"),
        false => paint.style(if record.status == RunStatus::Published { GOOD } else { BOLD }, record.status.as_str()),
    };
    let cause = record.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("\nrun {} is {word}{cause}", record.id)
}

pub fn cancel(cx: Context<'_>, arguments: &Cancel) -> Result<Exit, Failure> {
    cx.with_records(async |app| {
        let run = RunId(arguments.run);
        app.cancel(run).await?;
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let row = app.run_row(run).await?;
                if !row.executed {
                    return Ok::<_, Failure>(row);
                }
                tokio::time::sleep(PERIOD).await;
            }
        });
        match waited.await {
            Ok(row) => {
                terminal::line(ending(&row?, cx.terminal.paint()).trim_start());
                Ok(Exit::Ok)
            }
            Err(_) => {
                terminal::note(&format!(
                    "run {run} was asked to end, and is not at its end yet: polder logs {run} --follow"
                ));
                Ok(Exit::Failed)
            }
        }
    })
}
