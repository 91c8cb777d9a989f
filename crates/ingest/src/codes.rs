//! The codes of this crate's diagnostics. `docs/errors.md` says for each what causes it and what mends it.

/// No file matches a pattern, or it is none.
pub const NO_FILE: &str = "I001";
/// A file is damaged or cut off.
pub const DAMAGED: &str = "I004";
/// A file is not what its stream says.
pub const WRONG_FORMAT: &str = "I005";
/// Two columns become one once normalised.
pub const COLLISION: &str = "I006";
/// A column has a name of Polder's own.
pub const RESERVED: &str = "I007";
/// A declared type that there is not.
pub const UNKNOWN_TYPE: &str = "I008";
/// A declared column, or one of the key, that the source does not have.
pub const UNKNOWN_COLUMN: &str = "I009";
/// More records were rejected than allowed.
pub const TOO_MANY_REJECTED: &str = "I010";
/// A column's type is not what the table has.
pub const TYPE_CHANGED: &str = "I011";
/// A type that no table can hold.
pub const NO_PLACE: &str = "I012";
/// The table's rows came in another way than the stream reads now.
pub const FILLED_OTHERWISE: &str = "I013";
/// A file has nothing in it any more, and its rows would go.
pub const EMPTIED: &str = "I014";
/// Rows that cannot be put into their table.
pub const UNFIT: &str = "I015";
/// The address of a PostgreSQL source cannot be read.
pub const ADDRESS: &str = "I020";
/// PostgreSQL cannot be entered.
pub const LOGIN: &str = "I021";
/// PostgreSQL has no such table.
pub const UNKNOWN_TABLE: &str = "I022";
/// The cursor column is not in the table.
pub const UNKNOWN_CURSOR: &str = "I023";
/// The user may not read the table.
pub const PERMISSION: &str = "I024";
/// A column that cannot be a cursor, or another one than before.
pub const NO_CURSOR: &str = "I025";
/// Rows have no usable value in the cursor column.
pub const CURSOR_UNUSABLE: &str = "I026";
/// Rows at the cursor's last value cannot be told from new ones.
pub const BOUNDARY: &str = "I027";
/// A lag that does not go with the cursor's type.
pub const LAG: &str = "I028";
