//! The files of a project folder: which there are, what kind each is, and their text.

mod place;
mod scan;
mod stamp;

pub(crate) use place::Kind;
pub use place::{SETTINGS, is_of_policies};
pub(crate) use scan::{Files, has_settings, overlay, scan};
pub use stamp::stamp;
