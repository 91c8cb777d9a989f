//! `models/**/*.sql`.

use std::collections::BTreeMap;
use std::sync::Arc;

use polder_base::TableName;
use polder_diag::{Diagnostic, Span};

use crate::codes;
use crate::names::{check_namespace, check_plain};
use crate::resource::Model;

/// Where models go that lie directly in `models/`.
const DEFAULT_NAMESPACE: &str = "gold";

/// The table that a file below `models/` is: `models/gold/daily.sql` is `gold.daily`, and so is
/// `models/gold/finance/daily.sql`. Whether the name is a good one is not asked here.
pub(crate) fn table_of(path: &str, default_namespace: Option<&str>) -> TableName {
    let below = path.strip_prefix("models/").unwrap_or(path);
    let (namespace, file) = match below.split_once('/') {
        Some((folder, rest)) => (folder, rest.rsplit('/').next().unwrap_or(rest)),
        None => (default_namespace.unwrap_or(DEFAULT_NAMESPACE), below),
    };
    TableName::new(namespace, file.rsplit_once('.').map_or(file, |(stem, _)| stem))
}

/// Makes the model of a file, or tells why it is none.
pub(crate) fn resolve(
    file: &Arc<str>,
    text: &Arc<str>,
    default_namespace: Option<&str>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Model> {
    let table = table_of(file, default_namespace);
    let span = Span::file(file);
    let wrong_name = check_namespace(&table.namespace, &span).or_else(|| check_plain("model", &table.name, &span));
    if let Some(found) = wrong_name {
        problems.push(found.hint("a model has its file's name, and the first folder below `models/` as namespace"));
        return None;
    }
    if is_blank(text) {
        let diagnostic = Diagnostic::error(codes::EMPTY, format!("model `{table}` is empty"));
        problems.push(diagnostic.at(span, "a `select` is missing"));
        return None;
    }
    Some(Model {
        table,
        sql: Arc::clone(text),
        span,
        description: None,
        columns: BTreeMap::new(),
        tags: Vec::new(),
        config: BTreeMap::new(),
    })
}

/// Nothing but white space and comments.
pub(crate) fn is_blank(sql: &str) -> bool {
    let mut rest = sql.trim_start();
    loop {
        rest = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, rest)| rest)
        } else {
            return rest.is_empty() || rest == ";";
        };
        rest = rest.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_namespaces() {
        for (path, want) in [
            ("models/gold/daily.sql", "gold.daily"),
            ("models/silver/crm/customers.sql", "silver.customers"),
            ("models/daily.sql", "gold.daily"),
            ("models/gold/a.b.sql", "gold.a.b"),
        ] {
            let table = table_of(path, None);
            assert_eq!(table.to_string(), want);
        }
        assert_eq!(table_of("models/x.sql", Some("mart")).to_string(), "mart.x");
    }

    #[test]
    fn blank_is_what_says_nothing() {
        for blank in ["", " \n", "-- later", "-- a\n/* b\n */ ;", "/* open"] {
            assert!(is_blank(blank), "{blank:?}");
        }
        assert!(!is_blank("-- a\nselect 1"));
        assert!(!is_blank("{{ config() }}"));
    }
}
