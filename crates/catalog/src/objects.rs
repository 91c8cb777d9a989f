//! Reading objects through a cache, and gathering new ones until a transaction makes them permanent.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use polder_store::{Batch, Space, State};

use crate::cache::Cache;
use crate::codec::{Hash, Kind, Object, corrupt, decode, encode};
use crate::tree::Node;
use crate::{CatalogError, Commit, Result};

/// Memory for decoded objects.
const CACHE_BYTES: usize = 64 << 20;

/// The objects of the state store.
#[derive(Debug)]
pub(crate) struct Objects {
    state: Arc<dyn State>,
    cache: Mutex<Cache<Hash, Object>>,
}

impl Objects {
    pub(crate) fn new(state: Arc<dyn State>) -> Self {
        Self { state, cache: Mutex::new(Cache::new(CACHE_BYTES)) }
    }

    async fn load(&self, name: &Hash) -> Result<Option<Object>> {
        if let Some(object) = self.cache.lock().get(name) {
            return Ok(Some(object));
        }
        let Some(bytes) = self.state.get(Space::Objects, &name.to_hex()).await? else { return Ok(None) };
        let object = decode(name, &bytes)?;
        self.cache.lock().insert(*name, object.clone(), weight(&object));
        Ok(Some(object))
    }

    /// A commit; `None`: retention cut it, or it never was.
    pub(crate) async fn find_commit(&self, name: &Hash) -> Result<Option<Arc<Commit>>> {
        match self.load(name).await? {
            None => Ok(None),
            Some(Object::Commit(commit)) => Ok(Some(commit)),
            Some(Object::Node(_)) => Err(corrupt(&name.to_hex(), "it is no commit")),
        }
    }

    pub(crate) async fn commit(&self, name: &Hash) -> Result<Arc<Commit>> {
        let found = self.find_commit(name).await?;
        found.ok_or_else(|| CatalogError::UnknownCommit { commit: name.to_hex() })
    }

    pub(crate) async fn node(&self, name: &Hash) -> Result<Arc<Node>> {
        match self.load(name).await? {
            Some(Object::Node(node)) => Ok(node),
            Some(Object::Commit(_)) => Err(corrupt(&name.to_hex(), "it is no node of a tree")),
            None => Err(corrupt(&name.to_hex(), "it is missing")),
        }
    }

    /// Forgets everything that is cached.
    pub(crate) fn forget(&self) {
        *self.cache.lock() = Cache::new(CACHE_BYTES);
    }

    /// Whether the store itself has the object. The cache may hold what was collected since.
    pub(crate) async fn is_stored(&self, name: &Hash) -> Result<bool> {
        Ok(self.state.get(Space::Objects, &name.to_hex()).await?.is_some())
    }
}

/// New objects over those of the store: what a commit in the making reads and adds to.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    objects: &'a Objects,
    new: BTreeMap<Hash, (Bytes, Object)>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(objects: &'a Objects) -> Self {
        Self { objects, new: BTreeMap::new() }
    }

    pub(crate) async fn node(&self, name: &Hash) -> Result<Arc<Node>> {
        match self.new.get(name) {
            Some((_, Object::Node(node))) => Ok(Arc::clone(node)),
            _ => self.objects.node(name).await,
        }
    }

    pub(crate) async fn commit(&self, name: &Hash) -> Result<Arc<Commit>> {
        match self.new.get(name) {
            Some((_, Object::Commit(commit))) => Ok(Arc::clone(commit)),
            _ => self.objects.commit(name).await,
        }
    }

    pub(crate) fn add_node(&mut self, node: Node) -> Hash {
        let (name, bytes) = node.encode();
        self.new.entry(name).or_insert_with(|| (bytes.into(), Object::Node(Arc::new(node))));
        name
    }

    pub(crate) fn add_commit(&mut self, commit: Commit) -> Hash {
        let (name, bytes) = encode(Kind::Commit, &commit);
        self.new.entry(name).or_insert_with(|| (bytes.into(), Object::Commit(Arc::new(commit))));
        name
    }

    /// An object's bytes as they are stored, which may hold more than this version reads of them.
    pub(crate) async fn bytes_of(&self, name: &Hash) -> Result<Bytes> {
        if let Some((bytes, _)) = self.new.get(name) {
            return Ok(bytes.clone());
        }
        let bytes = self.objects.state.get(Space::Objects, &name.to_hex()).await?;
        bytes.ok_or_else(|| corrupt(&name.to_hex(), "it is missing"))
    }

    /// The names and bytes of all new objects.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = (&Hash, &Bytes)> {
        self.new.iter().map(|(name, (bytes, _))| (name, bytes))
    }

    /// Adds the new objects to a transaction. An equal object that is there already is put again: nobody can then
    /// have collected it in between.
    pub(crate) fn put_all(&self, mut batch: Batch) -> Batch {
        for (name, bytes) in self.bytes() {
            batch = batch.put(Space::Objects, name.to_hex(), bytes.clone());
        }
        batch
    }

    /// Hands the new objects to the cache, once they are permanent.
    pub(crate) fn into_cache(self) {
        let mut cache = self.objects.cache.lock();
        for (name, (_, object)) in self.new {
            let weight = weight(&object);
            cache.insert(name, object, weight);
        }
    }
}

fn weight(object: &Object) -> usize {
    match object {
        Object::Node(node) => node.weight(),
        Object::Commit(commit) => 256 + commit.message.len() + 64 * commit.parents.len() + 64 * commit.operations.len(),
    }
}
