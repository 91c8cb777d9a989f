//! `x > ANY (…)` and `x > ALL (…)`, as the planner makes something right of them.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Query, Select, SetExpr, Statement, TableFactor, UnaryOperator, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// A query over another one, whose columns have a name of their own.
const NAMED: &str = "SELECT * FROM (SELECT 1) AS __quantified";

/// Of a subquery over the table that `x` is of, the planner would compare `x` with itself: its columns are called
/// otherwise. Of a list with a NULL it would say false where SQL does not know: `x > ANY (list)` is `NOT (x <= ALL (list))`,
/// of which it does.
pub(super) fn settle(expr: &mut Expr) {
    match expr {
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } if matches!(**right, Expr::Subquery(_)) => {
            if let Expr::Subquery(query) = right.as_mut() {
                name(query);
            }
        }
        Expr::AnyOp { left, compare_op, right, .. } => {
            let Some(compare_op) = negated(compare_op) else { return };
            let all = Expr::AllOp {
                left: std::mem::replace(left, nothing()),
                compare_op,
                right: std::mem::replace(right, nothing()),
            };
            *expr = Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(all))) };
        }
        _ => {}
    }
}

fn nothing() -> Box<Expr> {
    Box::new(Expr::Value(Value::Null.into()))
}

/// `None`: the planner does right by it, or does not know it.
fn negated(op: &BinaryOperator) -> Option<BinaryOperator> {
    Some(match op {
        BinaryOperator::NotEq => BinaryOperator::Eq,
        BinaryOperator::Lt => BinaryOperator::GtEq,
        BinaryOperator::LtEq => BinaryOperator::Gt,
        BinaryOperator::Gt => BinaryOperator::LtEq,
        BinaryOperator::GtEq => BinaryOperator::Lt,
        _ => return None,
    })
}

fn name(query: &mut Box<Query>) {
    let Some(mut around) = named() else { return };
    let Some(inner) = inner(&mut around) else { return };
    std::mem::swap(inner, query);
    **query = around;
}

fn named() -> Option<Query> {
    match Parser::parse_sql(&GenericDialect {}, NAMED).ok()?.pop()? {
        Statement::Query(query) => Some(*query),
        _ => None,
    }
}

fn inner(query: &mut Query) -> Option<&mut Box<Query>> {
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let Select { from, .. } = select.as_mut();
    match &mut from.first_mut()?.relation {
        TableFactor::Derived { subquery, .. } => Some(subquery),
        _ => None,
    }
}
