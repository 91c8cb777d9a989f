//! The codes of this crate's diagnostics. `docs/errors.md` says for each what causes it and what mends it.

/// A key of `config(...)` that does not exist.
pub const CONFIG_KEY: &str = "M010";
/// A value of `config(...)` that is none of those allowed, or that contradicts another.
pub const CONFIG_VALUE: &str = "M011";
/// A name that no model, source or table has.
pub const UNKNOWN_NAME: &str = "M012";
/// A short name that several tables have.
pub const AMBIGUOUS: &str = "M013";
/// Models that are made from each other.
pub const CYCLE: &str = "M014";
/// A model that reads its own table without saying `{{ this }}` in an incremental run.
pub const READS_ITSELF: &str = "M015";
/// SQL that does not parse.
pub const SYNTAX: &str = "M016";
/// Columns of the result without a name of their own or with an empty one, or two with the same name.
pub const COLUMN_NAME: &str = "M018";
/// An incremental model whose new rows do not fit its table.
pub const SCHEMA_CHANGE: &str = "M019";
/// Partitions that cannot be made of the model's columns, or that differ from the table's.
pub const PARTITION: &str = "M020";
/// Rows of one run that share a `unique_key`, or a key that the table does not have.
pub const UNIQUE_KEY: &str = "M021";
/// The query stopped over the data: a division by zero, a cast that fails, a sum that overflows.
pub const QUERY_FAILED: &str = "M022";
/// A column described in the `.yml` beside the model that the result does not have, or has with another type.
pub const DECLARED_COLUMN: &str = "M023";
/// A column that a source did not have when it was last asked.
pub const UNKNOWN_COLUMN: &str = "M024";
