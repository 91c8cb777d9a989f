//! Deleting what is not marked.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use polder_base::{RunId, Timestamp};
use polder_store::{Batch, ObjectInfo, Outcome, Space, Storage, StoreError};
use polder_table::TableError;

use super::Expired;
use super::mark::Marker;
use crate::codec::{Hash, Kind};
use crate::{Catalog, CatalogError, Result};

/// How often a transaction of the sweep looks at the refs again because one moved.
const ATTEMPTS: u32 = 16;
const PAGE: usize = 1000;

/// An object of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StoredObject {
    /// `false` for commits, which so come first.
    is_node: bool,
    pub(super) name: Hash,
}

impl Catalog {
    pub(super) async fn stored_objects(&self) -> Result<BTreeSet<StoredObject>> {
        let mut objects = BTreeSet::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.state().scan(Space::Objects, "", after.as_deref(), PAGE).await?;
            let full = page.len() == PAGE;
            for (key, bytes) in &page {
                let is_node = Kind::of(bytes) != Some(Kind::Commit);
                objects.insert(StoredObject { is_node, name: Hash::parse(key)? });
            }
            if !full {
                return Ok(objects);
            }
            after = page.into_iter().last().map(|(key, _)| key);
        }
    }

    /// Deletes the objects that are not marked, commits first. `false`: writers did not let it.
    pub(super) async fn sweep_objects(
        &self,
        marker: &mut Marker<'_>,
        mut objects: BTreeSet<StoredObject>,
        chunk: usize,
        expired: &mut Expired,
    ) -> Result<bool> {
        loop {
            let mut swept = Vec::new();
            let holds = self
                .sweep(marker, |marker, batch| {
                    objects.retain(|o| !marker.objects.contains(&o.name));
                    swept = objects.iter().take(chunk.max(1)).copied().collect();
                    let delete = |b: Batch, o: &StoredObject| b.delete(Space::Objects, o.name.to_hex());
                    (swept.iter().fold(batch, delete), BTreeSet::new(), swept.is_empty())
                })
                .await?;
            match holds {
                Swept::Nothing => return Ok(true),
                Swept::GaveUp => return Ok(false),
                Swept::Done => {}
            }
            for object in &swept {
                objects.remove(object);
                expired.objects += 1;
                expired.commits += u64::from(!object.is_node);
            }
        }
    }

    /// Deletes the files that are not marked, metadata first. Those written after `young` are left alone.
    pub(super) async fn sweep_files(
        &self,
        marker: &mut Marker<'_>,
        young: Timestamp,
        chunk: usize,
        expired: &mut Expired,
    ) -> Result<()> {
        let mut files = self.candidates(marker, young).await?;
        loop {
            let mut swept: Vec<Candidate> = Vec::new();
            let outcome = self
                .sweep(marker, |marker, batch| {
                    files.retain(|f| !marker.files.contains(&f.info.path));
                    swept = files.iter().take(chunk.max(1)).cloned().collect();
                    (batch, swept.iter().map(|f| f.info.path.clone()).collect(), swept.is_empty())
                })
                .await?;
            if outcome != Swept::Done {
                return Ok(());
            }
            self.delete_files(swept.iter().map(|f| &f.info.path)).await?;
            self.acquit(&swept.iter().map(|f| f.info.path.clone()).collect()).await?;
            for file in &swept {
                expired.files += 1;
                expired.bytes += file.info.size_bytes;
            }
            files.retain(|f| !swept.contains(f));
        }
    }

    /// Files that may be deleted, in the order in which they are: metadata first.
    async fn candidates(&self, marker: &mut Marker<'_>, young: Timestamp) -> Result<Vec<Candidate>> {
        let leased = self.leased_runs().await?;
        let mut candidates = Vec::new();
        for info in self.tables().warehouse().storage().list("").await? {
            if !is_managed(&info.path) || marker.files.contains(&info.path) {
                continue;
            }
            let is_metadata = info.path.ends_with(".metadata.json");
            if info.modified > young {
                // A commit may be about to name it, or a step's output to be taken over: then with all that it needs.
                // What is not readable can be neither.
                if is_metadata {
                    unless_unreadable(marker.mark_table(&info.path).await)?;
                }
            } else if !leased.iter().any(|run| is_written_by(&info.path, *run)) {
                candidates.push(Candidate { is_metadata, info });
            }
        }
        candidates.sort_by(|a, b| (!a.is_metadata, &a.info.path).cmp(&(!b.is_metadata, &b.info.path)));
        Ok(candidates)
    }

    /// One transaction of the sweep. `plan` adds to it, names files to condemn, and says whether there is nothing to
    /// do; it is asked again whenever refs moved and were marked anew.
    async fn sweep(
        &self,
        marker: &mut Marker<'_>,
        mut plan: impl FnMut(&Marker<'_>, Batch) -> (Batch, BTreeSet<String>, bool),
    ) -> Result<Swept> {
        for _ in 0..ATTEMPTS {
            let guard = self.guard().await?;
            if !guard.record.condemned.is_empty() {
                // Another collection is deleting; its files must stay condemned until it is done.
                return Ok(Swept::GaveUp);
            }
            let (batch, condemned, nothing) = plan(marker, marker.expect_refs(Batch::new()));
            if nothing {
                return Ok(Swept::Nothing);
            }
            if self.state().apply(guard.advance(batch, condemned)?).await? == Outcome::Applied {
                return Ok(Swept::Done);
            }
            marker.mark_refs().await?;
        }
        Ok(Swept::GaveUp)
    }

    /// Deletes files; each that is not there is deleted already.
    pub(super) async fn delete_files(&self, paths: impl Iterator<Item = &String>) -> Result<()> {
        const AT_ONCE: usize = 16;
        let storage = self.tables().warehouse().storage();
        let deletions: Vec<_> = paths.map(|path| delete_file(Arc::clone(storage), path.clone())).collect();
        futures::stream::iter(deletions).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Clears the list of condemned files, once they are deleted. Another collection may have done it already, and may
    /// be deleting others by now: those stay condemned.
    async fn acquit(&self, deleted: &BTreeSet<String>) -> Result<()> {
        let guard = self.guard().await?;
        if guard.record.condemned == *deleted {
            self.state().apply(guard.advance(Batch::new(), BTreeSet::new())?).await?;
        }
        Ok(())
    }
}

async fn delete_file(storage: Arc<dyn Storage>, path: String) -> Result<()> {
    Ok(storage.delete(&path).await?)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swept {
    Done,
    Nothing,
    /// The refs kept moving, or another collection is at it.
    GaveUp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    is_metadata: bool,
    info: ObjectInfo,
}

fn unless_unreadable(marked: Result<()>) -> Result<()> {
    match marked {
        Err(CatalogError::Table(
            TableError::Corrupt { .. } | TableError::Invalid(_) | TableError::Store(StoreError::NotFound { .. }),
        )) => Ok(()),
        other => other,
    }
}

/// Whether a file is a table's or view's: `namespace/…/data/…` or `…/metadata/…`.
fn is_managed(path: &str) -> bool {
    !path.starts_with('_') && (path.contains("/data/") || path.contains("/metadata/"))
}

/// Whether a file's name starts with `run-<number>`.
fn is_written_by(path: &str, run: RunId) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_prefix("run-")
        .and_then(|rest| rest.strip_prefix(&run.to_string()))
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_place_and_name() {
        assert!(is_managed("bronze/t-1/data/run-1-a.parquet"));
        assert!(is_managed("a.b/t-1/metadata/x.avro"));
        assert!(!is_managed("_polder/data/x"));
        assert!(!is_managed("_system/runs/data/x.parquet"));
        assert!(!is_managed("readme.txt"));
        assert!(is_written_by("b/t/data/run-12-abc.parquet", RunId(12)));
        assert!(is_written_by("b/t/data/run-12.parquet", RunId(12)));
        assert!(!is_written_by("b/t/data/run-123-abc.parquet", RunId(12)));
        assert!(!is_written_by("b/t/data/x-run-12.parquet", RunId(12)));
    }
}
