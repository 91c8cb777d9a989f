//! Times that are written without seconds, as people and spreadsheets do: `2026-01-05 09:15`. Arrow wants all three.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

const NAME: &str = "with_seconds";

/// Bytes of `2026-01-05 09:15`.
const MINUTES: usize = 16;

/// A time with its seconds. `None`: it has them, or it is none.
pub(crate) fn complete(text: &str) -> Option<String> {
    let text = text.trim();
    let (time, zone) = text.split_at_checked(MINUTES)?;
    let has_shape = time.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        10 => matches!(byte, b' ' | b'T' | b't'),
        13 => byte == b':',
        _ => byte.is_ascii_digit(),
    });
    let ends = zone.is_empty() || zone.starts_with([' ', 'Z', 'z', '+', '-']);
    (has_shape && ends).then(|| format!("{time}:00{zone}"))
}

pub(crate) fn udf() -> ScalarUDF {
    ScalarUDF::new_from_impl(WithSeconds { signature: Signature::any(1, Volatility::Immutable) })
}

/// Whether an expression is a call of this function.
pub(crate) fn is_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == NAME)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WithSeconds {
    signature: Signature,
}

impl ScalarUDFImpl for WithSeconds {
    fn name(&self) -> &str {
        NAME
    }

    /// As its argument: nodes above refer to the column by this name.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [text] => Ok(text.schema_name().to_string()),
            _ => internal_err!("{NAME} takes one argument"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [text] => Ok(text.clone()),
            _ => internal_err!("{NAME} takes one argument"),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(texts)] => Ok(ColumnarValue::Array(completed(texts)?)),
            [ColumnarValue::Scalar(text)] => {
                let completed = completed(&text.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&completed, 0)?))
            }
            _ => internal_err!("{NAME} takes one argument"),
        }
    }
}

fn completed(texts: &ArrayRef) -> Result<ArrayRef> {
    let plain = cast(texts, &DataType::Utf8)?;
    let plain: &StringArray = plain.as_string();
    if !plain.iter().flatten().any(|text| complete(text).is_some()) {
        return Ok(Arc::clone(texts));
    }
    let complete = |text: &str| complete(text).unwrap_or_else(|| text.to_owned());
    let completed: StringArray = plain.iter().map(|text| text.map(complete)).collect();
    Ok(cast(&completed, texts.data_type())?)
}

#[cfg(test)]
mod tests {
    use super::complete;

    #[test]
    fn only_times_without_seconds_get_some() {
        for (text, want) in [
            ("2026-01-05 09:15", Some("2026-01-05 09:15:00")),
            ("2026-01-05T09:15Z", Some("2026-01-05T09:15:00Z")),
            (" 2026-01-05 09:15+02:00 ", Some("2026-01-05 09:15:00+02:00")),
            ("2026-01-05 09:15 Europe/Amsterdam", Some("2026-01-05 09:15:00 Europe/Amsterdam")),
            ("2026-01-05 09:15:30", None),
            ("2026-01-05", None),
            ("2026-01-05 09:155", None),
            ("größer als 2026-01-05", None),
            ("", None),
        ] {
            assert_eq!(complete(text).as_deref(), want, "{text}");
        }
    }
}
