//! Object storage that speaks the protocol of Amazon S3: S3 itself, MinIO, Ceph, R2, …
//!
//! Ours is who may write what, and when a write counts as done; requests, signatures and retries are `object_store`'s.

mod bucket;
mod conditional;
mod credentials;
mod error;
mod options;
mod storage;
mod upload;

pub(crate) use bucket::as_slow_as_read;
pub use bucket::{Bucket, BucketObject, ByteStream};
pub use options::{S3Location, S3Options, Secret};
pub use storage::S3Storage;
