//! `polder runs`, `polder logs` and `polder cancel`.

use std::collections::BTreeMap;
use std::time::Duration;

use polder_app::{App, LoggedEvent, RunRow};
use polder_base::RunId;
use polder_run::{EventSink, RunStatus};

use super::context::{Context, cancelled_by_signal, now};
use super::history::{RUN_COLUMNS, run_row};
use super::print_json;
use crate::args::{Cancel, Format, Logs, Runs};
use crate::failure::{Exit, Failure};
use crate::report::{JsonEvents, Lines, TextEvents};
use crate::rows::texts;
use crate::terminal::{self, BOLD, GOOD, WARN};

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
    cx.with_app(&cx.options(), async |app| {
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
                let cells = |row: &RunRow| run_row(&row.record, is_interrupted(row), now(&app));
                // Whoever follows reads on at the end.
                let cells: Vec<Vec<String>> = match arguments.follow {
                    true => rows.iter().rev().map(cells).collect(),
                    false => rows.iter().map(cells).collect(),
                };
                terminal::print(&texts(cx.terminal.paint(), &RUN_COLUMNS, &cells, &[0, 4]));
            }
        }
        if arguments.follow { follow(cx, &app, known, arguments.format).await } else { Ok(Exit::Ok) }
    })
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
                    let cells = run_row(&row.record, is_interrupted(row), now(app));
                    let table = texts(cx.terminal.paint(), &RUN_COLUMNS, &[cells], &[0, 4]);
                    // The head stands above already.
                    terminal::line(table.lines().last().unwrap_or_default());
                }
            }
        }
    }
}

pub fn logs(cx: Context<'_>, arguments: &Logs) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app| {
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

fn ending(row: &RunRow, paint: terminal::Paint) -> String {
    let record = &row.record;
    let word = match is_interrupted(row) {
        true => paint.style(WARN, "interrupted"),
        false => paint.style(if record.status == RunStatus::Published { GOOD } else { BOLD }, record.status.as_str()),
    };
    let cause = record.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("\nrun {} is {word}{cause}", record.id)
}

pub fn cancel(cx: Context<'_>, arguments: &Cancel) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app| {
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
