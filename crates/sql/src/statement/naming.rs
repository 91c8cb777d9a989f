//! Names for the columns of a result that have none: what was written, not what the planner makes of it.
//!
//! DataFusion calls `SELECT 1` `Int64(1)` and `count(amount)` `count(gold.sales.amount)`, and tables would be made with
//! such columns.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{Expr, Ident, OrderByKind, Query, Select, SelectItem, SetExpr};

use super::normalise;

/// Names the expressions of a query's first SELECT. Columns keep their own names.
pub(super) fn name_columns(query: &mut Query) {
    let Some(select) = first_select(&mut query.body) else { return };
    let mut taken: BTreeSet<String> = select.projection.iter().filter_map(given).collect();
    let mut named: Vec<(Expr, Ident)> = Vec::new();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if column(expr).is_some() {
            continue;
        }
        let alias = Ident::with_quote('"', free(&expr.to_string(), &mut taken));
        named.push((expr.clone(), alias.clone()));
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
    order_by_names(query, &named);
}

/// Orders by the name where the same expression is selected: behind DISTINCT, nothing else is there to order by.
fn order_by_names(query: &mut Query, named: &[(Expr, Ident)]) {
    let Some(OrderByKind::Expressions(keys)) = query.order_by.as_mut().map(|order| &mut order.kind) else { return };
    for key in keys {
        if let Some((_, name)) = named.iter().find(|(expr, _)| *expr == key.expr) {
            key.expr = Expr::Identifier(name.clone());
        }
    }
}

/// The SELECT whose names a query's columns have.
fn first_select(body: &mut SetExpr) -> Option<&mut Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&mut query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// The name that an item has by itself.
fn given(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => column(expr).map(normalise),
        SelectItem::ExprWithAlias { alias, .. } => Some(normalise(alias)),
        _ => None,
    }
}

fn column(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(parts) => parts.last(),
        Expr::Nested(inner) => column(inner),
        _ => None,
    }
}

/// The text, with a number behind it where another column is called so.
fn free(text: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name = text.to_owned();
    let mut number = 1;
    while !taken.insert(name.clone()) {
        name = format!("{text}_{number}");
        number += 1;
    }
    name
}
