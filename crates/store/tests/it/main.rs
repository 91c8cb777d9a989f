#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod disk;
mod proxy;
mod s3;
mod sqlite;
mod state;
mod storage;
