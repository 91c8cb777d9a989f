//! From data files to work for threads.

use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use object_store::path::Path;
use polder_store::Warehouse;
use polder_table::DataFileInfo;
use polder_table::spec::{Schema, TableMetadata};

use super::bounds::{column_bounds, null_count};
use crate::LakeError;
use crate::warehouse::data_file_meta;

/// Less than this is not worth a thread of its own.
const LEAST_GROUP_BYTES: u64 = 1024 * 1024;

/// Columns times files for which a plan carries statistics file by file (they let a join or a top-k leave out files while
/// it runs); more would take more memory than that saves.
const MOST_STATISTICS: usize = 50_000;

/// What planning needs to know about a table.
pub(crate) struct TableFiles<'a> {
    pub(crate) warehouse: &'a Warehouse,
    pub(crate) metadata: &'a TableMetadata,
    pub(crate) schema: &'a Schema,
    /// The columns that the query reads: statistics are made for these.
    pub(crate) columns: &'a [usize],
}

/// A row group, or neighbours of one file, or a whole file.
struct Unit {
    /// Of the file in the list.
    file: usize,
    start: u64,
    end: u64,
}

impl Unit {
    fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

impl TableFiles<'_> {
    /// Divides files among `threads` by row group, so that each gets about the same number of bytes. `values` are those
    /// of the scan's partition columns, for each file.
    pub(crate) fn groups(
        &self,
        files: &[Arc<DataFileInfo>],
        values: impl Fn(usize) -> Vec<ScalarValue>,
        threads: usize,
    ) -> Result<Vec<FileGroup>> {
        let with_statistics = files.len() * self.schema.as_struct().fields().len() <= MOST_STATISTICS;
        let whole = files
            .iter()
            .enumerate()
            .map(|(index, info)| self.partitioned_file(info, values(index), with_statistics))
            .collect::<Result<Vec<_>>>()?;
        let mut units: Vec<Unit> = files.iter().enumerate().flat_map(|(index, info)| units(index, info)).collect();
        let total: u64 = units.iter().map(Unit::bytes).sum();
        let most = usize::try_from(total.div_ceil(LEAST_GROUP_BYTES)).unwrap_or(usize::MAX);
        let count = threads.min(most).min(units.len()).max(1);
        // Largest first, each to the group that has least.
        units.sort_by_key(|unit| std::cmp::Reverse(unit.bytes()));
        let mut groups: Vec<(u64, Vec<Unit>)> = (0..count).map(|_| (0, Vec::new())).collect();
        for unit in units {
            if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
                *bytes += unit.bytes();
                group.push(unit);
            }
        }
        let group = |(_, units)| {
            let parts = join_neighbours(units).into_iter().filter_map(|unit| {
                let file: &PartitionedFile = whole.get(unit.file)?;
                let size = file.object_meta.size;
                let all = unit.start == 0 && unit.end == size;
                Some(if all { file.clone() } else { file.clone().with_range(signed(unit.start), signed(unit.end)) })
            });
            FileGroup::new(parts.collect())
        };
        Ok(groups.into_iter().map(group).collect())
    }

    /// Statistics of the whole scan, in terms of the table's columns.
    pub(crate) fn statistics(&self, files: &[Arc<DataFileInfo>]) -> Statistics {
        let rows = files.iter().map(|info| count(info.file.record_count())).sum();
        let bytes = files.iter().map(|info| count(info.file.file_size_in_bytes())).sum();
        let mut columns = vec![ColumnStatistics::new_unknown(); self.schema.as_struct().fields().len()];
        for index in self.columns {
            if let Some(slot) = columns.get_mut(*index) {
                *slot = merge(files.iter().map(|info| (self.column(info, *index), info.file.record_count())));
            }
        }
        Statistics {
            num_rows: Precision::Exact(rows),
            total_byte_size: Precision::Inexact(bytes),
            column_statistics: columns,
        }
    }

    fn partitioned_file(
        &self,
        info: &DataFileInfo,
        values: Vec<ScalarValue>,
        with_statistics: bool,
    ) -> Result<PartitionedFile> {
        let path = self.warehouse.path(info.file.file_path()).map_err(LakeError::from)?;
        let location = Path::parse(path)?;
        let file = PartitionedFile::new_from_meta(data_file_meta(location, info.file.file_size_in_bytes()))
            .with_partition_values(values);
        if !with_statistics {
            return Ok(file);
        }
        let mut columns = vec![ColumnStatistics::new_unknown(); self.schema.as_struct().fields().len()];
        for index in self.columns {
            if let Some(slot) = columns.get_mut(*index) {
                *slot = self.column(info, *index);
            }
        }
        let statistics = Statistics {
            num_rows: Precision::Exact(count(info.file.record_count())),
            total_byte_size: Precision::Inexact(count(info.file.file_size_in_bytes())),
            column_statistics: columns,
        };
        Ok(file.with_statistics(Arc::new(statistics)))
    }

    fn column(&self, info: &DataFileInfo, index: usize) -> ColumnStatistics {
        let Some(field) = self.schema.as_struct().fields().get(index) else {
            return ColumnStatistics::new_unknown();
        };
        let bounds = column_bounds(info, self.metadata, field);
        let precision = |value: Option<ScalarValue>| match value {
            Some(value) if bounds.exact => Precision::Exact(value),
            Some(value) => Precision::Inexact(value),
            None => Precision::Absent,
        };
        let nulls = null_count(info, self.metadata, field);
        ColumnStatistics {
            null_count: nulls.map_or(Precision::Absent, |n| Precision::Exact(count(n))),
            min_value: precision(bounds.lower.clone()),
            max_value: precision(bounds.upper.clone()),
            ..ColumnStatistics::new_unknown()
        }
    }
}

/// Statistics of a column over files, each with its rows. A file with NULLs alone has no least and no greatest value, and
/// takes none from the others.
fn merge(files: impl Iterator<Item = (ColumnStatistics, u64)>) -> ColumnStatistics {
    let mut nulls = Precision::Exact(0);
    let mut bounds: Option<(Precision<ScalarValue>, Precision<ScalarValue>)> = None;
    for (file, rows) in files {
        nulls = nulls.add(&file.null_count);
        if file.null_count == Precision::Exact(count(rows)) {
            continue;
        }
        bounds = Some(match bounds {
            None => (file.min_value, file.max_value),
            Some((min, max)) => (min.min(&file.min_value), max.max(&file.max_value)),
        });
    }
    let (min_value, max_value) = bounds.unwrap_or_default();
    ColumnStatistics { null_count: nulls, min_value, max_value, ..ColumnStatistics::new_unknown() }
}

/// The row groups of a file. Where its metadata does not say where they start, the whole file is one unit.
fn units(file: usize, info: &DataFileInfo) -> Vec<Unit> {
    let size = info.file.file_size_in_bytes();
    let offsets = info.file.split_offsets().unwrap_or_default();
    // The first unit takes the file's first bytes with it, the last one its footer.
    let mut starts: Vec<u64> = offsets.iter().skip(1).filter_map(|offset| u64::try_from(*offset).ok()).collect();
    if !starts.is_sorted() || starts.last().is_some_and(|last| *last >= size) {
        starts.clear();
    }
    starts.insert(0, 0);
    let ends = starts.iter().skip(1).copied().chain([size]).collect::<Vec<_>>();
    starts.into_iter().zip(ends).map(|(start, end)| Unit { file, start, end }).collect()
}

/// In the order of the files; row groups that follow each other are read as one.
fn join_neighbours(mut units: Vec<Unit>) -> Vec<Unit> {
    units.sort_by_key(|unit| (unit.file, unit.start));
    let mut joined: Vec<Unit> = Vec::with_capacity(units.len());
    for unit in units {
        match joined.last_mut() {
            Some(last) if last.file == unit.file && last.end == unit.start => last.end = unit.end,
            _ => joined.push(unit),
        }
    }
    joined
}

fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
