//! A project in a temporary folder, and eyes on its runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;
use polder_app::{App, AppError, OpenOptions, RunRequest, RunSummary, SqlOptions};
use polder_run::{Event, EventSink, RunStatus, StepStatus};
use tokio_util::sync::CancellationToken;

pub struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    /// A project with these files besides `polder.yaml`.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        project.write("polder.yaml", "name: test\nconcurrency: 2\nmemory_limit: 256MB\n");
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.file(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn remove(&self, path: &str) {
        std::fs::remove_file(self.file(path)).unwrap();
    }

    pub async fn open(&self) -> App {
        match self.try_open().await {
            Ok(app) => app,
            Err(error) => panic!("{}", told(&error)),
        }
    }

    pub async fn try_open(&self) -> Result<App, AppError> {
        let options = OpenOptions { principal: Some("ada".to_owned()), ..OpenOptions::new(self.path()) };
        App::open(&options).await
    }

    /// Opens the project as it is now and runs all of it.
    pub async fn run(&self) -> RunSummary {
        self.run_with(&RunRequest::default()).await
    }

    pub async fn run_with(&self, request: &RunRequest) -> RunSummary {
        match run(&self.open().await, request).await {
            Ok(summary) => summary,
            Err(error) => panic!("{}", told(&error)),
        }
    }

    /// As [`Project::run`], for runs that are to be published.
    pub async fn publish(&self) -> RunSummary {
        let summary = self.run().await;
        assert_eq!(summary.record.status, RunStatus::Published, "{summary:#?}");
        summary
    }
}

/// The orders of a CSV file with `order_id,customer,amount`.
pub fn orders(ids: impl IntoIterator<Item = u32>) -> String {
    let mut text = "order_id,customer,amount\n".to_owned();
    for id in ids {
        text.push_str(&format!("{id},c{},{}.50\n", id % 3, id * 10));
    }
    text
}

pub const ORDERS_SOURCE: (&str, &str) = ("sources/orders.yaml", "files: data/orders/*.csv\n");

pub async fn run(app: &App, request: &RunRequest) -> Result<RunSummary, AppError> {
    app.run(request, Arc::new(polder_run::Silent), &CancellationToken::new()).await
}

pub fn told(error: &AppError) -> String {
    match error.problems() {
        Some(problems) => {
            let lines = problems.diagnostics.iter().map(|d| {
                let place = d.label.as_ref().and_then(|l| {
                    let at = problems.sources.line_col(&l.span)?;
                    Some(format!(" {}:{}:{}", l.span.file, at.line, at.column))
                });
                let hints: String = d.hints.iter().map(|h| format!(" ({h})")).collect();
                format!("{}{}{hints}", d, place.unwrap_or_default())
            });
            lines.collect::<Vec<_>>().join("\n")
        }
        None => error.to_string(),
    }
}

/// Step → status, in words.
pub fn statuses(summary: &RunSummary) -> Vec<String> {
    let mut lines: Vec<String> = summary.steps.iter().map(|s| format!("{} {}", s.step, s.status.as_str())).collect();
    lines.sort();
    lines
}

pub fn status_of(summary: &RunSummary, step: &str) -> StepStatus {
    let found = summary.steps.iter().find(|s| s.step.to_string() == step);
    found.unwrap_or_else(|| panic!("no step {step} in {:?}", statuses(summary))).status
}

/// The rows of a query as text, columns joined by `|`.
pub async fn rows(app: &App, at: &str, sql: &str) -> Vec<String> {
    match try_rows(app, at, sql).await {
        Ok(rows) => rows,
        Err(error) => panic!("{sql}\n{}", told(&error)),
    }
}

pub async fn try_rows(app: &App, at: &str, sql: &str) -> Result<Vec<String>, AppError> {
    let session = app.session(&SqlOptions { at: Some(at.to_owned()), ..SqlOptions::default() }).await?;
    let mut result = session.query(sql).await?;
    let mut rows = Vec::new();
    while let Some(batch) = result.stream.next().await {
        let batch = batch.map_err(|e| session.stream_error(e, sql))?;
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| {
                let options = FormatOptions::default().with_null("NULL");
                ArrayFormatter::try_new(column.as_ref(), &options).unwrap().value(row).to_string()
            });
            rows.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    Ok(rows)
}

pub async fn row(app: &App, at: &str, sql: &str) -> String {
    rows(app, at, sql).await.join("\n")
}

/// Keeps all events, and does something at some of them.
pub struct Watch<F: Fn(&Event) + Send + Sync> {
    pub events: Mutex<Vec<Event>>,
    pub act: F,
}

impl<F: Fn(&Event) + Send + Sync> Watch<F> {
    pub fn new(act: F) -> Arc<Self> {
        Arc::new(Self { events: Mutex::default(), act })
    }
}

impl<F: Fn(&Event) + Send + Sync> EventSink for Watch<F> {
    fn event(&self, event: &Event) {
        self.events.lock().unwrap().push(event.clone());
        (self.act)(event);
    }
}

/// Whether an event is the end of this step.
pub fn finished(event: &Event, name: &str) -> bool {
    matches!(event, Event::StepFinished { step, .. } if step.to_string() == name)
}

pub fn started(event: &Event, name: &str) -> bool {
    matches!(event, Event::StepStarted { step, .. } if step.to_string() == name)
}

/// Runs a future to its end from within a synchronous callback.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}
