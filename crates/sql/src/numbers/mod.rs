//! Numbers that people can trust: an overflow is an error, never a wrapped number, and what is rounded is rounded as
//! people do it.
//!
//! DataFusion computes `+`, `-`, `*` and `-x` of integers modulo 2^n, also when it folds constants, and `sum` too. An
//! analyzer rule puts checked functions in place of the operators once types are settled, so that every later use of
//! the expression (folding, pushdown, execution) is checked; `sum` is registered anew.

mod arithmetic;
mod average;
mod casts;
mod division;
mod median;
mod quotient;
mod rule;
mod sum;
mod unary;

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{ReturnFieldArgs, ScalarUDFImpl};

pub(crate) use average::RoundedAvg;
pub(crate) use casts::WrittenCasts;
pub(crate) use division::DivisionPlanner;
pub(crate) use median::ExactMedian;
pub(crate) use rule::CheckedNumbers;
pub(crate) use sum::CheckedSum;

/// What a function gives that is NULL where one of its arguments is, and nowhere else.
pub(crate) fn strict_field(function: &dyn ScalarUDFImpl, args: &ReturnFieldArgs) -> Result<FieldRef> {
    let types: Vec<_> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
    let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
    Ok(Arc::new(Field::new(function.name(), function.return_type(&types)?, nullable)))
}
