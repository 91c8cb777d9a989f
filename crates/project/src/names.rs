//! Which names tables, namespaces and sources may have.

use std::collections::BTreeMap;

use polder_base::{TableName, nearest, normalise_column};
use polder_diag::{Diagnostic, Span};

use crate::codes;
use crate::source::BRONZE;

/// Where records go that sources reject.
const QUARANTINE: &str = "quarantine";
/// Namespaces that Polder fills itself.
const RESERVED: [&str; 3] = ["system", QUARANTINE, "information_schema"];

/// A lower-case identifier, of letters of any script: what needs no quotes in SQL.
pub(crate) fn is_plain(name: &str) -> bool {
    let word = |c: char| c == '_' || (c.is_alphanumeric() && !c.is_uppercase());
    name.chars().all(word) && name.starts_with(|c: char| !c.is_numeric())
}

/// Tells a name that is no identifier. `what` is its role: `model`, `source`.
pub(crate) fn check_plain(what: &str, name: &str, span: &Span) -> Option<Diagnostic> {
    if is_plain(name) {
        return None;
    }
    let message = format!("`{name}` cannot be the name of a {what}: it takes lower-case letters, digits and `_`");
    Some(Diagnostic::error(codes::NAME, message).at(span.clone(), "").hint(format!("`{}`", normalise_column(name))))
}

/// Tells a namespace that is no identifier, or is Polder's own.
pub(crate) fn check_namespace(namespace: &str, span: &Span) -> Option<Diagnostic> {
    if RESERVED.contains(&namespace) {
        let message = format!("namespace `{namespace}` is filled by Polder itself");
        return Some(Diagnostic::error(codes::NAME, message).at(span.clone(), "").hint("choose another name"));
    }
    check_plain("namespace", namespace, span)
}

/// What a project defines, and what it would define were its files whole.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    defined: BTreeMap<TableName, Span>,
    /// Namespace and start of the names that a broken file may have defined.
    doubtful: Vec<TableName>,
}

impl Tables {
    /// Adds a table; a second definition of one table is a problem.
    pub(crate) fn define(&mut self, table: &TableName, span: &Span) -> Result<(), Box<Diagnostic>> {
        let Some(first) = self.defined.get(table) else {
            self.defined.insert(table.clone(), span.clone());
            return Ok(());
        };
        let diagnostic = Diagnostic::error(codes::DUPLICATE, format!("`{table}` is defined twice"));
        Err(Box::new(diagnostic.at(span.clone(), "second definition").related(first.clone(), "first definition")))
    }

    /// Notes that tables whose names start so may be missing because a file is broken.
    pub(crate) fn doubt(&mut self, start: TableName) {
        self.doubtful.push(start);
    }

    /// Where the table is defined.
    pub fn get(&self, table: &TableName) -> Option<&Span> {
        self.defined.get(table)
    }

    pub fn names(&self) -> impl Iterator<Item = &TableName> {
        self.defined.keys()
    }

    /// Whether a broken file, whose problems are told, may have defined the table: then its absence is no news.
    pub fn is_doubtful(&self, table: &TableName) -> bool {
        let source = Self::rejected_from(table);
        let table = source.as_ref().unwrap_or(table);
        let starts = |d: &TableName| d.namespace == table.namespace && table.name.starts_with(&d.name);
        self.doubtful.iter().any(starts)
    }

    /// As [`Self::is_doubtful`], for a name in any namespace.
    pub fn is_doubtful_anywhere(&self, name: &str) -> bool {
        self.doubtful.iter().any(|d| name.starts_with(&d.name))
    }

    /// Tables that only a catalog knows: Polder's own.
    pub fn is_builtin(table: &TableName) -> bool {
        RESERVED.contains(&table.namespace.as_str())
    }

    /// Whether a table is defined, or is one that Polder fills itself: of `quarantine` only what a source can reject.
    pub fn has(&self, table: &TableName) -> bool {
        match Self::rejected_from(table) {
            Some(source) => self.defined.contains_key(&source),
            None => self.defined.contains_key(table) || Self::is_builtin(table),
        }
    }

    /// The table that the records of a table of `quarantine` were meant for.
    pub fn rejected_from(table: &TableName) -> Option<TableName> {
        (table.namespace == QUARANTINE).then(|| TableName::new(BRONZE, &*table.name))
    }

    /// The table of `quarantine` that takes what a source's table rejects.
    pub fn quarantine_of(table: &TableName) -> Option<TableName> {
        (table.namespace == BRONZE).then(|| TableName::new(QUARANTINE, &*table.name))
    }

    /// The defined table that was probably meant, with the place of its definition.
    pub fn nearest(&self, wrong: &TableName) -> Option<(&TableName, &Span)> {
        let full: BTreeMap<String, &TableName> = self.defined.keys().map(|t| (t.to_string(), t)).collect();
        let by_full = nearest(&wrong.to_string(), full.keys().map(String::as_str)).and_then(|n| full.get(n).copied());
        // `gold.orders` for `silver.orders`: the right name in the wrong place.
        let by_name = || self.defined.keys().find(|t| t.name == wrong.name);
        let near = by_full.or_else(by_name)?;
        self.defined.get_key_value(near)
    }

    /// The only table with this bare name, where there is one.
    pub fn unqualified(&self, name: &str) -> Option<&TableName> {
        let mut found = self.defined.keys().filter(|t| t.name == name);
        found.next().filter(|_| found.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names() {
        for good in ["orders", "_x", "stg_shop__orders", "größe", "名前", "a1"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", "Orders", "1a", "a-b", "a b", "a.b", "x\u{0}"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }

    #[test]
    fn nearest_looks_at_the_whole_name_first() {
        let mut tables = Tables::default();
        let file: std::sync::Arc<str> = "a".into();
        for name in ["silver.orders", "gold.daily", "gold.orders_by_day"] {
            tables.define(&name.parse().unwrap(), &Span::file(&file)).unwrap();
        }
        let near = |name: &str| tables.nearest(&name.parse().unwrap()).map(|(t, _)| t.to_string());
        assert_eq!(near("silver.ordes").as_deref(), Some("silver.orders"));
        assert_eq!(near("bronze.daily").as_deref(), Some("gold.daily"));
        assert_eq!(near("gold.payments"), None);
    }
}
