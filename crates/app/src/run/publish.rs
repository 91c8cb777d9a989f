//! The end of a run: rebase onto the target, check again what the rebase changed, move the target.

use std::collections::BTreeSet;
use std::sync::Arc;

use polder_base::{Publish, TableName};
use polder_catalog::{Accepted, Author, CatalogError, CommitId, EntryKey, Prepared, Proposal};
use polder_check::CheckSet;
use polder_lake::Workspace;
use polder_model::RelationKind;
use polder_run::{Event, Graph, RunStatus, StepKey, StepKind, StepRecord, StepStatus};
use polder_sql::{Session, SessionOptions, scanned_tables};
use tokio_util::sync::CancellationToken;

use super::held::Held;
use super::journal::Earlier;
use super::{Conductor, Ending, names, record_batch, replace_steps};
use crate::AppError;
use crate::blueprint::Work;

/// Races for the target that a run may lose before it is held.
const RACES: u32 = 3;

/// The checks of a run's graph.
pub(super) fn checks_of(graph: &Graph<Work>) -> Vec<Arc<CheckSet>> {
    let checks = graph.iter().filter_map(|(_, work)| match work {
        Work::Check(set) => Some(Arc::clone(set)),
        Work::Ingest(..) | Work::Model(_) => None,
    });
    checks.collect()
}

/// What checking again came to.
enum Checked {
    /// Nothing that was checked is another now.
    Unchanged,
    Holds,
    /// The run would end so; these checks did not hold.
    Ends(Ending, Vec<StepRecord>),
}

/// The tables that a view reads, also through others; `None`: it can no longer be planned.
pub(crate) async fn scanned_by(session: &Session, view: &TableName) -> Option<BTreeSet<TableName>> {
    let plan = session.plan(&format!("SELECT * FROM {}", view.sql())).await.ok()?;
    Some(scanned_tables(&plan).into_iter().map(|scanned| scanned.name).collect())
}

impl Conductor {
    /// Publishes a run whose steps all succeeded, or what of it is not held back; `why` it then stays held.
    pub(super) async fn publish(
        &mut self,
        mut held: Held,
        mut why: Option<Ending>,
        mut steps: Vec<StepRecord>,
        cancel: &CancellationToken,
    ) -> Result<(Vec<StepRecord>, Ending), AppError> {
        self.record.held = held.list();
        if held.is_empty() && self.nothing_new().await? {
            self.record.finished = Some(self.app.system().now());
            self.record.status = RunStatus::Published;
            self.keep_record().await?;
            return Ok((steps, Ending { status: RunStatus::Published, reason: Some("nothing changed".to_owned()) }));
        }
        let mut races = 0;
        while races < RACES {
            if cancel.is_cancelled() {
                let reason = format!("cancelled before publishing; {} stays to look at", self.record.branch);
                return Ok((steps, Ending::new(RunStatus::Cancelled, reason)));
            }
            let hold = held.keys();
            let mut prepared = match self.prepare(&hold).await {
                Ok(prepared) => prepared,
                Err(CatalogError::Conflict { entry, ours, theirs, detail }) => {
                    self.record.stale = true;
                    self.record.held.clear();
                    let target = &self.record.target;
                    let reason = format!(
                        "{entry} changed on {target} meanwhile ({theirs}), and {ours} does not go on top of that: \
                         {detail}; {} stays to look at",
                        self.record.branch
                    );
                    return Ok((steps, Ending::new(RunStatus::Failed, reason)));
                }
                Err(other) => return Err(other.into()),
            };
            if let Some(why) = why.take_if(|_| prepared.commit == prepared.onto) {
                // There is nothing but what is held back.
                return Ok((steps, why));
            }
            match self.check_again(&prepared, &held, &mut steps, cancel).await? {
                Checked::Unchanged => {}
                Checked::Holds => {
                    // Checks take their time, and the commit's time is when the target begins to show it.
                    match self.prepare(&hold).await {
                        Ok(again) if again.onto == prepared.onto => prepared = again,
                        Ok(_) | Err(CatalogError::Conflict { .. }) => {
                            races += 1;
                            continue;
                        }
                        Err(other) => return Err(other.into()),
                    }
                }
                Checked::Ends(ending, failed) => {
                    let before = held.list();
                    if self.hold_more(&mut held, &failed).await? && held.list() != before {
                        self.record.held = held.list();
                        why = why.or(Some(ending));
                        continue;
                    }
                    self.record.held.clear();
                    return Ok((steps, ending));
                }
            }
            races += 1;
            if self.move_target(&prepared, &held, why.as_ref()).await? {
                return Ok((steps, self.ending_of_record()));
            }
        }
        self.record.held.clear();
        let reason = format!(
            "{} was moved by others {RACES} times while this run was being published; {} stays: polder run --resume {}",
            self.record.target, self.record.branch, self.record.id
        );
        Ok((steps, Ending::new(RunStatus::Held, reason)))
    }

    /// Holds back also what failed when checks were run again, where the rest is to be published. `false`: all of it is
    /// held.
    async fn hold_more(&self, held: &mut Held, failed: &[StepRecord]) -> Result<bool, AppError> {
        let cancelled = failed.iter().any(|step| step.status == StepStatus::Cancelled);
        if self.record.publish != Publish::Healthy || cancelled {
            return Ok(false);
        }
        if held.is_empty() {
            *held = self.lineage(held.graph()).await?;
        }
        Ok(held.add(failed))
    }

    /// How the record says that the run ended.
    fn ending_of_record(&self) -> Ending {
        Ending { status: self.record.status, reason: self.record.reason.clone() }
    }

    /// All steps were up to date: the branch is where it began.
    async fn nothing_new(&self) -> Result<bool, AppError> {
        let head = self.app.catalog.find_ref(&self.record.branch).await?;
        Ok(head.is_some_and(|h| h.commit.0 == self.record.base))
    }

    async fn prepare(&self, hold: &BTreeSet<EntryKey>) -> Result<Prepared, CatalogError> {
        let Conductor { app, record, .. } = self;
        let is_held =
            |table: &String| hold.iter().any(|key| matches!(key, EntryKey::Relation(t) if t.to_string() == *table));
        // One that is about nothing but tables of another run, all of which are held back, is none of this commit's.
        let acceptance = record.accepted.as_ref().filter(|a| a.from.is_none() || !a.set_aside.keys().all(is_held));
        let principal = acceptance.map_or(&record.principal, |accepted| &accepted.by).clone();
        let accepted = acceptance.map(|a| Accepted { reason: a.reason.clone(), checks: a.checks.clone() });
        let proposal = Proposal {
            run: Some(record.id),
            branch: &record.branch,
            target: &record.target,
            author: &Author { principal },
            message: &format!("run {}", record.id),
            accepted: accepted.as_ref(),
            hold,
        };
        app.catalog.propose(&proposal).await
    }

    /// Runs again the checks whose tables are not what they were: what held on both sides may fail on the sum, and what
    /// held on the branch may fail without what is held back.
    async fn check_again(
        &mut self,
        prepared: &Prepared,
        held: &Held,
        steps: &mut Vec<StepRecord>,
        cancel: &CancellationToken,
    ) -> Result<Checked, AppError> {
        let moved: BTreeSet<&TableName> = prepared.rebased.iter().map(|r| &r.table).chain(&prepared.moved).collect();
        if !moved.is_empty() {
            self.rebased_onto(&prepared.onto).await?;
            let tables = moved.iter().map(ToString::to_string).collect();
            self.sink.event(&Event::Rebased { run: self.record.id, tables, at: self.app.system().now() });
        }
        let other: BTreeSet<&TableName> = moved.iter().copied().chain(held.tables()).collect();
        if other.is_empty() {
            return Ok(Checked::Unchanged);
        }
        let mut graph: Graph<Work> = Graph::new();
        for set in self.concerned(prepared, held, &other).await? {
            let key = StepKey::new(StepKind::Check, &set.name);
            graph.add(key, Work::Check(set)).map_err(|e| AppError::Defect(e.to_string()))?;
        }
        if graph.is_empty() {
            return Ok(Checked::Unchanged);
        }
        let again = names(graph.iter().map(|(key, _)| key.clone()));
        // The branch may have more than what is to be published.
        let workspace = Workspace { branch: prepared.commit.0.clone(), ..self.workspace() };
        let execution = self.execute(graph, Earlier::Nothing, &workspace, cancel).await?;
        let ending = self.judge(&execution);
        let failed: Vec<StepRecord> = execution.records.iter().filter(|s| !s.status.succeeded()).cloned().collect();
        replace_steps(steps, execution.records);
        Ok(ending.map_or(Checked::Holds, |ending| {
            let told = |reason| match moved.is_empty() {
                true => format!("the checks of {again} were run again without what is held back: {reason}"),
                false => format!("{} moved, and the checks of {again} were run again: {reason}", self.record.target),
            };
            Checked::Ends(Ending { reason: ending.reason.map(told), ..ending }, failed)
        }))
    }

    /// The checks that read a table which is not what it was, directly or through views; where something is held back,
    /// those of them that read something which is published.
    async fn concerned(
        &self,
        prepared: &Prepared,
        held: &Held,
        other: &BTreeSet<&TableName>,
    ) -> Result<Vec<Arc<CheckSet>>, AppError> {
        let options = SessionOptions::system(prepared.target.as_str(), self.record.run_time);
        let session = self.app.engine.session_at(prepared.commit.clone(), options).await?;
        let relations = self.app.relations(&prepared.commit).await?;
        let checks = held.checks();
        let looked_at: BTreeSet<TableName> = checks.iter().flat_map(|set| set.tables()).collect();
        let published = held.published();
        // Many checks look at one view: whether it reads a changed table is found out once.
        let mut moved: BTreeSet<&TableName> = looked_at.iter().filter(|table| other.contains(table)).collect();
        let mut shown: BTreeSet<&TableName> = looked_at.iter().filter(|table| published.contains(table)).collect();
        for view in looked_at.iter().filter(|table| relations.get(*table) == Some(&RelationKind::View)) {
            // Of a view that can no longer be planned, its checks say what is wrong.
            let reads = scanned_by(&session, view).await;
            if reads.as_ref().is_none_or(|tables| tables.iter().any(|table| other.contains(table))) {
                moved.insert(view);
            }
            if reads.is_none_or(|tables| tables.iter().any(|table| published.contains(table))) {
                shown.insert(view);
            }
        }
        let reads = |set: &CheckSet, tables: &BTreeSet<&TableName>| set.tables().iter().any(|t| tables.contains(t));
        let all = held.is_empty();
        Ok(checks.into_iter().filter(|set| reads(set, &moved) && (all || reads(set, &shown))).collect())
    }

    /// From now on the run stands on another commit: resuming must start from that one.
    async fn rebased_onto(&mut self, onto: &CommitId) -> Result<(), AppError> {
        self.record.base = onto.0.clone();
        self.keep_record().await
    }

    /// Moves the target, and records the run as published in the same transaction, or as held with a part of it
    /// published. `false`: the target moved.
    async fn move_target(&mut self, prepared: &Prepared, held: &Held, why: Option<&Ending>) -> Result<bool, AppError> {
        let mut published = self.record.clone();
        published.status = RunStatus::Published;
        published.reason = None;
        published.commit = Some(prepared.commit.0.clone());
        published.held = held.list();
        if !held.is_empty() {
            published.status = RunStatus::Held;
            published.reason = why.and_then(|why| why.reason.clone());
            published.parts.push(prepared.commit.0.clone());
            published.base.clone_from(&prepared.commit.0);
        }
        published.finished = Some(self.app.system().now());
        let batch = record_batch(&published)?;
        let moved = self.app.catalog.publish(prepared, Some(&self.lease.lease()), batch).await?;
        if moved.is_some() {
            self.record = published;
        }
        Ok(moved.is_some())
    }
}
