//! Whole runs over small projects: real files, real state, real tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bisect;
mod changes;
mod checks;
mod files;
mod hazards;
mod held;
mod history;
mod incremental;
mod pipelines;
mod policies;
mod publish;
mod resume;
mod runs;
mod s3;
mod set_aside;
mod support;
