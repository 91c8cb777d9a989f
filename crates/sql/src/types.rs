//! SQL types and Arrow types: what a cast gives, what a statement may return, and how types are called.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::sql::sqlparser::ast::{DataType as SqlType, ExactNumberInfo, TimezoneInfo};

/// The zone of every time that has one: sessions are in UTC.
pub(crate) const UTC: &str = "UTC";

pub(crate) fn timestamp(zone: bool) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zone.then(|| UTC.into()))
}

/// SQL types that DataFusion takes otherwise than tables do: times are in microseconds.
#[derive(Debug)]
pub(crate) struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let data_type = match sql_type {
            SqlType::Timestamp(_, zone) => timestamp(matches!(zone, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone)),
            SqlType::TimestampNtz { .. } | SqlType::Datetime(_) => timestamp(false),
            SqlType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                DataType::Time64(TimeUnit::Microsecond)
            }
            SqlType::Int64 => DataType::Int64,
            SqlType::Int32 => DataType::Int32,
            SqlType::Float64 => DataType::Float64,
            SqlType::Float32 => DataType::Float32,
            SqlType::HugeInt => DataType::Decimal128(38, 0),
            SqlType::Numeric(ExactNumberInfo::None) | SqlType::Decimal(ExactNumberInfo::None) => {
                DataType::Decimal128(38, 10)
            }
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}

/// The type that stands for a type in results and tables: there are no unsigned integers, and no times but in
/// microseconds. `None`: it stands for itself.
fn result_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::UInt8 | DataType::UInt16 | DataType::Int8 | DataType::Int16 => Some(DataType::Int32),
        DataType::UInt32 | DataType::UInt64 => Some(DataType::Int64),
        DataType::Timestamp(TimeUnit::Microsecond, _) => None,
        DataType::Timestamp(_, zone) => Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone())),
        DataType::Time32(_) | DataType::Time64(TimeUnit::Nanosecond) => Some(DataType::Time64(TimeUnit::Microsecond)),
        DataType::Date64 => Some(DataType::Date32),
        _ => None,
    }
}

/// Casts the columns of a query whose types no table has (`row_number()` counts in UBIGINT, `to_timestamp` in
/// nanoseconds). A value that does not fit is an error.
pub(crate) fn with_result_types(plan: LogicalPlan) -> Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    if schema.fields().iter().all(|field| result_type(field.data_type()).is_none()) {
        return Ok(plan);
    }
    let columns = schema.iter().map(|(qualifier, field)| {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        match result_type(field.data_type()) {
            Some(to) => cast(column, to).alias_qualified(qualifier.cloned(), field.name()),
            None => column,
        }
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}
