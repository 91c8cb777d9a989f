//! What templates can call.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minijinja::value::{Enumerator, Kwargs, Object, Rest, Value, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind};
use polder_base::{TableName, nearest};
use polder_diag::{Diagnostic, Span};

use crate::codes;
use crate::instrument::Call;

/// What `ref` or `source` was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// `ref('orders')`, `ref('silver', 'orders')`, `ref('silver.orders')`.
    Ref { namespace: Option<String>, name: String },
    /// `source('shop', 'orders')`.
    Source { source: String, stream: String },
}

/// A call of `ref` or `source`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub target: Target,
    /// The arguments of the call.
    pub span: Span,
    /// The text that was put in; `None`: nobody knew the name.
    pub resolved: Option<String>,
}

/// What `config(…)` was given for a key.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigValue {
    pub value: serde_json::Value,
    /// Of the key.
    pub span: Span,
}

/// The answers to `ref` and `source`: the text to put in, or that nobody knows the name.
pub(crate) type Answers = BTreeMap<Target, Option<String>>;

/// What one rendering found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) references: Vec<Reference>,
    pub(crate) config: BTreeMap<String, ConfigValue>,
    pub(crate) uses_incremental: bool,
    pub(crate) problems: Vec<Diagnostic>,
    /// Targets that were asked for without an answer at hand.
    pub(crate) open: Vec<Target>,
}

/// What the functions of one rendering share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) file: Arc<str>,
    pub(crate) calls: Vec<Call>,
    pub(crate) answers: Answers,
    pub(crate) vars: BTreeMap<String, Value>,
    pub(crate) incremental: bool,
    pub(crate) found: Mutex<Found>,
}

impl Shared {
    pub(crate) fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the functions to an environment.
    pub(crate) fn register(self: &Arc<Self>, environment: &mut Environment<'_>, this: Option<&TableName>) {
        let bind = |f: fn(&Self, Arguments) -> Result<Value, Error>| {
            let shared = Arc::clone(self);
            move |rest: Rest<ValueOrKwargs>| f(&shared, Arguments::new(&shared, rest)?)
        };
        environment.add_function("ref", bind(Self::reference));
        environment.add_function("source", bind(Self::source));
        environment.add_function("var", bind(Self::var));
        environment.add_function("config", bind(Self::config));
        environment.add_function("env_var", bind(Self::env_var));
        let shared = Arc::clone(self);
        environment.add_function("is_incremental", move || {
            shared.found().uses_incremental = true;
            shared.incremental
        });
        if let Some(this) = this {
            environment.add_global("this", Value::from_object(Relation::of(this)));
        }
    }

    fn reference(&self, arguments: Arguments) -> Result<Value, Error> {
        let words = arguments.words("ref", "`ref('name')` or `ref('namespace', 'name')`")?;
        let target = match words.as_slice() {
            [name] => match name.rsplit_once('.') {
                Some((namespace, name)) => Target::Ref { namespace: Some(namespace.to_owned()), name: name.to_owned() },
                None => Target::Ref { namespace: None, name: name.clone() },
            },
            [namespace, name] => Target::Ref { namespace: Some(namespace.clone()), name: name.clone() },
            _ => return Err(arguments.wrong("`ref` takes one or two names: `ref('name')`, `ref('namespace', 'name')`")),
        };
        Ok(self.look_up(target, arguments.span()))
    }

    fn source(&self, arguments: Arguments) -> Result<Value, Error> {
        let words = arguments.words("source", "`source('shop', 'orders')`")?;
        let [source, stream] = words.as_slice() else {
            return Err(arguments.wrong("`source` takes two names: `source('shop', 'orders')`"));
        };
        let target = Target::Source { source: source.clone(), stream: stream.clone() };
        Ok(self.look_up(target, arguments.span()))
    }

    fn look_up(&self, target: Target, span: Span) -> Value {
        let mut found = self.found();
        let resolved = match self.answers.get(&target) {
            Some(answer) => answer.clone(),
            None => {
                found.open.push(target.clone());
                None
            }
        };
        let relation = match (&resolved, &target) {
            (Some(text), _) => Relation::parse(text),
            (None, Target::Ref { namespace, name }) => Relation::new(namespace.as_deref().unwrap_or("unknown"), name),
            (None, Target::Source { source, stream }) => Relation::new(source, stream),
        };
        found.references.push(Reference { target, span, resolved });
        Value::from_object(relation)
    }

    fn var(&self, arguments: Arguments) -> Result<Value, Error> {
        let (name, default) = match arguments.positional.as_slice() {
            [name] => (name, arguments.keywords.get::<Option<Value>>("default").ok().flatten()),
            [name, default] => (name, Some(default.clone())),
            _ => return Err(arguments.wrong("`var` takes a name, and perhaps a default: `var('name', 0)`")),
        };
        let Some(name) = name.as_str() else { return Err(arguments.wrong("`var` takes a name: `var('name')`")) };
        if let Some(value) = self.vars.get(name).cloned().or(default) {
            return Ok(value);
        }
        let diagnostic = Diagnostic::error(codes::UNKNOWN_VAR, format!("variable `{name}` has no value"))
            .at(arguments.span(), "not set, and without a default");
        let near = nearest(name, self.vars.keys().map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean `{near}` (polder.yaml)?"),
            None => format!("set it below `vars:` in polder.yaml, or give a default: `var('{name}', …)`"),
        };
        self.found().problems.push(diagnostic.hint(hint));
        Ok(Value::from(""))
    }

    fn config(&self, arguments: Arguments) -> Result<Value, Error> {
        let mut given: Vec<(String, Value)> = Vec::new();
        for value in &arguments.positional {
            // dbt also takes a mapping.
            let Some(entries) = value.as_object().and_then(|o| o.try_iter_pairs()) else {
                return Err(arguments.wrong("`config` takes keys: `config(materialized='incremental')`"));
            };
            given.extend(entries.map(|(key, value)| (key.to_string(), value)));
        }
        for key in arguments.keywords.args() {
            given.push((key.to_owned(), arguments.keywords.get(key)?));
        }
        let mut found = self.found();
        for (key, value) in given {
            let value = serde_json::to_value(&value).unwrap_or(serde_json::Value::Null);
            let span = arguments.keyword_span(&key);
            found.config.insert(key, ConfigValue { value, span });
        }
        Ok(Value::from(""))
    }

    fn env_var(&self, arguments: Arguments) -> Result<Value, Error> {
        let name = arguments.positional.first().and_then(|v| v.as_str()).unwrap_or("NAME").to_owned();
        let lower = name.to_lowercase();
        let diagnostic = Diagnostic::error(codes::ENV_VAR, "a model cannot read the environment")
            .at(arguments.span(), "")
            .hint(format!(
                "use `var('{lower}')`, with `vars: {{ {lower}: ${{env:{name}}} }}` in polder.yaml: a run keeps its variables"
            ));
        self.found().problems.push(diagnostic);
        Ok(Value::from(""))
    }
}

/// The arguments of a placed call.
struct Arguments {
    call: Option<Call>,
    file: Arc<str>,
    positional: Vec<Value>,
    keywords: Kwargs,
}

impl Arguments {
    fn new(shared: &Shared, rest: Rest<ValueOrKwargs>) -> Result<Self, Error> {
        let values = rest.into_values();
        let (mut positional, keywords): (Vec<Value>, Kwargs) = {
            let (positional, keywords) = from_args::<(&[Value], Kwargs)>(&values)?;
            (positional.to_vec(), keywords)
        };
        // The number that instrumentation put in front. A function that was passed around has none.
        let number = positional.first().filter(|v| v.is_integer()).and_then(|v| usize::try_from(v.clone()).ok());
        let call = number.and_then(|n| shared.calls.get(n)).cloned();
        if call.is_some() {
            positional.remove(0);
        }
        Ok(Self { call, file: Arc::clone(&shared.file), positional, keywords })
    }

    fn span(&self) -> Span {
        self.call.as_ref().map_or_else(|| Span::file(&self.file), |c| Span::new(&c.file, c.arguments.clone()))
    }

    fn keyword_span(&self, key: &str) -> Span {
        let keyword = self.call.as_ref().and_then(|c| Some(Span::new(&c.file, c.keywords.get(key)?.clone())));
        keyword.unwrap_or_else(|| self.span())
    }

    /// The positional arguments as names. A version (`v=2`), which dbt knows, is none of ours.
    fn words(&self, function: &str, form: &str) -> Result<Vec<String>, Error> {
        if let Some(keyword) = self.keywords.args().next() {
            return Err(self.wrong(&format!("`{function}` has no argument `{keyword}`")));
        }
        let word = |value: &Value| {
            value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(&format!("`{function}` takes names: {form}")))
        };
        self.positional.iter().map(word).collect()
    }

    fn wrong(&self, message: &str) -> Error {
        Error::new(ErrorKind::TooManyArguments, message.to_owned())
    }
}

/// A table in a template: its full name as text, its parts as attributes.
#[derive(Debug)]
pub(crate) struct Relation {
    text: String,
    namespace: String,
    name: String,
}

impl Relation {
    pub(crate) fn of(table: &TableName) -> Self {
        Self { text: table.sql(), namespace: table.namespace.clone(), name: table.name.clone() }
    }

    fn new(namespace: &str, name: &str) -> Self {
        Self::of(&TableName::new(namespace, name))
    }

    /// Text that somebody else has made: its parts are guessed at the last dot.
    fn parse(text: &str) -> Self {
        let (namespace, name) = text.rsplit_once('.').unwrap_or(("", text));
        let plain = |part: &str| part.trim_matches('"').to_owned();
        Self { text: text.to_owned(), namespace: plain(namespace), name: plain(name) }
    }
}

impl Object for Relation {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "schema" | "namespace" | "database" => Value::from(self.namespace.as_str()),
            "name" | "table" | "identifier" => Value::from(self.name.as_str()),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["schema", "name", "identifier"])
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
