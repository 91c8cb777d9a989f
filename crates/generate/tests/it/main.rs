//! The shop's public face.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod defects;
mod determinism;
mod integrity;
mod postgres;
