//! The codes of this crate's diagnostics. `docs/errors.md` says for each what causes it and what mends it.

/// A column that the checked table does not have.
pub const UNKNOWN_COLUMN: &str = "C001";
/// An expression or query of a check that is not valid SQL, or does not fit the table.
pub const INVALID: &str = "C002";
/// A check that could not be computed: a division by zero, a cast that fails.
pub const FAILED: &str = "C003";
/// A table that a check refers to and nothing makes.
pub const UNKNOWN_TABLE: &str = "C004";
