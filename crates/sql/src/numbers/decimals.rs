//! Decimals that are too long for their type.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The sum of two decimals has one digit more than they have, until there are no more digits: Arrow adds on without a
/// word.
pub(super) fn is_full(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(DECIMAL128_MAX_PRECISION, _))
}

/// Gives its argument, unless that has more digits than its type.
pub(super) fn within_precision() -> ScalarUDF {
    ScalarUDF::new_from_impl(WithinPrecision { signature: Signature::any(1, Volatility::Immutable) })
}

pub(super) const WITHIN_PRECISION: &str = "within_precision";

#[derive(Debug, PartialEq, Eq, Hash)]
struct WithinPrecision {
    signature: Signature,
}

impl ScalarUDFImpl for WithinPrecision {
    fn name(&self) -> &str {
        WITHIN_PRECISION
    }

    /// As the operator that it looks after: nodes above refer to the column by this name.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [operand] => Ok(operand.schema_name().to_string()),
            _ => internal_err!("{WITHIN_PRECISION} takes one argument"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [operand] => Ok(operand.clone()),
            _ => internal_err!("{WITHIN_PRECISION} takes one argument"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [operand] => Ok(Arc::new(Field::new(self.name(), operand.data_type().clone(), operand.is_nullable()))),
            _ => internal_err!("{WITHIN_PRECISION} takes one argument"),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else { return exec_err!("{WITHIN_PRECISION} takes one argument") };
        let array = value.to_array(1)?;
        if let DataType::Decimal128(precision, _) = array.data_type() {
            array.as_primitive::<Decimal128Type>().validate_decimal_precision(*precision)?;
        }
        Ok(value.clone())
    }
}
