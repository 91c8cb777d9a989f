//! Making new snapshots.

use std::collections::{BTreeMap, BTreeSet};

use crate::draft::{Draft, Removal};
use crate::metadata::NewTable;
use crate::spec::{DataFile, Schema, SortOrder, TableMetadata, TableMetadataRef, UnboundPartitionSpec};
use crate::{Result, TableError, TableIo, evolution, metadata};

/// A change of one table.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Makes a table, empty or with its first files. Field ids of `schema` are taken as they are; data files must
    /// have been written with them.
    Create {
        /// Folder relative to the warehouse: `silver/orders-1f2e3d4c`.
        folder: String,
        schema: Schema,
        partition: UnboundPartitionSpec,
        sort: Option<SortOrder>,
        properties: BTreeMap<String, String>,
        files: Vec<DataFile>,
    },
    /// Adds files, of the table's default partition spec as everywhere here.
    Append { files: Vec<DataFile> },
    /// Removes the data files at these locations and adds others, in one snapshot: copy-on-write, insert overwrite.
    Overwrite { remove: BTreeSet<String>, add: Vec<DataFile> },
    /// Replaces all of the content, and the schema where it is given (a model that is built in full). In that schema,
    /// field ids up to the table's last column id stand for the columns that they always stood for.
    Replace { schema: Option<Schema>, files: Vec<DataFile> },
    /// Makes this schema the current one. It must evolve from the present one: columns added as optional with new ids,
    /// comments, renames, wider types.
    SetSchema { schema: Schema },
    /// Sets properties of the table, or removes those whose value is `None`.
    SetProperties { properties: BTreeMap<String, Option<String>> },
}

/// What a commit made. All its files are durable.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Relative to the warehouse.
    pub metadata_path: String,
    pub metadata: TableMetadataRef,
    pub snapshot_id: Option<i64>,
}

/// Whether the changes of a branch can be made again on another head of the table.
#[derive(Debug, Clone)]
pub enum Replay {
    Done(Committed),
    /// They cannot, and why, in words for a person.
    Conflict(String),
}

impl TableIo {
    /// Applies changes to a table, in order, as one metadata file with one snapshot at most for each operation.
    ///
    /// `base`: metadata to start from, with its path; `None` for `Create`. `summary`: properties added to the
    /// snapshots' summaries, such as `polder.run`.
    ///
    /// Nothing of the old is touched. Operations that change nothing write nothing: the result is then the base.
    ///
    /// # Errors
    /// `Invalid` for a change that does not fit the table.
    pub async fn commit(
        &self,
        base: Option<(&TableMetadata, &str)>,
        operations: &[Operation],
        summary: &BTreeMap<String, String>,
    ) -> Result<Committed> {
        let mut draft;
        let mut rest = operations;
        match (base, operations) {
            (None, [create @ Operation::Create { files, .. }, others @ ..]) => {
                draft = Draft::create(self, self.new_table(create)?, summary);
                draft.snapshot(Removal::Nothing, files, Vec::new()).await?;
                rest = others;
            }
            (None, _) => return Err(TableError::Invalid("a table begins by being created".to_owned())),
            (Some(base), _) => draft = Draft::open(self, base, summary).await?,
        }
        for operation in rest {
            apply(&mut draft, operation).await?;
        }
        draft.finish().await
    }

    fn new_table(&self, create: &Operation) -> Result<TableMetadata> {
        let Operation::Create { folder, schema, partition, sort, properties, files: _ } = create else {
            return Err(TableError::Invalid("a table begins by being created".to_owned()));
        };
        let table = NewTable {
            uuid: self.system.uuid(),
            location: self.warehouse.location(folder),
            schema,
            partition,
            sort: sort.as_ref(),
            properties,
        };
        metadata::create(table, self.system.now().millis())
    }
}

async fn apply(draft: &mut Draft<'_>, operation: &Operation) -> Result<()> {
    match operation {
        Operation::Create { .. } => Err(TableError::Invalid("the table exists already".to_owned())),
        Operation::Append { files } => draft.snapshot(Removal::Nothing, files, Vec::new()).await,
        Operation::Overwrite { remove, add } => draft.snapshot(Removal::Locations(remove), add, Vec::new()).await,
        Operation::Replace { schema, files } => {
            if let Some(schema) = schema {
                evolution::check_replacement(draft.metadata(), schema).map_err(TableError::Invalid)?;
                draft.set_schema(schema)?;
            }
            draft.snapshot(Removal::Everything, files, Vec::new()).await
        }
        Operation::SetSchema { schema } => {
            evolution::check_evolution(draft.metadata(), schema).map_err(TableError::Invalid)?;
            draft.set_schema(schema)
        }
        Operation::SetProperties { properties } => draft.set_properties(properties),
    }
}
