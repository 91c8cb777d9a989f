//! Times compared with text and dates.
//!
//! DataFusion would compare both sides in nanoseconds, which end in the year 2262: `valid_to < '9999-12-31'` would be an
//! error, and so would any comparison over a row that holds such a time. Here the sides are made equal in the time's own
//! unit, before DataFusion's coercion sees them.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, cast};
use datafusion::optimizer::AnalyzerRule;

use crate::expressions;
use crate::govern::compares;

/// Runs before type coercion.
#[derive(Debug)]
pub(crate) struct ComparedTimes;

impl AnalyzerRule for ComparedTimes {
    fn name(&self) -> &str {
        "compared_times"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan
            .transform_up_with_subqueries(|node| expressions::rewrite(node, |expr, schema| Ok(rewrite(expr, schema))))?
            .data)
    }
}

fn rewrite(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let changed = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => level(&mut [left, right], schema),
        Expr::Between(between) => level(&mut [&mut between.expr, &mut between.low, &mut between.high], schema),
        Expr::InList(list) => {
            let mut sides: Vec<&mut Expr> = std::iter::once(list.expr.as_mut()).chain(&mut list.list).collect();
            level(&mut sides, schema)
        }
        _ => false,
    };
    Transformed::new_transformed(expr, changed)
}

/// Casts text and dates to the type of the time that they are compared with. `false`: there was nothing to cast.
fn level(sides: &mut [&mut Expr], schema: &DFSchema) -> bool {
    // An expression that has no type yet is left to DataFusion, which says what is wrong with it.
    let types: Vec<Option<DataType>> = sides.iter().map(|side| side.get_type(schema).ok()).collect();
    let times = types.iter().flatten().filter(|t| matches!(t, DataType::Timestamp(..)));
    let Some(time) = times.max_by_key(|t| matches!(t, DataType::Timestamp(_, Some(_)))) else {
        return false;
    };
    let mut changed = false;
    for (side, data_type) in sides.iter_mut().zip(&types) {
        if data_type.as_ref().is_some_and(|t| t.is_string() || matches!(t, DataType::Date32 | DataType::Date64)) {
            **side = cast(std::mem::take(*side), time.clone());
            changed = true;
        }
    }
    changed
}
