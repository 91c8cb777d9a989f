//! Prolly trees: search trees whose nodes end where a hash of the key says so.
//!
//! Equal content has equal nodes whatever the order of edits, so trees are compared by the names of their nodes; an
//! edit rewrites the nodes on the way to it, and few beside.

mod diff;
mod edit;
mod node;
mod read;
#[cfg(test)]
mod tests;

pub(crate) use diff::{Difference, diff, new_nodes};
pub(crate) use edit::{Edits, edit};
pub(crate) use node::{Key, Node, Value};
pub(crate) use read::{get, list};
