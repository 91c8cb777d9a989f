//! What of runs that were not published a merge would take over.

use std::collections::BTreeMap;
use std::sync::Arc;

use polder_base::{RunId, Timestamp};
use polder_catalog::{Catalog, Commit, CommitId};
use polder_run::{RunKind, RunRecord, RunStatus};

use crate::run::journal::run_record;
use crate::{App, AppError, codes};

impl App {
    /// Merging what a run wrote past its checks is a decision, and not what somebody does by the way: under whatever
    /// name its commits come.
    pub(crate) async fn refuse_unpublished(&self, from: &str, into: &str) -> Result<(), AppError> {
        let Some(record) = self.unpublished(from, into).await? else { return Ok(()) };
        let (id, status) = (record.id, record.status.as_str());
        let whose = match record.branch == from {
            true => format!("run {id} is {status}"),
            false => format!("{from} has what run {id} wrote, and run {id} is {status}"),
        };
        let reason = record.cause().map(|reason| format!(": {reason}")).unwrap_or_default();
        let go_on = if record.stale { "polder run".to_owned() } else { format!("polder run --resume {id}") };
        let into = self.naming("--into", into)?;
        Err(AppError::refused(codes::REFUSED, format!("{whose}{reason}"))
            .hint(go_on)
            .hint(format!("polder merge {from}{into} --unchecked takes it over all the same")))
    }

    /// The newest run that was not published and whose commits `from` has and `into` has not.
    async fn unpublished(&self, from: &str, into: &str) -> Result<Option<RunRecord>, AppError> {
        // A run that has not committed anything yet may do so before the merge looks.
        let goes_on = |r: &RunRecord| r.kind == RunKind::Run && r.status == RunStatus::Running && r.branch == from;
        if let Some(running) = self.runs().await?.into_iter().find(goes_on) {
            return Ok(Some(running));
        }
        let (theirs, ours) = (self.catalog.resolve(from).await?, self.catalog.resolve(into).await?);
        for (run, commit) in runs_beyond(&self.catalog, &theirs, &ours).await? {
            // A part of a run that was published is as good as one that was published whole.
            let is_open = |r: &RunRecord| r.status != RunStatus::Published && !r.parts.contains(&commit.0);
            if let Some(record) = run_record(self.catalog.state(), run).await?.filter(is_open) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

/// The commits of runs that `theirs` has in its history and `ours` has not, the newest first.
///
/// The youngest commit of either side is always the next. Because a commit is younger than its parents, all ways to it
/// have been walked when it is its turn, and the walk ends as soon as only what both have is left.
async fn runs_beyond(
    catalog: &Catalog,
    theirs: &CommitId,
    ours: &CommitId,
) -> Result<Vec<(RunId, CommitId)>, AppError> {
    let mut frontier = Frontier { catalog, open: BTreeMap::new() };
    frontier.reach(&theirs.0, false).await?;
    frontier.reach(&ours.0, true).await?;
    let mut runs: Vec<(RunId, CommitId)> = Vec::new();
    while let Some((id, commit, is_ours)) = frontier.pop() {
        if !is_ours {
            runs.extend(commit.run.map(|run| (RunId(run), id)));
        }
        // What was merged into theirs was judged, or taken over by somebody's decision, then.
        let parents = if is_ours { commit.parents.len() } else { 1 };
        for parent in commit.parents.iter().take(parents) {
            frontier.reach(parent, is_ours).await?;
        }
    }
    Ok(runs)
}

/// Commits that were reached and not looked at, by age, and whether our side has them.
struct Frontier<'a> {
    catalog: &'a Catalog,
    open: BTreeMap<(Timestamp, CommitId), (Arc<Commit>, bool)>,
}

impl Frontier<'_> {
    async fn reach(&mut self, commit: &str, is_ours: bool) -> Result<(), AppError> {
        // Nothing is found where retention cut the history.
        for (id, commit) in self.catalog.log(&CommitId(commit.to_owned()), 1).await? {
            let (_, known) = self.open.entry((commit.at(), id)).or_insert((commit, false));
            *known |= is_ours;
        }
        Ok(())
    }

    /// The youngest; `None`: all that is left is ours.
    fn pop(&mut self) -> Option<(CommitId, Arc<Commit>, bool)> {
        if self.open.values().all(|(_, is_ours)| *is_ours) {
            return None;
        }
        self.open.pop_last().map(|((_, id), (commit, is_ours))| (id, commit, is_ours))
    }
}
