//! Whether a value is among others, some of which are not known.
//!
//! - `x = any(list)`, which the planner makes `array_has(list, x)`: DataFusion says `false` where `x` is not among the
//!   elements and one of them is NULL. SQL does not know then, and `not (x = any(list))` must not keep such a row. Here the
//!   function says NULL, as PostgreSQL, Spark and Trino do.
//! - `x in (1, null)`: DataFusion joins two such lists to one without the NULL. The NULL is taken out of the list before.
//! - `x in (select …)` becomes a join that knows no NULL, but where it stands alone beside AND. Elsewhere it is refused where
//!   that would make a difference.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::functions_nested::array_has::array_has_udf;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, in_list, lit,
};
use datafusion::optimizer::AnalyzerRule;

use crate::expressions;

/// What the planner calls the function.
pub(crate) const NAME: &str = "array_has";

/// Puts [`ListHas`] in the place of DataFusion's function.
#[derive(Debug)]
pub(crate) struct Membership {
    list_has: Arc<ScalarUDF>,
}

impl Membership {
    pub(crate) fn new() -> Self {
        Self { list_has: Arc::new(ScalarUDF::new_from_impl(ListHas { elements: array_has_udf() })) }
    }
}

impl AnalyzerRule for Membership {
    fn name(&self) -> &str {
        "membership"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let rewrite = |node| {
            if let LogicalPlan::Filter(filter) = &node {
                split_conjunction(&filter.predicate).into_iter().try_for_each(check_subqueries)?;
            }
            expressions::rewrite(node, is_membership, |expr, _| {
                Ok(match expr {
                    Expr::ScalarFunction(mut call) if call.func.name() == NAME => {
                        call.func = Arc::clone(&self.list_has);
                        Transformed::yes(Expr::ScalarFunction(call))
                    }
                    Expr::InList(list) if list.list.iter().any(is_null) => Transformed::yes(without_nulls(list)),
                    expr => Transformed::no(expr),
                })
            })
        };
        Ok(plan.transform_up_with_subqueries(rewrite)?.data)
    }
}

fn is_membership(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => call.func.name() == NAME,
        Expr::InList(list) => list.list.iter().any(is_null),
        _ => false,
    }
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        _ => false,
    }
}

/// `x in (1, null)` as `x in (1) or null`, `x not in (1, null)` as `x not in (1) and null`.
fn without_nulls(InList { expr, mut list, negated }: InList) -> Expr {
    list.retain(|item| !is_null(item));
    let unknown = lit(ScalarValue::Boolean(None));
    let known = in_list(*expr, list, negated);
    if negated { known.and(unknown) } else { known.or(unknown) }
}

/// Refuses `x in (select …)` where NULL would be taken for false, and that is not the same: below NOT, `is null` and such.
/// Alone, as one of the conditions that AND joins, it is right with and without NOT; below OR without.
fn check_subqueries(condition: &Expr) -> Result<()> {
    match condition {
        Expr::InSubquery(_) => Ok(()),
        Expr::Not(inner) if matches!(**inner, Expr::InSubquery(_)) => Ok(()),
        Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or) => {
            [&binary.left, &binary.right].into_iter().try_for_each(|side| match side.as_ref() {
                Expr::InSubquery(subquery) if !subquery.negated => Ok(()),
                Expr::BinaryExpr(_) => check_subqueries(side),
                side => refuse_subqueries(side),
            })
        }
        other => refuse_subqueries(other),
    }
}

fn refuse_subqueries(expr: &Expr) -> Result<()> {
    match expr.exists(|part| Ok(matches!(part, Expr::InSubquery(_))))? {
        true => plan_err!(
            "IN (SELECT …) below NOT, OR or IS is not told from NULL here: write NOT EXISTS (SELECT … WHERE …), or a condition \
             of its own beside AND"
        ),
        false => Ok(()),
    }
}

/// Whether a list has an element: NULL where it is not among those that are known, and not all are.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ListHas {
    /// DataFusion's: whether it is among those that are known.
    elements: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for ListHas {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        self.elements.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.elements.return_type(types)
    }

    /// A list that is known becomes `x IN (…)`.
    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(match self.elements.simplify(args, info)? {
            ExprSimplifyResult::Simplified(Expr::InList(list)) if list.list.iter().any(is_null) => {
                ExprSimplifyResult::Simplified(without_nulls(list))
            }
            result => result,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (Some(list), rows) = (args.args.first().cloned(), args.number_rows) else {
            return internal_err!("{NAME} has no list");
        };
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let found = self.elements.invoke_with_args(args)?.to_array(if is_scalar { 1 } else { rows })?;
        let lists = list.to_array(found.len())?;
        let found: ArrayRef = match found.null_count() > 0 || has_nulls(&lists) {
            true => Arc::new(settled(found.as_boolean(), &Elements::of(&lists))),
            false => found,
        };
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?),
            false => ColumnarValue::Array(found),
        })
    }
}

/// What was found, but for lists without elements, which have nothing, and lists with a NULL, of which nobody knows what else
/// they have.
fn settled(found: &BooleanArray, elements: &Elements) -> BooleanArray {
    let settled = |row| match (found.is_valid(row).then(|| found.value(row)), elements.of_row(row)) {
        (Some(true), _) => Some(true),
        (_, Kind::Empty) => Some(false),
        (Some(false), Kind::Open) => None,
        (known, _) => known,
    };
    (0..found.len()).map(settled).collect()
}

/// Whether an element of any list is NULL.
fn has_nulls(lists: &ArrayRef) -> bool {
    let elements = match lists.data_type() {
        DataType::List(_) => lists.as_list::<i32>().values(),
        DataType::LargeList(_) => lists.as_list::<i64>().values(),
        DataType::FixedSizeList(..) => lists.as_fixed_size_list().values(),
        _ => return false,
    };
    elements.logical_null_count() > 0
}

/// What the elements of a list tell beyond which they are.
#[derive(Clone, Copy)]
enum Kind {
    Empty,
    /// One is NULL.
    Open,
    Other,
}

struct Elements(Option<Vec<Kind>>);

impl Elements {
    fn of(lists: &ArrayRef) -> Self {
        let kind = |list: Option<ArrayRef>| match list {
            Some(list) if list.is_empty() => Kind::Empty,
            Some(list) if list.logical_null_count() > 0 => Kind::Open,
            _ => Kind::Other,
        };
        Self(match lists.data_type() {
            DataType::List(_) => Some(lists.as_list::<i32>().iter().map(kind).collect()),
            DataType::LargeList(_) => Some(lists.as_list::<i64>().iter().map(kind).collect()),
            DataType::FixedSizeList(..) => Some(lists.as_fixed_size_list().iter().map(kind).collect()),
            _ => None,
        })
    }

    fn of_row(&self, row: usize) -> Kind {
        self.0.as_ref().and_then(|kinds| kinds.get(row).copied()).unwrap_or(Kind::Other)
    }
}
