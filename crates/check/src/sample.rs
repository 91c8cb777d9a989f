//! A few of the rows that break a rule.

use std::collections::BTreeSet;

use datafusion::arrow::array::Array;
use polder_sql::SqlError;

use crate::query::{Reader, cell};
use crate::rule::{Rule, Test};

/// Rows in a sample.
const ROWS: usize = 5;
/// Columns of a row where nothing says which matter.
const COLUMNS: usize = 6;
/// Longer values are cut.
const VALUE_CHARS: usize = 80;

/// The first rows of `query`: the key first, then the columns that the rule mentions.
pub(crate) async fn take(
    reader: &Reader<'_>,
    rule: &Rule,
    key: &[String],
    query: &str,
) -> Result<Vec<Vec<(String, String)>>, SqlError> {
    let (schema, batches) = reader.batches(query, ROWS).await?;
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let columns = columns(rule, key, &names);
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|c| (names[*c].to_owned(), shown(batch.column(*c).as_ref(), row))).collect());
        }
    }
    Ok(rows)
}

/// Which columns to show, as places.
fn columns(rule: &Rule, key: &[String], names: &[&str]) -> Vec<usize> {
    if matches!(rule.test, Test::Query { .. }) {
        return (0..names.len().min(COLUMNS)).collect();
    }
    let mentioned: BTreeSet<String> = rule.mentioned();
    let place = |name: &str| names.iter().position(|n| *n == name);
    let mut chosen: Vec<usize> = key.iter().filter_map(|k| place(k)).collect();
    if chosen.is_empty() {
        // Without a key the place in the source says which record it was, or else the first column.
        let source = ["_file", "_position"].iter().filter_map(|c| place(c)).collect::<Vec<_>>();
        chosen = if source.is_empty() { (0..names.len().min(1)).collect() } else { source };
    }
    for (index, name) in names.iter().enumerate() {
        if mentioned.contains(*name) && !chosen.contains(&index) {
            chosen.push(index);
        }
    }
    chosen
}

fn shown(values: &dyn Array, row: usize) -> String {
    if values.is_null(row) {
        return "NULL".to_owned();
    }
    let text = cell(values, row);
    if text.chars().count() <= VALUE_CHARS { text } else { text.chars().take(VALUE_CHARS - 1).chain(['…']).collect() }
}
