//! YAML with places: a file becomes a tree of [`Node`]s, and [`Decode`] turns the tree into the raw form of a kind,
//! gathering every problem on the way instead of stopping at the first.

mod decode;
mod node;
mod raw;
mod substitute;

pub(crate) use decode::{At, Decode, Entries, Fields, Problems, Scalar, list};
pub(crate) use node::{Entry, Node, Value, parse};
pub(crate) use raw::{plain, raw};
pub(crate) use substitute::{Environment, substitute};
