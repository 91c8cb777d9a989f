//! The built program over the example projects: what a person types, and what comes back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod basics;
mod changes;
mod crash;
mod fixture;
mod full_disk;
mod generate;
mod held;
mod history;
mod mistakes;
mod readme;
mod runs;
mod s3;
mod screen;
mod serving;
mod signals;
mod sources;
mod sql;
mod terminal;
mod wrong_input;
