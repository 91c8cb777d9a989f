//! Single values between Iceberg, Arrow and DataFusion.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use polder_table::spec::{Datum, Literal, PrimitiveLiteral, PrimitiveType, Type};

use crate::schema::primitive_to_arrow_top;

/// An Iceberg value as DataFusion has it, in the type that a column of this Iceberg type has in scans. `None`: the value
/// does not belong to the type, or stands for no value (`AboveMax`).
pub(crate) fn to_scalar(literal: &PrimitiveLiteral, primitive: &PrimitiveType) -> Option<ScalarValue> {
    let data_type = primitive_to_arrow_top(primitive).ok()?;
    let scalar = match (literal, &data_type) {
        (PrimitiveLiteral::Boolean(v), DataType::Boolean) => ScalarValue::Boolean(Some(*v)),
        (PrimitiveLiteral::Int(v), DataType::Int32) => ScalarValue::Int32(Some(*v)),
        (PrimitiveLiteral::Int(v), DataType::Int64) => ScalarValue::Int64(Some(i64::from(*v))),
        (PrimitiveLiteral::Int(v), DataType::Date32) => ScalarValue::Date32(Some(*v)),
        (PrimitiveLiteral::Long(v), DataType::Int64) => ScalarValue::Int64(Some(*v)),
        (PrimitiveLiteral::Long(v), DataType::Time64(_)) => ScalarValue::Time64Microsecond(Some(*v)),
        (PrimitiveLiteral::Long(v), DataType::Timestamp(unit, zone)) => match unit {
            datafusion::arrow::datatypes::TimeUnit::Nanosecond => {
                ScalarValue::TimestampNanosecond(Some(*v), zone.clone())
            }
            _ => ScalarValue::TimestampMicrosecond(Some(*v), zone.clone()),
        },
        (PrimitiveLiteral::Float(v), DataType::Float32) => ScalarValue::Float32(Some(v.0)),
        (PrimitiveLiteral::Float(v), DataType::Float64) => ScalarValue::Float64(Some(f64::from(v.0))),
        (PrimitiveLiteral::Double(v), DataType::Float64) => ScalarValue::Float64(Some(v.0)),
        (PrimitiveLiteral::Int128(v), DataType::Decimal128(precision, scale)) => {
            ScalarValue::Decimal128(Some(*v), *precision, *scale)
        }
        (PrimitiveLiteral::String(v), DataType::Utf8View) => ScalarValue::Utf8View(Some(v.clone())),
        (PrimitiveLiteral::UInt128(v), DataType::FixedSizeBinary(size)) => {
            ScalarValue::FixedSizeBinary(*size, Some(v.to_be_bytes().to_vec()))
        }
        (PrimitiveLiteral::Binary(v), DataType::FixedSizeBinary(size)) => {
            ScalarValue::FixedSizeBinary(*size, Some(v.clone()))
        }
        (PrimitiveLiteral::Binary(v), DataType::BinaryView) => ScalarValue::BinaryView(Some(v.clone())),
        _ => return None,
    };
    Some(scalar)
}

/// A default value of the schema; nested ones are not supported by any writer that we know of, and are `None`.
pub(crate) fn default_to_scalar(literal: &Literal, field_type: &Type) -> Option<ScalarValue> {
    match (literal, field_type) {
        (Literal::Primitive(literal), Type::Primitive(primitive)) => to_scalar(literal, primitive),
        _ => None,
    }
}

/// A bound of a data file, as a column of type `primitive` has it: the file may be older than a promotion.
pub(crate) fn bound_to_scalar(bound: &Datum, primitive: &PrimitiveType) -> Option<ScalarValue> {
    match (bound.data_type(), primitive) {
        // A wider decimal of the same scale has the same unscaled values.
        (PrimitiveType::Decimal { scale: from, .. }, PrimitiveType::Decimal { scale: to, .. }) if from != to => None,
        _ => to_scalar(bound.literal(), primitive),
    }
}

/// The value of a partition field, of an array's element as a scalar.
pub(crate) fn to_literal(scalar: &ScalarValue) -> Option<Literal> {
    let primitive = match scalar {
        ScalarValue::Boolean(v) => PrimitiveLiteral::Boolean((*v)?),
        ScalarValue::Int32(v) | ScalarValue::Date32(v) => PrimitiveLiteral::Int((*v)?),
        ScalarValue::Int64(v)
        | ScalarValue::Time64Microsecond(v)
        | ScalarValue::TimestampMicrosecond(v, _)
        | ScalarValue::TimestampNanosecond(v, _) => PrimitiveLiteral::Long((*v)?),
        ScalarValue::Float32(v) => return Some(Literal::float((*v)?)),
        ScalarValue::Float64(v) => return Some(Literal::double((*v)?)),
        ScalarValue::Decimal128(v, _, _) => PrimitiveLiteral::Int128((*v)?),
        ScalarValue::Utf8(v) | ScalarValue::LargeUtf8(v) | ScalarValue::Utf8View(v) => {
            PrimitiveLiteral::String(v.clone()?)
        }
        ScalarValue::Binary(v) | ScalarValue::LargeBinary(v) | ScalarValue::BinaryView(v) => {
            PrimitiveLiteral::Binary(v.clone()?)
        }
        ScalarValue::FixedSizeBinary(_, v) => PrimitiveLiteral::Binary(v.clone()?),
        _ => return None,
    };
    Some(Literal::Primitive(primitive))
}

/// As [`to_literal`], for a column of a known type: a UUID is a number to Iceberg.
pub(crate) fn to_typed_literal(scalar: &ScalarValue, field_type: &Type) -> Option<Literal> {
    match (to_literal(scalar)?, field_type) {
        (Literal::Primitive(PrimitiveLiteral::Binary(bytes)), Type::Primitive(PrimitiveType::Uuid)) => {
            Some(Literal::Primitive(PrimitiveLiteral::UInt128(u128::from_be_bytes(bytes.try_into().ok()?))))
        }
        (literal, _) => Some(literal),
    }
}
