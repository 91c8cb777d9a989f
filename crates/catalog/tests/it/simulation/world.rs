//! What all processes of a simulated world share: chance, time, stores, sources, and what is known to be true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use polder_base::Timestamp;
use polder_catalog::{Catalog, CatalogError, CommitId};
use polder_store::{MemoryState, MemoryStorage, Warehouse};
use polder_system::{SimulatedSystem, System};

use super::gate::{Gate, GatedState, GatedStorage};

pub const ROOT: &str = "file:///warehouse";
/// 2026-11-21T06:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_795_240_800_000);
/// Sources with a cursor, each with a table of its own.
pub const SOURCES: usize = 3;

/// Ways to break what must not be broken. Each must be noticed (see the tests of this module's parent).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A transaction does not verify that the ref is where it was.
    RefsNotCompared,
    /// A transaction does not verify that nothing was swept.
    SweepsNotNoticed,
    /// The ref moves before its objects are there.
    RefBeforeObjects,
    /// A run's or step's record is written after the ref moved, not with it.
    RecordsApart,
    /// A reader of a source claims that the cursor was what it is now.
    CursorTakenForRead,
    /// An append that follows from what it read does not say so.
    ReadNotSaid,
    /// A file that a ref needs is deleted.
    ReachableFileDeleted,
    /// The collection of garbage takes every file for old.
    FilesTakenForOld,
}

/// How often what happened, to see that the simulation gets around.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Stats(pub BTreeMap<&'static str, u64>);

impl Stats {
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }
}

#[derive(Debug)]
pub struct World {
    chance: Mutex<u64>,
    pub clock: Arc<SimulatedSystem>,
    pub state: MemoryState,
    pub storage: MemoryStorage,
    sabotage: Option<Sabotage>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Operations fail, processes crash.
    unkind: bool,
    stopping: bool,
    /// How many rows each source has by now.
    available: [u64; SOURCES],
    changed_refs: BTreeSet<String>,
    deleted: bool,
    stats: Stats,
    operations: u64,
    trace: VecDeque<String>,
    trace_all: bool,
}

/// Trace lines that are kept for the report of a failure.
const TRACE_KEPT: usize = 60;

impl World {
    pub fn new(seed: u64, sabotage: Option<Sabotage>, trace_all: bool) -> Arc<Self> {
        let clock = Arc::new(SimulatedSystem::new(seed, START));
        let storage = MemoryStorage::new(Arc::clone(&clock) as Arc<dyn System>);
        let inner = Inner { unkind: true, trace_all, ..Inner::default() };
        Arc::new(Self {
            chance: Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d),
            clock,
            state: MemoryState::new(),
            storage,
            sabotage,
            inner: Mutex::new(inner),
        })
    }

    // ---- chance and time ----

    /// SplitMix64.
    fn next(&self) -> u64 {
        let mut state = self.chance.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn chance(&self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    pub fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }

    /// A name that nothing else has.
    pub fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{:012x}", self.next() >> 16)
    }

    pub fn pass_time(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    // ---- the state of the world ----

    pub fn sabotage(&self) -> Option<Sabotage> {
        self.sabotage
    }

    pub fn is_sabotaged_by(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    pub fn be_kind(&self, kind: bool) {
        self.inner.lock().unkind = !kind;
    }

    pub fn is_unkind(&self) -> bool {
        self.inner.lock().unkind
    }

    pub fn stop(&self) {
        self.inner.lock().stopping = true;
    }

    pub fn is_stopping(&self) -> bool {
        self.inner.lock().stopping
    }

    pub fn fails(&self) -> bool {
        self.is_unkind() && self.chance(0.0015)
    }

    pub fn available(&self, source: usize) -> u64 {
        self.inner.lock().available[source]
    }

    /// The sources get new rows now and then.
    pub fn grow_sources(&self) {
        let source = self.below(SOURCES as u64) as usize;
        let more = 1 + self.below(3);
        self.inner.lock().available[source] += more;
    }

    // ---- what happened ----

    pub fn count(&self, what: &'static str) {
        *self.inner.lock().stats.0.entry(what).or_default() += 1;
    }

    pub fn stats(&self) -> Stats {
        let inner = self.inner.lock();
        let mut stats = inner.stats.clone();
        stats.0.insert("operations", inner.operations);
        stats
    }

    pub fn count_operation(&self) {
        self.inner.lock().operations += 1;
    }

    pub fn note_ref(&self, name: &str) {
        self.inner.lock().changed_refs.insert(name.to_owned());
    }

    pub fn note_deletion(&self) {
        self.inner.lock().deleted = true;
    }

    /// Refs that moved, and whether something was deleted, since this was asked last.
    pub fn take_changes(&self) -> (BTreeSet<String>, bool) {
        let mut inner = self.inner.lock();
        (std::mem::take(&mut inner.changed_refs), std::mem::take(&mut inner.deleted))
    }

    pub fn trace(&self, line: impl FnOnce() -> String) {
        let mut inner = self.inner.lock();
        let line = line();
        if inner.trace_all {
            eprintln!("{line}");
        }
        if inner.trace.len() == TRACE_KEPT {
            inner.trace.pop_front();
        }
        inner.trace.push_back(line);
    }

    pub fn last_trace(&self) -> Vec<String> {
        self.inner.lock().trace.iter().cloned().collect()
    }

    // ---- catalogs ----

    /// A catalog as a process of this world opens it.
    pub async fn open(self: &Arc<Self>, process: usize) -> Result<Catalog, CatalogError> {
        let gate = Gate::new(Arc::clone(self), process);
        let state = GatedState { inner: self.state.clone(), gate: gate.clone() };
        let storage = GatedStorage { inner: self.storage.clone(), gate };
        let warehouse = Warehouse::new(Arc::new(storage), ROOT);
        Catalog::open(Arc::new(state), warehouse, Arc::clone(&self.clock) as Arc<dyn System>).await
    }

    /// A catalog that sees the stores as they are, at once, and disturbs nothing. Its chance is its own.
    pub async fn observe(&self) -> Result<Catalog, CatalogError> {
        self.observe_state(self.state.clone()).await
    }

    pub async fn observe_state(&self, state: MemoryState) -> Result<Catalog, CatalogError> {
        let system = Arc::new(SimulatedSystem::new(1, self.clock.now()));
        let warehouse = Warehouse::new(Arc::new(self.storage.clone()), ROOT);
        Catalog::open(Arc::new(state), warehouse, system).await
    }
}

/// What one task of a process works with.
#[derive(Debug, Clone)]
pub struct Cx {
    pub world: Arc<World>,
    pub catalog: Catalog,
    pub process: usize,
}

impl Cx {
    pub async fn head(&self, name: &str) -> Result<CommitId, CatalogError> {
        match self.catalog.find_ref(name).await? {
            Some(found) => Ok(found.commit),
            None => Err(CatalogError::UnknownRef { name: name.to_owned(), nearest: None }),
        }
    }
}
