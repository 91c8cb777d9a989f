//! Replacing rows by copy-on-write: the data files that have rows to go are written anew without them.

mod query;
mod watch;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, lit};
use datafusion::physical_plan::SendableRecordBatchStream;
use polder_table::DataFileInfo;
use polder_table::spec::{DataFile, Schema, Type};
use tokio_util::sync::CancellationToken;

use self::query::{Doomed, Queries};
use self::watch::{KeyWatch, Repeats};
use crate::schema::to_arrow;
use crate::write::Begun;
use crate::{Lake, LakeError, LakeTable, Result, WriteTarget, Written};

/// How new rows find the old ones that they replace.
#[derive(Debug, Clone)]
pub struct Merge {
    /// Columns at the top of the table.
    pub keys: Vec<String>,
    pub duplicates: Duplicates,
    pub nulls: NullKeys,
    /// Old rows that go whatever their key: those with one of these values in a text column.
    pub besides: Option<(String, Vec<String>)>,
}

/// What happens to new rows with NULL in a column of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullKeys {
    /// `LakeError::NullKey`.
    Refuse,
    /// They replace nothing, and are replaced by nothing.
    Keep,
}

/// What happens when two new rows have the same key.
#[derive(Debug, Clone)]
pub enum Duplicates {
    /// `LakeError::DuplicateKey`.
    Refuse,
    /// The row that is greatest by these columns stays.
    LastBy(Vec<String>),
}

/// What replacing rows made: for `Operation::Overwrite { remove, add: written.files }`.
#[derive(Debug, Clone, Default)]
pub struct Merged {
    /// New files, with the new rows and with the rows that stay of the files that go.
    pub written: Written,
    /// New rows in them.
    pub new_rows: u64,
    /// Locations of the files that go.
    pub remove: BTreeSet<String>,
    /// Old rows that go.
    pub removed_rows: u64,
}

/// New files that are written anew, one row for each key, and which those are.
#[derive(Debug, Default)]
struct Deduplicated {
    again: Written,
    gone: HashSet<String>,
}

type Report<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

impl Lake {
    /// Writes new rows, and anew those files that have old rows with their keys. `written` hears of new rows, and of all
    /// bytes.
    ///
    /// # Errors
    /// As [`Lake::write`]; a key that is not a column of the table; two new rows with one key where that is refused.
    pub async fn merge(
        self: &Arc<Self>,
        table: &LakeTable,
        target: &WriteTarget,
        rows: Vec<SendableRecordBatchStream>,
        merge: &Merge,
        cancel: &CancellationToken,
        written: Report<'_>,
    ) -> Result<Merged> {
        check_keys(table.iceberg_schema(), &merge.keys)?;
        let new = self.write_keyed(target, rows, merge, cancel, written).await?;
        let guard = self.guard(&new.files);
        let result = self.merge_written(table, target, &new, merge, cancel, written).await;
        settle(&guard, with_new(result, new)).await
    }

    /// Writes new rows, those with one key as the merge says. Rows go straight into files; only when a key seems to be
    /// there twice are the keys read again, and only files that have such keys are written anew.
    ///
    /// # Errors
    /// As [`Lake::merge`].
    pub async fn write_keyed(
        self: &Arc<Self>,
        target: &WriteTarget,
        rows: Vec<SendableRecordBatchStream>,
        merge: &Merge,
        cancel: &CancellationToken,
        written: Report<'_>,
    ) -> Result<Written> {
        check_keys(&target.schema, &merge.keys)?;
        let table = to_arrow(&target.schema)?;
        let (watch, rows) = KeyWatch::over(&merge.keys, &table, rows, &self.runtime().memory_pool);
        let new = self.write(target, rows, cancel, written).await?;
        let guard = self.guard(&new.files);
        if merge.nulls == NullKeys::Refuse && watch.incomplete() > 0 {
            guard.remove().await;
            return Err(LakeError::NullKey { keys: merge.keys.clone(), rows: watch.incomplete() });
        }
        let suspects = match tokio::task::spawn_blocking(|| watch.repeats()).await {
            Ok(Repeats::None) => {
                guard.keep();
                return Ok(new);
            }
            Ok(Repeats::Of(hashes)) => Some(hashes),
            Ok(Repeats::Unknown) | Err(_) => None,
        };
        let result = self.one_for_each_key(target, &new, merge, suspects, cancel, written).await;
        let Deduplicated { again, gone } = match result {
            Ok(result) => result,
            Err(error) => {
                guard.remove().await;
                return Err(error);
            }
        };
        guard.keep();
        let (gone, stay): (Vec<_>, Vec<_>) = new.files.into_iter().partition(|file| gone.contains(file.file_path()));
        self.guard(&gone).remove().await;
        let files: Vec<DataFile> = stay.into_iter().chain(again.files).collect();
        let rows = files.iter().map(DataFile::record_count).sum();
        Ok(Written { files, rows, bytes: new.bytes + again.bytes })
    }

    /// Writes new rows and removes the old ones that have one of these values in a text column: `(column, values)`.
    pub async fn replace_where_in(
        &self,
        table: &LakeTable,
        target: &WriteTarget,
        (column, values): (&str, &[String]),
        rows: Vec<SendableRecordBatchStream>,
        cancel: &CancellationToken,
        written: Report<'_>,
    ) -> Result<Merged> {
        check_keys(table.iceberg_schema(), &[column.to_owned()])?;
        let new = self.write(target, rows, cancel, written).await?;
        let guard = self.guard(&new.files);
        let predicate = one_of(column, values);
        let result = self.delete_where(table, target, predicate, cancel, written).await;
        settle(&guard, with_new(result, new)).await
    }

    /// Writes new rows and removes all files of the partitions that they are in. An unpartitioned table is one
    /// partition, and is replaced also by no rows.
    ///
    /// # Errors
    /// As [`Lake::write`]; a table whose files are partitioned in more than one way.
    pub async fn overwrite_partitions(
        &self,
        table: &LakeTable,
        target: &WriteTarget,
        rows: Vec<SendableRecordBatchStream>,
        cancel: &CancellationToken,
        written: Report<'_>,
    ) -> Result<Merged> {
        let old = table.files().await?;
        let spec = &target.partition;
        if !spec.is_unpartitioned() && old.iter().any(|info| info.partition_spec_id != spec.spec_id()) {
            return Err(LakeError::Unsupported {
                table: target.folder.clone(),
                detail: "its files are partitioned in more than one way, so one partition cannot be replaced"
                    .to_owned(),
            });
        }
        let new = self.write(target, rows, cancel, written).await?;
        let partitions: HashSet<_> = new.files.iter().map(DataFile::partition).collect();
        let mut merged = Merged::default();
        for info in &old {
            if spec.is_unpartitioned() || partitions.contains(info.file.partition()) {
                merged.remove(info, info.file.record_count());
            }
        }
        with_new(Ok(merged), new)
    }

    /// Removes the rows for which a predicate is true. Its columns are unqualified.
    pub async fn delete_where(
        &self,
        table: &LakeTable,
        target: &WriteTarget,
        predicate: Expr,
        cancel: &CancellationToken,
        written: Report<'_>,
    ) -> Result<Merged> {
        let queries = Queries::new(self, table, 0);
        let candidates = table.pruned_files(std::slice::from_ref(&predicate)).await?;
        let doomed = Doomed { by_key: None, by_value: Some(predicate) };
        self.rewrite(&queries, target, candidates, &doomed, cancel, written).await
    }

    /// Writes anew the files that have a key more than once. `suspects`: the hashes of all such keys, where they are known.
    async fn one_for_each_key(
        self: &Arc<Self>,
        target: &WriteTarget,
        new: &Written,
        merge: &Merge,
        suspects: Option<HashSet<u64>>,
        cancel: &CancellationToken,
        written: Report<'_>,
    ) -> Result<Deduplicated> {
        let table = LakeTable::of_target(self, target)?;
        let queries = Queries::new(self, &table, suspects.as_ref().map_or(new.rows, |hashes| hashes.len() as u64));
        let files: Vec<_> = new.files.iter().map(|file| new_info(file, target)).collect();
        let repeated = queries.repeated(&merge.keys, &files, suspects, cancel).await?;
        let Some((key, rows)) = repeated.example(&merge.keys)? else { return Ok(Deduplicated::default()) };
        let Duplicates::LastBy(order) = &merge.duplicates else {
            return Err(LakeError::DuplicateKey { key, rows });
        };
        let rows = queries.last_by_key(&merge.keys, order, &repeated).await?;
        let again = self.write(target, rows, cancel, &|_, bytes| written(0, bytes)).await?;
        let gone = repeated.files.iter().map(|info| info.file.file_path().to_owned()).collect();
        Ok(Deduplicated { again, gone })
    }

    async fn merge_written(
        &self,
        table: &LakeTable,
        target: &WriteTarget,
        new: &Written,
        merge: &Merge,
        cancel: &CancellationToken,
        written: Report<'_>,
    ) -> Result<Merged> {
        let by_value = merge.besides.as_ref().map(|(column, values)| one_of(column, values));
        if new.rows == 0 && by_value.is_none() {
            return Ok(Merged::default());
        }
        let queries = Queries::new(self, table, new.rows);
        let files: Vec<_> = new.files.iter().map(|file| new_info(file, target)).collect();
        // Where the files do not know the range of a key, any old file may have it.
        let range = table.key_range(&merge.keys, &files);
        let wanted = range.map(|range| by_value.iter().cloned().fold(range, Expr::or));
        let candidates = table.pruned_files(wanted.as_slice()).await?;
        let doomed = Doomed { by_key: Some((merge.keys.clone(), files)), by_value };
        self.rewrite(&queries, target, candidates, &doomed, cancel, written).await
    }

    /// Writes the rows that stay of those files that lose some.
    async fn rewrite(
        &self,
        queries: &Queries<'_>,
        target: &WriteTarget,
        candidates: Vec<Arc<DataFileInfo>>,
        doomed: &Doomed,
        cancel: &CancellationToken,
        written: Report<'_>,
    ) -> Result<Merged> {
        let mut merged = Merged::default();
        if candidates.is_empty() {
            return Ok(merged);
        }
        let mut partly = Vec::new();
        for (place, rows) in queries.matches(&candidates, doomed, cancel).await? {
            let Some(info) = candidates.get(place) else { continue };
            merged.remove(info, rows);
            if rows < info.file.record_count() {
                partly.push(Arc::clone(info));
            }
        }
        if !partly.is_empty() {
            let survivors = queries.survivors(&partly, doomed).await?;
            merged.written = self.write(target, survivors, cancel, &|_, bytes| written(0, bytes)).await?;
        }
        Ok(merged)
    }

    /// Removes files again when what follows fails.
    fn guard(&self, files: &[DataFile]) -> Begun {
        let warehouse = self.catalog().tables().warehouse();
        let begun = Begun::new(Arc::clone(warehouse.storage()), tokio::runtime::Handle::current());
        files.iter().filter_map(|file| warehouse.path(file.file_path()).ok()).for_each(|path| begun.add(path));
        begun
    }
}

impl Merged {
    fn remove(&mut self, info: &DataFileInfo, rows: u64) {
        self.remove.insert(info.file.file_path().to_owned());
        self.removed_rows += rows;
    }
}

impl LakeTable {
    /// The range of each key in some files, as a predicate; nothing where the files do not know.
    fn key_range(&self, keys: &[String], files: &[Arc<DataFileInfo>]) -> Option<Expr> {
        let range = |key: &String| -> Option<Expr> {
            let (lower, upper) = self.bounds_over(files, key)?;
            let column = || Expr::Column(Column::new_unqualified(key));
            Some(column().gt_eq(lit(lower)).and(column().lt_eq(lit(upper))))
        };
        conjunction(keys.iter().filter_map(range))
    }
}

fn one_of(column: &str, values: &[String]) -> Expr {
    let list = values.iter().map(|value| lit(ScalarValue::Utf8View(Some(value.clone())))).collect();
    Expr::InList(InList::new(Box::new(Expr::Column(Column::new_unqualified(column))), list, false))
}

fn check_keys(schema: &Schema, keys: &[String]) -> Result<()> {
    if keys.is_empty() {
        return Err(LakeError::Schema("a merge needs at least one key column".to_owned()));
    }
    for key in keys {
        match schema.as_struct().field_by_name(key).map(|f| f.field_type.as_ref()) {
            Some(Type::Primitive(_)) => {}
            Some(_) => return Err(LakeError::Schema(format!("column `{key}` is nested and cannot be a key"))),
            None => return Err(LakeError::Schema(format!("the table has no column `{key}`"))),
        }
    }
    Ok(())
}

fn new_info(file: &DataFile, target: &WriteTarget) -> Arc<DataFileInfo> {
    Arc::new(DataFileInfo {
        file: file.clone(),
        sequence_number: 0,
        file_sequence_number: 0,
        snapshot_id: 0,
        partition_spec_id: target.partition.spec_id(),
    })
}

fn with_new(merged: Result<Merged>, new: Written) -> Result<Merged> {
    merged.map(|mut merged| {
        merged.new_rows = new.rows;
        merged.written.rows += new.rows;
        merged.written.bytes += new.bytes;
        merged.written.files.extend(new.files);
        merged
    })
}

async fn settle(guard: &Begun, result: Result<Merged>) -> Result<Merged> {
    match &result {
        Ok(_) => guard.keep(),
        Err(_) => guard.remove().await,
    }
    result
}
