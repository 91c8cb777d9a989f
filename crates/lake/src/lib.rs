//! The physical side of the lake: Iceberg tables as DataFusion sees them. Scans with pruning, Parquet writing, schema
//! conversion, caches, and the branch that a run writes to.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cast;
mod error;
mod evolve;
mod lake;
mod merge;
mod quarantine;
mod scan;
mod schema;
mod transform;
mod value;
mod warehouse;
mod workspace;
mod write;

pub use error::LakeError;
pub use evolve::{Evolution, SchemaChange, evolve};
pub use lake::{Lake, LakeOptions};
pub use merge::{Duplicates, Merge, Merged, NullKeys};
pub use quarantine::{Quarantine, SetAside, quarantine_of, quarantine_schema};
pub use scan::LakeTable;
pub use schema::{COMMENT, from_arrow, sql_type_name, sql_type_name_of_arrow, to_arrow};
pub use workspace::Workspace;
pub use write::{WriteTarget, Written};

pub type Result<T, E = LakeError> = std::result::Result<T, E>;
