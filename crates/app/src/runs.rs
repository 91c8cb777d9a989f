//! Runs as they are listed and followed.

use polder_base::RunId;
use polder_run::{RunRecord, RunStatus};
use polder_store::Space;
use serde::Serialize;

use crate::{App, AppError};

/// A run as it is shown: its record, without the files of the project.
#[derive(Debug, Clone, Serialize)]
pub struct RunRow {
    #[serde(flatten)]
    pub record: RunRecord,
    /// A process works on it. A run that says `running` and is not executed was interrupted.
    pub executed: bool,
}

impl App {
    /// The newest runs first, `limit` at most.
    ///
    /// # Errors
    /// The state store does not answer.
    pub async fn run_rows(&self, limit: usize) -> Result<Vec<RunRow>, AppError> {
        let state = self.catalog.state();
        let last = self.catalog.last_run().await?;
        let mut window = u64::try_from(limit).unwrap_or(u64::MAX);
        loop {
            // Numbers are given once each, and nearly all of them become runs: few records are read in vain.
            let from = last.saturating_sub(window);
            let after = RunRecord::key(RunId(from));
            let page = state.scan(Space::Runs, "", Some(&after), usize::MAX).await?;
            if page.len() < limit && from > 0 {
                window = window.saturating_mul(2).max(1);
                continue;
            }
            let mut rows = Vec::new();
            for (key, bytes) in page.into_iter().rev().take(limit) {
                // A record that cannot be read is told by the run's own page.
                if let Ok(record) = serde_json::from_slice::<RunRecord>(&bytes) {
                    rows.push(self.row(record).await?);
                } else {
                    tracing::warn!(%key, "the record of a run cannot be read");
                }
            }
            return Ok(rows);
        }
    }

    /// A run as it is now.
    ///
    /// # Errors
    /// A run that is not known; the state store does not answer.
    pub async fn run_row(&self, run: RunId) -> Result<RunRow, AppError> {
        self.row(self.known_run(run).await?).await
    }

    /// The number of the newest run; `None`: there has been none.
    ///
    /// # Errors
    /// The state store does not answer.
    pub async fn newest_run(&self) -> Result<Option<RunId>, AppError> {
        let rows = self.run_rows(1).await?;
        Ok(rows.first().map(|row| row.record.id))
    }

    async fn row(&self, mut record: RunRecord) -> Result<RunRow, AppError> {
        record.files.clear();
        let executed = record.status == RunStatus::Running && self.is_executed(record.id).await?;
        Ok(RunRow { record, executed })
    }
}
