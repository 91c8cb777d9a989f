//! What a merge leaves undone: it takes tables as they are, and computes and checks nothing.

use std::collections::BTreeSet;

use polder_base::TableName;
use polder_catalog::{CommitId, EntryKey};
use serde::Serialize;

use crate::app::has_errors;
use crate::blueprint::Work;
use crate::plan::{Action, Planner};
use crate::{App, AppError};

/// What of a merged state neither side has seen so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// Tables that are not what the files make of what is shown now: what they are made from came without them, or they
    /// without it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<TableName>,
    /// What has checks that look at tables of both sides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<String>,
}

impl Undone {
    pub fn is_nothing(&self) -> bool {
        self.behind.is_empty() && self.unchecked.is_empty()
    }
}

impl App {
    /// What is left to do after a merge: `ours` and `theirs` were combined into `merged`. Nothing is told while files
    /// have mistakes: what they would make is not known.
    ///
    /// # Errors
    /// State or metadata that cannot be read.
    pub(crate) async fn undone(
        &self,
        ours: &CommitId,
        theirs: &CommitId,
        merged: &CommitId,
    ) -> Result<Undone, AppError> {
        if has_errors(&self.loaded.diagnostics) {
            return Ok(Undone::default());
        }
        let blueprint = self.blueprint(&self.loaded, merged, false).await?;
        if has_errors(&blueprint.diagnostics) {
            return Ok(Undone::default());
        }
        let (came, kept) = (self.changed(ours, merged).await?, self.changed(theirs, merged).await?);
        let models = blueprint.models.iter().map(|model| model.table.to_string()).collect();
        let graph = blueprint.run_graph(&models)?;
        let planner = Planner { app: self, base: merged, full_refresh: false };
        let (mut touched, mut behind) = (came.clone(), Vec::new());
        for index in graph.topological() {
            let Work::Model(model) = graph.value(index) else { continue };
            let is_touched = touched.contains(&model.table) || model.reads.iter().any(|r| touched.contains(&r.table));
            // What is not there was never built, on neither side.
            let is_there = self.catalog.entry(merged, &EntryKey::Relation(model.table.clone())).await?.is_some();
            if !is_touched || !is_there {
                continue;
            }
            touched.insert(model.table.clone());
            let reads_old = model.reads.iter().any(|r| behind.contains(&r.table));
            if reads_old || planner.model(model, &[]).await?.0 != Action::UpToDate {
                behind.push(model.table.clone());
            }
        }
        // Those of tables that are built anew are run then.
        let sets = blueprint.sets.iter().filter(|set| set.table.as_ref().is_none_or(|table| !behind.contains(table)));
        let of = |tables: &BTreeSet<TableName>, side: &BTreeSet<TableName>| tables.iter().any(|t| side.contains(t));
        let unchecked = sets.filter(|set| of(&set.tables(), &came) && of(&set.tables(), &kept));
        let unchecked = unchecked.map(|set| set.name.clone()).collect();
        Ok(Undone { behind, unchecked })
    }

    /// Tables and views that two commits show in different ways.
    async fn changed(&self, from: &CommitId, to: &CommitId) -> Result<BTreeSet<TableName>, AppError> {
        let changes = self.catalog.diff(from, to).await?.into_iter();
        Ok(changes
            .filter_map(|change| match change.key {
                EntryKey::Relation(table) => Some(table),
                EntryKey::Cursor(_) => None,
            })
            .collect())
    }
}
