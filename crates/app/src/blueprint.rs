//! From a project to the graph of its steps. Pure: files and the names of what exists in, graph out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polder_base::TableName;
use polder_check::CheckSet;
use polder_diag::Diagnostic;
use polder_model::{CompiledModel, Materialization, RelationKind, Strategy};
use polder_project::{Project, Source, Stream};
use polder_run::{Candidate, Graph, GraphError, Selection, SelectionError, StepKey, StepKind};
use serde_json::Value;

use crate::{AppError, Problems, app::has_errors, codes};

/// What a step will do.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Ingest(Arc<Source>, Arc<Stream>),
    Model(Arc<CompiledModel>),
    Check(Arc<CheckSet>),
}

impl Work {
    fn key(&self) -> StepKey {
        match self {
            Self::Ingest(_, stream) => StepKey::new(StepKind::Ingest, stream.table.to_string()),
            Self::Model(model) => StepKey::new(StepKind::Model, model.table.to_string()),
            Self::Check(set) => StepKey::new(StepKind::Check, &set.name),
        }
    }

    /// The table that the step writes.
    pub(crate) fn writes(&self) -> Option<&TableName> {
        match self {
            Self::Ingest(_, stream) => Some(&stream.table),
            Self::Model(model) => Some(&model.table),
            Self::Check(_) => None,
        }
    }

    /// All that the step fills: the table that it writes, and where it puts what it rejects.
    fn fills(&self) -> Vec<TableName> {
        let rejected = match self {
            Self::Ingest(_, stream) => Some(polder_ingest::quarantine_of(&stream.table)),
            Self::Model(_) | Self::Check(_) => None,
        };
        self.writes().cloned().into_iter().chain(rejected).collect()
    }
}

/// What a project is compiled against.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) vars: &'a BTreeMap<String, Value>,
    /// Tables and views at the ref that is built on.
    pub(crate) existing: &'a BTreeMap<TableName, RelationKind>,
    pub(crate) full_refresh: bool,
}

/// A project, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Blueprint {
    pub(crate) project: Arc<Project>,
    streams: Vec<(Arc<Source>, Arc<Stream>)>,
    pub(crate) models: Vec<Arc<CompiledModel>>,
    pub(crate) sets: Vec<Arc<CheckSet>>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Blueprint {
    /// Compiles models and checks. What is wrong is in the diagnostics, and missing otherwise.
    pub(crate) fn of(project: &Arc<Project>, ground: &Ground<'_>) -> Self {
        let models = polder_model::compile(&polder_model::CompileContext {
            project,
            vars: ground.vars,
            existing: ground.existing,
            full_refresh: ground.full_refresh,
        });
        let streams: Vec<(Arc<Source>, Arc<Stream>)> = project
            .sources
            .iter()
            .flat_map(|source| {
                let shared = Arc::new(source.clone());
                source.streams.iter().map(move |stream| (Arc::clone(&shared), Arc::new(stream.clone())))
            })
            .collect();
        let known: BTreeSet<TableName> = project.tables.names().cloned().collect();
        let checks = polder_check::compile(&polder_check::CompileContext {
            project,
            vars: ground.vars,
            known: &known,
            default_namespace: &polder_model::default_namespace(project),
            keys: &keys(&streams, &models.models),
        });
        let mut diagnostics = models.diagnostics;
        diagnostics.extend(checks.diagnostics);
        Self { project: Arc::clone(project), streams, models: models.models, sets: checks.sets, diagnostics }
    }

    /// The blueprint, if nothing is wrong with it.
    pub(crate) fn valid(self) -> Result<Self, AppError> {
        if has_errors(&self.diagnostics) {
            let sources = self.project.files.clone();
            return Err(AppError::Project(Box::new(Problems { diagnostics: self.diagnostics, sources })));
        }
        Ok(self)
    }

    /// What fills tables, in the order of the candidates.
    fn fillers(&self) -> Vec<Work> {
        let streams = self.streams.iter().map(|(source, stream)| Work::Ingest(Arc::clone(source), Arc::clone(stream)));
        streams.chain(self.models.iter().cloned().map(Work::Model)).collect()
    }

    /// What can be selected: what sources fill, models, and checks that go with neither: queries about no one table,
    /// and those of tables that Polder fills itself.
    fn candidates(&self) -> Vec<Candidate> {
        let fillers = self.fillers();
        let made: BTreeSet<&TableName> = fillers.iter().filter_map(Work::writes).collect();
        let filled =
            fillers.iter().enumerate().flat_map(|(place, work)| work.fills().into_iter().map(move |t| (t, place)));
        let places: BTreeMap<TableName, usize> = filled.collect();
        let parents = |tables: &mut dyn Iterator<Item = &TableName>| -> Vec<usize> {
            tables.filter_map(|t| places.get(t).copied()).collect()
        };
        let streams = self.streams.iter().map(|(source, stream)| Candidate {
            name: stream.table.to_string(),
            source: Some(source.name.clone()),
            tags: Vec::new(),
            path: stream.span.file.to_string(),
            parents: Vec::new(),
        });
        let models = self.models.iter().map(|model| Candidate {
            name: model.table.to_string(),
            source: None,
            tags: model.config.tags.clone(),
            path: model.span.file.to_string(),
            parents: parents(&mut model.reads.iter().map(|r| &r.table)),
        });
        let alone = |set: &&Arc<CheckSet>| set.table.as_ref().is_none_or(|table| !made.contains(table));
        let checks = self.sets.iter().filter(alone).map(|set| Candidate {
            name: set.name.clone(),
            source: None,
            tags: Vec::new(),
            path: set.span().map(|s| s.file.to_string()).unwrap_or_default(),
            parents: parents(&mut set.tables().iter()),
        });
        streams.chain(models).chain(checks).collect()
    }

    /// Columns that identify the rows of tables.
    pub(crate) fn keys(&self) -> BTreeMap<TableName, Vec<String>> {
        keys(&self.streams, &self.models)
    }

    /// What a selection means, by name.
    pub(crate) fn select(&self, selection: &Selection) -> Result<BTreeSet<String>, AppError> {
        let candidates = self.candidates();
        if candidates.is_empty() {
            return Ok(BTreeSet::new());
        }
        let chosen = selection.apply(&candidates).map_err(selection_error)?;
        Ok(chosen.into_iter().map(|place| candidates[place].name.clone()).collect())
    }

    /// The graph of a run: ingest and models that were chosen, and the checks of what they write or that look at it.
    pub(crate) fn run_graph(&self, chosen: &BTreeSet<String>) -> Result<Graph<Work>, AppError> {
        let mut works = self.fillers();
        works.retain(|work| chosen.contains(&work.key().resource));
        let filled: BTreeSet<TableName> = works.iter().flat_map(Work::fills).collect();
        let looks_at = |set: &CheckSet| set.tables().iter().any(|t| filled.contains(t)) || chosen.contains(&set.name);
        works.extend(self.sets.iter().filter(|s| looks_at(s)).cloned().map(Work::Check));
        wire(works).map_err(|e| AppError::Defect(e.to_string()))
    }

    /// The graph of checks alone: those of the chosen tables.
    pub(crate) fn check_graph(&self, chosen: &BTreeSet<String>) -> Result<Graph<Work>, AppError> {
        let mut graph = Graph::new();
        for set in self.sets.iter().filter(|s| chosen.contains(&s.name)) {
            let work = Work::Check(Arc::clone(set));
            graph.add(work.key(), work).map_err(|e| AppError::Defect(e.to_string()))?;
        }
        Ok(graph)
    }
}

/// Columns that identify the rows of tables, for samples of failed checks.
fn keys(streams: &[(Arc<Source>, Arc<Stream>)], models: &[Arc<CompiledModel>]) -> BTreeMap<TableName, Vec<String>> {
    let of_streams = streams.iter().map(|(_, s)| (s.table.clone(), s.key.clone()));
    let of_models = models.iter().filter_map(|m| match &m.config.materialization {
        Materialization::Incremental(Strategy::Merge { unique_key }) => Some((m.table.clone(), unique_key.clone())),
        _ => None,
    });
    of_streams.chain(of_models).filter(|(_, key)| !key.is_empty()).collect()
}

/// Puts the edges between steps: a table before what reads it, its checks after it, and, where a check can hold the
/// run, before what is made from it. What looks at the platform's own records comes after all that is written.
fn wire(works: Vec<Work>) -> Result<Graph<Work>, GraphError> {
    let mut graph = Graph::new();
    let mut fillers: BTreeMap<TableName, StepKey> = BTreeMap::new();
    for work in works {
        let key = work.key();
        fillers.extend(work.fills().into_iter().map(|table| (table, key.clone())));
        graph.add(key, work)?;
    }
    let mut edges: Vec<(StepKey, StepKey)> = Vec::new();
    let mut guards: Vec<(StepKey, StepKey)> = Vec::new();
    for (key, work) in graph.iter() {
        match work {
            Work::Ingest(..) => {}
            Work::Model(model) => {
                edges.extend(model.reads.iter().filter_map(|r| Some((fillers.get(&r.table)?.clone(), key.clone()))));
            }
            Work::Check(set) => {
                let tables = set.tables();
                let of_records = tables.iter().any(polder_sql::is_system_table);
                let before = fillers.iter().filter(|(table, _)| of_records || tables.contains(table));
                edges.extend(before.map(|(_, filler)| (filler.clone(), key.clone())));
                let table = set.table.as_ref().filter(|_| set.blocks());
                // Of a quarantine: the table that its records are missing from.
                let table = table.map(|table| fillers.get(table).and_then(|f| written(&graph, f)).unwrap_or(table));
                guards.extend(table.into_iter().flat_map(|table| readers(&graph, table, key)));
            }
        }
    }
    for (earlier, later) in edges {
        graph.edge(&earlier, &later)?;
    }
    for (check, model) in guards {
        // A check that looks at a table made from the one it checks cannot come before it.
        match graph.edge(&check, &model) {
            Ok(()) | Err(GraphError::Cycle(_)) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(graph)
}

/// The table that a step of the graph writes.
fn written<'a>(graph: &'a Graph<Work>, step: &StepKey) -> Option<&'a TableName> {
    graph.value(graph.index_of(step)?).writes()
}

/// The models that read a table, each as what must wait for `check`.
fn readers<'a>(
    graph: &'a Graph<Work>,
    table: &'a TableName,
    check: &'a StepKey,
) -> impl Iterator<Item = (StepKey, StepKey)> + 'a {
    graph.iter().filter_map(move |(key, work)| match work {
        Work::Model(model) if model.reads.iter().any(|r| r.table == *table) => Some((check.clone(), key.clone())),
        _ => None,
    })
}

pub(crate) fn selection_error(error: SelectionError) -> AppError {
    let message = error.to_string();
    let refused = AppError::refused(codes::SELECTION, message);
    match error {
        SelectionError::Nothing { nearest: Some(near), .. } => refused.hint(format!("did you mean `{near}`?")),
        SelectionError::Method { nearest: Some(near), .. } => refused.hint(format!("did you mean `{near}:`?")),
        _ => refused,
    }
}
