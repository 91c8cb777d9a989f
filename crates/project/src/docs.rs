//! The `.yml` files beside models: descriptions, columns and tests, in dbt's form and in Polder's.

mod tests_of_dbt;

use std::collections::BTreeMap;

use polder_base::TableName;
use polder_diag::{Diagnostic, Span};

use crate::check::{self, CheckYaml, PendingCheck};
use crate::codes;
use crate::common::Names;
use crate::names::Tables;
use crate::references::TableRef;
use crate::resource::{ColumnSpec, ConfigValue, Model};
use crate::types::check_type;
use crate::yaml::{At, Entries, Node, Problems, Value, raw};

use tests_of_dbt::TestYaml;

raw! {
    /// A `.yml` beside models: what they mean and what must hold for them. Either `models:`, or the keys of the one
    /// model that has the file's own name (`daily.yml` beside `daily.sql`).
    ModelDocsYaml {
        /// dbt writes `2` here; it is not used.
        version: Option<serde_json::Value>,
        /// The models that are described.
        models: Option<Vec<ModelYaml>>,
        /// The table that `checks` are about, when it is not the model with the file's name.
        table: Option<At<String>>,
        /// What the model means.
        description: Option<At<String>>,
        /// Its columns.
        columns: Option<Vec<ModelColumnYaml>>,
        /// What must hold, as in `checks/*.yaml`.
        checks: Option<At<Vec<CheckYaml>>>,
        /// Words to select it by: `polder run tag:daily`.
        tags: Option<Names>,
        /// What `config(…)` in the model takes; the model's own wins.
        config: Option<Entries<serde_json::Value>>,
    }

    /// One model.
    ModelYaml {
        /// The model's name, `daily` or `gold.daily`.
        name: At<String>,
        /// What it means.
        description: Option<At<String>>,
        /// Its columns.
        columns: Option<Vec<ModelColumnYaml>>,
        /// What must hold, as in `checks/*.yaml`.
        checks: Option<Vec<CheckYaml>>,
        /// dbt's earlier word for `data_tests`.
        tests: Option<Vec<TestYaml>>,
        /// dbt's tests of the whole model. A test of a model names its column with `column_name`.
        data_tests: Option<Vec<TestYaml>>,
        /// Words to select it by: `polder run tag:daily`.
        tags: Option<Names>,
        /// What `config(…)` in the model takes; the model's own wins.
        config: Option<Entries<serde_json::Value>>,
    }

    /// One column of a model.
    ModelColumnYaml {
        /// The column.
        name: At<String>,
        /// What it means; kept with the table.
        description: Option<At<String>>,
        /// Its SQL type, for the reader: a model's types follow from its SQL.
        data_type: Option<At<String>>,
        /// dbt's earlier word for `data_tests`.
        tests: Option<Vec<TestYaml>>,
        /// dbt's tests: `not_null`, `unique`, `accepted_values`, `relationships`.
        data_tests: Option<Vec<TestYaml>>,
    }
}

/// What a `.yml` says of one model.
#[derive(Debug)]
pub(crate) struct Description {
    /// The model, by name and place of the name.
    pub(crate) target: Target,
    pub(crate) description: Option<String>,
    pub(crate) columns: BTreeMap<String, ColumnSpec>,
    pub(crate) tags: Vec<String>,
    pub(crate) config: BTreeMap<String, ConfigValue>,
    pub(crate) checks: Vec<PendingCheck>,
    pub(crate) span: Span,
}

/// Whom a description is about.
#[derive(Debug)]
pub(crate) enum Target {
    /// A model by name, as dbt has it.
    Model(At<String>),
    /// Any table, by its full name.
    Table(TableRef),
}

/// Keys of dbt that say nothing to Polder: documentation, and rights that policies give here.
const SILENT: [&str; 6] = ["meta", "docs", "access", "group", "quote", "policy_tags"];
/// Keys of dbt whose meaning Polder does not have: they are told.
const UNUSED: [&str; 16] = [
    "sources",
    "seeds",
    "snapshots",
    "macros",
    "exposures",
    "metrics",
    "semantic_models",
    "saved_queries",
    "unit_tests",
    "groups",
    "constraints",
    "contract",
    "versions",
    "latest_version",
    "deprecation_date",
    "time_spine",
];

/// Takes away keys that dbt has and Polder does not read.
pub(crate) fn drop_unused(node: &mut Node, problems: &mut Problems<'_>) {
    match &mut node.value {
        Value::Map(entries) => {
            entries.retain_mut(|entry| {
                if SILENT.contains(&entry.key.as_str()) {
                    return false;
                }
                if UNUSED.contains(&entry.key.as_str()) {
                    let message = format!("`{}` is not read by this version of Polder", entry.key);
                    let span = problems.span(entry.key_span.clone());
                    problems.push(Diagnostic::warning(codes::UNSUPPORTED, message).at(span, "skipped"));
                    return false;
                }
                if matches!(entry.key.as_str(), "models" | "columns") {
                    drop_unused(&mut entry.value, problems);
                }
                true
            });
        }
        Value::List(items) => items.iter_mut().for_each(|item| drop_unused(item, problems)),
        _ => {}
    }
}

/// Makes the descriptions of a file. `own` is the model that has the file's name.
pub(crate) fn resolve(raw: ModelDocsYaml, own: &TableName, problems: &mut Problems<'_>) -> Vec<Description> {
    let mut out: Vec<Description> =
        raw.models.unwrap_or_default().into_iter().map(|model| describe(model, problems)).collect();
    let says_more = raw.description.is_some()
        || raw.columns.is_some()
        || raw.checks.is_some()
        || raw.tags.is_some()
        || raw.config.is_some();
    if says_more || raw.table.is_some() {
        let first_line = Span { end: raw.at.start, ..raw.at.clone() };
        let mut description = describe(
            ModelYaml {
                name: At { value: own.to_string(), span: first_line },
                description: raw.description,
                columns: raw.columns,
                checks: raw.checks.map(|c| c.value),
                tests: None,
                data_tests: None,
                tags: raw.tags,
                config: raw.config,
                at: raw.at,
            },
            problems,
        );
        if let Some(table) = raw.table {
            description.target = Target::Table(TableRef::parse(table.value, table.span));
        }
        out.push(description);
    }
    out
}

fn describe(raw: ModelYaml, problems: &mut Problems<'_>) -> Description {
    let mut checks: Vec<PendingCheck> =
        raw.checks.unwrap_or_default().into_iter().filter_map(|c| check::resolve(c, problems)).collect();
    for test in raw.tests.into_iter().chain(raw.data_tests).flatten() {
        checks.extend(test.resolve(None, problems));
    }
    let mut columns: BTreeMap<String, ColumnSpec> = BTreeMap::new();
    for column in raw.columns.unwrap_or_default() {
        for test in column.tests.into_iter().chain(column.data_tests).flatten() {
            checks.extend(test.resolve(Some(&column.name.value), problems));
        }
        if let Some(first) = columns.get(&column.name.value) {
            let message = format!("column `{}` is described twice", column.name.value);
            let diagnostic = Diagnostic::error(codes::DUPLICATE_KEY, message)
                .at(column.name.span, "second")
                .related(first.span.clone(), "first");
            problems.push(diagnostic);
            continue;
        }
        if let Some(found) = column.data_type.as_ref().and_then(check_type) {
            problems.push(found);
        }
        let spec = ColumnSpec {
            data_type: column.data_type.map(|t| t.value),
            comment: column.description.map(|d| d.value),
            span: column.name.span,
        };
        columns.insert(column.name.value, spec);
    }
    let (config, config_tags) = config(raw.config);
    let tags = raw.tags.unwrap_or_default().values().into_iter().chain(config_tags).collect();
    Description {
        span: raw.name.span.clone(),
        target: Target::Model(raw.name),
        description: raw.description.map(|d| d.value),
        columns,
        tags,
        config,
        checks,
    }
}

/// Divides `config:` into tags, which select the model before it is rendered, and the rest.
fn config(raw: Option<Entries<serde_json::Value>>) -> (BTreeMap<String, ConfigValue>, Vec<String>) {
    let mut rest = BTreeMap::new();
    let mut tags = Vec::new();
    for (key, value) in raw.unwrap_or_default().0 {
        match (key.value.as_str(), value) {
            ("tags", serde_json::Value::String(tag)) => tags.push(tag),
            ("tags", serde_json::Value::Array(several)) => {
                tags.extend(several.into_iter().filter_map(|t| t.as_str().map(str::to_owned)));
            }
            (_, value) => {
                rest.insert(key.value, ConfigValue { value, span: key.span });
            }
        }
    }
    (rest, tags)
}

/// Finds the model that a description is about, by full name, in the file's own namespace, or anywhere when its name is
/// the only one.
pub(crate) fn find<'m>(
    name: &At<String>,
    namespace: &str,
    models: &'m mut [Model],
    tables: &Tables,
) -> Result<&'m mut Model, Option<Box<Diagnostic>>> {
    let wanted = name.value.as_str();
    let at = models
        .iter()
        .position(|m| m.table.to_string() == wanted)
        .or_else(|| models.iter().position(|m| m.table.namespace == namespace && m.table.name == wanted))
        .or_else(|| only(models, wanted));
    match at {
        Some(at) => Ok(&mut models[at]),
        None => Err(unknown(name, namespace, models, tables).map(Box::new)),
    }
}

fn only(models: &[Model], name: &str) -> Option<usize> {
    let mut found = models.iter().enumerate().filter(|(_, m)| m.table.name == name).map(|(at, _)| at);
    found.next().filter(|_| found.next().is_none())
}

fn unknown(name: &At<String>, namespace: &str, models: &[Model], tables: &Tables) -> Option<Diagnostic> {
    let table = name.value.parse().unwrap_or_else(|_| TableName::new(namespace, &*name.value));
    if tables.is_doubtful(&table) {
        return None;
    }
    let diagnostic = Diagnostic::error(codes::UNKNOWN_MODEL, format!("no model is called `{}`", name.value))
        .at(name.span.clone(), "unknown name");
    let names: BTreeMap<&str, &Model> = models.iter().map(|m| (m.table.name.as_str(), m)).collect();
    let bare = name.value.rsplit('.').next().unwrap_or_default();
    Some(match polder_base::nearest(bare, names.keys().copied()).and_then(|near| names.get(near)) {
        Some(near) => diagnostic.hint(format!("did you mean `{}` ({})?", near.table.name, near.span.file)),
        None => diagnostic.hint(format!("a file `models/{namespace}/{bare}.sql` would make it one")),
    })
}
