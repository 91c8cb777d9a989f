//! Making the state store again from the bundles of the warehouse.
//!
//! For each ref, its bundles give the moves that were tried. A move that another builds on took place. Of the last ones
//! that is not known: a process may have stopped between bundle and transaction. The last is believed, when all that it
//! names is there, and reported.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use polder_store::{Batch, Outcome, Space, StoreError};

use crate::behind::GIVEN_UP;
use crate::bundle::{Bundle, BundleFile};
use crate::codec::{Hash, Object, decode};
use crate::lease::RUN_COUNTER;
use crate::records::{decode_record, encode_record};
use crate::refs::{RefCounter, RefRecord};
use crate::tree::Value;
use crate::{Catalog, CatalogError, Commit, Entry, MAIN, Result};

/// What was rebuilt. Runs, their steps and whatever else only the state store knew are not among it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Rebuilt {
    pub refs: Vec<String>,
    /// Refs whose last move may not have taken place: it is believed, but a process may have stopped just before it.
    pub uncertain: Vec<String>,
}

/// Objects of one transaction.
const CHUNK: usize = 500;

/// All that the warehouse knows.
#[derive(Debug, Default)]
struct Found {
    objects: HashMap<Hash, Bytes>,
    moves: BTreeMap<String, Vec<Bundle>>,
    files: HashSet<String>,
}

impl Catalog {
    /// Rebuilds refs and objects in an empty state store. Of two processes that do this at once, one writes the refs.
    /// `None`: there are no bundles, so the warehouse is new.
    ///
    /// # Errors
    /// Bundles from which `main` cannot be read: an empty `main` in their place would hide all tables. A bundle that
    /// storage fails to read for now.
    pub(crate) async fn rebuild(&self) -> Result<Option<Rebuilt>> {
        let bundles = self.bundle_files().await?;
        if bundles.is_empty() {
            return Ok(None);
        }
        let found = self.read_bundles(bundles).await?;
        let mut readable = Readable { found: &found, known: HashMap::new() };
        let mut rebuilt = Rebuilt::default();
        let mut records: BTreeMap<&String, (RefRecord, Bytes)> = BTreeMap::new();
        for (name, moves) in &found.moves {
            let Some((last, uncertain)) = last_move(moves, &mut readable)? else { continue };
            if uncertain {
                rebuilt.uncertain.push(name.clone());
            }
            if let Some(raw) = &last.record {
                let raw = Bytes::from(raw.to_vec());
                records.insert(name, (decode_record(&format!("ref {name}"), &raw)?, raw));
            }
        }
        if !records.contains_key(&MAIN.to_owned()) {
            return Err(StoreError::Corrupt {
                path: crate::bundle::FOLDER.to_owned(),
                detail: "it holds bundles, but none of them leads to a `main` whose metadata files are all there: \
                         nothing was changed; restore the folder from a backup"
                    .to_owned(),
            }
            .into());
        }
        rebuilt.refs = records.keys().map(|name| (*name).clone()).collect();
        let kept = readable.reachable(records.values().map(|(record, _)| record))?;
        self.put_objects(&found, &kept).await?;
        self.put_refs(&found, &records, readable.last_run(&kept)?).await?;
        tracing::warn!(refs = ?rebuilt.refs, uncertain = ?rebuilt.uncertain, "the state store was rebuilt from the warehouse");
        Ok(Some(rebuilt))
    }

    async fn read_bundles(&self, bundles: BTreeMap<String, Vec<BundleFile>>) -> Result<Found> {
        let mut found = Found::default();
        for file in bundles.into_values().flatten() {
            let mut bundle = match self.read_bundle(&file.path).await {
                Ok(bundle) => bundle,
                // It may well be whole: without it, `main` would silently be what it was before.
                Err(error @ CatalogError::Store(StoreError::Io { .. })) => return Err(error),
                // A damaged bundle is as good as none: what builds on it is found to lack objects.
                Err(error) => {
                    tracing::warn!(path = file.path, %error, "a bundle cannot be read");
                    continue;
                }
            };
            for bytes in std::mem::take(&mut bundle.objects) {
                found.objects.insert(Hash::of(&bytes), Vec::from(bytes).into());
            }
            found.moves.entry(bundle.name.clone()).or_default().push(bundle);
        }
        let files = self.tables().warehouse().storage().list("").await?;
        found.files = files.into_iter().map(|info| info.path).collect();
        Ok(found)
    }

    async fn put_objects(&self, found: &Found, kept: &BTreeSet<Hash>) -> Result<()> {
        let kept: Vec<&Hash> = kept.iter().collect();
        for chunk in kept.chunks(CHUNK) {
            let mut batch = Batch::new();
            for name in chunk {
                if let Some(bytes) = found.objects.get(*name) {
                    batch = batch.put(Space::Objects, name.to_hex(), bytes.clone());
                }
            }
            self.state().apply(batch).await?;
        }
        Ok(())
    }

    async fn put_refs(
        &self,
        found: &Found,
        records: &BTreeMap<&String, (RefRecord, Bytes)>,
        last_run: u64,
    ) -> Result<()> {
        // A ref that is made later must start beyond all epochs that any of its name had.
        let last_epoch = found.moves.values().flatten().map(|b| b.epoch).max().unwrap_or_default();
        let mut batch = Batch::new().expect(Space::Refs, MAIN, None);
        for (name, (_, raw)) in records {
            batch = batch.put(Space::Refs, (*name).clone(), raw.clone());
        }
        batch = RefCounter::restore(batch, last_epoch + 1)?;
        let of_main = found.moves.get(MAIN).into_iter().flatten().map(|b| b.epoch).max().unwrap_or_default();
        batch = batch.put(Space::Meta, GIVEN_UP, encode_record(&of_main)?);
        batch = batch.put(Space::Meta, RUN_COUNTER, encode_record(&last_run.max(last_run_branch(records)))?);
        match self.state().apply(batch).await? {
            Outcome::Applied | Outcome::Refused { .. } => Ok(()),
        }
    }
}

fn last_run_branch(records: &BTreeMap<&String, (RefRecord, Bytes)>) -> u64 {
    records.keys().filter_map(|name| name.strip_prefix("run/")?.parse().ok()).max().unwrap_or_default()
}

/// The last move of a ref that can be believed, and whether it is uncertain.
fn last_move<'b>(moves: &'b [Bundle], readable: &mut Readable<'_>) -> Result<Option<(&'b Bundle, bool)>> {
    let mut by_age: Vec<&Bundle> = moves.iter().collect();
    // Among the last that were tried, the one tried last; a pack before the bundle that it replaces.
    by_age.sort_by_key(|b| std::cmp::Reverse((b.epoch, b.time, b.since.is_some())));
    for last in by_age {
        let Some(new) = &last.new else { return Ok(Some((last, false))) };
        if !readable.commit(&Hash::parse(new)?)? {
            continue;
        }
        let first = last.since.unwrap_or(last.epoch);
        let stands = last.old.is_none()
            || moves.iter().any(|b| b.new == last.old && b.epoch < first)
            || moves.iter().all(|b| b.epoch >= first);
        if !stands {
            continue;
        }
        // The move that made a ref of our own first commit cannot have been lost to another.
        return Ok(Some((last, last.old.is_some())));
    }
    Ok(None)
}

/// Which commits can be read in full.
struct Readable<'f> {
    found: &'f Found,
    known: HashMap<Hash, bool>,
}

impl Readable<'_> {
    fn object(&self, name: &Hash) -> Result<Option<Object>> {
        self.found.objects.get(name).map(|bytes| decode(name, bytes)).transpose()
    }

    fn find_commit(&self, name: &Hash) -> Result<Option<std::sync::Arc<Commit>>> {
        Ok(match self.object(name)? {
            Some(Object::Commit(commit)) => Some(commit),
            _ => None,
        })
    }

    /// Whether a commit, all nodes of its tree, and the metadata files of all its entries are there. Metadata files are
    /// deleted before what they name, so that they vouch for it.
    fn commit(&mut self, name: &Hash) -> Result<bool> {
        match self.find_commit(name)? {
            Some(commit) => self.node(Hash::parse(&commit.tree)?),
            None => Ok(false),
        }
    }

    fn node(&mut self, name: Hash) -> Result<bool> {
        if let Some(known) = self.known.get(&name) {
            return Ok(*known);
        }
        let mut whole = true;
        match self.object(&name)? {
            Some(Object::Node(node)) => {
                for item in &node.items {
                    whole &= match &item.value {
                        Value::Child(child) => self.node(*child)?,
                        Value::Entry(Entry::Table(table)) => self.found.files.contains(&table.metadata_path),
                        Value::Entry(Entry::View(view)) => self.found.files.contains(&view.metadata_path),
                        Value::Entry(Entry::Cursor(_)) => true,
                    };
                }
            }
            _ => whole = false,
        }
        self.known.insert(name, whole);
        Ok(whole)
    }

    /// The commits and nodes that refs lead to, as far back as they can be read.
    fn reachable<'r>(&mut self, records: impl Iterator<Item = &'r RefRecord>) -> Result<BTreeSet<Hash>> {
        let mut kept = BTreeSet::new();
        let mut queue = Vec::new();
        for record in records {
            queue.push(Hash::try_from(&record.commit)?);
            queue.extend(record.fork.as_ref().map(Hash::try_from).transpose()?);
        }
        while let Some(name) = queue.pop() {
            if kept.contains(&name) || !self.commit(&name)? {
                continue;
            }
            let Some(commit) = self.find_commit(&name)? else { continue };
            kept.insert(name);
            self.keep_tree(Hash::parse(&commit.tree)?, &mut kept)?;
            for parent in &commit.parents {
                queue.push(Hash::parse(parent)?);
            }
        }
        Ok(kept)
    }

    fn keep_tree(&self, root: Hash, kept: &mut BTreeSet<Hash>) -> Result<()> {
        let mut queue = vec![root];
        while let Some(name) = queue.pop() {
            if !kept.insert(name) {
                continue;
            }
            if let Some(Object::Node(node)) = self.object(&name)? {
                queue.extend(node.items.iter().filter_map(|item| match &item.value {
                    Value::Child(child) => Some(*child),
                    Value::Entry(_) => None,
                }));
            }
        }
        Ok(())
    }

    /// The greatest number of a run that any commit names.
    fn last_run(&self, kept: &BTreeSet<Hash>) -> Result<u64> {
        let mut last = 0;
        for name in kept {
            if let Some(commit) = self.find_commit(name)? {
                last = last.max(commit.run.unwrap_or_default());
            }
        }
        Ok(last)
    }
}
