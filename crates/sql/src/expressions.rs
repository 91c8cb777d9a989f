//! Expressions of a plan's node, rewritten where they stand.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Rewrites all expressions of a node from their leaves up, with the columns that they may name. Columns that the node
/// gives keep their names. Nodes without an expression that `concerns` are left alone: most have none.
pub(crate) fn rewrite(
    node: LogicalPlan,
    concerns: impl Fn(&Expr) -> bool,
    part: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    rewrite_whole(node, concerns, |expr, schema| expr.transform_up(|expr| part(expr, schema)))
}

/// The same, by something that goes through each expression in its own way.
pub(crate) fn rewrite_whole(
    node: LogicalPlan,
    concerns: impl Fn(&Expr) -> bool,
    whole: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    if !some(&node, concerns)? {
        return Ok(Transformed::no(node));
    }
    let mut schema = merge_schema(&node.inputs());
    if let LogicalPlan::TableScan(scan) = &node {
        schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
    }
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        Ok(whole(expr, &schema)?.update_data(|expr| name.restore(expr)))
    })
}

fn some(node: &LogicalPlan, concerns: impl Fn(&Expr) -> bool) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(|expr| {
        found |= expr.exists(|expr| Ok(concerns(expr)))?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}
