//! A line of source as a terminal shows it, and where on it a stretch of bytes lies.

use std::ops::Range;

use unicode_width::UnicodeWidthChar;

/// Tabs reach to the next multiple of this column.
const TAB_WIDTH: usize = 4;
/// Bytes of a line that are shown before and after the place that matters. A file may be one line of ten megabytes.
const BYTES_BEFORE: usize = 120;
const BYTES_AFTER: usize = 240;

/// A line that is ready to print, with the cells that a mark under it covers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ShownLine {
    pub(super) text: String,
    /// Cells of the terminal, from 0; never empty.
    pub(super) mark: Range<usize>,
}

/// Prepares `line` (without its end) for printing, with `mark` (bytes of the line) as cells.
pub(super) fn show_line(line: &str, mark: Range<usize>) -> ShownLine {
    let mark = clamp(line, mark);
    let window = window(line, &mark);
    let mut shown = String::with_capacity(window.len() + 8);
    let mut cells = 0;
    let push = |text: &mut String, cells: &mut usize, c: char| {
        text.push(c);
        *cells += c.width().unwrap_or(0);
    };
    if window.start > 0 {
        push(&mut shown, &mut cells, '…');
    }
    let mut first = None;
    let mut last = None;
    for (at, c) in line[window.clone()].char_indices() {
        let at = at + window.start;
        if at == mark.start {
            first = Some(cells);
        }
        if at == mark.end {
            last = Some(cells);
        }
        match c {
            '\t' => {
                let stop = (cells / TAB_WIDTH + 1) * TAB_WIDTH;
                while cells < stop {
                    push(&mut shown, &mut cells, ' ');
                }
            }
            // A file must not be able to move the cursor or recolour the terminal.
            c if c.is_control() || is_bidi_control(c) => push(&mut shown, &mut cells, '\u{fffd}'),
            c => push(&mut shown, &mut cells, c),
        }
    }
    let start = first.unwrap_or(cells);
    let end = last.unwrap_or(cells).max(start + 1);
    if window.end < line.len() {
        push(&mut shown, &mut cells, '…');
    }
    ShownLine { text: shown.trim_end().to_owned(), mark: start..end }
}

/// Text that goes on one line of the output whatever it holds.
pub(super) fn one_line(text: &str) -> String {
    let plain = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() || is_bidi_control(c) => '\u{fffd}',
        c => c,
    };
    text.trim_end().chars().map(plain).collect()
}

fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn clamp(line: &str, mark: Range<usize>) -> Range<usize> {
    let start = floor(line, mark.start);
    start..floor(line, mark.end).max(start)
}

fn window(line: &str, mark: &Range<usize>) -> Range<usize> {
    if line.len() <= BYTES_BEFORE + BYTES_AFTER {
        return 0..line.len();
    }
    floor(line, mark.start.saturating_sub(BYTES_BEFORE))..floor(line, mark.start + BYTES_AFTER)
}

/// The character boundary at or before `at`.
fn floor(line: &str, at: usize) -> usize {
    let mut at = at.min(line.len());
    while !line.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(line: &str, mark: Range<usize>) -> String {
        let shown = show_line(line, mark);
        format!("{}\n{}{}", shown.text, " ".repeat(shown.mark.start), "^".repeat(shown.mark.len()))
    }

    #[test]
    fn tabs_and_wide_characters_line_up() {
        assert_eq!(marked("\tx: 1", 1..2), "    x: 1\n    ^");
        assert_eq!(marked("ab\tx: 1", 3..4), "ab  x: 1\n    ^");
        // Two ideographs take two cells each, a combining accent none.
        assert_eq!(marked("名前: x", 8..9), "名前: x\n      ^");
        assert_eq!(marked("e\u{301}a: x", 3..4), "e\u{301}a: x\n ^");
    }

    #[test]
    fn an_empty_mark_or_one_at_the_end_still_shows() {
        assert_eq!(marked("abc", 3..3), "abc\n   ^");
        assert_eq!(marked("", 0..0), "\n^");
        assert_eq!(marked("abc", 1..99), "abc\n ^^");
    }

    #[test]
    fn control_characters_stay_in_the_file() {
        assert_eq!(show_line("a\u{1b}[31mb", 0..1).text, "a\u{fffd}[31mb");
        assert_eq!(show_line("a\u{202e}b", 0..1).text, "a\u{fffd}b");
    }

    #[test]
    fn a_very_long_line_is_cut_around_the_mark() {
        let line = format!("{}WRONG{}", "é".repeat(50_000), "ü".repeat(50_000));
        let shown = show_line(&line, 100_000..100_005);
        assert!(shown.text.len() < 400 && shown.text.starts_with('…') && shown.text.ends_with('…'), "{shown:?}");
        let marked: String = shown.text.chars().skip(shown.mark.start).take(shown.mark.len()).collect();
        assert_eq!(marked, "WRONG");
    }
}
