//! Files: on this machine, in a bucket, on a web server.

mod discover;
mod find;
mod held;
mod open;
mod remote;
pub mod step;

pub use discover::{Discovery, discover, nulls};
pub use find::{Place, SourceFile, find_files};
pub use held::still_there;
pub use open::{FETCH_AGAIN, collision, is_compressed, open, read_error};
pub use remote::{Remote, RemoteReader, range, s3_options};
