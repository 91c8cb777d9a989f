//! The tree of a YAML file.

use std::fmt;
use std::ops::Range;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Error, Location, Spanned};

/// One value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Bytes of the file. A list or mapping reaches from its first to its last part.
    pub(crate) span: Range<usize>,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// As it was written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file, duplicates included.
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) value: Node,
}

impl Value {
    /// What a person would call it: `a list`.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// A scalar as a program takes it. Numbers beyond 64 bits become floating point.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Number(text) => number(text).map_or_else(|| Json::String(text.clone()), Json::Number),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect(),
        }
    }
}

fn number(text: &str) -> Option<serde_json::Number> {
    let plain = text.strip_prefix('+').unwrap_or(text);
    plain
        .parse::<u64>()
        .map(serde_json::Number::from)
        .or_else(|_| plain.parse::<i64>().map(serde_json::Number::from))
        .ok()
        .or_else(|| serde_json::Number::from_f64(plain.parse().ok()?))
}

/// A file that is no YAML: what the parser says, and where.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    pub(crate) span: Range<usize>,
}

/// Parses one document. `None`: the file is empty, or nothing but comments.
pub(crate) fn parse(text: &str) -> Result<Option<Node>, SyntaxError> {
    let options = serde_saphyr::options! {
        // Told by `Decode`, with both places.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // A column called `on` or `no` is a column, and `007` is no number.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Parsed>(text, options) {
        Ok(parsed) => {
            let node = parsed.into_node(text);
            Ok((!matches!(node.value, Value::Null)).then_some(node))
        }
        Err(Error::Eof { .. }) => Ok(None),
        Err(error) => Err(syntax_error(&error, text)),
    }
}

fn syntax_error(error: &Error, text: &str) -> SyntaxError {
    let span = error.location().map_or(0..0, |location| bytes(location, text));
    let message = plain_message(error);
    // The parser places a tag behind its value.
    let tag = message.strip_prefix("unsupported tag `").and_then(|rest| rest.split('`').next());
    let span = tag.and_then(|tag| text.find(tag).map(|at| at..at + tag.len())).unwrap_or(span);
    let span = if span.is_empty() && span.start >= text.trim_end().len() && !text.is_empty() {
        // "Unexpected end": the last line says more than the empty one behind it.
        let end = text.trim_end().len();
        end..end
    } else {
        span
    };
    SyntaxError { message, span }
}

/// The parser's message without the place, which the diagnostic shows itself.
fn plain_message(error: &Error) -> String {
    let message = error.without_snippet().to_string();
    let first = message.lines().next().unwrap_or_default();
    let cut = [" at line ", " (line ", ", line "].iter().filter_map(|mark| first.find(mark)).min();
    let plain = cut.map_or(first, |at| &first[..at]);
    plain.trim_end_matches(['.', ':', ' ']).to_owned()
}

fn bytes(location: Location, text: &str) -> Range<usize> {
    let span = location.span();
    let size = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok());
    let start = size(span.byte_offset()).unwrap_or_else(|| offset_of(location, text)).min(text.len());
    let end = start.saturating_add(size(span.byte_len()).unwrap_or(0)).min(text.len());
    start..end
}

/// For the rare place without a byte offset: from line and column.
fn offset_of(location: Location, text: &str) -> usize {
    let line = usize::try_from(location.line()).unwrap_or(1).saturating_sub(1);
    let column = usize::try_from(location.column()).unwrap_or(1).saturating_sub(1);
    let line_start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = &text[line_start.min(text.len())..];
    line_start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
}

/// A value as the parser hands it over.
struct Parsed(Spanned<Shape>);

enum Shape {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Parsed>),
    Map(Vec<(Parsed, Parsed)>),
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Shape, E> {
        Ok(Shape::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Shape, E> {
        Ok(Shape::Number(v.to_string()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Shape, E> {
        Ok(Shape::Number(v.to_string()))
    }

    fn visit_i128<E>(self, v: i128) -> Result<Shape, E> {
        Ok(Shape::Number(v.to_string()))
    }

    fn visit_u128<E>(self, v: u128) -> Result<Shape, E> {
        Ok(Shape::Number(v.to_string()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Shape, E> {
        Ok(Shape::Number(v.to_string()))
    }

    fn visit_str<E>(self, v: &str) -> Result<Shape, E> {
        Ok(Shape::Text(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Shape, E> {
        Ok(Shape::Text(v))
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        Shape::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        Shape::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Shape, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Shape::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Shape, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Parsed>()? {
            if matches!(key.0.value, Shape::List(_) | Shape::Map(_)) {
                return Err(de::Error::custom("a key is a word, not a list or mapping"));
            }
            entries.push((key, access.next_value()?));
        }
        Ok(Shape::Map(entries))
    }
}

impl Parsed {
    fn into_node(self, text: &str) -> Node {
        let span = bytes(self.0.referenced, text);
        // What an alias stands for is written where its anchor is.
        let written = text.get(bytes(self.0.defined, text)).unwrap_or_default().trim().to_owned();
        let value = match self.0.value {
            Shape::Null => Value::Null,
            Shape::Bool(b) => Value::Bool(b),
            Shape::Number(value) => Value::Number(if looks_like_number(&written) { written } else { value }),
            Shape::Text(s) => Value::Text(s),
            Shape::List(items) => Value::List(items.into_iter().map(|item| item.into_node(text)).collect()),
            Shape::Map(entries) => {
                Value::Map(rejoin(entries.into_iter().map(|(k, v)| entry(k, v, text)).collect(), text))
            }
        };
        let span = reach(span, &value);
        Node { span, value }
    }
}

fn looks_like_number(written: &str) -> bool {
    written.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) && written.parse::<f64>().is_ok()
}

fn entry(key: Parsed, value: Parsed, text: &str) -> Entry {
    let key = key.into_node(text);
    let name = match key.value {
        Value::Text(text) | Value::Number(text) => text,
        Value::Bool(b) => b.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) => "null".to_owned(),
    };
    Entry { key: name, key_span: key.span, value: value.into_node(text) }
}

/// Puts together what a comma in parentheses has torn apart: in `{ price: decimal(12,2) }` YAML sees a key `price` with
/// the value `decimal(12`, and a key `2)` without any.
fn rejoin(entries: Vec<Entry>, text: &str) -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(last) = out.last_mut()
            && let Value::Text(torn) = &mut last.value.value
            && is_open(torn)
            && matches!(entry.value.value, Value::Null)
            && let Some(whole) = text.get(last.value.span.start..entry.key_span.end)
            // Quoted text says what it means.
            && whole.starts_with(torn.as_str())
        {
            *torn = whole.to_owned();
            last.value.span.end = entry.key_span.end;
            continue;
        }
        out.push(entry);
    }
    out
}

fn is_open(text: &str) -> bool {
    text.matches('(').count() > text.matches(')').count()
}

/// The parser places a collection at its start only: stretch it to its last part.
fn reach(span: Range<usize>, value: &Value) -> Range<usize> {
    let last = match value {
        Value::List(items) => items.last().map(|item| item.span.end),
        Value::Map(entries) => entries.last().map(|e| e.value.span.end.max(e.key_span.end)),
        _ => None,
    };
    // An alias expands to parts that stand elsewhere.
    span.start..last.unwrap_or(span.end).max(span.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every scalar and key with the text that its span covers.
    fn spans(text: &str) -> Vec<(String, String)> {
        fn walk(node: &Node, text: &str, out: &mut Vec<(String, String)>) {
            let covered = text[node.span.clone()].to_owned();
            match &node.value {
                Value::List(items) => items.iter().for_each(|n| walk(n, text, out)),
                Value::Map(entries) => {
                    for e in entries {
                        out.push((format!("{}:", e.key), text[e.key_span.clone()].to_owned()));
                        walk(&e.value, text, out);
                    }
                }
                Value::Null => out.push(("null".into(), covered)),
                Value::Bool(b) => out.push((b.to_string(), covered)),
                Value::Number(s) | Value::Text(s) => out.push((s.clone(), covered)),
            }
        }
        let mut out = Vec::new();
        walk(&parse(text).unwrap().unwrap(), text, &mut out);
        out
    }

    fn pairs(items: &[(&str, &str)]) -> Vec<(String, String)> {
        items.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn scalars_know_their_places() {
        assert_eq!(
            spans("ä: { key: 'it''s', n: 1.10 }\nlist: [on, 007, 1_000, true, ~]\n"),
            pairs(&[
                ("ä:", "ä"),
                ("key:", "key"),
                ("it's", "'it''s'"),
                ("n:", "n"),
                ("1.10", "1.10"),
                ("list:", "list"),
                ("on", "on"),
                ("007", "007"),
                ("1_000", "1_000"),
                ("true", "true"),
                ("null", "~"),
            ])
        );
    }

    #[test]
    fn aliases_point_at_their_use() {
        assert_eq!(spans("a: &x 1.50\nb: *x\n"), pairs(&[("a:", "a"), ("1.50", "1.50"), ("b:", "b"), ("1.50", "*x")]));
    }

    #[test]
    fn collections_reach_to_their_last_part() {
        let text = "tables:\n  orders: { key: id }\n  more: full\nlast: 1\n";
        let node = parse(text).unwrap().unwrap();
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        assert_eq!(&text[entries[0].value.span.clone()], "orders: { key: id }\n  more: full");
        assert_eq!(node.span, 0..text.len() - 1);
    }

    #[test]
    fn commas_in_parentheses_tear_nothing() {
        assert_eq!(
            spans("{ a: decimal(12,2), b: coalesce(x, y,z), c: (1, d: '(', e }"),
            pairs(&[
                ("a:", "a"),
                ("decimal(12,2)", "decimal(12,2)"),
                ("b:", "b"),
                ("coalesce(x, y,z)", "coalesce(x, y,z)"),
                ("c:", "c"),
                ("(1", "(1"),
                ("d:", "d"),
                ("(", "'('"),
                ("e:", "e"),
                ("null", ""),
            ])
        );
    }

    #[test]
    fn nothing_is_nothing() {
        for text in ["", "\n\n", "# only a comment\n", "---\n", "~"] {
            assert!(parse(text).unwrap().is_none(), "{text:?}");
        }
    }

    #[test]
    fn bad_syntax_has_a_place() {
        for (text, at) in [("a: [1, 2\n", 3), ("a: 1\n b: 2\n", 7), ("a: !!python/object x\n", 3), ("a: *nope\n", 3)] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.span.start, at, "{text:?} {error:?}");
            assert!(!error.message.contains("line"), "{error:?}");
        }
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
        assert!(parse("? [a, b]\n: 1\n").is_err());
    }

    #[test]
    fn bombs_are_refused() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let previous = if i == 1 { "a".to_owned() } else { format!("a{}", i - 1) };
            bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*{previous}"); 10].join(", ")));
        }
        assert!(parse(&bomb).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
