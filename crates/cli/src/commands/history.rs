//! git's words: status, log, diff, branch, switch, tag, merge, rollback.

use polder_app::{App, Difference, LogEntry, LoggedChange, RefRow, Shown, Status};
use polder_base::Timestamp;
use polder_run::{RunRecord, RunStatus};

use super::context::{Context, now};
use super::{print_json, show};
use crate::args::{Branch, Diff, Format, Log, Merge, Rollback, Status as StatusArguments, Switch, Tag};
use crate::failure::{Exit, Failure};
use crate::human;
use crate::rows::texts;
use crate::terminal::{self, BAD, BOLD, DIM, GOOD, NAME, Paint, WARN};

/// Digits of a commit that are shown; commands take them.
const SHORT: usize = 10;

/// Cursors of files hold a list of them: nothing for a line.
const SHORT_CURSOR: usize = 60;

fn short(commit: &str) -> &str {
    commit.get(..SHORT).unwrap_or(commit)
}

pub fn status(cx: Context<'_>, arguments: &StatusArguments) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app| {
        let status = app.status().await?;
        match arguments.format {
            Format::Json => print_json(&status)?,
            Format::Text => terminal::print(&status_text(&status, cx.terminal.paint(), now(&app))),
        }
        Ok(Exit::Ok)
    })
}

fn status_text(status: &Status, paint: Paint, now: Timestamp) -> String {
    let current = &status.current;
    let run = current.run.map(|run| format!("run {run}, ")).unwrap_or_default();
    let mut out = format!(
        "{} on {}: {run}{} ({})\n",
        paint.style(BOLD, &status.project),
        paint.style(NAME, &current.name),
        human::moment(current.at, now),
        short(&current.commit),
    );
    let (tables, views) = (status.tables as u64, status.views as u64);
    out += &format!("{}, {}\n", human::counted(tables, "table"), human::counted(views, "view"));
    if !status.runs.is_empty() {
        let rows: Vec<Vec<String>> = status.runs.iter().map(|r| run_row(r, now)).collect();
        out += &format!("\n{}", texts(paint, &["run", "status", "to", "started", "took", "by"], &rows, &[0, 4]));
    }
    for open in &status.open {
        let style = if open.status == RunStatus::Cancelled { WARN } else { BAD };
        let word = paint.style(style, open.status.as_str());
        out += &format!("\nrun {} is {word}", open.id);
        if let Some(reason) = &open.reason {
            out += &format!(": {reason}");
        }
        out += &format!("\n  look      {}\n", paint.style(BOLD, &format!("polder sql --ref {}", open.branch)));
        out += &format!("  go on     {}\n", paint.style(BOLD, &format!("polder run --resume {}", open.id)));
    }
    out
}

fn run_row(run: &RunRecord, now: Timestamp) -> Vec<String> {
    vec![
        run.id.to_string(),
        run.status.as_str().to_owned(),
        run.target.clone(),
        human::moment(run.started, now),
        human::elapsed(run.elapsed_ms(now)),
        run.principal.clone(),
    ]
}

pub fn log(cx: Context<'_>, arguments: &Log) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app| {
        let entries = app.log(arguments.at.as_deref(), arguments.limit).await?;
        match arguments.format {
            Format::Json => print_json(&entries)?,
            Format::Text => {
                let (paint, now) = (cx.terminal.paint(), now(&app));
                entries.iter().for_each(|e| terminal::print(&log_text(e, paint, now)));
            }
        }
        Ok(Exit::Ok)
    })
}

fn log_text(entry: &LogEntry, paint: Paint, now: Timestamp) -> String {
    let run = entry.run.map(|run| format!("run {run}"));
    // What a run publishes is called by its number already.
    let run = run.filter(|run| *run != entry.message).map(|run| format!("{run}  ")).unwrap_or_default();
    // The empty catalog has no time: it is the same everywhere.
    let at = if entry.at.micros() == 0 { String::new() } else { format!("{}  ", human::moment(entry.at, now)) };
    let mut out = format!(
        "{}  {at}{run}{}  {}\n",
        paint.style(NAME, short(&entry.commit.0)),
        entry.author,
        paint.style(BOLD, &entry.message),
    );
    for change in entry.changes.iter().filter(|c| c.action != "cursor") {
        out += &format!("    {}\n", change_text(change));
    }
    out
}

fn change_text(change: &LoggedChange) -> String {
    let mut text = format!("{:<9} {}", change.action, change.entry);
    for (sign, rows) in [("+", change.added_rows), ("-", change.removed_rows)] {
        if rows > 0 {
            text += &format!("  {sign}{}", human::count(rows));
        }
    }
    text
}

pub fn diff(cx: Context<'_>, arguments: &Diff) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app| {
        let from = match &arguments.from {
            Some(from) => from.clone(),
            None => format!("{}~1", app.current_ref()?),
        };
        let differences = app.diff(&from, arguments.to.as_deref()).await?;
        match arguments.format {
            Format::Json => print_json(&differences)?,
            Format::Text => terminal::print(&diff_text(&differences, cx.terminal.paint())),
        }
        Ok(Exit::Ok)
    })
}

fn diff_text(differences: &[Difference], paint: Paint) -> String {
    if differences.is_empty() {
        return "no difference\n".to_owned();
    }
    let mut out = String::new();
    for d in differences {
        let (sign, style) = match d.change {
            "added" => ("+", GOOD),
            "removed" => ("-", BAD),
            _ => ("~", WARN),
        };
        out += &format!("{} {:<6} {}", paint.style(style, sign), d.kind, d.name);
        out += &match (d.rows_before, d.rows_after) {
            (Some(before), Some(after)) if before != after => {
                format!("  {} → {} rows", human::count(before), human::count(after))
            }
            (Some(_), Some(after)) => format!("  {}, other content", human::counted(after, "row")),
            (None, Some(rows)) | (Some(rows), None) => format!("  {}", human::counted(rows, "row")),
            (None, None) => String::new(),
        };
        if d.kind == "cursor" {
            out += &match (&d.before, &d.after) {
                (Some(before), Some(after)) if before.len().max(after.len()) <= SHORT_CURSOR => {
                    format!("  {before} → {after}")
                }
                (None, Some(after)) if after.len() <= SHORT_CURSOR => format!("  {after}"),
                _ => String::new(),
            };
        }
        out.push('\n');
        for column in &d.columns {
            out += &format!("    {column}\n");
        }
    }
    out
}

pub fn branch(cx: Context<'_>, arguments: &Branch) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app| {
        match &arguments.name {
            None => list(cx, &app, "branch", arguments.format).await?,
            Some(name) if arguments.delete => deleted(cx, &app, name).await?,
            Some(name) => {
                let made = app.create_branch(name, arguments.from.as_deref()).await?;
                made_text(cx, &made, arguments.format)?;
            }
        }
        Ok(Exit::Ok)
    })
}

pub fn tag(cx: Context<'_>, arguments: &Tag) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app| {
        match &arguments.name {
            None => list(cx, &app, "tag", arguments.format).await?,
            Some(name) if arguments.delete => deleted(cx, &app, name).await?,
            Some(name) => {
                let made = app.create_tag(name, arguments.at.as_deref()).await?;
                made_text(cx, &made, arguments.format)?;
            }
        }
        Ok(Exit::Ok)
    })
}

async fn list(cx: Context<'_>, app: &App, kind: &str, format: Format) -> Result<(), Failure> {
    let refs: Vec<RefRow> = app.refs().await?.into_iter().filter(|r| r.kind == kind).collect();
    if format == Format::Json {
        return print_json(&refs);
    }
    let (paint, now) = (cx.terminal.paint(), now(app));
    let names = refs.iter().map(|r| crate::text::width(&r.name)).max().unwrap_or(0);
    for r in &refs {
        let mark = if r.current { "*" } else { " " };
        let name = crate::text::pad_right(&r.name, names);
        let expires = r.expires.map(|at| format!("  until {}", human::moment(at, now))).unwrap_or_default();
        let rest = format!("{}  {}{expires}", short(&r.commit.0), human::moment(r.at, now));
        terminal::line(&format!("{mark} {}  {}", paint.style(NAME, &name), paint.style(DIM, &rest)));
    }
    Ok(())
}

fn made_text(cx: Context<'_>, made: &RefRow, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return print_json(made);
    }
    let name = cx.terminal.paint().style(NAME, &made.name);
    terminal::line(&format!("{} {name} at {}", made.kind, short(&made.commit.0)));
    Ok(())
}

async fn deleted(cx: Context<'_>, app: &App, name: &str) -> Result<(), Failure> {
    app.delete_ref(name).await?;
    terminal::line(&format!("deleted {}", cx.terminal.paint().style(NAME, name)));
    Ok(())
}

pub fn switch(cx: Context<'_>, arguments: &Switch) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app| {
        let shown = app.switch(&arguments.name).await?;
        tell(cx, &app, "on", &shown);
        Ok(Exit::Ok)
    })
}

pub fn merge(cx: Context<'_>, arguments: &Merge) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app| {
        let shown = app.merge(&arguments.from, arguments.into.as_deref()).await?;
        tell(cx, &app, &format!("merged {} into", arguments.from), &shown);
        Ok(Exit::Ok)
    })
}

pub fn rollback(cx: Context<'_>, arguments: &Rollback) -> Result<Exit, Failure> {
    let tables = arguments.tables.iter().map(|t| show::table_name(t)).collect::<Result<Vec<_>, _>>()?;
    cx.with_app(&cx.options(), async |app| {
        let branch = arguments.at.clone().map_or_else(|| app.current_ref(), Ok)?;
        let to = match (&arguments.to, arguments.run) {
            (Some(to), _) => to.clone(),
            (None, Some(run)) => before_run(&app, &branch, run).await?,
            (None, None) => format!("{branch}~1"),
        };
        let shown = app.rollback(Some(&branch), &to, &tables).await?;
        tell(cx, &app, "rolled back", &shown);
        Ok(Exit::Ok)
    })
}

/// The commit that a branch showed before a run was published to it.
async fn before_run(app: &App, branch: &str, run: u64) -> Result<String, Failure> {
    let entries = app.log(Some(branch), usize::MAX).await?;
    let published = entries.iter().position(|e| e.run == Some(run));
    let Some(published) = published else {
        return Err(Failure::refused(format!("run {run} was not published to {branch}")).hint("polder log"));
    };
    match entries.get(published + 1) {
        Some(before) => Ok(before.commit.0.clone()),
        None => Err(Failure::refused(format!("there is nothing left from before run {run}"))),
    }
}

/// `rolled back main: run 11, yesterday 06:00 (3f2a…)`
fn tell(cx: Context<'_>, app: &App, what: &str, shown: &Shown) {
    let name = cx.terminal.paint().style(NAME, &shown.name);
    let run = shown.run.map(|run| format!("run {run}, ")).unwrap_or_default();
    let at = human::moment(shown.at, now(app));
    terminal::line(&format!("{what} {name}: {run}{at} ({})", short(&shown.commit)));
}
