//! Tables whose rows are names: a "data file" is a JSON list of them, so that any test can say exactly which rows a
//! commit shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use polder_base::{RunId, TableName};
use polder_catalog::{Author, Catalog, Change, ChangeSet, CommitId, Entry, EntryKey, TableEntry};
use polder_store::{Storage, StoreError, Warehouse};
use polder_table::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, NestedField, PrimitiveType, Schema, Type,
    UnboundPartitionSpec,
};
use polder_table::{Operation, TableIo};

pub fn author() -> Author {
    Author { principal: "tester".to_owned() }
}

pub fn table(name: &str) -> TableName {
    name.parse().unwrap()
}

pub fn relation(name: &str) -> EntryKey {
    EntryKey::Relation(table(name))
}

pub fn schema() -> Schema {
    let field = NestedField::optional(1, "row", Type::Primitive(PrimitiveType::String));
    Schema::builder().with_fields([field.into()]).build().unwrap()
}

/// Small numbers, so that manifests are merged and snapshots trimmed within a short test.
fn properties() -> BTreeMap<String, String> {
    [("polder.snapshots-max", "4"), ("commit.manifest.min-count-to-merge", "3")]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Writes rows as a file of a table's folder.
pub async fn write_rows(
    warehouse: &Warehouse,
    folder: &str,
    name: &str,
    rows: &[String],
) -> Result<DataFile, StoreError> {
    let path = format!("{folder}/data/{name}.parquet");
    let bytes = Bytes::from(serde_json::to_vec(rows).unwrap());
    let size = bytes.len() as u64;
    warehouse.storage().put(&path, bytes).await?;
    Ok(DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(warehouse.location(&path))
        .file_format(DataFileFormat::Parquet)
        .record_count(rows.len() as u64)
        .file_size_in_bytes(size)
        .build()
        .unwrap())
}

pub fn create(folder: &str, files: Vec<DataFile>) -> Operation {
    Operation::Create {
        folder: folder.to_owned(),
        schema: schema(),
        partition: UnboundPartitionSpec::default(),
        sort: None,
        properties: properties(),
        files,
    }
}

pub fn change_set(message: &str, run: Option<RunId>, changes: Vec<Change>) -> ChangeSet {
    ChangeSet { author: author(), message: message.to_owned(), run, changes }
}

pub fn cursor_change(name: &str, of: &str, base: Option<&str>, value: &str) -> Change {
    Change::Cursor { name: name.to_owned(), table: table(of), base: base.map(str::to_owned), value: value.to_owned() }
}

/// A table on a commit, and the folder of its files.
pub async fn find_table(
    catalog: &Catalog,
    at: &CommitId,
    name: &str,
) -> polder_catalog::Result<Option<(TableEntry, String)>> {
    let Some(Entry::Table(entry)) = catalog.entry(at, &relation(name)).await? else { return Ok(None) };
    let metadata = catalog.metadata(&entry).await?;
    let folder = catalog.tables().warehouse().path(metadata.location())?.to_owned();
    Ok(Some((entry, folder)))
}

/// Appends rows to a table on a branch, blindly; makes the table where there is none.
pub async fn append_change(
    catalog: &Catalog,
    at: &CommitId,
    name: &str,
    file: &str,
    rows: &[String],
) -> polder_catalog::Result<Change> {
    let found = find_table(catalog, at, name).await?;
    let warehouse = catalog.tables().warehouse();
    let operation = match found {
        Some((_, folder)) => Operation::Append { files: vec![write_rows(warehouse, &folder, file, rows).await?] },
        None => {
            let folder = new_folder(catalog, name);
            let file = write_rows(warehouse, &folder, file, rows).await?;
            create(&folder, vec![file])
        }
    };
    Ok(Change::Table { table: table(name), operations: vec![operation], read: None })
}

pub fn new_folder(catalog: &Catalog, name: &str) -> String {
    let TableName { namespace, name } = table(name);
    format!("{namespace}/{name}-{:08x}", catalog.system().random() >> 32)
}

/// The value of a cursor.
pub async fn cursor(catalog: &Catalog, at: &CommitId, name: &str) -> polder_catalog::Result<Option<String>> {
    Ok(match catalog.entry(at, &EntryKey::Cursor(name.to_owned())).await? {
        Some(Entry::Cursor(cursor)) => Some(cursor.value),
        _ => None,
    })
}

/// All rows of a table's current snapshot, sorted.
pub async fn rows_of(tables: &TableIo, metadata_path: &str) -> Result<Vec<String>, polder_table::TableError> {
    let metadata = tables.metadata(metadata_path).await?;
    let mut rows = Vec::new();
    for info in tables.snapshot_files(&metadata, metadata.current_snapshot_id()).await? {
        rows.extend(rows_of_file(tables.warehouse(), info.file.file_path()).await?);
    }
    rows.sort();
    Ok(rows)
}

pub async fn rows_of_file(warehouse: &Warehouse, location: &str) -> Result<Vec<String>, StoreError> {
    let storage: &Arc<dyn Storage> = warehouse.storage();
    let bytes = storage.get(warehouse.path(location)?).await?;
    Ok(serde_json::from_slice(&bytes).unwrap())
}

/// The rows of a table on a ref, sorted; `None` when there is no such table.
pub async fn rows(catalog: &Catalog, at: &str, name: &str) -> Option<Vec<String>> {
    let at = catalog.resolve(at).await.unwrap();
    match catalog.entry(&at, &relation(name)).await.unwrap() {
        Some(Entry::Table(entry)) => Some(rows_of(catalog.tables(), &entry.metadata_path).await.unwrap()),
        _ => None,
    }
}

/// Row names `<prefix>1`, `<prefix>2`, … from `first` to `last`.
pub fn numbered(prefix: &str, first: u64, last: u64) -> Vec<String> {
    (first..=last).map(|n| format!("{prefix}{n}")).collect()
}
