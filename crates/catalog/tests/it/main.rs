#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod flows;
mod simulation;
mod support;
