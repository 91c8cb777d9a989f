//! Rendering of models: Jinja with this project's names.

use std::collections::BTreeMap;
use std::ops::Range;

use polder_base::TableName;
use polder_diag::{Diagnostic, Span};
use polder_project::{Model, Project};
use polder_template::{Names, Reference, Rendered, SpanMap, Target, Template};
use serde_json::Value;

use crate::codes;
use crate::config::ConfigValues;
use crate::names::{Relations, Resolved};

/// SQL, and where each part of it was written.
#[derive(Debug, Clone)]
pub(crate) struct Rendering {
    pub(crate) sql: String,
    map: SpanMap,
    file: Span,
}

impl Rendering {
    /// Where a stretch of the SQL was written.
    pub(crate) fn locate(&self, range: Range<usize>) -> Span {
        self.map.to_source(range).unwrap_or_else(|| self.file.clone())
    }

    /// A diagnostic about the SQL as one about the file.
    pub(crate) fn rebase(&self, mut diagnostic: Diagnostic) -> Diagnostic {
        for label in diagnostic.label.iter_mut().chain(diagnostic.related.iter_mut()) {
            if &*label.span.file == polder_sql::FILE {
                label.span = self.locate(label.span.start..label.span.end);
            }
        }
        if diagnostic.label.is_none() {
            return diagnostic.at(self.file.clone(), "");
        }
        diagnostic
    }
}

/// The macros and variables of a project.
pub(crate) struct Templates<'a> {
    macros: polder_template::Templates,
    project: &'a Project,
    vars: &'a BTreeMap<String, Value>,
}

/// A model, rendered.
pub(crate) struct RenderedModel {
    pub(crate) rendering: Rendering,
    /// The calls of `ref` and `source`.
    pub(crate) references: Vec<Reference>,
    pub(crate) config: ConfigValues,
    pub(crate) problems: Vec<Diagnostic>,
    pub(crate) usable: bool,
}

impl<'a> Templates<'a> {
    pub(crate) fn new(project: &'a Project, vars: &'a BTreeMap<String, Value>) -> Self {
        let macros = polder_template::Templates::new(project.macros.iter().map(|m| (&m.path, &*m.text)));
        Self { macros, project, vars }
    }

    /// What is wrong with the macros.
    pub(crate) fn problems(&self) -> &[Diagnostic] {
        self.macros.problems()
    }

    pub(crate) fn render(&self, model: &Model, incremental: bool, relations: &Relations<'_>) -> RenderedModel {
        let template = Template {
            file: &model.span.file,
            text: &model.sql,
            this: Some(&model.table),
            incremental,
            vars: self.vars,
            environment: self.project.settings.environment.as_deref(),
        };
        let rendered = self.macros.render(&template, relations);
        let usable = rendered.is_usable();
        let Rendered { sql, map, references, config, problems, .. } = rendered;
        let mut values: ConfigValues =
            model.config.iter().map(|(key, v)| (key.clone(), (v.value.clone(), v.span.clone()))).collect();
        values.extend(config.into_iter().map(|(key, v)| (key, (v.value, v.span))));
        // A semicolon at the end is no part of the query.
        let sql = sql.trim_end().trim_end_matches(';').trim_end().to_owned();
        let rendering = Rendering { sql, map, file: model.span.clone() };
        RenderedModel { rendering, references, config: values, problems, usable }
    }
}

impl Names for Relations<'_> {
    fn reference(&self, namespace: Option<&str>, name: &str) -> Option<String> {
        match Relations::reference(self, &full_name(namespace, name)) {
            Resolved::Table(table) => Some(table.sql()),
            _ => None,
        }
    }

    fn source(&self, source: &str, stream: &str) -> Option<String> {
        match Relations::source(self, source, stream) {
            Resolved::Table(table) => Some(table.sql()),
            _ => None,
        }
    }
}

/// `ref('package', 'model')` of dbt names a package first; here that is a namespace.
fn full_name(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}.{name}"))
}

/// The problem of a `ref` or `source` that nobody knows. `None`: it is known, or told elsewhere.
pub(crate) fn unknown_reference(reference: &Reference, relations: &Relations<'_>) -> Option<Diagnostic> {
    if reference.resolved.is_some() {
        return None;
    }
    let (name, resolved) = match &reference.target {
        Target::Ref { namespace, name } => {
            let name = full_name(namespace.as_deref(), name);
            let resolved = relations.reference(&name);
            (name, resolved)
        }
        Target::Source { source, stream } => (format!("{source}.{stream}"), relations.source(source, stream)),
    };
    match resolved {
        Resolved::Ambiguous(tables) => Some(ambiguous(&name, &reference.span, &tables)),
        Resolved::Unknown { nearest } => Some(unknown_name(&name, &reference.span, nearest)),
        Resolved::Table(_) | Resolved::Elsewhere => None,
    }
}

/// M012.
pub(crate) fn unknown_name(name: &str, span: &Span, nearest: Option<(String, String)>) -> Diagnostic {
    let message = format!("no model or source is called `{name}`");
    let diagnostic = Diagnostic::error(codes::UNKNOWN_NAME, message).at(span.clone(), "unknown name");
    nearest.iter().fold(diagnostic, |d, (name, file)| d.hint(format!("did you mean `{name}` ({file})?")))
}

/// M013.
fn ambiguous(name: &str, span: &Span, tables: &[TableName]) -> Diagnostic {
    let all = tables.iter().map(|t| format!("`{t}`")).collect::<Vec<_>>().join(", ");
    Diagnostic::error(codes::AMBIGUOUS, format!("`{name}` may be {all}"))
        .at(span.clone(), "")
        .hint("write the one that is meant in full")
}
