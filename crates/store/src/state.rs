//! The state store: ordered records, changed in batches that hold or do not hold as a whole.

use std::fmt::Debug;

use bytes::Bytes;

use crate::Result;

/// A family of records. The order of the names is the order of `Space::ALL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Catalog objects by content hash: never changed, only added and collected.
    Objects,
    /// Refs by name.
    Refs,
    /// Non-blind writes that a run has reserved: `ref NUL table`.
    Claims,
    /// Who may publish a run, and until when: run number.
    Leases,
    /// Runs by number (20 digits, so that text order is number order).
    Runs,
    /// Steps by run and key.
    Steps,
    /// Check results by run, table and check.
    Checks,
    /// What happened in a run, in order: run number and place.
    Events,
    /// What is asked of a run from outside, such as to end: run number.
    Requests,
    /// Outputs by fingerprint.
    Fingerprints,
    /// Files of projects by content hash, as runs saw them.
    Blobs,
    /// What the scheduler remembers of pipelines, by name.
    Pipelines,
    /// Who may use a door from elsewhere, by the hash of the token.
    Tokens,
    /// Counters and format marks.
    Meta,
}

impl Space {
    pub const ALL: [Self; 14] = [
        Self::Objects,
        Self::Refs,
        Self::Claims,
        Self::Leases,
        Self::Runs,
        Self::Steps,
        Self::Checks,
        Self::Events,
        Self::Requests,
        Self::Fingerprints,
        Self::Blobs,
        Self::Pipelines,
        Self::Tokens,
        Self::Meta,
    ];
}

/// Keys are text, ordered by their bytes. Object hashes are in lower-case hexadecimal.
pub type Key = String;

/// A precondition of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    pub space: Space,
    pub key: Key,
    /// The value that the record must have; `None`: it must not exist.
    pub value: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put { space: Space, key: Key, value: Bytes },
    Delete { space: Space, key: Key },
}

/// Preconditions and writes, applied together in one durable transaction or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub expects: Vec<Expect>,
    pub writes: Vec<Write>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    /// The first precondition that did not hold (an index into `expects`), and the value that was there instead.
    Refused {
        expect: usize,
        found: Option<Bytes>,
    },
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn expect(mut self, space: Space, key: impl Into<Key>, value: Option<Bytes>) -> Self {
        self.expects.push(Expect { space, key: key.into(), value });
        self
    }

    pub fn put(mut self, space: Space, key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        self.writes.push(Write::Put { space, key: key.into(), value: value.into() });
        self
    }

    pub fn delete(mut self, space: Space, key: impl Into<Key>) -> Self {
        self.writes.push(Write::Delete { space, key: key.into() });
        self
    }
}

/// A store of records. Many processes may use one store at once.
#[async_trait::async_trait]
pub trait State: Debug + Send + Sync {
    async fn get(&self, space: Space, key: &str) -> Result<Option<Bytes>>;

    /// The records whose keys start with `prefix` and, where `after` is given, come after it; in key order, `limit` at
    /// most.
    async fn scan(&self, space: Space, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(Key, Bytes)>>;

    /// Applies a batch. When this returns `Applied`, the writes survive a crash of the machine. A dropped future may
    /// have applied the batch or not, but never a part of it.
    async fn apply(&self, batch: Batch) -> Result<Outcome>;
}
