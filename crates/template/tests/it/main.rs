//! Templates, from the outside: text and names in, SQL and places out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod limits;
mod mistakes;
mod places;
mod rendering;
mod setup;
