//! The prompt of `polder sql`: what a person typed, and what comes of it.

use std::sync::Arc;

use polder_app::{App, Function, SqlOptions, TableRow};
use polder_base::TableName;
use tokio::runtime::Runtime;

use super::context::now;
use super::history::short;
use super::show;
use super::sql::Asker;
use crate::args::RowFormat;
use crate::failure::Failure;
use crate::human;
use crate::prompt::{Input, Prompt, Vocabulary};
use crate::rows::texts;
use crate::terminal::{self, DIM};
use crate::text::fit;

const HELP: &str = "  \\d                     tables and views; \\dt tables, \\dv views
  \\dt PATTERN            those that match: gold.*, daily*
  \\d TABLE               one table: columns, size, history
  \\df [PATTERN]          functions
  \\l                     refs
  \\ref [REF]             read another ref, or tell which
  \\refresh               read the names anew that Tab completes
  \\x [on|off]            a line for each column
  \\timing [on|off]       tell how long statements take
  \\pset pager [on|off]   long answers in $PAGER, or in less
  \\format NAME           table, csv, json or jsonl
  \\q                     leave (also Ctrl-D)
A statement ends with `;`. Ctrl-C cancels it. Tab completes names.";

/// Columns of what a function gives.
const ABOUT: usize = 60;

/// What is asked of a list of relations.
#[derive(Debug, Clone, Copy)]
enum Listed {
    All,
    Tables,
    Views,
}

/// The prompt.
pub struct Conversation<'a> {
    asker: &'a mut Asker,
    runtime: &'a Runtime,
    app: App,
    options: SqlOptions,
    vocabulary: Arc<Vocabulary>,
    /// The commit whose names were read last.
    named: Option<String>,
}

impl<'a> Conversation<'a> {
    pub fn new(asker: &'a mut Asker, runtime: &'a Runtime, app: App, options: SqlOptions) -> Self {
        Self { asker, runtime, app, options, vocabulary: Arc::default(), named: None }
    }

    pub fn talk(mut self) -> Result<(), Failure> {
        self.read_names();
        let mut prompt = Prompt::new(self.app.home().history(), Arc::clone(&self.vocabulary))?;
        terminal::note(&self.asker.terminal.paint_err().style(DIM, "\\? for help"));
        loop {
            let result = match prompt.read(&self.at()?)? {
                Input::End => return Ok(()),
                left if left.leaves() => return Ok(()),
                Input::Nothing => Ok(()),
                Input::Interrupted => {
                    terminal::note(&self.asker.terminal.paint_err().style(DIM, "Ctrl-D or \\q leaves"));
                    Ok(())
                }
                Input::Statements(statements) => self.statements(&statements),
                Input::Command(name, rest) => self.command(&name, &rest),
            };
            // A mistake is told, and the conversation goes on.
            if let Err(failure) = result {
                crate::tell(self.asker.terminal, &failure);
            }
        }
    }

    /// Each input sees what the ref shows then, not what it showed when the prompt began.
    fn statements(&mut self, statements: &[String]) -> Result<(), Failure> {
        self.reopen()?;
        statements.iter().try_for_each(|s| self.asker.ask(s))
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        self.asker.session = self.runtime.block_on(self.app.session(&self.options))?;
        if self.named.as_ref() != Some(&self.asker.session.inner().at().0) {
            self.read_names();
        }
        Ok(())
    }

    /// Reads the names of the session's commit, while the person types.
    fn read_names(&mut self) {
        let (session, vocabulary) = (self.asker.session.clone(), Arc::clone(&self.vocabulary));
        self.named = Some(session.inner().at().0.clone());
        let reading = vocabulary.begin();
        self.runtime.spawn(async move {
            // Whoever gets no names here is told why by the first statement.
            vocabulary.end(reading, session.names().await.ok());
        });
    }

    fn at(&self) -> Result<String, Failure> {
        Ok(self.options.at.clone().map_or_else(|| self.app.current_ref(), Ok)?)
    }

    fn command(&mut self, name: &str, rest: &str) -> Result<(), Failure> {
        match (name, rest) {
            ("?" | "h" | "help", _) => self.asker.page(&format!("{HELP}\n")),
            ("d", "") => self.list(Listed::All, "")?,
            ("d", pattern) if pattern.contains('*') => self.list(Listed::All, pattern)?,
            ("d", table) => self.describe(table)?,
            ("dt", pattern) => self.list(Listed::Tables, pattern)?,
            ("dv", pattern) => self.list(Listed::Views, pattern)?,
            ("df", pattern) => self.functions(pattern)?,
            ("l", "") => self.refs()?,
            ("ref", "") => terminal::line(&self.at()?),
            ("ref", at) => {
                let before = self.options.at.replace(at.to_owned());
                if let Err(failure) = self.reopen() {
                    self.options.at = before;
                    return Err(failure);
                }
            }
            ("refresh", "") => {
                self.named = None;
                self.reopen()?;
            }
            ("format", format) => self.asker.format = row_format(format)?,
            ("pset", rest) => match rest.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["pager"] => self.switch("pager", "")?,
                ["pager", to] => self.switch("pager", to)?,
                _ => return Err(Failure::usage("\\pset takes `pager on` or `pager off`")),
            },
            ("timing" | "x", to) => self.switch(name, to)?,
            _ => return Err(Failure::usage(format!("there is no command \\{name}")).hint("\\? lists them")),
        }
        Ok(())
    }

    /// Turns something on or off, or over where `to` says neither.
    fn switch(&mut self, name: &str, to: &str) -> Result<(), Failure> {
        let (what, value) = match name {
            "timing" => ("timing", &mut self.asker.timing),
            "x" => ("a line for each column", &mut self.asker.records),
            _ => ("the pager", &mut self.asker.pages),
        };
        *value = match to {
            "" => !*value,
            "on" => true,
            "off" => false,
            other => return Err(Failure::usage(format!("`{other}` is neither `on` nor `off`"))),
        };
        terminal::line(&format!("{what} is {}", if *value { "on" } else { "off" }));
        Ok(())
    }

    /// The person at the command line is shown what the files show; somebody else, what policies leave.
    fn tables(&self) -> Result<Vec<TableRow>, Failure> {
        let at = self.options.at.as_deref();
        Ok(match self.options.principal {
            None => self.runtime.block_on(self.app.tables(at))?,
            Some(_) => self.runtime.block_on(self.asker.session.tables())?,
        })
    }

    fn list(&mut self, listed: Listed, pattern: &str) -> Result<(), Failure> {
        self.reopen()?;
        let tables = self.tables()?;
        let rows: Vec<Vec<String>> = tables
            .iter()
            .filter(|t| match listed {
                Listed::All => true,
                Listed::Tables => t.kind == "table",
                Listed::Views => t.kind == "view",
            })
            .filter(|t| names_match(pattern, &t.name))
            .map(|t| {
                let rows = t.rows.map(human::count).unwrap_or_default();
                let bytes = t.bytes.map(human::bytes).unwrap_or_default();
                vec![t.name.to_string(), t.kind.to_owned(), rows, bytes]
            })
            .collect();
        self.rows(&["table", "kind", "rows", "bytes"], &rows, &[2, 3]);
        Ok(())
    }

    /// One table. What policies leave of it, and what the platform makes of its own records, is described by SQL.
    fn describe(&mut self, table: &str) -> Result<(), Failure> {
        self.reopen()?;
        let name = self.meant(table)?;
        let of_platform =
            name.as_ref().is_some_and(|n| matches!(n.namespace.as_str(), "system" | "information_schema"));
        match name {
            Some(name) if self.options.principal.is_none() && !of_platform => {
                let shown = self.runtime.block_on(self.app.show(&name, self.options.at.as_deref()))?;
                self.asker.page(&show::text(&shown, self.asker.terminal.paint(), now(&self.app)));
                Ok(())
            }
            Some(name) => self.asker.ask(&format!("describe {}", name.sql())),
            // Says that there is none, and what was perhaps meant.
            None => self.asker.ask(&format!("describe {table}")),
        }
    }

    /// The table that a name means; one without a schema is looked for as in a statement.
    fn meant(&self, table: &str) -> Result<Option<TableName>, Failure> {
        let plain = table.replace('"', "");
        if plain.contains('.') {
            return show::table_name(&plain).map(Some);
        }
        let tables = self.tables()?;
        let search = self.asker.session.search();
        let has = |name: &TableName| tables.iter().any(|t| t.name == *name);
        Ok(search.iter().map(|namespace| TableName::new(namespace, &plain)).find(has))
    }

    fn functions(&self, pattern: &str) -> Result<(), Failure> {
        let functions = self.asker.session.functions()?;
        let row = |f: &Function| {
            let usage = f.usage.clone().unwrap_or_else(|| format!("{}()", f.name));
            vec![f.name.clone(), f.kind.to_owned(), usage, fit(f.about.as_deref().unwrap_or_default(), ABOUT)]
        };
        let rows: Vec<Vec<String>> = functions.iter().filter(|f| matches(pattern, &f.name)).map(row).collect();
        self.rows(&["function", "kind", "written", "gives"], &rows, &[]);
        Ok(())
    }

    /// To somebody else than the person at the command line, those that policies leave.
    fn refs(&mut self) -> Result<(), Failure> {
        self.reopen()?;
        let (mut refs, now, at) = (self.runtime.block_on(self.app.refs())?, now(&self.app), self.at()?);
        if self.options.principal.is_some() {
            let known = self.runtime.block_on(self.asker.session.refs())?;
            refs.retain(|r| known.contains(&r.name));
        }
        let moment = |at: Option<polder_base::Timestamp>| at.map(|at| human::moment(at, now)).unwrap_or_default();
        let rows: Vec<Vec<String>> = refs
            .iter()
            .map(|r| {
                let mark = if r.name == at { "*" } else { "" };
                let commit = short(&r.commit.0).to_owned();
                vec![mark.to_owned(), r.name.clone(), r.kind.to_owned(), commit, moment(r.at), moment(r.expires)]
            })
            .collect();
        self.rows(&["", "ref", "kind", "commit", "made", "until"], &rows, &[]);
        Ok(())
    }

    fn rows(&self, names: &[&str], rows: &[Vec<String>], right: &[usize]) {
        let counted =
            self.asker.terminal.paint().style(DIM, &format!("({})", human::counted(rows.len() as u64, "row")));
        let text = texts(self.asker.terminal.paint(), names, rows, right);
        self.asker.page(&format!("{text}{counted}\n"));
    }
}

fn row_format(name: &str) -> Result<RowFormat, Failure> {
    match name {
        "table" => Ok(RowFormat::Table),
        "csv" => Ok(RowFormat::Csv),
        "json" => Ok(RowFormat::Json),
        "jsonl" => Ok(RowFormat::Jsonl),
        _ => Err(Failure::usage("\\format takes table, csv, json or jsonl")),
    }
}

/// Whether a table is among those that a pattern means: by both parts of its name, or by the last alone.
fn names_match(pattern: &str, name: &TableName) -> bool {
    matches(pattern, &name.to_string()) || !pattern.contains('.') && matches(pattern, &name.name)
}

/// Whether a name is as a pattern says, in which `*` stands for anything. An empty pattern takes all.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), name.to_lowercase());
    let Some((first, rest)) = pattern.split_once('*') else { return pattern.is_empty() || pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_psql() {
        let daily = TableName::new("gold", "daily_orders");
        for pattern in ["", "gold.*", "daily*", "*orders", "gold.d*o*s", "DAILY_ORDERS", "gold.daily_orders", "*"] {
            assert!(names_match(pattern, &daily), "{pattern}");
        }
        for pattern in ["silver.*", "daily", "orders*", "gold.*x", "*daily", "gold"] {
            assert!(!names_match(pattern, &daily), "{pattern}");
        }
    }
}
