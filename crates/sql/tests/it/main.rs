//! The public face of `polder-sql`, over a small lake in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture;
mod kept;
mod limits;
mod names;
mod numbers;
mod plans;
mod policies;
mod slt;
mod system;
mod travel;
mod words;
