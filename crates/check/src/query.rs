//! Small results, read whole.

use std::collections::BTreeSet;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;
use polder_base::TableName;
use polder_catalog::{Catalog, EntryKey};
use polder_sql::{Session, SqlError};
use tokio_util::sync::CancellationToken;

/// Runs the queries of a step, which end when the step is cancelled.
pub(crate) struct Reader<'a> {
    session: &'a Session,
    catalog: &'a Catalog,
    cancel: &'a CancellationToken,
}

/// The one row of an aggregate query.
#[derive(Debug)]
pub(crate) struct Row {
    batch: RecordBatch,
}

impl Row {
    /// A number of things; `None` for NULL.
    pub(crate) fn count(&self, column: usize) -> Option<u64> {
        let numbers = cast(self.batch.columns().get(column)?, &DataType::Int64).ok()?;
        let numbers = numbers.as_primitive::<Int64Type>();
        (numbers.len() == 1 && numbers.is_valid(0)).then(|| u64::try_from(numbers.value(0)).ok()).flatten()
    }

    pub(crate) fn text(&self, column: usize) -> Option<String> {
        let values = self.batch.columns().get(column)?;
        (values.len() == 1 && values.is_valid(0)).then(|| cell(values.as_ref(), 0))
    }
}

/// A value as text; the empty text for NULL.
pub(crate) fn cell(values: &dyn Array, row: usize) -> String {
    let options = FormatOptions::default().with_display_error(true);
    ArrayFormatter::try_new(values, &options).map(|f| f.value(row).to_string()).unwrap_or_default()
}

impl<'a> Reader<'a> {
    pub(crate) fn new(session: &'a Session, catalog: &'a Catalog, cancel: &'a CancellationToken) -> Self {
        Self { session, catalog, cancel }
    }

    /// The first row of a query's result; an empty one if there is none.
    pub(crate) async fn row(&self, sql: &str) -> Result<Row, SqlError> {
        let (schema, batches) = self.batches(sql, 1).await?;
        let batch = batches.into_iter().next().unwrap_or_else(|| RecordBatch::new_empty(schema));
        Ok(Row { batch })
    }

    /// The result's columns, and its first rows.
    pub(crate) async fn batches(&self, sql: &str, rows: usize) -> Result<(SchemaRef, Vec<RecordBatch>), SqlError> {
        let read = async {
            let mut result = self.session.query(sql).await?;
            let mut batches: Vec<RecordBatch> = Vec::new();
            let mut missing = rows;
            while missing > 0 {
                let Some(batch) = result.stream.next().await.transpose()? else { break };
                let batch = batch.slice(0, batch.num_rows().min(missing));
                missing -= batch.num_rows();
                if batch.num_rows() > 0 {
                    batches.push(batch);
                }
            }
            Ok((result.schema, batches))
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(SqlError::Cancelled),
            result = read => result,
        }
    }

    /// The columns of a table or view; `None` where there is none of this name.
    pub(crate) async fn columns(&self, table: &TableName) -> Result<Option<BTreeSet<String>>, SqlError> {
        if !self.exists(table).await? {
            return Ok(None);
        }
        let plan = self.session.plan(&format!("select * from {}", table.sql())).await?;
        Ok(Some(plan.schema().fields().iter().map(|f| f.name().clone()).collect()))
    }

    async fn exists(&self, table: &TableName) -> Result<bool, SqlError> {
        if polder_sql::is_system_table(table) {
            return Ok(true);
        }
        let key = EntryKey::Relation(table.clone());
        Ok(self.catalog.entry(self.session.at(), &key).await?.is_some())
    }
}
