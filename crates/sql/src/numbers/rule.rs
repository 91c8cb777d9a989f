//! Puts checked functions in place of the wrapping operators.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use super::arithmetic::{Checked, negation};
use super::decimals::{WITHIN_PRECISION, is_full, within_precision};
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
            negate: Arc::new(negation()),
            within: Arc::new(within_precision()),
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
            Expr::ScalarFunction(mut call) if call.func.name() == WITHIN_PRECISION => match call.args.pop() {
                Some(inner @ Expr::ScalarFunction(_)) if is_within(&inner) => Ok(Transformed::yes(inner)),
                argument => {
                    call.args.extend(argument);
                    Ok(Transformed::no(Expr::ScalarFunction(call)))
                }
            },
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

fn is_within(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == WITHIN_PRECISION)
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
