//! Text of a known width on the screen.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// What a line end becomes where there is one line only.
pub const LINE_END: char = '⏎';

/// The text on one line: control characters become visible, so that data cannot steer the terminal.
pub fn one_line(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| match c {
            '\n' => LINE_END,
            '\t' => ' ',
            c if c.is_control() => '␦',
            c => c,
        })
        .collect()
}

/// The text cut to `limit` columns, with `…` where something is missing.
pub fn fit(text: &str, limit: usize) -> String {
    if text.width() <= limit {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > limit {
            break;
        }
        out.push(c);
        used += w;
    }
    if limit > 0 {
        out.push('…');
    }
    out
}

pub fn pad_right(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(text.width())))
}

pub fn pad_left(text: &str, to: usize) -> String {
    format!("{}{text}", " ".repeat(to.saturating_sub(text.width())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(width("日本"), 4);
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("orders", 6), "orders");
        assert_eq!(fit("orders", 4), "ord…");
        assert_eq!(pad_left("é", 3), "  é");
    }

    #[test]
    fn data_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\n\u{1b}[2J"), "a⏎␦[2J");
    }
}
