//! Columns of system tables, from rows.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::common::Result;
use polder_base::Timestamp;

use crate::types::UTC;

/// Builds a batch column by column; the columns of no rows are the table's schema.
pub(super) struct Columns<'a, R> {
    rows: &'a [R],
    columns: Vec<(&'static str, ArrayRef, bool)>,
}

impl<'a, R> Columns<'a, R> {
    pub(super) fn of(rows: &'a [R]) -> Self {
        Self { rows, columns: Vec::new() }
    }

    fn push(mut self, name: &'static str, column: ArrayRef) -> Self {
        self.columns.push((name, column, true));
        self
    }

    pub(super) fn text<T: AsRef<str>>(self, name: &'static str, f: impl Fn(&'a R) -> Option<T>) -> Self {
        let column: StringArray = self.rows.iter().map(f).collect();
        self.push(name, Arc::new(column))
    }

    pub(super) fn bigint(self, name: &'static str, f: impl Fn(&'a R) -> Option<i64>) -> Self {
        let column: Int64Array = self.rows.iter().map(f).collect();
        self.push(name, Arc::new(column))
    }

    pub(super) fn count(self, name: &'static str, f: impl Fn(&'a R) -> Option<u64>) -> Self {
        self.bigint(name, |row| f(row).map(|count| i64::try_from(count).unwrap_or(i64::MAX)))
    }

    pub(super) fn boolean(self, name: &'static str, f: impl Fn(&'a R) -> Option<bool>) -> Self {
        let column: BooleanArray = self.rows.iter().map(f).collect();
        self.push(name, Arc::new(column))
    }

    pub(super) fn time(self, name: &'static str, f: impl Fn(&'a R) -> Option<Timestamp>) -> Self {
        let micros = self.rows.iter().map(|row| f(row).map(Timestamp::micros));
        let column = micros.collect::<TimestampMicrosecondArray>().with_timezone(UTC);
        self.push(name, Arc::new(column))
    }

    pub(super) fn batch(self) -> Result<RecordBatch> {
        Ok(RecordBatch::try_from_iter_with_nullable(self.columns)?)
    }
}
