//! From declared checks to what is run: one set of rules for each table. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use polder_base::TableName;
use polder_diag::{Diagnostic, Span};
use polder_project::{CheckSeverity, Project, Tables};
use polder_sql::{Reference, SqlError};
use serde_json::Value;

use crate::codes;
use crate::render::Templates;
use crate::rule::{Rule, Test};

/// All checks of one table, or one query from `checks/*.sql`.
#[derive(Debug, Clone)]
pub struct CheckSet {
    /// The table's name, or the name of the query: the resource of the step.
    pub name: String,
    /// `None`: a query that is about no one table.
    pub table: Option<TableName>,
    /// Tables that are read besides.
    pub references: BTreeSet<TableName>,
    /// Columns that identify a row, for samples.
    pub key: Vec<String>,
    pub(crate) rules: Vec<Rule>,
}

impl CheckSet {
    /// Whether a failure can hold a run: what follows has to wait for this.
    pub fn blocks(&self) -> bool {
        self.rules.iter().any(|r| r.severity == CheckSeverity::Error)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// All tables that are read.
    pub fn tables(&self) -> BTreeSet<TableName> {
        self.references.iter().chain(&self.table).cloned().collect()
    }

    /// The file and line of the first rule.
    pub fn span(&self) -> Option<&Span> {
        self.rules.first().map(|r| &r.span)
    }
}

/// What checks are compiled against.
#[derive(Debug)]
pub struct CompileContext<'a> {
    pub project: &'a Project,
    /// Values for `var('name')`.
    pub vars: &'a BTreeMap<String, Value>,
    /// Tables that are declared.
    pub known: &'a BTreeSet<TableName>,
    /// The schema of names that have none; then `gold`, `silver` and `bronze` are tried.
    pub default_namespace: &'a str,
    /// Columns that identify the rows of tables, where that is declared.
    pub keys: &'a BTreeMap<TableName, Vec<String>>,
}

/// The checks of a project, and what is wrong with them. Checks with mistakes are left out.
#[derive(Debug, Default)]
pub struct Compiled {
    pub sets: Vec<Arc<CheckSet>>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles all checks of a project.
pub fn compile(cx: &CompileContext<'_>) -> Compiled {
    let templates = Templates::new(cx.project, cx.vars, cx.known);
    let mut compiler = Compiler { cx, templates: &templates, problems: Vec::new() };
    let mut by_table: BTreeMap<TableName, CheckSet> = BTreeMap::new();
    for group in &cx.project.checks {
        if !compiler.is_known(&group.table) {
            compiler.problems.extend(templates.unknown(&group.table.to_string(), &group.span));
            continue;
        }
        let set = by_table.entry(group.table.clone()).or_insert_with(|| CheckSet {
            name: group.table.to_string(),
            table: Some(group.table.clone()),
            references: BTreeSet::new(),
            key: cx.keys.get(&group.table).cloned().unwrap_or_default(),
            rules: Vec::new(),
        });
        for check in &group.checks {
            for rule in Rule::of(check, compiler.line(&check.span)) {
                compiler.add(set, rule);
            }
        }
    }
    let mut sets: Vec<CheckSet> = by_table.into_values().collect();
    sets.extend(cx.project.sql_checks.iter().filter_map(|check| {
        let rule = Rule {
            title: check.name.clone(),
            test: Test::Query { sql: String::new() },
            severity: check.severity,
            filter: None,
            span: check.span.clone(),
            line: compiler.line(&check.span),
            references: BTreeSet::new(),
        };
        let mut set = CheckSet {
            name: check.name.clone(),
            table: None,
            references: BTreeSet::new(),
            key: Vec::new(),
            rules: Vec::new(),
        };
        compiler.add_file(&mut set, rule, &check.sql);
        (!set.is_empty()).then_some(set)
    }));
    Compiled { sets: sets.into_iter().map(Arc::new).collect(), diagnostics: compiler.problems }
}

struct Compiler<'a> {
    cx: &'a CompileContext<'a>,
    templates: &'a Templates<'a>,
    problems: Vec<Diagnostic>,
}

impl Compiler<'_> {
    fn line(&self, span: &Span) -> u32 {
        self.cx.project.files.line_col(span).map_or(1, |at| at.line)
    }

    /// Adds a rule to a set unless it is wrong.
    fn add(&mut self, set: &mut CheckSet, mut rule: Rule) {
        let before = self.problems.len();
        let mut references = BTreeSet::new();
        match &mut rule.test {
            Test::Query { sql } => {
                let rendered = self.templates.render(&rule.span.file, sql);
                // Places in a text inside of YAML are not places in the file.
                self.problems.extend(rendered.problems.into_iter().map(|d| relocated(d, &rule.span)));
                *sql = rendered.sql;
                let locate = |_| rule.span.clone();
                references = self.query(sql, &locate);
            }
            Test::Relationships { to, .. } if !self.is_known(to) => {
                self.problems.extend(self.templates.unknown(&to.to_string(), &rule.span));
                return;
            }
            Test::Relationships { to, .. } => {
                references.insert(to.clone());
            }
            Test::Rows { breaks, .. } => self.expression(breaks, &rule.span),
            Test::RowCount { .. } | Test::Freshness { .. } | Test::Unique { .. } => {}
        }
        if let Some(filter) = &rule.filter {
            self.expression(filter, &rule.span);
        }
        if self.problems.len() == before {
            keep(set, rule, references);
        }
    }

    /// Adds the query of a file.
    fn add_file(&mut self, set: &mut CheckSet, mut rule: Rule, text: &str) {
        let before = self.problems.len();
        let rendered = self.templates.render(&rule.span.file, text);
        self.problems.extend(rendered.problems);
        let file = rule.span.clone();
        let locate = |range| rendered.map.to_source(range).unwrap_or_else(|| file.clone());
        if self.problems.len() == before {
            let references = self.query(&rendered.sql, &locate);
            rule.test = Test::Query { sql: rendered.sql.clone() };
            if self.problems.len() == before {
                keep(set, rule, references);
            }
        }
    }

    /// The tables that a query reads.
    fn query(&mut self, sql: &str, locate: &dyn Fn(Range<usize>) -> Span) -> BTreeSet<TableName> {
        let found = match polder_sql::references(sql) {
            Ok(found) => found,
            Err(error) => {
                self.problems.push(invalid(error, locate));
                return BTreeSet::new();
            }
        };
        let mut tables: BTreeSet<TableName> = polder_sql::system_references(sql).into_iter().flatten().collect();
        for reference in found.iter().filter(|r| !r.versioned) {
            match self.resolve(reference) {
                Some(table) => {
                    tables.insert(table);
                }
                None => {
                    let written = reference.namespace.iter().fold(reference.name.clone(), |n, s| format!("{s}.{n}"));
                    let span = locate(reference.range.clone());
                    self.problems.extend(self.templates.unknown(&written, &span));
                }
            }
        }
        tables
    }

    /// An expression must at least be SQL; whether it fits the table is seen when it runs.
    fn expression(&mut self, text: &str, span: &Span) {
        if let Err(error) = polder_sql::references(&format!("select * from t where ({text})")) {
            self.problems.push(invalid(error, &|_| span.clone()));
        }
    }

    fn resolve(&self, reference: &Reference) -> Option<TableName> {
        let namespaces = match &reference.namespace {
            Some(namespace) => vec![namespace.as_str()],
            None => vec![self.cx.default_namespace, "gold", "silver", "bronze"],
        };
        let mut tables = namespaces.into_iter().map(|namespace| TableName::new(namespace, &reference.name));
        tables.find(|t| self.is_known(t))
    }

    /// Whether a table is declared, or is one that Polder fills itself.
    fn is_known(&self, table: &TableName) -> bool {
        let rejected = Tables::rejected_from(table).is_some_and(|from| self.cx.known.contains(&from));
        rejected || self.cx.known.contains(table) || polder_sql::is_system_table(table)
    }
}

fn keep(set: &mut CheckSet, rule: Rule, mut references: BTreeSet<TableName>) {
    references.retain(|t| Some(t) != set.table.as_ref());
    set.references.extend(references.iter().cloned());
    set.rules.push(Rule { references, ..rule });
}

fn invalid(error: SqlError, locate: &dyn Fn(Range<usize>) -> Span) -> Diagnostic {
    let (reason, range, hints) = match error {
        SqlError::Statement(diagnostic) => {
            let range = diagnostic.label.map(|l| l.span.start..l.span.end);
            (diagnostic.message, range.unwrap_or(0..0), diagnostic.hints)
        }
        other => (other.to_string(), 0..0, Vec::new()),
    };
    let message = format!("this check is not valid SQL: {reason}");
    hints.into_iter().fold(Diagnostic::error(codes::INVALID, message).at(locate(range), ""), Diagnostic::hint)
}

fn relocated(mut diagnostic: Diagnostic, span: &Span) -> Diagnostic {
    diagnostic.related.clear();
    diagnostic.at(span.clone(), "")
}
