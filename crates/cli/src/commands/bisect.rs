//! `polder bisect`.

use polder_app::{App, BisectOutcome, BisectRequest, Bisected, Culprit};
use polder_base::Timestamp;

use super::context::{Context, now};
use super::history::{difference_text, short};
use super::print_json;
use crate::args::{Bisect, Format};
use crate::failure::{Exit, Failure};
use crate::human;
use crate::terminal::{self, BAD, BOLD, GOOD, NAME, Paint, WARN};

pub fn bisect(cx: Context<'_>, arguments: &Bisect) -> Result<Exit, Failure> {
    cx.with_app(&cx.options(), async |app: App| {
        let request = BisectRequest {
            statement: arguments.statement.clone(),
            good: arguments.good.clone(),
            bad: arguments.bad.clone(),
        };
        let found = app.bisect(&request).await?;
        match arguments.format {
            Format::Json => print_json(&found)?,
            Format::Text => terminal::print(&text(&found, cx.terminal.paint(), now(&app))),
        }
        let is_found = matches!(found.outcome, BisectOutcome::Found { .. } | BisectOutcome::OneOf { .. });
        Ok(if is_found { Exit::Ok } else { Exit::Failed })
    })
}

fn text(found: &Bisected, paint: Paint, now: Timestamp) -> String {
    let bad = paint.style(NAME, &found.bad);
    let mut out = match &found.outcome {
        BisectOutcome::Found { culprit } => culprit_text(culprit, paint, now),
        BisectOutcome::OneOf { commits } => {
            let names: Vec<&str> = commits.iter().map(|id| short(&id.0)).collect();
            let word = paint.style(WARN, "one of these:");
            format!("{word} {}\n  at those between it cannot be told whether the statement holds\n", names.join(", "))
        }
        BisectOutcome::Holds => format!("{} the statement holds at {bad}\n", paint.style(GOOD, "nothing to find:")),
        BisectOutcome::NeverHeld { since } => {
            let word = paint.style(BAD, "it never held:");
            format!("{word} not even at {}, the oldest commit at which it can be told\n", short(&since.0))
        }
    };
    let (queries, commits) = (found.queries as u64, found.commits as u64);
    out += &format!(
        "{} over {} of {bad}",
        if queries == 1 { "1 query".to_owned() } else { format!("{} queries", human::count(queries)) },
        human::counted(commits, "commit")
    );
    if found.cut {
        out += "; its history was cut: what was before is not kept";
    }
    out.push('\n');
    out
}

fn culprit_text(culprit: &Culprit, paint: Paint, now: Timestamp) -> String {
    let run = culprit.run.map(|run| format!("  run {run}")).unwrap_or_default();
    let mut out = format!(
        "{} {}  {}{run}  {}  {}\n",
        paint.style(BAD, "since"),
        paint.style(NAME, short(&culprit.commit.0)),
        human::moment(culprit.at, now),
        culprit.author,
        paint.style(BOLD, &culprit.message),
    );
    for (table, file) in &culprit.models {
        out += &format!("  model     {table} is written in another way ({file})\n");
    }
    for file in &culprit.files {
        out += &format!("  file      {file} is another\n");
    }
    for source in &culprit.sources {
        out += &format!("  source    {source} brought rows\n");
    }
    culprit.tables.iter().for_each(|table| out += &difference_text(table, paint));
    if culprit.models.is_empty() && culprit.files.is_empty() && culprit.sources.is_empty() && culprit.tables.is_empty()
    {
        out += "  nothing that the statement is made from changed in it\n";
    }
    let (parent, commit) = (short(&culprit.parent.0), short(&culprit.commit.0));
    out += &format!("  look      {}\n", paint.style(BOLD, &format!("polder diff {parent}..{commit} --rows")));
    out
}
