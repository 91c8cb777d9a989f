//! The tables that a statement names, each with its place and its version.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};

use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Query, Spanned, TableAlias, TableFactor, VisitMut, VisitorMut,
};
use polder_diag::Diagnostic;

use super::text::Text;
use super::version::{At, Version};
use super::{Kind, normalise};
use crate::codes;

/// A table as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    /// The name under which the planner will ask for it: unique for each table and version.
    pub(crate) key: TableReference,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) version: Option<At>,
    /// `FROM 'x.csv'`.
    pub(crate) file: bool,
    /// A common table expression of the statement, perhaps of another part of it, has this name.
    pub(crate) common: bool,
    /// `None`: the name is not written in the statement.
    pub(crate) range: Option<Range<usize>>,
}

impl Relation {
    fn new(name: &ObjectName, text: &Text) -> Result<Self, Box<Diagnostic>> {
        let range = text.range(name.span());
        let place = || range.clone().unwrap_or(0..0);
        let idents: Vec<&Ident> = name.0.iter().filter_map(ObjectNamePart::as_ident).collect();
        if idents.len() != name.0.len() {
            return Err(Box::new(text.problem(codes::SYNTAX, place(), format!("`{name}` is no table name"))));
        }
        let file = matches!(idents.as_slice(), [only] if only.quote_style == Some('\''));
        let mut parts: Vec<String> = idents.into_iter().map(normalise).collect();
        let Some(table) = parts.pop() else {
            return Err(Box::new(text.problem(codes::SYNTAX, place(), "a table name was expected")));
        };
        let namespace = (!parts.is_empty()).then(|| parts.join("."));
        let key = match parts.as_slice() {
            [] => TableReference::bare(table.as_str()),
            [schema] => TableReference::partial(schema.as_str(), table.as_str()),
            [catalog, schema] => TableReference::full(catalog.as_str(), schema.as_str(), table.as_str()),
            _ => {
                return Err(Box::new(
                    text.problem(codes::SYNTAX, place(), format!("`{name}` has too many parts"))
                        .hint(format!("a nested namespace is one quoted name: \"{}\".{table}", parts.join("."))),
                ));
            }
        };
        Ok(Self { key, namespace, name: table, version: None, file, common: false, range })
    }

    /// The name as a person would write it.
    pub(crate) fn shown(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}.{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Gives the relation a version, and a key that no other version of the table has.
    fn at(&mut self, at: At) {
        let table = format!("{} at {at}", self.name);
        self.key = match &self.namespace {
            Some(namespace) => TableReference::partial(namespace.as_str(), table),
            None => TableReference::bare(table),
        };
        self.version = Some(at);
    }

    fn object_name(&self) -> ObjectName {
        let parts = [self.key.catalog(), self.key.schema(), Some(self.key.table())];
        parts.into_iter().flatten().map(|part| Ident::with_quote('"', part)).collect::<Vec<_>>().into()
    }
}

/// The relations of a statement; names with a version are replaced by their keys.
pub(crate) fn relations(
    kind: &mut Kind,
    versions: Vec<Version>,
    text: &Text,
) -> Result<Vec<Relation>, Box<Diagnostic>> {
    let mut collector = Collector { text, versions, relations: Vec::new(), common: BTreeSet::new() };
    let flow = match kind {
        Kind::Query(query) | Kind::Describe(query) | Kind::Summarize(query) => query.visit(&mut collector),
        Kind::Explain(statement) => statement.visit(&mut collector),
    };
    collector.finish(flow)
}

/// The relations of an expression's subqueries.
pub(super) fn of_expression(expr: &mut Expr, text: &Text) -> Result<Vec<Relation>, Box<Diagnostic>> {
    let mut collector = Collector { text, versions: Vec::new(), relations: Vec::new(), common: BTreeSet::new() };
    let flow = expr.visit(&mut collector);
    collector.finish(flow)
}

struct Collector<'a> {
    text: &'a Text,
    versions: Vec<Version>,
    relations: Vec<Relation>,
    /// Names of common table expressions.
    common: BTreeSet<String>,
}

impl Collector<'_> {
    fn finish(mut self, flow: ControlFlow<Box<Diagnostic>>) -> Result<Vec<Relation>, Box<Diagnostic>> {
        if let ControlFlow::Break(problem) = flow {
            return Err(problem);
        }
        for relation in &mut self.relations {
            relation.common = relation.namespace.is_none() && self.common.contains(&relation.name);
        }
        match self.versions.first() {
            None => Ok(self.relations),
            Some(version) => Err(Box::new(
                self.text
                    .problem(codes::VERSION, version.range.clone(), "this version belongs to no table")
                    .hint("write it right after the table's name, before its alias: FROM t AT BRANCH x AS a"),
            )),
        }
    }

    fn visit_table(&mut self, name: &mut ObjectName, alias: &mut Option<TableAlias>) -> Result<(), Box<Diagnostic>> {
        let mut relation = Relation::new(name, self.text)?;
        let place = relation.range.as_ref().map(|range| range.start);
        if let Some(found) = self.versions.iter().position(|version| Some(version.anchor) == place) {
            relation.at(self.versions.swap_remove(found).at);
            if alias.is_none() {
                let name = Ident::with_quote('"', relation.name.as_str());
                *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
            }
            *name = relation.object_name();
        }
        if !self.relations.iter().any(|known| known.key == relation.key && known.file == relation.file) {
            self.relations.push(relation);
        }
        Ok(())
    }
}

impl VisitorMut for Collector<'_> {
    type Break = Box<Diagnostic>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        let named = query.with.iter().flat_map(|with| &with.cte_tables);
        self.common.extend(named.map(|cte| normalise(&cte.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        let TableFactor::Table { name, alias, args: None, version, .. } = factor else {
            return ControlFlow::Continue(());
        };
        if let Some(left_over) = version {
            let range = self.text.range(name.span()).unwrap_or(0..0);
            let problem = self
                .text
                .problem(codes::VERSION, range, format!("`{left_over}` is not how Polder names a version"))
                .hint("write FROM t AT BRANCH x, FOR VERSION AS OF …, or FOR TIMESTAMP AS OF '…'");
            return ControlFlow::Break(Box::new(problem));
        }
        match self.visit_table(name, alias) {
            Ok(()) => ControlFlow::Continue(()),
            Err(problem) => ControlFlow::Break(problem),
        }
    }
}
