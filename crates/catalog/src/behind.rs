//! Whether the state store knows what the warehouse knows.
//!
//! A state store that was brought back from a backup is older than the warehouse: `main` would silently show what it
//! showed then, and the next commits would be built on that.

use polder_store::{Space, StoreError};

use crate::bundle::{BundleFile, FOLDER};
use crate::records::decode_record;
use crate::{Catalog, MAIN, Result};

/// The key in `Meta` of the last move of `main` that a rebuild found a bundle of. What it could not believe of them is
/// given up, and no reason to refuse the store it made.
pub(crate) const GIVEN_UP: &str = "moves-given-up";

impl Catalog {
    /// Verifies that `main` can be read, and that the warehouse has no bundle of a move beyond it.
    ///
    /// # Errors
    /// `Corrupt`, for a store that has lost the commit of `main`, or is older than the warehouse.
    pub(crate) async fn check_not_behind(&self) -> Result<()> {
        let mut head = self.head(MAIN).await?.record;
        while self.find_commit(&head.commit).await?.is_none() {
            // Others may have moved it meanwhile, and what it named before was past its keep.
            let now = self.head(MAIN).await?.record;
            if now.commit == head.commit {
                return Err(damaged(format!("its commit {} is missing", head.commit.0)));
            }
            head = now;
        }
        let last = self.last_bundle_of_main().await?;
        // A bundle is written before its move: the one beyond the head may be of a move that goes on or that failed. Of
        // two beyond it, the first was built on, so that its move took place.
        if last <= head.epoch + 1 || last <= self.moves_given_up().await? {
            return Ok(());
        }
        // Others may have moved it meanwhile.
        let now = self.head(MAIN).await?.record.epoch;
        if last <= now + 1 {
            return Ok(());
        }
        Err(damaged(format!(
            "it has moved {now} times, and the warehouse knows of {last} moves: the state is older than the warehouse, \
             perhaps from a backup"
        )))
    }

    async fn last_bundle_of_main(&self) -> Result<u64> {
        let files = self.tables().warehouse().storage().list(&format!("{FOLDER}/{MAIN}")).await?;
        let bundles = files.iter().filter_map(BundleFile::parse).filter(|bundle| bundle.name == MAIN);
        Ok(bundles.map(|bundle| bundle.epoch).max().unwrap_or_default())
    }

    async fn moves_given_up(&self) -> Result<u64> {
        match self.state().get(Space::Meta, GIVEN_UP).await? {
            Some(raw) => decode_record(GIVEN_UP, &raw),
            None => Ok(0),
        }
    }
}

fn damaged(detail: String) -> crate::CatalogError {
    StoreError::Corrupt { path: format!("record ref {MAIN}"), detail }.into()
}
