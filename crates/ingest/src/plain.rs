//! Columns of plain values that grow value by value.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int32Builder, Int64Builder, StringBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;

use crate::types::UTC;

/// The values of a column of one of the types that a table has but for lists and structs.
#[derive(Debug)]
pub enum Plain {
    Boolean(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
}

macro_rules! of_each {
    ($values:expr, $builder:ident => $result:expr) => {
        match $values {
            Self::Boolean($builder) => $result,
            Self::Int32($builder) => $result,
            Self::Int64($builder) => $result,
            Self::Float32($builder) => $result,
            Self::Float64($builder) => $result,
            Self::Decimal($builder) => $result,
            Self::Date($builder) => $result,
            Self::Time($builder) => $result,
            Self::Timestamp($builder) => $result,
            Self::Text($builder) => $result,
            Self::Bytes($builder) => $result,
        }
    };
}

impl Plain {
    /// Of a type that it does not know, the text.
    pub fn new(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Int32 => Self::Int32(Int32Builder::new()),
            DataType::Int64 => Self::Int64(Int64Builder::new()),
            DataType::Float32 => Self::Float32(Float32Builder::new()),
            DataType::Float64 => Self::Float64(Float64Builder::new()),
            DataType::Decimal128(..) => Self::Decimal(Decimal128Builder::new().with_data_type(data_type.clone())),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::Time64(_) => Self::Time(Time64MicrosecondBuilder::new()),
            DataType::Timestamp(_, zone) => {
                let zone = zone.as_ref().map(|_| UTC);
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_timezone_opt(zone))
            }
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            _ => Self::Text(StringBuilder::new()),
        }
    }

    pub fn len(&self) -> usize {
        of_each!(self, builder => builder.len())
    }

    pub fn append_null(&mut self) {
        of_each!(self, builder => builder.append_null());
    }

    pub fn finish(self) -> ArrayRef {
        of_each!(self, builder => {
            let mut builder = builder;
            Arc::new(builder.finish())
        })
    }
}
