//! git's words for tables: status, log, diff, branches, tags, merge, rollback.

use std::collections::BTreeSet;
use std::time::Duration;

use polder_base::{RunId, TableName, Timestamp};
use polder_catalog::{Author, CommitId, Entry, EntryKey, MAIN, RefInfo, RefKind, TableAction, TableOperation};
use polder_run::{RunKind, RunRecord, RunStatus};
use polder_store::Space;
use serde::Serialize;

use crate::damage::Looked;
use crate::run::journal::{all, steps_of};
use crate::tables::{TableRow, column_list};
use crate::{App, AppError, Damaged, RowDifference, Shown, Undone, codes};

/// Where a project stands.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub project: String,
    /// Where the tables are: `file:///…` or `s3://bucket/prefix`.
    pub warehouse: String,
    /// The ref that commands mean.
    pub current: Shown,
    pub tables: usize,
    pub views: usize,
    /// The newest runs first, a few.
    pub runs: Vec<RunRecord>,
    /// Runs that are not published and whose branches are still there.
    pub open: Vec<OpenRun>,
    /// Tables and views that cannot be read.
    pub damaged: Vec<Damaged>,
    /// How many of their files were looked for, where there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked_for: Option<u64>,
    /// Tables and views that no file of the project declares.
    pub leftovers: Vec<TableName>,
}

/// A run that goes on, or waits for somebody.
#[derive(Debug, Clone, Serialize)]
pub struct OpenRun {
    #[serde(flatten)]
    pub record: RunRecord,
    /// A process works on it. A run that says `running` and is not executed was interrupted.
    pub executed: bool,
    /// When its branch is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

impl OpenRun {
    /// Whether somebody who wants to go on with it should do so soon.
    pub fn expires_soon(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now + WARNED_BEFORE)
    }
}

/// A branch that got another head.
#[derive(Debug, Clone, Serialize)]
pub struct Moved {
    pub branch: String,
    /// The commit from before; the same as `after` where there was nothing to do.
    pub before: CommitId,
    pub after: CommitId,
    /// What was asked for: what was merged in, or what was gone back to.
    pub to: Shown,
    /// What a merge left to do.
    #[serde(skip_serializing_if = "Undone::is_nothing")]
    pub undone: Undone,
}

/// A commit of a ref's history.
#[derive(Debug, Clone, Serialize)]
pub struct LogEntry {
    pub commit: CommitId,
    pub at: Timestamp,
    pub author: String,
    pub message: String,
    pub run: Option<u64>,
    pub changes: Vec<LoggedChange>,
}

/// What a commit did to one table, view or cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoggedChange {
    pub entry: String,
    pub action: &'static str,
    pub added_rows: u64,
    pub removed_rows: u64,
}

/// A ref.
#[derive(Debug, Clone, Serialize)]
pub struct RefRow {
    pub name: String,
    /// `branch` or `tag`.
    pub kind: &'static str,
    pub commit: CommitId,
    /// Of its commit; the empty catalog, the same everywhere, has none.
    pub at: Option<Timestamp>,
    pub current: bool,
    pub expires: Option<Timestamp>,
}

/// How one entry differs between two commits.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    pub name: String,
    /// `table`, `view` or `cursor`.
    pub kind: &'static str,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    pub rows_before: Option<u64>,
    pub rows_after: Option<u64>,
    /// Columns that came, went, or changed their type: `+ discount decimal(12, 2)`.
    pub columns: Vec<String>,
    /// Values of a cursor.
    pub before: Option<String>,
    pub after: Option<String>,
    /// Which rows differ, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowDifference>,
}

/// So long before a branch is removed, people are told.
const WARNED_BEFORE: Duration = Duration::from_secs(2 * 86_400);

/// Runs that `status` shows.
const RECENT: usize = 5;

impl App {
    /// Where the project stands: the current ref, its tables, the last runs, and runs that wait for somebody.
    ///
    /// # Errors
    /// State that cannot be read; a current ref that is gone.
    pub async fn status(&self) -> Result<Status, AppError> {
        let current = self.shown(&self.current_ref()?).await?;
        let commit = CommitId(current.commit.clone());
        let tables = self.tables_at(&commit).await?;
        let views = tables.iter().filter(|t| t.kind == "view").count();
        let records: Vec<RunRecord> = self.runs().await?;
        let open = self.open_runs(&records).await?;
        let Looked { damaged, cut_off } = self.damages(&commit).await?;
        Ok(Status {
            project: self.loaded.project.name.clone(),
            warehouse: self.catalog.tables().warehouse().root().to_owned(),
            current,
            tables: tables.len() - views,
            views,
            runs: records.into_iter().take(RECENT).collect(),
            open,
            damaged,
            looked_for: cut_off,
            leftovers: self.leftovers(&commit).await?,
        })
    }

    /// The runs that go on or wait for somebody, of these: not those that a later run went on from, whose work was published
    /// in another way, or whose branch is past its day.
    async fn open_runs(&self, records: &[RunRecord]) -> Result<Vec<OpenRun>, AppError> {
        let refs = self.catalog.refs().await?;
        let waits = |r: &&RunRecord| r.kind == RunKind::Run && r.status != RunStatus::Published;
        let mut open = Vec::new();
        for record in records.iter().filter(waits) {
            let Some(branch) = refs.iter().find(|found| found.name == record.branch) else { continue };
            let executed = record.status == RunStatus::Running && self.is_executed(record.id).await?;
            if !executed && self.is_over(record, branch).await? {
                continue;
            }
            open.push(OpenRun { record: record.clone(), executed, expires: branch.expires });
        }
        Ok(open)
    }

    /// Whether nothing can become of a run any more that nobody executes, or nothing that a later one does not have.
    async fn is_over(&self, record: &RunRecord, branch: &RefInfo) -> Result<bool, AppError> {
        if record.same_as.is_some() || branch.expires.is_some_and(|at| at <= self.system().now()) {
            return Ok(true);
        }
        Ok(self.taken_over_by(record).await?.is_some() || self.was_read_on(record, branch).await?)
    }

    /// Whether the target has read on since where the run began, and so cannot take over what it read.
    pub(crate) async fn was_read_on(&self, record: &RunRecord, branch: &RefInfo) -> Result<bool, AppError> {
        let Some(target) = self.catalog.find_ref(&record.target).await? else { return Ok(false) };
        if target.commit.0 == record.base {
            return Ok(false);
        }
        for change in self.catalog.diff(&CommitId(record.base.clone()), &branch.commit).await? {
            let is_cursor = matches!(change.key, EntryKey::Cursor(_));
            if is_cursor && self.catalog.entry(&target.commit, &change.key).await? != change.before {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Runs that wait for somebody and whose branches are removed soon, the newest first.
    ///
    /// # Errors
    /// State that cannot be read.
    pub async fn expiring(&self) -> Result<Vec<OpenRun>, AppError> {
        let now = self.system().now();
        let mut open = self.open_runs(&self.runs().await?).await?;
        open.retain(|run| !run.executed && !run.record.stale && run.expires_soon(now));
        Ok(open)
    }

    /// All runs, the newest first.
    ///
    /// # Errors
    /// State that cannot be read.
    pub async fn runs(&self) -> Result<Vec<RunRecord>, AppError> {
        let mut records: Vec<RunRecord> = all(self.catalog.state(), Space::Runs, "").await?;
        records.reverse();
        Ok(records)
    }

    /// What the current ref shows.
    ///
    /// # Errors
    /// A current ref that is gone; state that cannot be read.
    pub async fn status_line(&self) -> Result<Shown, AppError> {
        self.shown(&self.current_ref()?).await
    }

    /// The steps of a run.
    ///
    /// # Errors
    /// No such run; state that cannot be read.
    pub async fn steps(&self, run: RunId) -> Result<Vec<polder_run::StepRecord>, AppError> {
        self.known_run(run).await?;
        steps_of(self.catalog.state(), run).await
    }

    /// The history of a ref, newest first.
    ///
    /// # Errors
    /// An unknown ref; state that cannot be read.
    pub async fn log(&self, at: Option<&str>, limit: usize) -> Result<Vec<LogEntry>, AppError> {
        let commit = self.catalog.resolve(&self.ref_or_current(at)?).await?;
        let commits = self.catalog.log(&commit, limit).await?;
        let entries = commits.into_iter().map(|(id, commit)| LogEntry {
            commit: id,
            at: commit.at(),
            author: commit.author.principal.clone(),
            message: commit.message.clone(),
            run: commit.run,
            changes: commit.operations.iter().map(logged).collect(),
        });
        Ok(entries.collect())
    }

    /// What differs between two commits, refs or times.
    ///
    /// # Errors
    /// An unknown ref; metadata that cannot be read.
    pub async fn diff(&self, from: &str, to: Option<&str>) -> Result<Vec<Difference>, AppError> {
        let from = self.catalog.resolve(from).await?;
        let to = self.catalog.resolve(&self.ref_or_current(to)?).await?;
        let mut differences = Vec::new();
        for change in self.catalog.diff(&from, &to).await? {
            differences.push(self.difference(change.key, change.before, change.after).await?);
        }
        Ok(differences)
    }

    async fn difference(
        &self,
        key: EntryKey,
        before: Option<Entry>,
        after: Option<Entry>,
    ) -> Result<Difference, AppError> {
        let change = match (&before, &after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        let kind = match after.as_ref().or(before.as_ref()) {
            Some(Entry::View(_)) => "view",
            Some(Entry::Cursor(_)) => "cursor",
            _ => "table",
        };
        let value = |entry: &Option<Entry>| match entry {
            Some(Entry::Cursor(cursor)) => Some(cursor.value.clone()),
            _ => None,
        };
        let name = match key {
            EntryKey::Relation(table) => table.to_string(),
            EntryKey::Cursor(name) => name,
        };
        let (old, new) = (self.facts(before.as_ref()).await?, self.facts(after.as_ref()).await?);
        Ok(Difference {
            name,
            kind,
            change,
            rows_before: old.rows,
            rows_after: new.rows,
            columns: if change == "changed" { column_changes(&old.columns, &new.columns) } else { Vec::new() },
            before: value(&before),
            after: value(&after),
            rows: None,
        })
    }

    async fn facts(&self, entry: Option<&Entry>) -> Result<Facts, AppError> {
        let Some(Entry::Table(table)) = entry else { return Ok(Facts::default()) };
        let metadata = self.catalog.metadata(table).await?;
        Ok(Facts { rows: crate::tables::total(&metadata, "total-records"), columns: column_list(&metadata) })
    }

    /// All refs; branches of runs that were not published are among them.
    ///
    /// # Errors
    /// State that cannot be read.
    pub async fn refs(&self) -> Result<Vec<RefRow>, AppError> {
        let current = self.current_ref()?;
        let mut rows = Vec::new();
        for info in self.catalog.refs().await? {
            let at = self.catalog.commit_object(&info.commit).await?.at();
            rows.push(ref_row(info, at, &current));
        }
        Ok(rows)
    }

    /// Makes a branch from a ref, the current one unless given.
    ///
    /// # Errors
    /// A name that is taken or is none for a ref; an unknown ref.
    pub async fn create_branch(&self, name: &str, from: Option<&str>) -> Result<RefRow, AppError> {
        let from = self.catalog.resolve(&self.ref_or_current(from)?).await?;
        let info = self.catalog.create_branch(name, &from, None).await?;
        let at = self.catalog.commit_object(&info.commit).await?.at();
        Ok(ref_row(info, at, &self.current_ref()?))
    }

    /// Makes a tag of a ref, the current one unless given.
    ///
    /// # Errors
    /// A name that is taken or is none for a ref; an unknown ref.
    pub async fn create_tag(&self, name: &str, from: Option<&str>) -> Result<RefRow, AppError> {
        let from = self.catalog.resolve(&self.ref_or_current(from)?).await?;
        let info = self.catalog.create_tag(name, &from).await?;
        let at = self.catalog.commit_object(&info.commit).await?.at();
        Ok(ref_row(info, at, &self.current_ref()?))
    }

    /// Removes a branch or a tag.
    ///
    /// # Errors
    /// `main`, the current ref, or one that is not there.
    pub async fn delete_ref(&self, name: &str) -> Result<(), AppError> {
        if name == MAIN {
            return Err(AppError::refused(codes::REFUSED, format!("`{MAIN}` cannot be deleted")));
        }
        if name == self.current_ref()? {
            let refused = AppError::refused(codes::REFUSED, format!("`{name}` is the current ref"));
            return Err(refused.hint(format!("polder switch {MAIN}")));
        }
        Ok(self.catalog.delete_ref(name).await?)
    }

    /// Makes a branch or tag the one that commands mean in this checkout.
    ///
    /// # Errors
    /// A ref that is not there.
    pub async fn switch(&self, name: &str) -> Result<Shown, AppError> {
        if self.catalog.find_ref(name).await?.is_none() {
            // Says what was perhaps meant, where that can be said.
            self.catalog.resolve(name).await?;
            let message = format!("`{name}` is no branch and no tag");
            return Err(
                AppError::refused(codes::UNKNOWN_REF, message).hint(format!("polder branch NAME --from {name}"))
            );
        }
        self.home.set_current_ref(name)?;
        self.shown(name).await
    }

    /// Merges a ref into a branch, the current one unless given, as one commit. `unchecked`: also what a run wrote that
    /// was not published. Nothing is computed or checked: what that leaves to do is told.
    ///
    /// # Errors
    /// Unknown refs; commits of a run that was not found good; tables that both sides changed in ways that do not go
    /// together.
    pub async fn merge(&self, from: &str, into: Option<&str>, unchecked: bool) -> Result<Moved, AppError> {
        let (branch, before) = self.target(into).await?;
        let to = self.shown(from).await?;
        if from == branch {
            let refused = AppError::refused(codes::REFUSED, format!("`{branch}` cannot be merged into itself"));
            return Err(refused.hint("polder branch shows what there is; --into names another target"));
        }
        if !unchecked {
            self.refuse_unpublished(from, &branch).await?;
        }
        self.catalog.merge(from, &branch, &self.author(), &format!("Merge {from} into {branch}")).await?;
        let mut moved = self.moved(branch, before, to).await?;
        if moved.before != moved.after {
            let theirs = CommitId(moved.to.commit.clone());
            // The merge is done, whether or not it can be found out what it leaves to do.
            moved.undone = self.undone(&moved.before, &theirs, &moved.after).await.unwrap_or_default();
        }
        Ok(moved)
    }

    async fn moved(&self, branch: String, before: CommitId, to: Shown) -> Result<Moved, AppError> {
        let after = self.catalog.resolve(&branch).await?;
        Ok(Moved { branch, before, after, to, undone: Undone::default() })
    }

    /// Makes a branch show what it showed at `to`, as a new commit: everything, or some tables with their cursors and
    /// rejected records, which the next ingest reads again.
    ///
    /// # Errors
    /// An unknown ref or time; a table that was not there; what a run wrote that was not published, which the branch never
    /// showed.
    pub async fn rollback(&self, branch: Option<&str>, to: &str, tables: &[TableName]) -> Result<Moved, AppError> {
        let (branch, head) = self.target(branch).await?;
        let shown = self.shown(to).await?;
        self.refuse_unpublished(to, &branch).await?;
        let to = CommitId(shown.commit.clone());
        let author = Author { principal: self.principal() };
        let tables = self.with_quarantine(tables, &head, &to).await?;
        let some = (!tables.is_empty()).then_some(&*tables);
        self.catalog.rollback(&branch, &to, some, &author).await?;
        self.moved(branch, head, shown).await
    }

    /// Tables, and the quarantine of those that a source fills, if it has ever taken a record at one of two commits.
    async fn with_quarantine(
        &self,
        tables: &[TableName],
        now: &CommitId,
        then: &CommitId,
    ) -> Result<Vec<TableName>, AppError> {
        let mut all = tables.to_vec();
        if tables.is_empty() {
            return Ok(all);
        }
        let mut entries = self.catalog.entries(now).await?;
        entries.extend(self.catalog.entries(then).await?);
        let filled: BTreeSet<&str> = entries.iter().filter_map(|(_, entry)| fills(entry)).collect();
        for table in tables.iter().filter(|table| filled.contains(table.to_string().as_str())) {
            let quarantine = EntryKey::Relation(polder_ingest::quarantine_of(table));
            if let Some((EntryKey::Relation(name), _)) = entries.iter().find(|(key, _)| *key == quarantine) {
                all.push(name.clone());
            }
        }
        Ok(all)
    }

    /// The tables and views of a ref, the current one unless given.
    ///
    /// # Errors
    /// An unknown ref; metadata that cannot be read.
    pub async fn tables(&self, at: Option<&str>) -> Result<Vec<TableRow>, AppError> {
        let commit = self.catalog.resolve(&self.ref_or_current(at)?).await?;
        self.tables_at(&commit).await
    }
}

/// The table that a cursor belongs to.
fn fills(entry: &Entry) -> Option<&str> {
    match entry {
        Entry::Cursor(cursor) => Some(&cursor.table),
        Entry::Table(_) | Entry::View(_) => None,
    }
}

#[derive(Default)]
struct Facts {
    rows: Option<u64>,
    columns: Vec<(String, String)>,
}

fn column_changes(before: &[(String, String)], after: &[(String, String)]) -> Vec<String> {
    let find = |columns: &[(String, String)], name: &str| {
        columns.iter().find(|(n, _)| n == name).map(|(_, data_type)| data_type.clone())
    };
    let came = after.iter().filter_map(|(name, data_type)| match find(before, name) {
        None => Some(format!("+ {name} {data_type}")),
        Some(old) if old != *data_type => Some(format!("~ {name} {old} → {data_type}")),
        Some(_) => None,
    });
    let went = before.iter().filter(|(name, _)| find(after, name).is_none());
    came.chain(went.map(|(name, data_type)| format!("- {name} {data_type}"))).collect()
}

fn ref_row(info: RefInfo, at: Timestamp, current: &str) -> RefRow {
    let kind = match info.kind {
        RefKind::Branch => "branch",
        RefKind::Tag => "tag",
    };
    let at = Some(at).filter(|at| at.micros() != 0);
    RefRow { current: info.name == current, name: info.name, kind, commit: info.commit, at, expires: info.expires }
}

fn logged(operation: &TableOperation) -> LoggedChange {
    let action = match operation.action {
        TableAction::Create => "create",
        TableAction::Append => "append",
        TableAction::Overwrite => "overwrite",
        TableAction::Replace => "replace",
        TableAction::SetSchema => "set schema",
        TableAction::SetProperties => "set properties",
        TableAction::Drop => "drop",
        TableAction::View => "view",
        TableAction::Cursor => "cursor",
        TableAction::Take => "take over",
    };
    LoggedChange {
        entry: operation.entry.clone(),
        action,
        added_rows: operation.added_rows,
        removed_rows: operation.removed_rows,
    }
}
