//! `polder sql`: one statement, a file of them, or the prompt.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use polder_app::{App, SqlOptions, SqlSession, TableRow};
use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;
use tokio::sync::Notify;

use super::context::{Context, end, now, on_signals, runtime};
use super::show;
use crate::args::{RowFormat, Sql};
use crate::failure::{Exit, Failure, told};
use crate::human;
use crate::prompt::{Input, Prompt};
use crate::rows::{Grid, GridOptions, RowSink, format_of, texts};
use crate::terminal::{self, DIM, Terminal};
use polder_base::statements;

pub fn sql(cx: Context<'_>, arguments: &Sql) -> Result<Exit, Failure> {
    let runtime = runtime()?;
    let interactive = arguments.statement.is_none() && arguments.file.is_none() && std::io::stdin().is_terminal();
    let script = if interactive { None } else { Some(Script::read(arguments)?) };
    let app = runtime.block_on(cx.open(&cx.options()))?;
    let options = session_options(arguments);
    let session = runtime.block_on(app.session(&options))?;
    let warnings = runtime.block_on(app.session_warnings(&session));
    if !warnings.diagnostics.is_empty() {
        terminal::note(&told(&warnings, cx.terminal.paint_err()));
    }
    let mut asker = Asker::new(cx.terminal, session, arguments)?;
    let result = match script {
        Some(script) => asker.all(&script),
        None => Conversation { asker: &mut asker, runtime: &runtime, app, options }.talk(),
    };
    end(asker.runtime);
    end(runtime);
    result.map(|()| Exit::Ok)
}

fn session_options(arguments: &Sql) -> SqlOptions {
    // Files know no policies, and those of the warehouse hold what policies hide: somebody else reads none.
    let allow_files = arguments.principal.is_none();
    let mut options = SqlOptions { at: arguments.at.clone(), allow_files, ..SqlOptions::default() };
    options.principal.clone_from(&arguments.principal);
    // `--as role:analysts`: somebody who has that role.
    options.roles = arguments.principal.iter().filter_map(|p| p.strip_prefix("role:")).map(str::to_owned).collect();
    options
}

/// Statements that are not typed at a prompt.
struct Script {
    /// What mistakes in it are placed in.
    name: String,
    text: String,
}

impl Script {
    fn read(arguments: &Sql) -> Result<Self, Failure> {
        if let Some(statement) = arguments.statement.as_deref().filter(|s| *s != "-") {
            return Ok(Self { name: "sql".to_owned(), text: statement.to_owned() });
        }
        if let Some(file) = arguments.file.as_deref().filter(|f| *f != Path::new("-")) {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|e| Failure::environment(format!("cannot read {name}: {e}")))?;
            return Ok(Self { name, text });
        }
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|e| Failure::environment(format!("cannot read standard input: {e}")))?;
        Ok(Self { name: "stdin".to_owned(), text })
    }

    fn statements(&self) -> Vec<&str> {
        let split = statements::split(&self.text);
        let mut statements = split.statements;
        if !statements::is_blank(split.rest) {
            statements.push(split.rest.trim());
        }
        statements
    }

    /// A mistake in one of the statements, at its place in the whole.
    fn place(&self, statement: &str, failure: Failure) -> Failure {
        let offset = statement.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        failure.in_text(&self.name, &self.text, offset)
    }
}

/// Asks statements and shows what comes back.
struct Asker {
    /// Of the statements alone: one that was cancelled and goes on all the same takes its threads with it.
    runtime: Runtime,
    /// Ctrl-C.
    interrupted: Arc<Notify>,
    terminal: Terminal,
    session: SqlSession,
    format: RowFormat,
    output: Option<PathBuf>,
    max_rows: usize,
    timing: bool,
}

impl Asker {
    fn new(terminal: Terminal, session: SqlSession, arguments: &Sql) -> Result<Self, Failure> {
        let from_ending = arguments.output.as_deref().and_then(format_of);
        let format = match (arguments.format, &arguments.output) {
            (Some(format), _) => format,
            (None, None) => RowFormat::Table,
            (None, Some(path)) => from_ending.ok_or_else(|| {
                let message = format!("the ending of {} tells no format", path.display());
                Failure::usage(message).hint("end it with .csv, .json, .jsonl, .parquet or .txt, or give `--format`")
            })?,
        };
        let interrupted = Arc::new(Notify::new());
        let heard = Arc::clone(&interrupted);
        on_signals(&[SignalKind::interrupt()], move || heard.notify_waiters())?;
        Ok(Self {
            runtime: runtime()?,
            interrupted,
            terminal,
            session,
            format,
            output: arguments.output.clone(),
            max_rows: arguments.max_rows,
            timing: arguments.timing,
        })
    }

    /// Statements one after another; the first mistake ends it.
    fn all(&mut self, script: &Script) -> Result<(), Failure> {
        let statements = script.statements();
        if statements.is_empty() {
            return Err(Failure::usage("there is no statement"));
        }
        if statements.len() > 1 && self.output.is_some() {
            return Err(Failure::usage("`--output` takes the rows of one statement"));
        }
        statements.into_iter().try_for_each(|statement| self.ask(statement).map_err(|f| script.place(statement, f)))
    }

    /// One statement; Ctrl-C cancels it.
    fn ask(&mut self, statement: &str) -> Result<(), Failure> {
        let since = Instant::now();
        let ended = self.runtime.block_on(async {
            tokio::select! {
                result = self.show(statement) => Some(result),
                () = self.interrupted.notified() => None,
            }
        });
        match ended {
            Some(result) => result?,
            None => {
                std::mem::replace(&mut self.runtime, runtime()?).shutdown_background();
                return Err(Failure::cancelled());
            }
        }
        if self.timing {
            let ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            terminal::note(&self.terminal.paint_err().style(DIM, &format!("{ms} ms")));
        }
        Ok(())
    }

    async fn show(&self, statement: &str) -> Result<(), Failure> {
        let mut rows = self.session.query(statement).await?;
        let failed = |error| Failure::from(self.session.stream_error(error, statement));
        if self.format != RowFormat::Table {
            let mut sink = RowSink::open(self.format, self.output.as_deref(), rows.schema)?;
            while let Some(batch) = rows.stream.next().await {
                sink.push(&batch.map_err(failed)?)?;
            }
            let count = sink.finish()?;
            if let Some(path) = &self.output {
                terminal::note(&format!("{} written to {}", human::counted(count, "row"), path.display()));
            }
            return Ok(());
        }
        let screen = self.output.is_none() && self.terminal.out_is_terminal;
        let mut grid = Grid::new(
            rows.schema,
            GridOptions {
                paint: self.terminal.paint(),
                width: screen.then_some(self.terminal.width),
                max_rows: if self.output.is_some() { 0 } else { self.max_rows },
            },
        );
        while let Some(batch) = rows.stream.next().await {
            grid.push(&batch.map_err(failed)?).map_err(|e| Failure::defect(format!("a row cannot be shown: {e}")))?;
        }
        let text = grid.render();
        match &self.output {
            None => terminal::print(&text),
            Some(path) => std::fs::write(path, text)
                .map_err(|e| Failure::environment(format!("cannot write {}: {e}", path.display())))?,
        }
        Ok(())
    }
}

const HELP: &str = "  \\d            tables and views
  \\d TABLE      one table: columns, size, history
  \\ref [REF]    read another ref, or tell which
  \\timing       tell how long statements take, or stop it
  \\format NAME  table, csv, json or jsonl
  \\q            leave (also Ctrl-D)
A statement ends with `;`. Ctrl-C cancels it.";

/// The prompt.
struct Conversation<'a> {
    asker: &'a mut Asker,
    runtime: &'a Runtime,
    app: App,
    options: SqlOptions,
}

impl Conversation<'_> {
    fn talk(mut self) -> Result<(), Failure> {
        let words = self.tables()?.into_iter().map(|table| table.name.to_string()).collect();
        let mut prompt = Prompt::new(self.app.home().history(), words)?;
        terminal::note(&self.asker.terminal.paint_err().style(DIM, "\\? for help"));
        loop {
            let result = match prompt.read(&self.at()?)? {
                Input::End => return Ok(()),
                left if left.leaves() => return Ok(()),
                Input::Nothing => Ok(()),
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
        Ok(())
    }

    fn at(&self) -> Result<String, Failure> {
        Ok(self.options.at.clone().map_or_else(|| self.app.current_ref(), Ok)?)
    }

    fn command(&mut self, name: &str, rest: &str) -> Result<(), Failure> {
        match (name, rest) {
            ("?" | "h" | "help", _) => terminal::line(HELP),
            ("timing", _) => {
                self.asker.timing = !self.asker.timing;
                terminal::line(if self.asker.timing { "timing is on" } else { "timing is off" });
            }
            ("d" | "dt" | "l", "") => self.list()?,
            ("d", table) => {
                let name = show::table_name(table)?;
                let shown = self.runtime.block_on(self.app.show(&name, self.options.at.as_deref()))?;
                terminal::print(&show::text(&shown, self.asker.terminal.paint(), now(&self.app)));
            }
            ("ref", "") => terminal::line(&self.at()?),
            ("ref", at) => {
                let before = self.options.at.replace(at.to_owned());
                if let Err(failure) = self.reopen() {
                    self.options.at = before;
                    return Err(failure);
                }
            }
            ("format", name) => {
                self.asker.format = match name {
                    "table" => RowFormat::Table,
                    "csv" => RowFormat::Csv,
                    "json" => RowFormat::Json,
                    "jsonl" => RowFormat::Jsonl,
                    _ => return Err(Failure::usage("\\format takes table, csv, json or jsonl")),
                };
            }
            _ => return Err(Failure::usage(format!("there is no command \\{name}")).hint("\\? lists them")),
        }
        Ok(())
    }

    fn tables(&self) -> Result<Vec<TableRow>, Failure> {
        Ok(self.runtime.block_on(self.app.tables(self.options.at.as_deref()))?)
    }

    fn list(&self) -> Result<(), Failure> {
        let tables = self.tables()?;
        let rows: Vec<Vec<String>> = tables
            .iter()
            .map(|t| {
                let rows = t.rows.map(human::count).unwrap_or_default();
                let bytes = t.bytes.map(human::bytes).unwrap_or_default();
                vec![t.name.to_string(), t.kind.to_owned(), rows, bytes]
            })
            .collect();
        let names = ["table", "kind", "rows", "bytes"];
        terminal::print(&texts(self.asker.terminal.paint(), &names, &rows, &[2, 3]));
        Ok(())
    }
}
