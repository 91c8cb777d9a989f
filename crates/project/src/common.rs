//! Raw forms that several kinds share.

use std::collections::BTreeMap;

use polder_base::normalise_column;
use polder_diag::Diagnostic;

use crate::codes;
use crate::resource::ColumnSpec;
use crate::types::check_type;
use crate::yaml::{At, Decode, Entries, Node, Problems, Value, raw};

/// One name, or a list of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(pub(crate) Vec<At<String>>);

/// Only its schema is used.
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum NamesSchema {
    One(String),
    Several(Vec<String>),
}

impl schemars::JsonSchema for Names {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Names".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        NamesSchema::json_schema(generator)
    }
}

impl Decode for Names {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::List(_) => Vec::decode(node, problems).map(Self),
            Value::Text(_) | Value::Number(_) | Value::Bool(_) => At::decode(node, problems).map(|n| Self(vec![n])),
            Value::Null | Value::Map(_) => problems.wrong(node, "a name or a list of names"),
        }
    }
}

impl Names {
    pub(crate) fn values(self) -> Vec<String> {
        self.0.into_iter().map(|n| n.value).collect()
    }

    /// The names as columns of a bronze table are called.
    pub(crate) fn normalised(self) -> Vec<String> {
        self.0.into_iter().map(|n| normalise_column(&n.value)).collect()
    }
}

/// Column → type, or type and comment.
pub(crate) type Columns = Entries<ColumnYaml>;

/// A type, or options.
#[derive(Debug, Clone, schemars::JsonSchema)]
#[schemars(untagged)]
pub(crate) enum ColumnYaml {
    Type(At<String>),
    Options(ColumnOptions),
}

raw! {
    /// What is declared of a column.
    ColumnOptions {
        /// A SQL type, such as `bigint`, `decimal(12,2)`, `timestamp` or `text`.
        r#type: Option<At<String>>,
        /// What the column means; kept with the table.
        comment: Option<At<String>>,
    }
}

impl Decode for ColumnYaml {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match node.value {
            Value::Text(_) => At::decode(node, problems).map(Self::Type),
            Value::Map(_) => ColumnOptions::decode(node, problems).map(Self::Options),
            _ => problems.wrong(node, "a type such as `decimal(12,2)`, or a mapping with `type` and `comment`"),
        }
    }
}

/// Declared columns, by the names that they will have.
pub(crate) fn column_specs(columns: Option<Columns>, problems: &mut Problems<'_>) -> BTreeMap<String, ColumnSpec> {
    let mut specs: BTreeMap<String, ColumnSpec> = BTreeMap::new();
    for (name, column) in columns.unwrap_or_default().0 {
        let (data_type, comment) = match column {
            ColumnYaml::Type(data_type) => (Some(data_type), None),
            ColumnYaml::Options(options) => (options.r#type, options.comment.map(|c| c.value)),
        };
        if let Some(found) = data_type.as_ref().and_then(check_type) {
            problems.push(found);
        }
        let data_type = data_type.map(|t| t.value);
        let normalised = normalise_column(&name.value);
        if let Some(first) = specs.get(&normalised) {
            let message = format!("two columns are called `{normalised}`");
            let diagnostic = Diagnostic::error(codes::DUPLICATE_KEY, message)
                .at(name.span, "second")
                .related(first.span.clone(), "first");
            problems.push(diagnostic);
            continue;
        }
        specs.insert(normalised, ColumnSpec { data_type, comment, span: name.span });
    }
    specs
}

/// Defines a choice of words, with its decoder and schema. Variants are spelled as the words are.
macro_rules! words {
    ($( $(#[doc = $doc:literal])* $name:ident { $($word:ident),* $(,)? } )*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
        #[allow(non_camel_case_types)]
        pub(crate) enum $name { $($word),* }

        impl $name {
            pub(crate) const WORDS: &'static [&'static str] = &[$(stringify!($word)),*];

            pub(crate) fn of(word: &str) -> Option<Self> {
                match word {
                    $(stringify!($word) => Some(Self::$word),)*
                    _ => None,
                }
            }
        }

        impl $crate::yaml::Decode for $name {
            fn decode(
                node: &$crate::yaml::Node,
                problems: &mut $crate::yaml::Problems<'_>,
            ) -> Option<Self> {
                $crate::common::decode_word(node, Self::WORDS, Self::of, problems)
            }
        }
    )*};
}

pub(crate) use words;

pub(crate) fn decode_word<T>(
    node: &Node,
    words: &[&str],
    of: impl Fn(&str) -> Option<T>,
    problems: &mut Problems<'_>,
) -> Option<T> {
    let quoted = crate::yaml::list(words);
    let expected = match quoted.rsplit_once(" and ") {
        Some((first, last)) => format!("{first} or {last}"),
        None => quoted,
    };
    match &node.value {
        Value::Text(word) if of(word).is_some() => of(word),
        _ => problems.wrong_word(node, &expected, words),
    }
}

/// A file that holds one thing, or a list of them.
#[derive(Debug, Clone)]
pub(crate) struct OneOrMore<T>(pub(crate) Vec<T>);

/// Only its schema is used.
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum OneOrMoreSchema<T> {
    One(T),
    More(Vec<T>),
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for OneOrMore<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}OrList", T::schema_name()).into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        OneOrMoreSchema::<T>::json_schema(generator)
    }
}

impl<T: Decode> Decode for OneOrMore<T> {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match node.value {
            Value::List(_) => Vec::decode(node, problems).map(Self),
            _ => T::decode(node, problems).map(|one| Self(vec![one])),
        }
    }
}
