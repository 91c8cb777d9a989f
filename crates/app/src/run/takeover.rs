//! Going on from what a run has read that was not published: its rows are not read a second time.
//!
//! A stream is taken over when the target's table and cursor are still those that the earlier run began with, and its
//! source is declared and lies there as that run has read it: a file that was replaced is read again, from the target's
//! cursor, for rows of the bad one may have taken the place of good ones. Of a run of which rows are just being set aside
//! nothing is taken over: whoever takes that up again does so to its end. Where they were, the decision goes along.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polder_base::RunId;
use polder_catalog::{CatalogError, Change, ChangeSet, CommitId, Entry, EntryKey};
use polder_ingest::{IngestStep, cursor_of, quarantine_of};
use polder_project::{Source, Stream};
use polder_run::{Acceptance, Graph, Retold, RunKind, RunRecord, RunStatus, Step, StepKey, StepKind, TakenOver};
use polder_store::{Batch, Outcome, Space};

use super::journal::{encode, readable_run, run_record, steps_of};
use super::stored;
use crate::blueprint::Work;
use crate::{App, AppError};

/// How often the record of an earlier run is read again when others change it.
const ATTEMPTS: u32 = 8;

/// A run whose branch may have what the next one needs.
struct Earlier {
    record: RunRecord,
    head: CommitId,
    /// Tables whose ingest step came to its end.
    read: Vec<String>,
}

impl App {
    /// Takes tables and cursors over onto the branch of a run that begins, as one commit, and records from which runs.
    pub(super) async fn take_over(&self, record: &mut RunRecord, graph: &Graph<Work>) -> Result<(), AppError> {
        let streams: Vec<(&Source, &Stream)> = graph.iter().filter_map(|(_, work)| stream_of(work)).collect();
        if streams.is_empty() {
            return Ok(());
        }
        let earlier = self.earlier(record).await?;
        let mut taken: BTreeMap<String, RunId> = BTreeMap::new();
        let mut decided: Option<Acceptance> = None;
        let mut changes = Vec::new();
        for (source, stream) in streams {
            for run in &earlier {
                if let Some(found) = self.left_behind(record, run, source, stream).await? {
                    changes.extend(found);
                    let table = stream.table.to_string();
                    let along = run.record.accepted.as_ref().and_then(|a| a.along_with(&table, run.record.id));
                    decided = match (decided, along) {
                        (Some(decided), Some(along)) => Some(decided.and(along)),
                        (decided, along) => decided.or(along),
                    };
                    taken.insert(table, run.record.id);
                    break;
                }
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        if decided.is_some() {
            // Before the tables: wherever this ends, they are not published without it.
            record.accepted = decided;
            self.put_record(record).await?;
        }
        let author = polder_catalog::Author { principal: record.principal.clone() };
        let tables: Vec<String> = taken.iter().map(|(table, run)| format!("{table} from run {run}")).collect();
        let message = format!("take over {}", tables.join(", "));
        match self.catalog.commit(&record.branch, ChangeSet { author, message, run: Some(record.id), changes }).await {
            Ok(commit) => {
                let of = |(table, run)| TakenOver { table, run, commit: commit.0.clone() };
                record.took_over = taken.into_iter().map(of).collect();
            }
            // What they wrote is gone: it is read once more.
            Err(CatalogError::Invalid(detail)) => {
                tracing::warn!(%detail, "nothing was taken over");
                if record.accepted.take().is_some() {
                    self.put_record(record).await?;
                }
                return Ok(());
            }
            Err(other) => return Err(other.into()),
        }
        self.put_record(record).await?;
        for taken in &record.took_over {
            self.supersede(taken.run, record.id).await?;
        }
        Ok(())
    }

    /// The runs for the same target and environment that were not published and whose branches are there, the newest
    /// first.
    async fn earlier(&self, record: &RunRecord) -> Result<Vec<Earlier>, AppError> {
        let mut found = Vec::new();
        for run in self.runs().await? {
            let alike =
                run.kind == RunKind::Run && run.target == record.target && run.environment == record.environment;
            let half_done = run.accepted.as_ref().is_some_and(|accepted| accepted.setting_aside.is_some());
            if !alike || half_done || run.id >= record.id || run.status == RunStatus::Published {
                continue;
            }
            let Some(branch) = self.catalog.find_ref(&run.branch).await? else { continue };
            if run.status == RunStatus::Running && self.is_executed(run.id).await? {
                continue;
            }
            let steps = steps_of(self.catalog.state(), run.id).await?;
            let read = steps.into_iter().filter(|s| s.step.kind == StepKind::Ingest && s.status.succeeded());
            let read = read.map(|s| s.step.resource).collect();
            found.push(Earlier { record: run, head: branch.commit, read });
        }
        Ok(found)
    }

    /// What an earlier run has read of a stream beyond the target; `None`: nothing that holds any more.
    async fn left_behind(
        &self,
        record: &RunRecord,
        run: &Earlier,
        source: &Source,
        stream: &Stream,
    ) -> Result<Option<Vec<Change>>, AppError> {
        let file = source.span.file.to_string();
        if !run.read.contains(&stream.table.to_string()) || run.record.files.get(&file) != record.files.get(&file) {
            return Ok(None);
        }
        let cursor = EntryKey::Cursor(cursor_of(source, stream));
        let keys = [
            EntryKey::Relation(stream.table.clone()),
            cursor.clone(),
            EntryKey::Relation(quarantine_of(&stream.table)),
        ];
        let (now, then) = (CommitId(record.base.clone()), CommitId(run.record.base.clone()));
        let mut changes = Vec::new();
        for key in keys {
            let before = self.catalog.entry(&now, &key).await?;
            if before != self.catalog.entry(&then, &key).await? {
                return Ok(None);
            }
            match self.catalog.entry(&run.head, &key).await? {
                after if after == before => {}
                Some(entry) => changes.push(Change::Take { key, entry }),
                None => changes.push(Change::Drop { key }),
            }
        }
        let read_to = changes.iter().find_map(|change| match change {
            Change::Take { key, entry: Entry::Cursor(entry) } if *key == cursor => Some(entry.clone()),
            _ => None,
        });
        let Some(read_to) = read_to.filter(|c| c.table == stream.table.to_string()) else { return Ok(None) };
        let before = match self.catalog.entry(&now, &cursor).await? {
            Some(Entry::Cursor(entry)) => Some(entry.value),
            _ => None,
        };
        let (project, stream) = (self.options.project.clone(), stream.clone());
        let stands = tokio::task::spawn_blocking(move || {
            polder_ingest::still_there(&project, &stream, before.as_deref(), &read_to.value)
        });
        Ok(stands.await.unwrap_or(false).then_some(changes))
    }

    /// Records that a later run went on from what this one has read.
    async fn supersede(&self, run: RunId, by: RunId) -> Result<(), AppError> {
        self.change_superseded(run, |later| {
            later.retain(|later| *later != by);
            later.push(by);
        })
        .await
    }

    /// Records that a later run which went on from this one has added nothing, and has no branch any more.
    pub(super) async fn give_back_to(&self, run: RunId, by: RunId) -> Result<(), AppError> {
        self.change_superseded(run, |later| later.retain(|later| *later != by)).await
    }

    async fn change_superseded(&self, run: RunId, change: impl Fn(&mut Vec<RunId>)) -> Result<(), AppError> {
        let (state, key) = (self.catalog.state(), RunRecord::key(run));
        for _ in 0..ATTEMPTS {
            let (raw, record) = (state.get(Space::Runs, &key).await?, run_record(state, run).await?);
            let Some(mut record) = record else { return Ok(()) };
            change(&mut record.superseded);
            let batch =
                Batch::new().expect(Space::Runs, key.clone(), raw).put(Space::Runs, key.clone(), encode(&record)?);
            if state.apply(batch).await? == Outcome::Applied {
                return Ok(());
            }
        }
        tracing::warn!(%run, "which later runs went on from the run was not recorded");
        Ok(())
    }

    /// The newest run that went on from what this one had read, perhaps by way of others, and that was published or may
    /// still be. One whose branch is gone has left the work to this one.
    pub(crate) async fn taken_over_by(&self, record: &RunRecord) -> Result<Option<RunRecord>, AppError> {
        let mut open = record.superseded.clone();
        let mut seen = open.clone();
        let mut newest: Option<RunRecord> = None;
        while let Some(run) = open.pop() {
            let Some(later) = readable_run(self.catalog.state(), run).await? else { continue };
            let more: Vec<RunId> = later.superseded.iter().copied().filter(|next| !seen.contains(next)).collect();
            seen.extend(&more);
            open.extend(more);
            let is_there =
                later.status == RunStatus::Published || self.catalog.find_ref(&later.branch).await?.is_some();
            let counts = is_there && later.same_as.is_none();
            if counts && newest.as_ref().is_none_or(|newest| newest.id < later.id) {
                newest = Some(later);
            }
        }
        Ok(newest)
    }

    /// The run that was published in the place of one that cannot be taken up again for that, and whether it did all that
    /// this one was to do; `None`: it can.
    pub(crate) async fn published_instead(&self, run: RunId) -> Result<Option<(RunId, bool)>, AppError> {
        let record = self.known_run(run).await?;
        let Some(later) = self.superseded_by(&record).await? else { return Ok(None) };
        Ok(Some((later, self.covers(&self.known_run(later).await?, &record).await?)))
    }

    /// Whether all steps of a run succeeded in a later one, for the same values.
    async fn covers(&self, later: &RunRecord, record: &RunRecord) -> Result<bool, AppError> {
        let alike = later.vars == record.vars && later.full_refresh >= record.full_refresh;
        if later.status != RunStatus::Published || !alike {
            return Ok(false);
        }
        let loaded = stored::load(self.catalog.state(), record, &self.options.project).await?;
        let base = CommitId(record.base.clone());
        let graph = self.with_vars(record).graph(&loaded, &base, &Self::request_of(record)).await?;
        let done = steps_of(self.catalog.state(), later.id).await?;
        let done: BTreeSet<StepKey> = done.into_iter().filter(|s| s.status.succeeded()).map(|s| s.step).collect();
        Ok(graph.iter().all(|(key, _)| done.contains(key)))
    }

    /// The run that went on from what this one had read, perhaps by way of others, and was published.
    pub(crate) async fn superseded_by(&self, record: &RunRecord) -> Result<Option<RunId>, AppError> {
        let mut open = record.superseded.clone();
        let mut seen = open.clone();
        while let Some(run) = open.pop() {
            let Some(later) = readable_run(self.catalog.state(), run).await? else { continue };
            let published = |taken: &TakenOver| !later.held.iter().any(|held| held.table == taken.table);
            if later.status == RunStatus::Published
                || !later.parts.is_empty()
                    && later.took_over.iter().any(|t| seen_from(t, record.id, &seen) && published(t))
            {
                return Ok(Some(run));
            }
            let more: Vec<RunId> = later.superseded.into_iter().filter(|next| !seen.contains(next)).collect();
            seen.extend(&more);
            open.extend(more);
        }
        Ok(None)
    }
}

/// Whether something was taken over from a run, or from one that took it over.
fn seen_from(taken: &TakenOver, run: RunId, later: &[RunId]) -> bool {
    taken.run == run || later.contains(&taken.run)
}

fn stream_of(work: &Work) -> Option<(&Source, &Stream)> {
    match work {
        Work::Ingest(source, stream) => Some((source, stream)),
        Work::Model(_) | Work::Check(_) => None,
    }
}

/// An ingest step that begins where another run stopped.
pub(super) fn went_on(step: IngestStep, run: RunId) -> Arc<dyn Step> {
    Arc::new(Retold::new(Arc::new(step), move |mut report| {
        let taken = format!("took over run {run}");
        report.note = Some(match report.note.take() {
            Some(note) => format!("{taken}; {note}"),
            None => taken,
        });
        if report.unchanged {
            // Nothing beyond that run's rows; but the table is another than the target's.
            report.unchanged = false;
            report.rows = Some(0);
        }
        report
    }))
}
