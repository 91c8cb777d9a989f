//! Merging one branch into another, and going back.

use std::collections::BTreeSet;

use polder_base::TableName;
use polder_store::Batch;

use crate::codec::{Hash, decode_key, encode_key};
use crate::commit::ATTEMPTS;
use crate::guard::Guard;
use crate::moving::Moved;
use crate::objects::Stage;
use crate::refs::Head;
use crate::three_way::Sides;
use crate::tree::{self, Edits};
use crate::{Author, Catalog, CatalogError, Commit, CommitId, Entry, EntryKey, Result, TableAction, TableOperation};

impl Catalog {
    /// Three-way merge of a branch (or any commit that `resolve` knows) into a branch, as one commit. The commit names
    /// both as its parents, so that merging again starts where this one ended. Without a difference there is no commit.
    ///
    /// # Errors
    /// `Conflict`, naming both sides, for changes that do not go together.
    pub async fn merge(&self, from: &str, into: &str, author: &Author, message: &str) -> Result<CommitId> {
        for attempt in 1..=ATTEMPTS {
            let guard = self.guard().await?;
            let head = self.branch_head(into).await?;
            let theirs = Hash::try_from(&self.resolve(from).await?)?;
            let name = format!("branch `{from}`");
            let sides = Sides { ours: head.hash()?, theirs, theirs_name: &name, run: None, hold: &BTreeSet::new() };
            let mut stage = Stage::new(self.objects());
            let combined = match self.combine(&guard, &stage, &sides).await {
                Err(_) if self.was_swept_since(&guard).await? => {
                    self.back_off(attempt).await;
                    continue;
                }
                combined => combined?,
            };
            let ours_commit = stage.commit(&sides.ours).await?;
            let tree = Hash::parse(&ours_commit.tree)?;
            let new_tree = tree::edit(&mut stage, &tree, &combined.edits).await?;
            if new_tree == tree {
                return Ok(head.record.commit);
            }
            let theirs_commit = stage.commit(&theirs).await?;
            let commit = Commit {
                tree: new_tree.to_hex(),
                parents: vec![sides.ours.to_hex(), theirs.to_hex()],
                author: author.clone(),
                time: self.commit_time([&*ours_commit, &*theirs_commit]),
                message: message.to_owned(),
                run: None,
                operations: combined.operations,
                rebased_from: None,
                accepted: None,
            };
            if let Some(id) = self.move_to(&head, &guard, stage, commit).await? {
                return Ok(id);
            }
            self.back_off(attempt).await;
        }
        Err(CatalogError::Contended { name: into.to_owned(), attempts: ATTEMPTS })
    }

    /// Makes a branch show what it showed at `to`, as a new commit: all entries, or those of `tables` and the cursors
    /// that belong to them. A table that was made since is dropped.
    ///
    /// Cursors go back with the rows that they stand for, so that the next ingest reads those rows again.
    pub async fn rollback(
        &self,
        branch: &str,
        to: &CommitId,
        tables: Option<&[TableName]>,
        author: &Author,
    ) -> Result<CommitId> {
        for attempt in 1..=ATTEMPTS {
            let guard = self.guard().await?;
            let head = self.branch_head(branch).await?;
            // A commit can be cached here and collected there.
            if !self.objects().is_stored(&Hash::try_from(to)?).await? {
                return Err(CatalogError::UnknownCommit { commit: to.0.clone() });
            }
            let mut stage = Stage::new(self.objects());
            let parent = stage.commit(&head.hash()?).await?;
            let (now, then) = (Hash::parse(&parent.tree)?, self.tree_of(to).await?);
            let edits = restoring(&stage, &now, &then, tables).await?;
            for entry in edits.values().flatten() {
                self.verify_readable(&guard, entry).await?;
            }
            let new_tree = tree::edit(&mut stage, &now, &edits).await?;
            if new_tree == now {
                return Ok(head.record.commit);
            }
            let commit = Commit {
                tree: new_tree.to_hex(),
                parents: vec![head.record.commit.0.clone()],
                author: author.clone(),
                time: self.commit_time([&*parent]),
                message: rollback_message(to, tables),
                run: None,
                operations: edits.iter().map(|(key, entry)| restored(key, entry.as_ref())).collect::<Result<_>>()?,
                rebased_from: None,
                accepted: None,
            };
            if let Some(id) = self.move_to(&head, &guard, stage, commit).await? {
                return Ok(id);
            }
            self.back_off(attempt).await;
        }
        Err(CatalogError::Contended { name: branch.to_owned(), attempts: ATTEMPTS })
    }

    /// Moves a branch to a new commit on top of it. `None`: it moved meanwhile.
    async fn move_to(
        &self,
        head: &Head,
        guard: &Guard,
        mut stage: Stage<'_>,
        commit: Commit,
    ) -> Result<Option<CommitId>> {
        let commit = stage.add_commit(commit);
        let objects = stage.bytes().map(|(_, bytes)| bytes.clone()).collect();
        let moved = self.move_ref(head, &commit, guard, stage, objects, Batch::new()).await?;
        Ok((moved == Moved::Yes).then(|| commit.into()))
    }
}

/// What turns the tree `now` into `then`, for the given tables and their cursors or for all.
async fn restoring(stage: &Stage<'_>, now: &Hash, then: &Hash, tables: Option<&[TableName]>) -> Result<Edits> {
    let differences = tree::diff(stage, now, then).await?;
    let Some(tables) = tables else {
        return Ok(differences.into_iter().map(|(key, d)| (key, d.after)).collect());
    };
    for table in tables {
        let key = encode_key(&EntryKey::Relation(table.clone()));
        let known = differences.contains_key(&key) || tree::get(stage, now, &key).await?.is_some();
        if !known {
            return Err(CatalogError::UnknownTable { name: table.to_string(), at: "either commit".to_owned() });
        }
    }
    let names: BTreeSet<String> = tables.iter().map(TableName::to_string).collect();
    let mut edits = Edits::new();
    for (key, difference) in differences {
        let belongs = match decode_key(&key)? {
            EntryKey::Relation(name) => tables.contains(&name),
            EntryKey::Cursor(_) => [&difference.before, &difference.after]
                .into_iter()
                .any(|e| matches!(e, Some(Entry::Cursor(c)) if names.contains(&c.table))),
        };
        if belongs {
            edits.insert(key, difference.after);
        }
    }
    Ok(edits)
}

fn restored(key: &tree::Key, entry: Option<&Entry>) -> Result<TableOperation> {
    let action = if entry.is_some() { TableAction::Take } else { TableAction::Drop };
    Ok(TableOperation { entry: decode_key(key)?.to_string(), action, read: true, added_rows: 0, removed_rows: 0 })
}

fn rollback_message(to: &CommitId, tables: Option<&[TableName]>) -> String {
    let what = match tables {
        None => String::new(),
        Some(tables) => tables.iter().map(|t| format!(" {t}")).collect::<Vec<_>>().join(","),
    };
    format!("Roll back{what} to {}", to.short())
}
