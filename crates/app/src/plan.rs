//! What a run would do, and why.

use std::collections::BTreeSet;
use std::sync::Arc;

use polder_base::{RunId, TableName};
use polder_catalog::{CommitId, Entry, EntryKey};
use polder_lake::Workspace;
use polder_model::{CompiledModel, ModelStep};
use polder_project::Stream;
use polder_run::{Fingerprint, Graph, Step, StepError, StepKey};
use serde::Serialize;

use crate::blueprint::Work;
use crate::run::journal::fingerprint_record;
use crate::{App, AppError, RunRequest};

/// What will become of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Run,
    /// Runs when something before it brings new rows, else it is up to date.
    Perhaps,
    /// An equal step's result is taken over.
    Reuse,
    UpToDate,
}

/// A step of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedStep {
    pub step: StepKey,
    pub action: Action,
    /// In a few words.
    pub why: String,
    /// What it waits for.
    pub after: Vec<StepKey>,
    /// The file that declares it.
    pub file: String,
}

/// A plan, in an order in which it can run.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    pub target: String,
    /// The target's commit that this was planned on.
    pub base: CommitId,
    pub steps: Vec<PlannedStep>,
    /// Tables and views of the target that no file of the project declares.
    pub leftovers: Vec<TableName>,
}

impl App {
    /// What [`App::run`] would do now. Nothing is written, and no source is asked.
    ///
    /// # Errors
    /// As [`App::run`], before it starts.
    pub async fn plan(&self, request: &RunRequest) -> Result<Plan, AppError> {
        let (target, base) = self.target(request.target.as_deref()).await?;
        let graph = self.graph(&self.loaded, &base, request).await?;
        let planner = Planner { app: self, base: &base, full_refresh: request.full_refresh };
        let mut steps: Vec<PlannedStep> = Vec::with_capacity(graph.len());
        let mut unsettled: BTreeSet<usize> = BTreeSet::new();
        for index in graph.topological() {
            let step = planner.step(&graph, index, &unsettled).await?;
            if matches!(step.action, Action::Run | Action::Perhaps | Action::Reuse) {
                unsettled.insert(index);
            }
            steps.push(step);
        }
        let leftovers = self.leftovers(&base).await?;
        Ok(Plan { target, base, steps, leftovers })
    }
}

pub(crate) struct Planner<'a> {
    pub(crate) app: &'a App,
    pub(crate) base: &'a CommitId,
    pub(crate) full_refresh: bool,
}

impl Planner<'_> {
    async fn step(
        &self,
        graph: &Graph<Work>,
        index: usize,
        unsettled: &BTreeSet<usize>,
    ) -> Result<PlannedStep, AppError> {
        let work = graph.value(index);
        let writers = graph.before(index).iter().copied().filter(|b| graph.value(*b).writes().is_some());
        let waits: Vec<&StepKey> = writers.filter(|b| unsettled.contains(b)).map(|b| graph.key(b)).collect();
        let (action, why, file) = match work {
            Work::Ingest(_, stream) => (Action::Run, self.ingest(stream).await?, stream.span.file.to_string()),
            Work::Model(model) => {
                let (action, why) = self.model(model, &waits).await?;
                (action, why, model.span.file.to_string())
            }
            Work::Check(set) => {
                let rules = if set.len() == 1 { "1 rule".to_owned() } else { format!("{} rules", set.len()) };
                let file = set.span().map(|s| s.file.to_string()).unwrap_or_default();
                (Action::Run, rules, file)
            }
        };
        let after = graph.before(index).iter().map(|b| graph.key(*b).clone()).collect();
        Ok(PlannedStep { step: graph.key(index).clone(), action, why, after, file })
    }

    async fn entry(&self, key: EntryKey) -> Result<Option<Entry>, AppError> {
        Ok(self.app.catalog.entry(self.base, &key).await?)
    }

    async fn ingest(&self, stream: &Stream) -> Result<String, AppError> {
        let exists = self.entry(EntryKey::Relation(stream.table.clone())).await?.is_some();
        Ok(match (self.full_refresh, exists) {
            (true, true) => "full refresh: reads everything again".to_owned(),
            (_, false) => "never read".to_owned(),
            (false, true) => "reads what is new".to_owned(),
        })
    }

    /// What will become of a model. `waits`: steps before it that may change what it reads.
    pub(crate) async fn model(
        &self,
        model: &Arc<CompiledModel>,
        waits: &[&StepKey],
    ) -> Result<(Action, String), AppError> {
        let existing = self.entry(EntryKey::Relation(model.table.clone())).await?;
        let kind = model.kind();
        if self.full_refresh {
            return Ok((Action::Run, format!("full refresh ({kind})")));
        }
        let Some(existing) = existing else { return Ok((Action::Run, format!("new ({kind})"))) };
        let path = match &existing {
            Entry::Table(table) => Some(table.metadata_path.as_str()),
            Entry::View(view) => Some(view.metadata_path.as_str()),
            Entry::Cursor(_) => None,
        };
        // A model that adds to its table needs the table even to be planned.
        if !model.incremental && !self.is_there(path).await {
            return Ok((Action::Run, format!("its metadata file is gone ({kind})")));
        }
        if !waits.is_empty() {
            let names = waits.iter().map(|k| k.resource.as_str()).collect::<Vec<_>>().join(", ");
            return Ok((Action::Perhaps, format!("when {names} changes ({kind})")));
        }
        let Some(fingerprint) = self.fingerprint(model).await? else {
            return Ok((Action::Run, format!("cannot be planned before it runs ({kind})")));
        };
        let Some(known) = fingerprint_record(self.app.catalog.state(), &fingerprint).await? else {
            return Ok((Action::Run, format!("its SQL, settings or tables changed ({kind})")));
        };
        let built = known.output.0.get("metadata_path").and_then(|p| p.as_str());
        Ok(match built == path {
            true => (Action::UpToDate, format!("as run {} built it", known.run)),
            false if self.is_there(built).await => (Action::Reuse, format!("run {} built the same", known.run)),
            false => (Action::Run, format!("what run {} built is gone ({kind})", known.run)),
        })
    }

    /// Whether a metadata file is still there, which a step asks before it takes a result over: it may have been
    /// collected since, or taken away by somebody.
    async fn is_there(&self, path: Option<&str>) -> bool {
        match path {
            Some(path) => self.app.catalog.tables().warehouse().storage().head(path).await.is_ok(),
            None => false,
        }
    }

    /// The fingerprint that the model would have on the target. `None`: it cannot be planned there, because a table is
    /// missing that this run will make.
    async fn fingerprint(&self, model: &Arc<CompiledModel>) -> Result<Option<Fingerprint>, AppError> {
        let workspace = Workspace {
            lake: Arc::clone(&self.app.lake),
            branch: self.base.0.clone(),
            run: RunId(0),
            run_time: self.app.system().now(),
            author: self.app.author(),
        };
        let namespace = polder_model::default_namespace(&self.app.loaded.project);
        let step = ModelStep::new(Arc::clone(model), workspace, Arc::clone(&self.app.engine), namespace);
        match step.fingerprint().await {
            Ok(fingerprint) => Ok(fingerprint),
            Err(StepError::Environment { message, .. }) => Err(AppError::Environment(message)),
            Err(_) => Ok(None),
        }
    }
}
