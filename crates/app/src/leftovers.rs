//! Tables that nothing in the project makes any more, and taking tables away.

use std::collections::{BTreeMap, BTreeSet};

use polder_base::TableName;
use polder_catalog::{CatalogError, Change, ChangeSet, CommitId, Entry, EntryKey};
use polder_model::RelationKind;
use polder_project::Tables;
use polder_sql::{Session, SessionOptions};
use polder_store::{Batch, Space};
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

/// How often a drop is judged again when its branch moves.
const RACES: u32 = 8;

/// A drop that nothing on the branch stood against.
struct Judged {
    branch: String,
    head: CommitId,
    /// Holds as long as the branch is where it was judged.
    unmoved: Batch,
    doomed: BTreeSet<TableName>,
    /// The cursors that say how far the tables were filled.
    cursors: Vec<EntryKey>,
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
        let branch = self.ref_or_current(at)?;
        for _ in 0..RACES {
            let judged = self.judge_drop(tables, &branch).await?;
            if let Some(dropped) = self.drop_judged(judged).await? {
                return Ok(dropped);
            }
        }
        Err(CatalogError::Contended { name: branch, attempts: RACES }.into())
    }

    /// Finds out what would go with the tables, and refuses where something reads it.
    async fn judge_drop(&self, tables: &[TableName], branch: &str) -> Result<Judged, AppError> {
        // The record first, then the head in it: a branch that moves in between is found to have moved.
        let record = self.catalog.state().get(Space::Refs, branch).await?;
        let (branch, head) = self.target(Some(branch)).await?;
        let entries: BTreeMap<EntryKey, Entry> = self.catalog.entries(&head).await?.into_iter().collect();
        for table in tables {
            if !entries.contains_key(&EntryKey::Relation(table.clone())) {
                return Err(self.unknown_table(table, &branch, &head).await?);
            }
        }
        let doomed = with_quarantine(tables, &entries);
        if let Some(reader) = self.reader(&doomed, &head).await? {
            return Err(reader.refuses(&doomed, &self.naming("--ref", &branch)?));
        }
        let cursors = entries.into_iter().filter_map(|(key, entry)| match entry {
            Entry::Cursor(cursor) if doomed.iter().any(|t| t.to_string() == cursor.table) => Some(key),
            _ => None,
        });
        let cursors = cursors.collect();
        let unmoved = Batch::new().expect(Space::Refs, &*branch, record);
        Ok(Judged { branch, head, unmoved, doomed, cursors })
    }

    /// `None`: the branch moved since, and what reads the tables has to be looked for again.
    async fn drop_judged(&self, judged: Judged) -> Result<Option<Dropped>, AppError> {
        let Judged { branch, head: before, unmoved, doomed, cursors } = judged;
        let relations = doomed.iter().cloned().map(EntryKey::Relation);
        let changes = relations.chain(cursors).map(|key| Change::Drop { key }).collect();
        let message = format!("Drop {}", listed(&doomed));
        let changes = ChangeSet { author: self.author(), message, run: None, changes };
        let after = match self.catalog.commit_with(&branch, changes, unmoved).await {
            Ok(after) => after,
            Err(CatalogError::RecordChanged { .. }) => return Ok(None),
            Err(other) => return Err(other.into()),
        };
        let declared = doomed.iter().filter(|t| self.loaded.project.tables.get(t).is_some()).cloned().collect();
        Ok(Some(Dropped { branch, before, after, tables: doomed.into_iter().collect(), declared }))
    }

    /// What reads one of the tables, and is not to go with them.
    async fn reader(&self, doomed: &BTreeSet<TableName>, head: &CommitId) -> Result<Option<Reader>, AppError> {
        let blueprint = self.blueprint(&self.loaded, head, false).await?.valid()?;
        for model in blueprint.models.iter().filter(|m| !doomed.contains(&m.table)) {
            if let Some(read) = model.reads.iter().find(|r| doomed.contains(&r.table)) {
                let what = format!("{} ({})", model.table, model.span.file);
                return Ok(Some(Reader { what, makes: model.table.clone(), reads: read.table.clone() }));
            }
        }
        let options = SessionOptions::system(&*head.0, self.system().now());
        let session = self.engine.session_at(head.clone(), options).await?;
        let relations = self.relations(head).await?;
        let views = relations.iter().filter(|(name, kind)| **kind == RelationKind::View && !doomed.contains(*name));
        for (view, _) in views {
            let read = self.read_by(view, &session, head, &relations).await?;
            if let Some(table) = read.iter().find(|t| doomed.contains(*t)) {
                let what = format!("the view {view}");
                return Ok(Some(Reader { what, makes: view.clone(), reads: table.clone() }));
            }
        }
        Ok(None)
    }

    /// What a view reads: the tables and views that its SQL names, and the tables below those. Of a view that cannot be
    /// planned any more, or whose file is gone, as much as can be found out.
    async fn read_by(
        &self,
        view: &TableName,
        session: &Session,
        head: &CommitId,
        relations: &BTreeMap<TableName, RelationKind>,
    ) -> Result<BTreeSet<TableName>, AppError> {
        let mut read = scanned_by(session, view).await.unwrap_or_default();
        let sql = match self.lake.view(head, view).await {
            Ok(found) => found.map(|found| found.sql),
            Err(error) if error.is_damage() => None,
            Err(error) => return Err(error.into()),
        };
        let named = sql.and_then(|sql| polder_sql::table_references(&sql).ok()).unwrap_or_default();
        for (namespace, name) in named {
            let places = namespace.map_or_else(|| polder_sql::search_order(Some(&view.namespace)), |only| vec![only]);
            let mut tables = places.iter().map(|namespace| TableName::new(&**namespace, &*name));
            read.extend(tables.find(|table| relations.contains_key(table)));
        }
        Ok(read)
    }
}

/// What stands against a drop.
struct Reader {
    /// In words.
    what: String,
    /// The table or view that it is, or makes.
    makes: TableName,
    /// The one that is to be dropped.
    reads: TableName,
}

impl Reader {
    /// `at`: what names the branch in a command.
    fn refuses(self, doomed: &BTreeSet<TableName>, at: &str) -> AppError {
        let named = doomed.iter().filter(|t| Tables::rejected_from(t).is_none_or(|source| !doomed.contains(&source)));
        let all: BTreeSet<&TableName> = named.chain([&self.makes]).collect();
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        AppError::refused(codes::REFUSED, format!("{} is read by {}", self.reads, self.what))
            .hint(format!("both: polder drop {}{at}", names.join(" ")))
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{OpenOptions, RunRequest};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_branch_that_moved_is_judged_again() {
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("models/gold");
        std::fs::create_dir_all(&models).unwrap();
        std::fs::write(folder.path().join("polder.yaml"), "name: races\nmemory_limit: 256MB\n").unwrap();
        std::fs::write(models.join("old.sql"), "select 1 as one\n").unwrap();
        let view = "{{ config(materialized='view') }}\nselect one from gold.old\n";
        std::fs::write(models.join("newer.sql"), view).unwrap();
        let options = OpenOptions::new(folder.path());
        let app = App::open(&options).await.unwrap();
        let silent = Arc::new(polder_run::Silent);
        app.run(&RunRequest::default(), silent, &CancellationToken::new()).await.unwrap();
        std::fs::remove_dir_all(&models).unwrap();
        let app = App::open(&options).await.unwrap();
        let (old, newer): (TableName, TableName) = ("gold.old".parse().unwrap(), "gold.newer".parse().unwrap());

        let without = app.drop_tables(std::slice::from_ref(&newer), None).await.unwrap();
        let judged = app.judge_drop(std::slice::from_ref(&old), "main").await.unwrap();
        app.rollback(None, &without.before.0, &[]).await.unwrap();
        assert!(app.drop_judged(judged).await.unwrap().is_none(), "the view is back");
        let error = app.drop_tables(std::slice::from_ref(&old), None).await.unwrap_err();
        assert!(error.to_string().contains("gold.old is read by the view gold.newer"), "{error}");
        let both = app.drop_tables(&[old, newer], None).await.unwrap();
        assert_eq!(both.after, app.catalog.resolve("main").await.unwrap());
    }
}
