//! `polder.lock`: the columns that sources had when somebody last asked them, for git.
//!
//! One line for each column, in the order of names, so that what changed in a source is a diff that people can read:
//!
//! ```text
//! # What the sources had when they were last asked. Polder writes it (`polder lock --update`); it belongs into git.
//! format 1
//!
//! bronze.shop_orders
//! key order_id
//! column amount decimal(12,2)
//! column order_id bigint not null
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use polder_base::TableName;
use polder_diag::{Diagnostic, Span};

use crate::codes;

/// The file, at the root of the project.
pub const LOCK: &str = "polder.lock";

const HEAD: &str = "# What the sources had when they were last asked. Polder writes it (`polder lock --update`); it belongs \
                    into git.\nformat 1\n";
const FORMAT: &str = "format ";
const NOT_NULL: &str = " not null";

/// What sources had when they were last asked, by the table that they fill.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    pub tables: BTreeMap<TableName, LockedTable>,
}

/// What a stream had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockedTable {
    /// What the source itself keeps unique, by the names of columns in the table.
    pub key: Vec<String>,
    pub columns: BTreeMap<String, LockedColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedColumn {
    /// A SQL type, as messages write it.
    pub data_type: String,
    pub not_null: bool,
}

/// What differs in one table: its lines that are gone, and those that are new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    pub table: TableName,
    pub gone: Vec<String>,
    pub new: Vec<String>,
}

impl LockedTable {
    fn lines(&self) -> Vec<String> {
        let key = (!self.key.is_empty()).then(|| format!("key {}", self.key.join(" ")));
        let column = |(name, column): (&String, &LockedColumn)| {
            let not_null = if column.not_null { NOT_NULL } else { "" };
            format!("column {name} {}{not_null}", column.data_type)
        };
        key.into_iter().chain(self.columns.iter().map(column)).collect()
    }
}

impl Lock {
    /// The file's text.
    pub fn text(&self) -> String {
        let mut out = HEAD.to_owned();
        for (name, table) in &self.tables {
            // Writing to a string does not fail.
            let _ = write!(out, "\n{name}\n");
            table.lines().iter().for_each(|line| _ = writeln!(out, "{line}"));
        }
        out
    }

    /// What differs from an earlier lock, in the order of tables.
    pub fn drift(&self, before: &Self) -> Vec<Drift> {
        let mut names: Vec<&TableName> = before.tables.keys().chain(self.tables.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let lines = |lock: &Self, name: &TableName| lock.tables.get(name).map(LockedTable::lines).unwrap_or_default();
        let drift = names.into_iter().map(|name| {
            let (was, is) = (lines(before, name), lines(self, name));
            let gone = was.iter().filter(|line| !is.contains(line)).cloned().collect();
            let new = is.iter().filter(|line| !was.contains(line)).cloned().collect();
            Drift { table: name.clone(), gone, new }
        });
        drift.filter(|drift| !drift.gone.is_empty() || !drift.new.is_empty()).collect()
    }
}

/// Reads the file. Whatever is not written as Polder writes it is told, and left out.
pub(crate) fn parse(file: &Arc<str>, text: &str, problems: &mut Vec<Diagnostic>) -> Lock {
    let mut lock = Lock::default();
    let mut current: Option<TableName> = None;
    let mut format = false;
    let mut start = 0;
    for whole in text.split_inclusive('\n') {
        let line = whole.trim_end();
        let span = Span::new(file, start..start + line.len());
        start += whole.len();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(number) = line.strip_prefix(FORMAT) {
            format = true;
            if number != "1" {
                let message = format!("`{file}` was written by a newer Polder: its format is {number}");
                problems.push(Diagnostic::error(codes::LOCK, message).at(span, "").hint("install a newer Polder"));
                return Lock::default();
            }
            continue;
        }
        let read = if format { read_line(&mut lock, &mut current, line) } else { None };
        if read.is_none() {
            let diagnostic = Diagnostic::error(codes::LOCK, format!("this is no line of `{file}`")).at(span, "");
            problems.push(diagnostic.hint("Polder writes it: `polder lock --update`"));
            return Lock::default();
        }
    }
    lock
}

/// Takes a line; `None`: it is none that Polder writes here.
fn read_line(lock: &mut Lock, current: &mut Option<TableName>, line: &str) -> Option<()> {
    let Some((word, rest)) = line.split_once(' ') else {
        let name: TableName = line.parse().ok()?;
        lock.tables.insert(name.clone(), LockedTable::default());
        *current = Some(name);
        return Some(());
    };
    let table = lock.tables.get_mut(current.as_ref()?)?;
    match word {
        "key" => table.key = rest.split(' ').map(str::to_owned).collect(),
        "column" => {
            let (name, data_type) = rest.split_once(' ')?;
            let plain = data_type.strip_suffix(NOT_NULL);
            let data_type = plain.unwrap_or(data_type).to_owned();
            table.columns.insert(name.to_owned(), LockedColumn { data_type, not_null: plain.is_some() });
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(data_type: &str, not_null: bool) -> LockedColumn {
        LockedColumn { data_type: data_type.to_owned(), not_null }
    }

    fn orders() -> Lock {
        let columns = [("order_id", column("bigint", true)), ("amount", column("decimal(12,2)", false))];
        let table = LockedTable {
            key: vec!["order_id".to_owned()],
            columns: columns.into_iter().map(|(name, column)| (name.to_owned(), column)).collect(),
        };
        Lock { tables: BTreeMap::from([(TableName::new("bronze", "shop_orders"), table)]) }
    }

    fn read(text: &str) -> (Lock, Vec<String>) {
        let mut problems = Vec::new();
        let lock = parse(&"polder.lock".into(), text, &mut problems);
        (lock, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_written_is_read() {
        let text = orders().text();
        assert!(text.ends_with(
            "format 1\n\nbronze.shop_orders\nkey order_id\ncolumn amount decimal(12,2)\ncolumn order_id bigint not null\n"
        ));
        assert_eq!(read(&text), (orders(), Vec::new()));
        assert_eq!(read(&text.replace('\n', "\r\n")).0, orders());
    }

    #[test]
    fn drift_is_a_diff() {
        let mut now = orders();
        let table = now.tables.values_mut().next().unwrap();
        table.columns.insert("amount".to_owned(), column("double", false));
        table.columns.insert("note".to_owned(), column("text", false));
        let drift = now.drift(&orders());
        assert_eq!(drift.len(), 1);
        assert_eq!(drift[0].gone, ["column amount decimal(12,2)"]);
        assert_eq!(drift[0].new, ["column amount double", "column note text"]);
        assert!(now.drift(&now).is_empty());
        assert_eq!(Lock::default().drift(&orders())[0].gone.len(), 3);
    }

    #[test]
    fn what_polder_does_not_write_is_told() {
        for text in
            ["bronze.x\n", "format 1\ncolumn a b\n", "format 1\nbronze.x\n<<<<<<< HEAD\n", "format 1\n\nno table\n"]
        {
            assert_eq!(read(text).1, ["error[P022]: this is no line of `polder.lock`"], "{text}");
        }
        assert_eq!(
            read("format 2\nwhatever\n").1,
            ["error[P022]: `polder.lock` was written by a newer Polder: its format is 2"]
        );
    }
}
