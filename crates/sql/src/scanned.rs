//! What a plan reads: the base of fingerprints.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{ScanArgs, ScanResult, Session, TableProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Constraints, Result, Statistics};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableScan, TableType, Volatility};
use datafusion::physical_plan::ExecutionPlan;
use polder_base::TableName;
use polder_lake::LakeTable;

use crate::functions::TIME_FUNCTIONS;
use crate::govern::GovernedTable;

/// A table that a plan reads, at the snapshot that it reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScannedTable {
    pub name: TableName,
    /// It stays when the table is renamed.
    pub uuid: String,
    /// `None`: the table has no rows yet.
    pub snapshot_id: Option<i64>,
    pub schema_id: i32,
    /// Relative to the warehouse.
    pub metadata_path: String,
}

/// A table of the lake in a plan: the lake's own provider, and which table it is.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) table: ScannedTable,
    pub(crate) lake: LakeTable,
    pub(crate) inner: Arc<dyn TableProvider>,
}

#[async_trait]
impl TableProvider for Scanned {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn constraints(&self) -> Option<&Constraints> {
        self.inner.constraints()
    }

    fn table_type(&self) -> TableType {
        self.inner.table_type()
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.inner.get_column_default(column)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.inner.scan(state, projection, filters, limit).await
    }

    async fn scan_with_args<'a>(&self, state: &dyn Session, args: ScanArgs<'a>) -> Result<ScanResult> {
        self.inner.scan_with_args(state, args).await
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.inner.supports_filters_pushdown(filters)
    }

    fn statistics(&self) -> Option<Statistics> {
        self.inner.statistics()
    }
}

/// The tables of the lake that a plan reads, those below views and subqueries too, each once and in order.
pub fn scanned_tables(plan: &LogicalPlan) -> Vec<ScannedTable> {
    let mut found = BTreeSet::new();
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            match known(scan) {
                Known::Lake(table) => found.extend([table]),
                Known::Governed(tables) => found.extend(tables),
                Known::Other => {}
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found.into_iter().collect()
}

/// Whether a plan reads a table that a policy hides something of.
pub(crate) fn reads_governed(plan: &LogicalPlan) -> bool {
    let mut governed = false;
    let _ = plan.apply_with_subqueries(|node| {
        governed |= matches!(node, LogicalPlan::TableScan(scan) if matches!(known(scan), Known::Governed(_)));
        Ok(if governed { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    governed
}

/// Whether one thread does as well as several at an optimised plan: all that it reads is little.
pub(crate) async fn suits_one_thread(plan: &LogicalPlan) -> Result<bool> {
    const MOST_TABLES: usize = 4;
    let mut tables = Vec::new();
    let mut others = false;
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider = source_as_provider(&scan.source)?;
            match provider.downcast_ref::<Scanned>() {
                Some(scanned) => tables.push((scanned.lake.clone(), scan.filters.clone())),
                None => others = true,
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    if others || tables.len() > MOST_TABLES {
        return Ok(false);
    }
    for (table, filters) in tables {
        if !table.suits_one_thread(&filters).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

enum Known {
    Lake(ScannedTable),
    Governed(Vec<ScannedTable>),
    /// The platform's records, files, values.
    Other,
}

fn known(scan: &TableScan) -> Known {
    let Ok(provider) = source_as_provider(&scan.source) else {
        return Known::Other;
    };
    if let Some(scanned) = provider.downcast_ref::<Scanned>() {
        return Known::Lake(scanned.table.clone());
    }
    match provider.downcast_ref::<GovernedTable>() {
        Some(governed) => Known::Governed(governed.tables().to_vec()),
        None => Known::Other,
    }
}

/// Whether a plan's rows may differ from one run to the next although the tables do not: it asks for the time, for
/// chance, or for what is no table of the lake (the platform's records, files).
pub fn is_volatile(plan: &LogicalPlan) -> bool {
    let mut volatile = false;
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            volatile |= match known(scan) {
                Known::Lake(_) => false,
                Known::Governed(_) => volatile_below(scan),
                Known::Other => true,
            };
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                volatile |= match expr {
                    Expr::ScalarFunction(call) => {
                        call.func.signature().volatility == Volatility::Volatile
                            || TIME_FUNCTIONS.contains(&call.func.name())
                    }
                    _ => false,
                };
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(if volatile { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    volatile
}

/// A row filter, or a mask, may ask for the time.
fn volatile_below(scan: &TableScan) -> bool {
    source_as_provider(&scan.source)
        .is_ok_and(|provider| provider.downcast_ref::<GovernedTable>().is_none_or(|table| is_volatile(table.below())))
}

/// A plan as text that is the same in every run and on every ref: no snapshots, no files, no places. Two plans with one
/// text over the same snapshots give the same rows, unless they are volatile.
pub fn normalised_plan(plan: &LogicalPlan) -> String {
    let mut text = String::new();
    write_plan(plan, 0, &mut text);
    text
}

fn write_plan(plan: &LogicalPlan, depth: usize, text: &mut String) {
    let _ = writeln!(text, "{:depth$}{}", "", node_line(plan));
    for expr in plan.expressions() {
        let _ = expr.apply(|expr| {
            if let Expr::ScalarSubquery(s) | Expr::Exists(datafusion::logical_expr::expr::Exists { subquery: s, .. }) =
                expr
            {
                write_plan(&s.subquery, depth + 1, text);
            }
            if let Expr::InSubquery(s) = expr {
                write_plan(&s.subquery.subquery, depth + 1, text);
            }
            Ok(TreeNodeRecursion::Continue)
        });
    }
    for input in plan.inputs() {
        write_plan(input, depth + 1, text);
    }
}

/// As DataFusion shows the node, but where it leaves something out, or shows the name that a table has in the statement.
fn node_line(plan: &LogicalPlan) -> String {
    match plan {
        // DataFusion shows the first five rows.
        LogicalPlan::Values(values) => {
            let rows: Vec<String> = values.values.iter().map(|row| joined(row)).collect();
            format!("Values: {}", rows.join("; "))
        }
        LogicalPlan::TableScan(scan) => {
            let columns: Vec<_> =
                scan.source.schema().fields().iter().map(|f| format!("{}:{}", f.name(), f.data_type())).collect();
            let name = match known(scan) {
                Known::Lake(table) => table.name.to_string(),
                Known::Governed(_) | Known::Other => scan.table_name.to_string(),
            };
            let filters = joined(&scan.filters);
            format!(
                "TableScan: {name} as {} [{}] {:?} {filters} {:?}",
                scan.table_name,
                columns.join(", "),
                scan.projection,
                scan.fetch
            )
        }
        other => other.display().to_string(),
    }
}

fn joined(exprs: &[Expr]) -> String {
    exprs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
