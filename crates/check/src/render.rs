//! Queries of checks: Jinja with this project's names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polder_base::{TableName, nearest};
use polder_diag::{Diagnostic, Span};
use polder_project::{Project, Tables};
use polder_template::{Names, Target, Template};
use serde_json::Value;

use crate::codes;

/// The macros, variables and names of a project.
pub(crate) struct Templates<'a> {
    macros: polder_template::Templates,
    project: &'a Project,
    vars: &'a BTreeMap<String, Value>,
    known: &'a BTreeSet<TableName>,
}

/// A rendered query, with what is wrong with it; places are in the file that was rendered.
pub(crate) struct Rendered {
    pub(crate) sql: String,
    pub(crate) map: polder_template::SpanMap,
    pub(crate) problems: Vec<Diagnostic>,
}

impl<'a> Templates<'a> {
    pub(crate) fn new(project: &'a Project, vars: &'a BTreeMap<String, Value>, known: &'a BTreeSet<TableName>) -> Self {
        // What is wrong with the macros is told where models are compiled.
        let macros = polder_template::Templates::new(project.macros.iter().map(|m| (&m.path, &*m.text)));
        Self { macros, project, vars, known }
    }

    pub(crate) fn render(&self, file: &Arc<str>, text: &str) -> Rendered {
        let template = Template {
            file,
            text,
            this: None,
            incremental: false,
            vars: self.vars,
            environment: self.project.settings.environment.as_deref(),
        };
        let rendered = self.macros.render(&template, self);
        let mut problems = rendered.problems;
        for reference in rendered.references.iter().filter(|r| r.resolved.is_none()) {
            let name = match &reference.target {
                Target::Ref { namespace: Some(namespace), name } => format!("{namespace}.{name}"),
                Target::Ref { namespace: None, name } => name.clone(),
                Target::Source { source, stream } => format!("{source}.{stream}"),
            };
            problems.extend(self.unknown(&name, &reference.span));
        }
        Rendered { sql: rendered.sql.trim_end().trim_end_matches(';').to_owned(), map: rendered.map, problems }
    }

    /// The problem of a name that nothing has. `None`: a broken file may define it, which is told there.
    pub(crate) fn unknown(&self, name: &str, span: &Span) -> Option<Diagnostic> {
        let tables: Vec<TableName> = match name.parse::<TableName>() {
            Ok(table) => vec![table],
            Err(_) => ["gold", "silver", "bronze"].into_iter().map(|n| TableName::new(n, name)).collect(),
        };
        if tables.iter().any(|t| self.project.tables.is_doubtful(t)) {
            return None;
        }
        let qualified = name.contains('.');
        let names: Vec<String> = match qualified {
            true => self.known.iter().cloned().chain(self.builtin()).map(|t| t.to_string()).collect(),
            false => self.known.iter().map(|t| t.name.clone()).collect(),
        };
        let message = format!("no model or source is called `{name}`");
        let diagnostic = Diagnostic::error(codes::UNKNOWN_TABLE, message).at(span.clone(), "unknown name");
        let near = nearest(name, names.iter().map(String::as_str));
        Some(near.iter().fold(diagnostic, |d, n| d.hint(format!("did you mean `{n}`?"))))
    }

    /// Tables that Polder fills itself: its records, and what sources reject.
    fn builtin(&self) -> impl Iterator<Item = TableName> {
        let rejected = self.known.iter().filter_map(Tables::quarantine_of);
        rejected.chain(polder_sql::system_tables())
    }
}

impl Names for Templates<'_> {
    fn reference(&self, namespace: Option<&str>, name: &str) -> Option<String> {
        if let Some(namespace) = namespace {
            let wanted = TableName::new(namespace, name);
            return self.known.get(&wanted).map(|table| table.sql());
        }
        let models = self.project.models.iter().map(|m| &m.table).filter(|t| t.name == name).collect::<Vec<_>>();
        match models.as_slice() {
            [one] => Some(one.sql()),
            _ => self.project.tables.unqualified(name).map(TableName::sql),
        }
    }

    fn source(&self, source: &str, stream: &str) -> Option<String> {
        let source = self.project.sources.iter().find(|s| s.name == source)?;
        let last = |name: &str| name.rsplit('.').next() == Some(stream);
        let found = source.streams.iter().find(|s| s.name == stream || last(&s.name) || s.table.name == stream)?;
        Some(found.table.sql())
    }
}
