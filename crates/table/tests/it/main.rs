#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod commit;
mod fixture;
mod growth;
mod model;
mod replay;
mod schema;
mod summary;
mod view;
