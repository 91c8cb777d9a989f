//! Taking up a run again: after a crash from the last finished step, after a failure with the files as they are now.

use std::collections::BTreeSet;
use std::sync::Arc;

use polder_base::{RunId, TableName};
use polder_catalog::{Change, ChangeSet, CommitId, EntryKey};
use polder_run::{EventSink, Graph, RunRecord, RunStatus, StepKey};
use polder_store::Space;
use tokio_util::sync::CancellationToken;

use super::journal::{Earlier, all, run_record, steps_of};
use super::lease::LeaseKeeper;
use super::{Conductor, RunRequest, RunSummary, stored};
use crate::blueprint::Work;
use crate::{App, AppError, codes};

impl App {
    /// Takes up a run that was interrupted, held, failed or cancelled: the newest one unless a number is given.
    ///
    /// An interrupted or cancelled run goes on with the project as it was stored. One that was held or failed takes
    /// the files as they are now (that is where the mistake was mended): what was read from sources stays read, and
    /// models and checks are judged by their fingerprints.
    ///
    /// # Errors
    /// As [`App::run`]; also no such run, one that another process executes, and one whose branch is gone.
    pub async fn resume(
        &self,
        run: Option<RunId>,
        sink: Arc<dyn EventSink>,
        cancel: &CancellationToken,
    ) -> Result<RunSummary, AppError> {
        let run = match run {
            Some(run) => run,
            None => self.newest_unpublished().await?,
        };
        let record = self.known_run(run).await?;
        if record.status == RunStatus::Published {
            return self.already_published(record).await;
        }
        let lost = CancellationToken::new();
        let lease = LeaseKeeper::take_over(&self.catalog, run, lost.clone()).await?;
        // While we waited, the other process may have finished.
        let record = self.known_run(run).await?;
        if record.status == RunStatus::Published {
            lease.release().await;
            return self.already_published(record).await;
        }
        let prepared = match self.prepare_resume(record).await {
            Ok(prepared) => prepared,
            Err(error) => {
                self.clean_up(run, lease).await;
                return Err(error);
            }
        };
        let Resumed { loaded, record, graph, earlier } = prepared;
        let app = self.clone();
        let conductor = Conductor { app, loaded, record, earlier, concurrency: None, sink, lease, lost };
        conductor.conduct(graph, cancel).await
    }

    async fn prepare_resume(&self, mut record: RunRecord) -> Result<Resumed, AppError> {
        if self.catalog.find_ref(&record.branch).await?.is_none() {
            let message = format!("run {} cannot be taken up again: its branch {} is gone", record.id, record.branch);
            return Err(AppError::refused(codes::NO_RUN, message).hint("polder run"));
        }
        let interrupted = matches!(record.status, RunStatus::Running | RunStatus::Cancelled);
        let (loaded, earlier) = match interrupted {
            true => (stored::load(self.catalog.state(), &record, &self.options.project).await?, Earlier::Everything),
            false => (self.loaded.clone(), Earlier::IngestOnly),
        };
        let request = RunRequest {
            select: record.select.clone(),
            exclude: record.exclude.clone(),
            target: Some(record.target.clone()),
            full_refresh: record.full_refresh,
            concurrency: None,
        };
        let app = self.with_vars(&record);
        let graph = app.graph(&loaded, &CommitId(record.base.clone()), &request).await?;
        let tables: Vec<TableName> = graph.iter().filter_map(|(_, work)| work.writes().cloned()).collect();
        self.catalog.claim(record.id, &record.target, &tables).await?;
        self.undo_unfinished(&record, &graph, earlier).await?;
        record.files = stored::store(self.catalog.state(), &loaded.project).await?;
        record.status = RunStatus::Running;
        record.reason = None;
        record.finished = None;
        record.resumed += 1;
        self.put_record(&record).await?;
        Ok(Resumed { loaded, record, graph, earlier })
    }

    /// The same app with the values of `--var` that the run was started with.
    fn with_vars(&self, record: &RunRecord) -> Self {
        let mut app = self.clone();
        app.options.vars = record.vars.clone();
        app
    }

    /// Puts the tables of incremental models back to what they were when the run began, where a step is not recorded as
    /// finished: it may have committed before the crash, and would add its rows once more.
    async fn undo_unfinished(&self, record: &RunRecord, graph: &Graph<Work>, earlier: Earlier) -> Result<(), AppError> {
        let finished: BTreeSet<StepKey> = match earlier {
            Earlier::Everything => {
                let steps = steps_of(self.catalog.state(), record.id).await?;
                steps.into_iter().filter(|s| s.status.succeeded()).map(|s| s.step).collect()
            }
            Earlier::IngestOnly | Earlier::Nothing => BTreeSet::new(),
        };
        let base = CommitId(record.base.clone());
        let head = self.catalog.resolve(&record.branch).await?;
        let mut changes = Vec::new();
        for (key, work) in graph.iter() {
            let Work::Model(model) = work else { continue };
            if !model.incremental || finished.contains(key) {
                continue;
            }
            let key = EntryKey::Relation(model.table.clone());
            let before = self.catalog.entry(&base, &key).await?;
            if self.catalog.entry(&head, &key).await? != before {
                changes.push(match before {
                    Some(entry) => Change::Take { key, entry },
                    None => Change::Drop { key },
                });
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let author = polder_catalog::Author { principal: record.principal.clone() };
        let message = format!("resume run {}", record.id);
        self.catalog.commit(&record.branch, ChangeSet { author, message, run: Some(record.id), changes }).await?;
        Ok(())
    }

    pub(crate) async fn known_run(&self, run: RunId) -> Result<RunRecord, AppError> {
        let found = run_record(self.catalog.state(), run).await?;
        found.ok_or_else(|| {
            AppError::refused(codes::NO_RUN, format!("there is no run {run}")).hint("polder log shows runs")
        })
    }

    async fn newest_unpublished(&self) -> Result<RunId, AppError> {
        let records: Vec<RunRecord> = all(self.catalog.state(), Space::Runs, "").await?;
        let open = records.iter().rev().find(|r| r.status != RunStatus::Published);
        open.map(|r| r.id).ok_or_else(|| {
            AppError::refused(codes::NO_RUN, "there is no run to take up again: all are published").hint("polder run")
        })
    }

    /// A crash may have come between publishing and tidying up.
    async fn already_published(&self, record: RunRecord) -> Result<RunSummary, AppError> {
        self.catalog.release_claims(record.id).await?;
        if self.catalog.find_ref(&record.branch).await?.is_some() {
            self.catalog.delete_ref(&record.branch).await?;
        }
        let steps = steps_of(self.catalog.state(), record.id).await?;
        let shown = self.shown(&record.target).await?;
        let sources = self.loaded.project.files.clone();
        Ok(RunSummary { record, steps, shown, already_published: true, sources })
    }
}

/// A run, ready to be taken up again.
struct Resumed {
    loaded: crate::app::Loaded,
    record: RunRecord,
    graph: Graph<Work>,
    earlier: Earlier,
}
