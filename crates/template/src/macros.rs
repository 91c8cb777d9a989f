//! The macros of a project: written before each template, so that every template and every macro can call them by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::machinery::Token;
use polder_diag::{Diagnostic, Span};

use crate::codes;
use crate::instrument::{Instrumented, Part, Placed, parts};

/// Names that a macro would take from the templates that rely on them.
pub(crate) const BUILT_IN: [&str; 7] = ["ref", "source", "var", "config", "env_var", "is_incremental", "this"];

/// The macros that were found so far.
pub(crate) struct Macros {
    pub(crate) prelude: Instrumented,
    /// Where each macro is defined.
    pub(crate) names: BTreeMap<String, Span>,
}

impl Macros {
    pub(crate) fn new() -> Self {
        Self { prelude: Instrumented::new(), names: BTreeMap::new() }
    }

    /// Adds the macros of a file that parses. What is outside of them is not run.
    pub(crate) fn add(&mut self, file: &Arc<str>, source: &str, problems: &mut Vec<Diagnostic>) {
        let mut depth = 0_usize;
        let mut skipping = false;
        for part in parts(source) {
            let (opens, closes) = macro_tag(&part);
            if let Some(name) = opens.filter(|_| depth == 0) {
                skipping = !self.define(file, name, problems);
            }
            depth += usize::from(opens.is_some());
            if depth == 0 {
                problems.extend(outside(file, &part));
            } else if !skipping {
                self.prelude.macro_part(file, source, &part);
            }
            depth -= usize::from(closes && depth > 0);
        }
    }

    /// `false`: the name is taken.
    fn define(&mut self, file: &Arc<str>, name: &Placed<'_>, problems: &mut Vec<Diagnostic>) -> bool {
        let Token::Ident(word) = name.token else { return true };
        let span = Span::new(file, name.range.clone());
        if BUILT_IN.contains(&word) {
            let message = format!("a macro cannot be called `{word}`: that is Polder's own");
            problems.push(Diagnostic::error(codes::MACRO, message).at(span, ""));
            return false;
        }
        if let Some(first) = self.names.get(word) {
            let diagnostic = Diagnostic::error(codes::MACRO, format!("macro `{word}` is defined twice"))
                .at(span, "second")
                .related(first.clone(), "first");
            problems.push(diagnostic);
            return false;
        }
        self.names.insert(word.to_owned(), span);
        true
    }
}

/// The name that a `{% macro %}` tag defines, and whether the part is an `{% endmacro %}`.
fn macro_tag<'p, 's>(part: &'p Part<'s>) -> (Option<&'p Placed<'s>>, bool) {
    let Part::Block(tokens) = part else { return (None, false) };
    match tokens.first().map(|p| &p.token) {
        Some(Token::Ident("macro")) => (tokens.get(1), false),
        Some(Token::Ident("endmacro")) => (None, true),
        _ => (None, false),
    }
}

fn outside(file: &Arc<str>, part: &Part<'_>) -> Option<Diagnostic> {
    let range = match part {
        Part::Text(text, range) => {
            let start = range.start + text.len() - text.trim_start().len();
            (!is_comment(text)).then(|| start..start + text.trim().lines().next().unwrap_or("").len())?
        }
        Part::Expression(tokens) | Part::Block(tokens) => tokens.first()?.range.start..tokens.last()?.range.end,
    };
    let diagnostic = Diagnostic::warning(codes::MACRO, "what stands outside of macros is not run")
        .at(Span::new(file, range), "skipped");
    Some(diagnostic.hint("files below `macros/` hold `{% macro name(…) %} … {% endmacro %}`"))
}

/// White space, or SQL comments.
fn is_comment(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with("--"))
}
