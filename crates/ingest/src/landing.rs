//! Rows on their way into a table: written, then committed at once with what was rejected and how far was read.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_plan::SendableRecordBatchStream;
use polder_base::TableName;
use polder_catalog::Change;
use polder_lake::{Duplicates, LakeTable, Merge, Merged, Workspace, WriteTarget, Written, from_arrow};
use polder_project::Stream;
use polder_run::{StepContext, StepReport};
use polder_table::Operation;
use polder_table::spec::{DataFile, PartitionSpec, UnboundPartitionSpec};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::intake::{Intake, IntakeSettings, Sink, quarantine_schema, quarantine_stream, reject_channel, row_stream};
use crate::plan::{together, type_change};
use crate::{IngestError, Result};

/// The namespace of the tables that take rejected records.
const QUARANTINE: &str = "quarantine";

/// What rows do to the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// They are added, or merged when the stream has a key.
    Append,
    /// They are all there is.
    Replace,
    /// They take the place of the rows of these files (`_file`).
    ReplaceFiles(Vec<String>),
}

/// One stream's table, as the step finds it.
pub struct Landing<'a> {
    pub cx: &'a StepContext,
    pub workspace: &'a Workspace,
    pub stream: &'a Stream,
    /// `shop.orders`: source and stream.
    pub cursor_name: String,
    pub cursor: Option<String>,
    pub table: Option<LakeTable>,
    pub full_refresh: bool,
    /// Among rows with one key, the greatest by these columns wins.
    pub newest_by: Vec<String>,
    /// The source vouches that no two rows have the same key.
    pub unique: bool,
}

impl Landing<'_> {
    /// How far was read; nothing when all is to be read anew.
    pub fn cursor_value<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let Some(text) = self.cursor.as_ref().filter(|_| self.table.is_some() && !self.full_refresh) else {
            return Ok(None);
        };
        serde_json::from_str(text).map(Some).map_err(|e| {
            let name = &self.cursor_name;
            IngestError::permanent(format!(
                "the cursor `{name}` cannot be read (was it written by a newer Polder?): {e}"
            ))
        })
    }

    /// The schema that rows must fit; nothing when there is no table, or when it is made anew.
    pub fn table_schema(&self) -> Option<Arc<Schema>> {
        self.table.as_ref().filter(|_| !self.starts_over()).map(|t| Arc::clone(&t.schema))
    }

    /// Whether the table's columns need not be kept: all is read anew, or there never was a row (a file that was a
    /// header alone says nothing about types).
    fn starts_over(&self) -> bool {
        let is_empty = |table: &LakeTable| {
            let summary = table.metadata.current_snapshot().map(|s| &s.summary().additional_properties);
            summary.is_none_or(|s| s.get("total-records").is_some_and(|n| n == "0"))
        };
        self.full_refresh || self.table.as_ref().is_some_and(is_empty)
    }

    /// Reads, writes and commits. `start` sets readers going, one for each of its sinks; `cursor` gives the new cursor
    /// once they are done, or nothing when there is no change to commit.
    pub async fn land(
        &self,
        schema: &SchemaRef,
        mode: &Mode,
        readers: usize,
        start: impl FnOnce(&Arc<Intake>, Vec<Sink>),
        cursor: impl FnOnce(&Intake) -> Result<Option<String>>,
        notes: &mut Vec<String>,
    ) -> Result<StepReport> {
        let intake = Intake::new(IntakeSettings {
            table: self.stream.table.clone(),
            run: self.workspace.run,
            loaded_at: self.workspace.run_time,
            max_rejected: self.stream.max_rejected,
            progress: Arc::clone(&self.cx.progress),
            stop: self.cx.cancel.child_token(),
        });
        // Readers stop when this is over, however it ends.
        let _stop = intake.stop.clone().drop_guard();
        let (rejects, rejected) = reject_channel();
        let (sinks, rows) = (0..readers).map(|_| row_stream(&intake, schema, rejects.clone())).unzip();
        drop(rejects);
        let place = self.place(schema)?;
        let quarantine = TableName::new(QUARANTINE, &*self.stream.table.name);
        let aside = Aside::new(self.workspace, quarantine).await?;
        start(&intake, sinks);
        let set_aside = quarantine_stream(&intake, &self.cursor_name, rejected);
        let (written, set_aside) = tokio::join!(
            self.write(&place, schema, mode, rows, &intake),
            aside.write(self.workspace, set_aside, &intake)
        );
        let blind = *mode == Mode::Append && self.stream.key.is_empty();
        let (operation, set_aside) = self.outcome(&intake, written, set_aside)?;
        notes.extend(intake.take_notes());
        let report = StepReport { rows: Some(intake.rows()), rejected: intake.rejected(), ..StepReport::default() };
        let Some(cursor) = cursor(&intake)? else {
            self.discard(files_of(&operation).iter().chain(&set_aside.files)).await;
            return Ok(StepReport { unchanged: true, rows: None, ..report });
        };
        let mut changes = Vec::new();
        changes.extend(self.table_change(place, operation, blind));
        changes.extend(aside.change(set_aside));
        changes.push(Change::Cursor {
            name: self.cursor_name.clone(),
            table: self.stream.table.clone(),
            base: self.cursor.clone(),
            value: cursor,
        });
        let message = format!("ingest {}: {} rows", self.stream.table, intake.rows());
        self.workspace.commit(&message, changes).await?;
        Ok(report)
    }

    /// Removes files that were written for nothing. One that stays is no harm: no table knows it, and maintenance
    /// collects it.
    async fn discard(&self, files: impl Iterator<Item = &DataFile>) {
        let warehouse = self.workspace.lake.catalog().tables().warehouse();
        for file in files {
            if let Ok(path) = warehouse.path(file.file_path())
                && let Err(error) = warehouse.storage().delete(path).await
            {
                tracing::debug!(path, %error, "a file written for nothing was not removed");
            }
        }
    }

    /// The first error of the readers is the cause; what the writers say follows from it.
    fn outcome<A, B>(&self, intake: &Intake, written: Result<A>, set_aside: Result<B>) -> Result<(A, B)> {
        if let Some(error) = intake.take_error() {
            return Err(error);
        }
        if self.cx.cancel.is_cancelled() {
            return Err(IngestError::Cancelled);
        }
        match (written, set_aside) {
            (Ok(written), Ok(set_aside)) => Ok((written, set_aside)),
            (_, Err(error)) => Err(error),
            (Err(_), _) if intake.is_broken_off() => {
                Err(IngestError::Defect("a reader ended without saying so".to_owned()))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Where the rows go: the table with its columns and the new ones, or a table that is to be made.
    fn place(&self, schema: &SchemaRef) -> Result<Place> {
        let Some(table) = &self.table else { return Place::new(self.workspace, &self.stream.table, schema) };
        if self.starts_over() {
            let mut target = self.workspace.target(table);
            target.schema = Arc::new(table.replacement(schema)?);
            return Ok(Place { target, make: false, new_schema: true });
        }
        let evolution = table.evolve(schema)?.map_err(|changes| {
            let problem = |c: &polder_lake::SchemaChange| type_change(self.stream, &c.column, &c.from, &c.to);
            match together(changes.iter().map(problem).collect()) {
                Some(problem) => IngestError::from(problem),
                None => IngestError::Defect("a schema changed without a column".to_owned()),
            }
        })?;
        let mut target = self.workspace.target(table);
        target.schema = Arc::new(evolution.schema);
        Ok(Place { target, make: false, new_schema: evolution.changed })
    }

    async fn write(
        &self,
        place: &Place,
        schema: &SchemaRef,
        mode: &Mode,
        rows: Vec<SendableRecordBatchStream>,
        intake: &Intake,
    ) -> Result<Operation> {
        let (lake, stop, said) = (&self.workspace.lake, &intake.stop, |_: u64, _: u64| {});
        let merge = Merge { keys: self.stream.key.clone(), duplicates: Duplicates::LastBy(self.newest_by.clone()) };
        let Some(table) = &self.table else {
            let files = self.write_all(place, schema, rows, &merge, stop).await?.files;
            return Ok(Operation::Append { files });
        };
        if *mode == Mode::Replace || self.starts_over() {
            let files = self.write_all(place, schema, rows, &merge, stop).await?.files;
            let schema = place.new_schema.then(|| place.target.schema.as_ref().clone());
            return Ok(Operation::Replace { schema, files });
        }
        if !merge.keys.is_empty() {
            return Ok(merged(lake.merge(table, &place.target, rows, &merge, stop, &said).await?));
        }
        if let Mode::ReplaceFiles(files) = mode {
            let replaced = lake.replace_where_in(table, &place.target, "_file", files, rows, stop, &said).await?;
            return Ok(merged(replaced));
        }
        Ok(Operation::Append { files: lake.write(&place.target, rows, stop, &said).await?.files })
    }

    /// Writes rows that do not meet earlier ones.
    async fn write_all(
        &self,
        place: &Place,
        schema: &SchemaRef,
        rows: Vec<SendableRecordBatchStream>,
        merge: &Merge,
        stop: &CancellationToken,
    ) -> Result<Written> {
        let lake = &self.workspace.lake;
        let plain = self.unique || merge.keys.is_empty() || self.newest_by.is_empty();
        let rows = if plain { rows } else { lake.dedupe(schema, rows, merge).await? };
        Ok(lake.write(&place.target, rows, stop, &|_, _| {}).await?)
    }

    fn table_change(&self, place: Place, operation: Operation, blind: bool) -> Option<Change> {
        // A blind append goes onto whatever the table is by then; anything else holds for the table that was read only.
        let blind = blind && matches!(operation, Operation::Append { .. });
        let read = self.table.as_ref().filter(|_| !blind).map(|t| t.metadata_path.clone());
        place.change(self.stream.table.clone(), operation, read)
    }
}

fn files_of(operation: &Operation) -> &[DataFile] {
    match operation {
        Operation::Create { files, .. }
        | Operation::Append { files }
        | Operation::Replace { files, .. }
        | Operation::Overwrite { add: files, .. } => files,
        Operation::SetSchema { .. } => &[],
    }
}

fn merged(merged: Merged) -> Operation {
    if merged.remove.is_empty() {
        return Operation::Append { files: merged.written.files };
    }
    Operation::Overwrite { remove: merged.remove, add: merged.written.files }
}

/// Where rows are written to.
struct Place {
    target: WriteTarget,
    /// The table is to be made.
    make: bool,
    /// The table gets the target's schema.
    new_schema: bool,
}

impl Place {
    fn new(workspace: &Workspace, name: &TableName, schema: &Schema) -> Result<Self> {
        let folder = workspace.new_folder(name);
        let target = workspace.new_target(&folder, from_arrow(schema)?, PartitionSpec::unpartition_spec());
        Ok(Self { target, make: true, new_schema: false })
    }

    /// `None`: nothing happened to the table.
    fn change(self, table: TableName, operation: Operation, read: Option<String>) -> Option<Change> {
        let schema = || self.target.schema.as_ref().clone();
        let operations = match operation {
            Operation::Append { files } if self.make => vec![Operation::Create {
                folder: self.target.folder.clone(),
                schema: schema(),
                partition: UnboundPartitionSpec::default(),
                sort: None,
                properties: std::collections::BTreeMap::new(),
                files,
            }],
            Operation::Append { files } if files.is_empty() && !self.new_schema => return None,
            Operation::Append { files } if files.is_empty() => vec![Operation::SetSchema { schema: schema() }],
            replace @ Operation::Replace { .. } => vec![replace],
            other if self.new_schema => vec![Operation::SetSchema { schema: schema() }, other],
            other => vec![other],
        };
        Some(Change::Table { table, operations, read })
    }
}

/// The table of rejected records, made when it is first needed.
struct Aside {
    name: TableName,
    place: Place,
}

impl Aside {
    async fn new(workspace: &Workspace, name: TableName) -> Result<Self> {
        let place = match workspace.table(&name).await? {
            Some(table) => Place { target: workspace.target(&table), make: false, new_schema: false },
            None => Place::new(workspace, &name, &quarantine_schema())?,
        };
        Ok(Self { name, place })
    }

    async fn write(
        &self,
        workspace: &Workspace,
        records: SendableRecordBatchStream,
        intake: &Intake,
    ) -> Result<Written> {
        Ok(workspace.lake.write(&self.place.target, vec![records], &intake.stop, &|_, _| {}).await?)
    }

    fn change(self, written: Written) -> Option<Change> {
        if written.files.is_empty() {
            return None;
        }
        self.place.change(self.name, Operation::Append { files: written.files }, None)
    }
}
