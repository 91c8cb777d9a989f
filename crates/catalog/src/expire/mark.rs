//! Marking what is reachable. Marks only grow, so that a look at refs that moved meanwhile costs what is new on them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use polder_base::Timestamp;
use polder_store::{Batch, Space};
use polder_table::spec::TableMetadata;

use crate::codec::Hash;
use crate::objects::Stage;
use crate::refs::{Head, RefCounter};
use crate::tree::Value;
use crate::{Catalog, Commit, Entry, Result};

#[derive(Debug)]
pub(super) struct Marker<'c> {
    catalog: &'c Catalog,
    /// Commits older than this are cut.
    cutoff: Timestamp,
    /// The objects that may be swept. A commit that came later is kept with all that it needs, whatever its time says.
    candidates: HashSet<Hash>,
    pub(super) objects: HashSet<Hash>,
    /// Relative to the warehouse.
    pub(super) files: HashSet<String>,
    /// Commits that were visited, and whether their place in history was as good as it can be: on a ref's own.
    visited: HashSet<(Hash, Place)>,
    /// The refs as they were marked.
    refs: BTreeMap<String, Bytes>,
    counter: Option<RefCounter>,
}

/// How a commit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// It is kept, however old.
    Kept,
    /// As first parent on a ref's own history: the first one beyond the cut-off is kept too.
    OwnHistory,
    /// Through a second parent.
    Merged,
}

impl<'c> Marker<'c> {
    pub(super) fn new(catalog: &'c Catalog, cutoff: Timestamp, candidates: HashSet<Hash>) -> Self {
        Self {
            catalog,
            cutoff,
            candidates,
            objects: HashSet::new(),
            files: HashSet::new(),
            visited: HashSet::new(),
            refs: BTreeMap::new(),
            counter: None,
        }
    }

    /// Marks from all refs as they are now.
    pub(super) async fn mark_refs(&mut self) -> Result<()> {
        self.counter = Some(self.catalog.ref_counter().await?);
        let heads = self.catalog.heads().await?;
        self.refs = heads.iter().map(|head| (head.name.clone(), head.raw.clone())).collect();
        for head in &heads {
            self.mark_head(head).await?;
        }
        Ok(())
    }

    /// Makes a transaction hold only when every ref is where it was marked, and none was made.
    pub(super) fn expect_refs(&self, mut batch: Batch) -> Batch {
        if let Some(counter) = &self.counter {
            batch = counter.expect(batch);
        }
        for (name, raw) in &self.refs {
            batch = batch.expect(Space::Refs, name.clone(), Some(raw.clone()));
        }
        batch
    }

    async fn mark_head(&mut self, head: &Head) -> Result<()> {
        let tip = head.hash()?;
        self.mark_history(tip, Place::Kept).await?;
        self.mark_history(tip, Place::OwnHistory).await?;
        let Some(fork) = &head.record.fork else { return Ok(()) };
        let fork = Hash::try_from(fork)?;
        self.mark_history(fork, Place::Kept).await?;
        if head.record.expires.is_some() {
            self.mark_since(tip, fork).await?;
        }
        Ok(())
    }

    /// Keeps all commits of a branch that expires: a held run may be published as late as that.
    async fn mark_since(&mut self, tip: Hash, fork: Hash) -> Result<()> {
        let mut next = Some(tip).filter(|tip| *tip != fork);
        while let Some(hash) = next {
            let Some(commit) = self.stored_commit(&hash).await? else { break };
            self.mark_commit(&hash, &commit).await?;
            // Behind a prepared commit, the run's own history goes on from what it was rebased from.
            let back = commit.rebased_from.as_ref().or(commit.parents.first());
            if let Some(merged) = commit.parents.get(1).filter(|_| commit.rebased_from.is_none()) {
                self.mark_history(Hash::parse(merged)?, Place::Kept).await?;
            }
            next = back.map(|hex| Hash::parse(hex)).transpose()?.filter(|back| *back != fork);
        }
        Ok(())
    }

    /// Marks a commit, and those before it as far as the retention goes.
    async fn mark_history(&mut self, tip: Hash, place: Place) -> Result<()> {
        let mut queue = vec![(tip, place)];
        while let Some((hash, place)) = queue.pop() {
            if !self.visited.insert((hash, place)) {
                continue;
            }
            let Some(commit) = self.stored_commit(&hash).await? else { continue };
            let inside = commit.at() >= self.cutoff || !self.candidates.contains(&hash);
            if inside || place != Place::Merged {
                self.mark_commit(&hash, &commit).await?;
            }
            if !inside || place == Place::Kept {
                continue;
            }
            for (index, parent) in commit.parents.iter().enumerate() {
                let place = if index == 0 { place } else { Place::Merged };
                queue.push((Hash::parse(parent)?, place));
            }
        }
        Ok(())
    }

    /// A commit that the store itself has: what is cached here may have been cut by another process.
    async fn stored_commit(&self, hash: &Hash) -> Result<Option<Arc<Commit>>> {
        let objects = self.catalog.objects();
        if objects.is_stored(hash).await? { objects.find_commit(hash).await } else { Ok(None) }
    }

    async fn mark_commit(&mut self, hash: &Hash, commit: &Commit) -> Result<()> {
        if self.objects.insert(*hash) {
            self.mark_tree(Hash::parse(&commit.tree)?).await?;
        }
        Ok(())
    }

    async fn mark_tree(&mut self, root: Hash) -> Result<()> {
        let stage = Stage::new(self.catalog.objects());
        let mut queue = vec![root];
        while let Some(hash) = queue.pop() {
            if !self.objects.insert(hash) {
                continue;
            }
            for item in &stage.node(&hash).await?.items {
                match &item.value {
                    Value::Child(child) => queue.push(*child),
                    Value::Entry(Entry::Table(table)) => self.mark_table(&table.metadata_path).await?,
                    Value::Entry(Entry::View(view)) => {
                        self.files.insert(view.metadata_path.clone());
                    }
                    Value::Entry(Entry::Cursor(_)) => {}
                }
            }
        }
        Ok(())
    }

    /// Marks a metadata file and all that it names.
    pub(super) async fn mark_table(&mut self, metadata_path: &str) -> Result<()> {
        if self.files.contains(metadata_path) {
            return Ok(());
        }
        let metadata = self.catalog.tables().metadata(metadata_path).await?;
        self.mark_metadata(&metadata).await?;
        self.files.insert(metadata_path.to_owned());
        Ok(())
    }

    async fn mark_metadata(&mut self, metadata: &TableMetadata) -> Result<()> {
        let tables = self.catalog.tables();
        for statistics in metadata.statistics_iter() {
            self.files.insert(tables.warehouse().path(&statistics.statistics_path)?.to_owned());
        }
        for snapshot in metadata.snapshots() {
            let list = tables.warehouse().path(snapshot.manifest_list())?;
            if self.files.contains(list) {
                continue;
            }
            for manifest in tables.manifests(metadata, Some(snapshot.snapshot_id())).await? {
                let path = tables.warehouse().path(&manifest.manifest_path)?;
                if self.files.contains(path) {
                    continue;
                }
                for info in tables.files(metadata, &manifest).await? {
                    self.files.insert(tables.warehouse().path(info.file.file_path())?.to_owned());
                }
                self.files.insert(path.to_owned());
            }
            self.files.insert(list.to_owned());
        }
        Ok(())
    }
}
