//! The end of a run: rebase onto the target, check again what the rebase changed, move the target.

use std::collections::BTreeSet;
use std::sync::Arc;

use polder_base::TableName;
use polder_catalog::{CatalogError, CommitId, Prepared};
use polder_check::CheckSet;
use polder_model::RelationKind;
use polder_run::{Event, Graph, RunStatus, StepKey, StepKind, StepRecord};
use polder_sql::{Session, SessionOptions, scanned_tables};
use tokio_util::sync::CancellationToken;

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
    Ends(Ending),
}

/// The tables that a view reads, also through others; `None`: it can no longer be planned.
pub(crate) async fn scanned_by(session: &Session, view: &TableName) -> Option<BTreeSet<TableName>> {
    let plan = session.plan(&format!("SELECT * FROM {}", view.sql())).await.ok()?;
    Some(scanned_tables(&plan).into_iter().map(|scanned| scanned.name).collect())
}

impl Conductor {
    /// Publishes a run whose steps all succeeded.
    pub(super) async fn publish(
        &mut self,
        checks: Vec<Arc<CheckSet>>,
        mut steps: Vec<StepRecord>,
        cancel: &CancellationToken,
    ) -> Result<(Vec<StepRecord>, Ending), AppError> {
        if self.nothing_new().await? {
            self.record.finished = Some(self.app.system().now());
            self.record.status = RunStatus::Published;
            self.keep_record().await?;
            return Ok((steps, Ending { status: RunStatus::Published, reason: Some("nothing changed".to_owned()) }));
        }
        for _ in 0..RACES {
            if cancel.is_cancelled() {
                let reason = format!("cancelled before publishing; {} stays to look at", self.record.branch);
                return Ok((steps, Ending::new(RunStatus::Cancelled, reason)));
            }
            let mut prepared = match self.prepare().await {
                Ok(prepared) => prepared,
                Err(CatalogError::Conflict { entry, ours, theirs, detail }) => {
                    self.record.stale = true;
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
            match self.check_again(&prepared, &checks, &mut steps, cancel).await? {
                Checked::Unchanged => {}
                Checked::Holds => {
                    // Checks take their time, and the commit's time is when the target begins to show it.
                    match self.prepare().await {
                        Ok(again) if again.onto == prepared.onto => prepared = again,
                        Ok(_) | Err(CatalogError::Conflict { .. }) => continue,
                        Err(other) => return Err(other.into()),
                    }
                }
                Checked::Ends(ending) => return Ok((steps, ending)),
            }
            if self.move_target(&prepared).await? {
                return Ok((steps, Ending { status: RunStatus::Published, reason: None }));
            }
        }
        let reason = format!(
            "{} was moved by others {RACES} times while this run was being published; {} stays: polder run --resume {}",
            self.record.target, self.record.branch, self.record.id
        );
        Ok((steps, Ending::new(RunStatus::Held, reason)))
    }

    /// All steps were up to date: the branch is where it began.
    async fn nothing_new(&self) -> Result<bool, AppError> {
        let head = self.app.catalog.find_ref(&self.record.branch).await?;
        Ok(head.is_some_and(|h| h.commit.0 == self.record.base))
    }

    async fn prepare(&self) -> Result<Prepared, CatalogError> {
        let author = polder_catalog::Author { principal: self.record.principal.clone() };
        let message = format!("run {}", self.record.id);
        let Conductor { app, record, .. } = self;
        app.catalog.prepare(Some(record.id), &record.branch, &record.target, &author, &message).await
    }

    /// Runs again the checks whose tables are not what they were: what held on both sides may fail on the sum.
    async fn check_again(
        &mut self,
        prepared: &Prepared,
        checks: &[Arc<CheckSet>],
        steps: &mut Vec<StepRecord>,
        cancel: &CancellationToken,
    ) -> Result<Checked, AppError> {
        let changed: BTreeSet<&TableName> = prepared.rebased.iter().map(|r| &r.table).chain(&prepared.moved).collect();
        if changed.is_empty() {
            return Ok(Checked::Unchanged);
        }
        self.rebased_onto(&prepared.onto).await?;
        let tables = changed.iter().map(ToString::to_string).collect();
        self.sink.event(&Event::Rebased { run: self.record.id, tables, at: self.app.system().now() });
        let mut graph: Graph<Work> = Graph::new();
        for set in self.concerned(prepared, checks, &changed).await? {
            let key = StepKey::new(StepKind::Check, &set.name);
            graph.add(key, Work::Check(set)).map_err(|e| AppError::Defect(e.to_string()))?;
        }
        if graph.is_empty() {
            return Ok(Checked::Unchanged);
        }
        let again = names(graph.iter().map(|(key, _)| key.clone()));
        let execution = self.execute(graph, Earlier::Nothing, cancel).await?;
        let ending = self.judge(&execution);
        replace_steps(steps, execution.records);
        Ok(ending.map_or(Checked::Holds, |ending| {
            let told =
                |reason| format!("{} moved, and the checks of {again} were run again: {reason}", self.record.target);
            Checked::Ends(Ending { reason: ending.reason.map(told), ..ending })
        }))
    }

    /// The checks that read a changed table, directly or through views.
    async fn concerned(
        &self,
        prepared: &Prepared,
        checks: &[Arc<CheckSet>],
        changed: &BTreeSet<&TableName>,
    ) -> Result<Vec<Arc<CheckSet>>, AppError> {
        let options = SessionOptions::system(prepared.target.as_str(), self.record.run_time);
        let session = self.app.engine.session_at(prepared.commit.clone(), options).await?;
        let relations = self.app.relations(&prepared.commit).await?;
        let looked_at: BTreeSet<TableName> = checks.iter().flat_map(|set| set.tables()).collect();
        // Many checks look at one view: whether it reads a changed table is found out once.
        let mut moved: BTreeSet<&TableName> = looked_at.iter().filter(|table| changed.contains(table)).collect();
        for view in looked_at.iter().filter(|table| relations.get(*table) == Some(&RelationKind::View)) {
            // Of a view that can no longer be planned, its checks say what is wrong.
            let reads = scanned_by(&session, view).await;
            if reads.is_none_or(|tables| tables.iter().any(|table| changed.contains(table))) {
                moved.insert(view);
            }
        }
        let concerned = checks.iter().filter(|set| set.tables().iter().any(|table| moved.contains(table)));
        Ok(concerned.cloned().collect())
    }

    /// From now on the run stands on another commit: resuming must start from that one.
    async fn rebased_onto(&mut self, onto: &CommitId) -> Result<(), AppError> {
        self.record.base = onto.0.clone();
        self.keep_record().await
    }

    /// Moves the target, and records the run as published in the same transaction. `false`: the target moved.
    async fn move_target(&mut self, prepared: &Prepared) -> Result<bool, AppError> {
        let mut published = self.record.clone();
        published.status = RunStatus::Published;
        published.reason = None;
        published.commit = Some(prepared.commit.0.clone());
        published.finished = Some(self.app.system().now());
        let batch = record_batch(&published)?;
        let moved = self.app.catalog.publish(prepared, Some(&self.lease.lease()), batch).await?;
        if moved.is_some() {
            self.record = published;
        }
        Ok(moved.is_some())
    }
}
