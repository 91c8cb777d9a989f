//! Who may see what: pure decisions from the project's policies. Nothing here reads a table or plans a query; `sql`
//! applies what is decided.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod bindings;
mod decision;
mod policies;
mod principal;

pub use bindings::Bindings;
pub use decision::{Decision, RowFilter};
pub use polder_project::{Mask, Policy, PolicyPlaces};
pub use policies::{BroadMasks, Policies};
pub use principal::Principal;
