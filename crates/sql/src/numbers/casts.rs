//! Casts as people write them.
//!
//! `CAST(2.7 AS INT)` is 3. Arrow cuts the fraction off. PostgreSQL, DuckDB and Trino round, and so do we: halves away from zero, for decimals
//! and for doubles alike, as `round` does. (PostgreSQL rounds halves of doubles to the even neighbour; one rule for both
//! means that a column which changes from one to the other keeps its figures.)
//!
//! `TIMESTAMP '2026-01-05 09:15'` is a time, although Arrow wants seconds.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use super::unary::Unary;
use crate::{expressions, seconds};

/// Runs before type coercion: what is a cast by then was written as one, or stands for a comparison with a time.
#[derive(Debug)]
pub(crate) struct WrittenCasts {
    round: Arc<ScalarUDF>,
    with_seconds: Arc<ScalarUDF>,
}

impl WrittenCasts {
    pub(crate) fn new() -> Self {
        Self { round: Arc::new(Unary::Round.udf()), with_seconds: Arc::new(seconds::udf()) }
    }

    fn rewrite(&self, mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
        let (operand, to) = match &mut expr {
            Expr::Cast(cast) => (&mut cast.expr, cast.field.data_type()),
            Expr::TryCast(cast) => (&mut cast.expr, cast.field.data_type()),
            _ => return Transformed::no(expr),
        };
        if matches!(to, DataType::Timestamp(..)) {
            let changed = self.complete(operand, schema);
            return Transformed::new_transformed(expr, changed);
        }
        // A plan that was analysed before has it already.
        if !to.is_integer() || Unary::Round.is_call(operand) || !has_fractions(operand, schema) {
            return Transformed::no(expr);
        }
        let inner = std::mem::take(operand.as_mut());
        **operand = self.round.call(vec![inner]);
        Transformed::yes(expr)
    }

    /// Puts the seconds into a text that is to be a time.
    fn complete(&self, operand: &mut Expr, schema: &DFSchema) -> bool {
        if let Expr::Literal(value, _) = operand {
            let complete = value.try_as_str().flatten().and_then(seconds::complete);
            let is_changed = complete.is_some();
            if let Some(complete) = complete {
                *value = ScalarValue::Utf8(Some(complete));
            }
            return is_changed;
        }
        let is_text = operand.get_type(schema).is_ok_and(|data_type| data_type.is_string());
        if !is_text || seconds::is_call(operand) {
            return false;
        }
        *operand = self.with_seconds.call(vec![std::mem::take(operand)]);
        true
    }
}

impl AnalyzerRule for WrittenCasts {
    fn name(&self) -> &str {
        "written_casts"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let rewrite = |node| expressions::rewrite(node, is_written, |expr, schema| Ok(self.rewrite(expr, schema)));
        Ok(plan.transform_up_with_subqueries(rewrite)?.data)
    }
}

/// Casts that are ours to look at.
fn is_written(expr: &Expr) -> bool {
    let to = match expr {
        Expr::Cast(cast) => cast.field.data_type(),
        Expr::TryCast(cast) => cast.field.data_type(),
        _ => return false,
    };
    to.is_integer() || matches!(to, DataType::Timestamp(..))
}

/// An expression that has no type yet is left to DataFusion, which says what is wrong with it.
fn has_fractions(operand: &Expr, schema: &DFSchema) -> bool {
    match operand.get_type(schema) {
        Ok(DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale)) => scale > 0,
        Ok(data_type) => data_type.is_floating(),
        Err(_) => false,
    }
}
