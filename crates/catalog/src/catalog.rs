//! The catalog's face: opening it, and reading from it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use polder_base::Timestamp;
use polder_store::{Batch, Outcome, Space, State, StoreError, Warehouse};
use polder_system::System;
use polder_table::TableIo;
use polder_table::spec::TableMetadataRef;

use crate::cache::Cache;
use crate::codec::{Hash, decode_key, encode_key};
use crate::commit::Lanes;
use crate::guard::Guard;
use crate::objects::{Objects, Stage};
use crate::rebuild::Rebuilt;
use crate::records::{decode_record, encode_record};
use crate::refs::RefRecord;
use crate::tree::{self, Node};
use crate::{Author, Commit, CommitId, Entry, EntryChange, EntryKey, RefKind, Result, TableEntry};

/// The ref that everything starts from.
pub const MAIN: &str = "main";

/// The format of the state records and of the warehouse's layout that this version knows.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "_polder/format";
/// Tables whose metadata is kept in memory.
const METADATA_CACHE_TABLES: usize = 2048;

/// A catalog in a state store and a warehouse. Cheap to clone; the clones share caches.
#[derive(Debug, Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Arc<dyn State>,
    tables: TableIo,
    system: Arc<dyn System>,
    objects: Objects,
    metadata: Mutex<Cache<String, TableMetadataRef>>,
    lanes: Lanes,
    sweeps_seen: AtomicU64,
    rebuilt: OnceLock<Rebuilt>,
    /// Names this process in leases.
    holder: u64,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct FormatFile {
    format: u32,
    /// Where the warehouse was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<String>,
}

impl Catalog {
    /// Opens a catalog. In an empty store it makes `main` with an empty tree; where the warehouse has bundles, the state
    /// store was lost, and refs and objects are rebuilt from them.
    ///
    /// # Errors
    /// A store or warehouse of a newer format, or one that was moved; a store that is damaged, or older than the
    /// warehouse.
    pub async fn open(state: Arc<dyn State>, warehouse: Warehouse, system: Arc<dyn System>) -> Result<Self> {
        let catalog = Self::of_state(state, warehouse, system);
        catalog.check_format().await?;
        if catalog.find_head(MAIN).await?.is_none() {
            match catalog.rebuild().await? {
                // A `main` that is still empty is one in the making.
                Some(rebuilt) if catalog.head(MAIN).await?.record.epoch > 0 => {
                    let _ = catalog.inner.rebuilt.set(rebuilt);
                }
                Some(_) => {}
                None => catalog.make_main().await?,
            }
        } else {
            catalog.check_not_behind().await?;
        }
        Ok(catalog)
    }

    /// A catalog of which only the state is read: the warehouse, which may be away, is not looked at, and whether the two
    /// belong together is not known. Nothing may be committed by it.
    #[must_use]
    pub fn of_state(state: Arc<dyn State>, warehouse: Warehouse, system: Arc<dyn System>) -> Self {
        let inner = Inner {
            objects: Objects::new(Arc::clone(&state)),
            tables: TableIo::new(warehouse, Arc::clone(&system)),
            metadata: Mutex::new(Cache::new(METADATA_CACHE_TABLES)),
            lanes: Lanes::default(),
            sweeps_seen: AtomicU64::new(0),
            rebuilt: OnceLock::new(),
            holder: system.random(),
            state,
            system,
        };
        Self { inner: Arc::new(inner) }
    }

    async fn check_format(&self) -> Result<()> {
        const KEY: &str = "format";
        match self.state().get(Space::Meta, KEY).await? {
            Some(raw) => known_format("state", decode_record("format", &raw)?)?,
            None => {
                let batch = Batch::new().expect(Space::Meta, KEY, None).put(Space::Meta, KEY, encode_record(&FORMAT)?);
                self.state().apply(batch).await?;
            }
        }
        self.check_warehouse().await
    }

    /// Verifies that the warehouse has a format that we know, and is where it was made: Iceberg's metadata names files by
    /// absolute locations.
    async fn check_warehouse(&self) -> Result<()> {
        let warehouse = self.tables().warehouse();
        let (storage, root) = (warehouse.storage(), warehouse.root());
        match storage.get(FORMAT_FILE).await {
            Ok(bytes) => {
                let file: FormatFile = decode_record(FORMAT_FILE, &bytes)?;
                known_format(FORMAT_FILE, file.format)?;
                match file.root {
                    Some(made) if made != root => Err(StoreError::Moved { made, found: root.to_owned() }.into()),
                    _ => Ok(()),
                }
            }
            Err(StoreError::NotFound { .. }) => {
                let file = FormatFile { format: FORMAT, root: Some(root.to_owned()) };
                match storage.put(FORMAT_FILE, encode_record(&file)?).await {
                    Ok(()) | Err(StoreError::Exists { .. }) => Ok(()),
                    Err(e) => Err(e.into()),
                }
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Makes `main` with an empty tree. Two processes that do this at once write the same bytes.
    async fn make_main(&self) -> Result<()> {
        let mut stage = Stage::new(self.objects());
        let tree = stage.add_node(Node::empty());
        let root = stage.add_commit(Commit {
            tree: tree.to_hex(),
            parents: Vec::new(),
            author: Author { principal: "polder".to_owned() },
            time: 0,
            message: "Empty catalog".to_owned(),
            run: None,
            operations: Vec::new(),
            rebased_from: None,
            accepted: None,
        });
        let record = RefRecord {
            kind: RefKind::Branch,
            commit: root.into(),
            epoch: 0,
            created: Timestamp(0),
            expires: None,
            fork: None,
        };
        let raw = encode_record(&record)?;
        let objects: Vec<Bytes> = stage.bytes().map(|(_, bytes)| bytes.clone()).collect();
        let guard = self.guard().await?;
        self.write_bundle(&guard, MAIN, None, Some((&record, raw.clone())), record.epoch, objects).await?;
        let batch = stage.put_all(Batch::new().expect(Space::Refs, MAIN, None)).put(Space::Refs, MAIN, raw);
        match self.state().apply(batch).await? {
            Outcome::Applied | Outcome::Refused { .. } => Ok(()),
        }
    }

    /// What was rebuilt from the warehouse when this catalog was opened, because the state store was lost.
    pub fn rebuilt(&self) -> Option<&Rebuilt> {
        self.inner.rebuilt.get()
    }

    pub fn state(&self) -> &Arc<dyn State> {
        &self.inner.state
    }

    pub fn tables(&self) -> &TableIo {
        &self.inner.tables
    }

    pub fn system(&self) -> &Arc<dyn System> {
        &self.inner.system
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.inner.objects
    }

    /// The record that every writer reads first (see [`crate::guard`]). When garbage was collected since the last look,
    /// objects that are cached may be gone from the store: they are forgotten.
    pub(crate) async fn guard(&self) -> Result<Guard> {
        let guard = Guard::read(&**self.state()).await?;
        if self.inner.sweeps_seen.swap(guard.record.epoch, Ordering::Relaxed) != guard.record.epoch {
            self.objects().forget();
        }
        Ok(guard)
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.inner.lanes
    }

    pub(crate) fn holder(&self) -> u64 {
        self.inner.holder
    }

    /// Waits before another attempt, longer each time, and never as long as the others who wait.
    pub(crate) async fn back_off(&self, attempt: u32) {
        let ceiling_us = 2_000u64 << attempt.min(7);
        self.system().sleep(Duration::from_micros(self.system().random() % ceiling_us)).await;
    }

    // ---- reading ----

    /// A commit; `None`: retention cut it, or it never was.
    pub(crate) async fn find_commit(&self, id: &CommitId) -> Result<Option<Arc<Commit>>> {
        self.objects().find_commit(&Hash::try_from(id)?).await
    }

    pub async fn commit_object(&self, id: &CommitId) -> Result<Arc<Commit>> {
        self.objects().commit(&Hash::try_from(id)?).await
    }

    pub(crate) async fn tree_of(&self, id: &CommitId) -> Result<Hash> {
        Hash::parse(&self.commit_object(id).await?.tree)
    }

    /// First-parent history, newest first, `limit` at most. Ends quietly where retention cut it.
    pub async fn log(&self, from: &CommitId, limit: usize) -> Result<Vec<(CommitId, Arc<Commit>)>> {
        let mut log = Vec::new();
        let mut next = Some(from.clone());
        while let Some(id) = next.filter(|_| log.len() < limit) {
            let Some(commit) = self.find_commit(&id).await? else { break };
            next = commit.parents.first().map(|parent| CommitId(parent.clone()));
            log.push((id, commit));
        }
        Ok(log)
    }

    pub async fn entry(&self, at: &CommitId, key: &EntryKey) -> Result<Option<Entry>> {
        let tree = self.tree_of(at).await?;
        tree::get(&Stage::new(self.objects()), &tree, &encode_key(key)).await
    }

    /// All entries of a commit in the order of their keys on disk: cursors, then tables and views by name.
    pub async fn entries(&self, at: &CommitId) -> Result<Vec<(EntryKey, Entry)>> {
        let tree = self.tree_of(at).await?;
        let entries = tree::list(&Stage::new(self.objects()), &tree, b"").await?;
        entries.into_iter().map(|(key, entry)| Ok((decode_key(&key)?, entry))).collect()
    }

    /// The metadata of a table entry, from a cache where it can be (metadata files never change).
    pub async fn metadata(&self, entry: &TableEntry) -> Result<TableMetadataRef> {
        self.metadata_at(&entry.metadata_path).await
    }

    pub(crate) async fn metadata_at(&self, path: &str) -> Result<TableMetadataRef> {
        if let Some(metadata) = self.inner.metadata.lock().get(&path.to_owned()) {
            return Ok(metadata);
        }
        let metadata = self.tables().metadata(path).await?;
        self.keep_metadata(path, &metadata);
        Ok(metadata)
    }

    pub(crate) fn keep_metadata(&self, path: &str, metadata: &TableMetadataRef) {
        self.inner.metadata.lock().insert(path.to_owned(), Arc::clone(metadata), 1);
    }

    /// The entries that differ, by walking only nodes that do.
    pub async fn diff(&self, from: &CommitId, to: &CommitId) -> Result<Vec<EntryChange>> {
        let (from, to) = (self.tree_of(from).await?, self.tree_of(to).await?);
        let differences = tree::diff(&Stage::new(self.objects()), &from, &to).await?;
        let change = |(key, d): (tree::Key, tree::Difference)| {
            Ok(EntryChange { key: decode_key(&key)?, before: d.before, after: d.after })
        };
        differences.into_iter().map(change).collect()
    }
}

fn known_format(path: &str, found: u32) -> Result<()> {
    if found > FORMAT {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known: FORMAT }.into());
    }
    Ok(())
}
