//! Statements that were planned before: who asks the same of the same commit again is spared parsing, the catalog, and,
//! where it does not matter which values stand in the place of `$1`, the optimiser.
//!
//! A key says all that a plan follows from: the statement, the commit (which never changes), who asks, where names are
//! looked for, and which tables policies are bound to, by a number that grows. Policies themselves are the engine's, and so are its
//! kept statements: when the project's files change, there is another engine.

use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::execution::cache::default_cache::DefaultCache;
use datafusion::execution::cache::{Cache, CacheKey, CacheValue};
use polder_catalog::CommitId;

use crate::planned::Planned;
use crate::session::Core;

/// Memory for the statements of an engine.
const MOST_BYTES: usize = 16 << 20;

/// A longer statement is written by a program, and not sent twice.
const LONGEST: usize = 64 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    sql: String,
    at: CommitId,
    policies: u64,
    principal: String,
    roles: Vec<String>,
    namespaces: Vec<String>,
}

impl Key {
    /// `None`: the statement is not kept. The platform's own statements are run once for each commit.
    pub(crate) fn of(core: &Core, sql: &str) -> Option<Self> {
        let principal = &core.options.principal;
        if principal.system || core.options.allow_files || sql.len() > LONGEST {
            return None;
        }
        Some(Self {
            sql: sql.to_owned(),
            at: core.at.clone(),
            policies: core.engine.governance().version(),
            principal: principal.name.clone(),
            roles: principal.roles.clone(),
            namespaces: core.namespaces.clone(),
        })
    }
}

impl CacheKey for Key {
    fn size(&self) -> usize {
        let texts = self.roles.iter().chain(&self.namespaces).map(|text| size_of::<String>() + text.len());
        size_of::<Self>() + self.sql.len() + self.principal.len() + 2 * self.at.0.len() + texts.sum::<usize>()
    }

    fn table_ref(&self) -> Option<&TableReference> {
        None
    }
}

#[derive(Clone)]
struct Value {
    planned: Arc<Planned>,
    bytes: usize,
}

impl CacheValue for Value {
    fn size(&self) -> usize {
        self.bytes
    }
}

pub(crate) struct Kept {
    cache: DefaultCache<Key, Value>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("bytes", &self.cache.memory_used()).finish()
    }
}

impl Kept {
    pub(crate) fn new() -> Self {
        Self { cache: DefaultCache::new(MOST_BYTES) }
    }

    pub(crate) fn len(&self) -> usize {
        self.cache.len()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Planned>> {
        self.cache.get(key).map(|value| value.planned)
    }

    pub(crate) fn put(&self, key: &Key, planned: &Arc<Planned>) {
        self.cache.put(key, Value { planned: Arc::clone(planned), bytes: planned.size_bytes() });
    }
}
