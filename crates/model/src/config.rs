//! How a model is kept: what `config(...)` says.

use std::collections::BTreeMap;

use polder_base::nearest;
use polder_diag::{Diagnostic, Span};
use polder_table::spec::Transform;
use serde_json::Value;

use crate::codes;

/// What a model becomes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Materialization {
    /// A stored query.
    View,
    /// A table that is built in full when anything it is made from changed.
    Table,
    /// A table that takes up what is new.
    Incremental(Strategy),
}

/// How an incremental model takes up new rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// All rows of the query are added.
    Append,
    /// Rows replace those with an equal key; others are added.
    Merge { unique_key: Vec<String> },
    /// The partitions that the query gives rows for are replaced.
    InsertOverwrite,
}

/// One part of `partition_by`: `day(created_at)`, `bucket(16, id)`, `country`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionBy {
    pub transform: Transform,
    pub column: String,
}

/// All that `config(...)` decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub materialization: Materialization,
    pub partition_by: Vec<PartitionBy>,
    pub tags: Vec<String>,
    pub description: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { materialization: Materialization::Table, partition_by: Vec::new(), tags: Vec::new(), description: None }
    }
}

const KEYS: [&str; 6] = ["materialized", "unique_key", "incremental_strategy", "partition_by", "tags", "description"];
const MATERIALIZATIONS: [&str; 3] = ["view", "table", "incremental"];
const STRATEGIES: [&str; 3] = ["append", "merge", "insert_overwrite"];

/// The values that `config(...)` was called with, and where.
pub type ConfigValues = BTreeMap<String, (Value, Span)>;

impl Config {
    /// Reads the values; what is wrong is told, and left out of the result.
    pub fn read(values: &ConfigValues, problems: &mut Vec<Diagnostic>) -> Self {
        for (key, (_, span)) in values {
            if !KEYS.contains(&key.as_str()) {
                problems.push(unknown(codes::CONFIG_KEY, format!("config has no key `{key}`"), span, key, &KEYS));
            }
        }
        let partition_by = texts(values, "partition_by", problems)
            .into_iter()
            .filter_map(|(text, span)| PartitionBy::parse(&text, &span).map_err(|d| problems.push(*d)).ok())
            .collect::<Vec<_>>();
        let materialization = materialization(values, &partition_by, problems);
        let tags = texts(values, "tags", problems).into_iter().map(|(tag, _)| tag).collect();
        let description = texts(values, "description", problems).into_iter().map(|(text, _)| text).next();
        Self { materialization, partition_by, tags, description }
    }

    /// One line for fingerprints: equal configurations give equal text.
    pub fn canonical(&self) -> String {
        format!("{:?} {:?}", self.materialization, self.partition_by)
    }
}

fn materialization(
    values: &ConfigValues,
    partition_by: &[PartitionBy],
    problems: &mut Vec<Diagnostic>,
) -> Materialization {
    let kind = word(values, "materialized", &MATERIALIZATIONS, problems).unwrap_or_else(|| "table".to_owned());
    let unique_key: Vec<String> = texts(values, "unique_key", problems).into_iter().map(|(key, _)| key).collect();
    let strategy = word(values, "incremental_strategy", &STRATEGIES, problems);
    if kind != "incremental" {
        for key in ["unique_key", "incremental_strategy"] {
            if let Some((_, span)) = values.get(key) {
                let message = format!("`{key}` has no meaning for a {kind}");
                let hint = "add `materialized='incremental'`, or leave it out";
                problems.push(Diagnostic::error(codes::CONFIG_VALUE, message).at(span.clone(), "").hint(hint));
            }
        }
        if let Some((_, span)) = values.get("partition_by").filter(|_| kind == "view") {
            let message = "a view has no partitions";
            problems.push(Diagnostic::error(codes::CONFIG_VALUE, message).at(span.clone(), ""));
        }
        return if kind == "view" { Materialization::View } else { Materialization::Table };
    }
    Materialization::Incremental(incremental(values, strategy.as_deref(), unique_key, partition_by, problems))
}

fn incremental(
    values: &ConfigValues,
    strategy: Option<&str>,
    unique_key: Vec<String>,
    partition_by: &[PartitionBy],
    problems: &mut Vec<Diagnostic>,
) -> Strategy {
    let span = ["incremental_strategy", "materialized"].iter().find_map(|k| values.get(*k)).map(|(_, s)| s.clone());
    let mut missing = |strategy: &str, key: &str| {
        let diagnostic = Diagnostic::error(codes::CONFIG_VALUE, format!("the strategy `{strategy}` needs `{key}`"));
        problems.push(span.iter().fold(diagnostic, |d, s| d.at(s.clone(), "")));
    };
    match strategy {
        Some("insert_overwrite") => {
            if partition_by.is_empty() {
                missing("insert_overwrite", "partition_by");
            }
            Strategy::InsertOverwrite
        }
        Some("merge") => {
            if unique_key.is_empty() {
                missing("merge", "unique_key");
            }
            Strategy::Merge { unique_key }
        }
        None if !unique_key.is_empty() => Strategy::Merge { unique_key },
        _ => Strategy::Append,
    }
}

/// A value that must be one of some words.
fn word(values: &ConfigValues, key: &str, allowed: &[&str], problems: &mut Vec<Diagnostic>) -> Option<String> {
    let (value, span) = values.get(key)?;
    match value.as_str() {
        Some(text) if allowed.contains(&text) => Some(text.to_owned()),
        _ => {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let message = format!("`{key}` cannot be `{shown}`");
            problems.push(unknown(codes::CONFIG_VALUE, message, span, &shown, allowed));
            None
        }
    }
}

/// A value that is a text or a list of texts.
fn texts(values: &ConfigValues, key: &str, problems: &mut Vec<Diagnostic>) -> Vec<(String, Span)> {
    let Some((value, span)) = values.get(key) else { return Vec::new() };
    let items = match value {
        Value::Null => return Vec::new(),
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    };
    let read: Option<Vec<_>> = items.into_iter().map(|v| v.as_str().map(|s| (s.to_owned(), span.clone()))).collect();
    read.unwrap_or_else(|| {
        let message = format!("`{key}` is a text or a list of texts");
        problems.push(Diagnostic::error(codes::CONFIG_VALUE, message).at(span.clone(), ""));
        Vec::new()
    })
}

fn unknown(code: &'static str, message: String, span: &Span, wrong: &str, allowed: &[&str]) -> Diagnostic {
    let hint = match nearest(wrong, allowed.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("one of {}", allowed.join(", ")),
    };
    Diagnostic::error(code, message).at(span.clone(), "").hint(hint)
}

const TRANSFORMS: [&str; 6] = ["year", "month", "day", "hour", "bucket", "truncate"];

impl PartitionBy {
    /// Reads `day(created_at)`, `bucket(16, id)`, `truncate(10, name)` or a column's name.
    fn parse(text: &str, span: &Span) -> Result<Self, Box<Diagnostic>> {
        let wrong = || {
            let wrong =
                Diagnostic::error(codes::CONFIG_VALUE, format!("`{text}` is no partition")).at(span.clone(), "");
            Box::new(wrong.hint("a column, or one of year(c), month(c), day(c), hour(c), bucket(n, c), truncate(n, c)"))
        };
        let Some((name, arguments)) = text.trim().strip_suffix(')').and_then(|t| t.split_once('(')) else {
            let column = text.trim();
            let plain = !column.is_empty() && !column.contains(['(', ')', ',', ' ']);
            return if plain {
                Ok(Self { transform: Transform::Identity, column: column.to_owned() })
            } else {
                Err(wrong())
            };
        };
        let name = name.trim().to_lowercase();
        let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
        let transform = match (name.as_str(), arguments.as_slice()) {
            ("year", [_]) => Transform::Year,
            ("month", [_]) => Transform::Month,
            ("day", [_]) => Transform::Day,
            ("hour", [_]) => Transform::Hour,
            ("bucket", [n, _]) => Transform::Bucket(n.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?),
            ("truncate", [n, _]) => Transform::Truncate(n.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?),
            _ => {
                let near = nearest(&name, TRANSFORMS).filter(|near| *near != name);
                return Err(near.iter().fold(wrong(), |d, near| Box::new(d.hint(format!("did you mean `{near}`?")))));
            }
        };
        match arguments.last().copied().unwrap_or_default() {
            "" => Err(wrong()),
            column => Ok(Self { transform, column: column.to_owned() }),
        }
    }

    /// The name of the partition field, as Spark and PyIceberg would choose it.
    pub fn field_name(&self) -> String {
        match &self.transform {
            Transform::Year => format!("{}_year", self.column),
            Transform::Month => format!("{}_month", self.column),
            Transform::Day => format!("{}_day", self.column),
            Transform::Hour => format!("{}_hour", self.column),
            Transform::Bucket(_) => format!("{}_bucket", self.column),
            Transform::Truncate(_) => format!("{}_trunc", self.column),
            _ => self.column.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use polder_diag::Span;
    use serde_json::{Value, json};

    use super::{Config, ConfigValues, Materialization, Strategy};

    fn read(value: Value) -> (Config, Vec<String>) {
        let span = Span::file(&Arc::from("models/x.sql"));
        let values: ConfigValues =
            value.as_object().unwrap().iter().map(|(k, v)| (k.clone(), (v.clone(), span.clone()))).collect();
        let mut problems = Vec::new();
        let config = Config::read(&values, &mut problems);
        let told = problems.iter().map(|d| format!("{} {}", d.message, d.hints.join(" "))).collect();
        (config, told)
    }

    #[test]
    fn strategies_follow_from_what_is_given() {
        let strategy = |value| match read(value).0.materialization {
            Materialization::Incremental(strategy) => strategy,
            other => panic!("{other:?}"),
        };
        assert_eq!(strategy(json!({"materialized": "incremental"})), Strategy::Append);
        assert_eq!(
            strategy(json!({"materialized": "incremental", "unique_key": "id"})),
            Strategy::Merge { unique_key: vec!["id".to_owned()] }
        );
        assert_eq!(
            strategy(json!({"materialized": "incremental", "incremental_strategy": "insert_overwrite",
                "partition_by": ["day(created_at)", "country"]})),
            Strategy::InsertOverwrite
        );
        assert_eq!(read(json!({})).0.materialization, Materialization::Table);
    }

    #[test]
    fn mistakes_are_told_with_what_was_meant() {
        for (value, want) in [
            (json!({"materialised": "view"}), "config has no key `materialised` did you mean `materialized`?"),
            (json!({"materialized": "tabel"}), "`materialized` cannot be `tabel` did you mean `table`?"),
            (
                json!({"unique_key": "id"}),
                "`unique_key` has no meaning for a table add `materialized='incremental'`, or leave it out",
            ),
            (
                json!({"materialized": "incremental", "incremental_strategy": "merge"}),
                "the strategy `merge` needs `unique_key` ",
            ),
            (
                json!({"partition_by": "dya(ts)"}),
                "`dya(ts)` is no partition a column, or one of year(c), month(c), day(c), hour(c), bucket(n, c), truncate(n, c) did you mean `day`?",
            ),
            (json!({"partition_by": 3}), "`partition_by` is a text or a list of texts "),
        ] {
            assert_eq!(read(value.clone()).1, vec![want.to_owned()], "{value}");
        }
    }

    #[test]
    fn partition_fields_are_named_as_others_name_them() {
        let names: Vec<_> = read(json!({"partition_by": ["day(ts)", "bucket(16, id)", "country"]}))
            .0
            .partition_by
            .iter()
            .map(super::PartitionBy::field_name)
            .collect();
        assert_eq!(names, ["ts_day", "id_bucket", "country"]);
    }
}
