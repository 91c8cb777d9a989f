//! What keeps the collection of garbage and the writers apart.
//!
//! `Meta/gc` holds a number that grows with every sweep, and the files that the present sweep is deleting. Whoever moves
//! a ref reads this record first, then whatever the move relies on, and expects the record unchanged in the transaction
//! that moves it. So:
//!
//! - What a writer saw after reading the record cannot have been deleted when its transaction holds: every deletion
//!   changes the record first.
//! - A file that is condemned but still there is refused, because the record names it.
//!
//! Age protects writers from having to start again; it is not what makes them safe.

use std::collections::BTreeSet;

use bytes::Bytes;
use polder_store::{Batch, Space, State};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::records::{decode_record, encode_record};

const KEY: &str = "gc";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GcRecord {
    /// Grows with every transaction of a sweep.
    pub(crate) epoch: u64,
    /// Files being deleted, relative to the warehouse.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) condemned: BTreeSet<String>,
}

/// The record as a writer found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guard {
    raw: Option<Bytes>,
    pub(crate) record: GcRecord,
}

impl Guard {
    pub(crate) async fn read(state: &dyn State) -> Result<Self> {
        let raw = state.get(Space::Meta, KEY).await?;
        let record = match &raw {
            Some(raw) => decode_record("gc", raw)?,
            None => GcRecord::default(),
        };
        Ok(Self { raw, record })
    }

    pub(crate) fn is_condemned(&self, path: &str) -> bool {
        self.record.condemned.contains(path)
    }

    /// Makes a transaction hold only when nothing was swept since.
    pub(crate) fn expect(&self, batch: Batch) -> Batch {
        batch.expect(Space::Meta, KEY, self.raw.clone())
    }

    /// Makes a transaction a sweep: everyone who read the record before starts again.
    pub(crate) fn advance(&self, batch: Batch, condemned: BTreeSet<String>) -> Result<Batch> {
        let record = GcRecord { epoch: self.record.epoch + 1, condemned };
        Ok(self.expect(batch).put(Space::Meta, KEY, encode_record(&record)?))
    }
}
