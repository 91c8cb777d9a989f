//! The lake against a real catalog on a real disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod evolution;
mod merging;
mod pruning;
mod reading;
mod round_trip;
mod statistics;
mod support;
mod writing;
