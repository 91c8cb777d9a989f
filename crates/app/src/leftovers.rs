//! Tables that nothing in the project makes any more, and taking tables away.

use std::collections::{BTreeMap, BTreeSet};

use polder_base::TableName;
use polder_catalog::{Change, ChangeSet, CommitId, Entry, EntryKey};
use polder_model::RelationKind;
use polder_project::Tables;
use polder_sql::SessionOptions;
use serde::Serialize;

use crate::app::has_errors;
use crate::run::scanned_by;
use crate::{App, AppError, codes};

/// Tables that were taken away.
#[derive(Debug, Clone, Serialize)]
pub struct Dropped {
    pub branch: String,
    pub before: CommitId,
    pub after: CommitId,
    /// Those that were named, and the quarantine of those that a source filled.
    pub tables: Vec<TableName>,
    /// Those among them that the project declares: the next run makes them again.
    pub declared: Vec<TableName>,
}

impl App {
    /// Tables and views at a commit that no file of the project declares. None while files have mistakes: what they
    /// would declare, or mean to read, is not known.
    pub(crate) async fn leftovers(&self, at: &CommitId) -> Result<Vec<TableName>, AppError> {
        if has_errors(&self.loaded.diagnostics) {
            return Ok(Vec::new());
        }
        let blueprint = self.blueprint(&self.loaded, at, false).await?;
        if has_errors(&blueprint.diagnostics) {
            return Ok(Vec::new());
        }
        Ok(leftovers(&self.relations(at).await?, &self.loaded.project.tables))
    }

    /// Takes tables and views off a branch, the current one unless given, as one commit: with the cursors that say how
    /// far they were filled, and with what was set aside on the way.
    ///
    /// # Errors
    /// A table that is not there; one that a model of the project, or a view of the branch, reads; a project with
    /// mistakes, for then nobody knows what reads it.
    pub async fn drop_tables(&self, tables: &[TableName], at: Option<&str>) -> Result<Dropped, AppError> {
        let (branch, head) = self.target(at).await?;
        let entries: BTreeMap<EntryKey, Entry> = self.catalog.entries(&head).await?.into_iter().collect();
        for table in tables {
            if !entries.contains_key(&EntryKey::Relation(table.clone())) {
                return Err(self.unknown_table(table, &branch, &head).await?);
            }
        }
        let doomed = with_quarantine(tables, &entries);
        self.refuse_if_read(&doomed, &head).await?;
        let cursors = entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Cursor(cursor) if doomed.iter().any(|t| t.to_string() == cursor.table) => Some(key.clone()),
            _ => None,
        });
        let relations = doomed.iter().cloned().map(EntryKey::Relation);
        let changes = relations.chain(cursors).map(|key| Change::Drop { key }).collect();
        let message = format!("Drop {}", listed(&doomed));
        self.catalog.commit(&branch, ChangeSet { author: self.author(), message, run: None, changes }).await?;
        let after = self.catalog.resolve(&branch).await?;
        let declared = doomed.iter().filter(|t| self.loaded.project.tables.get(t).is_some()).cloned().collect();
        Ok(Dropped { branch, before: head, after, tables: doomed.into_iter().collect(), declared })
    }

    async fn refuse_if_read(&self, doomed: &BTreeSet<TableName>, head: &CommitId) -> Result<(), AppError> {
        let blueprint = self.blueprint(&self.loaded, head, false).await?.valid()?;
        for model in blueprint.models.iter().filter(|m| !doomed.contains(&m.table)) {
            if let Some(read) = model.reads.iter().find(|r| doomed.contains(&r.table)) {
                return Err(is_read(
                    &read.table,
                    &format!("{} ({})", model.table, model.span.file),
                    doomed,
                    &model.table,
                ));
            }
        }
        let session =
            self.engine.session_at(head.clone(), SessionOptions::system(&*head.0, self.system().now())).await?;
        let views = self.relations(head).await?.into_iter().filter(|(_, kind)| *kind == RelationKind::View);
        for (view, _) in views.filter(|(name, _)| !doomed.contains(name)) {
            let scanned = scanned_by(&session, &view).await.unwrap_or_default();
            if let Some(table) = scanned.iter().find(|t| doomed.contains(*t)) {
                return Err(is_read(table, &format!("the view {view}"), doomed, &view));
            }
        }
        Ok(())
    }
}

fn is_read(table: &TableName, reader: &str, doomed: &BTreeSet<TableName>, also: &TableName) -> AppError {
    let named = doomed.iter().filter(|t| Tables::rejected_from(t).is_none_or(|source| !doomed.contains(&source)));
    let all: BTreeSet<TableName> = named.chain([also]).cloned().collect();
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    AppError::refused(codes::REFUSED, format!("{table} is read by {reader}"))
        .hint(format!("both: polder drop {}", names.join(" ")))
}

/// The tables, and the quarantine of those that have one.
fn with_quarantine(tables: &[TableName], entries: &BTreeMap<EntryKey, Entry>) -> BTreeSet<TableName> {
    let aside = tables.iter().filter_map(Tables::quarantine_of);
    let aside = aside.filter(|name| entries.contains_key(&EntryKey::Relation(name.clone())));
    tables.iter().cloned().chain(aside).collect()
}

/// What is there and is not declared; rejected records are listed by themselves where their table is gone.
fn leftovers(relations: &BTreeMap<TableName, RelationKind>, declared: &Tables) -> Vec<TableName> {
    let is_leftover = |table: &&TableName| match Tables::rejected_from(table) {
        Some(source) => declared.get(&source).is_none() && !relations.contains_key(&source),
        None => declared.get(table).is_none(),
    };
    relations.keys().filter(is_leftover).cloned().collect()
}

fn listed(tables: &BTreeSet<TableName>) -> String {
    tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
