//! `CAST(2.7 AS INT)` is 3.
//!
//! Arrow cuts the fraction off. PostgreSQL, DuckDB and Trino round, and so do we: halves away from zero, for decimals
//! and for doubles alike, as `round` does. (PostgreSQL rounds halves of doubles to the even neighbour; one rule for both
//! means that a column which changes from one to the other keeps its figures.)

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use super::unary::Unary;
use crate::expressions;

/// Runs before type coercion: what is a cast by then was written as one.
#[derive(Debug)]
pub(crate) struct RoundedCasts {
    round: Arc<ScalarUDF>,
}

impl RoundedCasts {
    pub(crate) fn new() -> Self {
        Self { round: Arc::new(Unary::Round.udf()) }
    }

    fn rewrite(&self, mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
        let (operand, to) = match &mut expr {
            Expr::Cast(cast) => (&mut cast.expr, cast.field.data_type()),
            Expr::TryCast(cast) => (&mut cast.expr, cast.field.data_type()),
            _ => return Transformed::no(expr),
        };
        // A plan that was analysed before has it already.
        if !to.is_integer() || Unary::Round.is_call(operand) || !has_fractions(operand, schema) {
            return Transformed::no(expr);
        }
        let inner = std::mem::take(operand.as_mut());
        **operand = self.round.call(vec![inner]);
        Transformed::yes(expr)
    }
}

impl AnalyzerRule for RoundedCasts {
    fn name(&self) -> &str {
        "rounded_casts"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let rewrite = |node| expressions::rewrite(node, gives_integer, |expr, schema| Ok(self.rewrite(expr, schema)));
        Ok(plan.transform_up_with_subqueries(rewrite)?.data)
    }
}

fn gives_integer(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => cast.field.data_type().is_integer(),
        Expr::TryCast(cast) => cast.field.data_type().is_integer(),
        _ => false,
    }
}

/// An expression that has no type yet is left to DataFusion, which says what is wrong with it.
fn has_fractions(operand: &Expr, schema: &DFSchema) -> bool {
    match operand.get_type(schema) {
        Ok(DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale)) => scale > 0,
        Ok(data_type) => data_type.is_floating(),
        Err(_) => false,
    }
}
