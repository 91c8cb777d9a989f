//! What of a run is held back when the rest is published: what went wrong, and what is made from that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polder_base::TableName;
use polder_catalog::{CommitId, Entry, EntryChange, EntryKey};
use polder_check::CheckSet;
use polder_ingest::quarantine_of;
use polder_model::RelationKind;
use polder_run::{FailureKind, Graph, HeldTable, StepRecord, StepStatus};
use polder_sql::SessionOptions;

use super::{Conductor, scanned_by};
use crate::AppError;
use crate::blueprint::Work;

/// Tables and views that stay on the run's branch, and why.
pub(super) struct Held {
    why: BTreeMap<TableName, String>,
    /// What the run changed.
    changes: Vec<EntryChange>,
    /// The tables that each model of the run reads, also through views.
    reads: Vec<(TableName, BTreeSet<TableName>)>,
    /// The tables below each view that a check looks at.
    below: BTreeMap<TableName, BTreeSet<TableName>>,
    graph: Graph<Work>,
}

impl Held {
    /// A run that holds nothing back.
    pub(super) fn nothing(graph: &Graph<Work>) -> Self {
        Self {
            why: BTreeMap::new(),
            changes: Vec::new(),
            reads: Vec::new(),
            below: BTreeMap::new(),
            graph: graph.clone(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.why.is_empty()
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = &TableName> {
        self.why.keys()
    }

    /// For the run's record.
    pub(super) fn list(&self) -> Vec<HeldTable> {
        self.why.iter().map(|(table, why)| HeldTable { table: table.to_string(), why: why.clone() }).collect()
    }

    pub(super) fn graph(&self) -> &Graph<Work> {
        &self.graph
    }

    pub(super) fn checks(&self) -> Vec<Arc<CheckSet>> {
        super::publish::checks_of(&self.graph)
    }

    /// What of the branch is held back: tables and views, what was set aside of them, and how far they were read.
    pub(super) fn keys(&self) -> BTreeSet<EntryKey> {
        let aside: BTreeSet<TableName> = self.why.keys().map(quarantine_of).collect();
        let names: BTreeSet<String> = self.why.keys().map(ToString::to_string).collect();
        let is_held = |change: &&EntryChange| match &change.key {
            EntryKey::Relation(name) => self.why.contains_key(name) || aside.contains(name),
            EntryKey::Cursor(_) => [&change.before, &change.after]
                .into_iter()
                .any(|entry| matches!(entry, Some(Entry::Cursor(cursor)) if names.contains(&cursor.table))),
        };
        self.changes.iter().filter(is_held).map(|change| change.key.clone()).collect()
    }

    /// Tables and views that the run changed and that are not held back.
    pub(super) fn published(&self) -> BTreeSet<&TableName> {
        self.changed().filter(|name| !self.why.contains_key(*name)).collect()
    }

    fn changed(&self) -> impl Iterator<Item = &TableName> {
        self.changes.iter().filter_map(|change| match &change.key {
            EntryKey::Relation(name) => Some(name),
            EntryKey::Cursor(_) => None,
        })
    }

    /// Holds back what these steps say is wrong, and what is made from it. `false`: one of them is about nothing that
    /// the run could hold back, so that nobody knows what of it is good.
    pub(super) fn add(&mut self, steps: &[StepRecord]) -> bool {
        for step in steps.iter().filter(|step| step.status == StepStatus::Failed) {
            match self.work(step) {
                Some(Work::Check(set)) if !self.add_check(&set, step) => return false,
                Some(Work::Check(_)) | None => {}
                Some(filler) => {
                    let message = step.failure.as_ref().map(|f| f.message.as_str()).unwrap_or_default();
                    self.add_table(filler.writes(), &format!("its step failed: {message}"));
                }
            }
        }
        self.add_readers();
        for step in steps.iter().filter(|step| step.status == StepStatus::Skipped) {
            if let Some(skipped) = self.work(step) {
                self.add_table(skipped.writes(), "not built, for something that it needs went wrong");
            }
        }
        self.add_readers();
        true
    }

    fn work(&self, step: &StepRecord) -> Option<Work> {
        Some(self.graph.value(self.graph.index_of(&step.step)?).clone())
    }

    fn add_table<'t>(&mut self, tables: impl IntoIterator<Item = &'t TableName>, why: &str) {
        for table in tables {
            self.why.entry(table.clone()).or_insert_with(|| why.to_owned());
        }
    }

    fn add_check(&mut self, set: &CheckSet, step: &StepRecord) -> bool {
        let computed = step.failure.as_ref().is_some_and(|f| f.kind == FailureKind::Check);
        if !computed {
            let message = step.failure.as_ref().map(|f| f.message.as_str()).unwrap_or_default();
            return self.add_named(set, set.tables(), &format!("its checks cannot be computed: {message}"));
        }
        step.report.failures.iter().filter(|f| f.holds()).all(|failure| {
            let named: BTreeSet<TableName> = failure.tables.iter().filter_map(|t| t.parse().ok()).collect();
            let named = if named.is_empty() { set.tables() } else { named };
            self.add_named(set, named, &format!("{} on {} does not hold", failure.check, failure.table))
        })
    }

    /// Holds back what a check names: the table that it is about, and of the others, also those below views, what this
    /// run changed.
    fn add_named(&mut self, set: &CheckSet, named: BTreeSet<TableName>, why: &str) -> bool {
        let named: BTreeSet<TableName> = named.into_iter().filter(|t| !polder_sql::is_system_table(t)).collect();
        let below = named.iter().filter_map(|view| self.below.get(view)).flatten();
        let all: BTreeSet<TableName> = named.iter().chain(below).cloned().collect();
        let changed: BTreeSet<&TableName> = self.changed().collect();
        let mut wrong: BTreeSet<TableName> = all.iter().filter(|t| changed.contains(t)).cloned().collect();
        wrong.extend(set.table.iter().filter(|t| named.contains(t)).cloned());
        let wrong = if wrong.is_empty() { named } else { wrong };
        self.add_table(&wrong, why);
        !wrong.is_empty()
    }

    fn add_readers(&mut self) {
        loop {
            let next = self.reads.iter().find_map(|(model, reads)| {
                let wrong = reads.iter().find(|table| self.why.contains_key(*table))?;
                (!self.why.contains_key(model)).then(|| (model.clone(), format!("reads {wrong}")))
            });
            match next {
                Some((model, why)) => _ = self.why.insert(model, why),
                None => return,
            }
        }
    }
}

impl Conductor {
    /// What of the run is to be held back. `None`: all of it.
    pub(super) async fn hold(&self, graph: &Graph<Work>, steps: &[StepRecord]) -> Result<Option<Held>, AppError> {
        let mut held = self.lineage(graph).await?;
        Ok(held.add(steps).then_some(held))
    }

    /// What the run changed, and what is made from what.
    pub(super) async fn lineage(&self, graph: &Graph<Work>) -> Result<Held, AppError> {
        let (app, record) = (&self.app, &self.record);
        let head = app.catalog.resolve(&record.branch).await?;
        let changes = app.catalog.diff(&CommitId(record.base.clone()), &head).await?;
        let relations = app.relations(&head).await?;
        let session =
            app.engine.session_at(head, SessionOptions::system(record.branch.as_str(), record.run_time)).await?;
        let looked_at: BTreeSet<TableName> = graph.iter().flat_map(|(_, work)| looks_at(work)).collect();
        let mut below = BTreeMap::new();
        for view in looked_at.into_iter().filter(|name| relations.get(name) == Some(&RelationKind::View)) {
            // A view that can no longer be planned stands for itself.
            let tables = scanned_by(&session, &view).await.unwrap_or_default();
            below.insert(view, tables);
        }
        let models = graph.iter().filter(|(_, work)| matches!(work, Work::Model(_)));
        let reads = models.filter_map(|(_, work)| {
            let named = looks_at(work);
            let through = named.iter().filter_map(|view| below.get(view)).flatten().cloned().collect::<Vec<_>>();
            Some((work.writes()?.clone(), named.into_iter().chain(through).collect()))
        });
        let reads = reads.collect();
        Ok(Held { why: BTreeMap::new(), changes, reads, below, graph: graph.clone() })
    }
}

/// The tables and views that a step reads.
fn looks_at(work: &Work) -> BTreeSet<TableName> {
    match work {
        Work::Ingest(..) => BTreeSet::new(),
        Work::Model(model) => model.reads.iter().map(|r| r.table.clone()).collect(),
        Work::Check(set) => set.tables(),
    }
}
