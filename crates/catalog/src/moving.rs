//! Moving a ref: bundle first, then one transaction that holds only when the ref still is where it was.

use bytes::Bytes;
use polder_store::{Batch, Outcome, Space};

use crate::codec::Hash;
use crate::guard::Guard;
use crate::objects::Stage;
use crate::records::{decode_record, encode_record};
use crate::refs::{Head, RefRecord};
use crate::{Catalog, Result};

/// What became of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    Yes,
    /// The ref is another by now, or something was swept: look again.
    Lost,
    /// This precondition of the caller (an index into what `also` expects) does not hold.
    Refused(usize),
}

impl Catalog {
    /// Moves a ref from `head` to the commit `new`, together with `also`. `objects`: what the bundle holds.
    ///
    /// Objects that only the state store lacks are in `stage`; they become permanent in the same transaction.
    pub(crate) async fn move_ref(
        &self,
        head: &Head,
        new: &Hash,
        guard: &Guard,
        stage: Stage<'_>,
        objects: Vec<Bytes>,
        also: Batch,
    ) -> Result<Moved> {
        let record = RefRecord { commit: (*new).into(), epoch: head.record.epoch + 1, ..head.record.clone() };
        let raw = encode_record(&record)?;
        let bundle = (&record, raw.clone());
        let written = self
            .write_bundle(guard, &head.name, Some(&head.record.commit), Some(bundle), record.epoch, objects)
            .await?;
        // Our own preconditions first, so that their positions are known whatever the caller adds.
        let mut batch = Batch::new().expect(Space::Refs, head.name.clone(), Some(head.raw.clone()));
        batch = guard.expect(batch);
        let own = batch.expects.len();
        batch.expects.extend(also.expects);
        batch.writes.extend(also.writes);
        let batch = stage.put_all(batch).put(Space::Refs, head.name.clone(), raw);
        match self.state().apply(batch).await? {
            Outcome::Applied => {
                stage.into_cache();
                Ok(Moved::Yes)
            }
            Outcome::Refused { expect, found } if expect < own => {
                if let (0, Some(found), Some(path)) = (expect, found, written) {
                    self.withdraw(&record, &found, &path).await?;
                }
                Ok(Moved::Lost)
            }
            Outcome::Refused { expect, .. } => Ok(Moved::Refused(expect - own)),
        }
    }

    /// Deletes the bundle of a move that certainly did not take place: another one of the same epoch did. A rebuild
    /// would else have to guess between the two, as long as nothing builds on either.
    async fn withdraw(&self, ours: &RefRecord, found: &[u8], path: &str) -> Result<()> {
        let theirs: RefRecord = decode_record("ref", found)?;
        if theirs.epoch == ours.epoch && theirs.commit != ours.commit {
            self.tables().warehouse().storage().delete(path).await?;
        }
        Ok(())
    }
}
