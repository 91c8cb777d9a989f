//! `a / b` of decimals, rounded.
//!
//! The operator's type follows from its place in DataFusion, so the planner is told to plan a function of ours instead.
//! Operators that only become decimal once a parameter has a value keep their type, and are rounded all the same.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DFSchema, Result, internal_err, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::quotient::Digits;
use super::strict_field;

/// Plans divisions where one side is a decimal and the other a decimal or an integer.
#[derive(Debug)]
pub(crate) struct DivisionPlanner {
    divide: Arc<ScalarUDF>,
}

impl DivisionPlanner {
    pub(crate) fn new() -> Self {
        Self { divide: Arc::new(division(None)) }
    }
}

impl ExprPlanner for DivisionPlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::Divide {
            return Ok(PlannerResult::Original(expr));
        }
        // A side that has no type is left to DataFusion, which says what is wrong with it.
        let sides = (expr.left.get_type(schema), expr.right.get_type(schema));
        let (Ok(left), Ok(right)) = sides else { return Ok(PlannerResult::Original(expr)) };
        let exact = |side: &DataType| Digits::of(side).is_some() || side.is_integer();
        let is_ours = exact(&left) && exact(&right) && (left.is_decimal() || right.is_decimal());
        Ok(match is_ours {
            true => PlannerResult::Planned(self.divide.call(vec![expr.left, expr.right])),
            false => PlannerResult::Original(expr),
        })
    }
}

/// The function. `to`: the digits of its result, where the operands are not to tell.
pub(super) fn division(to: Option<Digits>) -> ScalarUDF {
    ScalarUDF::new_from_impl(Division { to, signature: Signature::user_defined(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Division {
    to: Option<Digits>,
    signature: Signature,
}

impl Division {
    fn gives(&self, left: &DataType, right: &DataType) -> Result<DataType> {
        match (Digits::of(left), Digits::of(right)) {
            (Some(left), Some(right)) => Ok(self.to.unwrap_or_else(|| left.over(right)).data_type()),
            _ if left.is_floating() || right.is_floating() => Ok(DataType::Float64),
            _ => plan_err!("{left} cannot be divided by {right}"),
        }
    }

    /// Over `rows` rows; a side that is an array of one is the same in all of them.
    fn evaluate(&self, left: &ArrayRef, right: &ArrayRef, rows: usize) -> Result<ArrayRef> {
        let (Some(of_left), Some(of_right)) = (Digits::of(left.data_type()), Digits::of(right.data_type())) else {
            return Ok(numeric::div(left, right)?);
        };
        let to = self.to.unwrap_or_else(|| of_left.over(of_right));
        let (left, right): (&Decimal128Array, &Decimal128Array) = (left.as_primitive(), right.as_primitive());
        let from = of_left.scale - of_right.scale;
        let of = |(left, right): (Option<i128>, Option<i128>)| match (left, right) {
            (Some(_), Some(0)) => Err(ArrowError::DivideByZero.into()),
            (Some(left), Some(right)) => to.quotient(left, right, from).map(Some),
            _ => Ok(None),
        };
        let at = |array: &Decimal128Array, row: usize| {
            let row = if array.len() == 1 { 0 } else { row };
            array.is_valid(row).then(|| array.value(row))
        };
        let values: Decimal128Array =
            (0..rows).map(|row| of((at(left, row), at(right, row)))).collect::<Result<_>>()?;
        Ok(Arc::new(values.with_precision_and_scale(to.precision, to.scale)?))
    }
}

/// Integers as decimals that hold all of them.
fn exact(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Int8 | DataType::UInt8 => DataType::Decimal128(3, 0),
        DataType::Int16 | DataType::UInt16 => DataType::Decimal128(5, 0),
        DataType::Int32 | DataType::UInt32 => DataType::Decimal128(10, 0),
        DataType::Int64 | DataType::UInt64 | DataType::Null => DataType::Decimal128(20, 0),
        other => other.clone(),
    }
}

impl ScalarUDFImpl for Division {
    fn name(&self) -> &str {
        "divide"
    }

    /// As the operator that it stands for: nodes above refer to the column by this name.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [left, right] => Ok(format!("{} / {}", left.schema_name(), right.schema_name())),
            _ => internal_err!("{} takes two arguments", self.name()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            // What a parameter turned out to be.
            [left, right] if left.is_floating() || right.is_floating() => Ok(vec![DataType::Float64; 2]),
            [left, right] => Ok(vec![exact(left), exact(right)]),
            _ => internal_err!("{} takes two arguments", self.name()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [left, right] => self.gives(left, right),
            _ => internal_err!("{} takes two arguments", self.name()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        strict_field(self, &args)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return internal_err!("{} takes two arguments", self.name());
        };
        let scalar = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let is_decimal = args.return_field.data_type().is_decimal();
        let array = |value: &ColumnarValue| match value {
            ColumnarValue::Scalar(value) if is_decimal => value.to_array(),
            value => value.to_array(rows),
        };
        let values = self.evaluate(&array(left)?, &array(right)?, rows)?;
        Ok(match scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
            false => ColumnarValue::Array(values),
        })
    }
}
