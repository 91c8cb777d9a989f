//! `polder sql`: one statement, a file of them, or the prompt.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use polder_app::{SqlOptions, SqlSession};
use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;
use tokio::sync::Notify;

use super::context::{Context, end, on_signals, runtime};
use super::conversation::Conversation;
use crate::args::{RowFormat, Sql};
use crate::failure::{Exit, Failure, told};
use crate::human;
use crate::pager::Pager;
use crate::rows::{Grid, GridOptions, RowSink, format_of};
use crate::terminal::{self, DIM, MIN_COLUMNS, Terminal};
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
        None => {
            asker.pager = Pager::find();
            Conversation::new(&mut asker, &runtime, app, options).talk()
        }
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
pub(super) struct Asker {
    /// Of the statements alone: one that was cancelled and goes on all the same takes its threads with it.
    runtime: Runtime,
    /// Ctrl-C.
    interrupted: Arc<Notify>,
    pub(super) terminal: Terminal,
    pub(super) session: SqlSession,
    pub(super) format: RowFormat,
    output: Option<PathBuf>,
    max_rows: usize,
    pub(super) timing: bool,
    /// A line for each column, and not one for each row.
    pub(super) records: bool,
    /// What shows answers that are longer than the screen. At the prompt only.
    pager: Option<Pager>,
    /// Whether it is used.
    pub(super) pages: bool,
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
            records: false,
            pager: None,
            pages: true,
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
    pub(super) fn ask(&mut self, statement: &str) -> Result<(), Failure> {
        let since = Instant::now();
        let ended = self.runtime.block_on(async {
            tokio::select! {
                result = self.rows_of(statement) => Some(result),
                () = self.interrupted.notified() => None,
            }
        });
        let Some(result) = ended else {
            std::mem::replace(&mut self.runtime, runtime()?).shutdown_background();
            return Err(Failure::cancelled());
        };
        let took = since.elapsed();
        if let Some(grid) = result? {
            self.present(grid)?;
        }
        if self.timing {
            let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            terminal::note(&self.terminal.paint_err().style(DIM, &format!("{ms} ms")));
        }
        Ok(())
    }

    /// The rows of a statement, those that are not written as they come.
    ///
    /// The statement is planned and run on other threads, so that Ctrl-C is heard whatever it does there.
    async fn rows_of(&self, statement: &str) -> Result<Option<Grid>, Failure> {
        let session = self.session.clone().working_on(self.runtime.handle().clone());
        let mut rows = session.query(statement).await?;
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
            return Ok(None);
        }
        let screen = self.output.is_none() && self.terminal.out_is_terminal;
        let mut grid = Grid::new(
            rows.schema,
            GridOptions {
                paint: self.terminal.paint(),
                width: screen.then(|| self.columns()),
                max_rows: if self.output.is_some() { 0 } else { self.max_rows },
            },
        );
        while let Some(batch) = rows.stream.next().await {
            grid.push(&batch.map_err(failed)?).map_err(|e| Failure::defect(format!("a row cannot be shown: {e}")))?;
        }
        Ok(Some(grid))
    }

    /// Columns of the screen, which may have changed since the prompt began.
    fn columns(&self) -> usize {
        terminal::screen().map(|(columns, _)| columns).filter(|n| *n >= MIN_COLUMNS).unwrap_or(self.terminal.width)
    }

    fn present(&self, grid: Grid) -> Result<(), Failure> {
        let laid_out = |grid: &Grid| if self.records { grid.render_records() } else { grid.render() };
        let text = laid_out(&grid);
        if let Some(path) = &self.output {
            let written = std::fs::write(path, text);
            return written.map_err(|e| Failure::environment(format!("cannot write {}: {e}", path.display())));
        }
        match self.pager_for(&text) {
            Some(pager) if pager.scrolls() => pager.show(&laid_out(&grid.widened())),
            Some(pager) => pager.show(&text),
            None => terminal::print(&text),
        }
        Ok(())
    }

    /// Shows a text, in the pager where it is longer than the screen.
    pub(super) fn page(&self, text: &str) {
        match self.pager_for(text) {
            Some(pager) => pager.show(text),
            None => terminal::print(text),
        }
    }

    /// The pager, for what is too long for the screen.
    fn pager_for(&self, text: &str) -> Option<&Pager> {
        let (_, lines) = terminal::screen().filter(|_| self.terminal.out_is_terminal)?;
        // The next prompt stands below.
        self.pager.as_ref().filter(|_| self.pages && text.lines().count() >= lines)
    }
}
