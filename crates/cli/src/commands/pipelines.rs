//! `polder pipelines`.

use polder_app::PipelineRow;
use polder_base::Timestamp;

use super::context::{Context, now};
use super::print_json;
use crate::args::{Format, Pipelines};
use crate::failure::{Exit, Failure};
use crate::human;
use crate::rows::texts;
use crate::terminal::{self, BOLD, Paint};

pub fn pipelines(cx: Context<'_>, arguments: &Pipelines) -> Result<Exit, Failure> {
    cx.with_records(async |app| {
        let rows = app.pipelines().await?;
        match arguments.format {
            Format::Json => print_json(&rows)?,
            Format::Text => terminal::print(&text(&rows, cx.terminal.paint(), now(&app))),
        }
        Ok(Exit::Ok)
    })
}

/// `every 30s`: minutes do not tell its times apart.
fn is_to_second(row: &PipelineRow) -> bool {
    row.schedule.starts_with("every ") && row.schedule.ends_with('s')
}

fn text(rows: &[PipelineRow], paint: Paint, now: Timestamp) -> String {
    if rows.is_empty() {
        return format!("no pipelines: {} declares one\n", paint.style(BOLD, "pipelines/NAME.yaml"));
    }
    let time = |at: Option<Timestamp>| at.map(|at| human::moment(at, now)).unwrap_or_default();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let due = |at: Option<Timestamp>| match is_to_second(row) {
                true => at.map(|at| human::second(at, now)).unwrap_or_default(),
                false => time(at),
            };
            let zone = row.time_zone.as_ref().filter(|zone| *zone != "UTC");
            vec![
                row.name.clone(),
                zone.map_or_else(|| row.schedule.clone(), |zone| format!("{} {zone}", row.schedule)),
                if row.paused { "paused".to_owned() } else { due(row.next) },
                row.status.unwrap_or("–").to_owned(),
                due(row.last_due),
                row.last_run.map(|run| run.to_string()).unwrap_or_default(),
                time(row.failing_since),
            ]
        })
        .collect();
    let mut out =
        texts(paint, &["pipeline", "schedule", "next", "status", "last due", "run", "failing since"], &cells, &[5]);
    for row in rows {
        if let Some(reason) = &row.reason {
            out += &format!("\n{}: {reason}\n", paint.style(BOLD, &row.name));
        }
    }
    out
}
