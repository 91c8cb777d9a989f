//! Taking up a run again: after a crash from the last finished step, after a failure with the files as they are now.

use std::collections::BTreeSet;
use std::sync::Arc;

use polder_base::RunId;
use polder_catalog::{Change, ChangeSet, CommitId, EntryKey};
use polder_ingest::{cursor_of, quarantine_of};
use polder_run::{EventSink, Graph, RunKind, RunRecord, RunStatus, StepKey, StepKind};
use polder_store::Space;
use tokio_util::sync::CancellationToken;

use super::journal::{Earlier, all, run_record, steps_of};
use super::keep::BRANCH_KEPT;
use super::lease::LeaseKeeper;
use super::{Conductor, RunRequest, RunSummary, stored};
use crate::blueprint::Work;
use crate::{App, AppError, codes, schedule};

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
        self.resume_if(run, Taker::Person, sink, cancel).await
    }

    /// As [`App::resume`], if the run waits for that taker once nobody else works on it.
    ///
    /// # Errors
    /// Also [`codes::SLOT_TAKEN`]: it does not.
    pub(crate) async fn resume_if(
        &self,
        run: RunId,
        taker: Taker,
        sink: Arc<dyn EventSink>,
        cancel: &CancellationToken,
    ) -> Result<RunSummary, AppError> {
        let record = self.known_run(run).await?;
        if record.status != RunStatus::Published || record.kind == RunKind::Check {
            self.refuse_closed(&record).await?;
        }
        if record.status == RunStatus::Published {
            return self.already_published(record).await;
        }
        let lost = CancellationToken::new();
        let lease = LeaseKeeper::acquire(self, run, lost.clone()).await?;
        // While we waited, the other process may have finished.
        let record = self.known_run(run).await?;
        if record.status == RunStatus::Published {
            lease.release().await;
            return self.already_published(record).await;
        }
        if taker == Taker::Scheduler && record.status == RunStatus::Held {
            lease.release().await;
            return Err(AppError::refused(codes::SLOT_TAKEN, format!("run {run} was ended by another process")));
        }
        let prepared = match record.accepted.as_ref().is_some_and(|accepted| accepted.setting_aside.is_some()) {
            true => self.prepare_decided(record, taker, cancel).await,
            false => self.prepare_resume(record, taker).await,
        };
        match prepared {
            Ok(resumed) => self.go_on(resumed, sink, lease, lost, cancel).await,
            Err(error) => {
                self.clean_up(run, lease).await;
                Err(error)
            }
        }
    }

    /// Conducts a run that was taken up again.
    pub(super) async fn go_on(
        &self,
        resumed: Resumed,
        sink: Arc<dyn EventSink>,
        lease: LeaseKeeper,
        lost: CancellationToken,
        cancel: &CancellationToken,
    ) -> Result<RunSummary, AppError> {
        let Resumed { loaded, record, graph, earlier } = resumed;
        let app = self.with_vars(&record);
        let begun = self.system().now();
        let conductor = Conductor { app, loaded, record, earlier, concurrency: None, sink, lease, lost, begun };
        conductor.conduct(graph, cancel).await
    }

    /// Refuses a run that nothing more can become of.
    pub(super) async fn refuse_closed(&self, record: &RunRecord) -> Result<(), AppError> {
        let run = record.id;
        let refused = |message: String| AppError::refused(codes::NO_RUN, message);
        if record.kind == RunKind::Check {
            let message = format!("run {run} was checks alone: it has nothing to go on with");
            return Err(refused(message).hint("polder check"));
        }
        if let Some(first) = record.same_as {
            let message = format!("run {run} has no branch of its own: it came to the same as run {first}");
            return Err(refused(message).hint(format!("polder run --resume {first}")));
        }
        if record.stale {
            let message =
                format!("run {run} cannot be taken up again: {} has moved on from what it read", record.target);
            return Err(refused(message).hint("polder run"));
        }
        if let Some(later) = self.superseded_by(record).await? {
            let message = format!(
                "run {run} cannot be taken up again: run {later} went on from what it had read, and is published"
            );
            return Err(refused(message).hint("polder run"));
        }
        if self.catalog.find_ref(&record.branch).await?.is_none() {
            let branch = &record.branch;
            let gone = match record.started + BRANCH_KEPT <= self.system().now() {
                true => format!("its branch {branch} expired, 7 days after somebody last worked on the run"),
                false => format!("its branch {branch} is gone"),
            };
            return Err(refused(format!("run {run} cannot be taken up again: {gone}")).hint("polder run"));
        }
        Ok(())
    }

    /// What a run was asked for.
    pub(super) fn request_of(record: &RunRecord) -> RunRequest {
        RunRequest {
            select: record.select.clone(),
            exclude: record.exclude.clone(),
            target: Some(record.target.clone()),
            full_refresh: record.full_refresh,
            publish: Some(record.publish),
            ..RunRequest::default()
        }
    }

    async fn prepare_resume(&self, mut record: RunRecord, taker: Taker) -> Result<Resumed, AppError> {
        self.forget_what_was_not_taken(&mut record).await?;
        let interrupted = matches!(record.status, RunStatus::Running | RunStatus::Cancelled);
        let (loaded, earlier) = match interrupted {
            true => (stored::load(self.catalog.state(), &record, &self.options.project).await?, Earlier::Everything),
            false => (self.loaded.clone(), Earlier::IngestOnly),
        };
        // Rows were set aside since: what was built and checked before is judged by its fingerprints.
        let aside = record.accepted.as_ref().is_some_and(|accepted| !accepted.set_aside.is_empty());
        let earlier = if aside { Earlier::IngestOnly } else { earlier };
        let app = self.with_vars(&record);
        let graph = app.graph(&loaded, &CommitId(record.base.clone()), &Self::request_of(&record)).await?;
        self.claim(&record, &graph).await?;
        self.undo_unfinished(&record, &graph, earlier).await?;
        record.files = stored::store(self.catalog.state(), &loaded.project).await?;
        self.take_up(&mut record, taker).await?;
        Ok(Resumed { loaded, record, graph, earlier })
    }

    /// A decision that comes with the tables of another run is kept before they are taken over. Where the process ended
    /// between the two, there is nothing that it is about: all is read once more.
    async fn forget_what_was_not_taken(&self, record: &mut RunRecord) -> Result<(), AppError> {
        let came_along = record.accepted.as_ref().is_some_and(|accepted| accepted.from.is_some());
        if came_along && record.took_over.is_empty() && self.catalog.resolve(&record.branch).await?.0 == record.base {
            record.accepted = None;
        }
        Ok(())
    }

    /// Records that a run goes on. Its branch is kept from now on as long as one that is made now: it may be past its day.
    pub(super) async fn take_up(&self, record: &mut RunRecord, taker: Taker) -> Result<(), AppError> {
        self.prolong(&record.branch).await?;
        record.take_up();
        schedule::records::take_up(self.catalog.state(), record, taker == Taker::Person).await
    }

    /// The same app with the values of `--var` that the run was started with.
    pub(super) fn with_vars(&self, record: &RunRecord) -> Self {
        let mut app = self.clone();
        app.options.vars = record.vars.clone();
        app
    }

    /// Puts back to what they were when the run began: the tables of incremental models whose step is not recorded as
    /// finished (it may have committed before the crash, and would add its rows once more), and the rejected records of
    /// sources that are to be read again.
    pub(super) async fn undo_unfinished(
        &self,
        record: &RunRecord,
        graph: &Graph<Work>,
        earlier: Earlier,
    ) -> Result<(), AppError> {
        let finished = self.finished(record, earlier).await?;
        let extent = Extent { base: CommitId(record.base.clone()), head: self.catalog.resolve(&record.branch).await? };
        let mut changes = Vec::new();
        for (_, work) in graph.iter().filter(|(key, _)| !finished.contains(*key)) {
            let undone = match work {
                Work::Model(model) if model.incremental => {
                    self.undoing(&extent, EntryKey::Relation(model.table.clone())).await?
                }
                Work::Ingest(source, stream) => {
                    // What was taken over from another run is where this one began.
                    let taken = record.took_over.iter().find(|t| t.table == stream.table.to_string());
                    let taken = taken.filter(|t| record.parts.is_empty() && !t.commit.is_empty());
                    let base = taken.map_or_else(|| extent.base.clone(), |t| CommitId(t.commit.clone()));
                    let extent = Extent { base, head: extent.head.clone() };
                    // Where the cursor did not move, all that the step left are the records that it failed over.
                    let cursor = EntryKey::Cursor(cursor_of(source, stream));
                    match record.full_refresh || self.undoing(&extent, cursor).await?.is_none() {
                        true => self.undoing(&extent, EntryKey::Relation(quarantine_of(&stream.table))).await?,
                        false => None,
                    }
                }
                Work::Model(_) | Work::Check(_) => None,
            };
            changes.extend(undone);
        }
        if changes.is_empty() {
            return Ok(());
        }
        let author = polder_catalog::Author { principal: record.principal.clone() };
        let message = format!("resume run {}", record.id);
        self.catalog.commit(&record.branch, ChangeSet { author, message, run: Some(record.id), changes }).await?;
        Ok(())
    }

    /// The steps of a run that will not be run again, whatever their fingerprints say.
    async fn finished(&self, record: &RunRecord, earlier: Earlier) -> Result<BTreeSet<StepKey>, AppError> {
        let mut steps = steps_of(self.catalog.state(), record.id).await?;
        steps.retain(|s| s.status.succeeded());
        match earlier {
            Earlier::Everything => {}
            Earlier::IngestOnly => steps.retain(|s| s.step.kind == StepKind::Ingest),
            Earlier::Nothing => steps.clear(),
        }
        Ok(steps.into_iter().map(|s| s.step).collect())
    }

    /// What makes an entry of the run's branch what it was when the run began; `None`: it is.
    async fn undoing(&self, extent: &Extent, key: EntryKey) -> Result<Option<Change>, AppError> {
        let before = self.catalog.entry(&extent.base, &key).await?;
        if self.catalog.entry(&extent.head, &key).await? == before {
            return Ok(None);
        }
        Ok(Some(match before {
            Some(entry) => Change::Take { key, entry },
            None => Change::Drop { key },
        }))
    }

    pub(crate) async fn known_run(&self, run: RunId) -> Result<RunRecord, AppError> {
        let found = run_record(self.catalog.state(), run).await?;
        found.ok_or_else(|| {
            AppError::refused(codes::NO_RUN, format!("there is no run {run}")).hint("polder runs shows what there is")
        })
    }

    /// The newest run that waits to be taken up. What is older than the last publication to its target is left to those
    /// who name it: they have seen what was published since.
    async fn newest_unpublished(&self) -> Result<RunId, AppError> {
        let records: Vec<RunRecord> = all(self.catalog.state(), Space::Runs, "").await?;
        let mut published = BTreeSet::new();
        for record in records.iter().rev().filter(|r| r.kind == RunKind::Run) {
            match record.status {
                RunStatus::Published => _ = published.insert(&record.target),
                _ if record.stale || record.same_as.is_some() || published.contains(&record.target) => {}
                _ if self.superseded_by(record).await?.is_some() => {}
                _ => return Ok(record.id),
            }
        }
        let message = "there is no run to take up again: all are published, or older than the last that was";
        Err(AppError::refused(codes::NO_RUN, message).hint("polder run"))
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
        Ok(RunSummary { record, steps, shown, already_published: true, elapsed_ms: 0, stopped: None, sources })
    }
}

/// Who takes a run up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taker {
    Person,
    /// One that was held meanwhile is left to a person.
    Scheduler,
}

/// Where a run's branch began, and where it stands.
struct Extent {
    base: CommitId,
    head: CommitId,
}

/// A run, ready to be taken up again.
pub(super) struct Resumed {
    pub(super) loaded: crate::app::Loaded,
    pub(super) record: RunRecord,
    pub(super) graph: Graph<Work>,
    pub(super) earlier: Earlier,
}
