//! Values written as text: how they are read, and how their types are found.

pub mod discover;
pub mod value;
