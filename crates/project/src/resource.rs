//! The resolved resources of a project: what the rest of Polder works with. Raw forms, with their spans, are in the
//! module of each kind.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

pub use polder_base::Publish;
use polder_base::TableName;
use polder_diag::{Sources, Span};

use crate::lock::{Lock, LockedTable};
use crate::names::Tables;
use crate::pipeline::schedule::Schedule;

/// Everything that a project folder declares. Broken files are missing here and told in the diagnostics.
#[derive(Debug, Clone, Default)]
pub struct Project {
    pub name: String,
    pub settings: Settings,
    pub sources: Vec<Source>,
    pub models: Vec<Model>,
    pub checks: Vec<TableChecks>,
    /// SQL files that give the rows that break a rule (`checks/*.sql`).
    pub sql_checks: Vec<SqlCheck>,
    pub policies: Vec<Policy>,
    /// Something below `policies/` is not read or not understood: what it would hide is not known, so nobody may look.
    pub policies_broken: bool,
    pub pipelines: Vec<Pipeline>,
    /// `polder.lock`; empty where there is none.
    pub lock: Lock,
    /// Jinja files with macros, `macros/**/*.sql`.
    pub macros: Vec<MacroFile>,
    /// The tables that sources and models define.
    pub tables: Tables,
    /// Where each described model is described.
    pub described: BTreeMap<TableName, Span>,
    /// Text of all files, for diagnostics and for the run's record of the project. Never `.env`.
    pub files: Sources,
}

/// `polder.yaml`, with the chosen environment applied.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Folder of state and warehouse; relative to the project. Default `.polder`.
    pub home: Option<String>,
    /// The warehouse, `s3://bucket/prefix`. Unless set, a folder of `home`.
    pub warehouse: Option<String>,
    /// How object storage is reached: that of the warehouse, and of sources that say nothing else.
    pub s3: S3Settings,
    /// Values for `var('name')`.
    pub vars: BTreeMap<String, serde_json::Value>,
    /// Steps that run at once. Default: the number of cores, 2 at least.
    pub concurrency: Option<usize>,
    /// Bytes that queries and writers may hold before they spill. Default: half of the machine's memory.
    pub memory_limit_bytes: Option<u64>,
    /// How long history is kept. Default: 30 days.
    pub retention_seconds: Option<u64>,
    /// Schema of models that lie directly in `models/`. Default `gold`.
    pub default_namespace: Option<String>,
    /// What a run publishes when something in it goes wrong. Default: nothing.
    pub publish: Option<Publish>,
    /// The environment whose overrides are in here.
    pub environment: Option<String>,
    /// Where `polder up` listens.
    pub doors: Doors,
}

/// `doors:` of `polder.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doors {
    pub postgres: Listen,
    pub http: Listen,
    pub tokens: Tokens,
}

/// Where a door listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Listen {
    /// At its usual port of this machine alone, or the next that is free.
    #[default]
    Usual,
    At(SocketAddr),
    Off,
}

/// Who is asked for a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tokens {
    /// Whoever comes through a door that can be reached from other machines.
    #[default]
    Remote,
    Always,
}

/// How object storage is reached. What is not set comes from where AWS's own tools look for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Settings {
    /// The URL of a store that is not Amazon's.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// Unless set, where there is an endpoint.
    pub path_style: Option<bool>,
    /// Without encryption, beyond this machine too.
    pub allow_http: bool,
    /// A profile of `~/.aws/config`.
    pub profile: Option<String>,
    /// An access key and its secret.
    pub access_key: Option<(String, Hidden)>,
    /// Requests are not signed.
    pub anonymous: bool,
    /// For one request.
    pub timeout_seconds: Option<u64>,
    /// For all tries of one request.
    pub retry_seconds: Option<u64>,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// A system that data comes from: one file below `sources/`.
#[derive(Debug, Clone)]
pub struct Source {
    pub name: String,
    pub connection: Connection,
    pub streams: Vec<Stream>,
    pub span: Span,
}

#[derive(Clone)]
pub enum Connection {
    /// A libpq URL (`postgres://user:password@host/db?sslmode=…`), environment already substituted.
    Postgres { url: String },
    /// Files; each stream has its own pattern.
    Files,
}

impl std::fmt::Debug for Connection {
    /// Without the address, which holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Postgres { .. } => "Postgres",
            Self::Files => "Files",
        })
    }
}

/// One table, file or set of files of a source, and the bronze table that it fills.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The name in the source: `orders`, `public.orders`.
    pub name: String,
    /// Where its rows land.
    pub table: TableName,
    pub read: ReadMode,
    /// Declared types by normalised column name: they win over what reading finds.
    pub columns: BTreeMap<String, ColumnSpec>,
    /// Columns that identify a row; rows with a known key replace the earlier ones.
    pub key: Vec<String>,
    /// Records that may be rejected before the run stops. 0 unless set.
    pub max_rejected: u64,
    /// What it had when it was last asked, as `polder.lock` says.
    pub locked: Option<Arc<LockedTable>>,
    pub span: Span,
}

#[derive(Debug, Clone)]
pub enum ReadMode {
    /// All rows each time: the table is replaced.
    Full,
    /// Rows whose cursor column is beyond the one seen last, or behind it by `lag` at most.
    Incremental { cursor: String, lag: Option<Lag> },
    /// Files that match a pattern.
    Files(FileStream),
}

/// How far behind its cursor a read begins, because rows may be committed late. Greater than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// For a cursor that is a time.
    Seconds(u64),
    /// For a cursor that is a number.
    Values(u64),
}

#[derive(Debug, Clone)]
pub struct FileStream {
    /// A path or glob relative to the project, or absolute; `s3://bucket/…`, with wildcards too; or the address of one
    /// file, `https://…`.
    pub pattern: String,
    /// How the bucket of an `s3://` pattern is reached.
    pub s3: S3Settings,
    pub format: FileFormat,
    pub mode: FileMode,
    /// CSV only.
    pub delimiter: u8,
    pub header: bool,
    /// Text that means NULL, besides the empty field.
    pub nulls: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    Csv,
    JsonLines,
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    /// Files not seen before (by path, size and modification time) are added. The default for globs.
    Append,
    /// The table is what the files say now; nothing happens while they have not changed. The default for one file.
    Replace,
}

#[derive(Debug, Clone)]
pub struct ColumnSpec {
    /// A SQL type: `bigint`, `decimal(12,2)`, `timestamp`, `text`, …
    pub data_type: Option<String>,
    pub comment: Option<String>,
    pub span: Span,
}

/// A SQL file below `models/`.
#[derive(Debug, Clone)]
pub struct Model {
    pub table: TableName,
    /// The file's text, before rendering.
    pub sql: Arc<str>,
    pub span: Span,
    /// From the `.yml` beside it.
    pub description: Option<String>,
    pub columns: BTreeMap<String, ColumnSpec>,
    pub tags: Vec<String>,
    /// `config:` of the `.yml` beside it, as `config(…)` in the model takes it; the model's own wins.
    pub config: BTreeMap<String, ConfigValue>,
}

/// A value of a model's `config:`.
#[derive(Debug, Clone)]
pub struct ConfigValue {
    pub value: serde_json::Value,
    /// Of the key.
    pub span: Span,
}

/// Checks of one table, from `checks/*.yaml` or from a `.yml` beside a model.
#[derive(Debug, Clone)]
pub struct TableChecks {
    pub table: TableName,
    pub checks: Vec<Check>,
    pub span: Span,
}

#[derive(Debug, Clone)]
pub struct Check {
    pub kind: CheckKind,
    pub severity: CheckSeverity,
    /// Rows that the check is about: a SQL condition.
    pub filter: Option<String>,
    /// The check's name, where the person gave one.
    pub name: Option<String>,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckSeverity {
    /// Holds the run.
    #[default]
    Error,
    Warn,
}

#[derive(Debug, Clone)]
pub enum CheckKind {
    NotNull {
        columns: Vec<String>,
    },
    /// The columns together are unique among rows in which none of them is NULL.
    Unique {
        columns: Vec<String>,
    },
    AcceptedValues {
        column: String,
        values: Vec<serde_json::Value>,
    },
    /// Both ends belong to the range. Numbers, dates and timestamps, as SQL literals or YAML scalars.
    Range {
        column: String,
        min: Option<serde_json::Value>,
        max: Option<serde_json::Value>,
    },
    Regex {
        column: String,
        pattern: String,
    },
    /// Each value of `column` that is not NULL exists in `to.field`.
    Relationships {
        column: String,
        to: TableName,
        field: String,
    },
    RowCount {
        min: Option<u64>,
        max: Option<u64>,
    },
    /// The newest value of the column is no older than this when the run started.
    Freshness {
        column: String,
        max_age_seconds: u64,
    },
    /// A row expression that is true (or NULL) for each row.
    Holds {
        expression: String,
    },
    /// A query that gives the rows that break the rule.
    Sql {
        query: String,
    },
}

/// `checks/*.sql`: a check that is about no one table.
#[derive(Debug, Clone)]
pub struct SqlCheck {
    pub name: String,
    pub sql: Arc<str>,
    pub severity: CheckSeverity,
    pub span: Span,
}

#[derive(Debug, Clone)]
pub struct MacroFile {
    pub path: Arc<str>,
    pub text: Arc<str>,
}

/// One file below `policies/`: rules for one table. All rules that name a principal apply together.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The table; a `*` in place of the name means all of the namespace, and alone all tables.
    pub table: String,
    /// Whom the rule is for: principal or role names; `*` is everybody.
    pub principals: Vec<String>,
    /// Whom it is not for.
    pub except: Vec<String>,
    pub deny: bool,
    /// A SQL condition over the table's columns; `current_user()` is the principal's name.
    pub row_filter: Option<String>,
    /// Column → how it is hidden.
    pub masks: BTreeMap<String, Mask>,
    pub span: Span,
    pub places: PolicyPlaces,
}

/// Where the parts of a policy are written.
#[derive(Debug, Clone, Default)]
pub struct PolicyPlaces {
    pub filter: Option<Span>,
    /// The names of masked columns.
    pub masks: BTreeMap<String, Span>,
}

impl Policy {
    /// Where the filter is written.
    pub fn filter_span(&self) -> &Span {
        self.places.filter.as_ref().unwrap_or(&self.span)
    }

    /// Where it is written that a column is masked.
    pub fn mask_span(&self, column: &str) -> &Span {
        self.places.masks.get(column).unwrap_or(&self.span)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// NULL in place of the value.
    Null,
    /// The SHA-256 of the value as text, in hexadecimal: equal values stay equal.
    Hash,
    /// All but the last four characters are `*`.
    Partial,
    /// Any SQL expression over the table's columns.
    Expression(String),
}

/// What runs by itself, and when: one file below `pipelines/`.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub name: String,
    /// Selections as on the command line; none: everything.
    pub select: Vec<String>,
    pub exclude: Vec<String>,
    pub schedule: Schedule,
    /// The branch that it publishes to. Default `main`.
    pub target: Option<String>,
    /// What a failed check holds. Default: the whole run.
    pub publish: Option<Publish>,
    pub missed: Missed,
    pub overlap: Overlap,
    pub retries: Retries,
    /// What an execution of a run may take; longer ones are cancelled.
    pub timeout_seconds: Option<u64>,
    /// Not scheduled: by hand only.
    pub paused: bool,
    pub notify: Vec<Notify>,
    pub full_refresh: bool,
    /// Values for `var('name')`; they win over those of `polder.yaml`.
    pub vars: BTreeMap<String, serde_json::Value>,
    pub span: Span,
    pub places: PipelinePlaces,
}

/// Where the parts of a pipeline are written.
#[derive(Debug, Clone, Default)]
pub struct PipelinePlaces {
    /// Of each selection.
    pub select: Vec<Span>,
    pub exclude: Vec<Span>,
}

/// What becomes of the times at which nothing served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// They are caught up by one run for all of them.
    #[default]
    Run,
    /// The next time is waited for.
    Skip,
}

/// What becomes of a time at which the run of an earlier one still goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    #[default]
    Skip,
    /// One run follows at once, for all the times that came meanwhile.
    Queue,
}

/// How often and when a run is taken up again that the environment made fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Further tries; 0: none.
    pub times: u32,
    /// Before the first of them; it doubles with each further one, and chance takes off up to half.
    pub wait_seconds: u64,
    /// The longest wait.
    pub longest_seconds: u64,
}

impl Default for Retries {
    fn default() -> Self {
        Self { times: 0, wait_seconds: 60, longest_seconds: 1800 }
    }
}

/// Who is told how a pipeline fares.
#[derive(Clone)]
pub struct Notify {
    /// The address that gets a POST. It is a secret: whoever knows it can write there.
    pub webhook: String,
    /// Held, failed, timed out, given up.
    pub failure: bool,
    /// The first success after that.
    pub recovery: bool,
}

impl std::fmt::Debug for Notify {
    /// Without the address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notify")
            .field("failure", &self.failure)
            .field("recovery", &self.recovery)
            .finish_non_exhaustive()
    }
}
