//! Publishing a run: its branch is rebased onto the target as one commit, and the target moves to that commit.

use polder_base::RunId;
use polder_store::{Batch, Outcome};

use crate::codec::Hash;
use crate::commit::ATTEMPTS;
use crate::moving::Moved;
use crate::objects::Stage;
use crate::refs::Head;
use crate::three_way::Sides;
use crate::{Author, Catalog, CatalogError, Commit, CommitId, Lease, Prepared, Result, tree};

impl Catalog {
    /// Rebases a run's branch onto the present head of its target, as one commit, and leaves the branch pointing at it.
    ///
    /// Preparing again, after the target moved once more, starts from the run's own last commit and not from the last
    /// attempt: nothing is lost, nothing lands twice, and `rebased` always compares with what the run built and checked.
    /// Where nothing differs from the target (any more), there is nothing to publish: `commit` is `onto` then, and the
    /// branch stays as it is.
    ///
    /// # Errors
    /// `Conflict`, naming both sides, for changes that do not go together.
    pub async fn prepare(
        &self,
        run: Option<RunId>,
        branch: &str,
        target: &str,
        author: &Author,
        message: &str,
    ) -> Result<Prepared> {
        for attempt in 1..=ATTEMPTS {
            let guard = self.guard().await?;
            let onto = self.branch_head(target).await?;
            let head = self.branch_head(branch).await?;
            let source = self.run_commit(&head).await?;
            let mut stage = Stage::new(self.objects());
            let name = run.map_or_else(|| format!("branch `{branch}`"), |run| format!("run {run}"));
            let sides = Sides { ours: onto.hash()?, theirs: source, theirs_name: &name, run: run.map(|r| r.0) };
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
                rebased: combined.rebased,
                moved: combined.moved,
            };
            if new_tree == target_tree {
                return Ok(prepared);
            }
            let source_commit = stage.commit(&source).await?;
            let commit = stage.add_commit(Commit {
                tree: new_tree.to_hex(),
                parents: vec![sides.ours.to_hex(), source.to_hex()],
                author: author.clone(),
                time: self.commit_time([&*target_commit, &*source_commit]),
                message: message.to_owned(),
                run: run.map(|r| r.0),
                operations: combined.operations,
                rebased_from: Some(source.to_hex()),
            });
            prepared.commit = commit.into();
            let objects = stage.bytes().map(|(_, bytes)| bytes.clone()).collect();
            match self.move_ref(&head, &commit, &guard, stage, objects, Batch::new()).await? {
                Moved::Yes => return Ok(prepared),
                Moved::Lost | Moved::Refused(_) => self.back_off(attempt).await,
            }
        }
        Err(CatalogError::Contended { name: branch.to_owned(), attempts: ATTEMPTS })
    }

    /// The run's own last commit on a branch: what a prepared commit was made from.
    async fn run_commit(&self, head: &Head) -> Result<Hash> {
        let tip = head.hash()?;
        let commit = self.objects().commit(&tip).await?;
        let Some(source) = &commit.rebased_from else { return Ok(tip) };
        let source = Hash::parse(source)?;
        let kept = self.objects().find_commit(&source).await?.is_some();
        Ok(if kept { source } else { tip })
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
            if target.record.commit != prepared.onto || branch.record.commit != prepared.commit {
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
