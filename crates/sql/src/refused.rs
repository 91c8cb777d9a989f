//! What would be taken for something else than people mean, without a word.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

/// Functions whose second argument says how a time is written.
const WRITERS: [&str; 2] = ["to_char", "date_format"];

/// Refuses it.
#[derive(Debug)]
pub(crate) struct Refused;

impl AnalyzerRule for Refused {
    fn name(&self) -> &str {
        "refused"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|part| check(part).map(|()| TreeNodeRecursion::Continue))?;
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(plan)
    }
}

fn check(expr: &Expr) -> Result<()> {
    match expr {
        Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::List(_)) && text(&cast.expr).is_some() => {
            plan_err!("a text is no list: write the elements, as in `['a', 'b']`")
        }
        Expr::ScalarFunction(call) if WRITERS.contains(&call.func.name()) => {
            match call.args.get(1).and_then(text).filter(|pattern| !pattern.contains('%')) {
                Some(pattern) => plan_err!(
                    "`{pattern}` has no signs of `{}`, which are those of strftime: `%Y-%m-%d %H:%M:%S`",
                    call.func.name()
                ),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => Some(text),
        _ => None,
    }
}
