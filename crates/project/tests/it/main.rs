//! The loader, from the outside: a folder in, a project and its problems out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod folder;
mod handbook;
mod mistakes;
mod resources;
mod scanning;
