//! Rendering a template.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use polder_base::TableName;
use polder_diag::{Diagnostic, Severity};

use crate::functions::{Answers, ConfigValue, Found, Reference, Shared, Target};
use crate::instrument::{FIRST_MARK, Instrumented, syntax};
use crate::macros::{BUILT_IN, Macros};
use crate::map::SpanMap;
use crate::problem::{self, Known};

/// Instructions that a template may take: some seconds of looping.
const FUEL: u64 = 2_000_000;
/// Macros within macros: what a thread's stack holds in any build.
const MAX_DEPTH: usize = 120;
/// Names that depend on names that depend on names: no template asks in more rounds than this.
const MAX_ROUNDS: usize = 8;

/// What a template is rendered with.
#[derive(Debug, Clone, Copy)]
pub struct Template<'a> {
    /// The file's path, for places.
    pub file: &'a Arc<str>,
    pub text: &'a str,
    /// The table that is being built: `this`.
    pub this: Option<&'a TableName>,
    /// What `is_incremental()` answers.
    pub incremental: bool,
    /// Values for `var('name')`.
    pub vars: &'a BTreeMap<String, serde_json::Value>,
    /// `target.name`: the environment, `default` where there is none.
    pub environment: Option<&'a str>,
}

/// Who knows what `ref` and `source` mean.
pub trait Names {
    /// The text for `ref('name')` or `ref('namespace', 'name')`, such as `silver.orders`. `None`: unknown.
    fn reference(&self, namespace: Option<&str>, name: &str) -> Option<String>;

    /// The text for `source('shop', 'orders')`. `None`: unknown.
    fn source(&self, source: &str, stream: &str) -> Option<String>;
}

/// A rendered template.
#[derive(Debug, Clone, Default)]
pub struct Rendered {
    /// Empty when the template stopped.
    pub sql: String,
    /// From places in `sql` to places in the file.
    pub map: SpanMap,
    /// The calls of `ref` and `source`, in the order in which they were made.
    pub references: Vec<Reference>,
    /// What `config(…)` was given.
    pub config: BTreeMap<String, ConfigValue>,
    /// The template asked `is_incremental()`.
    pub uses_incremental: bool,
    pub problems: Vec<Diagnostic>,
}

impl Rendered {
    /// Whether the SQL is to be used at all.
    pub fn is_usable(&self) -> bool {
        self.problems.iter().all(|p| p.severity != Severity::Error)
    }
}

/// The templates of a project: its macros, ready to be called.
pub struct Templates {
    environment: Environment<'static>,
    macros: Macros,
    problems: Vec<Diagnostic>,
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Templates").field("macros", &self.macros.names.keys()).finish_non_exhaustive()
    }
}

impl Templates {
    /// Takes the files below `macros/`, as path and text. Files that are broken are told and left out.
    pub fn new<'m>(macros: impl IntoIterator<Item = (&'m Arc<str>, &'m str)>) -> Self {
        let environment = environment();
        let mut found = Macros::new();
        let mut problems = Vec::new();
        for (file, text) in macros {
            match environment.template_from_named_str(file, text) {
                Ok(_) => found.add(file, text, &mut problems),
                Err(error) => problems.push(problem::of_syntax(&error, file, text)),
            }
        }
        Self { environment, macros: found, problems }
    }

    /// What is wrong with the macros.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    /// The names of the macros.
    pub fn macro_names(&self) -> impl Iterator<Item = &str> {
        self.macros.names.keys().map(String::as_str)
    }

    /// Renders a template. Names that nobody knows are in [`Rendered::references`] without an answer, and no problem
    /// here: who asks knows better what to say.
    pub fn render(&self, template: &Template<'_>, names: &dyn Names) -> Rendered {
        if let Err(error) = self.environment.template_from_named_str(template.file, template.text) {
            let problems = vec![problem::of_syntax(&error, template.file, template.text)];
            return Rendered { problems, ..Rendered::default() };
        }
        if !template.text.contains('{') {
            return plain(template);
        }
        let mut instrumented = self.macros.prelude.clone();
        instrumented.mark = free_mark(template);
        instrumented.template(template.file, template.text);
        let mut answers = literal_answers(&instrumented, names);
        let mut rounds = 0;
        loop {
            rounds += 1;
            let (rendered, open) = self.once(template, &instrumented, &answers);
            if open.is_empty() || rounds == MAX_ROUNDS {
                return rendered;
            }
            // Names that the template made up while it ran: look them up, and run it again.
            answers.extend(open.into_iter().map(|target| answer(target, names)));
        }
    }

    fn once(&self, template: &Template<'_>, source: &Instrumented, answers: &Answers) -> (Rendered, Vec<Target>) {
        let shared = Arc::new(Shared {
            file: Arc::clone(template.file),
            calls: source.calls.clone(),
            answers: answers.clone(),
            vars: template.vars.iter().map(|(k, v)| (k.clone(), value(v))).collect(),
            incremental: template.incremental,
            found: Mutex::new(Found::default()),
        });
        let mut environment = self.environment.clone();
        shared.register(&mut environment, template.this);
        let target = [("name", template.environment.unwrap_or("default"))];
        environment.add_global("target", Value::from_pairs(target));
        let result = environment.render_named_str(template.file, &source.text, ());
        let mut found = std::mem::take(&mut *shared.found());
        let (sql, map) = match result {
            Ok(output) => unmark(&output, source),
            Err(error) => {
                let known = self.known(&environment);
                found.problems.push(problem::of_rendering(&error, &source.text, &source.map, template.file, &known));
                (String::new(), SpanMap::default())
            }
        };
        let rendered = Rendered {
            sql,
            map,
            references: found.references,
            config: found.config,
            uses_incremental: found.uses_incremental,
            problems: found.problems,
        };
        (rendered, found.open)
    }

    fn known<'a>(&'a self, environment: &'a Environment<'_>) -> Known<'a> {
        let functions = environment.globals().map(|(name, _)| name).chain(self.macro_names()).collect();
        Known { functions, variables: BUILT_IN.to_vec() }
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax());
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_DEPTH);
    environment.remove_global("debug");
    environment
}

/// A file without any Jinja is its own rendering.
fn plain(template: &Template<'_>) -> Rendered {
    let map = SpanMap::identity(template.file, template.text.len());
    Rendered { sql: template.text.to_owned(), map, ..Rendered::default() }
}

/// A character that neither the template nor a variable contains.
fn free_mark(template: &Template<'_>) -> char {
    let vars = serde_json::to_string(template.vars).unwrap_or_default();
    let taken = |c: &char| template.text.contains(*c) || vars.contains(*c);
    (FIRST_MARK..='\u{ffffd}').find(|c| !taken(c)).unwrap_or(FIRST_MARK)
}

/// The answers to all calls whose arguments are plain strings: most templates need to run but once.
fn literal_answers(source: &Instrumented, names: &dyn Names) -> Answers {
    let target = |function: &str, words: &[String]| match (function, words) {
        ("ref", [name]) => Some(match name.rsplit_once('.') {
            Some((namespace, name)) => Target::Ref { namespace: Some(namespace.into()), name: name.into() },
            None => Target::Ref { namespace: None, name: name.clone() },
        }),
        ("ref", [namespace, name]) => Some(Target::Ref { namespace: Some(namespace.clone()), name: name.clone() }),
        ("source", [source, stream]) => Some(Target::Source { source: source.clone(), stream: stream.clone() }),
        _ => None,
    };
    let calls = source.calls.iter().filter_map(|c| target(c.function, c.literals.as_deref()?));
    calls.map(|target| answer(target, names)).collect()
}

fn answer(target: Target, names: &dyn Names) -> (Target, Option<String>) {
    let text = match &target {
        Target::Ref { namespace, name } => names.reference(namespace.as_deref(), name),
        Target::Source { source, stream } => names.source(source, stream),
    };
    (target, text)
}

/// A value of `polder.yaml` as templates see it.
fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::from(()),
        Json::Bool(b) => Value::from(*b),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Value::from(n),
            (None, Some(n)) => Value::from(n),
            (None, None) => Value::from(n.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(s) => Value::from(s.as_str()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(entries) => Value::from_pairs(entries.iter().map(|(k, v)| (k.clone(), value(v)))),
    }
}

/// Takes the marks out of what was rendered, and makes the map of them.
fn unmark(output: &str, source: &Instrumented) -> (String, SpanMap) {
    let mut sql = String::with_capacity(output.len());
    let mut map = SpanMap::default();
    let mut rest = output;
    while let Some(start) = rest.find(source.mark) {
        sql.push_str(&rest[..start]);
        let after = &rest[start + source.mark.len_utf8()..];
        let origin = after
            .split_once(source.mark)
            .and_then(|(number, rest)| Some((source.origins.get(number.parse::<usize>().ok()?)?, rest)));
        match origin {
            Some((origin, behind)) => {
                map.push(sql.len(), origin.clone());
                rest = behind;
            }
            None => {
                sql.push(source.mark);
                rest = after;
            }
        }
    }
    sql.push_str(rest);
    (sql, map)
}
