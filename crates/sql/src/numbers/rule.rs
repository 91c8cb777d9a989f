//! Puts checked functions in place of the wrapping operators.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRewriter};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, binary_expr};
use datafusion::optimizer::AnalyzerRule;

use super::arithmetic::{Checked, chain};
use super::division::division;
use super::quotient::Digits;
use super::unary::{Unary, is_full};
use crate::expressions;

/// Runs after type coercion: by then both sides of an operator have one type.
#[derive(Debug)]
pub(crate) struct CheckedNumbers {
    negate: Arc<ScalarUDF>,
    within: Arc<ScalarUDF>,
}

impl CheckedNumbers {
    pub(crate) fn new() -> Self {
        Self { negate: Arc::new(Unary::Negate.udf()), within: Arc::new(Unary::WithinPrecision.udf()) }
    }
}

impl AnalyzerRule for CheckedNumbers {
    fn name(&self) -> &str {
        "checked_numbers"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let rewrite = |node| {
            expressions::rewrite_whole(node, has_operator, |expr, schema| {
                expr.rewrite(&mut Rewriter { rule: self, schema, settled: 0 })
            })
        };
        Ok(plan.transform_up_with_subqueries(rewrite)?.data)
    }
}

fn has_operator(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(binary) => Checked::of(binary.op).is_some() || binary.op == Operator::Divide,
        Expr::Negative(_) => true,
        _ => false,
    }
}

/// Goes through an expression from the top. A chain of operators is taken as a whole where its last one is met, and its
/// types are derived once, along it: asking each part of it for its type would walk the parts below again and again.
struct Rewriter<'a> {
    rule: &'a CheckedNumbers,
    schema: &'a DFSchema,
    /// How many of the nodes that are met next (each the first operand of the one before) have been seen to.
    settled: usize,
}

impl TreeNodeRewriter for Rewriter<'_> {
    type Node = Expr;

    fn f_down(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        if self.settled > 0 {
            self.settled -= 1;
            return Ok(Transformed::no(expr));
        }
        match expr {
            Expr::BinaryExpr(binary) if Checked::of(binary.op).is_some() => {
                let Rewritten { expr, changed, depth } = self.operators(binary)?;
                self.settled = depth.saturating_sub(1);
                Ok(Transformed::new_transformed(expr, changed))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right }) => divided(left, right, self.schema),
            Expr::Negative(operand) if operand.get_type(self.schema)?.is_signed_integer() => {
                Ok(Transformed::yes(self.rule.negate.call(vec![*operand])))
            }
            // A plan that was analysed before has it already.
            Expr::ScalarFunction(call) if call.func.name() == self.rule.within.name() => {
                self.settled = call.args.first().map_or(0, operators_in_a_row);
                Ok(Transformed::no(Expr::ScalarFunction(call)))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// A division of decimals that was not planned as such, because a parameter had no type yet: it keeps its digits, and
/// the last one is rounded.
fn divided(left: Box<Expr>, right: Box<Expr>, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let are_decimals = left.get_type(schema)?.is_decimal() && Digits::of(&right.get_type(schema)?).is_some();
    let expr = Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right });
    match (Digits::of(&expr.get_type(schema)?), expr) {
        (to @ Some(_), Expr::BinaryExpr(BinaryExpr { left, right, .. })) if are_decimals => {
            Ok(Transformed::yes(division(to).call(vec![*left, *right])))
        }
        (_, expr) => Ok(Transformed::no(expr)),
    }
}

/// What became of a chain of operators.
struct Rewritten {
    expr: Expr,
    changed: bool,
    /// Nodes above the chain's first operand.
    depth: usize,
}

impl Rewriter<'_> {
    /// Rewrites a chain as far as its operands; they are met later.
    fn operators(&self, last: BinaryExpr) -> Result<Rewritten> {
        let (first, steps) = taken_apart(last);
        let mut data_type = first.get_type(self.schema)?;
        let mut built = Rewritten { expr: first, changed: false, depth: 0 };
        let mut run = Run::default();
        for (op, right) in steps {
            let right_type = right.get_type(self.schema)?;
            match Checked::of(op).filter(|_| data_type.is_integer() && right_type == data_type) {
                Some(operator) => {
                    if !run.takes(operator) {
                        built = std::mem::take(&mut run).end(built);
                    }
                    run.operators.push(operator);
                    run.operands.push(right);
                }
                None => {
                    built = std::mem::take(&mut run).end(built);
                    let next = BinaryTypeCoercer::new(&data_type, &op, &right_type).get_result_type()?;
                    if is_full(&data_type) && !is_full(&next) {
                        built = self.within(built);
                    }
                    built = Rewritten { expr: binary_expr(built.expr, op, right), depth: built.depth + 1, ..built };
                    data_type = next;
                }
            }
        }
        built = run.end(built);
        // What is within the precision at the end may have been beyond it on the way: the sums between are exact.
        Ok(if is_full(&data_type) && built.depth > 0 { self.within(built) } else { built })
    }

    fn within(&self, built: Rewritten) -> Rewritten {
        if Unary::WithinPrecision.is_call(&built.expr) {
            return built;
        }
        Rewritten { expr: self.rule.within.call(vec![built.expr]), changed: true, depth: built.depth + 1 }
    }
}

/// Operators of integers that follow each other, and their right sides.
#[derive(Default)]
struct Run {
    operators: Vec<Checked>,
    operands: Vec<Expr>,
}

impl Run {
    fn takes(&self, operator: Checked) -> bool {
        self.operators.last().is_none_or(|last| last.goes_on_with(operator))
    }

    /// The call that stands for them, over what is to their left.
    fn end(self, left: Rewritten) -> Rewritten {
        if self.operators.is_empty() {
            return left;
        }
        let args = std::iter::once(left.expr).chain(self.operands).collect();
        Rewritten { expr: chain(self.operators).call(args), changed: true, depth: left.depth + 1 }
    }
}

/// The first operand of a chain, and the operators with their right sides in the order in which they are computed.
fn taken_apart(last: BinaryExpr) -> (Expr, Vec<(Operator, Expr)>) {
    let mut steps = vec![(last.op, *last.right)];
    let mut left = *last.left;
    loop {
        match left {
            Expr::BinaryExpr(binary) if Checked::of(binary.op).is_some() => {
                steps.push((binary.op, *binary.right));
                left = *binary.left;
            }
            first => {
                steps.reverse();
                return (first, steps);
            }
        }
    }
}

fn operators_in_a_row(expr: &Expr) -> usize {
    let mut count = 0;
    let mut expr = expr;
    while let Expr::BinaryExpr(binary) = expr {
        if Checked::of(binary.op).is_none() {
            break;
        }
        count += 1;
        expr = &binary.left;
    }
    count
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn schema() -> DFSchema {
        let decimal = DataType::Decimal128(38, 2);
        let fields = vec![Field::new("id", DataType::Int64, true), Field::new("amount", decimal, true)];
        DFSchema::from_unqualified_fields(fields.into(), HashMap::new()).unwrap()
    }

    fn rewritten(expr: Expr) -> Expr {
        let (rule, schema) = (CheckedNumbers::new(), schema());
        expr.rewrite(&mut Rewriter { rule: &rule, schema: &schema, settled: 0 }).unwrap().data
    }

    fn calls(expr: &Expr) -> usize {
        let mut calls = 0;
        let count = |expr: &Expr| {
            calls += usize::from(matches!(expr, Expr::ScalarFunction(_)));
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        };
        expr.apply(count).map(|_| ()).unwrap();
        calls
    }

    #[test]
    fn a_chain_is_one_call_however_long_it_is() {
        let sum = |column: &str| (1..200).fold(col(column), |sum, _| sum + col(column));
        assert_eq!(calls(&rewritten(sum("id"))), 1);
        assert_eq!(calls(&rewritten(sum("amount"))), 1, "looked at once, at the end");
        assert_eq!(rewritten(sum("id")).schema_name().to_string(), sum("id").schema_name().to_string());
        // Each operand is a chain of its own.
        let nested = (1..50).fold(col("id"), |sum, n| sum - (col("id") * lit(i64::from(n)) + col("id")));
        assert_eq!(calls(&rewritten(nested)), 1 + 2 * 49);
    }

    #[test]
    fn chains_with_one_text_are_the_same() {
        let (a, b) = (|| col("id"), || lit(7_i64));
        let texts = [
            (a() + b()) * a(),
            a() + b() * a(),
            a() + b() - a(),
            a() - b() + a(),
            a() + (b() - a()),
            a() - (b() + a()),
            a() + b() + a(),
            a() * b() + a(),
            a() * (b() + a()),
        ]
        .map(|expr| rewritten(expr).to_string());
        let different: std::collections::BTreeSet<_> = texts.iter().collect();
        assert_eq!(different.len(), texts.len(), "{texts:?}");
    }

    #[test]
    fn what_was_rewritten_stays_as_it_is() {
        let long = (1..20).fold(col("amount"), |sum, _| sum + col("amount"));
        for expr in
            [col("id") + col("id") - lit(1_i64), -col("id"), long, (col("amount") + col("amount")) * col("amount")]
        {
            let once = rewritten(expr);
            assert_eq!(rewritten(once.clone()), once);
        }
    }
}
