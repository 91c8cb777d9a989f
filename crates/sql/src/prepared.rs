//! Statements with `$1`, `$2`, … in the place of values.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ParamValues, Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

use crate::{expressions, membership};

/// Parameters of one statement at most: what the PostgreSQL protocol can count.
const MAX_PARAMETERS: usize = 65_535;

/// What is known of a statement before its values are.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The types of `$1`, `$2`, …: as the client said, else as the statement uses them, else text.
    pub parameters: Vec<DataType>,
    /// The columns that it gives.
    pub schema: SchemaRef,
}

/// What stands in the place of `$1`, `$2`, … while a statement is planned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Parameters<'a> {
    /// Their values.
    Values(&'a [ScalarValue]),
    /// NULLs of their types, as far as the client said them.
    Types(&'a [Option<DataType>]),
}

impl Parameters<'_> {
    /// None: a statement that has some is wrong.
    pub(crate) const NONE: Parameters<'static> = Parameters::Values(&[]);

    /// Puts values in the place of parameters.
    pub(crate) fn fill(self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let used = used(&plan)?;
        let Some((last, _)) = used.last_key_value() else { return Ok(plan) };
        let values = match self {
            Self::Values(values) if *last > values.len() => {
                return plan_err!("the statement has a parameter ${last}, and {} values were given", values.len());
            }
            Self::Values(values) => values.to_vec(),
            Self::Types(said) => {
                types(&used, said).iter().map(ScalarValue::try_from).collect::<Result<Vec<ScalarValue>>>()?
            }
        };
        plan.replace_params_with_values(&ParamValues::from(values))
    }
}

/// The types of all parameters of a plan that was not filled.
pub(crate) fn parameter_types(plan: &LogicalPlan, said: &[Option<DataType>]) -> Result<Vec<DataType>> {
    Ok(types(&used(plan)?, said))
}

/// Gives `$1` of `$1::int[]`, and of `x = any($1)`, which the planner makes `array_has($1, x)`, the type that it has where
/// the client says none: the list of the cast, or of what `x` is.
pub(crate) fn with_list_types(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewrite = |node| expressions::rewrite(node, is_any, |expr, schema| Ok(with_list_type(expr, schema)));
    Ok(plan.transform_up_with_subqueries(rewrite)?.data)
}

fn is_any(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => call.func.name() == membership::NAME,
        Expr::Cast(cast) => matches!(cast.field.data_type(), DataType::List(_)),
        _ => false,
    }
}

fn with_list_type(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let (list, of) = match &mut expr {
        // `$1::text[]` is no text that becomes a list.
        Expr::Cast(cast) => match (cast.expr.as_mut(), cast.field.data_type()) {
            (Expr::Placeholder(list), DataType::List(item)) => (list, item.data_type().clone()),
            _ => return Transformed::no(expr),
        },
        Expr::ScalarFunction(call) if call.func.name() == membership::NAME => match call.args.as_mut_slice() {
            [Expr::Placeholder(list), value] => match value.get_type(schema) {
                Ok(item) => (list, item),
                Err(_) => return Transformed::no(expr),
            },
            _ => return Transformed::no(expr),
        },
        _ => return Transformed::no(expr),
    };
    if list.field.is_some() || of.is_null() {
        return Transformed::no(expr);
    }
    let item = match of {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        item => item,
    };
    list.field = Some(Arc::new(Field::new_list("", Field::new_list_field(item, true), true)));
    Transformed::yes(expr)
}

fn types(used: &BTreeMap<usize, Option<DataType>>, said: &[Option<DataType>]) -> Vec<DataType> {
    let count = used.last_key_value().map_or(0, |(last, _)| *last).max(said.len());
    let known = |number: usize| {
        let said = said.get(number - 1).cloned().flatten();
        said.or_else(|| used.get(&number).cloned().flatten()).unwrap_or(DataType::Utf8)
    };
    (1..=count).map(known).collect()
}

/// The parameters that a plan names, by number, with the types that their places ask for.
fn used(plan: &LogicalPlan) -> Result<BTreeMap<usize, Option<DataType>>> {
    let found = plan.get_parameter_types()?;
    let number = |name: &str| {
        let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        number.filter(|n| (1..=MAX_PARAMETERS).contains(n)).ok_or_else(|| {
            plan_datafusion_err!("`{name}` is no parameter: they are called $1, $2, … up to ${MAX_PARAMETERS}")
        })
    };
    found.into_iter().map(|(name, data_type)| Ok((number(&name)?, data_type))).collect()
}
