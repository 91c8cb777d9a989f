//! Which rows of a table differ between two commits: counted, by column, and a few of them by key.
//!
//! Both sides are put together, one counted negatively, and grouped by all columns: what is left over differs. Grouping
//! goes to disk where memory ends, and needs no key; a key tells changed rows from those that came and went.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, Schema};
use futures::StreamExt;
use polder_base::{TableName, quote_name, quote_text};
use polder_catalog::CommitId;
use polder_project::CheckKind;
use serde::Serialize;

use crate::query::{SqlOptions, SqlSession};
use crate::{App, AppError, Difference};

/// Rows in a sample.
const SAMPLE: usize = 5;

/// Columns that say when a row came, and nothing about what it is.
const ARRIVAL: [&str; 2] = ["_run", "_loaded_at"];

/// How the rows of a table differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowDifference {
    /// The columns that tell rows apart; none: rows are compared whole, and none is changed.
    pub key: Vec<String>,
    pub added: u64,
    pub removed: u64,
    pub changed: u64,
    /// In how many of the changed rows each column differs; columns that do not are left out.
    pub columns: Vec<ColumnDifference>,
    /// A few of the rows, the changed ones first, by key.
    pub sample: Vec<RowSample>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnDifference {
    pub column: String,
    pub rows: u64,
}

/// A row that differs. Values are text; `None` is NULL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowSample {
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    pub key: Vec<(String, Option<String>)>,
    /// Of a changed row the columns that differ; of another its columns besides the key.
    pub before: Vec<(String, Option<String>)>,
    pub after: Vec<(String, Option<String>)>,
}

impl App {
    /// As [`App::diff`], and for each table that is on both sides which of its rows differ. Tables that do not differ are
    /// not read; policies are those of the person who asks.
    ///
    /// # Errors
    /// As [`App::diff`]; a table that the person may not see.
    pub async fn diff_rows(&self, from: &str, to: Option<&str>) -> Result<Vec<Difference>, AppError> {
        let older = self.catalog.resolve(from).await?;
        let newer = self.catalog.resolve(&self.ref_or_current(to)?).await?;
        self.rows_where(&older, &newer, |_| true).await
    }

    /// As [`App::diff_rows`], for these tables alone.
    pub(crate) async fn diff_rows_of(
        &self,
        older: &CommitId,
        newer: &CommitId,
        tables: &BTreeSet<TableName>,
    ) -> Result<Vec<Difference>, AppError> {
        self.rows_where(older, newer, |table| tables.contains(table)).await
    }

    async fn rows_where(
        &self,
        older: &CommitId,
        newer: &CommitId,
        wanted: impl Fn(&TableName) -> bool,
    ) -> Result<Vec<Difference>, AppError> {
        let mut differences = self.diff(&older.0, Some(&newer.0)).await?;
        let table = |difference: &Difference| difference.name.parse::<TableName>().ok();
        differences.retain(|d| d.kind == "cursor" || table(d).is_some_and(|table| wanted(&table)));
        let keys = self.row_keys(newer).await;
        for difference in differences.iter_mut().filter(|d| d.kind == "table" && d.change == "changed") {
            if let Some(table) = table(difference) {
                difference.rows = Some(self.rows_between(&table, older, newer, keys.get(&table)).await?);
            }
        }
        Ok(differences)
    }

    /// What tells the rows of each table apart: the key of its source or model, else the columns of a check that they
    /// are unique.
    pub(crate) async fn row_keys(&self, at: &CommitId) -> BTreeMap<TableName, Vec<String>> {
        let mut keys: BTreeMap<TableName, Vec<String>> = BTreeMap::new();
        for checks in &self.loaded.project.checks {
            let unique = checks.checks.iter().find_map(|check| match &check.kind {
                CheckKind::Unique { columns } if check.filter.is_none() => Some(columns.clone()),
                _ => None,
            });
            keys.extend(unique.map(|columns| (checks.table.clone(), columns)));
        }
        // Of a project with mistakes the checks are what is known.
        if let Ok(blueprint) = self.blueprint(&self.loaded, at, false).await {
            keys.extend(blueprint.keys());
        }
        keys
    }

    /// Which rows of a table differ between two commits that both have it.
    pub(crate) async fn rows_between(
        &self,
        table: &TableName,
        older: &CommitId,
        newer: &CommitId,
        key: Option<&Vec<String>>,
    ) -> Result<RowDifference, AppError> {
        let session = self.session(&SqlOptions { at: Some(newer.0.clone()), ..SqlOptions::default() }).await?;
        let sides = Sides::of(&session, table, older, newer, key).await?;
        if sides.key.is_empty() { sides.whole(&session).await } else { sides.by_key(&session).await }
    }
}

/// A table at two commits, and the columns that both have.
struct Sides {
    older: String,
    newer: String,
    key: Vec<String>,
    /// The columns besides the key, and whether they have a form as text.
    values: Vec<(String, bool)>,
}

impl Sides {
    async fn of(
        session: &SqlSession,
        table: &TableName,
        older: &CommitId,
        newer: &CommitId,
        key: Option<&Vec<String>>,
    ) -> Result<Self, AppError> {
        let side = |commit: &CommitId| format!("{} for version as of {}", table.sql(), quote_text(&commit.0));
        let (older, newer) = (side(older), side(newer));
        let (before, after) = (schema(session, &older).await?, schema(session, &newer).await?);
        let common = after
            .fields()
            .iter()
            .filter(|f| before.field_with_name(f.name()).is_ok() && !ARRIVAL.contains(&f.name().as_str()));
        let columns: Vec<(String, bool)> = common.map(|f| (f.name().clone(), !f.data_type().is_nested())).collect();
        let has = |name: &String| columns.iter().any(|(column, _)| column == name);
        let key = key.filter(|key| key.iter().all(has)).cloned().unwrap_or_default();
        let values = columns.into_iter().filter(|(name, _)| !key.contains(name)).collect();
        Ok(Self { older, newer, key, values })
    }

    fn columns(&self) -> Vec<String> {
        self.key.iter().chain(self.values.iter().map(|(name, _)| name)).map(|name| quote_name(name)).collect()
    }

    /// A query that gives each row that differs once, and in `__s` how many more of it the newer side has.
    fn left_over(&self) -> String {
        let columns = self.columns().join(", ");
        let of = |side: &str, sign: i8| format!("select {columns}, cast({sign} as bigint) as __s from {side}");
        let both = format!("{} union all {}", of(&self.older, -1), of(&self.newer, 1));
        format!("select {columns}, sum(__s) as __s from ({both}) as u group by {columns} having sum(__s) <> 0")
    }

    /// Rows without a key came or went.
    async fn whole(&self, session: &SqlSession) -> Result<RowDifference, AppError> {
        let rows = self.left_over();
        let counts = format!(
            "select coalesce(sum(case when __s > 0 then __s end), 0), coalesce(sum(case when __s < 0 then -__s end), 0) \
             from ({rows}) as d"
        );
        let counts = read(session, &counts).await?;
        let shown: Vec<&String> = self.values.iter().filter(|(_, as_text)| *as_text).map(|(name, _)| name).collect();
        let texts: Vec<String> = shown.iter().map(|name| text(&quote_name(name))).collect();
        let order = shown.iter().map(|name| quote_name(name)).collect::<Vec<_>>().join(", ");
        let mut sample = Vec::new();
        if !shown.is_empty() {
            let query =
                format!("select __s > 0, {} from ({rows}) as d order by {order} limit {SAMPLE}", texts.join(", "));
            for row in texts_of(session, &query).await? {
                let is_new = row.first().is_some_and(|new| new.as_deref() == Some("true"));
                let values = shown.iter().map(|name| (*name).clone()).zip(row.into_iter().skip(1)).collect();
                let (before, after) = if is_new { (Vec::new(), values) } else { (values, Vec::new()) };
                let change = if is_new { "added" } else { "removed" };
                sample.push(RowSample { change, key: Vec::new(), before, after });
            }
        }
        let (added, removed) = (number(&counts, 0), number(&counts, 1));
        Ok(RowDifference { key: Vec::new(), added, removed, changed: 0, columns: Vec::new(), sample })
    }

    /// A query that gives each key whose rows differ, with a row of either side.
    fn grouped(&self) -> String {
        let keys = self.key.iter().map(|name| quote_name(name)).collect::<Vec<_>>().join(", ");
        let sides: String = self
            .values
            .iter()
            .enumerate()
            .map(|(i, (name, _))| {
                let name = quote_name(name);
                format!(
                    ", first_value({name}) filter (where __s < 0) as __o{i}, first_value({name}) filter (where __s > 0) \
                     as __n{i}"
                )
            })
            .collect();
        format!(
            "select {keys}, count(*) filter (where __s < 0) as __old, count(*) filter (where __s > 0) as __new{sides} \
             from ({}) as d group by {keys}",
            self.left_over()
        )
    }

    async fn by_key(&self, session: &SqlSession) -> Result<RowDifference, AppError> {
        const BOTH: &str = "__old > 0 and __new > 0";
        let groups = self.grouped();
        let columns: String = (0..self.values.len())
            .map(|i| format!(", count(*) filter (where {BOTH} and __o{i} is distinct from __n{i})"))
            .collect();
        let counts = format!(
            "select count(*) filter (where __old = 0), count(*) filter (where __new = 0), count(*) filter (where \
             {BOTH}){columns} from ({groups}) as g"
        );
        let counts = read(session, &counts).await?;
        let changed_in = self.values.iter().enumerate().map(|(i, (name, _))| (name, number(&counts, 3 + i)));
        let columns = changed_in
            .filter(|(_, rows)| *rows > 0)
            .map(|(column, rows)| ColumnDifference { column: column.clone(), rows })
            .collect();
        Ok(RowDifference {
            key: self.key.clone(),
            added: number(&counts, 0),
            removed: number(&counts, 1),
            changed: number(&counts, 2),
            columns,
            sample: self.sample_by_key(session, &groups).await?,
        })
    }

    async fn sample_by_key(&self, session: &SqlSession, groups: &str) -> Result<Vec<RowSample>, AppError> {
        let keys: Vec<String> = self.key.iter().map(|name| quote_name(name)).collect();
        let shown: Vec<(usize, &String)> = self
            .values
            .iter()
            .enumerate()
            .filter(|(_, (_, as_text))| *as_text)
            .map(|(i, (name, _))| (i, name))
            .collect();
        let mut list: Vec<String> = vec!["__old > 0".to_owned(), "__new > 0".to_owned()];
        list.extend(keys.iter().map(|key| text(key)));
        list.extend(shown.iter().flat_map(|(i, _)| [text(&format!("__o{i}")), text(&format!("__n{i}"))]));
        let query = format!(
            "select {} from ({groups}) as g order by case when __old > 0 and __new > 0 then 0 else 1 end, {} limit \
             {SAMPLE}",
            list.join(", "),
            keys.join(", ")
        );
        let rows = texts_of(session, &query).await?;
        Ok(rows.into_iter().map(|row| self.sampled(row, &shown)).collect())
    }

    fn sampled(&self, row: Vec<Option<String>>, shown: &[(usize, &String)]) -> RowSample {
        let is_true = |value: Option<&Option<String>>| value.and_then(Option::as_deref) == Some("true");
        let change = match (is_true(row.first()), is_true(row.get(1))) {
            (true, true) => "changed",
            (false, _) => "added",
            (true, false) => "removed",
        };
        let mut values = row.into_iter().skip(2);
        let key = self.key.iter().cloned().zip(values.by_ref().take(self.key.len())).collect();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (_, name) in shown {
            let (old, new) = (values.next().flatten(), values.next().flatten());
            if change == "changed" && old == new {
                continue;
            }
            if change != "added" {
                before.push(((*name).clone(), old));
            }
            if change != "removed" {
                after.push(((*name).clone(), new));
            }
        }
        RowSample { change, key, before, after }
    }
}

fn text(expression: &str) -> String {
    format!("cast({expression} as text)")
}

async fn schema(session: &SqlSession, side: &str) -> Result<Schema, AppError> {
    let sql = format!("select * from {side}");
    let schema = session.inner().schema(&sql).await.map_err(|e| AppError::of_statement(e, &sql))?;
    Ok(schema.as_ref().clone())
}

/// All batches of a small result.
async fn batches(session: &SqlSession, sql: &str) -> Result<Vec<RecordBatch>, AppError> {
    let mut result = session.query(sql).await?;
    let mut batches = Vec::new();
    while let Some(batch) = result.stream.next().await {
        batches.push(batch.map_err(|e| session.stream_error(e, sql))?);
    }
    Ok(batches)
}

/// The one row of numbers that a query gives.
async fn read(session: &SqlSession, sql: &str) -> Result<Option<RecordBatch>, AppError> {
    Ok(batches(session, sql).await?.into_iter().find(|batch| batch.num_rows() > 0))
}

fn number(row: &Option<RecordBatch>, column: usize) -> u64 {
    let value = row.as_ref().and_then(|row| cast(row.columns().get(column)?, &DataType::Int64).ok());
    let value = value.as_ref().and_then(|v| v.as_primitive_opt::<Int64Type>()).filter(|v| v.is_valid(0));
    value.and_then(|v| u64::try_from(v.value(0)).ok()).unwrap_or_default()
}

/// The rows of a small result as text.
pub(crate) async fn texts_of(session: &SqlSession, sql: &str) -> Result<Vec<Vec<Option<String>>>, AppError> {
    let mut rows = Vec::new();
    for batch in batches(session, sql).await? {
        let columns = batch.columns().iter().map(|column| cast(column, &DataType::Utf8));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|e| AppError::Defect(e.to_string()))?;
        for row in 0..batch.num_rows() {
            let value = |column: &arrow::array::ArrayRef| {
                let column = column.as_string::<i32>();
                column.is_valid(row).then(|| column.value(row).to_owned())
            };
            rows.push(columns.iter().map(value).collect());
        }
    }
    Ok(rows)
}
