//! `SUMMARIZE`: a row about each column of a table or query, from one pass over its rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::Statement;
use polder_base::{quote_name, quote_text};
use polder_lake::sql_type_name_of_arrow;

use crate::context::{Context, Outcome, Tables};
use crate::statement;
use crate::workbench::Workbench;

/// One row of aggregates over all columns, turned into a row for each column.
pub(crate) fn plan(bench: &Workbench, query: LogicalPlan) -> Result<LogicalPlan> {
    let about: Vec<String> = query.schema().fields().iter().map(|field| about_column(field)).collect();
    let sql = format!(
        "SELECT r['column'] AS column_name, r['type'] AS data_type, r['rows'] AS \"rows\", r['nulls'] AS nulls, \
         r['distinct'] AS approx_distinct, r['min'] AS \"min\", r['max'] AS \"max\", r['avg'] AS \"avg\", \
         r['q25'] AS q25, r['q50'] AS q50, r['q75'] AS q75 \
         FROM (SELECT unnest(make_array({})) AS r FROM summarized) AS summary",
        about.join(", ")
    );
    let parsed = statement::parse(&sql).map_err(crate::SqlError::into_datafusion)?;
    let mut tables = Tables::default();
    for relation in &parsed.relations {
        tables.insert(relation, Outcome::Table(Arc::new(ViewTable::new(query.clone(), None))));
    }
    match parsed.kind {
        statement::Kind::Query(query) => Context::new(bench, &tables).statement(Statement::Query(query)),
        _ => datafusion::common::internal_err!("a summary is a query"),
    }
}

fn about_column(field: &Field) -> String {
    let column = quote_name(field.name());
    let text = |what: String| format!("CAST({what} AS VARCHAR)");
    let number = |what: &str| match field.data_type() {
        t if t.is_numeric() => what.replace('$', &format!("CAST({column} AS DOUBLE)")),
        _ => "CAST(NULL AS DOUBLE)".to_owned(),
    };
    let extreme = |function: &str| match comparable(field.data_type()) {
        true => text(format!("{function}({column})")),
        false => text("NULL".to_owned()),
    };
    let distinct = match field.data_type() {
        t if countable(t) => format!("CAST(approx_distinct({column}) AS BIGINT)"),
        t if t.is_floating() => format!("CAST(approx_distinct(CAST({column} AS VARCHAR)) AS BIGINT)"),
        _ => "CAST(NULL AS BIGINT)".to_owned(),
    };
    format!(
        "named_struct('column', {name}, 'type', {sql_type}, 'rows', count(*), 'nulls', count(*) - count({column}), \
         'distinct', {distinct}, 'min', {min}, 'max', {max}, 'avg', {avg}, 'q25', {q25}, 'q50', {q50}, 'q75', {q75})",
        name = text(quote_text(field.name())),
        sql_type = text(quote_text(&sql_type_name_of_arrow(field.data_type()))),
        min = extreme("min"),
        max = extreme("max"),
        avg = number("avg($)"),
        q25 = number("approx_percentile_cont($, 0.25)"),
        q50 = number("approx_percentile_cont($, 0.5)"),
        q75 = number("approx_percentile_cont($, 0.75)"),
    )
}

fn comparable(data_type: &DataType) -> bool {
    !data_type.is_nested() && !data_type.is_binary() && !matches!(data_type, DataType::Null)
}

/// Types that `approx_distinct` knows.
fn countable(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_string()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..)
                | DataType::Decimal128(..)
        )
}
