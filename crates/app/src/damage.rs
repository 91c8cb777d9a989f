//! Tables whose files are not there any more, or do not hold what they should.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use polder_base::TableName;
use polder_catalog::{CommitId, Entry, EntryKey, TableEntry};
use polder_lake::LakeError;
use polder_store::StoreError;
use serde::Serialize;

use crate::{App, AppError};

/// A table or view that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damaged {
    pub table: TableName,
    /// What is wrong with it, in one line.
    pub what: String,
    /// Whether the project declares it: then it can be made anew.
    pub declared: bool,
}

/// Files that are looked for at once.
const AT_ONCE: usize = 16;

/// Files that `status` looks for, metadata and data: it is to answer at once, and those beyond are left to a look at their
/// table.
const LOOKED_FOR: usize = 5_000;

impl App {
    /// The tables and views of a commit whose files are gone or damaged.
    pub(crate) async fn damages(&self, at: &CommitId) -> Result<Vec<Damaged>, AppError> {
        let mut damaged = Vec::new();
        let mut left = LOOKED_FOR;
        for (key, entry) in self.catalog.entries(at).await? {
            let EntryKey::Relation(table) = key else { continue };
            if let Some(what) = self.damage(&entry, &mut left).await? {
                damaged.push(self.damaged(table, what));
            }
        }
        Ok(damaged)
    }

    /// What is wrong with the files of one table or view.
    pub(crate) async fn damage_of(&self, table: &TableName, entry: &Entry) -> Result<Option<Damaged>, AppError> {
        let mut all = usize::MAX;
        let what = self.damage(entry, &mut all).await?;
        Ok(what.map(|what| self.damaged(table.clone(), what)))
    }

    fn damaged(&self, table: TableName, what: String) -> Damaged {
        let declared = self.loaded.project.tables.get(&table).is_some();
        Damaged { table, what, declared }
    }

    /// What is wrong with the files of an entry. Counts down the data files that are looked for; when there are none
    /// left, a look at the metadata has to do.
    async fn damage(&self, entry: &Entry, left: &mut usize) -> Result<Option<String>, AppError> {
        let found = match entry {
            Entry::Table(table) if *left == 0 => {
                self.catalog.metadata(table).await.map(|_| BTreeMap::new()).map_err(LakeError::from)
            }
            Entry::Table(table) => self.data_files(table).await,
            Entry::View(view) => {
                let read = self.catalog.tables().view(&view.metadata_path).await;
                read.map(|_| BTreeMap::new()).map_err(LakeError::from)
            }
            Entry::Cursor(_) => Ok(BTreeMap::new()),
        };
        match found {
            Ok(files) if files.len() > *left => {
                *left = 0;
                Ok(None)
            }
            Ok(files) => {
                *left -= files.len();
                self.missing(&files).await
            }
            Err(error) if error.is_damage() => Ok(Some(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// The data files of a table, and their sizes in bytes.
    async fn data_files(&self, table: &TableEntry) -> Result<BTreeMap<String, u64>, LakeError> {
        let metadata = self.catalog.metadata(table).await?;
        let tables = self.catalog.tables();
        let files = tables.snapshot_files(&metadata, metadata.current_snapshot_id()).await?;
        let path = |location| tables.warehouse().path(location).map(str::to_owned);
        files.iter().map(|f| Ok((path(f.file.file_path())?, f.file.file_size_in_bytes()))).collect()
    }

    /// Tells of data files that are gone, or are shorter or longer than they were written.
    async fn missing(&self, files: &BTreeMap<String, u64>) -> Result<Option<String>, AppError> {
        let storage = self.catalog.tables().warehouse().storage();
        let look = |(path, written): (&String, &u64)| {
            let (path, written) = (path.clone(), *written);
            async move {
                match storage.head(&path).await {
                    Ok(info) if info.size_bytes == written => Ok(None),
                    Ok(_) => Ok(Some(format!("{path} is not as long as it was written"))),
                    Err(error @ StoreError::NotFound { .. }) => Ok(Some(error.to_string())),
                    Err(error) => Err(error),
                }
            }
        };
        let looks = futures::stream::iter(files.iter().map(look)).buffered(AT_ONCE);
        let wrong: Vec<String> = looks.try_filter_map(|found| async { Ok(found) }).try_collect().await?;
        Ok(wrong.first().map(|first| match wrong.len() {
            1 => first.clone(),
            many => format!("{first}; {} more of its {} data files are gone or damaged, too", many - 1, files.len()),
        }))
    }
}
