//! Functions of one number: `-x` and casts that tell the truth, decimals that are too long for their type.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Float16Type, Float32Type,
    Float64Type,
};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

type Half = <Float16Type as ArrowPrimitiveType>::Native;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Unary {
    /// `-x` that fails for the least number of the type.
    Negate,
    /// Gives its argument, unless that has more digits than its type.
    WithinPrecision,
    /// The nearest whole number, halves away from zero.
    Round,
}

/// The sum of two decimals has one digit more than they have, until there are no more digits: Arrow adds on without a
/// word.
pub(super) fn is_full(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(DECIMAL128_MAX_PRECISION, _))
}

impl Unary {
    pub(super) fn udf(self) -> ScalarUDF {
        ScalarUDF::new_from_impl(UnaryNumber { function: self, signature: Signature::any(1, Volatility::Immutable) })
    }

    /// Whether an expression is a call of this function.
    pub(super) fn is_call(self, expr: &Expr) -> bool {
        matches!(expr, Expr::ScalarFunction(call) if call.func.name() == self.name())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Negate => "negate",
            Self::WithinPrecision => "within_precision",
            Self::Round => "round_to_integer",
        }
    }

    /// The type of the result, by the type of the argument.
    fn gives(self, operand: &DataType) -> DataType {
        match (self, operand) {
            // 9.5 becomes 10: as many digits before the point as there were, and one more.
            (Self::Round, DataType::Decimal128(precision, scale @ 1..)) => {
                DataType::Decimal128(precision.saturating_sub(scale.unsigned_abs()) + 1, 0)
            }
            (Self::Round, DataType::Decimal256(precision, scale @ 1..)) => {
                DataType::Decimal256(precision.saturating_sub(scale.unsigned_abs()) + 1, 0)
            }
            _ => operand.clone(),
        }
    }

    fn evaluate(self, array: &ArrayRef) -> Result<ArrayRef> {
        match (self, array.data_type()) {
            (Self::Negate, _) => Ok(numeric::neg(array.as_ref())?),
            (Self::WithinPrecision, DataType::Decimal128(precision, _)) => {
                array.as_primitive::<Decimal128Type>().validate_decimal_precision(*precision)?;
                Ok(Arc::clone(array))
            }
            (Self::Round, DataType::Float64) => {
                Ok(Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round)))
            }
            (Self::Round, DataType::Float32) => {
                Ok(Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::round)))
            }
            (Self::Round, DataType::Float16) => {
                let round = |v: Half| Half::from_f32(v.to_f32().round());
                Ok(Arc::new(array.as_primitive::<Float16Type>().unary::<_, Float16Type>(round)))
            }
            // Arrow rounds between decimals as we do.
            (Self::Round, from) if from.is_decimal() => {
                let strict = CastOptions { safe: false, ..CastOptions::default() };
                Ok(cast_with_options(array, &self.gives(from), &strict)?)
            }
            _ => Ok(Arc::clone(array)),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct UnaryNumber {
    function: Unary,
    signature: Signature,
}

impl ScalarUDFImpl for UnaryNumber {
    fn name(&self) -> &str {
        self.function.name()
    }

    /// As what it stands for or looks after: nodes above refer to the column by this name.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match (self.function, args) {
            (Unary::Negate, [operand]) => Ok(format!("(- {})", operand.schema_name())),
            (_, [operand]) => Ok(operand.schema_name().to_string()),
            _ => internal_err!("{} takes one argument", self.name()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [operand] => Ok(self.function.gives(operand)),
            _ => internal_err!("{} takes one argument", self.name()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [operand] => {
                let data_type = self.function.gives(operand.data_type());
                Ok(Arc::new(Field::new(self.name(), data_type, operand.is_nullable())))
            }
            _ => internal_err!("{} takes one argument", self.name()),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(array)] => Ok(ColumnarValue::Array(self.function.evaluate(array)?)),
            [ColumnarValue::Scalar(value)] => {
                let result = self.function.evaluate(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
            }
            _ => exec_err!("{} takes one argument", self.name()),
        }
    }
}
