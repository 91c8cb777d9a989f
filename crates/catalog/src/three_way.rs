//! Bringing the changes of one history onto another: the judgement behind publishing and merging.
//!
//! Entry by entry: changed on one side only, that side's is taken. A table changed on both sides is taken when their
//! side did nothing but append blindly: the appends are made again on ours. Everything else is a conflict.

use std::collections::{BTreeMap, BTreeSet};

use polder_base::TableName;
use polder_table::Replay;

use crate::codec::{Hash, decode_key, encode_key};
use crate::commit::{is_blind, summary, table_entry};
use crate::guard::Guard;
use crate::history::Relation;
use crate::objects::Stage;
use crate::tree::{self, Difference, Edits, Key};
use crate::{Catalog, CatalogError, Entry, EntryKey, RebasedTable, Result, TableAction, TableEntry, TableOperation};

/// Two sides, and how people know them.
#[derive(Debug)]
pub(crate) struct Sides<'a> {
    pub(crate) ours: Hash,
    pub(crate) theirs: Hash,
    /// What conflicts call their side.
    pub(crate) theirs_name: &'a str,
    /// For the snapshots that replaying makes.
    pub(crate) run: Option<u64>,
    /// Entries of their side that stay out of ours for now.
    pub(crate) hold: &'a BTreeSet<EntryKey>,
}

/// What has to be done to our side's tree.
#[derive(Debug, Default)]
pub(crate) struct Combined {
    pub(crate) edits: Edits,
    /// What their side did to the entries in `edits`.
    pub(crate) operations: Vec<TableOperation>,
    /// What would have to be done besides for the entries that are held back, and what their side did to those.
    pub(crate) held: Edits,
    pub(crate) held_operations: Vec<TableOperation>,
    /// Tables that hold the changes of both sides.
    pub(crate) rebased: Vec<RebasedTable>,
    /// Tables and views that changed on our side only.
    pub(crate) moved: Vec<TableName>,
}

type Differences = BTreeMap<Key, Difference>;

/// The changes of both sides since one common ancestor.
struct SinceBase {
    ours: Differences,
    theirs: Differences,
}

/// What an entry becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It stays as it is on our side.
    Ours,
    /// It becomes what it is on their side.
    Theirs,
    /// What they appended since the base goes onto ours.
    Replay {
        base: TableEntry,
        ours: TableEntry,
        theirs: TableEntry,
    },
    Conflict(&'static str),
}

impl Catalog {
    /// Combines two sides. New metadata files are written where appends are replayed; nothing else is.
    pub(crate) async fn combine(&self, guard: &Guard, stage: &Stage<'_>, sides: &Sides<'_>) -> Result<Combined> {
        let relation = self.relate(&sides.ours, &sides.theirs).await?;
        let (ours_tree, theirs_tree) = (tree_of(stage, &sides.ours).await?, tree_of(stage, &sides.theirs).await?);
        let mut since = Vec::new();
        for base in &relation.bases {
            let base = tree_of(stage, base).await?;
            since.push(SinceBase {
                ours: tree::diff(stage, &base, &ours_tree).await?,
                theirs: tree::diff(stage, &base, &theirs_tree).await?,
            });
        }
        if since.is_empty() {
            return Err(CatalogError::Invalid(format!(
                "{} and its target have no history in common that is still kept",
                sides.theirs_name
            )));
        }
        let history = OperationHistory::new(&relation);
        let combining = Combining { catalog: self, guard, stage, sides, ours_tree, theirs_tree, history };
        let mut combined = Combined::default();
        let touched: BTreeSet<&Key> = since.iter().flat_map(|s| s.theirs.keys()).collect();
        for key in &touched {
            let verdict = verdict(&since, key, &combining.history)?;
            combining.follow(key, verdict, &mut combined).await?;
        }
        let moved: BTreeSet<&Key> = since.iter().flat_map(|s| s.ours.keys()).filter(|k| !touched.contains(k)).collect();
        for key in moved {
            if let EntryKey::Relation(name) = decode_key(key)? {
                combined.moved.push(name);
            }
        }
        Ok(combined)
    }
}

async fn tree_of(stage: &Stage<'_>, commit: &Hash) -> Result<Hash> {
    Hash::parse(&stage.commit(commit).await?.tree)
}

/// What following a verdict takes.
struct Combining<'a> {
    catalog: &'a Catalog,
    guard: &'a Guard,
    stage: &'a Stage<'a>,
    sides: &'a Sides<'a>,
    ours_tree: Hash,
    theirs_tree: Hash,
    history: OperationHistory,
}

impl Combining<'_> {
    /// Does to one entry what was judged.
    async fn follow(&self, key: &Key, verdict: Verdict, combined: &mut Combined) -> Result<()> {
        let name = decode_key(key)?;
        let held = self.sides.hold.contains(&name);
        let after = match verdict {
            Verdict::Ours => return Ok(()),
            Verdict::Conflict(_) if self.is_same(&name).await? => return Ok(()),
            Verdict::Conflict(detail) => return Err(self.clash(&name, detail.to_owned()).await?),
            Verdict::Theirs => {
                let entry = tree::get(self.stage, &self.theirs_tree, key).await?;
                if let Some(entry) = &entry {
                    self.catalog.verify_readable(self.guard, entry).await?;
                }
                entry
            }
            Verdict::Replay { base, ours, theirs } => {
                let entry = Entry::Table(self.replay(&name, &base, &ours, &theirs).await?);
                if let (EntryKey::Relation(table), false) = (&name, held) {
                    let before = Some(Entry::Table(theirs));
                    combined.rebased.push(RebasedTable { table: table.clone(), before, after: entry.clone() });
                }
                Some(entry)
            }
        };
        let (edits, operations) = match held {
            true => (&mut combined.held, &mut combined.held_operations),
            false => (&mut combined.edits, &mut combined.operations),
        };
        operations.extend(self.history.squashed(&name, after.is_none()));
        edits.insert(Key::clone(key), after);
        Ok(())
    }

    /// Whether an entry comes to the same on both sides, though by different ways: branches that were merged crosswise
    /// hold the same rows under different metadata.
    async fn is_same(&self, name: &EntryKey) -> Result<bool> {
        let (ours, theirs) = self.both(name).await?;
        match (ours, theirs) {
            (Some(Entry::Table(ours)), Some(Entry::Table(theirs))) => self.catalog.same_rows(&ours, &theirs).await,
            (Some(Entry::Cursor(ours)), Some(Entry::Cursor(theirs))) if ours == theirs => {
                let table = EntryKey::Relation(parse_table(&ours.table)?);
                match self.both(&table).await? {
                    (Some(Entry::Table(ours)), Some(Entry::Table(theirs))) => {
                        self.catalog.same_rows(&ours, &theirs).await
                    }
                    _ => Ok(false),
                }
            }
            _ => Ok(false),
        }
    }

    async fn both(&self, name: &EntryKey) -> Result<(Option<Entry>, Option<Entry>)> {
        let key = encode_key(name);
        let ours = tree::get(self.stage, &self.ours_tree, &key).await?;
        Ok((ours, tree::get(self.stage, &self.theirs_tree, &key).await?))
    }

    /// Puts what their side appended to a table onto ours.
    async fn replay(
        &self,
        name: &EntryKey,
        base: &TableEntry,
        ours: &TableEntry,
        theirs: &TableEntry,
    ) -> Result<TableEntry> {
        let catalog = self.catalog;
        catalog.verify_readable(self.guard, &Entry::Table(theirs.clone())).await?;
        let (base, target, branch) =
            (catalog.metadata(base).await?, catalog.metadata(ours).await?, catalog.metadata(theirs).await?);
        if catalog.shares_new_files(&base, &target, &branch).await? {
            return Err(self.clash(name, "both sides hold the same new rows".to_owned()).await?);
        }
        let target_head = (&*target, ours.metadata_path.as_str());
        match catalog.tables().replay_appends(Some(&base), &branch, target_head, &summary(self.sides.run)).await? {
            Replay::Done(committed) => {
                catalog.keep_metadata(&committed.metadata_path, &committed.metadata);
                Ok(table_entry(&committed))
            }
            Replay::Conflict(detail) => Err(self.clash(name, detail).await?),
        }
    }

    async fn clash(&self, entry: &EntryKey, detail: String) -> Result<CatalogError> {
        let theirs = self.catalog.last_change(&self.sides.ours, entry).await?;
        let ours = self.sides.theirs_name.to_owned();
        Ok(CatalogError::Conflict { entry: entry.to_string(), ours, theirs, detail })
    }
}

/// Judges one entry. With several common ancestors (branches merged crosswise) all of them must agree, and nothing is
/// replayed: what counts as appended would depend on the ancestor.
fn verdict(since: &[SinceBase], key: &Key, history: &OperationHistory) -> Result<Verdict> {
    let name = decode_key(key)?;
    let mut verdicts = Vec::new();
    for base in since {
        let verdict = judge(base, key, &name, history)?;
        if !verdicts.contains(&verdict) {
            verdicts.push(verdict);
        }
    }
    Ok(match verdicts.as_slice() {
        [Verdict::Replay { .. }] if since.len() > 1 => {
            Verdict::Conflict("the branches were merged crosswise, so that it is open what is new on which")
        }
        [only] => only.clone(),
        _ => Verdict::Conflict("the branches were merged crosswise, and their common ancestors do not agree"),
    })
}

fn judge(since: &SinceBase, key: &Key, name: &EntryKey, history: &OperationHistory) -> Result<Verdict> {
    let Some(theirs) = since.theirs.get(key) else { return Ok(Verdict::Ours) };
    let Some(ours) = since.ours.get(key) else { return Ok(Verdict::Theirs) };
    if let EntryKey::Cursor(_) = name {
        return judge_cursor(since, ours, theirs);
    }
    Ok(match (&theirs.before, &ours.after, &theirs.after) {
        (_, ours, theirs) if ours == theirs => Verdict::Ours,
        (None, Some(_), Some(_)) => Verdict::Conflict("both made it"),
        (_, None, Some(_)) | (_, Some(_), None) => Verdict::Conflict("one of them dropped it"),
        (Some(Entry::Table(base)), Some(Entry::Table(ours)), Some(Entry::Table(theirs))) => {
            if base.uuid != ours.uuid || base.uuid != theirs.uuid {
                Verdict::Conflict("one of them made the table anew")
            } else if history.is_blind(name) {
                Verdict::Replay { base: base.clone(), ours: ours.clone(), theirs: theirs.clone() }
            } else {
                Verdict::Conflict("what was done holds on the table as it was only")
            }
        }
        _ => Verdict::Conflict("both changed its definition"),
    })
}

/// A cursor that moved on both sides stands for input that both may have read, even when it came to the same place.
/// Unless its table is the same one on both sides, the rows would be there twice.
fn judge_cursor(since: &SinceBase, ours: &Difference, theirs: &Difference) -> Result<Verdict> {
    let same_table = match (&ours.after, &theirs.after) {
        (Some(Entry::Cursor(a)), Some(Entry::Cursor(b))) if a == b => {
            let key = encode_key(&EntryKey::Relation(parse_table(&a.table)?));
            let after = |side: &Differences| side.get(&key).map(|d| d.after.clone());
            after(&since.ours) == after(&since.theirs)
        }
        (None, None) => true,
        _ => false,
    };
    Ok(if same_table { Verdict::Ours } else { Verdict::Conflict("the same input was read by both") })
}

fn parse_table(name: &str) -> Result<TableName> {
    name.parse().map_err(|e: polder_base::NameError| CatalogError::Invalid(e.to_string()))
}

/// What their side did, by entry.
struct OperationHistory {
    by_entry: BTreeMap<String, Vec<TableOperation>>,
    complete: bool,
}

impl OperationHistory {
    fn new(relation: &Relation) -> Self {
        let mut by_entry: BTreeMap<String, Vec<TableOperation>> = BTreeMap::new();
        for operation in relation.theirs.iter().flat_map(|commit| &commit.operations) {
            by_entry.entry(operation.entry.clone()).or_default().push(operation.clone());
        }
        Self { by_entry, complete: relation.complete }
    }

    /// Whether nothing but blind appends is known to have happened to an entry.
    fn is_blind(&self, entry: &EntryKey) -> bool {
        let operations = self.by_entry.get(&entry.to_string());
        self.complete && operations.is_some_and(|all| !all.is_empty() && is_blind(all))
    }

    /// What happened to an entry as few operations: those of the same kind in a row become one.
    fn squashed(&self, entry: &EntryKey, dropped: bool) -> Vec<TableOperation> {
        let name = entry.to_string();
        let mut squashed: Vec<TableOperation> = Vec::new();
        for operation in self.by_entry.get(&name).into_iter().flatten() {
            match squashed.last_mut() {
                Some(last) if last.action == operation.action => {
                    last.read |= operation.read;
                    last.added_rows += operation.added_rows;
                    last.removed_rows += operation.removed_rows;
                }
                _ => squashed.push(operation.clone()),
            }
        }
        if squashed.is_empty() || !self.complete {
            // Its history was cut: all that is known is that it came from there.
            let action = if dropped { TableAction::Drop } else { TableAction::Take };
            squashed.push(TableOperation { entry: name, action, read: true, added_rows: 0, removed_rows: 0 });
        }
        squashed
    }
}
