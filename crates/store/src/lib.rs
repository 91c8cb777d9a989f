//! Where bytes are kept: the *warehouse* (files: data, Iceberg metadata, bundles) and the *state store* (small records
//! that change together: refs, objects, claims, leases, runs).
//!
//! Both are traits, so that the simulation can stop a process between any two operations. Nothing here knows what the
//! bytes mean.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod disk;
mod error;
mod memory;
mod remote;
mod s3;
mod sqlite;
mod state;
mod warehouse;

pub use disk::LocalDisk;
pub use error::{MEND_STATE, StoreError};
pub use memory::{MemoryState, MemoryStorage};
pub use remote::remote_store;
pub use s3::{Bucket, BucketObject, ByteStream, S3Location, S3Options, S3Storage, Secret};
pub use sqlite::SqliteState;
pub use state::{Batch, Expect, Key, Outcome, Space, State, Write};
pub use warehouse::{ObjectInfo, Storage, Upload, Warehouse};

pub type Result<T, E = StoreError> = std::result::Result<T, E>;
