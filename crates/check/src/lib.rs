//! Checks: statements that must hold for a table, tested on the branch of a run before anybody sees its rows.
//!
//! All rules of a table that ask about single rows, counts and ages are answered by one scan; uniqueness, references
//! to other tables and free queries have one each.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod accept;
mod aside;
pub mod codes;
mod compile;
mod query;
mod render;
mod rule;
mod sample;
mod step;
mod text;

pub use accept::overruled;
pub use aside::{Decision, set_aside};
pub use compile::{CheckSet, CompileContext, Compiled, compile};
pub use step::CheckStep;
