//! Judging changes on a head, and making the entries that follow from them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use polder_base::TableName;
use polder_store::{Batch, Storage, StoreError};
use polder_table::spec::{DataFile, Operation as SnapshotKind, TableMetadata};
use polder_table::{Committed, Operation};

use super::{Request, summary};
use crate::codec::{Hash, encode_key};
use crate::guard::Guard;
use crate::objects::Stage;
use crate::tree::{self, Edits};
use crate::{
    Catalog, CatalogError, Change, ChangeSet, CommitId, CursorEntry, Entry, EntryKey, Result, TableAction, TableEntry,
    TableOperation,
};

/// One caller's changes, through all attempts.
#[derive(Debug)]
pub(super) struct Member {
    request: Request,
    state: MemberState,
    /// The entries as the first attempt found them: what a change that is no blind append was decided on.
    first: BTreeMap<EntryKey, Option<Entry>>,
    memo: Memo,
}

#[derive(Debug)]
enum MemberState {
    /// Not judged on this attempt's head yet.
    Open,
    /// Its commit, when the branch moves there; the head as it was when there is nothing to change.
    Made(CommitId),
    Failed(CatalogError),
}

/// Metadata files that an earlier attempt made, by position of the change: they serve again where the table is still
/// the one that they were made from, and nothing was swept since.
pub(super) type Memo = BTreeMap<usize, (Option<String>, u64, Committed)>;

/// What a member does to a tree.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) edits: Edits,
    pub(super) operations: Vec<TableOperation>,
}

impl Member {
    pub(super) fn new(request: Request) -> Self {
        Self { request, state: MemberState::Open, first: BTreeMap::new(), memo: Memo::new() }
    }

    pub(super) fn changes(&self) -> &ChangeSet {
        &self.request.changes
    }

    /// The tables that it changes.
    pub(super) fn tables(&self) -> impl Iterator<Item = &TableName> {
        self.request.changes.changes.iter().filter_map(|change| match change {
            Change::Table { table, .. } => Some(table),
            _ => None,
        })
    }

    pub(super) fn makes_views(&self) -> bool {
        self.request.changes.changes.iter().any(|change| matches!(change, Change::View { .. }))
    }

    /// The caller's own records, and their preconditions.
    pub(super) fn also(&self) -> &Batch {
        &self.request.also
    }

    pub(super) fn fail(&mut self, error: CatalogError) {
        self.state = MemberState::Failed(error);
    }

    /// Whether it takes part in the next attempt.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, MemberState::Failed(_))
    }

    /// Notes how the attempt went, and gives the commit that the next member stands on.
    pub(super) fn judged(&mut self, outcome: Result<Hash>, tip: &Hash) -> Hash {
        match outcome {
            Ok(new) => {
                self.state = MemberState::Made(new.into());
                new
            }
            Err(e) => {
                self.state = MemberState::Failed(e);
                *tip
            }
        }
    }

    /// The caller's answer; `failure` befell the whole group.
    pub(super) fn into_result(self, failure: Option<&CatalogError>) -> Result<CommitId> {
        match (self.state, failure) {
            (MemberState::Failed(e), _) => Err(e),
            (_, Some(failure)) => Err(failure.clone()),
            (MemberState::Made(commit), None) => Ok(commit),
            (MemberState::Open, None) => Err(CatalogError::Invalid("a commit was never judged".to_owned())),
        }
    }
}

/// Where a change is judged.
struct Ground<'g> {
    guard: &'g Guard,
    tip: &'g Hash,
}

/// The entries that the changes so far lead to.
type Overlay = BTreeMap<EntryKey, Option<Entry>>;

impl Catalog {
    /// Judges a member's changes on `tip`, in order, each on what those before it left.
    pub(super) async fn apply_changes(
        &self,
        guard: &Guard,
        stage: &Stage<'_>,
        tip: &Hash,
        tree: &Hash,
        member: &mut Member,
    ) -> Result<Applied> {
        let ground = Ground { guard, tip };
        let Member { request: Request { changes: set, .. }, first, memo, .. } = member;
        let mut overlay = Overlay::new();
        let mut operations = Vec::new();
        for (index, change) in set.changes.iter().enumerate() {
            let key = key_of(change);
            let (current, first) = match overlay.get(&key) {
                Some(entry) => (entry.clone(), None),
                None => (tree::get(stage, tree, &encode_key(&key)).await?, Some(&mut *first)),
            };
            if let Some(problem) = base_problem(change, &key, &current, first) {
                return Err(self.conflict(tip, set, &key, problem).await?);
            }
            let changed = match change {
                Change::Table { table, operations, read } => {
                    let write = TableWrite { table, operations, reads: read.is_some(), index };
                    self.write_table(&ground, set, &write, current.as_ref(), memo).await?
                }
                Change::View { table, sql, schema, comment } => {
                    self.write_view(table, (sql, schema, comment.as_deref()), current.as_ref(), set).await?
                }
                Change::Cursor { table, value, .. } => Changed::cursor(&key, table, value),
                Change::Take { entry, .. } => {
                    self.verify_readable(guard, entry).await?;
                    Changed::one(entry.clone(), operation(&key, TableAction::Take, true))
                }
                Change::Drop { .. } => {
                    Changed { entry: None, operations: vec![operation(&key, TableAction::Drop, true)] }
                }
            };
            if changed.entry != current {
                operations.extend(changed.operations);
                overlay.insert(key, changed.entry);
            }
        }
        let edits = overlay.iter().map(|(key, entry)| (encode_key(key), entry.clone())).collect();
        Ok(Applied { edits, operations })
    }

    /// A conflict that names both sides.
    async fn conflict(&self, tip: &Hash, set: &ChangeSet, key: &EntryKey, detail: &str) -> Result<CatalogError> {
        let ours = match set.run {
            Some(run) => format!("run {run}"),
            None => format!("\"{}\"", set.message.lines().next().unwrap_or_default()),
        };
        Ok(CatalogError::Conflict {
            entry: key.to_string(),
            ours,
            theirs: self.last_change(tip, key).await?,
            detail: detail.to_owned(),
        })
    }

    async fn write_table(
        &self,
        ground: &Ground<'_>,
        set: &ChangeSet,
        write: &TableWrite<'_>,
        current: Option<&Entry>,
        memo: &mut Memo,
    ) -> Result<Changed> {
        let key = EntryKey::Relation(write.table.clone());
        let creates = matches!(write.operations.first(), Some(Operation::Create { .. }));
        let base = match current {
            Some(Entry::Table(_)) if creates => {
                return Err(self.conflict(ground.tip, set, &key, "both make it").await?);
            }
            Some(Entry::Table(entry)) => Some((self.metadata(entry).await?, entry.metadata_path.clone())),
            None if creates => None,
            None => return Err(self.unknown_table(ground.tip, write.table)),
            Some(_) => {
                return Err(CatalogError::Invalid(format!(
                    "{} is a view: drop it before making a table of it",
                    write.table
                )));
            }
        };
        let operations = effective(write.operations, base.as_ref().map(|(metadata, _)| &**metadata));
        if operations.is_empty() {
            return Ok(Changed { entry: current.cloned(), operations: Vec::new() });
        }
        let base_path = base.as_ref().map(|(_, path)| path.clone());
        let epoch = ground.guard.record.epoch;
        let committed = match memo.get(&write.index) {
            Some((made_from, at, committed)) if *made_from == base_path && *at == epoch => committed.clone(),
            _ => {
                self.verify_files(ground.guard, &operations).await?;
                let base = base.as_ref().map(|(metadata, path)| (&**metadata, path.as_str()));
                self.tables().commit(base, &operations, &summary(set.run.map(|r| r.0))).await?
            }
        };
        memo.insert(write.index, (base_path, epoch, committed.clone()));
        self.keep_metadata(&committed.metadata_path, &committed.metadata);
        let removed = removed_rows(base.as_ref().map(|(metadata, _)| &**metadata), &committed.metadata);
        let recorded = record_operations(&key, &operations, write.reads, removed);
        Ok(Changed { entry: Some(Entry::Table(table_entry(&committed))), operations: recorded })
    }

    fn unknown_table(&self, tip: &Hash, table: &TableName) -> CatalogError {
        CatalogError::UnknownTable { name: table.to_string(), at: CommitId::from(*tip).short().to_owned() }
    }

    /// Verifies that the files of new data are there, and not about to go: a writer may have been asleep for longer than
    /// files that nobody refers to are kept.
    async fn verify_files(&self, guard: &Guard, operations: &[Operation]) -> Result<()> {
        const AT_ONCE: usize = 16;
        let warehouse = self.tables().warehouse();
        let mut checks = Vec::new();
        for file in operations.iter().flat_map(added_files) {
            let path = warehouse.path(file.file_path())?.to_owned();
            if guard.is_condemned(&path) {
                return Err(forgotten(&path));
            }
            checks.push(find_file(Arc::clone(warehouse.storage()), path));
        }
        futures::stream::iter(checks).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Verifies that an entry from elsewhere can still be read. Metadata files go before anything that they name.
    pub(crate) async fn verify_readable(&self, guard: &Guard, entry: &Entry) -> Result<()> {
        match entry {
            Entry::Table(TableEntry { metadata_path, .. }) | Entry::View(crate::ViewEntry { metadata_path, .. }) => {
                if guard.is_condemned(metadata_path) {
                    return Err(forgotten(metadata_path));
                }
                find_file(Arc::clone(self.tables().warehouse().storage()), metadata_path.clone()).await
            }
            Entry::Cursor(_) => Ok(()),
        }
    }
}

async fn find_file(storage: Arc<dyn Storage>, path: String) -> Result<()> {
    match storage.head(&path).await {
        Ok(_) => Ok(()),
        Err(StoreError::NotFound { .. }) => Err(forgotten(&path)),
        Err(e) => Err(e.into()),
    }
}

fn forgotten(path: &str) -> CatalogError {
    CatalogError::Invalid(format!("{path} is not there any more: nothing referred to it for too long"))
}

/// A change of a table, and its position among the changes.
struct TableWrite<'w> {
    table: &'w TableName,
    operations: &'w [Operation],
    reads: bool,
    index: usize,
}

/// What one change makes of an entry.
pub(super) struct Changed {
    pub(super) entry: Option<Entry>,
    pub(super) operations: Vec<TableOperation>,
}

impl Changed {
    pub(super) fn one(entry: Entry, operation: TableOperation) -> Self {
        Self { entry: Some(entry), operations: vec![operation] }
    }

    fn cursor(key: &EntryKey, table: &TableName, value: &str) -> Self {
        let entry = Entry::Cursor(CursorEntry { table: table.to_string(), value: value.to_owned() });
        Self::one(entry, operation(key, TableAction::Cursor, true))
    }
}

pub(super) fn operation(key: &EntryKey, action: TableAction, read: bool) -> TableOperation {
    TableOperation { entry: key.to_string(), action, read, added_rows: 0, removed_rows: 0 }
}

/// What is wrong with the entry that a change finds, if it was decided on another one.
///
/// `first`: the entries as the first attempt found them, `None` for one that the same commit has changed already.
fn base_problem(
    change: &Change,
    key: &EntryKey,
    found: &Option<Entry>,
    first: Option<&mut BTreeMap<EntryKey, Option<Entry>>>,
) -> Option<&'static str> {
    match (change, found) {
        (Change::Table { read: Some(read), .. }, Some(Entry::Table(t))) if t.metadata_path == *read => None,
        (Change::Table { read: Some(_), .. }, Some(_)) => Some("it is not what was read any more"),
        (Change::Table { read: Some(_), .. }, None) => Some("what was read is gone"),
        (Change::Cursor { base, .. }, found) => {
            let value = match found {
                Some(Entry::Cursor(cursor)) => Some(&cursor.value),
                _ => None,
            };
            (value != base.as_ref()).then_some("the same input was read by both")
        }
        (Change::Table { operations, .. }, _) if is_blind_change(operations) => None,
        _ => match first?.entry(key.clone()) {
            Slot::Vacant(slot) => {
                slot.insert(found.clone());
                None
            }
            Slot::Occupied(slot) if slot.get() == found => None,
            Slot::Occupied(_) => Some("it changed while this commit was being made"),
        },
    }
}

fn key_of(change: &Change) -> EntryKey {
    match change {
        Change::Table { table, .. } | Change::View { table, .. } => EntryKey::Relation(table.clone()),
        Change::Cursor { name, .. } => EntryKey::Cursor(name.clone()),
        Change::Take { key, .. } | Change::Drop { key } => key.clone(),
    }
}

pub(crate) fn table_entry(committed: &Committed) -> TableEntry {
    TableEntry {
        uuid: committed.metadata.uuid().to_string(),
        metadata_path: committed.metadata_path.clone(),
        snapshot_id: committed.snapshot_id,
    }
}

/// Operations that go onto whatever is there.
fn is_blind_change(operations: &[Operation]) -> bool {
    operations.iter().all(|o| matches!(o, Operation::Append { .. } | Operation::SetSchema { .. }))
}

/// Whether what was done to an entry can be done again on another head: nothing but blind appends, and columns added
/// for them.
pub(crate) fn is_blind<'o>(operations: impl IntoIterator<Item = &'o TableOperation>) -> bool {
    operations.into_iter().all(|o| !o.read && matches!(o.action, TableAction::Append | TableAction::SetSchema))
}

/// The operations without those that change nothing.
fn effective(operations: &[Operation], base: Option<&TableMetadata>) -> Vec<Operation> {
    let changes = |operation: &&Operation| match operation {
        Operation::Append { files } => !files.is_empty(),
        Operation::Overwrite { remove, add } => !remove.is_empty() || !add.is_empty(),
        Operation::SetSchema { schema } => base.is_none_or(|b| {
            let present = b.current_schema();
            present.as_struct() != schema.as_struct()
        }),
        Operation::SetProperties { properties } => base.is_none_or(|b| {
            let stands = |(key, value): (&String, &Option<String>)| b.properties().get(key) == value.as_ref();
            !properties.iter().all(stands)
        }),
        Operation::Create { .. } | Operation::Replace { .. } => true,
    };
    operations.iter().filter(changes).cloned().collect()
}

fn added_files(operation: &Operation) -> &[DataFile] {
    match operation {
        Operation::Create { files, .. } | Operation::Append { files } | Operation::Replace { files, .. } => files,
        Operation::Overwrite { add, .. } => add,
        Operation::SetSchema { .. } | Operation::SetProperties { .. } => &[],
    }
}

fn record_operations(key: &EntryKey, operations: &[Operation], reads: bool, removed_rows: u64) -> Vec<TableOperation> {
    let mut removed_rows = Some(removed_rows);
    let record = |o: &Operation| {
        let action = match o {
            Operation::Create { .. } => TableAction::Create,
            Operation::Append { .. } => TableAction::Append,
            Operation::Overwrite { .. } => TableAction::Overwrite,
            Operation::Replace { .. } => TableAction::Replace,
            Operation::SetSchema { .. } => TableAction::SetSchema,
            Operation::SetProperties { .. } => TableAction::SetProperties,
        };
        // What takes rows away holds on the rows that it was made for, read or not.
        let removes = matches!(o, Operation::Overwrite { .. } | Operation::Replace { .. });
        TableOperation {
            entry: key.to_string(),
            action,
            read: reads || removes,
            added_rows: added_files(o).iter().map(DataFile::record_count).sum(),
            removed_rows: if removes { removed_rows.take().unwrap_or_default() } else { 0 },
        }
    };
    operations.iter().map(record).collect()
}

/// Rows that the snapshots which `after` has beyond `before` say they removed.
fn removed_rows(before: Option<&TableMetadata>, after: &TableMetadata) -> u64 {
    after
        .snapshots()
        .filter(|s| before.is_none_or(|b| b.snapshot_by_id(s.snapshot_id()).is_none()))
        .filter(|s| s.summary().operation != SnapshotKind::Append)
        .filter_map(|s| s.summary().additional_properties.get("deleted-records")?.parse::<u64>().ok())
        .sum()
}
