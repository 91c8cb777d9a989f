//! Which predicates may be evaluated on rows and values that the principal must not see.

use std::collections::BTreeSet;

use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, Operator};

/// Whether a predicate tells nothing by how it ends: it compares columns that are not masked with literals or with one
/// another, and can neither fail nor be watched. Everything else waits above the barrier.
pub(super) fn harmless(predicate: &Expr, masked: &BTreeSet<String>) -> bool {
    let part = |expr: &Expr| harmless(expr, masked);
    let value = |expr: &Expr| plain(expr, masked);
    match predicate {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => part(left) && part(right),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => compares(*op) && value(left) && value(right),
        Expr::Not(inner) => part(inner),
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => value(inner),
        Expr::IsTrue(inner) | Expr::IsFalse(inner) | Expr::IsUnknown(inner) => part(inner),
        Expr::IsNotTrue(inner) | Expr::IsNotFalse(inner) | Expr::IsNotUnknown(inner) => part(inner),
        Expr::Between(Between { expr, low, high, .. }) => value(expr) && value(low) && value(high),
        Expr::InList(InList { expr, list, .. }) => value(expr) && list.iter().all(value),
        Expr::Like(Like { expr, pattern, .. }) => value(expr) && matches!(pattern.as_ref(), Expr::Literal(..)),
        other => plain(other, masked),
    }
}

fn plain(expr: &Expr, masked: &BTreeSet<String>) -> bool {
    match expr {
        Expr::Literal(..) => true,
        Expr::Column(column) => !masked.contains(column.name()),
        _ => false,
    }
}

/// Whether an operator compares two values and cannot fail.
pub(crate) fn compares(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use datafusion::logical_expr::{cast, col, lit, try_cast};

    use super::harmless;

    #[test]
    fn only_what_cannot_fail_goes_below() {
        let masked = BTreeSet::from(["email".to_owned()]);
        let fine = |expr| harmless(&expr, &masked);
        assert!(fine(col("a").eq(lit(1)).and(col("b").is_null())));
        assert!(fine(col("a").in_list(vec![lit(1), lit(2)], false)));
        assert!(fine(col("name").like(lit("a%"))));
        assert!(!fine(col("email").eq(lit("x"))));
        assert!(!fine((lit(1) / (col("salary") - lit(100))).eq(lit(0))));
        assert!(!fine(cast(col("name"), datafusion::arrow::datatypes::DataType::Int64).eq(lit(1))));
        assert!(!fine(try_cast(col("name"), datafusion::arrow::datatypes::DataType::Int64).eq(lit(1))));
        assert!(!fine(col("a").eq(lit(1)).and(col("email").is_null())));
    }
}
