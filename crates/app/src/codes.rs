//! The codes of this crate's diagnostics. `docs/errors.md` says for each what causes it and what mends it.

/// A selection that chooses nothing, or is not written as one.
pub const SELECTION: &str = "R001";
/// No ref, commit or time of this name.
pub const UNKNOWN_REF: &str = "R002";
/// Another run is writing one of the tables.
pub const CLAIMED: &str = "R003";
/// No run of this number, or one that cannot be taken up again.
pub const NO_RUN: &str = "R004";
/// The run is being executed by another process.
pub const RUNNING: &str = "R005";
/// Two sides changed one table or cursor in ways that do not go together.
pub const CONFLICT: &str = "R006";
/// A table that is not there.
pub const UNKNOWN_TABLE: &str = "R007";
/// What was asked for does not apply: a tag as the target of a run, a branch that exists already, ….
pub const REFUSED: &str = "R008";
/// `polder init` into a folder that has a project or other files, or that lies in a project.
pub const NOT_EMPTY: &str = "R009";
/// An example that does not exist.
pub const UNKNOWN_EXAMPLE: &str = "R010";
/// A held run that is to be published without a reason.
pub const NO_REASON: &str = "R012";
/// A role that no policy names.
pub const UNKNOWN_ROLE: &str = "R011";
/// A server of the project goes on.
pub const SERVED: &str = "R020";
/// The port that a door was told to listen at is taken, or may not be used.
pub const PORT: &str = "R021";
/// A pipeline that does not exist.
pub const UNKNOWN_PIPELINE: &str = "R030";
/// The due run of a pipeline was begun, or ended, by another server.
pub const SLOT_TAKEN: &str = "R031";
/// A source that does not exist.
pub const UNKNOWN_SOURCE: &str = "R032";
