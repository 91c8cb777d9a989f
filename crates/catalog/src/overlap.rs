//! Whether two sides of a table hold the same files. A data file is never written twice, so the same files are the same
//! rows, and replaying appends must never put a file into a table twice.

use std::collections::BTreeSet;

use polder_table::spec::{ManifestFile, TableMetadata};

use crate::{Catalog, Result, TableEntry};

impl Catalog {
    /// Whether a file that is not in `base` is in both others. Reads manifests that `base` does not have only.
    pub(crate) async fn shares_new_files(
        &self,
        base: &TableMetadata,
        ours: &TableMetadata,
        theirs: &TableMetadata,
    ) -> Result<bool> {
        let known = self.tables().manifests(base, base.current_snapshot_id()).await?;
        let known_paths: BTreeSet<&str> = known.iter().map(|m| m.manifest_path.as_str()).collect();
        let theirs_new = self.files_beyond(&known_paths, theirs).await?;
        let ours_new = self.files_beyond(&known_paths, ours).await?;
        let mut shared: BTreeSet<&String> = theirs_new.intersection(&ours_new).collect();
        if shared.is_empty() {
            return Ok(false);
        }
        // A file of the base may be in both because each side merged its manifests.
        for manifest in &known {
            for info in self.tables().files(base, manifest).await? {
                shared.remove(&info.file.file_path().to_owned());
            }
        }
        Ok(!shared.is_empty())
    }

    /// Whether two states of a table hold the same rows in the same columns.
    pub(crate) async fn same_rows(&self, ours: &TableEntry, theirs: &TableEntry) -> Result<bool> {
        if ours.uuid != theirs.uuid {
            return Ok(false);
        }
        let (ours, theirs) = (self.metadata(ours).await?, self.metadata(theirs).await?);
        if ours.current_schema().as_struct() != theirs.current_schema().as_struct() {
            return Ok(false);
        }
        let none = BTreeSet::new();
        Ok(self.files_beyond(&none, &ours).await? == self.files_beyond(&none, &theirs).await?)
    }

    async fn files_beyond(&self, known: &BTreeSet<&str>, metadata: &TableMetadata) -> Result<BTreeSet<String>> {
        let mut files = BTreeSet::new();
        let manifests: Vec<ManifestFile> = self.tables().manifests(metadata, metadata.current_snapshot_id()).await?;
        for manifest in manifests.iter().filter(|m| !known.contains(m.manifest_path.as_str())) {
            let live = self.tables().files(metadata, manifest).await?;
            files.extend(live.into_iter().map(|info| info.file.file_path().to_owned()));
        }
        Ok(files)
    }
}
