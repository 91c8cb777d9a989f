//! Names and texts as SQL takes them.

use crate::TableName;

/// Words that no column or table can be called without quotes: those that SQL's standard or PostgreSQL reserves, and
/// those that our parser takes for something else. In order.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "anti",
    "any",
    "array",
    "as",
    "asc",
    "asof",
    "asymmetric",
    "authorization",
    "between",
    "binary",
    "both",
    "by",
    "case",
    "cast",
    "check",
    "cluster",
    "collate",
    "column",
    "connect",
    "constraint",
    "create",
    "cross",
    "cube",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "delete",
    "desc",
    "distinct",
    "distribute",
    "do",
    "drop",
    "else",
    "end",
    "except",
    "exclude",
    "exists",
    "explain",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "full",
    "global",
    "grant",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "insert",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "match_recognize",
    "minus",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "over",
    "overlaps",
    "partition",
    "pivot",
    "placing",
    "prewhere",
    "primary",
    "qualify",
    "references",
    "returning",
    "right",
    "rlike",
    "rollup",
    "sample",
    "select",
    "semi",
    "session_user",
    "set",
    "settings",
    "similar",
    "some",
    "sort",
    "start",
    "struct",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "to",
    "top",
    "trailing",
    "trim",
    "true",
    "union",
    "unique",
    "unnest",
    "unpivot",
    "update",
    "user",
    "using",
    "values",
    "variadic",
    "view",
    "when",
    "where",
    "window",
    "with",
];

/// A name as SQL, quoted only where it has to be: folding to lower case must not change it, and it must be no word of
/// SQL's own.
pub fn quote_name(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && RESERVED.binary_search(&name).is_err();
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A text as SQL.
pub fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl TableName {
    /// The name as SQL, quoted only where it has to be. A nested namespace is one quoted name.
    pub fn sql(&self) -> String {
        format!("{}.{}", quote_name(&self.namespace), quote_name(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        for plain in ["order_id", "_id", "date", "name", "status", "amount2"] {
            assert_eq!(quote_name(plain), plain);
        }
        for (name, quoted) in [
            ("order", "\"order\""),
            ("select", "\"select\""),
            ("größe", "\"größe\""),
            ("Name", "\"Name\""),
            ("2024", "\"2024\""),
            ("a b", "\"a b\""),
            ("a\"b", "\"a\"\"b\""),
            ("", "\"\""),
        ] {
            assert_eq!(quote_name(name), quoted);
        }
        assert_eq!(TableName::new("finance.eu", "ledger").sql(), "\"finance.eu\".ledger");
        assert_eq!(quote_text("it's"), "'it''s'");
    }

    #[test]
    fn reserved_words_are_in_order() {
        assert!(RESERVED.is_sorted());
    }
}
