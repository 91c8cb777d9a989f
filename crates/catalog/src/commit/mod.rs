//! Committing onto a branch.
//!
//! Changes that wait for one branch at the same time become commits in a row that share one bundle and one transaction
//! (group commit). When the branch moved meanwhile, they are judged again on its new head.

mod apply;
mod lanes;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use polder_store::{Batch, Outcome};

use self::apply::{Applied, Member};
pub(crate) use self::apply::{is_blind, table_entry};
pub(crate) use self::lanes::Lanes;
use crate::codec::Hash;
use crate::guard::Guard;
use crate::moving::Moved;
use crate::objects::Stage;
use crate::{Catalog, CatalogError, ChangeSet, Commit, CommitId, Result};

/// What one caller asks for.
#[derive(Debug)]
struct Request {
    changes: ChangeSet,
    also: Batch,
}

/// How often a commit starts again when its branch moves.
pub(crate) const ATTEMPTS: u32 = 24;

impl Catalog {
    /// Commits onto a branch. A branch that moved meanwhile is no conflict as such: the changes are judged again on its
    /// new head. Changes that change nothing make no commit: the head is given as it is.
    ///
    /// When this is dropped before it returns, the commit may have been made or not.
    pub async fn commit(&self, branch: &str, changes: ChangeSet) -> Result<CommitId> {
        self.commit_in_group(branch, Request { changes, also: Batch::new() }).await
    }

    /// Commits onto a branch together with records of the caller, in one transaction: a step and its record as done,
    /// under the run's lease ([`crate::Lease::expect`]), so that a step is never done twice. The records are written
    /// when the changes change nothing, too.
    ///
    /// # Errors
    /// `RecordChanged` when a precondition of `also` does not hold; nothing was committed then.
    pub async fn commit_with(&self, branch: &str, changes: ChangeSet, also: Batch) -> Result<CommitId> {
        self.commit_in_group(branch, Request { changes, also }).await
    }

    /// Makes commits of several callers in a row; each gets its own answer.
    async fn commit_group(&self, branch: &str, group: Vec<Request>) -> Vec<Result<CommitId>> {
        let mut members: Vec<Member> = group.into_iter().map(Member::new).collect();
        let mut attempt = 0;
        let failure = loop {
            match self.try_group(branch, &mut members).await {
                Ok(Moved::Yes) => break None,
                Ok(_) if attempt < ATTEMPTS => {
                    attempt += 1;
                    self.back_off(attempt).await;
                }
                Ok(_) => break Some(CatalogError::Contended { name: branch.to_owned(), attempts: attempt }),
                Err(e) => break Some(e),
            }
        };
        members.into_iter().map(|member| member.into_result(failure.as_ref())).collect()
    }

    /// One attempt: judges every member on the head as it is now, and moves the branch over those that fit.
    async fn try_group(&self, branch: &str, members: &mut [Member]) -> Result<Moved> {
        let guard = self.guard().await?;
        let head = self.branch_head(branch).await?;
        let mut stage = Stage::new(self.objects());
        let old = head.hash()?;
        let mut tip = old;
        self.write_ahead(&guard, &stage, &tip, members).await?;
        for member in members.iter_mut().filter(|m| m.is_open()) {
            let outcome = self.add_member(&guard, &mut stage, &tip, member).await;
            if outcome.is_err() && self.was_swept_since(&guard).await? {
                return Ok(Moved::Lost);
            }
            tip = member.judged(outcome, &tip);
        }
        let also = joined(members);
        let moved = if tip == old {
            self.apply_records(also).await?
        } else {
            let objects = stage.bytes().map(|(_, bytes)| bytes.clone()).collect();
            self.move_ref(&head, &tip, &guard, stage, objects, also).await?
        };
        if let Moved::Refused(expect) = moved {
            // One caller's own records stand against it: the others go on without it.
            fail_owner(members, expect);
            return Ok(Moved::Lost);
        }
        Ok(moved)
    }

    /// Writes the metadata of tables that only one member changes, all at once: the members are judged one after the
    /// other, and find it done. What goes wrong here goes wrong again there, and is told then.
    async fn write_ahead(&self, guard: &Guard, stage: &Stage<'_>, tip: &Hash, members: &mut [Member]) -> Result<()> {
        let mut taken = BTreeSet::new();
        let mut alone: Vec<&mut Member> = Vec::new();
        for member in members.iter_mut().filter(|m| m.is_open() && !m.makes_views()) {
            if member.tables().all(|table| !taken.contains(table)) {
                taken.extend(member.tables().cloned());
                alone.push(member);
            }
        }
        if alone.len() > 1 {
            let tree = Hash::parse(&stage.commit(tip).await?.tree)?;
            let writes: Vec<_> =
                alone.into_iter().map(|member| self.apply_changes(guard, stage, tip, &tree, member)).collect();
            futures::future::join_all(writes).await;
        }
        Ok(())
    }

    async fn apply_records(&self, also: Batch) -> Result<Moved> {
        if also == Batch::new() {
            return Ok(Moved::Yes);
        }
        Ok(match self.state().apply(also).await? {
            Outcome::Applied => Moved::Yes,
            Outcome::Refused { expect, .. } => Moved::Refused(expect),
        })
    }

    /// Whether garbage was collected since: what could not be found then was perhaps taken away in mid-work, and looking
    /// again from the present heads tells.
    pub(crate) async fn was_swept_since(&self, guard: &Guard) -> Result<bool> {
        Ok(self.guard().await? != *guard)
    }

    /// Makes one member's commit on top of `tip`; the same `tip` when it changes nothing.
    async fn add_member(&self, guard: &Guard, stage: &mut Stage<'_>, tip: &Hash, member: &mut Member) -> Result<Hash> {
        let parent = stage.commit(tip).await?;
        let tree = Hash::parse(&parent.tree)?;
        let Applied { edits, operations } = self.apply_changes(guard, stage, tip, &tree, member).await?;
        let new_tree = crate::tree::edit(stage, &tree, &edits).await?;
        if new_tree == tree {
            return Ok(*tip);
        }
        let changes = member.changes();
        Ok(stage.add_commit(Commit {
            tree: new_tree.to_hex(),
            parents: vec![tip.to_hex()],
            author: changes.author.clone(),
            time: self.commit_time([&*parent]),
            message: changes.message.clone(),
            run: changes.run.map(|run| run.0),
            operations,
            rebased_from: None,
            accepted: None,
        }))
    }

    /// The time of a new commit: now, but younger than its parents whatever the clock says, so that time orders history.
    pub(crate) fn commit_time<'c>(&self, parents: impl IntoIterator<Item = &'c Commit>) -> i64 {
        let youngest = parents.into_iter().map(|c| c.time).max().unwrap_or(i64::MIN);
        self.system().now().micros().max(youngest.saturating_add(1))
    }
}

/// The records of all members that made it, in order.
fn joined(members: &[Member]) -> Batch {
    let mut joined = Batch::new();
    for also in members.iter().filter(|m| m.is_open()).map(Member::also) {
        joined.expects.extend(also.expects.iter().cloned());
        joined.writes.extend(also.writes.iter().cloned());
    }
    joined
}

/// Fails the member that a precondition of [`joined`] came from.
fn fail_owner(members: &mut [Member], expect: usize) {
    let mut first = 0;
    for member in members.iter_mut().filter(|m| m.is_open()) {
        let expects = &member.also().expects;
        if let Some(expect) = expects.get(expect - first) {
            let key = expect.key.clone();
            return member.fail(CatalogError::RecordChanged { key });
        }
        first += expects.len();
    }
}

/// Properties that the snapshots of a commit carry.
pub(crate) fn summary(run: Option<u64>) -> BTreeMap<String, String> {
    run.map(|run| ("polder.run".to_owned(), run.to_string())).into_iter().collect()
}
