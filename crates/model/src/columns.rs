//! The columns of a query, as its text names them.

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{Expr, Query, SelectItem, SetExpr, Spanned, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Location;

/// Turns the tokenizer's lines and columns into byte offsets.
pub(crate) struct Offsets<'a> {
    sql: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Offsets<'a> {
    pub(crate) fn new(sql: &'a str) -> Self {
        let starts = std::iter::once(0).chain(sql.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { sql, line_starts: starts }
    }

    pub(crate) fn of(&self, location: Location) -> usize {
        let line = usize::try_from(location.line).unwrap_or(usize::MAX).saturating_sub(1);
        let column = usize::try_from(location.column).unwrap_or(usize::MAX).saturating_sub(1);
        let start = self.line_starts.get(line).copied().unwrap_or(self.sql.len());
        self.sql[start..].char_indices().nth(column).map_or(self.sql.len(), |(i, _)| start + i)
    }
}

/// Expressions of the outermost SELECT that have no name of their own: where each begins, and its text.
pub(crate) fn unnamed_columns(sql: &str) -> Vec<(Range<usize>, String)> {
    let Ok(statements) = Parser::parse_sql(&GenericDialect {}, sql) else { return Vec::new() };
    let Some(Statement::Query(query)) = statements.first() else { return Vec::new() };
    let offsets = Offsets::new(sql);
    let mut ranges = Vec::new();
    for item in first_select(query) {
        if let SelectItem::UnnamedExpr(expression) = item
            && !names_itself(expression)
        {
            let span = expression.span();
            ranges.push((offsets.of(span.start)..offsets.of(span.end), expression.to_string()));
        }
    }
    ranges
}

/// The SELECT list that names the columns of a query: the first one of a UNION.
fn first_select(query: &Query) -> &[SelectItem] {
    let mut body = query.body.as_ref();
    loop {
        match body {
            SetExpr::Select(select) => return &select.projection,
            SetExpr::SetOperation { left, .. } => body = left,
            SetExpr::Query(query) => body = query.body.as_ref(),
            _ => return &[],
        }
    }
}

/// A column, or the cast of one, is called as the column is.
fn names_itself(expression: &Expr) -> bool {
    match expression {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => true,
        Expr::Cast { expr, .. } | Expr::Nested(expr) => names_itself(expr),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::unnamed_columns;

    #[test]
    fn columns_without_a_name_are_found() {
        let sql = "select a, b as c, t.d, cast(e as date), sum(f), g + 1\nfrom t union all select 1, 2, 3, 4, 5, 6";
        let found: Vec<_> = unnamed_columns(sql).into_iter().map(|(range, text)| (range.start, text)).collect();
        assert_eq!(found, [(40, "sum(f)".to_owned()), (48, "g + 1".to_owned())]);
        assert!(unnamed_columns("with x as (select count(*) from t) select * from x").is_empty());
    }
}
