//! Names and values as SQL text.

use polder_base::{quote_name, quote_text};
use serde_json::Value;

pub(crate) fn idents(names: &[String]) -> String {
    names.iter().map(|n| quote_name(n)).collect::<Vec<_>>().join(", ")
}

/// A YAML scalar as a SQL literal. Text that is a literal with a type (`date '2026-01-01'`) stays as it is written.
pub(crate) fn literal(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) if is_typed_literal(text) => text.clone(),
        Value::String(text) => quote_text(text),
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

    use super::literal;

    #[test]
    fn scalars_become_literals() {
        assert_eq!(literal(&json!("it's")), "'it''s'");
        assert_eq!(literal(&json!(1.5)), "1.5");
        assert_eq!(literal(&json!(true)), "true");
        assert_eq!(literal(&json!("date '2026-01-01'")), "date '2026-01-01'");
        assert_eq!(literal(&json!("date of birth 'x'")), "'date of birth ''x'''");
    }
}
