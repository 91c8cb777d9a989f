//! git's words: status, log, diff, branch, switch, tag, merge, drop, rollback.

use polder_app::{
    App, Damaged, Difference, Dropped, LogEntry, LoggedChange, Moved, OpenRun, RefRow, RowDifference, RowSample, Shown,
    Status, Undone,
};
use polder_base::{TableName, Timestamp};
use polder_run::{RunKind, RunRecord, RunStatus};

use super::context::{Context, now};
use super::{print_json, show};
use crate::args::{Branch, Diff, Drop, Format, Log, Merge, Rollback, Status as StatusArguments, Switch, Tag};
use crate::failure::{Exit, Failure};
use crate::human;
use crate::rows::texts;
use crate::terminal::{self, BAD, BOLD, DIM, GOOD, NAME, Paint, WARN};
use crate::text::{one_line, pad_right, width};

/// Digits of a commit that are shown; commands take them.
const SHORT: usize = 10;

/// Runs that wait for somebody, of which `status` tells more than their line in the list.
const OPEN: usize = 3;

/// The columns of a list of runs.
pub(super) const RUN_COLUMNS: [&str; 6] = ["run", "status", "ref", "started", "took", "by"];

/// Cursors of files hold a list of them: nothing for a line.
const SHORT_CURSOR: usize = 60;

pub fn short(commit: &str) -> &str {
    commit.get(..SHORT).unwrap_or(commit)
}

pub fn status(cx: Context<'_>, arguments: &StatusArguments) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app| {
        let status = app.status().await?;
        match arguments.format {
            Format::Json => print_json(&status)?,
            Format::Text => terminal::print(&status_text(&status, cx.terminal.paint(), now(&app))),
        }
        Ok(if status.damaged.is_empty() { Exit::Ok } else { Exit::Environment })
    })
}

fn status_text(status: &Status, paint: Paint, now: Timestamp) -> String {
    let current = &status.current;
    let (project, name) = (paint.style(BOLD, &status.project), paint.style(NAME, &current.name));
    let mut out = format!("{project} on {name}: {}\n", shown_text(current, now));
    let (tables, views) = (status.tables as u64, status.views as u64);
    // On disk they are where everybody looks for them.
    let elsewhere = Some(&status.warehouse).filter(|root| !root.starts_with("file://"));
    let place = elsewhere.map(|root| format!(" in {root}")).unwrap_or_default();
    out += &format!("{}, {}{place}\n", human::counted(tables, "table"), human::counted(views, "view"));
    if !status.runs.is_empty() {
        let rows: Vec<Vec<String>> = status.runs.iter().map(|r| run_row(r, standing(r, &status.open), now)).collect();
        out += &format!("\n{}", texts(paint, &RUN_COLUMNS, &rows, &[0, 4]));
    }
    // One that is about to be removed is told of, however many there are.
    let told = |(place, open): &(usize, &OpenRun)| *place < OPEN || open.expires_soon(now);
    let open: Vec<&OpenRun> = status.open.iter().enumerate().filter(told).map(|(_, open)| open).collect();
    open.iter().for_each(|open| out += &open_text(open, paint, now));
    let more = status.open.len() - open.len();
    if more > 0 {
        out += &format!("\nand {} more: {}\n", human::count(more as u64), paint.style(BOLD, "polder branch"));
    }
    status.damaged.iter().for_each(|damaged| out += &format!("\n{}", damaged_text(damaged, paint)));
    out += &leftovers_text(&status.leftovers, "", paint);
    if let Some(files) = status.looked_for {
        let look = paint.style(BOLD, "polder show TABLE");
        out +=
            &format!("\nlooked for the first {} files alone: {look} looks for all of a table\n", human::count(files));
    }
    out
}

/// A table that cannot be read, and what helps.
pub fn damaged_text(damaged: &Damaged, paint: Paint) -> String {
    let Damaged { table, what, declared } = damaged;
    let mut out = format!("{} {table}: {what}\n", paint.style(BAD, "damaged:"));
    if *declared {
        let anew = format!("polder run {table} --full-refresh");
        out += &format!("  anew      {}\n", paint.style(BOLD, &anew));
    }
    out += "  or else   bring the file back from a backup, or `polder rollback` to a commit that does without it\n";
    out
}

/// Tables that no run touches any more, after an empty line. `at`: what names their branch.
pub fn leftovers_text(tables: &[TableName], at: &str, paint: Paint) -> String {
    if tables.is_empty() {
        return String::new();
    }
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    let drop = paint.style(BOLD, &format!("polder drop {}{at}", names.join(" ")));
    format!("\nno model or source makes {} any more\n  drop      {drop}\n", names.join(", "))
}

/// It says `running`, and nobody works on it: its process died.
fn is_interrupted(open: &OpenRun) -> bool {
    open.record.status == RunStatus::Running && !open.executed
}

fn open_text(open: &OpenRun, paint: Paint, now: Timestamp) -> String {
    let OpenRun { record, executed, expires } = open;
    let (verb, word, style) = match record.status {
        RunStatus::Running if *executed => ("is", "running", GOOD),
        RunStatus::Running => ("was", "interrupted", WARN),
        RunStatus::Cancelled => ("was", "cancelled", WARN),
        other => ("is", other.as_str(), BAD),
    };
    let mut out = format!("\nrun {} {verb} {}", record.id, paint.style(style, word));
    if let Some(reason) = record.cause() {
        out += &format!(": {reason}");
    }
    if !record.held.is_empty() && !record.parts.is_empty() {
        let held: Vec<&str> = record.held.iter().map(|h| h.table.as_str()).collect();
        out += &format!("\n  held      {} (the rest is published)", held.join(", "));
    }
    out += &format!("\n  look      {}\n", paint.style(BOLD, &format!("polder sql --ref {}", record.branch)));
    if !executed && !record.stale {
        out += &format!("  go on     {}\n", paint.style(BOLD, &format!("polder run --resume {}", record.id)));
    }
    if let Some(at) = expires.filter(|_| open.expires_soon(now) && !executed) {
        let warning = paint.style(WARN, &format!("until {}", human::moment(at, now)));
        out += &format!("  kept      {warning}; then its branch is removed\n");
    }
    out
}

/// How a run stands besides its status.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    AsItSays,
    /// It says that it goes on, and nobody works on it.
    Interrupted,
    /// It waits for nobody any more: a later run went on from it, or its branch is gone.
    Over,
}

fn standing(run: &RunRecord, open: &[OpenRun]) -> Standing {
    let waits = run.kind == RunKind::Run && run.status != RunStatus::Published;
    match open.iter().find(|open| open.record.id == run.id) {
        Some(open) if is_interrupted(open) => Standing::Interrupted,
        None if run.same_as.is_some_and(|first| open.iter().any(|open| open.record.id == first)) => Standing::AsItSays,
        None if waits => Standing::Over,
        _ => Standing::AsItSays,
    }
}

/// The row of a run in a list: number, status, ref, start, time, who.
pub(super) fn run_row(run: &RunRecord, standing: Standing, now: Timestamp) -> Vec<String> {
    let word = match run.status {
        RunStatus::Running if standing != Standing::AsItSays => "interrupted",
        status => status.as_str(),
    };
    let status = match (run.kind, standing, run.same_as) {
        (RunKind::Check, Standing::AsItSays, _) => format!("checks {word}"),
        // What is decided about that one decides about this one.
        (_, Standing::Over, Some(first)) => format!("was held by run {first}"),
        (_, _, Some(first)) => format!("held by run {first}"),
        (_, Standing::Over, _) => format!("was {word}"),
        _ => word.to_owned(),
    };
    // Nobody knows when it ended, or how long it lay between two tries.
    let unknown = word == "interrupted" || run.resumed > 0;
    let took = if unknown { String::new() } else { human::elapsed(run.elapsed_ms(now)) };
    vec![run.id.to_string(), status, run.target.clone(), human::moment(run.started, now), took, run.principal.clone()]
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
    let changes: Vec<LoggedChange> = in_one(&entry.changes);
    let names = changes.iter().map(|c| width(&c.entry)).max().unwrap_or(0);
    for change in &changes {
        out += &format!("    {}\n", change_text(change, names));
    }
    out
}

/// A line for each table: one that was made and filled was made. Cursors have no line: they go with their tables.
fn in_one(changes: &[LoggedChange]) -> Vec<LoggedChange> {
    let mut lines: Vec<LoggedChange> = Vec::new();
    for change in changes.iter().filter(|c| !c.entry.starts_with("cursor ")) {
        match lines.iter_mut().find(|line| line.entry == change.entry) {
            Some(line) => {
                line.added_rows += change.added_rows;
                line.removed_rows += change.removed_rows;
            }
            None => lines.push(change.clone()),
        }
    }
    lines
}

/// What came or went in all; files that were written anew also have the rows that stayed.
fn change_text(change: &LoggedChange, names: usize) -> String {
    let (added, removed) = (change.added_rows, change.removed_rows);
    let rows = match (added, removed) {
        (0, 0) => String::new(),
        (added, 0) => format!("+{}", human::count(added)),
        (0, removed) => format!("-{}", human::count(removed)),
        (added, removed) if added == removed => format!("{} written", human::counted(added, "row")),
        (added, removed) => {
            let sign = if added < removed { "-" } else { "+" };
            format!("{sign}{}  ({} written)", human::count(added.abs_diff(removed)), human::count(added))
        }
    };
    format!("{:<9} {}  {rows}", change.action, pad_right(&change.entry, names)).trim_end().to_owned()
}

pub fn diff(cx: Context<'_>, arguments: &Diff) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app| {
        let current = app.current_ref()?;
        let (from, to) = sides(arguments, &current)?;
        let differences = match arguments.rows {
            true => app.diff_rows(&from, to.as_deref()).await?,
            false => app.diff(&from, to.as_deref()).await?,
        };
        match arguments.format {
            Format::Json => print_json(&differences)?,
            Format::Text => terminal::print(&diff_text(&differences, cx.terminal.paint())),
        }
        Ok(Exit::Ok)
    })
}

/// What is compared: `A B`, or `A..B`, where a side that is left out is the current ref. Neither: its last commit.
fn sides(arguments: &Diff, current: &str) -> Result<(String, Option<String>), Failure> {
    let Some(from) = arguments.from.as_deref() else { return Ok((format!("{current}~1"), None)) };
    let given = |side: &str| if side.is_empty() { current.to_owned() } else { side.to_owned() };
    match (from.split_once(".."), &arguments.to) {
        (None, to) => Ok((from.to_owned(), to.clone())),
        (Some((from, to)), None) if !to.starts_with('.') => Ok((given(from), Some(given(to)))),
        (Some(_), None) => Err(Failure::usage("`A...B` is not known here").hint("write `A..B`")),
        (Some(_), Some(to)) => Err(Failure::usage(format!("`FROM..TO` are both sides already, and `{to}` is a third"))),
    }
}

fn diff_text(differences: &[Difference], paint: Paint) -> String {
    if differences.is_empty() {
        return "no difference\n".to_owned();
    }
    // Tables first: cursors follow from them.
    let (cursors, tables): (Vec<&Difference>, Vec<&Difference>) = differences.iter().partition(|d| d.kind == "cursor");
    tables.into_iter().chain(cursors).map(|d| difference_text(d, paint)).collect()
}

/// A table, view or cursor that differs, and how.
pub fn difference_text(d: &Difference, paint: Paint) -> String {
    let mut out = String::new();
    {
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
        out += &d.rows.as_ref().map(|rows| rows_text(rows, paint)).unwrap_or_default();
    }
    out
}

/// Columns of a row that a sample shows.
const SAMPLE_COLUMNS: usize = 6;

/// Which rows of a table differ, below its line.
pub fn rows_text(rows: &RowDifference, paint: Paint) -> String {
    let by = match rows.key.is_empty() {
        true => "rows compared whole".to_owned(),
        false => format!("by {}", rows.key.join(", ")),
    };
    let counts = [("added", rows.added), ("removed", rows.removed), ("changed", rows.changed)];
    let counts: Vec<String> =
        counts.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{} {what}", human::count(*n))).collect();
    let counts = if counts.is_empty() { "no row differs".to_owned() } else { counts.join(", ") };
    let mut out = format!("    {counts}  {}\n", paint.style(DIM, &by));
    if !rows.columns.is_empty() {
        let columns: Vec<String> =
            rows.columns.iter().map(|c| format!("{} in {}", c.column, human::counted(c.rows, "row"))).collect();
        out += &format!("    {}\n", columns.join(", "));
    }
    rows.sample.iter().for_each(|row| out += &sample_text(row, paint));
    let more = (rows.added + rows.removed + rows.changed).saturating_sub(rows.sample.len() as u64);
    if more > 0 && !rows.sample.is_empty() {
        out += &format!("      {}\n", paint.style(DIM, &format!("and {} more", human::count(more))));
    }
    out
}

fn sample_text(row: &RowSample, paint: Paint) -> String {
    let value = |value: &Option<String>| one_line(value.as_deref().unwrap_or("NULL"));
    let plain = |columns: &[(String, Option<String>)]| -> Vec<String> {
        columns.iter().take(SAMPLE_COLUMNS).map(|(name, text)| format!("{name} {}", value(text))).collect()
    };
    let (sign, style, rest) = match row.change {
        "added" => ("+", GOOD, plain(&row.after)),
        "removed" => ("-", BAD, plain(&row.before)),
        _ => {
            let both = row.before.iter().zip(&row.after).take(SAMPLE_COLUMNS);
            let both = both.map(|((name, old), (_, new))| format!("{name} {} → {}", value(old), value(new)));
            ("~", WARN, both.collect())
        }
    };
    let words: Vec<String> = plain(&row.key).into_iter().chain(rest).collect();
    format!("      {} {}\n", paint.style(style, sign), words.join("  "))
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
    let names = refs.iter().map(|r| width(&r.name)).max().unwrap_or(0);
    for r in &refs {
        let mark = if r.current { "*" } else { " " };
        let name = pad_right(&r.name, names);
        let expires = r.expires.map(|at| format!("  until {}", human::moment(at, now))).unwrap_or_default();
        let at = r.at.map(|at| format!("  {}", human::moment(at, now))).unwrap_or_default();
        let rest = format!("{}{at}{expires}", short(&r.commit.0));
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
        let name = cx.terminal.paint().style(NAME, &shown.name);
        terminal::line(&format!("on {name}: {}", shown_text(&shown, now(&app))));
        Ok(Exit::Ok)
    })
}

pub fn merge(cx: Context<'_>, arguments: &Merge) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app| {
        let moved = app.merge(&arguments.from, arguments.into.as_deref(), arguments.unchecked).await?;
        let name = cx.terminal.paint().style(NAME, &moved.branch);
        terminal::line(&match moved.before == moved.after {
            true => format!("{name} has all of {} already", arguments.from),
            false => format!("merged {} into {name}: {}", arguments.from, short(&moved.after.0)),
        });
        undone(&app, &moved, cx.terminal.paint())?;
        Ok(Exit::Ok)
    })
}

/// Tells what a merge left to do, and how it is done.
fn undone(app: &App, moved: &Moved, paint: Paint) -> Result<(), Failure> {
    let Undone { behind, unchecked } = &moved.undone;
    let at = app.naming("--ref", &moved.branch)?;
    let label = |label: &str| paint.style(DIM, &format!("  {label:<9}"));
    if !behind.is_empty() {
        let tables = behind.iter().map(ToString::to_string).collect::<Vec<_>>();
        let why = format!("not what the files make of what {} shows now", moved.branch);
        terminal::line(&format!("{} {}: {why}", label("behind"), tables.join(", ")));
        terminal::line(&format!("{} polder run {}{at}", label("build"), tables.join(" ")));
    }
    if !unchecked.is_empty() {
        let why = "their checks look at tables of both sides";
        terminal::line(&format!("{} {}: {why}", label("unchecked"), unchecked.join(", ")));
        terminal::line(&format!("{} polder check {}{at}", label("check"), unchecked.join(" ")));
    }
    Ok(())
}

pub fn drop(cx: Context<'_>, arguments: &Drop) -> Result<Exit, Failure> {
    let tables = arguments.tables.iter().map(|t| show::table_name(t)).collect::<Result<Vec<_>, _>>()?;
    cx.with_app(&cx.options(), async |app| {
        let dropped = app.drop_tables(&tables, arguments.at.as_deref()).await?;
        let undo = undo_text(&app, &dropped.branch, &dropped.before.0, cx.terminal.paint())?;
        terminal::line(&dropped_text(&dropped, &undo, cx.terminal.paint()));
        Ok(Exit::Ok)
    })
}

/// The command that makes a branch show again what it showed before.
fn undo_text(app: &App, branch: &str, before: &str, paint: Paint) -> Result<String, Failure> {
    let undo = format!("polder rollback --to {}{}", short(before), app.naming("--ref", branch)?);
    Ok(format!("  undo      {}", paint.style(BOLD, &undo)))
}

fn dropped_text(dropped: &Dropped, undo: &str, paint: Paint) -> String {
    let names = |tables: &[TableName]| tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let branch = paint.style(NAME, &dropped.branch);
    let (tables, commit) = (names(&dropped.tables), short(&dropped.after.0));
    let mut out = format!("dropped {tables} from {branch}, as commit {commit}\n");
    if !dropped.declared.is_empty() {
        out += &format!("the next run makes {} again\n", names(&dropped.declared));
    }
    out + undo
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
        let moved = app.rollback(Some(&branch), &to, &tables).await?;
        let undo = undo_text(&app, &moved.branch, &moved.before.0, cx.terminal.paint())?;
        terminal::line(&rollback_text(&moved, &arguments.tables, &undo, cx.terminal.paint(), now(&app)));
        Ok(Exit::Ok)
    })
}

fn rollback_text(moved: &Moved, tables: &[String], undo: &str, paint: Paint, now: Timestamp) -> String {
    let name = paint.style(NAME, &moved.branch);
    let what = if tables.is_empty() { name.clone() } else { format!("{} of {name}", tables.join(", ")) };
    let to = shown_text(&moved.to, now);
    if moved.before == moved.after {
        return format!("{what}: nothing to do, it shows {to} already");
    }
    format!("rolled back {what} to {to}, as commit {}\n{undo}", short(&moved.after.0))
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

/// `run 11, yesterday 06:00 (3f2a…)`
fn shown_text(shown: &Shown, now: Timestamp) -> String {
    let commit = short(&shown.commit);
    match (shown.run, shown.at.micros()) {
        // The first of all commits has no time.
        (None, 0) => "the empty catalog".to_owned(),
        (None, _) => format!("{} ({commit})", human::moment(shown.at, now)),
        (Some(run), _) => format!("run {run}, {} ({commit})", human::moment(shown.at, now)),
    }
}
