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

use crate::local_time::LocalTime;
use crate::types::{UTC, timestamp};

/// The names of functions whose values follow from the run's time.
pub(crate) const TIME_FUNCTIONS: [&str; 4] = ["run_time", "now", "current_date", "current_time"];

/// What a session fixes: `run_time()`, `now()`, `current_date`, `current_user()`. Made when they are asked for: most
/// statements call none.
#[derive(Debug)]
pub(crate) struct Own {
    principal: String,
    now: Timestamp,
}

impl Own {
    pub(crate) const NAMES: [&str; 9] = [
        "run_time",
        "now",
        "current_timestamp",
        "current_date",
        "today",
        "current_time",
        "current_user",
        "session_user",
        "user",
    ];

    pub(crate) fn new(principal: &str, now: Timestamp) -> Self {
        Self { principal: principal.to_owned(), now }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let micros = self.now.micros();
        let moment = || ScalarValue::TimestampMicrosecond(Some(micros), Some(UTC.into()));
        let function = match name {
            "run_time" => Constant::new("run_time", &[], moment()),
            "now" | "current_timestamp" => Constant::new("now", &["current_timestamp"], moment()),
            "current_date" | "today" => {
                let days = i32::try_from(micros.div_euclid(86_400_000_000)).ok();
                Constant::new("current_date", &["today"], ScalarValue::Date32(days))
            }
            "current_time" => {
                let time_of_day = ScalarValue::Time64Microsecond(Some(micros.rem_euclid(86_400_000_000)));
                Constant::new("current_time", &[], time_of_day)
            }
            "current_user" | "session_user" | "user" => {
                let user = ScalarValue::Utf8(Some(self.principal.clone()));
                Constant::new("current_user", &["session_user", "user"], user)
            }
            _ => return None,
        };
        Some(Arc::new(ScalarUDF::new_from_impl(function)))
    }
}

/// Registers what is the same in every session: `to_timestamp` in microseconds, `AT TIME ZONE`.
pub(crate) fn register_common(state: &mut SessionState) -> Result<()> {
    let config = Arc::clone(state.config_options());
    let inner = datetime::to_timestamp(&config);
    state.register_udf(Arc::new(ScalarUDF::new_from_impl(Microseconds { inner })))?;
    state.register_udf(Arc::new(ScalarUDF::new_from_impl(LocalTime::default())))?;
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
