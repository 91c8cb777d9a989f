//! Files on this machine.

mod discover;
mod find;
mod held;
mod open;
pub mod step;

pub use discover::{Discovery, discover, nulls};
pub use find::{SourceFile, find_files};
pub use held::still_there;
pub use open::{FETCH_AGAIN, collision, is_compressed, open, read_error};
