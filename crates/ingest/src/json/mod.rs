//! JSON-lines files.

mod build;
mod parse;
mod read;
mod shape;

pub use read::{JsonColumn, JsonInput, JsonPlan, read, sample};
pub use shape::Shape;
