//! Rows of a statement: as a table for people, or in a format for programs.

mod grid;
mod records;
mod sink;

pub use grid::{Grid, GridOptions, texts};
pub use sink::{RowSink, format_of};
