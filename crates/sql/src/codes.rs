//! The codes of this crate's diagnostics. `docs/errors.md` says for each what causes it and what mends it.

/// The statement does not parse.
pub const SYNTAX: &str = "S001";
/// No table or view has this name.
pub const UNKNOWN_TABLE: &str = "S002";
/// No column has this name, or more than one has.
pub const COLUMN: &str = "S003";
/// The statement parses, but cannot be planned: types that do not go together, functions that are not there.
pub const PLAN: &str = "S004";
/// A statement that would change something: `sql` only reads.
pub const NOT_A_QUERY: &str = "S005";
/// A version of a table (`AT BRANCH`, `FOR VERSION AS OF`, …) that is not there or not written as one.
pub const VERSION: &str = "S006";
/// A view that cannot be read any more.
pub const VIEW: &str = "S007";
/// A file that cannot be queried.
pub const FILE: &str = "S008";
/// A value that cannot be computed: the rows are not what the statement needs.
pub const VALUE: &str = "S009";
/// A policy for a table that there cannot be.
pub const POLICY_TABLE: &str = "S020";
/// A policy whose filter or mask is no SQL expression.
pub const POLICY_EXPRESSION: &str = "S021";
/// A policy that does not fit its table: a column is not there, or has another type.
pub const POLICY_MISFIT: &str = "S022";
