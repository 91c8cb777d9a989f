//! Making the changes of a branch again on another head of the table.

use std::collections::{BTreeMap, HashSet};

use crate::draft::{Draft, Removal};
use crate::spec::{ManifestContentType, ManifestFile, ManifestStatus, Operation, TableMetadata};
use crate::{DataFileInfo, Replay, Result, TableIo, evolution, io, metadata};

/// What a branch appended.
#[derive(Debug, Default)]
struct Appended {
    /// Manifests that say nothing but what was added, and leave snapshot and sequence number to the list: they can be
    /// taken over as they are.
    manifests: Vec<(ManifestFile, Vec<DataFileInfo>)>,
    /// Files that have to be listed anew: their manifests were merged with others meanwhile.
    files: Vec<DataFileInfo>,
}

impl TableIo {
    /// Puts what a branch appended since `fork` onto `target`, as one new snapshot: parent, sequence number and
    /// timestamp follow from the target's head (design "In Iceberg's terms"). Columns that the branch added come with
    /// it, when the target's are still those of the fork.
    ///
    /// What was appended is found by comparing manifests, and files where those differ: it does not matter how many
    /// snapshots the branch made, or whether its metadata still knows them all.
    ///
    /// # Errors
    /// Files that cannot be read or written. What does not go together is no error, but `Replay::Conflict`.
    pub async fn replay_appends(
        &self,
        fork: Option<&TableMetadata>,
        branch: &TableMetadata,
        target: (&TableMetadata, &str),
        summary: &BTreeMap<String, String>,
    ) -> Result<Replay> {
        let Some(fork) = fork else {
            return Ok(Replay::Conflict("both sides made the table".to_owned()));
        };
        if let Some(reason) = other_than_append(fork, branch, target.0) {
            return Ok(Replay::Conflict(reason));
        }
        let schema = match evolution::merged_schema(fork, branch, target.0) {
            Ok(schema) => schema,
            Err(reason) => return Ok(Replay::Conflict(reason)),
        };
        let appended = match self.appended(fork, branch).await? {
            Ok(appended) => appended,
            Err(reason) => return Ok(Replay::Conflict(reason)),
        };
        let mut draft = Draft::open(self, target, summary).await?;
        if let Some(reason) = unfit(&appended, branch, &draft) {
            return Ok(Replay::Conflict(reason));
        }
        if let Some(schema) = schema {
            draft.set_schema(&schema)?;
        }
        let files: Vec<_> = appended.files.into_iter().map(|info| info.file).collect();
        draft.snapshot(Removal::Nothing, &files, appended.manifests).await?;
        Ok(Replay::Done(draft.finish().await?))
    }

    /// The files that are live on the branch and were not at the fork; why not, when files of the fork are gone.
    async fn appended(&self, fork: &TableMetadata, branch: &TableMetadata) -> Result<Result<Appended, String>> {
        let before = self.manifests(fork, fork.current_snapshot_id()).await?;
        let after = self.manifests(branch, branch.current_snapshot_id()).await?;
        let (gone, new) = (without(&before, &after), without(&after, &before));
        if gone.iter().chain(&new).any(|m| m.content == ManifestContentType::Deletes) {
            return Ok(Err("it deleted rows".to_owned()));
        }
        let mut old = HashSet::new();
        for manifest in gone {
            old.extend(self.live_files(manifest).await?.into_iter().map(|info| info.file.file_path().to_owned()));
        }
        let mut appended = Appended::default();
        for file in new {
            let manifest = self.manifest(file).await?;
            let mut files = io::live(&manifest, file);
            files.retain(|info| !old.remove(info.file.file_path()));
            let open = manifest
                .entries()
                .iter()
                .all(|e| e.status == ManifestStatus::Added && e.snapshot_id.is_none() && e.sequence_number.is_none());
            if open && files.len() == manifest.entries().len() {
                appended.manifests.push((file.clone(), files));
            } else {
                appended.files.extend(files);
            }
        }
        // What the branch still lists was taken out.
        Ok(if old.is_empty() { Ok(appended) } else { Err("it removed rows that were there before".to_owned()) })
    }
}

fn without<'a>(manifests: &'a [ManifestFile], others: &[ManifestFile]) -> Vec<&'a ManifestFile> {
    let others: HashSet<&str> = others.iter().map(|m| m.manifest_path.as_str()).collect();
    manifests.iter().filter(|m| !others.contains(m.manifest_path.as_str())).collect()
}

/// Why the branch did more than to append, as far as its metadata tells.
fn other_than_append(fork: &TableMetadata, branch: &TableMetadata, target: &TableMetadata) -> Option<String> {
    if branch.uuid() != target.uuid() || fork.uuid() != target.uuid() {
        return Some("the table was made anew".to_owned());
    }
    let since_fork = metadata::ancestors(branch).take_while(|id| fork.snapshot_by_id(*id).is_none());
    for id in since_fork {
        let operation = branch.snapshot_by_id(id).map(|s| &s.summary().operation);
        if !matches!(operation, Some(Operation::Append | Operation::Replace)) {
            return Some("it replaced rows".to_owned());
        }
    }
    None
}

/// Why files of the branch cannot be listed in the target.
fn unfit(appended: &Appended, branch: &TableMetadata, draft: &Draft<'_>) -> Option<String> {
    let target = draft.metadata();
    let there: HashSet<&str> = draft.manifests().iter().map(|m| m.manifest_path.as_str()).collect();
    if appended.manifests.iter().any(|(m, _)| there.contains(m.manifest_path.as_str())) {
        return Some("its rows are there already".to_owned());
    }
    let taken = appended.manifests.iter().map(|(m, _)| m.partition_spec_id);
    let rewritten = appended.files.iter().map(|info| info.partition_spec_id);
    for spec_id in taken.chain(rewritten.clone()) {
        if branch.partition_spec_by_id(spec_id) != target.partition_spec_by_id(spec_id) {
            return Some("its partitioning was changed".to_owned());
        }
    }
    let listed_anew = target.default_partition_spec_id();
    rewritten.into_iter().any(|id| id != listed_anew).then(|| "its partitioning was changed".to_owned())
}
