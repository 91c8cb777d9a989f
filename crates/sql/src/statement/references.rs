//! The tables that a statement depends on, found without planning it.

use std::ops::{ControlFlow, Range};

use datafusion::sql::sqlparser::ast::{ObjectNamePart, Query, Spanned, TableFactor, Visit, Visitor};

use polder_base::TableName;
use polder_diag::Diagnostic;

use super::text::Text;
use super::{Kind, normalise, version};
use crate::{Result, SqlError};

/// A table that a statement names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `None`: written without one.
    pub namespace: Option<String>,
    pub name: String,
    /// Read as it is on a ref or was at a time, rather than as the session shows it.
    pub versioned: bool,
    /// The name's bytes in the statement.
    pub range: Range<usize>,
}

impl Reference {
    /// Whether the table holds what the platform knows about itself.
    fn is_of_platform(&self) -> bool {
        self.namespace.as_deref().is_some_and(crate::system::is_namespace)
    }
}

/// The tables that a statement names: common table expressions, functions, files and the tables of `system` and
/// `information_schema` left out. Each table comes once, in the order of the text.
///
/// # Errors
/// A statement that does not parse, or that is no query.
pub fn references(sql: &str) -> Result<Vec<Reference>> {
    let mut found = all(sql)?;
    found.retain(|reference| !reference.is_of_platform());
    Ok(found)
}

/// The tables of `system` and `information_schema` that a statement names.
///
/// # Errors
/// A statement that does not parse, or that is no query.
pub fn system_references(sql: &str) -> Result<Vec<TableName>> {
    let found = all(sql)?.into_iter().filter(Reference::is_of_platform);
    Ok(found.filter_map(|r| Some(TableName::new(r.namespace?, r.name))).collect())
}

fn all(sql: &str) -> Result<Vec<Reference>> {
    let text = Text::new(sql);
    find(&text).map_err(SqlError::statement)
}

/// The tables that a statement reads as its session shows them: those that it has to wait for. Names without a schema
/// are given as they stand.
///
/// # Errors
/// A statement that does not parse, or that is no query.
pub fn table_references(sql: &str) -> Result<Vec<(Option<String>, String)>> {
    let found = references(sql)?;
    Ok(found.into_iter().filter(|r| !r.versioned).map(|r| (r.namespace, r.name)).collect())
}

fn find(text: &Text) -> Result<Vec<Reference>, Box<Diagnostic>> {
    let tokens = super::tokenize(text)?;
    let (tokens, versions) = version::extract(tokens, text)?;
    let (tokens, summarize) = super::take_summarize(tokens);
    let statement = super::parse_tokens(tokens, text)?;
    let mut finder =
        Finder { text, versions: versions.iter().map(|v| v.anchor).collect(), scopes: Vec::new(), found: Vec::new() };
    let _ = match super::kind::of(statement, summarize, text)? {
        Kind::Query(query) | Kind::Describe(query) | Kind::Summarize(query) => query.visit(&mut finder),
        Kind::Explain(statement) => statement.visit(&mut finder),
    };
    finder.found.sort_by_key(|reference| reference.range.start);
    let mut known = std::collections::HashSet::new();
    finder.found.retain(|r| known.insert((r.namespace.clone(), r.name.clone(), r.versioned)));
    Ok(finder.found)
}

struct Finder<'a> {
    text: &'a Text,
    /// Where names with a version start.
    versions: Vec<usize>,
    /// Names of the common table expressions that can be seen, by query.
    scopes: Vec<Vec<String>>,
    found: Vec<Reference>,
}

impl Finder<'_> {
    fn in_scope(&self, name: &str) -> bool {
        self.scopes.iter().flatten().any(|known| known == name)
    }
}

impl Visitor for Finder<'_> {
    type Break = ();

    /// Names of a query's WITH are in scope in its body and in later expressions. The expressions themselves are visited
    /// here, with what each can see; the visit that follows finds the same tables once more, and fewer.
    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.scopes.push(Vec::new());
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let recursive = query.with.as_ref().is_some_and(|with| with.recursive);
            if !recursive {
                cte.query.visit(self)?;
            }
            if let Some(scope) = self.scopes.last_mut() {
                scope.push(normalise(&cte.alias.name));
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, args: None, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let idents: Vec<_> = name.0.iter().filter_map(ObjectNamePart::as_ident).collect();
        let file = matches!(idents.as_slice(), [only] if only.quote_style == Some('\''));
        let mut parts: Vec<String> = idents.into_iter().map(normalise).collect();
        let (Some(table), false) = (parts.pop(), file) else {
            return ControlFlow::Continue(());
        };
        let namespace = (!parts.is_empty()).then(|| parts.join("."));
        if namespace.is_none() && self.in_scope(&table) {
            return ControlFlow::Continue(());
        }
        let range = self.text.range(name.span()).unwrap_or(0..0);
        let versioned = self.versions.contains(&range.start);
        self.found.push(Reference { namespace, name: table, versioned, range });
        ControlFlow::Continue(())
    }
}
