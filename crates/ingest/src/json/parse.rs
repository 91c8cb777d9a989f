//! A pull parser for one JSON value (RFC 8259), over text that is known to be UTF-8. Numbers are handed out as they are
//! written, so that decimals stay exact.

use std::borrow::Cow;

/// How deep values may be nested.
const MAX_DEPTH: u32 = 128;

/// Why a text is not JSON, and after how many bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    pub what: &'static str,
    pub at: usize,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not JSON: {} after {} bytes", self.what, self.at)
    }
}

type Result<T> = std::result::Result<T, Malformed>;

#[derive(Debug, Clone)]
pub struct Json<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Null,
    Boolean,
    Number,
    String,
    Object,
    List,
}

impl<'a> Json<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn wrong(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.at }
    }

    #[inline]
    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.bytes().get(self.at) {
            self.at += 1;
        }
    }

    /// The kind of the value that begins here.
    #[inline]
    pub fn next(&mut self) -> Result<Next> {
        self.skip_blanks();
        match self.bytes().get(self.at) {
            Some(b'"') => Ok(Next::String),
            Some(b'-' | b'0'..=b'9') => Ok(Next::Number),
            Some(b'{') => Ok(Next::Object),
            Some(b'[') => Ok(Next::List),
            Some(b't' | b'f') => Ok(Next::Boolean),
            Some(b'n') => Ok(Next::Null),
            Some(_) => Err(self.wrong("no value begins here")),
            None => Err(self.wrong("it ends too early")),
        }
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if self.bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.wrong("an unknown word"))
    }

    pub fn null(&mut self) -> Result<()> {
        self.word("null")
    }

    pub fn boolean(&mut self) -> Result<bool> {
        if self.bytes().get(self.at) == Some(&b't') {
            self.word("true").map(|()| true)
        } else {
            self.word("false").map(|()| false)
        }
    }

    /// The number as it is written.
    pub fn number(&mut self) -> Result<&'a str> {
        let start = self.at;
        if self.bytes().get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let whole = self.digits();
        if whole == 0 || (whole > 1 && self.bytes()[self.at - whole] == b'0') {
            return Err(self.wrong("a malformed number"));
        }
        if self.bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.wrong("a malformed number"));
            }
        }
        if let Some(b'e' | b'E') = self.bytes().get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes().get(self.at) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.wrong("a malformed number"));
            }
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at - start
    }

    pub fn string(&mut self) -> Result<Cow<'a, str>> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            match self.bytes().get(at) {
                Some(b'"') => break,
                Some(b'\\') => return self.escaped_string(start, at),
                Some(b) if *b >= 0x20 => at += 1,
                Some(_) => {
                    self.at = at;
                    return Err(self.wrong("a control character in a string"));
                }
                None => {
                    self.at = at;
                    return Err(self.wrong("it ends within a string"));
                }
            }
        }
        self.at = at + 1;
        Ok(Cow::Borrowed(&self.text[start..at]))
    }

    fn escaped_string(&mut self, start: usize, first: usize) -> Result<Cow<'a, str>> {
        let mut out = String::with_capacity(first - start + 16);
        out.push_str(&self.text[start..first]);
        self.at = first;
        loop {
            match self.bytes().get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => out.push(self.escape()?),
                Some(b) if *b >= 0x20 => {
                    let run =
                        self.bytes()[self.at..].iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..0x20)).count();
                    out.push_str(&self.text[self.at..self.at + run]);
                    self.at += run;
                }
                Some(_) => return Err(self.wrong("a control character in a string")),
                None => return Err(self.wrong("it ends within a string")),
            }
        }
        self.at += 1;
        Ok(Cow::Owned(out))
    }

    fn escape(&mut self) -> Result<char> {
        let c = match self.bytes().get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.wrong("an unknown escape")),
        };
        self.at += 2;
        Ok(c)
    }

    fn unicode_escape(&mut self) -> Result<char> {
        let first = self.four_hex(self.at + 2)?;
        self.at += 6;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first).ok_or_else(|| self.wrong("an unknown escape"));
        }
        // A character beyond 0xffff is written as two halves.
        let paired = first < 0xdc00 && self.bytes()[self.at..].starts_with(b"\\u");
        let second = if paired { self.four_hex(self.at + 2)? } else { 0 };
        if !(0xdc00..0xe000).contains(&second) {
            return Err(self.wrong("half a character as an escape"));
        }
        self.at += 6;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
            .ok_or_else(|| self.wrong("an unknown escape"))
    }

    fn four_hex(&self, at: usize) -> Result<u32> {
        let digits = self.bytes().get(at..at + 4).ok_or_else(|| self.wrong("it ends within a string"))?;
        digits.iter().try_fold(0, |value, b| {
            char::from(*b).to_digit(16).map(|d| value * 16 + d).ok_or_else(|| self.wrong("an unknown escape"))
        })
    }

    /// Steps into an object or list. Each must be left with [`Self::next_key`] or [`Self::next_item`] giving the end.
    #[inline]
    pub fn enter(&mut self) -> Result<()> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.wrong("values are nested too deeply")) } else { Ok(()) }
    }

    /// The next key of the object that was entered; its value comes next. `None`: the object ended.
    #[inline]
    pub fn next_key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>> {
        if self.ended(b'}', first)? {
            return Ok(None);
        }
        if self.bytes().get(self.at) != Some(&b'"') {
            return Err(self.wrong("a key is expected"));
        }
        let key = self.string()?;
        self.skip_blanks();
        if self.bytes().get(self.at) != Some(&b':') {
            return Err(self.wrong("`:` is expected"));
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Whether the list that was entered has another item, which comes next.
    #[inline]
    pub fn next_item(&mut self, first: bool) -> Result<bool> {
        Ok(!self.ended(b']', first)?)
    }

    #[inline]
    fn ended(&mut self, close: u8, first: bool) -> Result<bool> {
        self.skip_blanks();
        match self.bytes().get(self.at) {
            Some(b) if *b == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(true)
            }
            _ if first => Ok(false),
            Some(b',') => {
                self.at += 1;
                self.skip_blanks();
                Ok(false)
            }
            Some(_) => Err(self.wrong("`,` is expected")),
            None => Err(self.wrong("it ends too early")),
        }
    }

    /// Passes over a value; gives its text.
    pub fn raw(&mut self) -> Result<&'a str> {
        let kind = self.next()?;
        let start = self.at;
        match kind {
            Next::Null => self.null()?,
            Next::Boolean => drop(self.boolean()?),
            Next::Number => drop(self.number()?),
            Next::String => drop(self.string()?),
            Next::Object => {
                self.enter()?;
                let mut first = true;
                while self.next_key(first)?.is_some() {
                    self.raw()?;
                    first = false;
                }
            }
            Next::List => {
                self.enter()?;
                let mut first = true;
                while self.next_item(first)? {
                    self.raw()?;
                    first = false;
                }
            }
        }
        Ok(&self.text[start..self.at])
    }

    /// Nothing but blanks may follow.
    pub fn end(&mut self) -> Result<()> {
        self.skip_blanks();
        if self.at == self.text.len() { Ok(()) } else { Err(self.wrong("something follows the value")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(text: &str) -> bool {
        let mut json = Json::new(text);
        json.raw().and_then(|_| json.end()).is_ok()
    }

    #[test]
    fn agrees_with_serde_json_on_odd_texts() {
        for text in [
            "{}",
            "[]",
            "null",
            "nul",
            "-",
            "-0",
            "01",
            "1.",
            ".5",
            "1e",
            "1e+5",
            "1E-05",
            "\"a",
            "\"\\u00e9\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\x\"",
            "{\"a\":1,}",
            "{,}",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\" 1}",
            "{a:1}",
            "1 2",
            "",
            " ",
            "\"\t\"",
            "{\"a\":{\"b\":[1,{\"c\":null}]}}",
            "tru",
            "truefalse",
            "\"\\ud83d\\u0041\"",
            "{\"a\":1",
            "[\"\\\"\"]",
        ] {
            assert_eq!(accepts(text), serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn strings_are_decoded() {
        for text in ["\"a\\n\\\"b\\\\\\/é\\u00e9\"", "\"\\ud83d\\ude00x\"", "\"\""] {
            let want: String = serde_json::from_str(text).unwrap();
            assert_eq!(Json::new(text).string().unwrap(), want);
        }
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(accepts(&format!("{}{}", "[".repeat(128), "]".repeat(128))));
        assert!(!accepts(&format!("{}{}", "[".repeat(129), "]".repeat(129))));
        assert!(!accepts(&"[".repeat(1_000_000)));
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"([\[\]{}:, ]|"a"|"\\u00e9"|-?[0-9]{1,3}|[.eE+]|null|true|false){0,12}"#) {
            prop_assert_eq!(accepts(&text), serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }
}
