//! Views in commits.

use std::sync::Arc;

use polder_base::TableName;
use polder_table::spec::SchemaRef;
use polder_table::{DIALECT, ViewDefinition, view_definition};

use super::apply::{Changed, operation};
use super::summary;
use crate::{Catalog, CatalogError, ChangeSet, Entry, EntryKey, Result, TableAction, ViewEntry};

impl Catalog {
    /// Makes a view, or a new version of it. One that says what it said before stays as it is.
    pub(super) async fn write_view(
        &self,
        view: &TableName,
        definition: (&str, &SchemaRef, Option<&str>),
        current: Option<&Entry>,
        set: &ChangeSet,
    ) -> Result<Changed> {
        let (sql, schema, comment) = definition;
        let definition = ViewDefinition {
            sql: sql.to_owned(),
            dialect: DIALECT.to_owned(),
            schema: Arc::clone(schema),
            comment: comment.map(str::to_owned),
        };
        let base = match current {
            None => None,
            Some(Entry::View(entry)) => Some((self.tables().view(&entry.metadata_path).await?, &entry.metadata_path)),
            Some(_) => {
                return Err(CatalogError::Invalid(format!("{view} is a table: drop it before making a view of it")));
            }
        };
        if let Some((metadata, _)) = &base
            && same(&view_definition(metadata)?, &definition)
        {
            return Ok(Changed { entry: current.cloned(), operations: Vec::new() });
        }
        let folder = format!("{}/{}-{:08x}", view.namespace, view.name, self.system().random() >> 32);
        let base = base.as_ref().map(|(metadata, path)| (&**metadata, path.as_str()));
        let committed =
            self.tables().commit_view(base, &folder, &definition, &summary(set.run.map(|run| run.0))).await?;
        let entry = ViewEntry { uuid: committed.metadata.uuid().to_string(), metadata_path: committed.metadata_path };
        let key = EntryKey::Relation(view.clone());
        Ok(Changed::one(Entry::View(entry), operation(&key, TableAction::View, true)))
    }
}

fn same(a: &ViewDefinition, b: &ViewDefinition) -> bool {
    a.sql == b.sql && a.dialect == b.dialect && a.comment == b.comment && a.schema.as_struct() == b.schema.as_struct()
}
