//! `x = any(list)`, which the planner makes `array_has(list, x)`.
//!
//! DataFusion says `false` where `x` is not among the elements and one of them is NULL; SQL does not know then, and
//! `not (x = any(list))` must not keep such a row. Here the function says NULL, as PostgreSQL, Spark and Trino do.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::functions_nested::array_has::array_has_udf;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
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
            expressions::rewrite(node, is_membership, |expr, _| {
                Ok(match expr {
                    Expr::ScalarFunction(mut call) if call.func.name() == NAME => {
                        call.func = Arc::clone(&self.list_has);
                        Transformed::yes(Expr::ScalarFunction(call))
                    }
                    expr => Transformed::no(expr),
                })
            })
        };
        Ok(plan.transform_up_with_subqueries(rewrite)?.data)
    }
}

fn is_membership(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == NAME)
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

    /// A list that is known becomes `x IN (…)`, which knows NULL.
    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.elements.simplify(args, info)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(list) = args.args.first().cloned() else { return internal_err!("{NAME} has no list") };
        match self.elements.invoke_with_args(args)? {
            ColumnarValue::Scalar(ScalarValue::Boolean(Some(false))) => {
                let open = Open::of(&list.to_array(1)?);
                Ok(ColumnarValue::Scalar(ScalarValue::Boolean(if open.at(0) { None } else { Some(false) })))
            }
            ColumnarValue::Array(found) => {
                let open = match &list {
                    ColumnarValue::Scalar(_) => Open::of(&list.to_array(1)?).at(0).then_some(Open::Everywhere),
                    ColumnarValue::Array(lists) => Some(Open::of(lists)),
                };
                Ok(ColumnarValue::Array(open.map_or_else(|| Arc::clone(&found), |open| open.settle(&found))))
            }
            known => Ok(known),
        }
    }
}

/// Which lists have elements that are NULL.
enum Open {
    Nowhere,
    Everywhere,
    Rows(Vec<bool>),
}

impl Open {
    fn of(lists: &ArrayRef) -> Self {
        let has_null = |list: Option<ArrayRef>| list.is_some_and(|list| list.logical_null_count() > 0);
        match lists.data_type() {
            DataType::List(_) if lists.as_list::<i32>().values().logical_null_count() > 0 => {
                Self::Rows(lists.as_list::<i32>().iter().map(has_null).collect())
            }
            DataType::LargeList(_) if lists.as_list::<i64>().values().logical_null_count() > 0 => {
                Self::Rows(lists.as_list::<i64>().iter().map(has_null).collect())
            }
            DataType::FixedSizeList(..) if lists.as_fixed_size_list().values().logical_null_count() > 0 => {
                Self::Rows(lists.as_fixed_size_list().iter().map(has_null).collect())
            }
            _ => Self::Nowhere,
        }
    }

    fn at(&self, row: usize) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Everywhere => true,
            Self::Rows(rows) => rows.get(row).copied().unwrap_or(false),
        }
    }

    /// What was found, but for `false` in lists that are open.
    fn settle(&self, found: &ArrayRef) -> ArrayRef {
        if matches!(self, Self::Nowhere) {
            return Arc::clone(found);
        }
        let found = found.as_boolean();
        let known = (0..found.len()).map(|row| found.is_valid(row) && (found.value(row) || !self.at(row)));
        Arc::new(BooleanArray::new(found.values().clone(), Some(NullBuffer::from(known.collect::<Vec<_>>()))))
    }
}
