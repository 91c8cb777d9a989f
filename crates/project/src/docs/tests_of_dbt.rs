//! dbt's generic tests, as checks.

use polder_base::nearest;
use polder_diag::{Diagnostic, Span};

use crate::check::{PendingCheck, PendingKind, SeverityWord, accepted_values};
use crate::codes;
use crate::references::TableRef;
use crate::resource::CheckKind;
use crate::yaml::{At, Decode, Node, Problems, Scalar, Value, list, raw};

/// The tests that dbt brings along.
const TESTS: [&str; 4] = ["not_null", "unique", "accepted_values", "relationships"];
/// Keys that may stand beside a test's name.
const BESIDE: [&str; 7] = ["name", "severity", "where", "config", "tags", "description", "arguments"];

raw! {
    /// What a test takes. dbt 1.10 writes the arguments below `arguments`, earlier versions beside the settings.
    Arguments {
        /// `accepted_values`: the values.
        values: Option<Vec<Scalar>>,
        /// `accepted_values`: not used, values know their types.
        quote: Option<serde_json::Value>,
        /// `relationships`: the table, as `ref('customers')` or `silver.customers`.
        to: Option<At<String>>,
        /// `relationships`: the column there.
        field: Option<At<String>>,
        /// The column, of a test of the whole model.
        column_name: Option<At<String>>,
        /// dbt 1.10: where the arguments are.
        arguments: Option<Box<Arguments>>,
        /// The check's name in reports.
        name: Option<At<String>>,
        /// What the test is for; not used.
        description: Option<serde_json::Value>,
        /// `error` (the default) holds the run, `warn` only tells.
        severity: Option<SeverityWord>,
        /// The rows that the test is about: a SQL condition.
        r#where: Option<At<String>>,
        /// Words to select it by; not used.
        tags: Option<serde_json::Value>,
        /// The settings, in dbt's place for them.
        config: Option<TestConfig>,
    }

    /// A test's settings.
    TestConfig {
        /// `error` (the default) holds the run, `warn` only tells.
        severity: Option<SeverityWord>,
        /// The rows that the test is about: a SQL condition.
        r#where: Option<At<String>>,
        /// Words to select it by; not used.
        tags: Option<serde_json::Value>,
        /// `false` leaves the test out.
        enabled: Option<bool>,
    }
}

/// A test: its name, or a mapping with its name and what it takes.
#[derive(Debug, Clone)]
pub(crate) struct TestYaml {
    test: &'static str,
    arguments: Option<Arguments>,
    span: Span,
}

/// Only its schema is used.
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum TestSchema {
    Word(TestWord),
    Mapping(std::collections::BTreeMap<TestWord, Option<Arguments>>),
}

/// A test that dbt brings along.
#[derive(schemars::JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
#[schemars(rename_all = "snake_case")]
#[allow(dead_code)]
enum TestWord {
    NotNull,
    Unique,
    AcceptedValues,
    Relationships,
}

impl schemars::JsonSchema for TestYaml {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Test".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        TestSchema::json_schema(generator)
    }
}

impl Decode for TestYaml {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(name) => {
                let test = known(name, node.span.clone(), problems)?;
                Some(Self { test, arguments: None, span: problems.span(node.span.clone()) })
            }
            Value::Map(entries) => {
                let Some(entry) = entries.iter().find(|e| !BESIDE.contains(&e.key.as_str())) else {
                    return problems.wrong(node, &format!("a test, such as {}", list(&TESTS)));
                };
                let test = known(&entry.key, entry.key_span.clone(), problems)?;
                let mut all = arguments_of(&entry.value);
                // `- unique: …` may have its settings beside it as well as below it.
                all.extend(entries.iter().filter(|e| BESIDE.contains(&e.key.as_str())).cloned());
                if let Some(other) = entries.iter().find(|e| e.key != entry.key && !BESIDE.contains(&e.key.as_str())) {
                    let message = format!("`{}` and `{}` are two tests", entry.key, other.key);
                    let at = problems.span(other.key_span.clone());
                    let diagnostic = Diagnostic::error(codes::CONFLICT, message).at(at, "second");
                    problems.push(diagnostic.hint("start each with its own `-`"));
                }
                let merged = Node { span: node.span.clone(), value: Value::Map(all) };
                let arguments = problems.within(test, |p| Arguments::decode(&merged, p))?;
                Some(Self { test, arguments: Some(arguments), span: problems.span(entry.key_span.clone()) })
            }
            _ => problems.wrong(node, &format!("a test, such as {}", list(&TESTS))),
        }
    }
}

fn arguments_of(value: &Node) -> Vec<crate::yaml::Entry> {
    match &value.value {
        Value::Map(entries) => entries.clone(),
        _ => Vec::new(),
    }
}

fn known(name: &str, span: std::ops::Range<usize>, problems: &mut Problems<'_>) -> Option<&'static str> {
    if let Some(test) = TESTS.iter().find(|t| **t == name) {
        return Some(test);
    }
    let diagnostic = Diagnostic::error(codes::UNSUPPORTED, format!("there is no test `{name}`"))
        .at(problems.span(span), "unknown test");
    let diagnostic = match nearest(name, TESTS) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic
            .hint(format!("the tests are {}", list(&TESTS)))
            .hint("anything else can be said below `checks:`, as `holds: <row expression>` or `sql: <query>`"),
    };
    problems.push(diagnostic);
    None
}

impl TestYaml {
    /// The test as a check of `column`.
    pub(super) fn resolve(self, column: Option<&str>, problems: &mut Problems<'_>) -> Option<PendingCheck> {
        let span = self.span.clone();
        let outer = self.arguments;
        let config = outer.as_ref().and_then(|a| a.config.clone());
        if config.as_ref().is_some_and(|c| c.enabled == Some(false)) {
            return None;
        }
        let severity = outer.as_ref().and_then(|a| a.severity).or(config.as_ref().and_then(|c| c.severity));
        let filter = outer.as_ref().and_then(|a| a.r#where.clone()).or(config.and_then(|c| c.r#where));
        let name = outer.as_ref().and_then(|a| a.name.clone());
        let arguments = outer.and_then(|mut a| a.arguments.take().map_or(Some(a), |inner| Some(*inner)));
        let named = arguments.as_ref().and_then(|a| a.column_name.as_ref()).map(|c| c.value.clone());
        let Some(column) = named.or_else(|| column.map(str::to_owned)) else {
            problems.push(missing(self.test, "column_name", &span));
            return None;
        };
        let kind = match (self.test, arguments) {
            ("not_null", _) => PendingKind::Ready(CheckKind::NotNull { columns: vec![column] }),
            ("unique", _) => PendingKind::Ready(CheckKind::Unique { columns: vec![column] }),
            ("accepted_values", Some(Arguments { values: Some(values), .. })) => {
                PendingKind::Ready(accepted_values(column, values, &span, problems)?)
            }
            ("relationships", Some(Arguments { to: Some(to), field: Some(field), .. })) => {
                PendingKind::Relationships { column, to: TableRef::parse(to.value, to.span), field: field.value }
            }
            ("relationships", Some(Arguments { to: Some(_), .. })) => {
                problems.push(missing("relationships", "field", &span));
                return None;
            }
            (test, _) => {
                problems.push(missing(test, if test == "relationships" { "to" } else { "values" }, &span));
                return None;
            }
        };
        let severity = severity.map(SeverityWord::severity).unwrap_or_default();
        Some(PendingCheck { kind, severity, filter: filter.map(|f| f.value), name: name.map(|n| n.value), span })
    }
}

fn missing(test: &str, key: &str, span: &Span) -> Diagnostic {
    Diagnostic::error(codes::MISSING_KEY, format!("`{test}` has no `{key}`"))
        .at(span.clone(), format!("`{key}` is required"))
}
