//! `a IS DISTINCT FROM b AND c`, of which the parser makes `a IS DISTINCT FROM (b AND c)`.
//!
//! Everything behind FROM is taken for the right side there, up to the next parenthesis. What binds weaker than IS (NOT, AND,
//! OR) is taken out of it again: the chain that it stands in is laid out in the order of the text, and put together anew.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};

/// Whether a chain of NOT, AND and OR begins here in which a side was taken that is not its own.
pub(super) fn is_wrong(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
            is_wrong(left) || is_wrong(right)
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => is_wrong(expr),
        Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => is_chain(right) || is_wrong(right),
        _ => false,
    }
}

fn is_chain(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. })
}

/// Puts a chain together as it was meant.
pub(super) fn set_right(expr: &mut Expr) {
    let mut chain = Chain::default();
    chain.lay_out(std::mem::replace(expr, nothing()));
    *expr = chain.put_together();
}

fn nothing() -> Expr {
    Expr::Value(Value::Null.into())
}

/// Operands, and the operators between them, as they follow one another.
#[derive(Default)]
struct Chain {
    operands: Vec<Expr>,
    operators: Vec<BinaryOperator>,
}

impl Chain {
    fn lay_out(&mut self, expr: Expr) {
        let first = self.operands.len();
        let wrap: fn(Expr, Expr) -> Expr;
        let (left, right) = match expr {
            Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
                self.lay_out(*left);
                self.operators.push(op);
                return self.lay_out(*right);
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                self.lay_out(*expr);
                let inner = std::mem::replace(&mut self.operands[first], nothing());
                self.operands[first] = Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(inner) };
                return;
            }
            Expr::IsDistinctFrom(left, right) => {
                wrap = |left, right| Expr::IsDistinctFrom(Box::new(left), Box::new(right));
                (left, right)
            }
            Expr::IsNotDistinctFrom(left, right) => {
                wrap = |left, right| Expr::IsNotDistinctFrom(Box::new(left), Box::new(right));
                (left, right)
            }
            operand => return self.operands.push(operand),
        };
        self.lay_out(*right);
        let own = std::mem::replace(&mut self.operands[first], nothing());
        self.operands[first] = wrap(*left, own);
    }

    /// AND binds stronger than OR, and both to the left.
    fn put_together(self) -> Expr {
        let mut operands = self.operands.into_iter();
        let mut all = operands.next().unwrap_or_else(nothing);
        let mut any: Option<Expr> = None;
        for (operator, operand) in self.operators.into_iter().zip(operands) {
            match operator {
                BinaryOperator::And => all = joined(all, BinaryOperator::And, operand),
                _ => {
                    any = Some(either(any, all));
                    all = operand;
                }
            }
        }
        either(any, all)
    }
}

fn either(any: Option<Expr>, all: Expr) -> Expr {
    match any {
        Some(any) => joined(any, BinaryOperator::Or, all),
        None => all,
    }
}

fn joined(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn meant(text: &str) -> Expr {
        let mut expr = Parser::new(&GenericDialect {}).try_with_sql(text).unwrap().parse_expr().unwrap();
        if is_wrong(&expr) {
            set_right(&mut expr);
        }
        expr
    }

    fn without_parentheses(expr: &Expr) -> String {
        expr.to_string().replace(['(', ')'], "")
    }

    #[test]
    fn what_binds_weaker_is_no_side_of_it() {
        for (text, want) in [
            ("a is distinct from b and c", "(a is distinct from b) and c"),
            ("a is not distinct from b or c and d", "(a is not distinct from b) or (c and d)"),
            ("p and a is distinct from b or q", "(p and (a is distinct from b)) or q"),
            ("not a is distinct from b and c", "(not (a is distinct from b)) and c"),
            (
                "a is distinct from b and c is distinct from d or e",
                "((a is distinct from b) and (c is distinct from d)) or e",
            ),
            ("p or a is distinct from b + 1 and c", "p or ((a is distinct from (b + 1)) and c)"),
        ] {
            let (found, wanted) = (meant(text), meant(want));
            assert_eq!(without_parentheses(&found), without_parentheses(&wanted), "{text}");
            // Parentheses are nodes of their own: without them both are the same tree.
            assert_eq!(bare(found), bare(wanted), "{text}");
        }
        assert!(!is_wrong(&meant("a is distinct from (b and c)")));
    }

    fn bare(expr: Expr) -> Expr {
        match expr {
            Expr::Nested(inner) => bare(*inner),
            Expr::BinaryOp { left, op, right } => joined(bare(*left), op, bare(*right)),
            Expr::UnaryOp { op, expr } => Expr::UnaryOp { op, expr: Box::new(bare(*expr)) },
            Expr::IsDistinctFrom(a, b) => Expr::IsDistinctFrom(Box::new(bare(*a)), Box::new(bare(*b))),
            Expr::IsNotDistinctFrom(a, b) => Expr::IsNotDistinctFrom(Box::new(bare(*a)), Box::new(bare(*b))),
            other => other,
        }
    }
}
