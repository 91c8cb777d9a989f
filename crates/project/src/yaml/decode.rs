//! From the tree to typed raw forms.

use std::borrow::Cow;
use std::sync::Arc;

use polder_base::nearest;
use polder_diag::{Diagnostic, Span};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::node::{Entry, Node, Value};
use crate::codes;

/// Where the problems of one file are gathered.
pub(crate) struct Problems<'a> {
    file: Arc<str>,
    out: &'a mut Vec<Diagnostic>,
    /// The keys that lead to the value at hand: `tables.orders.key`.
    path: Vec<String>,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(file: &Arc<str>, out: &'a mut Vec<Diagnostic>) -> Self {
        Self { file: Arc::clone(file), out, path: Vec::new() }
    }

    pub(crate) fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span::new(&self.file, range)
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.out.push(diagnostic);
    }

    /// Runs `f` with `key` as the last part of the path.
    pub(crate) fn within<T>(&mut self, key: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.to_owned());
        let result = f(self);
        self.path.pop();
        result
    }

    /// What the value at hand is called in a message: `` `tables.orders` ``, or `the file`.
    pub(crate) fn subject(&self) -> String {
        if self.path.is_empty() { "the file".to_owned() } else { format!("`{}`", self.path.join(".")) }
    }

    /// The value is none that can stand here. Gives `None`, so that a decoder can end with it.
    pub(crate) fn wrong<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        let found = match &node.value {
            Value::Number(s) => format!("the number {s}"),
            Value::Bool(b) => format!("`{b}`"),
            Value::Text(s) if !s.is_empty() && s.len() <= 40 && !s.contains('\n') => format!("`{s}`"),
            other => other.describe().to_owned(),
        };
        let message = format!("{} takes {expected}, not {found}", self.subject());
        self.push(Diagnostic::error(codes::VALUE, message).at(self.span(first_line(node)), ""));
        None
    }

    /// As [`Self::wrong`], with the nearest of the words that could stand here.
    pub(crate) fn wrong_word<T>(&mut self, node: &Node, expected: &str, words: &[&str]) -> Option<T> {
        let none = self.wrong(node, expected);
        if let Value::Text(word) = &node.value
            && let Some(near) = nearest(word, words.iter().copied())
            && let Some(told) = self.out.last_mut()
        {
            told.hints.push(format!("did you mean `{near}`?"));
        }
        none
    }
}

/// A collection of many lines is pointed at by its first part.
fn first_line(node: &Node) -> std::ops::Range<usize> {
    let end = match &node.value {
        Value::Map(entries) => entries.first().map(|e| e.key_span.end),
        Value::List(items) => items.first().map(|item| first_line(item).end),
        _ => None,
    };
    node.span.start..end.unwrap_or(node.span.end).max(node.span.start)
}

/// A raw form that can be read from YAML.
pub(crate) trait Decode: Sized {
    /// The value, or `None` after its problems were pushed.
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self>;

    /// The value of a key that is not there; `None` where the key is required.
    fn absent() -> Option<Self> {
        None
    }
}

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// The schema of a wrapper is the schema of what it wraps.
macro_rules! schema_as {
    ($name:ident<$($p:ident),*> as $inner:ty) => {
        impl<$($p: JsonSchema),*> JsonSchema for $name<$($p),*> {
            fn inline_schema() -> bool {
                <$inner>::inline_schema()
            }
            fn schema_name() -> Cow<'static, str> {
                <$inner>::schema_name()
            }
            fn schema_id() -> Cow<'static, str> {
                <$inner>::schema_id()
            }
            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                <$inner>::json_schema(generator)
            }
        }
    };
}

schema_as!(At<T> as T);
schema_as!(Entries<T> as std::collections::BTreeMap<String, T>);
schema_as!(Scalar<> as ScalarSchema);

impl<T: Decode> Decode for At<T> {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        let value = T::decode(node, problems)?;
        Some(Self { value, span: problems.span(node.span.clone()) })
    }

    fn absent() -> Option<Self> {
        None
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match node.value {
            Value::Null => Some(None),
            // Its problem is told: the rest of the mapping is still worth reading.
            _ => Some(T::decode(node, problems)),
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        T::decode(node, problems).map(Self::new)
    }
}

impl Decode for bool {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Bool(b) => Some(*b),
            _ => problems.wrong(node, "`true` or `false`"),
        }
    }
}

impl Decode for u64 {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Number(s) | Value::Text(s) if s.replace('_', "").parse::<Self>().is_ok() => {
                s.replace('_', "").parse().ok()
            }
            _ => problems.wrong(node, "a whole number"),
        }
    }
}

impl Decode for String {
    /// A number or truth value is taken as it was written: nobody quotes a password of digits.
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(s) | Value::Number(s) => Some(s.clone()),
            Value::Bool(b) => Some(b.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => problems.wrong(node, "text"),
        }
    }
}

impl Decode for serde_json::Value {
    fn decode(node: &Node, _: &mut Problems<'_>) -> Option<Self> {
        Some(node.to_json())
    }
}

/// A list; an item that is wrong is told and left out.
impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else { return problems.wrong(node, "a list") };
        Some(items.iter().filter_map(|item| T::decode(item, problems)).collect())
    }
}

/// Text, a number or a truth value.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) value: serde_json::Value,
}

/// Only its schema is used.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum ScalarSchema {
    Text(String),
    Number(f64),
    Bool(bool),
}

impl Decode for Scalar {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match node.value {
            Value::Null | Value::List(_) | Value::Map(_) => problems.wrong(node, "text, a number or a truth value"),
            _ => Some(Self { value: node.to_json() }),
        }
    }
}

/// A mapping with names that the person chose, in the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Entries<T>(pub(crate) Vec<(At<String>, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// An entry that is wrong is told and left out.
impl<T: Decode> Decode for Entries<T> {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return problems.wrong(node, "a mapping") };
        let mut out = Vec::with_capacity(entries.len());
        for entry in without_duplicates(entries, problems) {
            let key = At { value: entry.key.clone(), span: problems.span(entry.key_span.clone()) };
            let value = problems.within(&entry.key, |p| T::decode(&entry.value, p));
            out.extend(value.map(|v| (key, v)));
        }
        Some(Self(out))
    }
}

/// The entries of a mapping with each key once; the others are told.
fn without_duplicates<'n>(entries: &'n [Entry], problems: &mut Problems<'_>) -> Vec<&'n Entry> {
    let mut first: std::collections::HashMap<&str, &Entry> = std::collections::HashMap::new();
    let mut out = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(earlier) = first.get(entry.key.as_str()) {
            let diagnostic = Diagnostic::error(codes::DUPLICATE_KEY, format!("`{}` is given twice", entry.key))
                .at(problems.span(entry.key_span.clone()), "second")
                .related(problems.span(earlier.key_span.clone()), "first");
            problems.push(diagnostic);
        } else {
            first.insert(&entry.key, entry);
            out.push(entry);
        }
    }
    out
}

/// The keys of a mapping with a fixed set of keys.
pub(crate) struct Fields<'n> {
    node: &'n Node,
    entries: Vec<&'n Entry>,
}

impl<'n> Fields<'n> {
    /// Tells keys that are unknown or given twice. `None`: it is no mapping.
    pub(crate) fn of(node: &'n Node, keys: &[&str], problems: &mut Problems<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return problems.wrong(node, "a mapping") };
        let entries = without_duplicates(entries, problems);
        for entry in &entries {
            if !keys.contains(&entry.key.as_str()) {
                unknown_key(entry, keys, problems);
            }
        }
        Some(Self { node, entries })
    }

    /// The value of a key, or `None` after its problem was told.
    pub(crate) fn take<T: Decode>(&self, key: &str, problems: &mut Problems<'_>) -> Option<T> {
        match self.entries.iter().find(|e| e.key == key) {
            Some(entry) => problems.within(key, |p| T::decode(&entry.value, p)),
            None => T::absent().or_else(|| self.missing(key, problems)),
        }
    }

    fn missing<T>(&self, key: &str, problems: &mut Problems<'_>) -> Option<T> {
        // One of the things that a file lists has no name yet.
        let listed = problems.path.is_empty() && self.node.span.start > 0;
        let subject = if listed { "this entry".to_owned() } else { problems.subject() };
        let message = format!("{subject} has no key `{key}`");
        // An empty mapping is what an empty file amounts to: the whole of it is meant.
        let range = if self.entries.is_empty() && self.node.span.start == 0 { 0..0 } else { first_line(self.node) };
        let span = problems.span(range);
        problems.push(Diagnostic::error(codes::MISSING_KEY, message).at(span, format!("`{key}` is required")));
        None
    }
}

fn unknown_key(entry: &Entry, keys: &[&str], problems: &mut Problems<'_>) {
    let label = if problems.path.is_empty() {
        "unknown key".to_owned()
    } else {
        format!("not a key of {}", problems.subject())
    };
    let mut diagnostic = Diagnostic::error(codes::UNKNOWN_KEY, format!("unknown key `{}`", entry.key))
        .at(problems.span(entry.key_span.clone()), label);
    diagnostic = match nearest(&entry.key, keys.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic.hint(format!("the keys are {}", list(keys))),
    };
    problems.push(diagnostic);
}

/// `` `a`, `b` and `c` ``
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("`{w}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
