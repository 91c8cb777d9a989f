//! Tables whose files are not there any more, or do not hold what they should.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use polder_base::TableName;
use polder_catalog::{CommitId, Entry, EntryKey, TableEntry};
use polder_lake::LakeError;
use polder_store::StoreError;
use polder_table::spec::ManifestContentType;
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

/// What a look for the files of tables and views found.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) damaged: Vec<Damaged>,
    /// How many files were looked for, where there are more.
    pub(crate) cut_off: Option<u64>,
}

/// Files that are looked for at once, and tables whose metadata is read at once.
const AT_ONCE: usize = 16;

/// Files that `status` looks for: it is to answer soon, and those beyond are left to a look at their table. Metadata
/// counts as one file for each table or view.
const LOOKED_FOR: usize = 5_000;

/// The data files of a table by their paths, and their sizes in bytes.
type Files = BTreeMap<String, u64>;

impl App {
    /// The tables and views of a commit whose files are gone or damaged.
    pub(crate) async fn damages(&self, at: &CommitId) -> Result<Looked, AppError> {
        let entries = self.catalog.entries(at).await?.into_iter().filter_map(|(key, entry)| match key {
            EntryKey::Relation(name) => Some((name, entry)),
            EntryKey::Cursor(_) => None,
        });
        self.look(&entries.collect::<Vec<_>>(), LOOKED_FOR).await
    }

    /// What is wrong with the files of one table or view.
    pub(crate) async fn damage_of(&self, table: &TableName, entry: &Entry) -> Result<Option<Damaged>, AppError> {
        let looked = self.look(&[(table.clone(), entry.clone())], usize::MAX).await?;
        Ok(looked.damaged.into_iter().next())
    }

    /// Looks for so many files, in the order of the tables.
    async fn look(&self, relations: &[(TableName, Entry)], most: usize) -> Result<Looked, AppError> {
        let (mut left, mut cut_off, mut damaged) = (most, false, Vec::new());
        for some in relations.chunks(AT_ONCE) {
            let some = &some[..some.len().min(left)];
            left -= some.len();
            let listed = try_join_all(some.iter().map(|(_, entry)| self.list(entry, left))).await?;
            let mut shares: Vec<Files> = Vec::with_capacity(some.len());
            let mut wrong: Vec<Option<String>> = Vec::with_capacity(some.len());
            for list in listed {
                let (files, what) = list.map_or_else(|what| (Files::new(), Some(what)), |files| (files, None));
                cut_off |= files.len() > left;
                let share: Files = files.into_iter().take(left).collect();
                left -= share.len();
                shares.push(share);
                wrong.push(what);
            }
            for ((missing, what), (table, _)) in self.missing(shares).await?.into_iter().zip(wrong).zip(some) {
                damaged.extend(what.or(missing).map(|what| self.damaged(table.clone(), what)));
            }
        }
        cut_off |= relations.len() > most;
        Ok(Looked { damaged, cut_off: cut_off.then_some(most as u64) })
    }

    fn damaged(&self, table: TableName, what: String) -> Damaged {
        let declared = self.loaded.project.tables.get(&table).is_some();
        Damaged { table, what, declared }
    }

    /// The data files of an entry; where there are more than `most`, more than that, and not all. `Err`: what is wrong
    /// with its metadata.
    async fn list(&self, entry: &Entry, most: usize) -> Result<Result<Files, String>, AppError> {
        let found = match entry {
            Entry::Table(table) => self.data_files(table, most).await,
            Entry::View(view) => {
                let read = self.catalog.tables().view(&view.metadata_path).await;
                read.map(|_| Files::new()).map_err(LakeError::from)
            }
            Entry::Cursor(_) => Ok(Files::new()),
        };
        match found {
            Ok(files) => Ok(Ok(files)),
            Err(error) if error.is_damage() => Ok(Err(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    async fn data_files(&self, table: &TableEntry, most: usize) -> Result<Files, LakeError> {
        let metadata = self.catalog.metadata(table).await?;
        let tables = self.catalog.tables();
        let manifests = tables.manifests(&metadata, metadata.current_snapshot_id()).await?;
        let of_data = manifests.iter().filter(|m| m.content == ManifestContentType::Data);
        let mut lists = futures::stream::iter(of_data.map(|m| tables.files(&metadata, m))).buffered(AT_ONCE);
        let mut files = Files::new();
        while files.len() <= most
            && let Some(list) = lists.try_next().await?
        {
            for info in list {
                let path = tables.warehouse().path(info.file.file_path())?.to_owned();
                files.insert(path, info.file.file_size_in_bytes());
            }
        }
        Ok(files)
    }

    /// Tells, table by table, of data files that are gone, or are shorter or longer than they were written.
    async fn missing(&self, tables: Vec<Files>) -> Result<Vec<Option<String>>, AppError> {
        let counts: Vec<usize> = tables.iter().map(Files::len).collect();
        let storage = self.catalog.tables().warehouse().storage();
        let all = tables.into_iter().enumerate().flat_map(|(table, files)| files.into_iter().map(move |f| (table, f)));
        let looks = all.map(|(table, (path, written))| async move {
            let what = match storage.head(&path).await {
                Ok(info) if info.size_bytes == written => None,
                Ok(_) => Some(format!("{path} is not as long as it was written")),
                Err(error @ StoreError::NotFound { .. }) => Some(error.to_string()),
                Err(error) => return Err(error),
            };
            Ok((table, what))
        });
        let mut wrong: Vec<Vec<String>> = vec![Vec::new(); counts.len()];
        let mut looks = futures::stream::iter(looks).buffered(AT_ONCE);
        while let Some((table, what)) = looks.try_next().await? {
            wrong[table].extend(what);
        }
        Ok(wrong.iter().zip(counts).map(|(wrong, files)| in_one_line(wrong, files)).collect())
    }
}

/// What is wrong with some of the `files` that were looked for.
fn in_one_line(wrong: &[String], files: usize) -> Option<String> {
    let first = wrong.first()?;
    Some(match wrong.len() {
        1 => first.clone(),
        many => format!("{first}; {} more of {files} data files are gone or damaged, too", many - 1),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{OpenOptions, RunRequest};

    async fn run(app: &App) {
        let silent = Arc::new(polder_run::Silent);
        app.run(&RunRequest::default(), silent, &CancellationToken::new()).await.unwrap();
    }

    /// Takes all data files of a namespace away.
    fn lose(home: &Path, namespace: &str) {
        for table in std::fs::read_dir(home.join("warehouse").join(namespace)).unwrap() {
            std::fs::remove_dir_all(table.unwrap().path().join("data")).unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_too_many_files_the_first_are_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("polder.yaml", "name: damage\nmemory_limit: 256MB\n");
        write("sources/t.yaml", "files: in/*.csv\n");
        write("models/gold/total.sql", "select count(*) as n from bronze.t\n");
        let app = App::open(&OpenOptions::new(folder.path())).await.unwrap();
        for n in 1..=3 {
            write(&format!("in/{n}.csv"), &format!("a\n{n}\n"));
            run(&app).await;
        }
        let head = app.catalog.resolve("main").await.unwrap();
        let entries = app.catalog.entries(&head).await.unwrap();
        let relations: Vec<(TableName, Entry)> = entries
            .into_iter()
            .filter_map(|(key, entry)| match key {
                EntryKey::Relation(name) => Some((name, entry)),
                EntryKey::Cursor(_) => None,
            })
            .collect();
        assert_eq!(relations.len(), 2, "{relations:?}");
        lose(app.home.folder(), "bronze");
        lose(app.home.folder(), "gold");

        // Metadata of two tables, three files of the first and one of the second.
        for (most, files, tables) in [(0, 0, 0), (2, 0, 0), (3, 1, 1), (4, 2, 1), (5, 3, 1), (6, 4, 2), (7, 4, 2)] {
            let looked = app.look(&relations, most).await.unwrap();
            assert_eq!(looked.cut_off, (most < 6).then_some(most as u64), "{most}");
            let told: Vec<&str> = looked.damaged.iter().map(|d| d.what.as_str()).collect();
            assert_eq!(told.len(), tables, "{most}: {told:?}");
            if (2..=3).contains(&files) {
                let more = format!("; {} more of {files} data files are gone or damaged, too", files - 1);
                assert!(told[0].ends_with(&more), "{most}: {told:?}");
            }
        }
        let all = app.damages(&head).await.unwrap();
        assert_eq!((all.damaged.len(), all.cut_off), (2, None));
    }
}
