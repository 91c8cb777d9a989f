//! A diagnostic as a terminal shows it, and as a program reads it.

mod json;
mod snippet;
mod text;

#[cfg(test)]
mod tests;

pub use json::render_json;
pub use text::render_text;
