//! Functions that depend on the session: who asks, and what time it is.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Result, internal_err};
use datafusion::execution::SessionState;
use datafusion::functions::datetime;
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use polder_base::Timestamp;

use crate::types::{UTC, timestamp};

/// The names of functions whose values follow from the run's time.
pub(crate) const TIME_FUNCTIONS: [&str; 4] = ["run_time", "now", "current_date", "current_time"];

/// Registers what a session fixes: `run_time()`, `now()`, `current_date`, `current_user()`.
pub(crate) fn register(state: &mut SessionState, principal: &str, now: Timestamp) -> Result<()> {
    let moment = ScalarValue::TimestampMicrosecond(Some(now.micros()), Some(UTC.into()));
    let days = i32::try_from(now.micros().div_euclid(86_400_000_000)).ok();
    let time_of_day = ScalarValue::Time64Microsecond(Some(now.micros().rem_euclid(86_400_000_000)));
    let user = ScalarValue::Utf8(Some(principal.to_owned()));
    for function in [
        Constant::new("run_time", &[], moment.clone()),
        Constant::new("now", &["current_timestamp"], moment),
        Constant::new("current_date", &["today"], ScalarValue::Date32(days)),
        Constant::new("current_time", &[], time_of_day),
        Constant::new("current_user", &["session_user", "user"], user),
    ] {
        state.register_udf(Arc::new(ScalarUDF::new_from_impl(function)))?;
    }
    Ok(())
}

/// Registers what is the same in every session: `to_timestamp` in microseconds.
pub(crate) fn register_common(state: &mut SessionState) -> Result<()> {
    let config = Arc::clone(state.config_options());
    let inner = datetime::to_timestamp(&config);
    state.register_udf(Arc::new(ScalarUDF::new_from_impl(Microseconds { inner })))?;
    Ok(())
}

/// A function without arguments whose value the session has fixed.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: &'static str,
    aliases: Vec<String>,
    value: ScalarValue,
    signature: Signature,
}

impl Constant {
    fn new(name: &'static str, aliases: &[&str], value: ScalarValue) -> Self {
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        Self { name, aliases, value, signature: Signature::nullary(Volatility::Stable) }
    }
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name, self.value.data_type(), false)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }

    fn simplify(&self, _: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(self.value.clone(), None)))
    }
}

/// `to_timestamp`, which counts nanoseconds, in microseconds.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Microseconds {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Microseconds {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        microseconds(&self.inner.return_type(types)?)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        Ok(Arc::new(field.as_ref().clone().with_data_type(microseconds(field.data_type())?)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let to = args.return_field.data_type().clone();
        let DataType::Timestamp(_, zone) = &to else {
            return internal_err!("to_timestamp gives a timestamp, not {to}");
        };
        let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, zone.clone());
        let return_field = Arc::new(args.return_field.as_ref().clone().with_data_type(nanoseconds));
        self.inner.invoke_with_args(ScalarFunctionArgs { return_field, ..args })?.cast_to(&to, None)
    }
}

fn microseconds(data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::Timestamp(_, zone) => Ok(DataType::Timestamp(TimeUnit::Microsecond, zone.clone())),
        _ => Ok(timestamp(false)),
    }
}
