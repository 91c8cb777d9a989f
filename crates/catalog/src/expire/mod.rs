//! Collecting garbage: expired branches, history older than retention, objects and files that nothing reaches.
//!
//! What stays: the head of each ref; commits younger than the retention, and on each ref's own history the first one
//! older than it (what the ref showed when the retention began); the fork of each branch, and all commits since of one
//! that expires. Of these commits everything: nodes, metadata, and the manifests and data of *every* snapshot that the
//! metadata lists, so that whoever loads a table can read all that it offers. (Previous metadata files that a
//! metadata log names may be gone.)
//!
//! Objects that came after the collection began to look are not swept. A commit among them that nothing reaches any more
//! may so be left without its files: whoever names a commit by its hash verifies that it reads
//! (`Catalog::verify_readable`).
//!
//! A sweep holds only when every ref is where it was when it was marked (see [`crate::guard`] for the writers' side).
//! Commits go before their nodes, and metadata files before what they name: a part that is left is never found through
//! a whole that is there.
//!
//! Files below folders that start with `_` are not the catalog's, and are left alone.

mod bundles;
mod mark;
mod sweep;

use std::time::Duration;

use polder_base::{RunId, Timestamp};
use polder_store::Batch;

use self::mark::Marker;
use crate::refs::Head;
use crate::{Catalog, RefKind, Result};

/// Objects or files of one transaction.
const CHUNK: usize = 1000;

/// What a collection removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Expired {
    pub refs: Vec<String>,
    pub commits: u64,
    /// Commits and nodes.
    pub objects: u64,
    /// Files of tables and views.
    pub files: u64,
    pub bytes: u64,
}

impl Catalog {
    /// Removes expired branches, cuts history older than `retention`, and deletes files and objects that nothing
    /// reaches. Files younger than `grace`, and data files of runs that somebody works on, are left alone: their
    /// writers may be about to commit them.
    ///
    /// It may run at any time, beside writers and beside itself, and be stopped at any time. Where writers do not let
    /// it finish, it has removed less.
    ///
    /// # Errors
    /// Anything that is reachable and cannot be read: nothing is deleted then.
    pub async fn expire(&self, retention: Duration, grace: Duration) -> Result<Expired> {
        self.expire_as_of(self.system().now(), retention, grace).await
    }

    /// As [`Catalog::expire`], judged as things were at a time: what is past its keep by then.
    ///
    /// # Errors
    /// As [`Catalog::expire`].
    pub async fn expire_as_of(&self, as_of: Timestamp, retention: Duration, grace: Duration) -> Result<Expired> {
        self.collect(as_of, retention, grace, CHUNK).await
    }

    /// As [`Catalog::expire`], with so many objects or files to a transaction: smaller ones hold up writers less.
    ///
    /// # Errors
    /// As [`Catalog::expire`].
    pub async fn expire_in_chunks(&self, retention: Duration, grace: Duration, chunk: usize) -> Result<Expired> {
        self.collect(self.system().now(), retention, grace, chunk).await
    }

    async fn collect(&self, as_of: Timestamp, retention: Duration, grace: Duration, chunk: usize) -> Result<Expired> {
        let mut expired = Expired { refs: self.remove_expired_branches(as_of).await?, ..Expired::default() };
        self.finish_condemned().await?;
        let cutoff = as_of - retention;
        let objects = self.stored_objects().await?;
        let mut marker = Marker::new(self, cutoff, objects.iter().map(|object| object.name).collect());
        let before = self.guard().await?;
        match marker.mark_refs().await {
            Ok(()) => {}
            // Another collection took away what was being looked at: it is doing this work.
            Err(_) if self.guard().await? != before => return Ok(expired),
            Err(e) => return Err(e),
        }
        if self.sweep_objects(&mut marker, objects, chunk, &mut expired).await? {
            self.sweep_files(&mut marker, as_of - grace, chunk, &mut expired).await?;
        }
        self.tidy_bundles().await?;
        Ok(expired)
    }

    async fn remove_expired_branches(&self, as_of: Timestamp) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for head in self.heads().await? {
            if head.record.expires.is_some_and(|at| at <= as_of) && self.remove_expired(&head).await? {
                removed.push(head.name);
            }
        }
        Ok(removed)
    }

    /// Removes a branch, unless somebody works on its run.
    async fn remove_expired(&self, head: &Head) -> Result<bool> {
        let mut also = Batch::new();
        if let Some(run) = run_of(&head.name) {
            // It may be resumed in this moment.
            match self.expect_unleased(also, run).await? {
                Some(unleased) => also = unleased,
                None => return Ok(false),
            }
        }
        if head.record.kind != RefKind::Branch || head.name == crate::MAIN {
            return Ok(false);
        }
        self.delete_head(head, also).await
    }

    /// Goes on with the deletions of a sweep that was stopped.
    async fn finish_condemned(&self) -> Result<()> {
        let guard = self.guard().await?;
        if guard.record.condemned.is_empty() {
            return Ok(());
        }
        self.delete_files(guard.record.condemned.iter()).await?;
        // Refused when somebody else did the same: then it is done as well.
        let batch = guard.advance(Batch::new(), std::collections::BTreeSet::new())?;
        self.state().apply(batch).await?;
        Ok(())
    }
}

fn run_of(branch: &str) -> Option<RunId> {
    branch.strip_prefix("run/")?.parse().ok().map(RunId)
}
