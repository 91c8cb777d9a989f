//! The text of a statement, and places in it.

use std::ops::Range;
use std::sync::Arc;

use datafusion::sql::sqlparser::tokenizer::{Location, Span as TokenSpan};
use polder_diag::{Diagnostic, Span};

/// The name that diagnostics give to the text of a statement.
pub const FILE: &str = "sql";

/// Turns lines and columns, as the parser counts them, into byte offsets.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) sql: Arc<str>,
    file: Arc<str>,
    /// Where each line starts.
    lines: Vec<usize>,
}

impl Text {
    pub(crate) fn new(sql: &str) -> Self {
        let lines = std::iter::once(0).chain(sql.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { sql: sql.into(), file: FILE.into(), lines }
    }

    /// The byte offset of a line and a column, both from 1; columns count characters.
    pub(crate) fn offset(&self, line: u64, column: u64) -> usize {
        let line = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
        let Some(start) = self.lines.get(line).copied() else {
            return self.sql.len();
        };
        let column = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
        self.sql[start..].char_indices().nth(column).map_or(self.sql.len(), |(at, _)| start + at)
    }

    pub(crate) fn at(&self, location: Location) -> usize {
        self.offset(location.line, location.column)
    }

    /// `None`: the parser gave no place.
    pub(crate) fn range(&self, span: TokenSpan) -> Option<Range<usize>> {
        (span.start.line > 0).then(|| self.at(span.start)..self.at(span.end))
    }

    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        Span::new(&self.file, range)
    }

    /// A diagnostic that points at a range of the statement.
    pub(crate) fn problem(&self, code: &'static str, range: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, message).at(self.span(range), "")
    }

    /// The word that starts at an offset, for errors that give only a place.
    pub(crate) fn word_at(&self, start: usize) -> Range<usize> {
        let rest = self.sql.get(start..).unwrap_or("");
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = length.max(rest.chars().next().map_or(0, char::len_utf8));
        start..start + length
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn columns_count_characters() {
        let text = Text::new("select 'größe',\n  x from t");
        assert_eq!(&text.sql[text.offset(1, 15)..text.offset(1, 15) + 1], ",");
        assert_eq!(&text.sql[text.word_at(text.offset(2, 3))], "x");
        assert_eq!(text.offset(9, 1), text.sql.len());
    }
}
