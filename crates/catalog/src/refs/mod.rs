//! Refs: names for commits, as records of the state store.

pub(crate) mod name;
mod spec;

use bytes::Bytes;
use polder_base::{Timestamp, nearest};
use polder_store::{Batch, Outcome, Space};
use serde::{Deserialize, Serialize};

use crate::codec::{Hash, Kind};
use crate::guard::Guard;
use crate::objects::Stage;
use crate::records::{decode_record, encode_record};
use crate::{Catalog, CatalogError, CommitId, RefInfo, RefKind, Result};

/// Counts the refs that were made and removed. A ref made anew starts at an epoch that none of its name had before, and
/// a collection of garbage sees that there are refs which it has not looked at.
const COUNTER: &str = "refs";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefRecord {
    pub(crate) kind: RefKind,
    pub(crate) commit: CommitId,
    pub(crate) epoch: u64,
    pub(crate) created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Timestamp>,
    /// Where a branch began: kept as long as the branch is, for merging needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fork: Option<CommitId>,
}

/// What a history showed at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    Commit(CommitId),
    /// The history begins later.
    NothingYet,
    /// Retention cut the history at a later commit.
    Cut,
}

/// A ref as it was read, with the bytes that a transaction must find unchanged.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) name: String,
    pub(crate) record: RefRecord,
    pub(crate) raw: Bytes,
}

impl Head {
    fn decode(name: String, raw: Bytes) -> Result<Self> {
        let record = decode_record(&format!("ref {name}"), &raw)?;
        Ok(Self { name, record, raw })
    }

    pub(crate) fn hash(&self) -> Result<Hash> {
        Hash::try_from(&self.record.commit)
    }

    pub(crate) fn info(&self) -> RefInfo {
        RefInfo {
            name: self.name.clone(),
            kind: self.record.kind,
            commit: self.record.commit.clone(),
            epoch: self.record.epoch,
            created: self.record.created,
            expires: self.record.expires,
        }
    }
}

/// The counter of refs as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefCounter {
    raw: Option<Bytes>,
    value: u64,
}

impl RefCounter {
    /// The record of a counter that has seen `value`.
    pub(crate) fn restore(batch: Batch, value: u64) -> Result<Batch> {
        Ok(batch.put(Space::Meta, COUNTER, encode_record(&value)?))
    }

    pub(crate) fn expect(&self, batch: Batch) -> Batch {
        batch.expect(Space::Meta, COUNTER, self.raw.clone())
    }

    fn advance(&self, batch: Batch, value: u64) -> Result<Batch> {
        Ok(self.expect(batch).put(Space::Meta, COUNTER, encode_record(&value)?))
    }
}

/// How often a ref's creation or removal starts again when others do the same.
const ATTEMPTS: u32 = 32;
const PAGE: usize = 1000;

impl Catalog {
    pub(crate) async fn find_head(&self, name: &str) -> Result<Option<Head>> {
        let raw = self.state().get(Space::Refs, name).await?;
        raw.map(|raw| Head::decode(name.to_owned(), raw)).transpose()
    }

    pub(crate) async fn head(&self, name: &str) -> Result<Head> {
        match self.find_head(name).await? {
            Some(head) => Ok(head),
            None => Err(self.unknown_ref(name).await?),
        }
    }

    /// The head of a branch, to move it.
    pub(crate) async fn branch_head(&self, name: &str) -> Result<Head> {
        let head = self.head(name).await?;
        match head.record.kind {
            RefKind::Branch => Ok(head),
            RefKind::Tag => Err(CatalogError::Invalid(format!("`{name}` is a tag: tags do not move"))),
        }
    }

    pub(crate) async fn heads(&self) -> Result<Vec<Head>> {
        let mut heads: Vec<Head> = Vec::new();
        loop {
            let after = heads.last().map(|h| h.name.clone());
            let page = self.state().scan(Space::Refs, "", after.as_deref(), PAGE).await?;
            let full = page.len() == PAGE;
            for (name, raw) in page {
                heads.push(Head::decode(name, raw)?);
            }
            if !full {
                return Ok(heads);
            }
        }
    }

    async fn unknown_ref(&self, name: &str) -> Result<CatalogError> {
        let heads = self.heads().await?;
        let nearest = nearest(name, heads.iter().map(|h| h.name.as_str())).map(str::to_owned);
        Ok(CatalogError::UnknownRef { name: name.to_owned(), nearest })
    }

    pub(crate) async fn ref_counter(&self) -> Result<RefCounter> {
        let raw = self.state().get(Space::Meta, COUNTER).await?;
        let value = raw.as_deref().map_or(Ok(0), |raw| decode_record("refs", raw))?;
        Ok(RefCounter { raw, value })
    }

    /// The commit that a person means: a ref, at a time (`main@2026-11-20`, which is the first moment of that day in
    /// UTC, `main@2026-11-20T06:00:00Z`: what the ref showed then), counted back (`main~2`), or a commit's hash of at
    /// least 8 digits.
    pub async fn resolve(&self, spec: &str) -> Result<CommitId> {
        let parsed = spec::parse(spec)?;
        let mut commit = match (self.find_head(parsed.name).await?, parsed.at) {
            // What a ref shows is kept as long as it does.
            (Some(head), None) if parsed.back == 0 => return Ok(head.record.commit),
            (Some(head), None) => head.record.commit,
            (Some(_), Some(at)) => self.resolve_at(parsed.name, at).await?,
            (None, None) if name::looks_like_hash(parsed.name) => self.resolve_hash(parsed.name).await?,
            (None, _) => return Err(self.unknown_ref(parsed.name).await?),
        };
        for _ in 0..parsed.back {
            let parent = self.commit_object(&commit).await?.parents.first().cloned();
            let parent = parent.ok_or_else(|| {
                CatalogError::Invalid(format!("`{spec}` goes back further than the history of `{}`", parsed.name))
            })?;
            commit = CommitId(parent);
        }
        // What is cached here may have been cut by another process: say so now.
        if self.objects().is_stored(&Hash::try_from(&commit)?).await? {
            Ok(commit)
        } else {
            Err(CatalogError::UnknownCommit { commit: commit.0 })
        }
    }

    /// What a ref showed at a time.
    ///
    /// # Errors
    /// There was nothing yet, or it is no longer kept.
    pub async fn resolve_at(&self, name: &str, at: Timestamp) -> Result<CommitId> {
        let head = self.head(name).await?.record.commit;
        match self.shown_at(&head, at).await? {
            Shown::Commit(commit) => Ok(commit),
            Shown::NothingYet => Err(CatalogError::Invalid(format!("`{name}` has no history before {at}"))),
            Shown::Cut => Err(CatalogError::Invalid(format!(
                "what `{name}` showed at {at} is no longer kept: its history was cut"
            ))),
        }
    }

    /// What a ref with this head showed at a time: the newest commit of its first-parent history that is not younger.
    pub async fn shown_at(&self, head: &CommitId, at: Timestamp) -> Result<Shown> {
        let mut id = head.clone();
        loop {
            let Some(commit) = self.find_commit(&id).await? else {
                return Ok(Shown::Cut);
            };
            // The first of all commits is an empty catalog, dated to the beginning of time.
            let Some(parent) = commit.parents.first() else {
                return Ok(Shown::NothingYet);
            };
            if commit.at() <= at {
                return Ok(Shown::Commit(id));
            }
            id = CommitId(parent.clone());
        }
    }

    /// The commit whose hash starts with these digits.
    async fn resolve_hash(&self, digits: &str) -> Result<CommitId> {
        let mut found: Vec<CommitId> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.state().scan(Space::Objects, digits, after.as_deref(), 64).await?;
            after = page.last().map(|(key, _)| key.clone());
            let full = page.len() == 64;
            let commits = page.into_iter().filter(|(_, bytes)| Kind::of(bytes) == Some(Kind::Commit));
            found.extend(commits.map(|(key, _)| CommitId(key)));
            if !full || found.len() > 1 {
                break;
            }
        }
        match found.as_slice() {
            [] => Err(CatalogError::UnknownCommit { commit: digits.to_owned() }),
            [only] => Ok(only.clone()),
            [a, b, ..] => Err(CatalogError::Invalid(format!(
                "`{digits}` is the beginning of several commits, such as {} and {}: give more digits",
                a.0, b.0
            ))),
        }
    }

    pub async fn refs(&self) -> Result<Vec<RefInfo>> {
        Ok(self.heads().await?.iter().map(Head::info).collect())
    }

    pub async fn find_ref(&self, name: &str) -> Result<Option<RefInfo>> {
        Ok(self.find_head(name).await?.map(|head| head.info()))
    }

    /// Makes a branch. One that `expires` is removed by [`Catalog::expire`] afterwards.
    ///
    /// # Errors
    /// A name that is taken or no name for a ref, and a commit that is not there (any more).
    pub async fn create_branch(&self, name: &str, from: &CommitId, expires: Option<Timestamp>) -> Result<RefInfo> {
        self.create_ref(name, RefKind::Branch, from, expires).await
    }

    pub async fn create_tag(&self, name: &str, from: &CommitId) -> Result<RefInfo> {
        self.create_ref(name, RefKind::Tag, from, None).await
    }

    async fn create_ref(
        &self,
        name: &str,
        kind: RefKind,
        from: &CommitId,
        expires: Option<Timestamp>,
    ) -> Result<RefInfo> {
        name::validate(name)?;
        let commit = Hash::try_from(from)?;
        for _ in 0..ATTEMPTS {
            let guard = self.guard().await?;
            let counter = self.ref_counter().await?;
            if self.find_head(name).await?.is_some() {
                return Err(CatalogError::RefExists { name: name.to_owned() });
            }
            // A commit can be cached here and collected there.
            if !self.objects().is_stored(&commit).await? {
                return Err(CatalogError::UnknownCommit { commit: from.0.clone() });
            }
            let epoch = counter.value + 1;
            let created = self.system().now();
            let fork = Some(from.clone()).filter(|_| kind == RefKind::Branch);
            let record = RefRecord { kind, commit: from.clone(), epoch, created, expires, fork };
            let raw = encode_record(&record)?;
            let stage = Stage::new(self.objects());
            self.verify_commit(&guard, &stage, from).await?;
            let objects = self.objects_beyond_main(&stage, &commit).await?;
            self.write_bundle(&guard, name, None, Some((&record, raw.clone())), epoch, objects).await?;
            let batch = guard.expect(Batch::new().expect(Space::Refs, name, None));
            let batch = counter.advance(batch, epoch)?.put(Space::Refs, name, raw.clone());
            match self.state().apply(batch).await? {
                Outcome::Applied => return Ok(Head { name: name.to_owned(), record, raw }.info()),
                Outcome::Refused { expect: 0, .. } => {
                    return Err(CatalogError::RefExists { name: name.to_owned() });
                }
                Outcome::Refused { .. } => self.back_off(1).await,
            }
        }
        Err(CatalogError::Contended { name: name.to_owned(), attempts: ATTEMPTS })
    }

    /// Verifies that all entries of a commit that `main` does not have can still be read.
    async fn verify_commit(&self, guard: &Guard, stage: &Stage<'_>, commit: &CommitId) -> Result<()> {
        let main = self.tree_of(&self.head(crate::MAIN).await?.record.commit).await?;
        for difference in crate::tree::diff(stage, &main, &self.tree_of(commit).await?).await?.into_values() {
            if let Some(entry) = &difference.after {
                self.verify_readable(guard, entry).await?;
            }
        }
        Ok(())
    }

    /// Removes a ref. What only it reached is collected later.
    pub async fn delete_ref(&self, name: &str) -> Result<()> {
        if name == crate::MAIN {
            return Err(CatalogError::Invalid("`main` cannot be deleted".to_owned()));
        }
        for _ in 0..ATTEMPTS {
            let head = self.head(name).await?;
            if self.delete_head(&head, Batch::new()).await? {
                return Ok(());
            }
            self.back_off(1).await;
        }
        Err(CatalogError::Contended { name: name.to_owned(), attempts: ATTEMPTS })
    }

    /// Removes a ref as it was read, when `also` holds. `false`: something moved.
    pub(crate) async fn delete_head(&self, head: &Head, also: Batch) -> Result<bool> {
        let guard = self.guard().await?;
        let counter = self.ref_counter().await?;
        let epoch = head.record.epoch + 1;
        self.write_bundle(&guard, &head.name, Some(&head.record.commit), None, epoch, Vec::new()).await?;
        let batch = guard.expect(also.expect(Space::Refs, head.name.clone(), Some(head.raw.clone())));
        let batch = counter.advance(batch, counter.value.max(epoch))?.delete(Space::Refs, head.name.clone());
        Ok(self.state().apply(batch).await? == Outcome::Applied)
    }

    /// Sets or clears the time from which a branch may be removed.
    pub async fn set_expiry(&self, name: &str, expires: Option<Timestamp>) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let head = self.branch_head(name).await?;
            let record = RefRecord { expires, ..head.record.clone() };
            let batch = Batch::new().expect(Space::Refs, name, Some(head.raw.clone())).put(
                Space::Refs,
                name,
                encode_record(&record)?,
            );
            if self.state().apply(batch).await? == Outcome::Applied {
                return Ok(());
            }
            self.back_off(1).await;
        }
        Err(CatalogError::Contended { name: name.to_owned(), attempts: ATTEMPTS })
    }
}
