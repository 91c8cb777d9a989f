//! Names and values as SQL text.

use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;
use polder_base::TableName;
use serde_json::Value;

/// A name as SQL, quoted only where it has to be.
pub(crate) fn ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && ALL_KEYWORDS.binary_search(&name.to_ascii_uppercase().as_str()).is_err();
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

pub(crate) fn table(name: &TableName) -> String {
    format!("{}.{}", ident(&name.namespace), ident(&name.name))
}

pub(crate) fn idents(names: &[String]) -> String {
    names.iter().map(|n| ident(n)).collect::<Vec<_>>().join(", ")
}

pub(crate) fn text_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A YAML scalar as a SQL literal. Text that is a literal with a type (`date '2026-01-01'`) stays as it is written.
pub(crate) fn literal(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) if is_typed_literal(text) => text.clone(),
        Value::String(text) => text_literal(text),
        other => other.to_string(),
    }
}

fn is_typed_literal(text: &str) -> bool {
    let Some((kind, rest)) = text.trim().split_once(char::is_whitespace) else { return false };
    let rest = rest.trim();
    let quoted =
        rest.len() >= 2 && rest.starts_with('\'') && rest.ends_with('\'') && !rest[1..rest.len() - 1].contains('\'');
    quoted && ["date", "timestamp", "timestamptz", "time", "interval"].contains(&kind.to_lowercase().as_str())
}

/// A value as a person would write it in a message.
pub(crate) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ident, literal};

    #[test]
    fn names_are_quoted_where_they_must_be() {
        assert_eq!(ident("order_id"), "order_id");
        assert_eq!(ident("order"), "\"order\"");
        assert_eq!(ident("größe"), "\"größe\"");
        assert_eq!(ident("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn scalars_become_literals() {
        assert_eq!(literal(&json!("it's")), "'it''s'");
        assert_eq!(literal(&json!(1.5)), "1.5");
        assert_eq!(literal(&json!(true)), "true");
        assert_eq!(literal(&json!("date '2026-01-01'")), "date '2026-01-01'");
        assert_eq!(literal(&json!("date of birth 'x'")), "'date of birth ''x'''");
    }
}
