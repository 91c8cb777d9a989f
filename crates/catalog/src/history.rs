//! Walking history. Every commit is younger than its parents, so the time orders any walk; a parent that is missing was
//! cut by retention and ends it.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use crate::codec::Hash;
use crate::{Catalog, Commit, CommitId, EntryKey, Result};

const OURS: u8 = 1;
const THEIRS: u8 = 2;
/// Reached through a common ancestor: no best one itself.
const STALE: u8 = 4;

/// How two histories hang together.
#[derive(Debug)]
pub(crate) struct Relation {
    /// The best common ancestors: those that no other common ancestor has in its own history. More than one when
    /// branches were merged crosswise; none when their common history was cut.
    pub(crate) bases: Vec<Hash>,
    /// Their commits that are not in our history, along first parents, oldest first.
    pub(crate) theirs: Vec<Arc<Commit>>,
    /// `false`: the walk along their first parents ended where history was cut, so `theirs` may lack some.
    pub(crate) complete: bool,
}

impl Catalog {
    pub(crate) async fn relate(&self, ours: &Hash, theirs: &Hash) -> Result<Relation> {
        let marks = self.paint(ours, theirs).await?;
        let is_common = |hash: &Hash| marks.get(hash).is_some_and(|m| m & (OURS | THEIRS) == OURS | THEIRS);
        let bases = marks.iter().filter(|(_, mark)| **mark == OURS | THEIRS).map(|(hash, _)| *hash).collect();
        let mut relation = Relation { bases, theirs: Vec::new(), complete: true };
        let mut next = Some(*theirs);
        while let Some(hash) = next.filter(|hash| !is_common(hash)) {
            let Some(commit) = self.objects().find_commit(&hash).await? else {
                relation.complete = false;
                break;
            };
            next = commit.parents.first().map(|p| Hash::parse(p)).transpose()?;
            relation.theirs.push(commit);
        }
        relation.theirs.reverse();
        Ok(relation)
    }

    /// Marks the ancestors of both sides, youngest first, until only stale ones are left to look at.
    async fn paint(&self, ours: &Hash, theirs: &Hash) -> Result<BTreeMap<Hash, u8>> {
        let mut marks: BTreeMap<Hash, u8> = BTreeMap::new();
        let mut queue: BinaryHeap<(i64, Hash)> = BinaryHeap::new();
        let mut queued: BTreeSet<Hash> = BTreeSet::new();
        for (hash, mark) in [(ours, OURS), (theirs, THEIRS)] {
            *marks.entry(*hash).or_default() |= mark;
            if let Some(commit) = self.objects().find_commit(hash).await?.filter(|_| queued.insert(*hash)) {
                queue.push((commit.time, *hash));
            }
        }
        while queue.iter().any(|(_, hash)| marks.get(hash).is_some_and(|m| m & STALE == 0)) {
            let Some((_, hash)) = queue.pop() else { break };
            let Some(commit) = self.objects().find_commit(&hash).await? else { continue };
            let mark = marks.get(&hash).copied().unwrap_or_default();
            let inherited = if mark & (OURS | THEIRS) == OURS | THEIRS { mark | STALE } else { mark };
            for parent in &commit.parents {
                let parent = Hash::parse(parent)?;
                if let Some(commit) = self.objects().find_commit(&parent).await? {
                    *marks.entry(parent).or_default() |= inherited;
                    if queued.insert(parent) {
                        queue.push((commit.time, parent));
                    }
                }
            }
        }
        Ok(marks)
    }

    /// Who changed an entry last, for a person who reads about a conflict.
    pub(crate) async fn last_change(&self, at: &Hash, key: &EntryKey) -> Result<String> {
        const FAR: usize = 1000;
        let name = key.to_string();
        for (id, commit) in self.log(&(*at).into(), FAR).await? {
            if commit.operations.iter().any(|o| o.entry == name) {
                return Ok(describe(&commit, Some(&id)));
            }
        }
        Ok("an earlier commit".to_owned())
    }
}

/// `run 12`, or the commit's own words.
pub(crate) fn describe(commit: &Commit, id: Option<&CommitId>) -> String {
    let id = id.map(|id| format!(" ({})", id.short())).unwrap_or_default();
    match commit.run {
        Some(run) => format!("run {run}{id}"),
        None => format!("\"{}\"{id}", commit.message.lines().next().unwrap_or_default()),
    }
}
