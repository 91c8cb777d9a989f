//! `${env:NAME}`: the values that a file takes from the environment.

use std::collections::BTreeMap;
use std::fmt;

use polder_base::nearest;
use polder_diag::Diagnostic;

use super::decode::Problems;
use super::node::{Node, Value};
use crate::codes;

/// The variables that `${env:NAME}` may name: the process's, and those of `.env` behind them.
pub(crate) struct Environment<'a> {
    process: &'a dyn Fn(&str) -> Option<String>,
    file: BTreeMap<String, String>,
}

impl fmt::Debug for Environment<'_> {
    /// Names only: values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("file", &self.file.keys()).finish_non_exhaustive()
    }
}

impl<'a> Environment<'a> {
    pub(crate) fn new(process: &'a dyn Fn(&str) -> Option<String>, file: BTreeMap<String, String>) -> Self {
        Self { process, file }
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.process)(name).or_else(|| self.file.get(name).cloned())
    }
}

/// Replaces every `${env:NAME}` in the values below `node`. `text` is the file's.
pub(crate) fn substitute(node: &mut Node, text: &str, environment: &Environment<'_>, problems: &mut Problems<'_>) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| substitute(item, text, environment, problems)),
        Value::Map(entries) => {
            entries.iter_mut().for_each(|e| substitute(&mut e.value, text, environment, problems));
        }
        Value::Text(value) if value.contains("${") => {
            let place = Place { text, span: node.span.clone() };
            *value = expand(value, &place, environment, problems);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
    }
}

/// A scalar in its file.
struct Place<'t> {
    text: &'t str,
    span: std::ops::Range<usize>,
}

impl Place<'_> {
    /// Where `part` is written; the whole scalar when escapes hide it.
    fn of(&self, part: &str) -> std::ops::Range<usize> {
        let written = self.text.get(self.span.clone()).unwrap_or_default();
        written.find(part).map_or(self.span.clone(), |at| {
            let start = self.span.start + at;
            start..start + part.len()
        })
    }
}

fn expand(value: &str, place: &Place<'_>, environment: &Environment<'_>, problems: &mut Problems<'_>) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else { break };
        let whole = &rest[start..=start + length];
        let name = &whole[2..whole.len() - 1];
        out.push_str(&rest[..start]);
        match one(name, whole, environment) {
            Ok(value) => out.push_str(&value),
            Err(diagnostic) => {
                let span = problems.span(place.of(whole));
                out.push_str(whole);
                if let Some(told) = diagnostic {
                    let (diagnostic, label) = *told;
                    problems.push(diagnostic.at(span, label));
                }
            }
        }
        rest = &rest[start + length + 1..];
    }
    out + rest
}

/// A problem without its place, and what to write under it. `None`: it is no substitution at all.
type Refusal = Option<Box<(Diagnostic, &'static str)>>;

fn one(name: &str, whole: &str, environment: &Environment<'_>) -> Result<String, Refusal> {
    if let Some(variable) = name.strip_prefix("env:") {
        return environment.get(variable.trim()).ok_or_else(|| Some(Box::new(unset(variable.trim(), environment))));
    }
    if name.starts_with("secret:") {
        let diagnostic = Diagnostic::error(codes::SECRET, format!("`{whole}`: this version has no secrets yet"))
            .hint("take it from the environment: `${env:NAME}`, with the value in `.env` (which git should ignore)");
        return Err(Some(Box::new((diagnostic, "not yet"))));
    }
    let looks_like_variable = !name.is_empty()
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if looks_like_variable {
        let diagnostic = Diagnostic::warning(codes::SUBSTITUTION, format!("`{whole}` is taken as it stands"))
            .hint(format!("to take it from the environment, write `${{env:{name}}}`"));
        return Err(Some(Box::new((diagnostic, "nothing is put in here"))));
    }
    Err(None)
}

fn unset(variable: &str, environment: &Environment<'_>) -> (Diagnostic, &'static str) {
    let message = format!("environment variable `{variable}` is not set");
    let diagnostic = Diagnostic::error(codes::SUBSTITUTION, message);
    let known = environment.file.keys().map(String::as_str);
    let diagnostic = match nearest(variable, known) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}` (.env)?")),
        None => diagnostic.hint(format!("set it, or write `{variable}=…` into `.env` beside `polder.yaml`")),
    };
    (diagnostic, "not set")
}
