//! A statement that is being typed, in pieces: as much of SQL as completion needs, whatever is still missing.

use std::ops::Range;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A word or a name, with its dots and quotes: `select`, `gold.daily`, `o."Total"`, `o.`.
    Word,
    /// A text in single quotes, perhaps not closed yet.
    Text,
    Comment,
    Number,
    /// Any other character.
    Sign,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Where it starts, in bytes.
    pub start: usize,
}

impl Token<'_> {
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// Whether it is this word of SQL, which is written in lower case here.
    pub fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    pub fn is_sign(&self, sign: char) -> bool {
        self.kind == Kind::Sign && self.text.starts_with(sign)
    }
}

/// The tokens of a text, white space left out.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, length) = match first {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '\'' => (Kind::Text, quoted(rest, '\'')),
            '-' if rest.starts_with("--") => (Kind::Comment, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (Kind::Comment, rest.find("*/").map_or(rest.len(), |end| end + 2)),
            c if c == '"' || is_of_word(c) && !c.is_ascii_digit() => (Kind::Word, word(rest)),
            c if c.is_ascii_digit() => {
                (Kind::Number, rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len()))
            }
            c => (Kind::Sign, c.len_utf8()),
        };
        tokens.push(Token { kind, text: &rest[..length], start: at });
        at += length;
    }
    tokens
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of what begins with a quote: up to the next one that is not doubled, or the end.
fn quoted(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// The length of a name with its dots.
fn word(text: &str) -> usize {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        at += match c {
            '"' => quoted(&text[at..], '"'),
            c if is_of_word(c) || c == '.' || c == '$' => c.len_utf8(),
            _ => break,
        };
    }
    at
}

/// The parts of a name, unquoted and folded as SQL folds them; the last is empty after a dot at the end.
pub fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut in_quotes = false;
    for c in name.chars() {
        match c {
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => parts.push(String::new()),
            c => {
                let Some(part) = parts.last_mut() else { continue };
                if in_quotes { part.push(c) } else { part.extend(c.to_lowercase()) }
            }
        }
    }
    parts
}

/// A name as it is typed: what stands before its last dot, with that, and the rest.
pub fn split_last(name: &str) -> (&str, &str) {
    let mut in_quotes = false;
    let mut after_dot = 0;
    for (at, c) in name.char_indices() {
        match c {
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => after_dot = at + 1,
            _ => {}
        }
    }
    name.split_at(after_dot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_dots_and_quotes() {
        let text = r#"select o."Big Total", 'it''s' -- why; not
            from "finance.eu".ledger o where 1.5e3 /* ; */ = 'open"#;
        let texts: Vec<&str> = tokens(text).iter().map(|t| t.text).collect();
        let want = [
            "select",
            r#"o."Big Total""#,
            ",",
            "'it''s'",
            "-- why; not",
            "from",
            r#""finance.eu".ledger"#,
            "o",
            "where",
            "1.5e3",
            "/* ; */",
            "=",
            "'open",
        ];
        assert_eq!(texts, want);
        assert_eq!(parts(r#""finance.eu".Ledger"#), ["finance.eu", "ledger"]);
        assert_eq!(split_last(r#""finance.eu".le"#), (r#""finance.eu"."#, "le"));
    }
}
