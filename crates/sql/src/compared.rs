//! Values of two types in one place: compared with one another, or choices of one column.
//!
//! DataFusion would take both to a type that cannot hold them. A time beside a text or a date goes to nanoseconds, which
//! end in the year 2262: `valid_to < '9999-12-31'` would be an error, and so would any comparison over a row that holds
//! such a time. A double beside a decimal goes to decimal(30, 15): `d > 0.0` would be false for 1e-20, and an error for
//! 1e20. Here the sides are made equal before DataFusion's coercion sees them, as PostgreSQL does: in the time's own
//! unit, and in doubles.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Union, cast};
use datafusion::optimizer::AnalyzerRule;

use crate::expressions;
use crate::govern::compares;

/// Functions whose arguments are choices of one value.
const CHOICES: [&str; 6] = ["coalesce", "nullif", "ifnull", "nvl", "greatest", "least"];

/// Runs before type coercion.
#[derive(Debug)]
pub(crate) struct ComparedTypes;

impl AnalyzerRule for ComparedTypes {
    fn name(&self) -> &str {
        "compared_types"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewrite_node)?.data)
    }
}

fn rewrite_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Union(union) => rewrite_union(union),
        node => expressions::rewrite(node, has_sides, |expr, schema| Ok(rewrite(expr, schema))),
    }
}

/// Whether several values meet in an expression.
fn has_sides(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(binary) => compares(binary.op),
        Expr::ScalarFunction(call) => CHOICES.contains(&call.func.name()),
        Expr::Between(_) | Expr::InList(_) | Expr::Case(_) => true,
        _ => false,
    }
}

fn rewrite(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let changed = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => level(&mut [left, right], schema, true),
        Expr::Between(between) => level(&mut [&mut between.expr, &mut between.low, &mut between.high], schema, true),
        Expr::InList(list) => {
            let mut sides: Vec<&mut Expr> = std::iter::once(list.expr.as_mut()).chain(&mut list.list).collect();
            level(&mut sides, schema, true)
        }
        Expr::Case(case) => {
            let (mut whens, mut thens): (Vec<&mut Expr>, Vec<&mut Expr>) =
                case.when_then_expr.iter_mut().map(|(when, then)| (when.as_mut(), then.as_mut())).unzip();
            thens.extend(case.else_expr.as_deref_mut());
            let compared = case.expr.as_deref_mut().is_some_and(|expr| {
                whens.push(expr);
                level(&mut whens, schema, true)
            });
            level(&mut thens, schema, false) || compared
        }
        Expr::ScalarFunction(call) if CHOICES.contains(&call.func.name()) => {
            level(&mut call.args.iter_mut().collect::<Vec<_>>(), schema, false)
        }
        _ => false,
    };
    Transformed::new_transformed(expr, changed)
}

/// Casts the sides that need it. `false`: none does.
fn level(sides: &mut [&mut Expr], schema: &DFSchema, texts: bool) -> bool {
    // An expression that has no type yet is left to DataFusion, which says what is wrong with it.
    let types: Vec<Option<DataType>> = sides.iter().map(|side| side.get_type(schema).ok()).collect();
    let Some(common) = Common::of(types.iter().flatten(), texts) else { return false };
    let mut changed = false;
    for (side, _) in sides.iter_mut().zip(&types).filter(|(_, t)| t.as_ref().is_some_and(|t| common.takes(t))) {
        **side = cast(std::mem::take(*side), common.data_type.clone());
        changed = true;
    }
    changed
}

/// The type that sides of several types are taken to.
struct Common {
    data_type: DataType,
    /// Texts are times, too: they are compared with one.
    texts: bool,
}

impl Common {
    /// `None`: DataFusion knows better.
    fn of<'t>(types: impl Iterator<Item = &'t DataType> + Clone, texts: bool) -> Option<Self> {
        let times = types.clone().filter(|t| matches!(t, DataType::Timestamp(..)));
        let data_type = match times.max_by_key(|t| matches!(t, DataType::Timestamp(_, Some(_)))) {
            Some(time) => time.clone(),
            None if types.clone().any(DataType::is_floating) => DataType::Float64,
            None => return None,
        };
        let common = Self { data_type, texts };
        types.clone().any(|t| common.takes(t)).then_some(common)
    }

    /// Whether a side of this type is cast.
    fn takes(&self, side: &DataType) -> bool {
        match self.data_type {
            DataType::Timestamp(..) => {
                matches!(side, DataType::Date32 | DataType::Date64) || (self.texts && side.is_string())
            }
            _ => side.is_decimal(),
        }
    }
}

/// The parts of a union give one column.
fn rewrite_union(union: Union) -> Result<Transformed<LogicalPlan>> {
    let width = union.inputs.iter().map(|input| input.schema().fields().len()).min().unwrap_or_default();
    let types = |at: usize| union.inputs.iter().map(move |input| input.schema().field(at).data_type());
    let commons: Vec<Option<Common>> = (0..width).map(|at| Common::of(types(at), false)).collect();
    if commons.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let inputs = union.inputs.iter().map(|input| Ok(Arc::new(cast_columns(input, &commons)?)));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema: union.schema })))
}

fn cast_columns(input: &LogicalPlan, commons: &[Option<Common>]) -> Result<LogicalPlan> {
    let columns = input.schema().iter().enumerate().map(|(at, (qualifier, field))| {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        match commons.get(at).and_then(Option::as_ref).filter(|common| common.takes(field.data_type())) {
            Some(common) => cast(column, common.data_type.clone()).alias_qualified(qualifier.cloned(), field.name()),
            None => column,
        }
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(input.clone()).project(columns)?.build()
}
