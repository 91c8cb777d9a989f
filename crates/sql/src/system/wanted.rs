//! What a statement wants of a system table, so far as knowing it spares reading.

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;

/// Equalities of a statement's filters.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) run: Option<u64>,
    /// Rows that are enough, where no filter is left to apply.
    pub(super) limit: Option<usize>,
}

impl Wanted {
    pub(super) fn of(filters: &[Expr], limit: Option<usize>) -> Self {
        let mut wanted = Self { limit, ..Self::default() };
        for (column, value) in filters.iter().filter_map(equality) {
            match (column, value) {
                ("namespace" | "table_schema", Value::Text(text)) => wanted.namespace = Some(text),
                ("name" | "table_name", Value::Text(text)) => wanted.name = Some(text),
                ("run", Value::Number(number)) => wanted.run = Some(number),
                _ => {}
            }
        }
        wanted
    }

    /// Whether a filter is one of those that `of` takes something from.
    pub(super) fn understands(filter: &Expr) -> bool {
        matches!(
            equality(filter),
            Some(("namespace" | "table_schema" | "name" | "table_name", Value::Text(_)) | ("run", Value::Number(_)))
        )
    }

    pub(super) fn takes(&self, namespace: &str, name: &str) -> bool {
        self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
            && self.name.as_deref().is_none_or(|wanted| wanted == name)
    }
}

enum Value {
    Text(String),
    Number(u64),
}

fn equality(filter: &Expr) -> Option<(&str, Value)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else {
        return None;
    };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _)) | (Expr::Literal(value, _), Expr::Column(column)) => {
            let value = match value {
                ScalarValue::Utf8(Some(text))
                | ScalarValue::Utf8View(Some(text))
                | ScalarValue::LargeUtf8(Some(text)) => Value::Text(text.clone()),
                ScalarValue::Int64(Some(number)) => Value::Number(u64::try_from(*number).ok()?),
                _ => return None,
            };
            Some((column.name(), value))
        }
        _ => None,
    }
}
