//! Pipelines as people look at them.

use polder_base::Timestamp;
use polder_run::PipelineRecord;
use serde::Serialize;

use super::plan;
use super::records::{Damaged, read_all};
use crate::{App, AppError};

/// A pipeline, and how it stands.
#[derive(Debug, Clone, Serialize)]
pub struct PipelineRow {
    pub name: String,
    /// As people write it: `0 6 * * 1-5`, `every 15m`.
    pub schedule: String,
    pub time_zone: Option<String>,
    pub paused: bool,
    /// `running`, `waiting`, `retrying`, or how the last one ended; `damaged`: its record cannot be read, and it is not run;
    /// none: nothing was due yet.
    pub status: Option<&'static str>,
    /// When it is due next; none while it is paused or damaged.
    pub next: Option<Timestamp>,
    /// The last time that it was due and was not skipped, and the run for it.
    pub last_due: Option<Timestamp>,
    pub last_run: Option<u64>,
    /// Why it failed or waits.
    pub reason: Option<String>,
    pub failing_since: Option<Timestamp>,
    /// The last time that was skipped.
    pub skipped: Option<Timestamp>,
    /// The file that declares it.
    pub file: String,
}

impl App {
    /// The pipelines of the project, in the order of their names.
    ///
    /// # Errors
    /// Mistakes in the project; the state.
    pub async fn pipelines(&self) -> Result<Vec<PipelineRow>, AppError> {
        let project = self.loaded.valid()?;
        let records = read_all(self.catalog.state()).await?;
        let now = self.system().now();
        let mut rows: Vec<PipelineRow> = project
            .pipelines
            .iter()
            .map(|pipeline| {
                let record = records.whole.get(&pipeline.name);
                let damaged = records.damaged.get(&pipeline.name);
                let counts = record.filter(|record| !plan::is_ahead(pipeline, record, now));
                let from = counts.map_or(now, |record| record.decided.max(now));
                let next = if pipeline.paused { None } else { pipeline.schedule.after(from) };
                PipelineRow {
                    name: pipeline.name.clone(),
                    schedule: pipeline.schedule.words(),
                    time_zone: pipeline.schedule.time_zone().map(str::to_owned),
                    paused: pipeline.paused,
                    status: damaged.map(|_| "damaged").or_else(|| record?.status()),
                    next: next.filter(|_| damaged.is_none()),
                    last_due: record.and_then(PipelineRecord::last_due),
                    last_run: record.and_then(PipelineRecord::last_run).map(|run| run.0),
                    reason: damaged.map(Damaged::told).or_else(|| record?.reason().map(str::to_owned)),
                    failing_since: record.and_then(|record| record.failing_since),
                    skipped: record.and_then(|record| record.skipped),
                    file: pipeline.span.file.to_string(),
                }
            })
            .collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    }

    /// How many pipelines have not come to a good end since they last failed, were held, or timed out.
    ///
    /// # Errors
    /// The state.
    pub(crate) async fn failing_pipelines(&self) -> Result<usize, AppError> {
        let records = read_all(self.catalog.state()).await?.whole;
        let declared = self.loaded.project.pipelines.iter().filter(|pipeline| !pipeline.paused);
        let fails = |record: &&PipelineRecord| record.failing_since.is_some();
        Ok(declared.filter_map(|pipeline| records.get(&pipeline.name)).filter(fails).count())
    }
}
