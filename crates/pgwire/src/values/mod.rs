//! Values as PostgreSQL writes and reads them, as text and in binary.

mod array;
mod column;
mod list;
mod number;
mod parameter;
mod time;

pub(crate) use column::Rows;
pub(crate) use parameter::value;
