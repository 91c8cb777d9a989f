//! `polder.yaml`.

use std::collections::BTreeMap;

use polder_base::nearest;
use polder_diag::{Diagnostic, Span};

use crate::codes;
use crate::common::words;
use crate::doors::{self, DoorsYaml};
use crate::names::{check_namespace, check_plain};
use crate::resource::{Publish, Settings};
use crate::storage::{self, S3Yaml};
use crate::units::{parse_duration_seconds, parse_size_bytes};
use crate::yaml::{At, Entries, Node, Problems, Value, raw};

/// The format of project files that this version writes and reads.
const FORMAT: u64 = 1;
/// What two steps at once need to sort on disk: each sort keeps 10 MB for every core to merge with.
const LEAST_MEMORY_BYTES: u64 = 128 << 20;

raw! {
    /// `polder.yaml`: what the project is called, and where and how it runs.
    PolderYaml {
        /// The project's name: lower-case letters, digits and `_`.
        name: At<String>,
        /// The version of the files' format, 1. A project with a greater one is refused.
        format: Option<At<u64>>,
        /// Folder of state and warehouse, relative to the project. Default: `.polder`.
        home: Option<At<String>>,
        /// The warehouse in a bucket: `s3://bucket/prefix`. State stays in `home`. Default: a folder of `home`.
        warehouse: Option<At<String>>,
        /// How object storage is reached, for the warehouse and for sources on `s3://`.
        s3: Option<S3Yaml>,
        /// Values for `var('name')` in models.
        vars: Option<Entries<serde_json::Value>>,
        /// Steps that run at once. Default: the number of cores, but at least 2.
        concurrency: Option<At<u64>>,
        /// Memory that queries and writers may hold before they spill to disk, such as `2GB`; at least `128MB`. Default:
        /// half of the machine's memory.
        memory_limit: Option<At<String>>,
        /// How long history is kept, such as `30d`: time travel and rollback reach back so far. What nothing reaches any
        /// more is deleted at the end of a run, once a day. Default: 30 days.
        retention: Option<At<String>>,
        /// Namespace of models that lie directly in `models/`. Default: `gold`.
        default_namespace: Option<At<String>>,
        /// Where `polder up` listens, and whom it asks for a token.
        doors: Option<DoorsYaml>,
        /// What a run publishes when something in it goes wrong: nothing (`all`, the default: all or nothing), or all but
        /// what went wrong and what is made from that (`healthy`).
        publish: Option<PublishWord>,
        /// Settings that replace the ones above when `--env NAME` is given.
        environments: Option<Entries<Overrides>>,
    }

    /// What an environment replaces.
    Overrides {
        /// Folder of state and warehouse, relative to the project.
        home: Option<At<String>>,
        /// The warehouse in a bucket, or `local`. Needs a `home` of its own.
        warehouse: Option<At<String>>,
        /// How object storage is reached, in the place of all of `s3` above.
        s3: Option<S3Yaml>,
        /// Values for `var('name')`; the ones that are not named here stay.
        vars: Option<Entries<serde_json::Value>>,
        /// Steps that run at once.
        concurrency: Option<At<u64>>,
        /// Memory that queries and writers may hold before they spill to disk.
        memory_limit: Option<At<String>>,
        /// How long history is kept.
        retention: Option<At<String>>,
        /// Namespace of models that lie directly in `models/`.
        default_namespace: Option<At<String>>,
        /// Where `polder up` listens; what is not named here stays.
        doors: Option<DoorsYaml>,
        /// What a run publishes when something in it goes wrong.
        publish: Option<PublishWord>,
        /// Connections of sources, by the source's name.
        sources: Option<Entries<SourceOverride>>,
    }

    /// What an environment replaces in a source.
    SourceOverride {
        /// Address of the database.
        postgres: Option<At<String>>,
    }
}

words! {
    /// What a run publishes when something in it goes wrong.
    PublishWord { all, healthy }
}

impl PublishWord {
    pub(crate) fn publish(self) -> Publish {
        match self {
            Self::all => Publish::All,
            Self::healthy => Publish::Healthy,
        }
    }
}

/// `polder.yaml`, resolved for one environment.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) name: Option<String>,
    pub(crate) settings: Settings,
    /// The database address that replaces the one of a source, by source.
    pub(crate) addresses: BTreeMap<String, At<String>>,
}

/// Tells a project that is too new to be read, before anything else in it is complained about.
pub(crate) fn is_too_new(node: &Node, problems: &mut Problems<'_>) -> bool {
    let Value::Map(entries) = &node.value else { return false };
    let Some(entry) = entries.iter().find(|e| e.key == "format") else { return false };
    let Value::Number(text) = &entry.value.value else { return false };
    let Some(format) = text.parse::<u64>().ok().filter(|f| *f > FORMAT) else { return false };
    let message = format!("this project was written for a newer Polder: its format is {format}");
    let diagnostic = Diagnostic::error(codes::NEWER, message)
        .at(problems.span(entry.value.span.clone()), format!("this Polder reads format {FORMAT}"))
        .hint("install a newer Polder");
    problems.push(diagnostic);
    true
}

/// Applies `environment` and checks the values.
pub(crate) fn resolve(raw: PolderYaml, environment: Option<&str>, problems: &mut Problems<'_>) -> Resolved {
    if let Some(found) = check_plain("project", &raw.name.value, &raw.name.span) {
        problems.push(found);
    }
    if raw.format.as_ref().is_some_and(|f| f.value == 0) {
        problems.push(value_problem(raw.format.as_ref().map(|f| &f.span), "`format` is 1"));
    }
    let base = Overrides {
        home: raw.home,
        warehouse: raw.warehouse,
        s3: raw.s3,
        vars: raw.vars,
        concurrency: raw.concurrency,
        memory_limit: raw.memory_limit,
        retention: raw.retention,
        default_namespace: raw.default_namespace,
        doors: raw.doors,
        publish: raw.publish,
        sources: None,
        at: raw.at.clone(),
    };
    let mut resolved = Resolved { name: Some(raw.name.value), ..Resolved::default() };
    apply(base, &mut resolved, problems);
    let mut environments = raw.environments.unwrap_or_default().0;
    if let Some(name) = environment {
        match environments.iter().position(|(key, _)| key.value == name) {
            Some(at) => {
                apply(environments.swap_remove(at).1, &mut resolved, problems);
                resolved.settings.environment = Some(name.to_owned());
            }
            None => problems.push(unknown_environment(name, environments.iter().map(|(key, _)| key), &raw.at)),
        }
    }
    // The other environments are not used now, but a mistake in them is one today.
    for (_, overrides) in environments {
        apply(overrides, &mut Resolved::default(), problems);
    }
    resolved
}

fn apply(overrides: Overrides, to: &mut Resolved, problems: &mut Problems<'_>) {
    let settings = &mut to.settings;
    if let Some(home) = overrides.home {
        if home.value.trim().is_empty() {
            problems.push(value_problem(Some(&home.span), "`home` is a folder"));
        }
        settings.home = Some(home.value);
    }
    if let Some(warehouse) = overrides.warehouse {
        settings.warehouse = storage::warehouse(&warehouse, problems);
    }
    if let Some(s3) = overrides.s3 {
        settings.s3 = storage::resolve(s3, problems);
    }
    for (name, value) in overrides.vars.unwrap_or_default().0 {
        settings.vars.insert(name.value, value);
    }
    if let Some(concurrency) = overrides.concurrency {
        match usize::try_from(concurrency.value) {
            Ok(n) if (1..=1024).contains(&n) => settings.concurrency = Some(n),
            _ => problems.push(value_problem(Some(&concurrency.span), "`concurrency` is a number from 1 to 1024")),
        }
    }
    if let Some(limit) = overrides.memory_limit {
        match memory_limit(&limit) {
            Ok(bytes) => settings.memory_limit_bytes = Some(bytes),
            Err(problem) => problems.push(*problem),
        }
    }
    if let Some(retention) = overrides.retention {
        match parse_duration_seconds(&retention.value).filter(|s| *s > 0) {
            Some(seconds) => settings.retention_seconds = Some(seconds),
            None => {
                problems.push(value_problem(Some(&retention.span), "`retention` is a duration, such as `30d` or `26w`"))
            }
        }
    }
    if let Some(namespace) = overrides.default_namespace {
        match check_namespace(&namespace.value, &namespace.span) {
            Some(found) => problems.push(found),
            None => settings.default_namespace = Some(namespace.value),
        }
    }
    if let Some(raw) = overrides.doors {
        doors::apply(raw, &mut settings.doors, problems);
    }
    if let Some(publish) = overrides.publish {
        settings.publish = Some(publish.publish());
    }
    for (source, address) in overrides.sources.unwrap_or_default().0 {
        if let Some(url) = address.postgres {
            to.addresses.insert(source.value, At { value: url.value, span: source.span });
        }
    }
}

fn memory_limit(limit: &At<String>) -> Result<u64, Box<Diagnostic>> {
    let problem = |message: &str| Box::new(value_problem(Some(&limit.span), message));
    match parse_size_bytes(&limit.value) {
        None | Some(0) => Err(problem("`memory_limit` is a size, such as `2GB` or `512MB`")),
        Some(..LEAST_MEMORY_BYTES) => {
            Err(problem("`memory_limit` is at least 128MB: with less, queries fail that could have spilled to disk"))
        }
        Some(bytes) => Ok(bytes),
    }
}

fn value_problem(span: Option<&Span>, message: &str) -> Diagnostic {
    let diagnostic = Diagnostic::error(codes::VALUE, message);
    match span {
        Some(span) => diagnostic.at(span.clone(), ""),
        None => diagnostic,
    }
}

fn unknown_environment<'a>(name: &str, known: impl Iterator<Item = &'a At<String>> + Clone, file: &Span) -> Diagnostic {
    let message = format!("`polder.yaml` has no environment `{name}`");
    let diagnostic = Diagnostic::error(codes::UNKNOWN_ENVIRONMENT, message).at(Span::file(&file.file), "");
    let names: Vec<&str> = known.map(|k| k.value.as_str()).collect();
    match nearest(name, names.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None if names.is_empty() => diagnostic.hint(format!("declare it below `environments:`, as `{name}: {{}}`")),
        None => diagnostic.hint(format!("the environments are {}", crate::yaml::list(&names))),
    }
}
