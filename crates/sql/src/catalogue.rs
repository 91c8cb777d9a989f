//! What may be called: the functions of the engine, for lists and completion.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::logical_expr::Documentation;

use crate::{Result, Session};

/// A function, under one of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// `scalar`, `aggregate`, `window` or `table`.
    pub kind: &'static str,
    /// How it is written, `round(numeric_expression[, decimal_places])`, where that is known.
    pub usage: Option<String>,
    /// What it gives: the first sentence of its description.
    pub about: Option<String>,
}

impl Function {
    fn new(name: &str, kind: &'static str, documentation: Option<&Documentation>) -> Self {
        let usage = documentation.map(|d| one_line(&d.syntax_example)).filter(|text| !text.is_empty());
        let about = documentation.map(|d| first_sentence(&one_line(&d.description))).filter(|text| !text.is_empty());
        Self { name: name.to_owned(), kind, usage, about }
    }
}

impl Session {
    /// The functions that statements may call, by name. Most aggregates are window functions as well; they are listed
    /// once.
    ///
    /// # Errors
    /// None that a statement could cause.
    pub fn functions(&self) -> Result<Vec<Function>> {
        let bench = self.workbench();
        let state = bench.common();
        let mut functions = BTreeMap::new();
        let mut add = |name: &String, kind, documentation: Option<&Documentation>| {
            functions.entry(name.clone()).or_insert_with(|| Function::new(name, kind, documentation));
        };
        state.aggregate_functions().iter().for_each(|(name, f)| add(name, "aggregate", Arc::as_ref(f).documentation()));
        state.window_functions().iter().for_each(|(name, f)| add(name, "window", Arc::as_ref(f).documentation()));
        for name in bench.scalar_names() {
            if let Some(function) = bench.scalar(&name) {
                add(&name, "scalar", function.documentation());
            }
        }
        state.table_functions().keys().for_each(|name| add(name, "table", None));
        // Operators are functions inside, under names that nobody can write.
        let callable =
            |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with('_');
        Ok(functions.into_values().filter(|f| callable(&f.name)).collect())
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn first_sentence(text: &str) -> String {
    text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.').to_owned()
}
