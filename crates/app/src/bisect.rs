//! Since when a statement does not hold: a search in the history of a ref, and what the commit that broke it changed.
//!
//! The history of a ref is its first parents. A search takes for granted what `git bisect` does: that the statement held
//! before, does not hold now, and changed once between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use futures::StreamExt;
use polder_base::{RunId, TableName, Timestamp};
use polder_catalog::{Commit, CommitId, Entry, EntryKey};
use polder_run::RunRecord;
use polder_sql::SqlError;
use serde::Serialize;

use crate::query::SqlOptions;
use crate::run::journal::run_record;
use crate::run::stored;
use crate::{App, AppError, Difference, codes};

/// Commits at which a statement cannot be told, before a search between two others is given up.
const SKIPS: usize = 64;

/// What is searched.
#[derive(Debug, Clone, Default)]
pub struct BisectRequest {
    /// A query of one boolean: it holds where all its rows are true.
    pub statement: String,
    /// Where it held; looked for unless set.
    pub good: Option<String>,
    /// Where it does not hold; the current ref unless set.
    pub bad: Option<String>,
}

/// What a search found.
#[derive(Debug, Clone, Serialize)]
pub struct Bisected {
    pub statement: String,
    /// The ref whose history was searched.
    pub bad: String,
    #[serde(flatten)]
    pub outcome: BisectOutcome,
    /// Commits of the history, as far as it is kept.
    pub commits: usize,
    /// Statements that were run.
    pub queries: usize,
    /// The history was cut: what was before is not known.
    pub cut: bool,
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum BisectOutcome {
    /// The first commit at which it does not hold.
    Found { culprit: Box<Culprit> },
    /// It is one of these, the newest first: at those between the first and the last it cannot be told.
    OneOf { commits: Vec<CommitId> },
    /// It holds where it was thought not to.
    Holds,
    /// It held nowhere where it could be told; at the commits before `since` it could not.
    NeverHeld { since: CommitId },
}

/// The commit that broke a statement, and what it changed of what the statement is made from.
#[derive(Debug, Clone, Serialize)]
pub struct Culprit {
    pub commit: CommitId,
    /// The commit before, at which it held.
    pub parent: CommitId,
    pub at: Timestamp,
    pub author: String,
    pub message: String,
    pub run: Option<u64>,
    /// Models whose text is another than in the run before, with their files.
    pub models: Vec<(String, String)>,
    /// Other files of the project that are.
    pub files: Vec<String>,
    /// Sources that brought something: the names of their cursors.
    pub sources: Vec<String>,
    /// The tables and views that changed, with their rows.
    pub tables: Vec<Difference>,
}

/// What a statement says at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Holds,
    Fails,
    CannotTell(String),
}

impl App {
    /// Searches the first commit of a ref's history at which a statement stops holding, in a number of queries that
    /// grows with the logarithm of the history.
    ///
    /// # Errors
    /// Unknown refs; a statement that is wrong, or cannot be told where it is said to hold or not to.
    pub async fn bisect(&self, request: &BisectRequest) -> Result<Bisected, AppError> {
        let bad = self.ref_or_current(request.bad.as_deref())?;
        let head = self.catalog.resolve(&bad).await?;
        let history = self.catalog.log(&head, usize::MAX).await?;
        let cut = history.last().is_some_and(|(_, commit)| !commit.parents.is_empty());
        let mut search = Search { app: self, statement: &request.statement, history, verdicts: BTreeMap::new() };
        let outcome = search.outcome(&bad, request.good.as_deref()).await?;
        Ok(Bisected {
            statement: request.statement.clone(),
            bad,
            outcome,
            commits: search.history.len(),
            queries: search.verdicts.len(),
            cut,
        })
    }
}

struct Search<'a> {
    app: &'a App,
    statement: &'a str,
    /// The newest first.
    history: Vec<(CommitId, Arc<Commit>)>,
    verdicts: BTreeMap<usize, Verdict>,
}

impl Search<'_> {
    async fn outcome(&mut self, bad: &str, good: Option<&str>) -> Result<BisectOutcome, AppError> {
        match self.verdict(0).await? {
            Verdict::Holds => return Ok(BisectOutcome::Holds),
            Verdict::Fails => {}
            Verdict::CannotTell(why) => return Err(untold(bad, &why)),
        }
        let bounds = match good {
            Some(good) => Some((0, self.given(bad, good).await?)),
            None => self.gallop().await?,
        };
        let Some((bad, good)) = bounds else {
            let told = self.verdicts.iter().filter(|(_, v)| **v == Verdict::Fails).map(|(place, _)| *place).max();
            let since = self.history[told.unwrap_or_default()].0.clone();
            return Ok(BisectOutcome::NeverHeld { since });
        };
        let (bad, good) = self.narrow(bad, good).await?;
        if good - bad > 1 {
            let commits = self.history[bad..good].iter().map(|(id, _)| id.clone()).collect();
            return Ok(BisectOutcome::OneOf { commits });
        }
        Ok(BisectOutcome::Found { culprit: Box::new(self.culprit(bad).await?) })
    }

    /// The place of a commit that a person says is good.
    async fn given(&mut self, bad: &str, good: &str) -> Result<usize, AppError> {
        let commit = self.app.catalog.resolve(good).await?;
        let Some(place) = self.history.iter().position(|(id, _)| *id == commit) else {
            let message = format!("`{good}` is not in the history of `{bad}`, as far as it is kept");
            return Err(AppError::refused(codes::REFUSED, message).hint(format!("polder log {bad}")));
        };
        match self.verdict(place).await? {
            Verdict::Holds => Ok(place),
            Verdict::Fails => {
                let message = format!("the statement does not hold at `{good}` either");
                Err(AppError::refused(codes::REFUSED, message).hint("without --good, one is looked for"))
            }
            Verdict::CannotTell(why) => Err(untold(good, &why)),
        }
    }

    /// Goes back 1, 2, 4, … commits until the statement holds: a place where it does not and an older one where it does.
    /// Where it could not be told before that, the oldest commits at which it can be are looked for.
    async fn gallop(&mut self) -> Result<Option<(usize, usize)>, AppError> {
        let last = self.history.len() - 1;
        let (mut bad, mut step) = (0, 1);
        let mut unknown = last + 1;
        while bad < last {
            let place = (bad + step).min(last);
            match self.verdict(place).await? {
                Verdict::Holds => return Ok(Some((bad, place))),
                Verdict::Fails => bad = place,
                Verdict::CannotTell(_) => {
                    unknown = place;
                    break;
                }
            }
            step *= 2;
        }
        while unknown - bad > 1 && unknown <= last {
            let place = bad + (unknown - bad) / 2;
            match self.verdict(place).await? {
                Verdict::Holds => return Ok(Some((bad, place))),
                Verdict::Fails => bad = place,
                Verdict::CannotTell(_) => unknown = place,
            }
        }
        Ok(None)
    }

    /// Halves what lies between a place where the statement does not hold and an older one where it does, until they are
    /// neighbours, or until nothing between them tells.
    async fn narrow(&mut self, mut bad: usize, mut good: usize) -> Result<(usize, usize), AppError> {
        let mut skipped: BTreeSet<usize> = BTreeSet::new();
        while let Some(place) = middle(bad, good, &skipped) {
            match self.verdict(place).await? {
                Verdict::Holds => good = place,
                Verdict::Fails => bad = place,
                Verdict::CannotTell(_) if skipped.len() < SKIPS => _ = skipped.insert(place),
                Verdict::CannotTell(_) => break,
            }
        }
        Ok((bad, good))
    }

    async fn verdict(&mut self, place: usize) -> Result<Verdict, AppError> {
        if let Some(known) = self.verdicts.get(&place) {
            return Ok(known.clone());
        }
        let verdict = self.ask(place).await?;
        self.verdicts.insert(place, verdict.clone());
        Ok(verdict)
    }

    /// Runs the statement at a commit. One that is no query at all is told at once; what one commit lacks, such as a
    /// table, another may have.
    async fn ask(&self, place: usize) -> Result<Verdict, AppError> {
        let at = Some(self.history[place].0.0.clone());
        let session = self.app.session(&SqlOptions { at, ..SqlOptions::default() }).await?;
        let mut result = match session.inner().query(self.statement).await {
            Ok(result) => result,
            Err(SqlError::Cancelled) => return Err(AppError::Cancelled),
            Err(error @ SqlError::Denied(_)) => return Err(error.into()),
            Err(error @ SqlError::Statement(_)) if place == 0 => {
                return Err(AppError::of_statement(error, self.statement));
            }
            Err(error) => return Ok(Verdict::CannotTell(error.to_string())),
        };
        let is_boolean = |field: &DataType| matches!(field, DataType::Boolean);
        if result.schema.fields().len() != 1 || !is_boolean(result.schema.field(0).data_type()) {
            let message = "the statement does not give one boolean";
            return Err(AppError::refused(codes::REFUSED, message).hint("select count(*) > 0 from gold.daily"));
        }
        let (mut rows, mut holds) = (0, true);
        while let Some(batch) = result.stream.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => return Ok(Verdict::CannotTell(SqlError::from(error).to_string())),
            };
            let values = batch.column(0).as_boolean();
            if values.null_count() > 0 {
                return Ok(Verdict::CannotTell("it is NULL".to_owned()));
            }
            rows += values.len();
            holds &= values.true_count() == values.len();
        }
        Ok(match (rows, holds) {
            (0, _) => Verdict::CannotTell("it gives no row".to_owned()),
            (_, true) => Verdict::Holds,
            (_, false) => Verdict::Fails,
        })
    }

    /// What the commit at a place changed of what the statement is made from.
    async fn culprit(&self, place: usize) -> Result<Culprit, AppError> {
        let (id, commit) = &self.history[place];
        let parent = &self.history[place + 1].0;
        let run = self.run_of(id, commit).await?;
        let before = self.run_before(place + 1).await?;
        let made_from = self.made_from(id, run.as_ref()).await?;
        let mut tables = self.app.diff_rows_of(parent, id, &made_from.tables).await?;
        tables.retain(|d| d.kind != "cursor");
        let changed = changed_files(before.as_ref(), run.as_ref());
        let of_model = |file: &String| made_from.models.get(file).map(|table| (table.to_string(), file.clone()));
        Ok(Culprit {
            commit: id.clone(),
            parent: parent.clone(),
            at: commit.at(),
            author: commit.author.principal.clone(),
            message: commit.message.clone(),
            run: run.as_ref().map(|run| run.id.0),
            models: changed.iter().filter_map(of_model).collect(),
            files: changed.iter().filter(|file| is_of_others(file, &made_from)).cloned().collect(),
            sources: self.sources(parent, id, &made_from.tables).await?,
            tables,
        })
    }

    /// The run that a commit came from: its own, or the last one of a branch that it merged.
    async fn run_of(&self, id: &CommitId, commit: &Commit) -> Result<Option<RunRecord>, AppError> {
        const FAR: usize = 100;
        let state = self.app.catalog.state();
        let from = commit.parents.get(1).map_or_else(|| id.clone(), |merged| CommitId(merged.clone()));
        let own = commit.run.map(RunId);
        let merged = self.app.catalog.log(&from, FAR).await?.into_iter().find_map(|(_, c)| c.run.map(RunId));
        match own.or(merged.filter(|_| commit.parents.len() > 1)) {
            Some(run) => run_record(state, run).await,
            None => Ok(None),
        }
    }

    /// The run that the history showed before.
    async fn run_before(&self, place: usize) -> Result<Option<RunRecord>, AppError> {
        for (id, commit) in &self.history[place..] {
            if let Some(run) = self.run_of(id, commit).await? {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    /// The tables that the statement reads, with all that they are made from, by the project of the run.
    async fn made_from(&self, at: &CommitId, run: Option<&RunRecord>) -> Result<MadeFrom, AppError> {
        let app = self.app;
        let session = app.session(&SqlOptions { at: Some(at.0.clone()), ..SqlOptions::default() }).await?;
        let plan = session.inner().plan(self.statement).await.map_err(|e| AppError::of_statement(e, self.statement))?;
        let mut made_from = MadeFrom::default();
        made_from.tables.extend(polder_sql::scanned_tables(&plan).into_iter().map(|scanned| scanned.name));
        if let Ok(named) = polder_sql::references(self.statement) {
            // A view that the plan looks through is a model, too.
            let relations = app.relations(at).await?;
            let named = named.iter().filter_map(|r| Some(TableName::new(r.namespace.as_ref()?, &r.name)));
            made_from.tables.extend(named.filter(|name| relations.contains_key(name)));
        }
        let loaded = match run {
            Some(run) => stored::load(app.catalog.state(), run, &app.options.project).await?,
            None => app.loaded.clone(),
        };
        // A project with mistakes does not say what is made from what.
        let Ok(blueprint) = app.blueprint(&loaded, at, false).await else { return Ok(made_from) };
        loop {
            let known = made_from.tables.len();
            for model in blueprint.models.iter().filter(|model| made_from.tables.contains(&model.table)) {
                made_from.models.insert(model.span.file.to_string(), model.table.clone());
            }
            let reads = blueprint.models.iter().filter(|m| made_from.tables.contains(&m.table));
            let reads: Vec<TableName> = reads.flat_map(|m| m.reads.iter().map(|r| r.table.clone())).collect();
            made_from.tables.extend(reads);
            if made_from.tables.len() == known {
                return Ok(made_from);
            }
        }
    }

    /// The cursors that moved between two commits, of these tables.
    async fn sources(
        &self,
        from: &CommitId,
        to: &CommitId,
        tables: &BTreeSet<TableName>,
    ) -> Result<Vec<String>, AppError> {
        let names: BTreeSet<String> = tables.iter().map(ToString::to_string).collect();
        let moved = self.app.catalog.diff(from, to).await?.into_iter().filter_map(|change| match change {
            polder_catalog::EntryChange { key: EntryKey::Cursor(name), after: Some(Entry::Cursor(cursor)), .. } => {
                names.contains(&cursor.table).then_some(name)
            }
            _ => None,
        });
        Ok(moved.collect())
    }
}

/// What a statement is made from.
#[derive(Debug, Default)]
struct MadeFrom {
    tables: BTreeSet<TableName>,
    /// Files of models, and their tables.
    models: BTreeMap<String, TableName>,
}

/// Files that may decide what a model is without being one: macros, settings, sources.
fn is_of_others(file: &str, made_from: &MadeFrom) -> bool {
    !made_from.models.contains_key(file)
        && (file.starts_with("macros/") || file.starts_with("sources/") || file == polder_project::SETTINGS)
}

/// Files whose text is another in a run than in the one before, or that came or went.
fn changed_files(before: Option<&RunRecord>, run: Option<&RunRecord>) -> Vec<String> {
    let (Some(before), Some(run)) = (before, run) else { return Vec::new() };
    let all: BTreeSet<&String> = before.files.keys().chain(run.files.keys()).collect();
    all.into_iter().filter(|file| before.files.get(*file) != run.files.get(*file)).cloned().collect()
}

/// The middle of the widest stretch between two places that has not been skipped.
fn middle(bad: usize, good: usize, skipped: &BTreeSet<usize>) -> Option<usize> {
    let bounds: Vec<usize> = std::iter::once(bad)
        .chain(skipped.iter().copied().filter(|place| (bad + 1..good).contains(place)))
        .chain(std::iter::once(good))
        .collect();
    // Of equal ones the first: `max_by_key` gives the last that it meets.
    let widest = bounds.windows(2).rev().filter(|w| w[1] - w[0] > 1).max_by_key(|w| w[1] - w[0])?;
    Some(widest[0] + (widest[1] - widest[0]) / 2)
}

fn untold(at: &str, why: &str) -> AppError {
    AppError::refused(codes::REFUSED, format!("whether the statement holds at `{at}` cannot be told: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_goes_around_what_was_skipped() {
        let skipped = |places: &[usize]| places.iter().copied().collect::<BTreeSet<usize>>();
        assert_eq!(middle(0, 10, &skipped(&[])), Some(5));
        assert_eq!(middle(0, 10, &skipped(&[5])), Some(2));
        assert_eq!(middle(0, 10, &skipped(&[2, 5])), Some(7));
        assert_eq!(middle(3, 5, &skipped(&[4])), None);
        assert_eq!(middle(3, 4, &skipped(&[])), None);
    }
}
