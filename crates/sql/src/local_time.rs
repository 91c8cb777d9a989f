//! `t AT TIME ZONE 'Europe/Amsterdam'`, as PostgreSQL and DuckDB mean it: of a moment, what the clock shows there (a time
//! without a zone); of a time without a zone, the moment at which the clock there shows it.
//!
//! DataFusion casts to a type that carries the zone, in nanoseconds: what is stored, or cast to a date, is in UTC again.
//! The parser's expression becomes a call of `timezone(zone, time)`, which is what PostgreSQL calls it, too.

use std::sync::Arc;

use chrono::{DateTime, Duration, MappedLocalTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, FieldRef, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use polder_base::nearest;

use crate::numbers::strict_field;
use crate::types::{UTC, timestamp};

/// The name of the function.
pub(crate) const TIMEZONE: &str = "timezone";

/// Steps by which the last time before a gap of the clock is looked for, and how many cover the longest one: Samoa left
/// out a whole day.
const STEP: Duration = Duration::minutes(15);
const STEPS: i32 = 4 * 26;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct LocalTime {
    signature: Signature,
}

impl Default for LocalTime {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for LocalTime {
    fn name(&self) -> &str {
        TIMEZONE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Dates and texts are moments, as in PostgreSQL.
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [zone, time] = types else {
            return plan_err!("{TIMEZONE} takes a time zone and a time");
        };
        if !(zone.is_string() || zone.is_null()) {
            return plan_err!("a time zone is a text, such as 'Europe/Amsterdam'");
        }
        let time = match time {
            DataType::Timestamp(_, None) => timestamp(false),
            DataType::Timestamp(_, Some(_)) | DataType::Date32 | DataType::Date64 | DataType::Null => timestamp(true),
            text if text.is_string() => timestamp(true),
            other => return plan_err!("AT TIME ZONE takes a timestamp, and this is {other}"),
        };
        Ok(vec![DataType::Utf8, time])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [_, DataType::Timestamp(_, zone)] => Ok(timestamp(zone.is_none())),
            other => internal_err!("{TIMEZONE} got {other:?}"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        strict_field(self, &args)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [zone, time] = args.args.as_slice() else {
            return internal_err!("{TIMEZONE} takes two arguments");
        };
        match (zone, time) {
            (ColumnarValue::Scalar(zone), ColumnarValue::Scalar(time)) => {
                let times = converted(&zone.to_array()?, &time.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&times, 0)?))
            }
            (ColumnarValue::Scalar(zone), ColumnarValue::Array(time)) => {
                Ok(ColumnarValue::Array(converted(&zone.to_array()?, time)?))
            }
            (zone, time) => {
                let rows = args.number_rows;
                let (zone, time) = (zone.to_array(rows)?, time.to_array(rows)?);
                Ok(ColumnarValue::Array(converted(&zone, &time)?))
            }
        }
    }
}

/// `zones`: one, or one for each time.
fn converted(zones: &ArrayRef, times: &ArrayRef) -> Result<ArrayRef> {
    let (zones, is_one) = (zones.as_string::<i32>(), zones.len() == 1);
    let of_moments = matches!(times.data_type(), DataType::Timestamp(_, Some(_)));
    let mut last: Option<(&str, Tz)> = None;
    let mut convert = |at: usize, micros: i64| -> Result<Option<i64>> {
        let at = if is_one { 0 } else { at };
        if zones.is_null(at) {
            return Ok(None);
        }
        let name = zones.value(at);
        let zone = match last {
            Some((known, zone)) if known == name => zone,
            _ => last.insert((name, zone_of(name)?)).1,
        };
        let shifted = if of_moments { shown(zone, micros) } else { moment(zone, micros) };
        shifted.map(Some).ok_or_else(|| exec_datafusion_err!("a timestamp is out of the range of time zones"))
    };
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let micros = times.iter().enumerate().map(|(at, micros)| micros.map_or(Ok(None), |micros| convert(at, micros)));
    let micros: TimestampMicrosecondArray = micros.collect::<Result<_>>()?;
    Ok(Arc::new(micros.with_timezone_opt((!of_moments).then_some(UTC))))
}

fn zone_of(name: &str) -> Result<Tz> {
    if let Ok(zone) = name.parse() {
        return Ok(zone);
    }
    if let Some(zone) = TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name.trim())) {
        return Ok(*zone);
    }
    if name.contains(|c: char| c.is_ascii_digit()) && name.contains(['+', '-', ':']) {
        // PostgreSQL counts '+02:00' to the west here, others to the east.
        return Err(exec_datafusion_err!(
            "`{name}` means hours to the east in some databases and to the west in others: name a time zone, such as 'Europe/Amsterdam' or 'UTC'"
        ));
    }
    let near = nearest(name, TZ_VARIANTS.iter().map(|zone| zone.name()));
    let near = near.map_or_else(String::new, |near| format!(": did you mean '{near}'?"));
    Err(exec_datafusion_err!("there is no time zone `{name}`{near}"))
}

fn naive(micros: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc())
}

fn seconds(offset: &impl Offset) -> i64 {
    i64::from(offset.fix().local_minus_utc())
}

/// What the clock shows at a moment, both in microseconds since 1970.
fn shown(zone: Tz, micros: i64) -> Option<i64> {
    let offset = zone.offset_from_utc_datetime(&naive(micros)?);
    micros.checked_add(seconds(&offset) * 1_000_000)
}

/// The moment at which the clock shows a time. As PostgreSQL does: of a time that is shown twice the second moment, and
/// a time that is left out is counted on from before the gap.
fn moment(zone: Tz, micros: i64) -> Option<i64> {
    let local = naive(micros)?;
    let offset = (0..STEPS).find_map(|step| match zone.offset_from_local_datetime(&(local - STEP * step)) {
        MappedLocalTime::Single(offset) => Some(seconds(&offset)),
        MappedLocalTime::Ambiguous(_, later) => Some(seconds(&later)),
        MappedLocalTime::None => None,
    });
    micros.checked_sub(offset? * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap().and_utc().timestamp_micros()
    }

    #[test]
    fn the_clock_goes_back_and_forth() {
        let zone = zone_of("europe/amsterdam").unwrap();
        for (utc, local) in [
            ("2026-01-05 23:30", "2026-01-06 00:30"),
            ("2026-07-05 22:30", "2026-07-06 00:30"),
            ("2026-03-29 00:59", "2026-03-29 01:59"),
            ("2026-03-29 01:00", "2026-03-29 03:00"),
            ("2026-10-25 01:30", "2026-10-25 02:30"),
            ("1969-12-31 23:30", "1970-01-01 00:30"),
        ] {
            assert_eq!(shown(zone, micros(utc)), Some(micros(local)), "{utc}");
            assert_eq!(moment(zone, micros(local)), Some(micros(utc)), "{local}");
        }
        assert_eq!(shown(zone, micros("2026-10-25 00:30")), Some(micros("2026-10-25 02:30")), "shown twice");
        assert_eq!(moment(zone, micros("2026-03-29 02:30")), Some(micros("2026-03-29 01:30")), "never shown");
        let samoa = zone_of("Pacific/Apia").unwrap();
        assert_eq!(moment(samoa, micros("2011-12-30 12:00")), Some(micros("2011-12-30 22:00")), "a day left out");
    }

    #[test]
    fn what_is_no_zone_is_told() {
        assert!(zone_of("Europe/Amsterdm").unwrap_err().to_string().contains("did you mean 'Europe/Amsterdam'?"));
        assert!(zone_of("+02:00").unwrap_err().to_string().contains("to the west"));
    }
}
