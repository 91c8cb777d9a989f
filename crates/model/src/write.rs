//! From a planned query to a changed table on the run's branch.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::physical_plan::SendableRecordBatchStream;
use polder_catalog::Change;
use polder_diag::Diagnostic;
use polder_lake::{Duplicates, Evolution, LakeError, LakeTable, Merge, Merged, NullKeys, WriteTarget, Written};
use polder_run::{StepContext, StepError, StepReport};
use polder_sql::SqlError;
use polder_table::Operation;
use polder_table::spec::{Schema, UnboundPartitionSpec};

use crate::codes;
use crate::config::{Materialization, Strategy};
use crate::error::{lake_error, query_error};
use crate::partition::{partition_spec, same_partitions};
use crate::step::{COMMENT_PROPERTY, ModelStep, Planned};

/// Writes the rows of one planned query.
pub(crate) struct Writer<'a> {
    pub(crate) step: &'a ModelStep,
    pub(crate) cx: &'a StepContext,
    pub(crate) planned: &'a Planned,
}

impl Writer<'_> {
    /// Builds the table in full: new rows (none yet where they are merged by key), and the schema that the query has
    /// now.
    pub(crate) async fn replace(&self) -> Result<StepReport, StepError> {
        let model = &self.step.model;
        let existing = self.step.replaceable().await?;
        let schema = match &existing {
            Some(table) => table.replacement(&self.planned.schema).map_err(|e| self.lake(e))?,
            None => self.fresh_schema()?,
        };
        let partition = partition_spec(&model.config.partition_by, &schema, &model.partition_span())?;
        match existing {
            Some(table) if same_partitions(table.metadata.default_partition_spec(), &partition) => {
                let target = WriteTarget { schema: Arc::new(schema.clone()), ..self.step.workspace.target(&table) };
                let written = self.write(&target).await?;
                let operation = Operation::Replace { schema: Some(schema), files: written.files.clone() };
                let change = self.change(vec![operation], None);
                self.step.commit(vec![change]).await?;
                Ok(report(&written, None))
            }
            _ => self.create().await,
        }
    }

    /// Makes the table, in place of whatever has its name.
    async fn create(&self) -> Result<StepReport, StepError> {
        let model = &self.step.model;
        let workspace = &self.step.workspace;
        let schema = self.fresh_schema()?;
        let partition = partition_spec(&model.config.partition_by, &schema, &model.partition_span())?;
        let folder = workspace.new_folder(&model.table);
        let bound = partition.clone().bind(schema.clone()).map_err(|e| self.partition(e.message()))?;
        let target = workspace.new_target(&folder, schema.clone(), bound);
        let written = self.write(&target).await?;
        let operation = self.creation(folder, schema, partition, written.files.clone());
        let mut changes = Vec::new();
        if self.step.entry().await?.is_some() {
            changes.push(Change::Drop { key: self.step.relation() });
        }
        changes.push(self.change(vec![operation], None));
        self.step.commit(changes).await?;
        Ok(report(&written, None))
    }

    fn creation(
        &self,
        folder: String,
        schema: Schema,
        partition: UnboundPartitionSpec,
        files: Vec<polder_table::spec::DataFile>,
    ) -> Operation {
        let comment = self.step.model.description.iter().map(|d| (COMMENT_PROPERTY.to_owned(), d.clone()));
        let properties: BTreeMap<String, String> = comment.collect();
        Operation::Create { folder, schema, partition, sort: None, properties, files }
    }

    /// Adds all rows of the query.
    pub(crate) async fn append(&self, base: &LakeTable) -> Result<StepReport, StepError> {
        let (target, evolved) = self.fitted(base)?;
        let written = self.write(&target).await?;
        let operations = vec![Operation::Append { files: written.files.clone() }];
        let report = StepReport { replaced: Some(0), ..report(&written, Some("append")) };
        self.add(base, evolved, operations, report).await
    }

    /// Replaces rows with an equal key, adds the others.
    pub(crate) async fn merge(&self, base: &LakeTable, keys: &[String]) -> Result<StepReport, StepError> {
        let (target, evolved) = self.fitted(base)?;
        let merge = Merge {
            keys: self.key_columns(keys)?,
            duplicates: Duplicates::Refuse,
            nulls: NullKeys::Refuse,
            besides: None,
        };
        let rows = self.rows().await?;
        let lake = &self.step.workspace.lake;
        let merged = lake
            .merge(base, &target, rows, &merge, &self.cx.cancel, &self.progress())
            .await
            .map_err(|e| self.lake(e))?;
        self.exchange(base, evolved, merged, "merge").await
    }

    /// Replaces the partitions that the query gives rows for.
    pub(crate) async fn overwrite(&self, base: &LakeTable) -> Result<StepReport, StepError> {
        let (target, evolved) = self.fitted(base)?;
        let rows = self.rows().await?;
        let lake = &self.step.workspace.lake;
        let merged = lake
            .overwrite_partitions(base, &target, rows, &self.cx.cancel, &self.progress())
            .await
            .map_err(|e| self.lake(e))?;
        self.exchange(base, evolved, merged, "partitions replaced").await
    }

    async fn exchange(
        &self,
        base: &LakeTable,
        evolved: Option<Schema>,
        merged: Merged,
        how: &str,
    ) -> Result<StepReport, StepError> {
        // Rows that were only moved to another file are not told: nothing happened to them.
        let report = StepReport {
            rows: Some(merged.new_rows),
            replaced: Some(merged.removed_rows),
            ..report(&merged.written, Some(how))
        };
        let (add, remove) = (merged.written.files, merged.remove);
        let operation = match remove.is_empty() {
            true => Operation::Append { files: add },
            false => Operation::Overwrite { remove, add },
        };
        self.add(base, evolved, vec![operation], report).await
    }

    /// Commits what an incremental run made: nothing at all where there is nothing new.
    async fn add(
        &self,
        base: &LakeTable,
        evolved: Option<Schema>,
        mut operations: Vec<Operation>,
        report: StepReport,
    ) -> Result<StepReport, StepError> {
        operations.retain(|o| !matches!(o, Operation::Append { files } if files.is_empty()));
        if operations.is_empty() && evolved.is_none() {
            return Ok(StepReport { rows: Some(0), unchanged: true, ..StepReport::default() });
        }
        if let Some(schema) = evolved {
            operations.insert(0, Operation::SetSchema { schema });
        }
        let change = self.change(operations, Some(base.metadata_path.clone()));
        self.step.commit(vec![change]).await?;
        Ok(report)
    }

    /// The target of an existing table, its schema widened by the query's new columns.
    fn fitted(&self, base: &LakeTable) -> Result<(WriteTarget, Option<Schema>), StepError> {
        let model = &self.step.model;
        let evolution = match base.evolve(&self.planned.schema).map_err(|e| self.lake(e))? {
            Ok(evolution) => evolution,
            Err(changes) => {
                let told = changes.iter().map(|c| format!("`{}` is {} and becomes {}", c.column, c.from, c.to));
                let message = format!("{} changes its columns: {}", model.table, told.collect::<Vec<_>>().join(", "));
                let hint = format!("cast them, or build the table anew: polder run {} --full-refresh", model.table);
                let diagnostic = Diagnostic::error(codes::SCHEMA_CHANGE, message).at(model.span.clone(), "");
                return Err(diagnostic.hint(hint).into());
            }
        };
        let Evolution { schema, changed } = evolution;
        let wanted = partition_spec(&model.config.partition_by, &schema, &model.partition_span())?;
        if !same_partitions(base.metadata.default_partition_spec(), &wanted) {
            let message = format!("{} is partitioned in another way than `partition_by` says", model.table);
            let hint = format!("build the table anew: polder run {} --full-refresh", model.table);
            let diagnostic = Diagnostic::error(codes::PARTITION, message).at(model.partition_span(), "");
            return Err(diagnostic.hint(hint).into());
        }
        let target = WriteTarget { schema: Arc::new(schema.clone()), ..self.step.workspace.target(base) };
        Ok((target, changed.then_some(schema)))
    }

    /// The columns of `unique_key`, which the query must have.
    fn key_columns(&self, keys: &[String]) -> Result<Vec<String>, StepError> {
        let schema = &self.planned.schema;
        for key in keys {
            if schema.field_with_name(key).is_err() {
                let columns = schema.fields().iter().map(|f| f.name().as_str());
                let near = polder_base::nearest(key, columns);
                let model = &self.step.model;
                let message = format!("{} has no column `{key}` to be its unique_key", model.table);
                let diagnostic = Diagnostic::error(codes::UNIQUE_KEY, message).at(model.config_span("unique_key"), "");
                return Err(near.iter().fold(diagnostic, |d, n| d.hint(format!("did you mean `{n}`?"))).into());
            }
        }
        Ok(keys.to_vec())
    }

    fn fresh_schema(&self) -> Result<Schema, StepError> {
        polder_lake::from_arrow(&self.planned.schema).map_err(|e| self.lake(e))
    }

    /// Builds a table with a key in full: merges into the empty table, so that two rows of one key are found.
    pub(crate) async fn replace_by_key(&self, keys: &[String]) -> Result<StepReport, StepError> {
        let keys = self.key_columns(keys)?;
        self.replace().await?;
        let empty = self.step.table().await?;
        let base = empty.ok_or_else(|| StepError::Defect(format!("{} was not made", self.step.model.table)))?;
        let report = self.merge(&base, &keys).await?;
        Ok(StepReport { unchanged: false, note: None, replaced: None, ..report })
    }

    async fn write(&self, target: &WriteTarget) -> Result<Written, StepError> {
        if matches!(self.step.model.config.materialization, Materialization::Incremental(Strategy::Merge { .. })) {
            // Its rows are merged in when the table is there.
            return Ok(Written::default());
        }
        let rows = self.rows().await?;
        let lake = &self.step.workspace.lake;
        lake.write(target, rows, &self.cx.cancel, &self.progress()).await.map_err(|e| self.lake(e))
    }

    async fn rows(&self) -> Result<Vec<SendableRecordBatchStream>, StepError> {
        let Planned { session, plan, .. } = self.planned;
        let physical = session.physical(plan).await.map_err(|e| self.query(e))?;
        session.stopped_by(&self.cx.cancel).execute(&physical).map_err(|e| self.query(e))
    }

    fn query(&self, error: SqlError) -> StepError {
        let model = &self.step.model;
        query_error(model, model.rendering(model.incremental), error)
    }

    fn progress(&self) -> impl Fn(u64, u64) + Send + Sync + use<> {
        let progress = Arc::clone(&self.cx.progress);
        move |rows, bytes| {
            progress.add_rows(rows);
            progress.add_bytes(bytes);
        }
    }

    fn change(&self, operations: Vec<Operation>, read: Option<String>) -> Change {
        Change::Table { table: self.step.model.table.clone(), operations, read }
    }

    fn lake(&self, error: LakeError) -> StepError {
        lake_error(&self.step.model, error)
    }

    fn partition(&self, message: &str) -> StepError {
        let model = &self.step.model;
        Diagnostic::error(codes::PARTITION, message).at(model.partition_span(), "").into()
    }
}

fn report(written: &Written, note: Option<&str>) -> StepReport {
    StepReport {
        rows: Some(written.rows),
        bytes: Some(written.bytes),
        note: note.map(str::to_owned),
        ..StepReport::default()
    }
}
