//! Names of tables in YAML, looked up once everything is read.

use polder_base::TableName;
use polder_diag::{Diagnostic, Severity, Span};

use crate::codes;
use crate::names::Tables;
use crate::source::{BRONZE, landing_name};
use crate::yaml::list;

/// Tables that a hint lists, when none is near.
const MAX_LISTED: usize = 8;

/// A table as a person names it: `silver.customers`, `customers`, `ref('customers')`, `source('shop', 'orders')`.
#[derive(Debug, Clone)]
pub(crate) struct TableRef {
    written: String,
    parts: Vec<String>,
    is_source: bool,
    span: Span,
}

impl TableRef {
    pub(crate) fn parse(written: String, span: Span) -> Self {
        let call = |function: &str| {
            let inner = written.trim().strip_prefix(function)?.trim_start().strip_prefix('(')?.strip_suffix(')')?;
            Some(inner.split(',').map(|a| a.trim().trim_matches(['\'', '"']).to_owned()).collect::<Vec<_>>())
        };
        let source = call("source");
        let is_source = source.is_some();
        let parts = source.or_else(|| call("ref")).unwrap_or_else(|| match written.trim().rsplit_once('.') {
            Some((namespace, name)) => vec![namespace.to_owned(), name.to_owned()],
            None => vec![written.trim().to_owned()],
        });
        Self { written, parts, is_source, span }
    }

    /// The table, or why there is none. `Err(None)`: that is told elsewhere.
    pub(crate) fn resolve(&self, tables: &Tables) -> Result<TableName, Option<Box<Diagnostic>>> {
        let wanted = match self.parts.as_slice() {
            [source, stream] if self.is_source => source_table(source, stream, tables),
            [namespace, name] => TableName::new(&**namespace, &**name),
            [name] => return self.resolve_bare(name, tables),
            _ => return Err(Some(Box::new(self.unknown(Severity::Error)))),
        };
        if tables.has(&wanted) {
            return Ok(wanted);
        }
        if tables.is_doubtful(&wanted) {
            return Err(None);
        }
        Err(Some(Box::new(hinted(self.unknown(Severity::Error), &wanted, tables))))
    }

    /// A name without its namespace, which will do where only one table has it.
    fn resolve_bare(&self, name: &str, tables: &Tables) -> Result<TableName, Option<Box<Diagnostic>>> {
        let found: Vec<&TableName> = tables.names().filter(|t| t.name == name).collect();
        match found.as_slice() {
            [table] => Ok((*table).clone()),
            [] if tables.is_doubtful_anywhere(name) => Err(None),
            [] => {
                let near = polder_base::nearest(name, tables.names().map(|t| t.name.as_str()));
                let near = near.and_then(|near| tables.names().find(|t| t.name == near));
                let diagnostic = self.unknown(Severity::Error);
                Err(Some(Box::new(match near.and_then(|t| Some((t, tables.get(t)?))) {
                    Some((table, place)) => diagnostic.hint(format!("did you mean `{table}` ({})?", place.file)),
                    None => diagnostic.hint("write it in full: `namespace.name`"),
                })))
            }
            several => {
                let names: Vec<String> = several.iter().map(ToString::to_string).collect();
                let words: Vec<&str> = names.iter().map(String::as_str).collect();
                let diagnostic = Diagnostic::error(codes::UNKNOWN_TABLE, format!("`{name}` could be {}", list(&words)));
                Err(Some(Box::new(diagnostic.at(self.span.clone(), "which?").hint("write it in full"))))
            }
        }
    }

    fn unknown(&self, severity: Severity) -> Diagnostic {
        let message = format!("no model or source makes `{}`", self.written.trim());
        let diagnostic = match severity {
            Severity::Error => Diagnostic::error(codes::UNKNOWN_TABLE, message),
            Severity::Warning => Diagnostic::warning(codes::UNKNOWN_TABLE, message),
        };
        diagnostic.at(self.span.clone(), "unknown table")
    }
}

/// Where a stream lands. A source of one set of files lands in a table of its own name.
fn source_table(source: &str, stream: &str, tables: &Tables) -> TableName {
    let table = landing_name(source, stream);
    let single = TableName::new(BRONZE, source);
    if tables.get(&table).is_none() && source == stream && tables.get(&single).is_some() { single } else { table }
}

fn hinted(diagnostic: Diagnostic, wanted: &TableName, tables: &Tables) -> Diagnostic {
    if let Some(source) = Tables::rejected_from(wanted) {
        let near = tables.nearest(&source).and_then(|(near, _)| Tables::quarantine_of(near));
        return match near {
            Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
            None => diagnostic.hint(format!("it would hold what `{source}` rejects, and no source fills that")),
        };
    }
    match tables.nearest(wanted) {
        Some((near, place)) => diagnostic.hint(format!("did you mean `{near}` ({})?", place.file)),
        None if tables.names().next().is_none() => diagnostic.hint("the project has no sources and no models yet"),
        None => {
            let names: Vec<String> = tables.names().take(MAX_LISTED).map(ToString::to_string).collect();
            let words: Vec<&str> = names.iter().map(String::as_str).collect();
            let more = if tables.names().nth(MAX_LISTED).is_some() { ", and more" } else { "" };
            diagnostic.hint(format!("the tables are {}{more}", list(&words)))
        }
    }
}

/// Looks up the table of a policy. One that nothing makes is only a warning where the project makes nothing in its
/// namespace: such tables are made by hand, and a rule for them may well come first.
pub(crate) fn check_policy_table(table: &str, span: &Span, tables: &Tables) -> Option<Diagnostic> {
    if matches!(table.trim(), "*" | "*.*") {
        return None;
    }
    let reference = TableRef::parse(table.to_owned(), span.clone());
    let namespace_known = |namespace: &str| tables.names().any(|t| t.namespace == namespace);
    if let Some(namespace) = table.strip_suffix(".*") {
        let builtin = Tables::is_builtin(&TableName::new(namespace, "x"));
        return (!namespace_known(namespace) && !builtin).then(|| {
            let mut names: Vec<&str> = tables.names().map(|t| t.namespace.as_str()).collect();
            names.dedup();
            // What is spelled wrong protects nothing.
            match polder_base::nearest(namespace, names) {
                Some(near) => reference.unknown(Severity::Error).hint(format!("did you mean `{near}.*`?")),
                None => reference.unknown(Severity::Warning),
            }
        });
    }
    let Ok(wanted) = table.parse::<TableName>() else {
        let message = format!("`{table}` is no table: write `namespace.name`, or `namespace.*` for all of a namespace");
        return Some(Diagnostic::error(codes::VALUE, message).at(span.clone(), ""));
    };
    match reference.resolve(tables) {
        Ok(_) | Err(None) => None,
        Err(Some(_))
            if !namespace_known(&wanted.namespace)
                && !Tables::is_builtin(&wanted)
                && tables.nearest(&wanted).is_none() =>
        {
            Some(reference.unknown(Severity::Warning))
        }
        Err(Some(diagnostic)) => Some(*diagnostic),
    }
}
