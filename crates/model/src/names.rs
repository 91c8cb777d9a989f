//! Which tables there are to read from, and what a name means.

use std::collections::{BTreeMap, BTreeSet};

use polder_base::{TableName, nearest};
use polder_project::{Project, Tables};

/// What a relation of the catalog is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    View,
}

/// Namespaces that names without one are looked up in, after the default one.
const FALLBACKS: [&str; 3] = ["gold", "silver", "bronze"];

/// The tables of a project, and those that exist where it runs.
#[derive(Debug)]
pub struct Relations<'a> {
    /// Table → the file that declares it.
    declared: BTreeMap<TableName, String>,
    sources: BTreeMap<(String, String), TableName>,
    models: BTreeSet<TableName>,
    tables: &'a Tables,
    existing: &'a BTreeMap<TableName, RelationKind>,
    default_namespace: String,
}

/// What a name turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    Table(TableName),
    /// Nothing that this project knows. With what was perhaps meant, and its file.
    Unknown {
        nearest: Option<(String, String)>,
    },
    Ambiguous(Vec<TableName>),
    /// A schema of Polder's own, or what a file defines whose mistakes are told already.
    Elsewhere,
}

impl<'a> Relations<'a> {
    pub fn new(project: &'a Project, existing: &'a BTreeMap<TableName, RelationKind>) -> Self {
        let mut declared = BTreeMap::new();
        let mut sources = BTreeMap::new();
        for source in &project.sources {
            for stream in &source.streams {
                declared.insert(stream.table.clone(), stream.span.file.to_string());
                sources.insert((source.name.clone(), stream.name.clone()), stream.table.clone());
            }
        }
        for model in &project.models {
            declared.insert(model.table.clone(), model.span.file.to_string());
        }
        Self {
            declared,
            sources,
            models: project.models.iter().map(|m| m.table.clone()).collect(),
            tables: &project.tables,
            existing,
            default_namespace: default_namespace(project),
        }
    }

    fn namespaces(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.default_namespace.as_str()).chain(FALLBACKS)
    }

    /// What no file declares is not known, though it may be there still: a model must not live on leftovers.
    fn known(&self, table: &TableName) -> bool {
        self.declared.contains_key(table)
    }

    /// `ref('orders')`, `ref('silver.orders')`: a model, or what a source fills.
    pub fn reference(&self, name: &str) -> Resolved {
        let name = name.to_lowercase();
        if let Ok(table) = name.parse::<TableName>()
            && self.known(&table)
        {
            return Resolved::Table(table);
        }
        let doubtful = |n: &str| self.tables.is_doubtful(&TableName::new(n, &*name));
        let matching = |set: &mut dyn Iterator<Item = &TableName>| -> Vec<TableName> {
            set.filter(|t| t.name == name).cloned().collect()
        };
        // A model is what `ref` is for; sources come second, so that `silver.orders` wins over `bronze.orders`.
        let mut found = matching(&mut self.models.iter());
        if found.is_empty() {
            found = matching(&mut self.declared.keys());
        }
        match found.len() {
            0 if self.namespaces().any(doubtful) || name.parse().is_ok_and(|t| self.tables.is_doubtful(&t)) => {
                Resolved::Elsewhere
            }
            0 => Resolved::Unknown { nearest: self.nearest(&name) },
            1 => Resolved::Table(found.remove(0)),
            _ => Resolved::Ambiguous(found),
        }
    }

    /// `source('shop', 'orders')`.
    pub fn source(&self, source: &str, stream: &str) -> Resolved {
        let found = self.sources.iter().find(|((s, t), table)| {
            s == source && (t == stream || t.rsplit('.').next() == Some(stream) || table.name == stream)
        });
        match found {
            Some((_, table)) => Resolved::Table(table.clone()),
            None if self.tables.is_doubtful(&TableName::new("bronze", source)) => Resolved::Elsewhere,
            None => {
                let names: Vec<String> = self.sources.keys().map(|(s, t)| format!("{s}.{t}")).collect();
                let near = nearest(&format!("{source}.{stream}"), names.iter().map(String::as_str));
                let near = near.and_then(|n| {
                    let (_, table) = self.sources.iter().find(|((s, t), _)| format!("{s}.{t}") == n)?;
                    Some((n.to_owned(), self.declared.get(table)?.clone()))
                });
                Resolved::Unknown { nearest: near }
            }
        }
    }

    /// A name in `FROM`, looked up as a session does.
    pub fn plain(&self, schema: Option<&str>, name: &str) -> Resolved {
        match schema {
            Some(schema) => {
                let table = TableName::new(schema, name);
                // What a source rejects is filled with its table, and read after it.
                let rejected = || Tables::rejected_from(&table).is_some_and(|source| self.known(&source));
                if self.known(&table) || rejected() {
                    Resolved::Table(table)
                } else if Tables::is_builtin(&table) || self.tables.is_doubtful(&table) {
                    Resolved::Elsewhere
                } else {
                    Resolved::Unknown { nearest: self.nearest(&table.to_string()) }
                }
            }
            None => {
                let tables: Vec<TableName> = self.namespaces().map(|n| TableName::new(n, name)).collect();
                match tables.iter().find(|t| self.known(t) || self.existing.contains_key(*t)) {
                    Some(table) if self.known(table) => Resolved::Table(table.clone()),
                    // A session would find what is left of a model that is gone, and not the table that is meant.
                    Some(leftover) => Resolved::Unknown { nearest: self.nearest(&leftover.to_string()) },
                    None if tables.iter().any(|t| self.tables.is_doubtful(t)) => Resolved::Elsewhere,
                    None => Resolved::Unknown { nearest: self.nearest(name) },
                }
            }
        }
    }

    /// The nearest name, in full or without its namespace as `wrong` is, and the file that declares it.
    fn nearest(&self, wrong: &str) -> Option<(String, String)> {
        let qualified = wrong.contains('.');
        // Models first: of two tables that are equally near, the one that is made here is more likely meant.
        let sources = self.declared.keys().filter(|t| !self.models.contains(*t));
        let names: Vec<(String, &TableName)> = self
            .models
            .iter()
            .chain(sources)
            .map(|t| (if qualified { t.to_string() } else { t.name.clone() }, t))
            .collect();
        let near = nearest(wrong, names.iter().map(|(n, _)| n.as_str()))?;
        let (name, table) = names.iter().find(|(n, _)| n == near)?;
        Some((name.clone(), self.declared.get(*table)?.clone()))
    }
}

/// The schema of names that have none.
pub fn default_namespace(project: &Project) -> String {
    project.settings.default_namespace.clone().unwrap_or_else(|| "gold".to_owned())
}
