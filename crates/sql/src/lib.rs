//! SQL: sessions, planning, policy. [`Session`] is the only way to run SQL in Polder.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod catalogue;
pub mod codes;
mod compared;
mod context;
mod describe;
mod elsewhere;
mod engine;
mod error;
mod expressions;
mod files;
mod functions;
mod govern;
mod json;
mod kept;
mod limit;
mod local_time;
mod membership;
mod message;
mod numbers;
mod planned;
mod prepared;
mod refused;
mod resolve;
mod scanned;
mod seconds;
mod session;
mod statement;
mod stopping;
mod summarize;
mod system;
mod type_name;
mod types;
mod value;
mod workbench;
mod zone;

pub use catalogue::Function;
pub use datafusion::arrow::datatypes::DataType;
pub use datafusion::common::ScalarValue;
pub use engine::{Engine, Limits};
pub use error::SqlError;
pub use govern::check_policies;
pub use json::json_values;
pub use message::of_execution as execution_message;
pub use polder_govern::Principal;
pub use prepared::Prepared;
pub use scanned::{ScannedTable, is_volatile, normalised_plan, scanned_tables};
pub use session::{QueryResult, Session, SessionOptions, search_order};
pub use statement::{FILE, Reference, references, system_references, table_references};
pub use system::{is_system_table, system_tables};
pub use type_name::type_name;
pub use value::value_of_text;
pub use zone::by_offset;

pub type Result<T, E = SqlError> = std::result::Result<T, E>;
