//! Puts checked functions in place of the wrapping operators.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use super::arithmetic::Checked;
use super::unary::{Unary, is_full};
use crate::expressions;

/// Runs after type coercion: by then both sides of an operator have one type.
#[derive(Debug)]
pub(crate) struct CheckedNumbers {
    add: Arc<ScalarUDF>,
    subtract: Arc<ScalarUDF>,
    multiply: Arc<ScalarUDF>,
    negate: Arc<ScalarUDF>,
    within: Arc<ScalarUDF>,
}

impl CheckedNumbers {
    pub(crate) fn new() -> Self {
        Self {
            add: Arc::new(Checked::Add.udf()),
            subtract: Arc::new(Checked::Subtract.udf()),
            multiply: Arc::new(Checked::Multiply.udf()),
            negate: Arc::new(Unary::Negate.udf()),
            within: Arc::new(Unary::WithinPrecision.udf()),
        }
    }

    fn rewrite_node(&self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        if !node.expressions().iter().any(has_operator) {
            return Ok(Transformed::no(node));
        }
        expressions::rewrite(node, |expr, schema| self.rewrite(expr, schema))
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match Checked::of(op) {
                Some(operator) if integers(&left, &right, schema)? => {
                    let udf = match operator {
                        Checked::Add => &self.add,
                        Checked::Subtract => &self.subtract,
                        Checked::Multiply => &self.multiply,
                    };
                    Ok(Transformed::yes(udf.call(vec![*left, *right])))
                }
                Some(_) => {
                    let expr = Expr::BinaryExpr(BinaryExpr { left, op, right });
                    let full = is_full(&expr.get_type(schema)?);
                    Ok(if full { Transformed::yes(self.within.call(vec![expr])) } else { Transformed::no(expr) })
                }
                None => Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
            },
            // A plan that was analysed before has it already.
            expr if Unary::WithinPrecision.is_call(&expr) => Ok(once(expr)),
            Expr::Negative(operand) if operand.get_type(schema)?.is_signed_integer() => {
                Ok(Transformed::yes(self.negate.call(vec![*operand])))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

impl AnalyzerRule for CheckedNumbers {
    fn name(&self) -> &str {
        "checked_numbers"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(|node| self.rewrite_node(node))?.data)
    }
}

/// A call without the same call right below it.
fn once(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::ScalarFunction(mut call)
            if call.args.first().is_some_and(|inner| Unary::WithinPrecision.is_call(inner)) =>
        {
            Transformed::yes(call.args.remove(0))
        }
        expr => Transformed::no(expr),
    }
}

fn integers(left: &Expr, right: &Expr, schema: &DFSchema) -> Result<bool> {
    let left: DataType = left.get_type(schema)?;
    Ok(left.is_integer() && right.get_type(schema)? == left)
}

fn has_operator(expr: &Expr) -> bool {
    let mut found = false;
    let _ = expr.apply(|expr| {
        found |= match expr {
            Expr::BinaryExpr(binary) => Checked::of(binary.op).is_some(),
            Expr::Negative(_) => true,
            _ => false,
        };
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}
