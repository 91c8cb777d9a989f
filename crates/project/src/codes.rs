//! The codes of this crate's diagnostics. `docs/errors.md` says for each what causes it and what mends it.

/// A file cannot be read: missing rights, not text, too big.
pub const UNREADABLE: &str = "P001";
/// A file is not YAML.
pub const SYNTAX: &str = "P002";
/// A key that the file's kind does not have.
pub const UNKNOWN_KEY: &str = "P003";
/// A key that must be there is not.
pub const MISSING_KEY: &str = "P004";
/// A value of the wrong type, or outside of what is allowed.
pub const VALUE: &str = "P005";
/// One key twice in a mapping.
pub const DUPLICATE_KEY: &str = "P006";
/// `${env:NAME}` names a variable that is not set, or a substitution is not written as one.
pub const SUBSTITUTION: &str = "P007";
/// `${secret:name}`, which this version cannot resolve.
pub const SECRET: &str = "P008";
/// There is no `polder.yaml`.
pub const NO_PROJECT: &str = "P009";
/// The project was written for a newer Polder.
pub const NEWER: &str = "P010";
/// A name that cannot be a table's or source's.
pub const NAME: &str = "P011";
/// Two definitions of one table.
pub const DUPLICATE: &str = "P012";
/// A table that neither a source nor a model makes.
pub const UNKNOWN_TABLE: &str = "P013";
/// A file that nothing reads.
pub const STRAY_FILE: &str = "P014";
/// Keys that contradict each other, or none of those of which one is needed.
pub const CONFLICT: &str = "P015";
/// A line of `.env` that is no assignment.
pub const ENV_FILE: &str = "P016";
/// A description of a model or column that is not there.
pub const UNKNOWN_MODEL: &str = "P017";
/// Something that this version of Polder does not do yet.
pub const UNSUPPORTED: &str = "P018";
/// A file with nothing in it.
pub const EMPTY: &str = "P019";
/// An environment that `polder.yaml` does not have.
pub const UNKNOWN_ENVIRONMENT: &str = "P020";
/// An environment that overrides a source which is not there.
pub const UNKNOWN_SOURCE: &str = "P021";
/// `polder.lock` is not as Polder writes it.
pub const LOCK: &str = "P022";
