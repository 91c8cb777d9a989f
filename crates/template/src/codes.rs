//! The codes of this crate's diagnostics. `docs/errors.md` says for each what causes it and what mends it.

/// A template that Jinja cannot parse.
pub const SYNTAX: &str = "M001";
/// A variable that is not defined.
pub const UNDEFINED: &str = "M002";
/// A function, macro, filter or test that does not exist.
pub const UNKNOWN_FUNCTION: &str = "M003";
/// Arguments that a function or macro does not take.
pub const ARGUMENTS: &str = "M004";
/// `var('name')` without a value and without a default.
pub const UNKNOWN_VAR: &str = "M005";
/// A template that goes on and on.
pub const LIMIT: &str = "M006";
/// `env_var`, which models may not read.
pub const ENV_VAR: &str = "M007";
/// Anything else that stops a template.
pub const FAILED: &str = "M008";
/// A file below `macros/` with something besides macros, or two macros of one name.
pub const MACRO: &str = "M009";
