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

pub(crate) use average::RoundedAvg;
pub(crate) use casts::WrittenCasts;
pub(crate) use division::DivisionPlanner;
pub(crate) use median::ExactMedian;
pub(crate) use rule::CheckedNumbers;
pub(crate) use sum::CheckedSum;
