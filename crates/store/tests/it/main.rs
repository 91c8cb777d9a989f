#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod disk;
mod sqlite;
mod state;
mod storage;
