//! `polder add` and `polder lock`.

use std::io::{BufRead, IsTerminal, Write};

use polder_app::{Added, Addition, AppError, Looked, Surveyed};

use super::context::{Context, end, runtime};
use crate::args::{Add, Lock};
use crate::failure::{self, Exit, Failure};
use crate::human;
use crate::rows::texts;
use crate::terminal::{self, BAD, BOLD, GOOD, Paint};

pub fn add(cx: Context<'_>, arguments: &Add) -> Result<Exit, Failure> {
    let addition = Addition {
        project: cx.project(),
        environment: cx.global.env.clone(),
        name: arguments.name.clone(),
        address: arguments.address.clone(),
    };
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let tables = match addition.is_database() {
            true => choose(addition.survey().await?, arguments, cx)?,
            false => Vec::new(),
        };
        Ok::<_, Failure>(addition.add(&tables).await?)
    });
    end(runtime);
    terminal::print(&added_text(&result?, cx.terminal.paint()));
    Ok(Exit::Ok)
}

/// The tables that are wanted: named, all, or what a person answers.
fn choose(found: Vec<Surveyed>, arguments: &Add, cx: Context<'_>) -> Result<Vec<Surveyed>, Failure> {
    let is_asked = cx.terminal.out_is_terminal && std::io::stdin().is_terminal();
    if !arguments.tables.is_empty() {
        return named(found, &arguments.tables);
    }
    if arguments.all || arguments.yes || !is_asked {
        return Ok(found);
    }
    terminal::print(&listed(&found, cx.terminal.paint()));
    terminal::print(&format!("\nwhich tables? (names with a comma between them, or nothing for all {}) ", found.len()));
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|e| Failure::environment(format!("reading an answer: {e}")))?;
    let names: Vec<String> =
        answer.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    if names.is_empty() { Ok(found) } else { named(found, &names) }
}

fn named(found: Vec<Surveyed>, names: &[String]) -> Result<Vec<Surveyed>, Failure> {
    for name in names {
        if !found.iter().any(|table| table.name == *name) {
            let failure = Failure::refused(format!("the database has no table `{name}`"));
            let known = found.iter().map(|table| table.name.as_str());
            return Err(match polder_base::nearest(name, known.clone()) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure.hint(format!("there are: {}", known.take(10).collect::<Vec<_>>().join(", "))),
            });
        }
    }
    Ok(found.into_iter().filter(|table| names.contains(&table.name)).collect())
}

fn listed(found: &[Surveyed], paint: Paint) -> String {
    let row = |table: &Surveyed| {
        let cursor = table.cursor.as_ref().map(|cursor| match cursor.indexed {
            true => cursor.column.clone(),
            false => format!("{} (no index)", cursor.column),
        });
        vec![
            table.name.clone(),
            table.rows.map(human::count).unwrap_or_default(),
            table.key.join(", "),
            cursor.unwrap_or_else(|| "– (in full)".to_owned()),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    texts(paint, &["table", "rows, about", "key", "cursor"], &rows, &[1])
}

fn added_text(added: &Added, paint: Paint) -> String {
    let mut out = format!("{} {}\n\n{}\n", paint.style(GOOD, "wrote"), added.file, added.text);
    if let Some(variable) = &added.variable {
        out += &format!("the address is {variable} in .env, which is not for git");
        out += if added.ignored { ": .gitignore says so now\n" } else { "\n" };
    }
    let tables: Vec<String> = added.tables.iter().map(ToString::to_string).collect();
    out += &format!("polder.lock has the columns of {}\n", tables.join(", "));
    let select = tables.iter().map(|table| format!(" {table}")).collect::<String>();
    let run = if tables.len() > 3 { "polder run".to_owned() } else { format!("polder run{select}") };
    out + &format!("next: {}\n", paint.style(BOLD, &run))
}

pub fn lock(cx: Context<'_>, arguments: &Lock) -> Result<Exit, Failure> {
    let runtime = runtime()?;
    let project = cx.project();
    let looked = runtime.block_on(polder_app::look(&project, cx.global.env.as_deref(), &arguments.sources));
    end(runtime);
    let looked = looked?;
    terminal::print(&drift_text(&looked, cx.terminal.paint()));
    for (table, error) in &looked.failed {
        let paint = cx.terminal.paint_err();
        terminal::note(&format!("{} {table}: {error}", paint.style(BAD, "not asked:")));
        if let Some(problems) = error.problems() {
            terminal::note(&failure::told(&problems, paint));
        }
    }
    if arguments.update && !looked.drift.is_empty() {
        polder_app::write_lock(&project, &looked.lock)?;
        terminal::line("wrote polder.lock");
    }
    let worst = looked.failed.iter().map(|(_, error)| AppError::exit_code(error)).max();
    Ok(match worst {
        Some(code) => Exit::of(code),
        None if arguments.check && !looked.drift.is_empty() => Exit::Failed,
        None => Exit::Ok,
    })
}

fn drift_text(looked: &Looked, paint: Paint) -> String {
    if looked.drift.is_empty() {
        let tables = human::counted(looked.lock.tables.len() as u64, "table");
        return format!("polder.lock is as the sources are: {tables}\n");
    }
    let mut out = String::new();
    for drift in &looked.drift {
        out += &format!("{}\n", paint.style(BOLD, &drift.table.to_string()));
        drift.gone.iter().for_each(|line| out += &format!("{}\n", paint.style(BAD, &format!("- {line}"))));
        drift.new.iter().for_each(|line| out += &format!("{}\n", paint.style(GOOD, &format!("+ {line}"))));
    }
    out
}
