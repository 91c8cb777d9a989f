//! Keeping bundles few: those of deleted refs and of lost races go, and long rows of them become packs.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::bytes::ByteVec;
use polder_store::{Batch, Outcome, StoreError};

use crate::bundle::{Bundle, BundleFile};
use crate::codec::Hash;
use crate::refs::Head;
use crate::{Catalog, CatalogError, Result};

/// The newest bundles of a ref, which stay as they are.
const KEPT: usize = 16;
/// A row of fewer bundles is not worth a pack.
const PACK_MIN: usize = 48;
/// A pack is made in memory.
const PACK_BYTES: u64 = 32 << 20;

impl Catalog {
    pub(super) async fn tidy_bundles(&self) -> Result<()> {
        let files = self.bundle_files().await?;
        let long = |name: &String, row: &Vec<BundleFile>, heads: &BTreeMap<String, Head>| {
            heads
                .get(name)
                .is_none_or(|head| row.len() > KEPT + PACK_MIN || row.iter().any(|f| f.epoch > head.record.epoch))
        };
        let heads = self.heads_by_name().await?;
        if !files.iter().any(|(name, row)| long(name, row, &heads)) {
            return Ok(());
        }
        // Whoever wrote one of these bundles and did not move its ref yet starts again now, with another bundle.
        let guard = self.guard().await?;
        let batch = guard.advance(Batch::new(), guard.record.condemned.clone())?;
        if self.state().apply(batch).await? != Outcome::Applied {
            return Ok(());
        }
        let heads = self.heads_by_name().await?;
        for (name, row) in files.iter().filter(|(name, row)| long(name, row, &heads)) {
            match heads.get(name) {
                None => self.delete_files(row.iter().map(|f| &f.path)).await?,
                Some(head) => self.tidy_row(head, row).await?,
            }
        }
        Ok(())
    }

    async fn heads_by_name(&self) -> Result<BTreeMap<String, Head>> {
        Ok(self.heads().await?.into_iter().map(|head| (head.name.clone(), head)).collect())
    }

    /// Deletes what is not part of a ref's history, and packs what is.
    async fn tidy_row(&self, head: &Head, row: &[BundleFile]) -> Result<()> {
        let Some(chain) = self.chain(head, row).await? else { return Ok(()) };
        let kept: BTreeSet<&str> = chain.iter().map(|(file, _)| file.path.as_str()).collect();
        let lost = row.iter().filter(|file| !kept.contains(file.path.as_str()) && file.epoch <= head.record.epoch + 1);
        self.delete_files(lost.map(|file| &file.path)).await?;
        let old = chain.len().saturating_sub(KEPT);
        let mut run: Vec<(BundleFile, Bundle)> = Vec::new();
        for link in chain.into_iter().take(old) {
            if link.0.size_bytes < PACK_BYTES / 4 {
                run.push(link);
            } else {
                self.pack(std::mem::take(&mut run)).await?;
            }
            if run.iter().map(|(file, _)| file.size_bytes).sum::<u64>() >= PACK_BYTES {
                self.pack(std::mem::take(&mut run)).await?;
            }
        }
        self.pack(run).await
    }

    /// The bundles that lead to a ref's head, oldest first. `None`: one is missing (the head moved on meanwhile, or the
    /// folder was tampered with), so nothing is certain.
    async fn chain(&self, head: &Head, row: &[BundleFile]) -> Result<Option<Vec<(BundleFile, Bundle)>>> {
        let mut wanted = (head.record.epoch, head.record.commit.0.clone());
        let mut chain: Vec<(BundleFile, Bundle)> = Vec::new();
        loop {
            let mut found: Option<(BundleFile, Bundle)> = None;
            for file in row.iter().filter(|file| file.epoch == wanted.0) {
                let bundle = match self.read_bundle(&file.path).await {
                    Ok(bundle) => bundle,
                    Err(CatalogError::Store(StoreError::NotFound { .. })) => continue,
                    Err(e) => return Err(e),
                };
                // A pack beside the bundles that it was made of stands for them.
                let better = found.as_ref().is_none_or(|(_, b)| b.since.is_none() && bundle.since.is_some());
                if bundle.new.as_deref() == Some(&wanted.1) && better {
                    found = Some((file.clone(), bundle));
                }
            }
            let Some(link) = found else { return Ok(None) };
            let before = link.1.old.clone().map(|old| (link.1.since.unwrap_or(link.1.epoch), old));
            chain.push(link);
            match before {
                Some((first, old)) if first > 0 => wanted = (first - 1, old),
                _ => break,
            }
        }
        chain.reverse();
        Ok(Some(chain))
    }

    /// Replaces a row of bundles by one file: first it is durable, then they go.
    async fn pack(&self, run: Vec<(BundleFile, Bundle)>) -> Result<()> {
        let (Some((_, first)), Some((_, last))) = (run.first(), run.last()) else { return Ok(()) };
        if run.len() < PACK_MIN / 2 {
            return Ok(());
        }
        let mut objects: BTreeMap<Hash, ByteVec> = BTreeMap::new();
        for (_, bundle) in &run {
            for bytes in &bundle.objects {
                let name = Hash::of(bytes);
                // What was collected from the store is not wanted back.
                if !objects.contains_key(&name) && self.objects().is_stored(&name).await? {
                    objects.insert(name, bytes.clone());
                }
            }
        }
        let pack = Bundle {
            old: first.old.clone(),
            since: Some(first.since.unwrap_or(first.epoch)),
            objects: objects.into_values().collect(),
            ..last.clone()
        };
        match self.put_bundle(&pack).await {
            // Made before, by a collection that was stopped between the pack and the deletions.
            Ok(_) | Err(CatalogError::Store(StoreError::Exists { .. })) => {}
            Err(e) => return Err(e),
        }
        let path = pack.path();
        self.delete_files(run.iter().map(|(file, _)| &file.path).filter(|old| **old != path)).await
    }
}
