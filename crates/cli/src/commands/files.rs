//! Commands about the project's files: init, validate, plan, compile, schema.

use std::path::Path;

use polder_app::{Action, Plan};
use polder_diag::{Severity, render_json};

use super::context::Context;
use super::history::leftovers_text;
use super::print_json;
use crate::args;
use crate::args::Format;
use crate::failure::{self, Exit, Failure};
use crate::human;
use crate::rows::texts;
use crate::terminal::{self, BOLD, DIM, GOOD, Terminal};
use crate::text::{fit, width};

pub fn init(cx: Context<'_>, arguments: &args::Init) -> Result<Exit, Failure> {
    let made = polder_app::init(&arguments.folder, arguments.example.as_deref())?;
    let paint = cx.terminal.paint();
    let files = human::counted(made.files.len() as u64, "file");
    terminal::line(&format!("{} {} ({files})", paint.style(GOOD, "made"), made.folder.display()));
    let go = if made.folder == Path::new(".") { String::new() } else { format!("cd {} && ", made.folder.display()) };
    let data = arguments.example.as_deref() == Some("shop");
    let data = if data { "polder generate shop --out data && " } else { "" };
    terminal::line(&format!("next: {}", paint.style(BOLD, &format!("{go}{data}polder run"))));
    Ok(Exit::Ok)
}

pub fn validate(cx: Context<'_>, arguments: &args::Validate) -> Result<Exit, Failure> {
    let vars = arguments.vars.vars.iter().cloned().collect();
    let problems = polder_app::validate(&cx.project(), cx.global.env.as_deref(), &vars, Default::default());
    let count = |severity| problems.diagnostics.iter().filter(|d| d.severity == severity).count() as u64;
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if arguments.format == Format::Json {
        for diagnostic in &problems.diagnostics {
            terminal::line(&render_json(diagnostic, &problems.sources).to_string());
        }
    } else {
        if !problems.diagnostics.is_empty() {
            terminal::note(&(failure::told(&problems, cx.terminal.paint_err()) + "\n"));
        }
        let files = human::counted(problems.sources.iter().count() as u64, "file");
        match (errors, warnings) {
            (0, 0) => terminal::line(&format!("{files}, no mistakes")),
            (0, n) => terminal::line(&format!("{files}, no mistakes, {}", human::counted(n, "warning"))),
            (n, 0) => terminal::note(&format!("{files}, {}", human::counted(n, "mistake"))),
            (n, w) => {
                let (mistakes, warnings) = (human::counted(n, "mistake"), human::counted(w, "warning"));
                terminal::note(&format!("{files}, {mistakes}, {warnings}"));
            }
        }
    }
    Ok(if errors > 0 { Exit::Wrong } else { Exit::Ok })
}

pub fn plan(cx: Context<'_>, arguments: &args::Plan) -> Result<Exit, Failure> {
    cx.with_app(&cx.options_with(&arguments.vars), async |app| {
        let request = polder_app::RunRequest {
            select: arguments.selection.select.clone(),
            exclude: arguments.selection.exclude.clone(),
            target: arguments.at.clone(),
            full_refresh: arguments.full_refresh,
            ..polder_app::RunRequest::default()
        };
        let plan = app.plan(&request).await?;
        match arguments.format {
            Format::Json => print_json(&plan)?,
            Format::Text => {
                let at = app.naming("--ref", &plan.target)?;
                terminal::print(&plan_text(&plan, &at, cx.terminal));
            }
        }
        Ok(Exit::Ok)
    })
}

/// `at`: what names the plan's target in a command.
fn plan_text(plan: &Plan, at: &str, terminal: Terminal) -> String {
    let paint = terminal.paint();
    let mut rows: Vec<Vec<String>> = plan
        .steps
        .iter()
        .map(|s| {
            let symbol = match s.action {
                Action::Run => "▶",
                Action::Perhaps => "?",
                Action::Reuse | Action::UpToDate => "=",
            };
            vec![
                symbol.to_owned(),
                s.step.kind.as_str().to_owned(),
                s.step.resource.clone(),
                s.why.clone(),
                s.file.clone(),
            ]
        })
        .collect();
    let mut names = vec!["", "step", "table", "why", "declared in"];
    if terminal.out_is_terminal {
        fit_plan(&mut names, &mut rows, terminal.width);
    }
    let mut out = format!("{} {} {}\n\n", paint.style(BOLD, "plan"), paint.style(DIM, "→"), plan.target);
    out += &texts(paint, &names, &rows, &[]);
    out += &format!("\n{}\n", plan_counts(plan));
    out += &leftovers_text(&plan.leftovers, at, paint);
    out
}

/// Lets go of where steps are declared, and then of the ends of reasons, where a terminal is too narrow.
fn fit_plan(names: &mut Vec<&str>, rows: &mut [Vec<String>], columns: usize) {
    let widest = |rows: &[Vec<String>], i: usize| rows.iter().map(|r| width(&r[i])).max().unwrap_or(0);
    let all: usize = (0..names.len()).map(|i| widest(rows, i).max(width(names[i])) + 2).sum();
    if all <= columns + 2 {
        return;
    }
    names.pop();
    let before: usize = (0..3).map(|i| widest(rows, i).max(width(names[i])) + 2).sum();
    let room = columns.saturating_sub(before);
    if room < MIN_REASON {
        names.pop();
    }
    for row in rows {
        row.truncate(names.len());
        row.iter_mut().skip(3).for_each(|why| *why = fit(why, room));
    }
}

/// Columns below which a reason says nothing.
const MIN_REASON: usize = 8;

/// `13 to run, 9 perhaps`
fn plan_counts(plan: &Plan) -> String {
    let of = |actions: &[Action]| plan.steps.iter().filter(|s| actions.contains(&s.action)).count();
    let counts = [
        (of(&[Action::Run]), "to run"),
        (of(&[Action::Perhaps]), "perhaps"),
        (of(&[Action::Reuse, Action::UpToDate]), "up to date"),
    ];
    let counts = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", human::count(*n as u64)));
    counts.collect::<Vec<_>>().join(", ")
}

pub fn compile(cx: Context<'_>, arguments: &args::Compile) -> Result<Exit, Failure> {
    cx.with_app(&cx.options_with(&arguments.vars), async |app| {
        let models = app.compile(&arguments.select, arguments.at.as_deref(), arguments.full_refresh).await?;
        if arguments.format == Format::Json {
            print_json(&models)?;
            return Ok(Exit::Ok);
        }
        let paint = cx.terminal.paint();
        for (i, model) in models.iter().enumerate() {
            let gap = if i > 0 { "\n" } else { "" };
            let head = format!("-- {} ({}), {}", model.table, model.kind, model.file);
            terminal::line(&format!("{gap}{}\n{};", paint.style(DIM, &head), model.sql.trim().trim_end_matches(';')));
        }
        Ok(Exit::Ok)
    })
}

/// The ending of the schemas' file names.
const SCHEMA: &str = ".schema.json";

pub fn schema(arguments: &args::Schema) -> Result<Exit, Failure> {
    let schemas = polder_app::schemas();
    let pretty = |value: &serde_json::Value| {
        serde_json::to_string_pretty(value).map_err(|e| Failure::defect(format!("a schema has no JSON form: {e}")))
    };
    if let Some(folder) = &arguments.out {
        let failed = |e: std::io::Error| Failure::environment(format!("cannot write {}: {e}", folder.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        for (name, value) in &schemas {
            std::fs::write(folder.join(name), pretty(value)? + "\n").map_err(failed)?;
        }
        return Ok(Exit::Ok);
    }
    let names: Vec<&str> = schemas.iter().map(|(n, _)| n.trim_end_matches(SCHEMA)).collect();
    let Some(kind) = &arguments.kind else {
        names.iter().for_each(|n| terminal::line(n));
        return Ok(Exit::Ok);
    };
    match schemas.iter().find(|(n, _)| n.trim_end_matches(SCHEMA) == kind) {
        Some((_, value)) => terminal::line(&pretty(value)?),
        None => {
            let failure = Failure::usage(format!("there is no schema `{kind}`"));
            let hint = match polder_base::nearest(kind, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("one of {}", names.join(", ")),
            };
            return Err(failure.hint(hint));
        }
    }
    Ok(Exit::Ok)
}
