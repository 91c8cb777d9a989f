//! The branch that a run writes to.

use std::sync::Arc;

use polder_base::{RunId, TableName, Timestamp};
use polder_catalog::{Author, Change, ChangeSet, CommitId, Entry, EntryKey};
use polder_table::spec::{PartitionSpec, Schema};

use crate::write::DEFAULT_FILE_BYTES;
use crate::{Lake, LakeError, LakeTable, Result, WriteTarget};

/// Iceberg's own name for it.
const TARGET_FILE_BYTES: &str = "write.target-file-size-bytes";

/// What a step needs to read and change tables on its run's branch.
#[derive(Debug, Clone)]
pub struct Workspace {
    pub lake: Arc<Lake>,
    pub branch: String,
    pub run: RunId,
    /// What `run_time()` and `now()` are in this run.
    pub run_time: Timestamp,
    pub author: Author,
}

impl Workspace {
    /// The commit that the branch names now.
    pub async fn head(&self) -> Result<CommitId> {
        Ok(self.lake.catalog().resolve(&self.branch).await?)
    }

    /// A table as the branch has it now.
    pub async fn table(&self, name: &TableName) -> Result<Option<LakeTable>> {
        self.lake.table(&self.head().await?, name).await
    }

    /// As [`Self::table`], for whoever replaces all rows: `None` also where files of the table's metadata are gone or
    /// damaged, so that it can only be made anew.
    pub async fn replaceable(&self, name: &TableName) -> Result<Option<LakeTable>> {
        let whole = async {
            let Some(table) = self.table(name).await? else { return Ok(None) };
            let metadata = &table.metadata;
            self.lake.catalog().tables().snapshot_files(metadata, metadata.current_snapshot_id()).await?;
            Ok(Some(table))
        };
        match whole.await {
            Err(error) if LakeError::is_damage(&error) => Ok(None),
            other => other,
        }
    }

    /// The value of a cursor, as JSON text.
    pub async fn cursor(&self, name: &str) -> Result<Option<String>> {
        let key = EntryKey::Cursor(name.to_owned());
        match self.lake.catalog().entry(&self.head().await?, &key).await? {
            Some(Entry::Cursor(cursor)) => Ok(Some(cursor.value)),
            _ => Ok(None),
        }
    }

    /// Where to write rows for a table that exists, with its current schema.
    pub fn target(&self, table: &LakeTable) -> WriteTarget {
        let properties = table.metadata.properties();
        WriteTarget {
            folder: table.folder(),
            schema: Arc::clone(table.metadata.current_schema()),
            partition: Arc::clone(table.metadata.default_partition_spec()),
            prefix: self.prefix(),
            target_file_bytes: properties
                .get(TARGET_FILE_BYTES)
                .and_then(|bytes| bytes.parse().ok())
                .unwrap_or(DEFAULT_FILE_BYTES),
        }
    }

    /// Where to write rows for a table that this commit will make, in [`Self::new_folder`]. `partition` is bound to
    /// `schema`.
    pub fn new_target(&self, folder: &str, schema: Schema, partition: PartitionSpec) -> WriteTarget {
        WriteTarget {
            folder: folder.to_owned(),
            schema: Arc::new(schema),
            partition: Arc::new(partition),
            prefix: self.prefix(),
            target_file_bytes: DEFAULT_FILE_BYTES,
        }
    }

    /// Folder for a new table: `namespace/name-<8 random hex>`. Letters that not every reader of Iceberg takes in a
    /// location are replaced; the random part keeps folders apart.
    pub fn new_folder(&self, name: &TableName) -> String {
        let plain = |text: &str| -> String {
            text.chars()
                .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' })
                .collect()
        };
        let random = self.lake.catalog().system().random() >> 32;
        format!("{}/{}-{random:08x}", plain(&name.namespace), plain(&name.name))
    }

    /// Commits onto the branch; snapshot summaries get `polder.run`.
    pub async fn commit(&self, message: &str, changes: Vec<Change>) -> Result<CommitId> {
        let changes =
            ChangeSet { author: self.author.clone(), message: message.to_owned(), run: Some(self.run), changes };
        Ok(self.lake.catalog().commit(&self.branch, changes).await?)
    }

    fn prefix(&self) -> String {
        format!("run-{}", self.run)
    }
}
