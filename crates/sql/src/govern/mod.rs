//! Policies, applied where names resolve.
//!
//! A governed table is a table provider of its own: its rows are masks over the row filter over the table, planned and
//! run apart from the statement, and its scan is a leaf to the statement's plan. So there is nothing for an optimiser to
//! push a predicate into: what it offers is taken only when it cannot fail ([`harmless`]), or `1/(salary-100) = 0`
//! would tell about rows that the filter hides. `EXPLAIN` ends at the leaf, and so do statistics.

mod apply;
mod barrier;
mod governance;
mod harmless;
mod idle;
mod table;

pub(crate) use apply::apply;
pub use apply::check_policies;
pub(crate) use barrier::BarrierExec;
pub(crate) use governance::Governance;
pub(crate) use harmless::compares;
pub(crate) use table::GovernedTable;
