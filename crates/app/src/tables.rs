//! Tables as a person looks at them.

use polder_base::{TableName, Timestamp};
use polder_catalog::{CommitId, Entry, EntryKey};
use polder_lake::{LakeError, sql_type_name};
use polder_table::spec::TableMetadata;
use serde::Serialize;

use crate::{App, AppError, Damaged, codes};

/// A table or view in a list.
#[derive(Debug, Clone, Serialize)]
pub struct TableRow {
    pub name: TableName,
    /// `table` or `view`.
    pub kind: &'static str,
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    /// When its snapshot was made.
    pub changed: Option<Timestamp>,
}

/// All about one table or view.
#[derive(Debug, Clone, Serialize)]
pub struct TableDetails {
    pub name: TableName,
    #[serde(rename = "ref")]
    pub at: String,
    pub kind: &'static str,
    pub comment: Option<String>,
    pub columns: Vec<ColumnDetails>,
    /// `day(created_at)`, `bucket(16, id)`.
    pub partitions: Vec<String>,
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    pub files: Option<u64>,
    /// Absolute, for other engines.
    pub location: Option<String>,
    /// Absolute: what PyIceberg, DuckDB and others open.
    pub metadata_file: String,
    pub uuid: String,
    /// The newest first.
    pub snapshots: Vec<SnapshotDetails>,
    /// Of a view.
    pub sql: Option<String>,
    /// The file of the project that makes it.
    pub declared_in: Option<String>,
    /// The files of its checks.
    pub checked_in: Vec<String>,
    /// Its files are gone, or do not hold what they should.
    pub damaged: Option<Damaged>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ColumnDetails {
    pub name: String,
    #[serde(rename = "type")]
    pub data_type: String,
    pub nullable: bool,
    pub comment: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct SnapshotDetails {
    pub id: i64,
    pub at: Timestamp,
    pub operation: String,
    pub run: Option<u64>,
    pub added_rows: Option<u64>,
    pub removed_rows: Option<u64>,
}

/// Snapshots that `show` lists.
const SNAPSHOTS: usize = 10;

impl App {
    /// The rows of a table at a commit; 0 where it has none of the name.
    pub(crate) async fn rows_at(&self, commit: &CommitId, table: &TableName) -> Result<u64, AppError> {
        let Some(Entry::Table(entry)) = self.catalog.entry(commit, &EntryKey::Relation(table.clone())).await? else {
            return Ok(0);
        };
        let metadata = self.catalog.metadata(&entry).await?;
        Ok(total(&metadata, "total-records").unwrap_or_default())
    }

    pub(crate) async fn tables_at(&self, commit: &CommitId) -> Result<Vec<TableRow>, AppError> {
        let mut rows = Vec::new();
        for (key, entry) in self.catalog.entries(commit).await? {
            let EntryKey::Relation(name) = key else { continue };
            match entry {
                Entry::Table(table) => {
                    let metadata = match self.catalog.metadata(&table).await.map_err(LakeError::from) {
                        Ok(metadata) => Some(metadata),
                        Err(error) if error.is_damage() => None,
                        Err(error) => return Err(error.into()),
                    };
                    let snapshot = metadata.as_ref().and_then(|m| m.current_snapshot());
                    rows.push(TableRow {
                        name,
                        kind: "table",
                        rows: metadata.as_ref().and_then(|m| total(m, "total-records")),
                        bytes: metadata.as_ref().and_then(|m| total(m, "total-files-size")),
                        changed: snapshot.map(|s| Timestamp::from_millis(s.timestamp_ms())),
                    });
                }
                Entry::View(_) => rows.push(TableRow { name, kind: "view", rows: None, bytes: None, changed: None }),
                Entry::Cursor(_) => {}
            }
        }
        Ok(rows)
    }

    /// All about a table or view as a ref shows it, the current one unless given.
    ///
    /// # Errors
    /// An unknown ref; a table that is not there; metadata that cannot be read.
    pub async fn show(&self, table: &TableName, at: Option<&str>) -> Result<TableDetails, AppError> {
        let at = self.ref_or_current(at)?;
        let commit = self.catalog.resolve(&at).await?;
        let found = self.catalog.entry(&commit, &EntryKey::Relation(table.clone())).await?;
        let Some(entry) = found else { return Err(self.unknown_table(table, &at, &commit).await?) };
        let damaged = self.damage_of(table, &entry).await?;
        let mut details = match self.details(table, &at, &entry).await {
            // What is known without its files.
            Err(LakeError::Catalog(_) | LakeError::Table(_) | LakeError::Store(_)) if damaged.is_some() => {
                let (kind, path, uuid) = match entry {
                    Entry::View(view) => ("view", view.metadata_path, view.uuid),
                    Entry::Table(table) => ("table", table.metadata_path, table.uuid),
                    Entry::Cursor(_) => return Err(self.unknown_table(table, &at, &commit).await?),
                };
                empty(table, &at, kind, path, uuid)
            }
            details => details?,
        };
        details.damaged = damaged;
        details.metadata_file = self.catalog.tables().warehouse().location(&details.metadata_file);
        let project = &self.loaded.project;
        details.declared_in = project.tables.get(table).map(|span| span.file.to_string());
        let checks = project.checks.iter().filter(|c| c.table == *table);
        details.checked_in = checks.map(|c| c.span.file.to_string()).collect();
        details.checked_in.dedup();
        Ok(details)
    }

    async fn details(&self, table: &TableName, at: &str, entry: &Entry) -> Result<TableDetails, LakeError> {
        match entry {
            Entry::Table(entry) => {
                let metadata = self.catalog.metadata(entry).await?;
                Ok(of_table(table, at, &metadata, entry.metadata_path.clone()))
            }
            Entry::View(entry) => {
                let view = self.catalog.tables().view(&entry.metadata_path).await?;
                let definition = polder_table::view_definition(&view)?;
                Ok(TableDetails {
                    columns: columns(&definition.schema),
                    comment: definition.comment,
                    sql: Some(definition.sql),
                    ..empty(table, at, "view", entry.metadata_path.clone(), entry.uuid.clone())
                })
            }
            Entry::Cursor(_) => Err(LakeError::Defect(format!("{table} is a cursor"))),
        }
    }

    pub(crate) async fn unknown_table(
        &self,
        table: &TableName,
        at: &str,
        commit: &CommitId,
    ) -> Result<AppError, AppError> {
        let names: Vec<String> = self.relations(commit).await?.keys().map(ToString::to_string).collect();
        let refused = AppError::refused(codes::UNKNOWN_TABLE, format!("there is no table `{table}` at {at}"));
        let near = polder_base::nearest(&table.to_string(), names.iter().map(String::as_str));
        let declared = self.loaded.project.tables.get(table).is_some();
        Ok(match near {
            Some(near) => refused.hint(format!("did you mean `{near}`?")),
            None if declared => refused.hint(format!("it is declared, and not built there yet: polder run {table}")),
            None => refused,
        })
    }
}

fn empty(table: &TableName, at: &str, kind: &'static str, metadata_file: String, uuid: String) -> TableDetails {
    TableDetails {
        name: table.clone(),
        at: at.to_owned(),
        kind,
        comment: None,
        columns: Vec::new(),
        partitions: Vec::new(),
        rows: None,
        bytes: None,
        files: None,
        location: None,
        metadata_file,
        uuid,
        snapshots: Vec::new(),
        sql: None,
        declared_in: None,
        checked_in: Vec::new(),
        damaged: None,
    }
}

fn of_table(table: &TableName, at: &str, metadata: &TableMetadata, path: String) -> TableDetails {
    let schema = metadata.current_schema();
    let partitions = metadata.default_partition_spec().fields().iter().map(|field| {
        let column = schema.name_by_field_id(field.source_id).unwrap_or(&field.name);
        partition_text(&field.transform.to_string(), column)
    });
    let mut snapshots: Vec<SnapshotDetails> = metadata.snapshots().map(snapshot).collect();
    snapshots.sort_by_key(|s| std::cmp::Reverse((s.at, s.id)));
    snapshots.truncate(SNAPSHOTS);
    TableDetails {
        comment: metadata.properties().get("comment").cloned(),
        columns: columns(schema),
        partitions: partitions.collect(),
        rows: total(metadata, "total-records"),
        bytes: total(metadata, "total-files-size"),
        files: total(metadata, "total-data-files"),
        location: Some(metadata.location().to_owned()),
        snapshots,
        ..empty(table, at, "table", path, metadata.uuid().to_string())
    }
}

/// `day` of `ts` → `day(ts)`, `bucket[16]` of `id` → `bucket(16, id)`, `identity` of `c` → `c`.
fn partition_text(transform: &str, column: &str) -> String {
    match transform.strip_suffix(']').and_then(|t| t.split_once('[')) {
        Some((name, width)) => format!("{name}({width}, {column})"),
        None if transform == "identity" => column.to_owned(),
        None => format!("{transform}({column})"),
    }
}

fn snapshot(snapshot: &polder_table::spec::SnapshotRef) -> SnapshotDetails {
    let summary = snapshot.summary();
    let number = |key: &str| summary.additional_properties.get(key).and_then(|v| v.parse().ok());
    SnapshotDetails {
        id: snapshot.snapshot_id(),
        at: Timestamp::from_millis(snapshot.timestamp_ms()),
        operation: summary.operation.as_str().to_owned(),
        run: number("polder.run"),
        added_rows: number("added-records"),
        removed_rows: number("deleted-records"),
    }
}

fn columns(schema: &polder_table::spec::Schema) -> Vec<ColumnDetails> {
    let fields = schema.as_struct().fields().iter().map(|field| ColumnDetails {
        name: field.name.clone(),
        data_type: sql_type_name(&field.field_type),
        nullable: !field.required,
        comment: field.doc.clone(),
    });
    fields.collect()
}

/// Names and types.
pub(crate) fn column_list(metadata: &TableMetadata) -> Vec<(String, String)> {
    columns(metadata.current_schema()).into_iter().map(|c| (c.name, c.data_type)).collect()
}

/// A total from the current snapshot's summary; 0 for a table without one.
pub(crate) fn total(metadata: &TableMetadata, key: &str) -> Option<u64> {
    match metadata.current_snapshot() {
        Some(snapshot) => snapshot.summary().additional_properties.get(key)?.parse().ok(),
        None => Some(0),
    }
}
