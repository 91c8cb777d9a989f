//! What a session may name: for completion and lists.

use std::collections::BTreeMap;

use polder_base::{TableName, quote_text};
use polder_sql::{Function, search_order, system_tables};

use crate::query::SqlSession;
use crate::rows::texts_of;
use crate::{AppError, TableRow};

/// All that a statement of a session may name. What policies deny to its principal is not there.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Tables and views, by schema and name; those of `system` and `information_schema` are among them.
    pub relations: Vec<NamedRelation>,
    /// Where names without a schema are looked for, in this order.
    pub search: Vec<String>,
    pub functions: Vec<Function>,
    /// Branches and tags.
    pub refs: Vec<String>,
}

/// A table or view, and its columns in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRelation {
    pub name: TableName,
    pub columns: Vec<String>,
}

impl Names {
    /// The table or view that a name without a schema means.
    pub fn bare(&self, name: &str) -> Option<&NamedRelation> {
        self.search.iter().find_map(|namespace| self.relation(namespace, name))
    }

    /// A table or view by both parts of its name.
    pub fn relation(&self, namespace: &str, name: &str) -> Option<&NamedRelation> {
        let place = |r: &NamedRelation| (r.name.namespace.as_str(), r.name.name.as_str()).cmp(&(namespace, name));
        self.relations.binary_search_by(place).ok().and_then(|at| self.relations.get(at))
    }
}

impl SqlSession {
    /// Where names without a schema are looked for, in this order.
    pub fn search(&self) -> Vec<String> {
        search_order(self.inner().options().default_namespace.as_deref())
    }

    /// Reads what statements of this session may name, as of its commit. A table whose metadata cannot be read has a
    /// name and no columns.
    ///
    /// # Errors
    /// State that cannot be read.
    pub async fn names(&self) -> Result<Names, AppError> {
        let mut relations = BTreeMap::new();
        let known = "select table_schema, table_name from information_schema.tables";
        for row in texts_of(self, known).await? {
            if let [Some(namespace), Some(name)] = row.as_slice() {
                relations.insert(TableName::new(namespace, name), Vec::new());
            }
        }
        self.read_columns(&mut relations).await;
        for table in system_tables() {
            // Those fail only where a policy denies them.
            if let Ok(schema) = self.inner().schema(&format!("select * from {}", table.sql())).await {
                relations.insert(table, schema.fields().iter().map(|field| field.name().clone()).collect());
            }
        }
        let refs = self.refs().await.unwrap_or_default();
        Ok(Names {
            relations: relations.into_iter().map(|(name, columns)| NamedRelation { name, columns }).collect(),
            search: self.search(),
            functions: self.functions()?,
            refs,
        })
    }

    /// The branches and tags that the session's principal may know of, by name.
    ///
    /// # Errors
    /// State that cannot be read; a policy that denies it.
    pub async fn refs(&self) -> Result<Vec<String>, AppError> {
        let refs = texts_of(self, "select name from system.refs order by name").await?;
        Ok(refs.into_iter().flatten().flatten().collect())
    }

    /// Reads the columns of all relations at once, or, where one of them is damaged, of each by itself.
    async fn read_columns(&self, relations: &mut BTreeMap<TableName, Vec<String>>) {
        let columns = "select table_schema, table_name, column_name from information_schema.columns";
        let order = "order by table_schema, table_name, ordinal_position";
        let mut found = Vec::new();
        match texts_of(self, &format!("{columns} {order}")).await {
            Ok(rows) => found = rows,
            Err(_) => {
                for table in relations.keys() {
                    let (namespace, name) = (quote_text(&table.namespace), quote_text(&table.name));
                    let one = format!("where table_schema = {namespace} and table_name = {name}");
                    found.extend(texts_of(self, &format!("{columns} {one} {order}")).await.unwrap_or_default());
                }
            }
        }
        for row in found {
            if let [Some(namespace), Some(name), Some(column)] = row.as_slice() {
                relations.entry(TableName::new(namespace, name)).or_default().push(column.clone());
            }
        }
    }

    /// The functions that statements may call, by name.
    ///
    /// # Errors
    /// None that a statement could cause.
    pub fn functions(&self) -> Result<Vec<Function>, AppError> {
        self.inner().functions().map_err(|error| self.stream_error(error, ""))
    }

    /// The tables and views that the session's principal may know of, with sizes where all of the table may be told.
    ///
    /// # Errors
    /// Metadata that cannot be read.
    pub async fn tables(&self) -> Result<Vec<TableRow>, AppError> {
        let sql = "select namespace, name, kind, rows, bytes from system.tables order by namespace, name";
        let number = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
        let row = |row: Vec<Option<String>>| match row.as_slice() {
            [Some(namespace), Some(name), kind, rows, bytes] => Some(TableRow {
                name: TableName::new(namespace, name),
                kind: if kind.as_deref() == Some("view") { "view" } else { "table" },
                rows: number(rows),
                bytes: number(bytes),
                changed: None,
            }),
            _ => None,
        };
        Ok(texts_of(self, sql).await?.into_iter().filter_map(row).collect())
    }
}
