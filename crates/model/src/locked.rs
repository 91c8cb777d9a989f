//! Columns that a query asks of a source, held against `polder.lock`.
//!
//! Nothing is planned here: only what the text alone leaves no doubt about is told. That is `o.amuont` where `o` is a
//! source's table, and `amuont` alone where a source's table is all that a SELECT reads. Everything else waits for the run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, Select, SelectItem, Statement, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use polder_base::TableName;

use crate::columns::Offsets;

/// A column that the query names and its table does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnknownColumn {
    pub(crate) table: TableName,
    pub(crate) column: String,
    /// The column's bytes in the text.
    pub(crate) range: Range<usize>,
}

/// The columns of tables whose columns are known.
pub(crate) type Known = BTreeMap<TableName, BTreeSet<String>>;

/// The columns that a query names and that are not there, each once.
pub(crate) fn unknown_columns(sql: &str, known: &Known) -> Vec<UnknownColumn> {
    let Ok(statements) = Parser::parse_sql(&GenericDialect {}, sql) else { return Vec::new() };
    let [statement @ Statement::Query(_)] = statements.as_slice() else { return Vec::new() };
    let mut search = Search { known, offsets: Offsets::new(sql), scopes: Vec::new(), found: Vec::new() };
    let _ = statement.visit(&mut search);
    search.found
}

/// What one SELECT reads.
struct Scope {
    /// Alias or name → the table, where its columns are known.
    tables: BTreeMap<String, Option<TableName>>,
    /// The one table that is read, where a name without an alias can be of nothing else.
    only: Option<TableName>,
    /// Names that the SELECT itself gives.
    given: BTreeSet<String>,
}

struct Search<'a> {
    known: &'a Known,
    offsets: Offsets<'a>,
    scopes: Vec<Scope>,
    found: Vec<UnknownColumn>,
}

impl Search<'_> {
    fn scope(&self, select: &Select) -> Scope {
        let mut tables = BTreeMap::new();
        let factors: Vec<&TableFactor> = select
            .from
            .iter()
            .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)))
            .collect();
        for factor in &factors {
            if let Some((name, table)) = self.table(factor) {
                tables.insert(name, table);
            }
        }
        let is_plain = select.lateral_views.is_empty() && factors.len() == 1 && self.scopes.is_empty();
        let only = if is_plain { tables.values().next().cloned().flatten() } else { None };
        let given = select.projection.iter().filter_map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
            _ => None,
        });
        Scope { tables, only, given: given.collect() }
    }

    /// The name by which a SELECT knows what it reads, and the table, where its columns are known.
    fn table(&self, factor: &TableFactor) -> Option<(String, Option<TableName>)> {
        match factor {
            TableFactor::Table { name, alias, args: None, version: None, .. } => {
                let table = self.known_table(name);
                let own = name.0.last().and_then(|part| part.as_ident()).map(folded);
                match alias {
                    // Its columns may have been given other names.
                    Some(alias) if !alias.columns.is_empty() => Some((folded(&alias.name), None)),
                    Some(alias) => Some((folded(&alias.name), table)),
                    None => Some((own?, table)),
                }
            }
            TableFactor::Derived { alias, .. } | TableFactor::Table { alias, .. } => {
                alias.as_ref().map(|alias| (folded(&alias.name), None))
            }
            _ => None,
        }
    }

    fn known_table(&self, name: &ObjectName) -> Option<TableName> {
        let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident().map(folded)).collect();
        let [namespace, table] = parts.as_slice() else { return None };
        let name = TableName::new(namespace.as_str(), table.as_str());
        self.known.contains_key(&name).then_some(name)
    }

    fn look(&mut self, table: &TableName, column: &Ident) {
        let name = folded(column);
        if self.known.get(table).is_none_or(|columns| columns.contains(&name)) {
            return;
        }
        if self.found.iter().any(|found| found.table == *table && found.column == name) {
            return;
        }
        let span = column.span;
        let range = self.offsets.of(span.start)..self.offsets.of(span.end);
        self.found.push(UnknownColumn { table: table.clone(), column: name, range });
    }
}

/// A name as the engine reads it: folded to lower case, unless it is quoted.
fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

impl Visitor for Search<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let scope = self.scope(select);
        self.scopes.push(scope);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &Select) -> ControlFlow<()> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::CompoundIdentifier(parts) => {
                if let [alias, column, ..] = parts.as_slice() {
                    let alias = folded(alias);
                    let table = self.scopes.iter().rev().find_map(|scope| scope.tables.get(&alias));
                    if let Some(table) = table.cloned().flatten() {
                        self.look(&table, column);
                    }
                }
            }
            Expr::Identifier(column) => {
                let scope = if let [scope] = self.scopes.as_slice() { Some(scope) } else { None };
                let scope = scope.filter(|scope| !scope.given.contains(&folded(column)));
                if let Some(table) = scope.and_then(|scope| scope.only.clone()) {
                    self.look(&table, column);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sql: &str) -> Vec<(String, &str)> {
        let columns = ["order_id", "amount", "_run"].map(str::to_owned);
        let known = Known::from([(TableName::new("bronze", "orders"), BTreeSet::from(columns))]);
        unknown_columns(sql, &known).into_iter().map(|f| (f.column, &sql[f.range])).collect()
    }

    fn names(names: &[&'static str]) -> Vec<(String, &'static str)> {
        names.iter().map(|name| (name.to_lowercase(), *name)).collect()
    }

    #[test]
    fn columns_that_are_not_there_are_found() {
        for (sql, want) in [
            ("select order_id, amuont from bronze.orders", names(&["amuont"])),
            (
                "select o.Amuont, o.amount from bronze.orders o join x on x.id = o.ordr_id",
                names(&["Amuont", "ordr_id"]),
            ),
            ("select orders.nope from bronze.orders where orders.nope > 1", names(&["nope"])),
            ("with a as (select lost from bronze.orders) select * from a", names(&["lost"])),
            (
                "select sum(amount) as s from bronze.orders where days > 3 group by order_id having sum(x) > 1",
                names(&["days", "x"]),
            ),
            ("select 1 as a union all select gone from bronze.orders", names(&["gone"])),
            ("select * from x where exists (select 1 from bronze.orders o where o.zzz = x.id)", names(&["zzz"])),
        ] {
            assert_eq!(found(sql), want, "{sql}");
        }
    }

    #[test]
    fn what_may_be_something_else_is_not_told() {
        for sql in [
            "select order_id, amount, _run from bronze.orders",
            "select total from silver.orders",
            "select total from bronze.orders, x",
            "select (select max(other) from y) as m from bronze.orders",
            "select amount as a from bronze.orders group by a",
            "select o.total from (select 1 as total) o, bronze.orders",
            "select o.a from bronze.orders as o (a, b)",
            "select \"Amount\".x from bronze.orders",
            "select amount.part from bronze.orders",
            "select t.x from bronze.orders o cross join unnest(o.amount) as t(x)",
        ] {
            assert_eq!(found(sql), [], "{sql}");
        }
    }
}
