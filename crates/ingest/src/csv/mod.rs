//! CSV files.

mod convert;
mod read;
mod sample;
mod split;

pub use convert::CsvColumn;
pub use read::{CsvInput, CsvPlan, oversized, read};
pub use sample::{CsvSample, sample};
pub use split::Dialect;
