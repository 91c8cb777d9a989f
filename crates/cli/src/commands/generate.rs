//! `polder generate`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use polder_generate::{
    Defects, FileOptions, GenerateError, NaiveDate, PostgresOptions, Progress, Shop, ShopOptions, Slice, Summary,
    Table, load_postgres, write_files,
};

use crate::args::GenerateShop;
use crate::failure::{Exit, Failure};
use crate::human;
use crate::rows::texts;
use crate::terminal::{self, DIM, Terminal, WARN};

impl From<GenerateError> for Failure {
    fn from(error: GenerateError) -> Self {
        match &error {
            GenerateError::Options(_) => Self::usage(error.to_string()),
            GenerateError::Write { .. } | GenerateError::Parquet(_) | GenerateError::Postgres(_) => {
                Self::environment(error.to_string())
            }
            GenerateError::Arrow(_) => Self::defect(error.to_string()),
        }
    }
}

/// A shop's data into a folder or a database. The work is synchronous but for the database's wire.
pub fn shop(terminal: Terminal, arguments: &GenerateShop) -> Result<Exit, Failure> {
    let since = Instant::now();
    let defects: Defects = arguments.defects.as_deref().map_or(Ok(Defects::none()), str::parse)?;
    let options = ShopOptions {
        orders: arguments.orders,
        seed: arguments.seed,
        until: date(&arguments.until)?,
        days: arguments.days,
    };
    let shop = Shop::new(&options)?;
    let slice = arguments.day.as_deref().map_or(Ok(Slice::History), |d| date(d).map(Slice::Day))?;
    let summary = if arguments.out.contains("://") {
        let postgres = postgres_options(arguments)?;
        into_postgres(terminal, shop, slice, &defects, &postgres)?
    } else {
        into_files(terminal, &shop, slice, &defects, &file_options(arguments)?)?
    };
    report(terminal, &summary, since.elapsed());
    Ok(Exit::Ok)
}

fn date(text: &str) -> Result<NaiveDate, Failure> {
    text.parse().map_err(|_| Failure::usage(format!("`{text}` is no date: write it as 2026-01-31")))
}

fn tables(arguments: &GenerateShop) -> Result<Vec<Table>, Failure> {
    if arguments.tables.is_empty() {
        return Ok(Table::ALL.to_vec());
    }
    Ok(arguments.tables.iter().map(|t| t.trim().parse()).collect::<Result<_, _>>()?)
}

fn file_options(arguments: &GenerateShop) -> Result<FileOptions, Failure> {
    if arguments.replace {
        return Err(Failure::usage("`--replace` is for databases; files are replaced by themselves"));
    }
    if arguments.compression.is_some() && arguments.format.as_deref() == Some("parquet") {
        return Err(Failure::usage("`--compression` is for CSV and JSON lines; Parquet compresses by itself"));
    }
    let defaults = FileOptions::new(&arguments.out);
    Ok(FileOptions {
        tables: tables(arguments)?,
        format: arguments.format.as_deref().map(str::parse).transpose()?,
        compression: arguments.compression.as_deref().map(str::parse).transpose()?,
        threads: arguments.threads.unwrap_or(defaults.threads),
        ..defaults
    })
}

fn postgres_options(arguments: &GenerateShop) -> Result<PostgresOptions, Failure> {
    if !arguments.out.starts_with("postgres://") && !arguments.out.starts_with("postgresql://") {
        return Err(Failure::usage("`--out` is a folder, or a database such as postgres://user@host/database"));
    }
    if arguments.format.is_some() || arguments.compression.is_some() {
        return Err(Failure::usage("`--format` and `--compression` are for files, not for a database"));
    }
    let defaults = PostgresOptions::new(&arguments.out);
    Ok(PostgresOptions {
        tables: tables(arguments)?,
        replace: arguments.replace,
        threads: arguments.threads.unwrap_or(defaults.threads),
        ..defaults
    })
}

fn into_files(
    terminal: Terminal,
    shop: &Shop,
    slice: Slice,
    defects: &Defects,
    options: &FileOptions,
) -> Result<Summary, Failure> {
    let spinner = Spinner::new(terminal);
    Ok(write_files(shop, slice, defects, options, &|p| spinner.show(p))?)
}

fn into_postgres(
    terminal: Terminal,
    shop: Shop,
    slice: Slice,
    defects: &Defects,
    options: &PostgresOptions,
) -> Result<Summary, Failure> {
    let spinner = Spinner::new(terminal);
    let show = |p| spinner.show(p);
    let shop = Arc::new(shop);
    super::runtime()?.block_on(async { Ok(load_postgres(&shop, slice, defects, options, &show).await?) })
}

/// One line that tells how far it is.
struct Spinner(ProgressBar);

impl Spinner {
    fn new(terminal: Terminal) -> Self {
        if !terminal.shows_bars() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(" {spinner:.cyan} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    fn show(&self, p: Progress) {
        let rows = human::counted(p.rows, "row");
        self.0.set_message(format!("{}  {rows}  {}", p.table, human::bytes(p.bytes)));
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn report(terminal: Terminal, summary: &Summary, elapsed: Duration) {
    let paint = terminal.paint();
    let rows: Vec<Vec<String>> = summary
        .tables
        .iter()
        .map(|t| vec![t.table.to_string(), human::count(t.rows), human::bytes(t.bytes), t.target.clone()])
        .collect();
    terminal::print(&texts(paint, &["table", "rows", "bytes", "written to"], &rows, &[1, 2]));
    for (defect, table, rows) in summary.defects.iter() {
        let line = format!("{defect} in {table}: {}", human::counted(rows, "row"));
        terminal::line(&paint.style(WARN, &line));
    }
    for note in &summary.notes {
        terminal::line(&paint.style(WARN, note));
    }
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let done = format!("{} in {}", human::counted(summary.rows(), "row"), human::elapsed(ms));
    terminal::line(&paint.style(DIM, &done));
}
