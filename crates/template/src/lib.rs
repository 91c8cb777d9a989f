//! Jinja for SQL: `ref`, `source`, `var`, `config`, `is_incremental`, `this` and macros, with maps from the rendered
//! text back into the file that the person wrote.
//!
//! Rendering is pure and bounded: no clock, no files, no environment; fuel and recursion are limited. What a name means
//! is asked of the caller ([`Names`]); what `config(…)` was given is handed out as it is.
//!
//! How the map is made: the template's tokens are written out again with a mark before each piece of text that goes
//! straight to the output, and with the number of the call in front of the arguments of `ref`, `source`, `var` and
//! `config`. The marks are taken out of the rendered text, and say where what follows them came from. Text inside of
//! `{% set %}`, `{% macro %}`, `{% call %}` and `{% filter %}` blocks stays free of marks, since templates compute with
//! it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod codes;
mod functions;
mod instrument;
mod macros;
mod map;
mod problem;
mod render;

pub use functions::{ConfigValue, Reference, Target};
pub use map::SpanMap;
pub use render::{Names, Rendered, Template, Templates};
