//! Where a piece of text came from.

use std::ops::Range;
use std::sync::Arc;

use polder_diag::Span;

/// From places in a derived text to places in the files that it was made from.
#[derive(Debug, Clone, Default)]
pub struct SpanMap {
    /// In the order of `start`; each reaches to the next one.
    segments: Vec<Segment>,
}

#[derive(Debug, Clone)]
struct Segment {
    start: usize,
    origin: Origin,
}

/// What a piece of text came from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) file: Arc<str>,
    pub(crate) range: Range<usize>,
    /// Copied byte by byte; otherwise all of the text came from all of the range.
    pub(crate) copied: bool,
}

impl Origin {
    pub(crate) fn span(&self) -> Span {
        Span::new(&self.file, self.range.clone())
    }

    /// The place of a byte that is `offset` bytes behind the start.
    fn at(&self, offset: usize) -> Range<usize> {
        if self.copied {
            let at = (self.range.start + offset).min(self.range.end);
            at..at
        } else {
            self.range.clone()
        }
    }
}

impl SpanMap {
    /// The map of a text that is the file's own.
    pub fn identity(file: &Arc<str>, length: usize) -> Self {
        let mut map = Self::default();
        map.push(0, Origin { file: Arc::clone(file), range: 0..length, copied: true });
        map
    }

    /// What follows `start` came from `origin`.
    pub(crate) fn push(&mut self, start: usize, origin: Origin) {
        if self.segments.last().is_some_and(|last| last.start == start) {
            self.segments.pop();
        }
        self.segments.push(Segment { start, origin });
    }

    /// Where the bytes `range` of the derived text came from. Text that an expression made came from the expression.
    /// `None`: the text is empty.
    pub fn to_source(&self, range: Range<usize>) -> Option<Span> {
        let first = self.segment(range.start)?;
        let start = first.origin.at(range.start - first.start);
        if range.end <= range.start {
            return Some(Span::new(&first.origin.file, start));
        }
        // The last byte decides: the end of a piece belongs to the piece, not to what follows it.
        let last = self.segment(range.end - 1)?;
        let end = last.origin.at(range.end - last.start);
        if last.origin.file != first.origin.file {
            return Some(first.origin.span());
        }
        // In a loop the end may lie before the start: then as far as the first piece goes.
        let end = if end.end < start.start { first.origin.range.end } else { end.end };
        Some(Span::new(&first.origin.file, start.start..end))
    }

    fn segment(&self, at: usize) -> Option<&Segment> {
        let after = self.segments.partition_point(|s| s.start <= at);
        self.segments.get(after.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_and_made_text() {
        let file: Arc<str> = "m.sql".into();
        let mut map = SpanMap::default();
        // `from {{ ref('x') }} o` became `from silver.x o`.
        let origin = |range: Range<usize>, copied| Origin { file: Arc::clone(&file), range, copied };
        map.push(0, origin(0..5, true));
        map.push(5, origin(8..16, false));
        map.push(13, origin(19..21, true));
        let source = |range| map.to_source(range).map(|s| s.start..s.end);
        assert_eq!(source(0..4), Some(0..4));
        assert_eq!(source(5..13), Some(8..16));
        assert_eq!(source(7..9), Some(8..16));
        assert_eq!(source(14..15), Some(20..21));
        assert_eq!(source(3..15), Some(3..21));
        assert_eq!(source(100..101), Some(21..21));
        assert_eq!(SpanMap::default().to_source(0..1), None);
    }
}
