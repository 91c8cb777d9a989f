//! Iceberg tables as files: metadata, manifests, snapshots, and the commits that make new ones.
//!
//! This crate alone names `iceberg`; everybody else takes the specification's types from [`spec`]. It knows no Arrow and
//! no refs: a commit here turns one metadata file into another, and says where it lies. Who points at it is the
//! catalog's business.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod avro;
mod commit;
mod draft;
mod error;
mod evolution;
mod io;
mod merge;
mod metadata;
mod property;
mod replay;
mod summary;
mod view;

/// The types of the Iceberg specification.
pub mod spec {
    pub use iceberg::spec::*;
}

pub use commit::{Committed, Operation, Replay};
pub use error::TableError;
pub use io::{DataFileInfo, TableIo};
pub use view::{CommittedView, DIALECT, ViewDefinition, view_definition};

pub type Result<T, E = TableError> = std::result::Result<T, E>;
