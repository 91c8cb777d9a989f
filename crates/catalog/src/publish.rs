//! Publishing a run: its branch is rebased onto the target as one commit, and the target moves to that commit.

use std::collections::BTreeSet;

use polder_base::RunId;
use polder_store::{Batch, Outcome};

use crate::codec::Hash;
use crate::commit::ATTEMPTS;
use crate::moving::Moved;
use crate::objects::Stage;
use crate::refs::Head;
use crate::three_way::Sides;
use crate::{Author, Catalog, CatalogError, Commit, CommitId, Lease, Prepared, Proposal, Result, tree};

impl Catalog {
    /// Rebases a run's branch as [`Catalog::propose`] does, and holds nothing back.
    ///
    /// # Errors
    /// As [`Catalog::propose`].
    pub async fn prepare(
        &self,
        run: Option<RunId>,
        branch: &str,
        target: &str,
        author: &Author,
        message: &str,
    ) -> Result<Prepared> {
        let hold = &BTreeSet::new();
        self.propose(&Proposal { run, branch, target, author, message, accepted: None, hold }).await
    }

    /// Rebases a run's branch onto the present head of its target, as one commit, and leaves the branch pointing at it.
    /// What is held back comes as a second commit on top of that, to which the branch points then: when the target has
    /// moved to the first, the branch is the target and what was held back, without a moment between.
    ///
    /// Preparing again, after the target moved once more, starts from the run's own last commit and not from the last
    /// attempt: nothing is lost, nothing lands twice, and `rebased` always compares with what the run built and checked.
    /// Where nothing differs from the target (any more), there is nothing to publish: `commit` is `onto` then, and the
    /// branch stays as it is.
    ///
    /// # Errors
    /// `Conflict`, naming both sides, for changes that do not go together, also among those that are held back: on top
    /// of the target they would undo what others did.
    pub async fn propose(&self, proposal: &Proposal<'_>) -> Result<Prepared> {
        let Proposal { run, branch, target, .. } = *proposal;
        for attempt in 1..=ATTEMPTS {
            let guard = self.guard().await?;
            let onto = self.branch_head(target).await?;
            let head = self.branch_head(branch).await?;
            let source = self.run_commit(&head, &onto.record.commit).await?;
            let mut stage = Stage::new(self.objects());
            let name = run.map_or_else(|| format!("branch `{branch}`"), |run| format!("run {run}"));
            let run = run.map(|run| run.0);
            let sides = Sides { ours: onto.hash()?, theirs: source, theirs_name: &name, run, hold: proposal.hold };
            let combined = match self.combine(&guard, &stage, &sides).await {
                Err(_) if self.was_swept_since(&guard).await? => {
                    self.back_off(attempt).await;
                    continue;
                }
                combined => combined?,
            };
            let target_commit = stage.commit(&sides.ours).await?;
            let target_tree = Hash::parse(&target_commit.tree)?;
            let new_tree = tree::edit(&mut stage, &target_tree, &combined.edits).await?;
            let mut prepared = Prepared {
                branch: branch.to_owned(),
                target: target.to_owned(),
                onto: onto.record.commit.clone(),
                commit: onto.record.commit.clone(),
                tip: head.record.commit.clone(),
                rebased: combined.rebased,
                moved: combined.moved,
            };
            if new_tree == target_tree {
                return Ok(prepared);
            }
            let source_commit = stage.commit(&source).await?;
            let rebased = Commit {
                tree: new_tree.to_hex(),
                parents: vec![sides.ours.to_hex(), source.to_hex()],
                author: proposal.author.clone(),
                time: self.commit_time([&*target_commit, &*source_commit]),
                message: proposal.message.to_owned(),
                run,
                operations: combined.operations,
                rebased_from: Some(source.to_hex()),
                accepted: proposal.accepted.cloned(),
            };
            let commit = stage.add_commit(rebased.clone());
            let held_tree = tree::edit(&mut stage, &new_tree, &combined.held).await?;
            let tip = match held_tree == new_tree {
                true => commit,
                false => stage.add_commit(Commit {
                    tree: held_tree.to_hex(),
                    parents: vec![commit.to_hex()],
                    time: self.commit_time([&rebased]),
                    message: format!("held back: {}", proposal.message),
                    operations: combined.held_operations,
                    accepted: None,
                    ..rebased
                }),
            };
            (prepared.commit, prepared.tip) = (commit.into(), tip.into());
            let objects = stage.bytes().map(|(_, bytes)| bytes.clone()).collect();
            match self.move_ref(&head, &tip, &guard, stage, objects, Batch::new()).await? {
                Moved::Yes => return Ok(prepared),
                Moved::Lost | Moved::Refused(_) => self.back_off(attempt).await,
            }
        }
        Err(CatalogError::Contended { name: branch.to_owned(), attempts: ATTEMPTS })
    }

    /// The run's own last commit on a branch: what a prepared commit was made from.
    async fn run_commit(&self, head: &Head, target: &CommitId) -> Result<Hash> {
        let tip = head.hash()?;
        let commit = self.objects().commit(&tip).await?;
        let Some(source) = &commit.rebased_from else { return Ok(tip) };
        if let [part] = commit.parents.as_slice()
            && self.is_in_history(&CommitId(part.clone()), target).await?
        {
            // The rest was published: what was held back is all of the run's own by now.
            return Ok(tip);
        }
        let source = Hash::parse(source)?;
        let kept = self.objects().find_commit(&source).await?.is_some();
        Ok(if kept { source } else { tip })
    }

    /// Whether a commit is in the first-parent history of another. Each is younger than its parents, so the walk ends
    /// at the commit's own age.
    async fn is_in_history(&self, commit: &CommitId, of: &CommitId) -> Result<bool> {
        let Some(wanted) = self.find_commit(commit).await? else { return Ok(false) };
        let mut next = Some(of.clone());
        while let Some(id) = next {
            if id == *commit {
                return Ok(true);
            }
            let found = self.find_commit(&id).await?.filter(|found| found.time > wanted.time);
            next = found.and_then(|found| found.parents.first().map(|parent| CommitId(parent.clone())));
        }
        Ok(false)
    }

    /// Moves the target to a prepared commit, together with `record` (the run's record as published; writes and
    /// preconditions of the caller), and verifies the run's lease. `Ok(None)`: the target or the branch moved; prepare
    /// again.
    ///
    /// # Errors
    /// `LeaseLost` and `RecordChanged` when another process has the run, `UnknownRef` when the branch was deleted.
    pub async fn publish(&self, prepared: &Prepared, lease: Option<&Lease>, record: Batch) -> Result<Option<CommitId>> {
        if prepared.commit == prepared.onto {
            let also = with_lease(Batch::new(), lease, record)?;
            return match self.state().apply(also.batch.clone()).await? {
                Outcome::Applied => Ok(Some(prepared.commit.clone())),
                Outcome::Refused { expect, .. } => Err(also.refusal(expect)),
            };
        }
        let new = Hash::try_from(&prepared.commit)?;
        for attempt in 1..=ATTEMPTS {
            let guard = self.guard().await?;
            let target = self.branch_head(&prepared.target).await?;
            let branch = self.branch_head(&prepared.branch).await?;
            if target.record.commit != prepared.onto || branch.record.commit != prepared.tip {
                return Ok(None);
            }
            let stage = Stage::new(self.objects());
            let objects = self.objects_beyond(&stage, Some(&target.hash()?), &new).await?;
            let own = Batch::new().expect(polder_store::Space::Refs, branch.name.clone(), Some(branch.raw.clone()));
            let also = with_lease(own, lease, record.clone())?;
            match self.move_ref(&target, &new, &guard, stage, objects, also.batch.clone()).await? {
                Moved::Yes => return Ok(Some(prepared.commit.clone())),
                // The target, the branch, or a sweep: the next look tells.
                Moved::Lost | Moved::Refused(0) => self.back_off(attempt).await,
                Moved::Refused(expect) => return Err(also.refusal(expect)),
            }
        }
        Err(CatalogError::Contended { name: prepared.target.clone(), attempts: ATTEMPTS })
    }

    /// The commit by which a run was published to a ref, if it was: for a process that goes on after a crash and cannot
    /// know whether its last move of the ref took place.
    pub async fn find_published(&self, run: RunId, target: &str) -> Result<Option<CommitId>> {
        let mut next = Some(self.head(target).await?.record.commit);
        while let Some(id) = next {
            let Some(commit) = self.find_commit(&id).await? else { break };
            if commit.run == Some(run.0) && commit.rebased_from.is_some() {
                return Ok(Some(id));
            }
            next = commit.parents.first().map(|parent| CommitId(parent.clone()));
        }
        Ok(None)
    }
}

/// A caller's batch behind the lease, and what its refusals mean.
struct Also {
    batch: Batch,
    /// The position of the lease's precondition.
    lease: Option<(usize, u64)>,
}

fn with_lease(mut batch: Batch, lease: Option<&Lease>, record: Batch) -> Result<Also> {
    let mut position = None;
    if let Some(lease) = lease {
        position = Some((batch.expects.len(), lease.run.0));
        batch = lease.expect(batch)?;
    }
    batch.expects.extend(record.expects);
    batch.writes.extend(record.writes);
    Ok(Also { batch, lease: position })
}

impl Also {
    fn refusal(&self, expect: usize) -> CatalogError {
        match (self.lease, self.batch.expects.get(expect)) {
            (Some((position, run)), _) if position == expect => CatalogError::LeaseLost { run },
            (_, Some(expect)) => CatalogError::RecordChanged { key: expect.key.clone() },
            (_, None) => CatalogError::RecordChanged { key: String::new() },
        }
    }
}
