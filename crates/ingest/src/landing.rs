//! Rows on their way into a table: written, then committed at once with what was rejected and how far was read.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_plan::SendableRecordBatchStream;
use polder_base::TableName;
use polder_catalog::Change;
use polder_diag::Diagnostic;
use polder_lake::{
    Duplicates, LakeTable, Merge, Merged, NullKeys, Quarantine, Workspace, WriteTarget, Written, from_arrow,
};
use polder_project::{ReadMode, Stream};
use polder_run::{StepContext, StepReport};
use polder_table::Operation;
use polder_table::spec::{DataFile, PartitionSpec, UnboundPartitionSpec};
use serde::de::DeserializeOwned;

use crate::intake::{Intake, IntakeSettings, Sink, quarantine_stream, reject_channel, row_stream};
use crate::plan::{together, type_change};
use crate::{IngestError, Result, codes};

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
    ///
    /// # Errors
    /// A cursor of a version beyond `version`, or of another kind of source (`I013`).
    pub fn cursor_value<T: DeserializeOwned>(&self, version: u32) -> Result<Option<T>> {
        #[derive(serde::Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Some(text) = self.cursor.as_ref().filter(|_| self.table.is_some() && !self.full_refresh) else {
            return Ok(None);
        };
        let name = &self.cursor_name;
        let found: Versioned = serde_json::from_str(text)
            .map_err(|e| IngestError::permanent(format!("the cursor `{name}` is damaged: {e}")))?;
        if found.version > version {
            let message = format!("the cursor `{name}` was written by a newer Polder: this one cannot go on from it");
            return Err(IngestError::permanent(message));
        }
        let other_kind = |_| {
            let message = format!("{}: the table was filled from another kind of source", self.stream.table);
            self.filled_otherwise(message).into()
        };
        serde_json::from_str(text).map(Some).map_err(other_kind)
    }

    /// What the first rows of a stream do to the table.
    ///
    /// # Errors
    /// There are rows in it that this stream did not bring, which might bring them again (`I013`).
    pub fn first_mode(&self) -> Result<Mode> {
        match &self.table {
            None => Ok(Mode::Append),
            Some(_) if self.starts_over() => Ok(Mode::Replace),
            Some(_) => {
                let (table, name) = (&self.stream.table, &self.cursor_name);
                let message = format!("{table}: the table has rows that `{name}` did not bring, and might bring again");
                Err(self.filled_otherwise(message).into())
            }
        }
    }

    fn filled_otherwise(&self, message: String) -> Diagnostic {
        Diagnostic::error(codes::FILLED_OTHERWISE, message)
            .at(self.stream.span.clone(), "")
            .hint("replace the rows with `--full-refresh`, or give the stream another name")
    }

    /// The schema that rows must fit; nothing when there is no table, or when it is made anew.
    pub fn table_schema(&self) -> Option<Arc<Schema>> {
        self.table.as_ref().filter(|_| !self.starts_over()).map(|t| Arc::clone(&t.schema))
    }

    /// How many rows the table has, where there are any.
    pub fn rows_before(&self) -> Option<u64> {
        let snapshot = self.table.as_ref()?.metadata.current_snapshot()?;
        snapshot.summary().additional_properties.get("total-records")?.parse().ok().filter(|n| *n > 0)
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
        let aside = Quarantine::of(self.workspace, &self.stream.table).await?;
        start(&intake, sinks);
        let set_aside = quarantine_stream(&intake, &self.cursor_name, rejected);
        let (written, set_aside) = tokio::join!(
            self.write(&place, mode, rows, &intake),
            // Whatever stops the readers, what they rejected until then is written.
            async { Ok(aside.write(self.workspace, set_aside, &self.cx.cancel).await?) }
        );
        let blind = *mode == Mode::Append && self.stream.key.is_empty();
        let ((operation, replaced), set_aside) = self.outcome(&intake, &aside, written, set_aside).await?;
        notes.extend(intake.take_notes());
        let (rows, rejected) = (Some(intake.rows()), intake.rejected());
        let report = StepReport { rows, replaced, rejected, ..StepReport::default() };
        let cursor = match cursor(&intake) {
            Ok(Some(cursor)) => cursor,
            stays => {
                self.discard(files_of(&operation).iter().chain(&set_aside.files)).await;
                return stays.map(|_| StepReport { unchanged: true, rows: None, replaced: None, ..report });
            }
        };
        let mut changes = Vec::new();
        changes.extend(self.table_change(&place, operation, blind));
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

    /// What was written. When something went wrong nothing of it stays, but for rejected records that are too many.
    async fn outcome(
        &self,
        intake: &Intake,
        aside: &Quarantine,
        written: Result<(Operation, Option<u64>)>,
        set_aside: Result<Written>,
    ) -> Result<((Operation, Option<u64>), Written)> {
        let cause = intake.take_error().or_else(|| self.cx.cancel.is_cancelled().then_some(IngestError::Cancelled));
        match (cause, written, set_aside) {
            (None, Ok(written), Ok(set_aside)) => Ok((written, set_aside)),
            (Some(IngestError::TooManyRejected), _, set_aside) => {
                Err(self.too_many(intake, aside, set_aside).await.into())
            }
            (cause, written, set_aside) => {
                let rows = written.iter().flat_map(|(operation, _)| files_of(operation));
                self.discard(rows.chain(set_aside.iter().flat_map(|w| &w.files))).await;
                Err(cause.unwrap_or_else(|| writers_error(intake, written.err(), set_aside.err())))
            }
        }
    }

    /// What a person is told of too many rejected records, which are kept for them.
    async fn too_many(&self, intake: &Intake, aside: &Quarantine, set_aside: Result<Written>) -> Diagnostic {
        let (branch, name) = (&self.workspace.branch, &aside.name);
        let kept = match set_aside {
            Ok(set_aside) => self.keep_rejected(aside, set_aside).await,
            Err(error) => Err(error),
        };
        match kept {
            Ok(()) => intake.too_many(Some(format!("all of them: polder sql --ref {branch} \"select * from {name}\""))),
            Err(error) => {
                tracing::warn!(%error, table = %name, "the rejected records could not be kept");
                intake.too_many(None)
            }
        }
    }

    /// Commits rejected records to the run's branch and nothing else: no row, and no cursor. So all is read again when
    /// the run is taken up; the app takes these records back before, or they would be there twice.
    async fn keep_rejected(&self, aside: &Quarantine, set_aside: Written) -> Result<()> {
        let message = format!("ingest {}: too many records were rejected", self.stream.table);
        let changes = aside.change(set_aside).into_iter().collect();
        self.workspace.commit(&message, changes).await?;
        Ok(())
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

    /// Writes the rows. Gives what they do to the table, and how many older rows go where that can happen.
    async fn write(
        &self,
        place: &Place,
        mode: &Mode,
        rows: Vec<SendableRecordBatchStream>,
        intake: &Intake,
    ) -> Result<(Operation, Option<u64>)> {
        let (lake, stop, said) = (&self.workspace.lake, &intake.stop, |_: u64, _: u64| {});
        let merge = self.merge(mode);
        let Some(table) = &self.table else {
            let (files, replaced) = self.write_all(place, rows, &merge, intake).await?;
            return Ok((Operation::Append { files }, replaced));
        };
        if *mode == Mode::Replace || self.starts_over() {
            let (files, replaced) = self.write_all(place, rows, &merge, intake).await?;
            let schema = place.new_schema.then(|| place.target.schema.as_ref().clone());
            return Ok((Operation::Replace { schema, files }, replaced));
        }
        if !merge.keys.is_empty() {
            let result = lake.merge(table, &place.target, rows, &merge, stop, &said).await?;
            let again = intake.rows().saturating_sub(result.new_rows);
            let (operation, replaced) = merged(result);
            return Ok((operation, replaced.map(|rows| rows + again)));
        }
        if let Mode::ReplaceFiles(files) = mode {
            let replaced = lake.replace_where_in(table, &place.target, ("_file", files), rows, stop, &said).await?;
            return Ok(merged(replaced));
        }
        Ok((Operation::Append { files: lake.write(&place.target, rows, stop, &said).await?.files }, None))
    }

    /// Writes rows that do not meet earlier ones. Gives also how many of them gave way to another of the same key.
    async fn write_all(
        &self,
        place: &Place,
        rows: Vec<SendableRecordBatchStream>,
        merge: &Merge,
        intake: &Intake,
    ) -> Result<(Vec<DataFile>, Option<u64>)> {
        let (lake, stop) = (&self.workspace.lake, &intake.stop);
        if merge.keys.is_empty() || self.newest_by.is_empty() {
            return Ok((lake.write(&place.target, rows, stop, &|_, _| {}).await?.files, None));
        }
        let written = lake.write_keyed(&place.target, rows, merge, stop, &|_, _| {}).await?;
        let again = intake.rows().saturating_sub(written.rows);
        Ok((written.files, (again > 0).then_some(again)))
    }

    /// How rows with a key meet those that are there. A file that is read again gives all its rows anew, also those
    /// without a whole key; a database gives some, and such a row could not be found again.
    fn merge(&self, mode: &Mode) -> Merge {
        let of_files = matches!(self.stream.read, ReadMode::Files(_));
        let besides = match mode {
            Mode::ReplaceFiles(files) => Some(("_file".to_owned(), files.clone())),
            Mode::Append | Mode::Replace => None,
        };
        Merge {
            keys: self.stream.key.clone(),
            duplicates: Duplicates::LastBy(self.newest_by.clone()),
            nulls: if of_files { NullKeys::Keep } else { NullKeys::Refuse },
            besides,
        }
    }

    fn table_change(&self, place: &Place, operation: Operation, blind: bool) -> Option<Change> {
        // A blind append goes onto whatever the table is by then; anything else holds for the table that was read only.
        let blind = blind && matches!(operation, Operation::Append { .. });
        let read = self.table.as_ref().filter(|_| !blind).map(|t| t.metadata_path.clone());
        place.change(self.stream.table.clone(), operation, read)
    }
}

/// Why nothing was written although no reader said that it failed.
fn writers_error(intake: &Intake, written: Option<IngestError>, set_aside: Option<IngestError>) -> IngestError {
    match (set_aside, written) {
        // First, because a reader whose rejected records nobody takes ends without a word.
        (Some(error), _) => error,
        (None, Some(error)) if !intake.is_broken_off() => error,
        (None, _) => IngestError::Defect("a reader ended without saying so".to_owned()),
    }
}

fn files_of(operation: &Operation) -> &[DataFile] {
    match operation {
        Operation::Create { files, .. }
        | Operation::Append { files }
        | Operation::Replace { files, .. }
        | Operation::Overwrite { add: files, .. } => files,
        Operation::SetSchema { .. } | Operation::SetProperties { .. } => &[],
    }
}

fn merged(merged: Merged) -> (Operation, Option<u64>) {
    let Merged { written, remove, removed_rows, .. } = merged;
    let operation = match remove.is_empty() {
        true => Operation::Append { files: written.files },
        false => Operation::Overwrite { remove, add: written.files },
    };
    (operation, Some(removed_rows))
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
    fn change(&self, table: TableName, operation: Operation, read: Option<String>) -> Option<Change> {
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
