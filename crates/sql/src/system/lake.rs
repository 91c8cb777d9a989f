//! What the catalog and the tables' metadata say: `system.commits`, `refs`, `tables`, `columns`, `snapshots`, `files`,
//! and `information_schema`.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::Result as DfResult;
use polder_base::{TableName, Timestamp};
use polder_catalog::{Commit, CommitId, Entry, EntryKey, RefInfo, RefKind};
use polder_govern::Decision;
use polder_lake::{LakeError, sql_type_name_of_arrow, to_arrow};
use polder_table::DataFileInfo;
use polder_table::spec::{Datum, SnapshotRef, TableMetadataRef};

use super::Reader;
use super::columns::Columns;
use super::wanted::Wanted;
use crate::Result;

/// A table or view that the principal may know of.
pub(super) struct Relation {
    name: TableName,
    entry: Entry,
    decision: Decision,
}

impl Relation {
    fn kind(&self) -> &'static str {
        if matches!(self.entry, Entry::View(_)) { "view" } else { "table" }
    }

    fn uuid(&self) -> Option<&str> {
        match &self.entry {
            Entry::Table(table) => Some(&table.uuid),
            Entry::View(view) => Some(&view.uuid),
            Entry::Cursor(_) => None,
        }
    }
}

pub(super) struct TableRow {
    relation: Relation,
    metadata: Option<TableMetadataRef>,
    metadata_path: String,
    columns: usize,
}

impl TableRow {
    fn snapshot(&self) -> Option<&SnapshotRef> {
        self.metadata.as_ref().and_then(|metadata| metadata.current_snapshot())
    }

    /// A number of the snapshot's summary, where the principal may know it.
    fn total(&self, key: &str) -> Option<u64> {
        match (&self.metadata, self.snapshot()) {
            _ if !self.relation.decision.is_open() => None,
            (Some(_), None) => Some(0),
            (_, Some(snapshot)) => number(snapshot, key),
            (None, None) => None,
        }
    }
}

pub(super) struct ColumnRow {
    relation: Arc<Relation>,
    schema: SchemaRef,
    position: usize,
}

impl ColumnRow {
    fn field(&self) -> &Field {
        self.schema.field(self.position)
    }
}

pub(super) struct SnapshotRow {
    name: TableName,
    open: bool,
    current: bool,
    snapshot: SnapshotRef,
}

impl SnapshotRow {
    fn total(&self, key: &str) -> Option<u64> {
        if self.open { number(&self.snapshot, key) } else { None }
    }
}

pub(super) struct FileRow {
    name: TableName,
    info: DataFileInfo,
    /// Column names by field id.
    columns: Arc<BTreeMap<i32, String>>,
}

pub(super) struct CommitRow {
    id: CommitId,
    commit: Arc<Commit>,
    /// The tables and cursors that it changed, as far as the principal may know of them.
    changed: String,
    /// No table is among its changes of which the principal may not know all.
    open: bool,
    /// No policy at all is for the principal: what people write may quote any row.
    unbound: bool,
}

impl CommitRow {
    fn accepted<T>(&self, f: impl Fn(&polder_catalog::Accepted) -> T) -> Option<T> {
        self.commit.accepted.as_ref().filter(|_| self.open && self.unbound).map(f)
    }
}

fn number(snapshot: &SnapshotRef, key: &str) -> Option<u64> {
    snapshot.summary().additional_properties.get(key)?.parse().ok()
}

impl Reader {
    /// Tables and views at the session's commit; those that are denied to the principal are not there.
    pub(super) async fn read_relations(&self, wanted: &Wanted) -> Result<Vec<Relation>> {
        let entries = self.catalog().entries(&self.core.at).await?;
        let mut relations = Vec::new();
        for (key, entry) in entries {
            let EntryKey::Relation(name) = key else { continue };
            if !wanted.takes(&name.namespace, &name.name) {
                continue;
            }
            let mut relation = Relation { name, entry, decision: Decision::default() };
            relation.decision = self.decide(&relation.name, relation.uuid());
            if relation.decision.denied.is_none() {
                relations.push(relation);
            }
        }
        Ok(relations)
    }

    pub(super) async fn read_tables(&self, wanted: &Wanted) -> Result<Vec<TableRow>> {
        let mut rows = Vec::new();
        for relation in self.read_relations(wanted).await? {
            rows.push(match &relation.entry {
                Entry::Table(table) => {
                    let metadata = self.catalog().metadata(table).await?;
                    let columns = metadata.current_schema().as_struct().fields().len();
                    TableRow { metadata_path: table.metadata_path.clone(), metadata: Some(metadata), columns, relation }
                }
                Entry::View(view) => {
                    let columns = self.view_schema(&relation.name).await?.fields().len();
                    TableRow { metadata_path: view.metadata_path.clone(), metadata: None, columns, relation }
                }
                Entry::Cursor(_) => continue,
            });
        }
        Ok(rows)
    }

    async fn view_schema(&self, name: &TableName) -> Result<SchemaRef> {
        match self.core.engine.lake().view(&self.core.at, name).await? {
            Some(view) => Ok(to_arrow(&view.schema)?),
            None => Ok(Arc::new(Schema::empty())),
        }
    }

    pub(super) async fn read_columns(&self, wanted: &Wanted) -> Result<Vec<ColumnRow>> {
        let mut rows = Vec::new();
        for relation in self.read_relations(wanted).await? {
            let schema = match &relation.entry {
                Entry::Table(table) => to_arrow(self.catalog().metadata(table).await?.current_schema())?,
                _ => self.view_schema(&relation.name).await?,
            };
            let relation = Arc::new(relation);
            rows.extend((0..schema.fields().len()).map(|position| ColumnRow {
                relation: Arc::clone(&relation),
                schema: Arc::clone(&schema),
                position,
            }));
        }
        Ok(rows)
    }

    pub(super) async fn read_snapshots(&self, wanted: &Wanted) -> Result<Vec<SnapshotRow>> {
        let mut rows = Vec::new();
        for relation in self.read_relations(wanted).await? {
            let Entry::Table(table) = &relation.entry else { continue };
            let metadata = self.catalog().metadata(table).await?;
            let mut snapshots: Vec<&SnapshotRef> = metadata.snapshots().collect();
            snapshots.sort_by_key(|snapshot| (snapshot.sequence_number(), snapshot.timestamp_ms()));
            rows.extend(snapshots.into_iter().map(|snapshot| SnapshotRow {
                name: relation.name.clone(),
                open: relation.decision.is_open(),
                current: metadata.current_snapshot_id() == Some(snapshot.snapshot_id()),
                snapshot: Arc::clone(snapshot),
            }));
        }
        Ok(rows)
    }

    /// Data files of the tables that the principal may see whole: a file's bounds and counts tell about all its rows.
    pub(super) async fn read_files(&self, wanted: &Wanted) -> Result<Vec<FileRow>> {
        let mut rows = Vec::new();
        for relation in self.read_relations(wanted).await? {
            let Entry::Table(table) = &relation.entry else { continue };
            if !relation.decision.is_open() {
                continue;
            }
            let metadata = self.catalog().metadata(table).await?;
            let fields = metadata.current_schema().as_struct().fields();
            let columns = Arc::new(fields.iter().map(|field| (field.id, field.name.clone())).collect());
            let tables = self.catalog().tables();
            let files =
                tables.snapshot_files(&metadata, metadata.current_snapshot_id()).await.map_err(LakeError::from)?;
            rows.extend(files.into_iter().map(|info| FileRow {
                name: relation.name.clone(),
                info,
                columns: Arc::clone(&columns),
            }));
        }
        Ok(rows)
    }

    pub(super) async fn read_commits(&self, wanted: &Wanted) -> Result<Vec<CommitRow>> {
        let filtered = wanted.run.is_some();
        let limit = wanted.limit.filter(|_| !filtered).unwrap_or(usize::MAX);
        let log = self.catalog().log(&self.core.at, limit).await?;
        let unbound = !self.is_bound();
        let row = |(id, commit): (CommitId, Arc<Commit>)| {
            let entries = || commit.operations.iter().map(|operation| operation.entry.as_str());
            let open = entries().all(|entry| self.is_open(entry));
            let changed = entries().filter(|entry| self.is_known(entry)).collect::<Vec<_>>().join(", ");
            CommitRow { id, commit, changed, open, unbound }
        };
        Ok(log.into_iter().map(row).collect())
    }
}

pub(super) fn commits(rows: &[CommitRow]) -> DfResult<RecordBatch> {
    let rows_of = |row: &CommitRow, f: fn(&polder_catalog::TableOperation) -> u64| {
        row.open.then(|| row.commit.operations.iter().map(f).sum())
    };
    Columns::of(rows)
        .text("commit", |c| Some(c.id.0.as_str()))
        .time("time", |c| Some(c.commit.at()))
        .text("principal", |c| Some(c.commit.author.principal.as_str()))
        .count("run", |c| c.commit.run)
        .text("message", |c| Some(c.commit.message.as_str()))
        .text("parent", |c| c.commit.parents.first().map(String::as_str))
        .text("merged", |c| c.commit.parents.get(1).map(String::as_str))
        .text("changed", |c| Some(c.changed.as_str()))
        .count("added_rows", |c| rows_of(c, |o| o.added_rows))
        .count("removed_rows", |c| rows_of(c, |o| o.removed_rows))
        .text("reason", |c| c.accepted(|a| a.reason.clone()))
        .text("overruled", |c| c.accepted(|a| a.checks.join("; ")).filter(|checks| !checks.is_empty()))
        .batch()
}

pub(super) fn refs(rows: &[RefInfo]) -> DfResult<RecordBatch> {
    Columns::of(rows)
        .text("name", |r| Some(r.name.as_str()))
        .text("kind", |r| Some(if r.kind == RefKind::Tag { "tag" } else { "branch" }))
        .text("commit", |r| Some(r.commit.0.as_str()))
        .count("epoch", |r| Some(r.epoch))
        // `main` is made with the empty catalog, which is the same everywhere and has no time.
        .time("created", |r| Some(r.created).filter(|at| at.micros() != 0))
        .time("expires", |r| r.expires)
        .batch()
}

pub(super) fn tables(rows: &[TableRow]) -> DfResult<RecordBatch> {
    Columns::of(rows)
        .text("namespace", |t| Some(t.relation.name.namespace.as_str()))
        .text("name", |t| Some(t.relation.name.name.as_str()))
        .text("kind", |t| Some(t.relation.kind()))
        .count("columns", |t| Some(t.columns as u64))
        .count("rows", |t| t.total("total-records"))
        .count("bytes", |t| t.total("total-files-size"))
        .count("files", |t| t.total("total-data-files"))
        .time("updated", |t| t.metadata.as_ref().map(|m| Timestamp::from_millis(m.last_updated_ms())))
        .bigint("snapshot_id", |t| t.snapshot().map(|snapshot| snapshot.snapshot_id()))
        .text("uuid", |t| t.relation.uuid())
        .text("metadata", |t| Some(t.metadata_path.as_str()))
        .batch()
}

pub(super) fn columns(rows: &[ColumnRow]) -> DfResult<RecordBatch> {
    Columns::of(rows)
        .text("namespace", |c| Some(c.relation.name.namespace.as_str()))
        .text("name", |c| Some(c.relation.name.name.as_str()))
        .count("position", |c| Some(c.position as u64 + 1))
        .text("column_name", |c| Some(c.field().name().as_str()))
        .text("data_type", |c| Some(sql_type_name_of_arrow(c.field().data_type())))
        .boolean("nullable", |c| Some(c.field().is_nullable()))
        .boolean("masked", |c| Some(c.relation.decision.mask_of(c.field().name()).is_some()))
        .text("comment", |c| c.field().metadata().get("comment").map(String::as_str))
        .batch()
}

pub(super) fn snapshots(rows: &[SnapshotRow]) -> DfResult<RecordBatch> {
    Columns::of(rows)
        .text("namespace", |s| Some(s.name.namespace.as_str()))
        .text("name", |s| Some(s.name.name.as_str()))
        .bigint("snapshot_id", |s| Some(s.snapshot.snapshot_id()))
        .bigint("parent_id", |s| s.snapshot.parent_snapshot_id())
        .bigint("sequence_number", |s| Some(s.snapshot.sequence_number()))
        .time("committed", |s| Some(Timestamp::from_millis(s.snapshot.timestamp_ms())))
        .text("operation", |s| Some(s.snapshot.summary().operation.as_str()))
        .count("run", |s| number(&s.snapshot, "polder.run"))
        .count("added_rows", |s| s.total("added-records"))
        .count("removed_rows", |s| s.total("deleted-records"))
        .count("total_rows", |s| s.total("total-records"))
        .count("total_files", |s| s.total("total-data-files"))
        .boolean("current", |s| Some(s.current))
        .batch()
}

pub(super) fn files(rows: &[FileRow]) -> DfResult<RecordBatch> {
    Columns::of(rows)
        .text("namespace", |f| Some(f.name.namespace.as_str()))
        .text("name", |f| Some(f.name.name.as_str()))
        .text("path", |f| Some(f.info.file.file_path()))
        .text("format", |f| Some(f.info.file.file_format().to_string().to_lowercase()))
        .count("rows", |f| Some(f.info.file.record_count()))
        .count("bytes", |f| Some(f.info.file.file_size_in_bytes()))
        .text("partition", |f| Some(partition(f)))
        .bigint("snapshot_id", |f| Some(f.info.snapshot_id))
        .bigint("sequence_number", |f| Some(f.info.sequence_number))
        .text("lower_bounds", |f| Some(bounds(f, f.info.file.lower_bounds().iter())))
        .text("upper_bounds", |f| Some(bounds(f, f.info.file.upper_bounds().iter())))
        .batch()
}

fn partition(row: &FileRow) -> String {
    let values = row.info.file.partition().iter().map(|value| match value {
        Some(value) => format!("{value:?}"),
        None => "NULL".to_owned(),
    });
    values.collect::<Vec<_>>().join(", ")
}

/// Bounds by column name, as JSON.
fn bounds<'a>(row: &FileRow, bounds: impl Iterator<Item = (&'a i32, &'a Datum)>) -> String {
    let by_name: BTreeMap<&str, String> =
        bounds.filter_map(|(id, bound)| Some((row.columns.get(id)?.as_str(), bound.to_string()))).collect();
    serde_json::to_string(&by_name).unwrap_or_default()
}

/// The name of the only catalog that a session has.
const CATALOG: &str = "polder";

pub(super) fn schemata(rows: &[Relation]) -> DfResult<RecordBatch> {
    let mut namespaces: Vec<&str> = rows.iter().map(|relation| relation.name.namespace.as_str()).collect();
    namespaces.dedup();
    Columns::of(&namespaces)
        .text("catalog_name", |_| Some(CATALOG))
        .text("schema_name", |namespace| Some(*namespace))
        .batch()
}

pub(super) fn information_tables(rows: &[Relation]) -> DfResult<RecordBatch> {
    Columns::of(rows)
        .text("table_catalog", |_| Some(CATALOG))
        .text("table_schema", |r| Some(r.name.namespace.as_str()))
        .text("table_name", |r| Some(r.name.name.as_str()))
        .text("table_type", |r| Some(if r.kind() == "view" { "VIEW" } else { "BASE TABLE" }))
        .batch()
}

pub(super) fn information_columns(rows: &[ColumnRow]) -> DfResult<RecordBatch> {
    Columns::of(rows)
        .text("table_catalog", |_| Some(CATALOG))
        .text("table_schema", |c| Some(c.relation.name.namespace.as_str()))
        .text("table_name", |c| Some(c.relation.name.name.as_str()))
        .text("column_name", |c| Some(c.field().name().as_str()))
        .count("ordinal_position", |c| Some(c.position as u64 + 1))
        .text("column_default", |_| None::<&str>)
        .text("is_nullable", |c| Some(if c.field().is_nullable() { "YES" } else { "NO" }))
        .text("data_type", |c| Some(sql_type_name_of_arrow(c.field().data_type())))
        .batch()
}
