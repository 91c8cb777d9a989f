//! Stores with a gate before and behind every operation: there the scheduler may go on with another task, or end the
//! process. Some operations fail, before or after they took effect.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use polder_store::{
    Batch, Key, MemoryState, MemoryStorage, ObjectInfo, Outcome, Result, Space, State, Storage, StoreError, Upload,
    Write,
};

use super::world::{Sabotage, World};

/// Waits for so many polls.
struct Polls(u32);

impl Future for Polls {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The way of one process to the stores.
#[derive(Debug, Clone)]
pub struct Gate {
    world: Arc<World>,
    process: usize,
}

impl Gate {
    pub fn new(world: Arc<World>, process: usize) -> Self {
        Self { world, process }
    }

    /// Mostly one poll. Operations that one task runs side by side come apart by the others.
    async fn wait(&self) {
        let polls = if self.world.chance(0.15) { 1 + self.world.below(3) as u32 } else { 1 };
        Polls(polls).await;
    }

    fn failure(&self, doing: &str) -> Result<()> {
        if self.world.fails() {
            self.world.trace(|| format!("p{} {doing}: failed by the world", self.process));
            return Err(StoreError::Io {
                doing: doing.to_owned(),
                detail: "the world is unkind".to_owned(),
                transient: true,
            });
        }
        Ok(())
    }

    async fn operation<T>(&self, doing: String, effect: impl Future<Output = Result<T>>) -> Result<T> {
        self.wait().await;
        self.failure(&doing)?;
        let result = effect.await;
        self.world.count_operation();
        self.world.trace(|| {
            let how = if let Err(e) = &result { format!(": {e}") } else { String::new() };
            format!("p{} {doing}{how}", self.process)
        });
        self.wait().await;
        self.failure(&doing)?;
        result
    }
}

#[derive(Debug)]
pub struct GatedState {
    pub inner: MemoryState,
    pub gate: Gate,
}

impl GatedState {
    async fn apply_now(&self, batch: Batch) -> Result<Outcome> {
        let world = &self.gate.world;
        let writes = batch.writes.clone();
        let outcome = self.inner.apply(batch).await?;
        if outcome == Outcome::Applied {
            for write in &writes {
                match write {
                    Write::Put { space: Space::Refs, key, .. } => world.note_ref(key),
                    Write::Delete { space: Space::Refs, key } => world.note_ref(key),
                    Write::Delete { space: Space::Objects, .. } => world.note_deletion(),
                    _ => {}
                }
            }
        }
        Ok(outcome)
    }

    /// What a careless state store or catalog would do.
    async fn apply_sabotaged(&self, mut batch: Batch, sabotage: Sabotage) -> Result<Outcome> {
        match sabotage {
            Sabotage::RefsNotCompared => batch.expects.retain(|e| e.space != Space::Refs),
            Sabotage::SweepsNotNoticed => batch.expects.retain(|e| e.key != "gc"),
            Sabotage::RefBeforeObjects => {
                let is_object = |w: &Write| matches!(w, Write::Put { space: Space::Objects, .. });
                let (objects, rest): (Vec<_>, Vec<_>) = batch.writes.into_iter().partition(is_object);
                let outcome = self.apply_now(Batch { expects: batch.expects, writes: rest }).await?;
                if outcome == Outcome::Applied && !objects.is_empty() {
                    self.gate.wait().await;
                    self.apply_now(Batch { expects: Vec::new(), writes: objects }).await?;
                }
                return Ok(outcome);
            }
            Sabotage::RecordsApart => {
                // The run's record is written after the ref has moved.
                let is_run = |w: &Write| matches!(w, Write::Put { space: Space::Runs | Space::Steps, .. });
                let (records, rest): (Vec<_>, Vec<_>) = batch.writes.into_iter().partition(is_run);
                let outcome = self.apply_now(Batch { expects: batch.expects, writes: rest }).await?;
                if outcome == Outcome::Applied && !records.is_empty() {
                    // Long enough for a crash to come between, now and then.
                    Polls(60).await;
                    self.apply_now(Batch { expects: Vec::new(), writes: records }).await?;
                }
                return Ok(outcome);
            }
            _ => {}
        }
        self.apply_now(batch).await
    }
}

#[async_trait::async_trait]
impl State for GatedState {
    async fn get(&self, space: Space, key: &str) -> Result<Option<Bytes>> {
        let doing = format!("get {space:?} {}", short(key));
        self.gate.operation(doing, self.inner.get(space, key)).await
    }

    async fn scan(&self, space: Space, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(Key, Bytes)>> {
        self.gate.operation(format!("scan {space:?} {prefix}"), self.inner.scan(space, prefix, after, limit)).await
    }

    async fn apply(&self, batch: Batch) -> Result<Outcome> {
        let doing = describe(&batch);
        match self.gate.world.sabotage() {
            None => self.gate.operation(doing, self.apply_now(batch)).await,
            Some(sabotage) => self.gate.operation(doing, self.apply_sabotaged(batch, sabotage)).await,
        }
    }
}

fn short(key: &str) -> &str {
    key.get(..12).filter(|_| key.len() == 64).unwrap_or(key)
}

fn describe(batch: &Batch) -> String {
    let mut words = vec!["apply".to_owned()];
    for write in &batch.writes {
        match write {
            Write::Put { space: Space::Objects, .. } => {}
            Write::Put { space, key, .. } => words.push(format!("{space:?}/{key}")),
            Write::Delete { space: Space::Objects, key } => words.push(format!("-{}", short(key))),
            Write::Delete { space, key } => words.push(format!("-{space:?}/{key}")),
        }
    }
    words.join(" ")
}

#[derive(Debug)]
pub struct GatedStorage {
    pub inner: MemoryStorage,
    pub gate: Gate,
}

#[async_trait::async_trait]
impl Storage for GatedStorage {
    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.gate.operation(format!("put {path}"), self.inner.put(path, bytes)).await
    }

    async fn get(&self, path: &str) -> Result<Bytes> {
        self.gate.operation(format!("get {path}"), self.inner.get(path)).await
    }

    async fn get_range(&self, path: &str, start: u64, end: u64) -> Result<Bytes> {
        self.gate.operation(format!("get {path} {start}..{end}"), self.inner.get_range(path, start, end)).await
    }

    async fn head(&self, path: &str) -> Result<ObjectInfo> {
        self.gate.operation(format!("head {path}"), self.inner.head(path)).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let world = &self.gate.world;
        let effect = async {
            self.inner.delete(path).await?;
            if !path.starts_with('_') {
                world.note_deletion();
            }
            Ok(())
        };
        self.gate.operation(format!("delete {path}"), effect).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>> {
        let listed = self.gate.operation(format!("list {folder}"), self.inner.list(folder)).await;
        if self.gate.world.sabotage() == Some(Sabotage::FilesTakenForOld) {
            // The collector believes that every file is as old as the world.
            let old = |info: ObjectInfo| ObjectInfo { modified: polder_base::Timestamp(0), ..info };
            return Ok(listed?.into_iter().map(old).collect());
        }
        listed
    }

    async fn upload(&self, path: &str) -> Result<Box<dyn Upload>> {
        self.inner.upload(path).await
    }
}
