//! Integer arithmetic that fails instead of wrapping.

use std::fmt::Write as _;

use datafusion::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Datum, PrimitiveArray, Scalar};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::{ArrowNativeTypeOp, DataType, FieldRef, Int32Type, Int64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::strict_field;

type Kernel = fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError>;

/// An operator of two integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Checked {
    Add,
    Subtract,
    Multiply,
}

impl Checked {
    pub(super) fn of(operator: Operator) -> Option<Self> {
        match operator {
            Operator::Plus => Some(Self::Add),
            Operator::Minus => Some(Self::Subtract),
            Operator::Multiply => Some(Self::Multiply),
            _ => None,
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
        }
    }

    /// Whether a chain may go on with another operator: `a + b - c`, but not `(a + b) * c`, whose text would be that of
    /// `a + (b * c)`.
    pub(super) fn goes_on_with(self, next: Self) -> bool {
        (self == Self::Multiply) == (next == Self::Multiply)
    }

    /// Evaluates over arrays of one integer type.
    fn evaluate(self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Add => unless_suspect(numeric::add_wrapping, numeric::add, add_suspect, left, right),
            Self::Subtract => unless_suspect(numeric::sub_wrapping, numeric::sub, subtract_suspect, left, right),
            Self::Multiply => numeric::mul(left, right),
        }
    }
}

/// Adding overflows when both sides have the sign that the result has not; the sign bit of this says so.
fn add_suspect(left: i64, right: i64, result: i64) -> i64 {
    (left ^ result) & (right ^ result)
}

/// Subtracting overflows when the sides differ in sign and the result has not the sign of the left one.
fn subtract_suspect(left: i64, right: i64, result: i64) -> i64 {
    (left ^ right) & (left ^ result)
}

/// Computes with the wrapping kernel, which runs at the speed of memory, and looks for overflows afterwards, which does
/// too; only when there may be one does the exact kernel decide (slots behind NULLs raise false alarms).
fn unless_suspect(
    wrapping: Kernel,
    exact: Kernel,
    suspect: fn(i64, i64, i64) -> i64,
    left: &dyn Datum,
    right: &dyn Datum,
) -> Result<ArrayRef, ArrowError> {
    let result = wrapping(left, right)?;
    let alarm = match result.data_type() {
        DataType::Int64 => any_suspect::<Int64Type>(left, right, &result, |l, r, x| suspect(l, r, x) < 0),
        DataType::Int32 => any_suspect::<Int32Type>(left, right, &result, |l, r, x| {
            suspect(i64::from(l), i64::from(r), i64::from(x)) < 0
        }),
        _ => true,
    };
    if alarm { exact(left, right) } else { Ok(result) }
}

#[inline]
fn any_suspect<T: ArrowPrimitiveType>(
    left: &dyn Datum,
    right: &dyn Datum,
    result: &ArrayRef,
    suspect: impl Fn(T::Native, T::Native, T::Native) -> bool,
) -> bool {
    let ((left, left_scalar), (right, right_scalar)) = (left.get(), right.get());
    let (l, r, x): (&PrimitiveArray<T>, &PrimitiveArray<T>, &PrimitiveArray<T>) =
        (left.as_primitive(), right.as_primitive(), result.as_primitive());
    let (l, r, x) = (l.values(), r.values(), x.values());
    // A fold without early exit: it compiles to vector instructions.
    match (left_scalar, right_scalar) {
        (false, false) => {
            x.iter().zip(l.iter().zip(r.iter())).fold(false, |alarm, (x, (l, r))| alarm | suspect(*l, *r, *x))
        }
        (false, true) => {
            let r = r.first().copied().unwrap_or(T::Native::ZERO);
            x.iter().zip(l.iter()).fold(false, |alarm, (x, l)| alarm | suspect(*l, r, *x))
        }
        (true, _) => {
            let l = l.first().copied().unwrap_or(T::Native::ZERO);
            x.iter().zip(r.iter()).fold(false, |alarm, (x, r)| alarm | suspect(l, *r, *x))
        }
    }
}

/// `a + b - c`, of integers of one type, from left to right. One function however long the chain is: what looks at an
/// expression by recursion, and makes up names and types at each level of it, would take the cube of its length.
///
/// `operators` stand between the operands, so there is one operand more.
pub(super) fn chain(operators: Vec<Checked>) -> ScalarUDF {
    let signature = Signature::any(operators.len() + 1, Volatility::Immutable);
    ScalarUDF::new_from_impl(CheckedChain { name: name(&operators), operators, signature })
}

/// Says all of the operators: two chains with one text have to be the same.
fn name(operators: &[Checked]) -> String {
    let name = match operators.first() {
        Some(Checked::Add) => "add",
        Some(Checked::Subtract) => "subtract",
        Some(Checked::Multiply) => "multiply",
        None => "nothing",
    };
    match operators.windows(2).all(|pair| pair[0] == pair[1]) {
        true => name.to_owned(),
        false => format!("calculate[{}]", operators.iter().map(|operator| operator.symbol()).collect::<String>()),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedChain {
    name: String,
    operators: Vec<Checked>,
    signature: Signature,
}

impl ScalarUDFImpl for CheckedChain {
    fn name(&self) -> &str {
        &self.name
    }

    /// As the operators that it stands for: nodes above refer to the column by this name.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let Some((first, rest)) = args.split_first() else {
            return internal_err!("{} takes at least two arguments", self.name());
        };
        let mut name = first.schema_name().to_string();
        for (operator, operand) in self.operators.iter().zip(rest) {
            // Writing to a text does not fail.
            let _ = write!(name, " {} {}", operator.symbol(), operand.schema_name());
        }
        Ok(name)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.split_first() {
            Some((first, rest)) if first.is_integer() && rest.iter().all(|other| other == first) => Ok(first.clone()),
            _ => internal_err!("{} takes integers of one type, not {types:?}", self.name()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        strict_field(self, &args)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut operands = args.args.into_iter();
        let Some(first) = operands.next() else {
            return exec_err!("{} takes at least two arguments", self.name());
        };
        self.operators.iter().zip(operands).try_fold(first, |left, (operator, right)| step(*operator, &left, &right))
    }
}

fn step(operator: Checked, left: &ColumnarValue, right: &ColumnarValue) -> Result<ColumnarValue> {
    match (left, right) {
        (ColumnarValue::Array(l), ColumnarValue::Array(r)) => Ok(ColumnarValue::Array(operator.evaluate(l, r)?)),
        (ColumnarValue::Array(l), ColumnarValue::Scalar(r)) => {
            Ok(ColumnarValue::Array(operator.evaluate(l, &scalar(r)?)?))
        }
        (ColumnarValue::Scalar(l), ColumnarValue::Array(r)) => {
            Ok(ColumnarValue::Array(operator.evaluate(&scalar(l)?, r)?))
        }
        (ColumnarValue::Scalar(l), ColumnarValue::Scalar(r)) => {
            let result = operator.evaluate(&l.to_array()?, &r.to_array()?)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
        }
    }
}

fn scalar(value: &ScalarValue) -> Result<Scalar<ArrayRef>> {
    Ok(Scalar::new(value.to_array()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, Scalar};
    use datafusion::arrow::datatypes::Int64Type;

    use super::Checked;

    #[test]
    fn overflow_is_found_wherever_it_is() {
        let most: ArrayRef = Arc::new(Int64Array::from(vec![1, i64::MAX, 3]));
        let least: ArrayRef = Arc::new(Int64Array::from(vec![1, i64::MIN, 3]));
        let one = Scalar::new(Int64Array::from(vec![1]));
        let zero = Scalar::new(Int64Array::from(vec![0]));
        assert!(Checked::Add.evaluate(&most, &one).is_err());
        assert!(Checked::Add.evaluate(&one, &most).is_err());
        assert!(Checked::Add.evaluate(&most, &most).is_err());
        assert!(Checked::Subtract.evaluate(&least, &one).is_err());
        assert!(Checked::Subtract.evaluate(&zero, &least).is_err());
        assert!(Checked::Multiply.evaluate(&most, &most).is_err());
        assert!(Checked::Add.evaluate(&least, &one).is_ok());
        assert!(Checked::Add.evaluate(&most, &least).is_ok());
        let small: ArrayRef = Arc::new(Int32Array::from(vec![i32::MAX]));
        assert!(Checked::Add.evaluate(&small, &small).is_err());
    }

    #[test]
    fn what_lies_behind_a_null_does_not_overflow() {
        let hidden = Int64Array::new(vec![i64::MAX, 5].into(), Some(vec![false, true].into()));
        let one = Scalar::new(Int64Array::from(vec![1]));
        let sum = Checked::Add.evaluate(&hidden, &one).unwrap();
        assert!(sum.is_null(0));
        assert_eq!(sum.as_primitive::<Int64Type>().value(1), 6);
    }
}
