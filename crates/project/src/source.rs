//! `sources/*.yaml`.

mod files;

use std::collections::BTreeMap;
use std::sync::Arc;

use polder_base::{TableName, normalise_column};
use polder_diag::{Diagnostic, Span};

use crate::codes;
use crate::common::{Columns, Names, column_specs};
use crate::resource::{Connection, Lag, ReadMode, S3Settings, Source, Stream};
use crate::storage::S3Yaml;
use crate::units::parse_duration_seconds;
use crate::yaml::{At, Decode, Entries, Node, Problems, Value, raw};

/// Where rows land as they came.
pub(crate) const BRONZE: &str = "bronze";

raw! {
    /// A file below `sources/`: a system that data comes from. Its name is the source's. Either `postgres` with
    /// `tables`, or `files`.
    SourceYaml {
        /// Address of a PostgreSQL database: `postgres://user:password@host:5432/database`. Take it from the
        /// environment: `${env:SHOP_PG}`.
        postgres: Option<At<String>>,
        /// Tables of the database: a mapping of names to `full` or options, or a list of names, which are read in
        /// full. `orders` in `sources/shop.yaml` lands in `bronze.shop_orders`.
        tables: Option<Tables>,
        /// A path or pattern (`data/payments/*.csv`), which lands in `bronze.<source>`, or a mapping of names to paths
        /// or options; `orders` in `sources/shop.yaml` lands in `bronze.shop_orders`. Paths may be in a bucket
        /// (`s3://bucket/orders/*.csv`) or the address of one file (`https://…`).
        files: Option<FileSet>,
        /// How the buckets of `files` are reached, in the place of `s3` in `polder.yaml`.
        s3: Option<S3Yaml>,
        /// For one path in `files`: the format, when the ending does not tell it.
        format: Option<At<files::Format>>,
        /// For one path in `files`: `append` adds files not seen before, `replace` makes the table what the files say
        /// now. Default: `append` for a pattern, `replace` for one file.
        mode: Option<files::Mode>,
        /// For one path in `files`: columns that identify a row; a row with a known key replaces the earlier one.
        key: Option<Names>,
        /// For one path in `files`: types that win over what reading finds.
        columns: Option<Columns>,
        /// For one path in `files`: records that may be rejected before the run stops. Default: 0.
        max_rejected: Option<u64>,
        /// For one path in `files`, CSV: the character between fields. Default: `,`, and a tab for `.tsv`.
        delimiter: Option<At<String>>,
        /// For one path in `files`, CSV: whether the first line names the columns. Default: true.
        header: Option<At<bool>>,
        /// For one path in `files`, CSV: texts that mean NULL, besides the empty field.
        nulls: Option<At<Names>>,
    }

    /// How a table is read.
    TableOptions {
        /// Columns that identify a row; a row with a known key replaces the earlier one.
        key: Option<Names>,
        /// The column that only grows (`updated_at`, a serial number): each run reads what is beyond the last value.
        /// Without it the whole table is read each time.
        cursor: Option<At<String>>,
        /// Each read begins so far before the cursor, because a transaction may commit late: `5 minutes`, or for a
        /// cursor that is a number, a number. Needs `key`, by which rows that are there already are replaced.
        lag: Option<At<LagYaml>>,
        /// Types that win over those of the database.
        columns: Option<Columns>,
        /// Records that may be rejected before the run stops. Default: 0.
        max_rejected: Option<u64>,
    }
}

/// Tables with options, or just their names.
#[derive(Debug, Clone, schemars::JsonSchema)]
#[schemars(untagged)]
pub(crate) enum Tables {
    Named(Entries<TableSpec>),
    List(Vec<At<String>>),
}

impl Decode for Tables {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match node.value {
            Value::List(_) => Vec::decode(node, problems).map(Self::List),
            Value::Map(_) => Entries::decode(node, problems).map(Self::Named),
            _ => problems.wrong(node, "a mapping of tables, or a list of their names"),
        }
    }
}

/// `full`, or options.
#[derive(Debug, Clone, schemars::JsonSchema)]
#[schemars(untagged)]
pub(crate) enum TableSpec {
    Full(Full),
    Options(Box<TableOptions>),
}

/// The whole table each time.
#[derive(Debug, Clone, Copy, schemars::JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(crate) enum Full {
    Full,
}

impl Decode for TableSpec {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(word) if word == "full" => Some(Self::Full(Full::Full)),
            Value::Map(_) => TableOptions::decode(node, problems).map(|options| Self::Options(Box::new(options))),
            _ => problems.wrong_word(node, "`full`, or a mapping such as `{ key: id, cursor: updated_at }`", &["full"]),
        }
    }
}

/// A time, or a number of values.
#[derive(Debug, Clone, schemars::JsonSchema)]
#[schemars(untagged)]
pub(crate) enum LagYaml {
    Time(String),
    Values(u64),
}

impl Decode for LagYaml {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Number(_) => u64::decode(node, problems).map(Self::Values),
            Value::Text(text) => Some(Self::Time(text.clone())),
            _ => problems.wrong(node, "a time such as `5 minutes`, or a number"),
        }
    }
}

/// One path, or named ones.
#[derive(Debug, Clone, schemars::JsonSchema)]
#[schemars(untagged)]
pub(crate) enum FileSet {
    One(At<String>),
    Named(Entries<files::FileSpec>),
}

impl Decode for FileSet {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match node.value {
            Value::Text(_) => At::decode(node, problems).map(Self::One),
            Value::Map(_) => Entries::decode(node, problems).map(Self::Named),
            _ => problems.wrong(node, "a path or pattern, or a mapping of names to them"),
        }
    }
}

/// Makes the source `name` of its raw form. `addresses` are the environment's, `s3` is the project's.
pub(crate) fn resolve(
    name: &str,
    raw: SourceYaml,
    addresses: &BTreeMap<String, At<String>>,
    s3: &S3Settings,
    problems: &mut Problems<'_>,
) -> Option<Source> {
    let span = raw.at.clone();
    match (&raw.postgres, &raw.files) {
        (Some(_), None) => postgres(name, raw, addresses, problems),
        (None, Some(_)) => {
            if let Some(tables) = raw.tables.as_ref().map(|_| first_line(&span)) {
                problems.push(conflict("`tables` goes with `postgres`, not with `files`", tables));
            }
            let streams = files::streams(name, raw, s3, problems);
            Some(Source { name: name.to_owned(), connection: Connection::Files, streams, span })
        }
        (Some(address), Some(_)) => {
            let span = address.span.clone();
            problems.push(conflict("a source has `postgres` or `files`, not both", span).hint("make two files of it"));
            None
        }
        (None, None) => {
            let diagnostic = conflict("a source needs `postgres` or `files`", first_line(&span))
                .hint("such as `postgres: ${env:SHOP_PG}` with `tables:`, or `files: data/orders/*.csv`");
            problems.push(diagnostic);
            None
        }
    }
}

/// A problem of the whole mapping points at its start.
fn first_line(span: &Span) -> Span {
    Span { end: span.start, ..span.clone() }
}

fn conflict(message: &str, span: Span) -> Diagnostic {
    Diagnostic::error(codes::CONFLICT, message).at(span, "")
}

fn postgres(
    name: &str,
    raw: SourceYaml,
    addresses: &BTreeMap<String, At<String>>,
    problems: &mut Problems<'_>,
) -> Option<Source> {
    for key in raw.file_keys().into_iter().chain(raw.s3.as_ref().map(|_| "s3")) {
        problems.push(conflict(&format!("`{key}` goes with `files`, not with `postgres`"), first_line(&raw.at)));
    }
    let address = addresses.get(name).cloned().or(raw.postgres)?;
    check_address(&address, problems);
    let specs = match raw.tables {
        Some(Tables::Named(entries)) => entries.0,
        Some(Tables::List(names)) => names.into_iter().map(|name| (name, TableSpec::Full(Full::Full))).collect(),
        None => {
            let message = "a PostgreSQL source needs `tables`";
            let diagnostic = Diagnostic::error(codes::MISSING_KEY, message)
                .at(address.span.clone(), "which of its tables?")
                .hint("such as `tables: { orders: { key: order_id, cursor: updated_at }, customers: full }`");
            problems.push(diagnostic);
            Vec::new()
        }
    };
    let streams = specs.into_iter().filter_map(|(stream, spec)| table(name, stream, spec, problems)).collect();
    let connection = Connection::Postgres { url: address.value };
    Some(Source { name: name.to_owned(), connection, streams, span: raw.at })
}

fn check_address(address: &At<String>, problems: &mut Problems<'_>) {
    let known = ["postgres://", "postgresql://"].iter().any(|scheme| address.value.starts_with(scheme));
    // What could not be put in has been told already.
    if !known && !address.value.contains("${") {
        let message = "the address of a PostgreSQL database starts with `postgres://`";
        let diagnostic = Diagnostic::error(codes::VALUE, message)
            .at(address.span.clone(), "")
            .hint("`postgres://user:password@host:5432/database`");
        problems.push(diagnostic);
    }
}

fn table(source: &str, stream: At<String>, spec: TableSpec, problems: &mut Problems<'_>) -> Option<Stream> {
    let table = landing(source, &stream, problems)?;
    let mut read = ReadMode::Full;
    let (mut columns, mut key, mut max_rejected) = (BTreeMap::new(), Vec::new(), 0);
    if let TableSpec::Options(options) = spec {
        let lag = lag(&options, problems);
        read = options.cursor.map_or(ReadMode::Full, |c| ReadMode::Incremental { cursor: c.value, lag });
        columns = column_specs(options.columns, problems);
        key = options.key.unwrap_or_default().normalised();
        max_rejected = options.max_rejected.unwrap_or(0);
    }
    Some(Stream { name: stream.value, table, read, columns, key, max_rejected, locked: None, span: stream.span })
}

/// How far before the cursor reading begins. Rows that are read again are recognised by their key.
fn lag(options: &TableOptions, problems: &mut Problems<'_>) -> Option<Lag> {
    let At { value, span } = options.lag.as_ref()?;
    let keyed = options.key.as_ref().is_some_and(|key| !key.0.is_empty());
    let lacks = match (&options.cursor, keyed) {
        (None, _) => Some(("cursor", "it says how far before the cursor each read begins")),
        (_, false) => Some(("key", "rows that are read again take the place of those with the same key")),
        _ => None,
    };
    if let Some((lacks, why)) = lacks {
        problems.push(conflict(&format!("`lag` needs a `{lacks}`"), span.clone()).hint(why));
        return None;
    }
    let lag = match value {
        LagYaml::Values(count) => Some(*count).filter(|n| *n > 0).map(Lag::Values),
        LagYaml::Time(text) => parse_duration_seconds(text).filter(|s| *s > 0).map(Lag::Seconds),
    };
    if lag.is_none() {
        let message = "`lag` is a time such as `5 minutes`, or a number, greater than zero";
        problems.push(Diagnostic::error(codes::VALUE, message).at(span.clone(), ""));
    }
    lag
}

/// Where a stream lands: `orders` and `public.orders` of `shop` in `bronze.shop_orders`.
fn landing(source: &str, stream: &At<String>, problems: &mut Problems<'_>) -> Option<TableName> {
    let local = stream.value.strip_prefix("public.").unwrap_or(&stream.value);
    if local.trim().is_empty() || local.contains('\0') {
        problems.push(Diagnostic::error(codes::NAME, "a table needs a name").at(stream.span.clone(), ""));
        return None;
    }
    Some(landing_name(source, &stream.value))
}

/// The table of a stream, by name.
pub(crate) fn landing_name(source: &str, stream: &str) -> TableName {
    let local = stream.strip_prefix("public.").unwrap_or(stream);
    TableName::new(BRONZE, format!("{source}_{}", normalise_column(local)))
}

impl SourceYaml {
    /// The keys for one path in `files` that are given.
    fn file_keys(&self) -> Vec<&'static str> {
        [
            ("format", self.format.is_some()),
            ("mode", self.mode.is_some()),
            ("key", self.key.is_some()),
            ("columns", self.columns.is_some()),
            ("max_rejected", self.max_rejected.is_some()),
            ("delimiter", self.delimiter.is_some()),
            ("header", self.header.is_some()),
            ("nulls", self.nulls.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, given)| given.then_some(key))
        .collect()
    }
}

/// The name of a source: its file's, without the ending.
pub(crate) fn name_of(path: &str) -> Arc<str> {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.rsplit_once('.').map_or(file, |(stem, _)| stem).into()
}
