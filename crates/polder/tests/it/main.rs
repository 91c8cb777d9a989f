//! The built program over the example projects: what a person types, and what comes back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod basics;
mod fixture;
mod history;
mod mistakes;
mod runs;
mod sql;
