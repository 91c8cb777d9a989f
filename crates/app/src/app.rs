//! A project, opened: its files, its catalog, its engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polder_base::TableName;
use polder_catalog::{Catalog, CommitId, Entry, EntryKey, MAIN, RefKind};
use polder_diag::{Diagnostic, Severity};
use polder_lake::{Lake, LakeOptions};
use polder_model::RelationKind;
use polder_project::Project;
use polder_sql::Engine;
use polder_store::{Space, SqliteState, State};
use polder_system::{RealSystem, System};
use serde_json::Value;

use crate::warehouse::Reach;
use crate::{AppError, Home, Problems, codes, machine};

/// How a project is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The folder with `polder.yaml`.
    pub project: PathBuf,
    /// The environment of `polder.yaml` to use.
    pub environment: Option<String>,
    /// Values for `var('name')`; they win over those of `polder.yaml`.
    pub vars: BTreeMap<String, Value>,
    /// Who asks; the user of the operating system unless set.
    pub principal: Option<String>,
    /// Time and chance.
    pub system: Arc<dyn System>,
    /// The threads that the steps of runs and statements work on; those of the caller unless set.
    pub workers: Option<tokio::runtime::Handle>,
}

impl OpenOptions {
    pub fn new(project: impl Into<PathBuf>) -> Self {
        Self {
            project: project.into(),
            environment: None,
            vars: BTreeMap::new(),
            principal: None,
            system: RealSystem::shared(),
            workers: None,
        }
    }
}

/// The files of a project, and what is wrong with them.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) project: Arc<Project>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    pub(crate) fn read(root: &Path, environment: Option<String>, overlay: BTreeMap<String, String>) -> Self {
        let options = polder_project::Options { environment, overlay, ..polder_project::Options::default() };
        let (mut project, mut diagnostics) = polder_project::load(root, &options);
        let policies = polder_sql::check_policies(&project.policies);
        project.policies_broken |= !policies.is_empty();
        diagnostics.extend(policies);
        Self { project: Arc::new(project), diagnostics }
    }

    /// Nothing can be done with the project: it is none, it is too new, or nobody knows where its data is.
    fn is_hopeless(&self) -> bool {
        let hopeless = [polder_project::codes::NO_PROJECT, polder_project::codes::NEWER];
        let of_settings = |d: &Diagnostic| d.label.as_ref().is_some_and(|l| *l.span.file == *polder_project::SETTINGS);
        self.diagnostics.iter().any(|d| hopeless.contains(&d.code) || d.severity == Severity::Error && of_settings(d))
    }

    /// The project, if nothing is wrong with it.
    pub(crate) fn valid(&self) -> Result<&Arc<Project>, AppError> {
        if has_errors(&self.diagnostics) {
            return Err(AppError::Project(Box::new(self.problems())));
        }
        Ok(&self.project)
    }

    pub(crate) fn problems(&self) -> Problems {
        Problems { diagnostics: self.diagnostics.clone(), sources: self.project.files.clone() }
    }
}

pub(crate) fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}

/// A project with its state, warehouse and engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct App {
    pub(crate) options: OpenOptions,
    pub(crate) home: Home,
    pub(crate) loaded: Loaded,
    pub(crate) catalog: Catalog,
    pub(crate) lake: Arc<Lake>,
    pub(crate) engine: Arc<Engine>,
}

impl App {
    /// Opens a project. Files with mistakes do not stop this: whatever needs them says so.
    ///
    /// # Errors
    /// No project there, one for a newer Polder, or mistakes in its settings, which say where its data is; state or
    /// warehouse that cannot be opened.
    pub async fn open(options: &OpenOptions) -> Result<Self, AppError> {
        Self::reaching(Reach::Tables, options).await
    }

    /// Opens a project for what its state knows: runs and what happened in them, pipelines, tokens. A warehouse in a bucket
    /// is not asked for anything then, and may be away; only a state that was lost is looked for there.
    ///
    /// # Errors
    /// As [`App::open`].
    pub async fn open_records(options: &OpenOptions) -> Result<Self, AppError> {
        Self::reaching(Reach::Records, options).await
    }

    async fn reaching(reach: Reach, options: &OpenOptions) -> Result<Self, AppError> {
        let loaded = Loaded::read(&options.project, options.environment.clone(), BTreeMap::new());
        if loaded.is_hopeless() {
            return Err(AppError::Project(Box::new(loaded.problems())));
        }
        let settings = &loaded.project.settings;
        let home = Home::open(options.project.join(settings.home.as_deref().unwrap_or(".polder")))?;
        let state: Arc<dyn State> = Arc::new(SqliteState::open(home.state()).await?);
        let is_lost = state.get(Space::Refs, MAIN).await?.is_none();
        let reach = if is_lost { Reach::Tables } else { reach };
        let warehouse = crate::warehouse::open(settings, &home, &*state, &options.system, reach).await?;
        let catalog = match reach {
            Reach::Records => Catalog::of_state(state, warehouse, Arc::clone(&options.system)),
            Reach::Tables => Catalog::open(state, warehouse, Arc::clone(&options.system)).await?,
        };
        let memory = settings.memory_limit_bytes.unwrap_or_else(machine::default_memory_limit_bytes);
        let lake_options = LakeOptions {
            memory_limit_bytes: memory,
            spill_folder: home.spill_folder()?,
            manifest_cache_bytes: (memory / 16).clamp(16 << 20, 256 << 20),
        };
        let lake = Lake::open(catalog.clone(), &lake_options)?;
        let engine = match loaded.project.policies_broken {
            true => Engine::closed(Arc::clone(&lake))?,
            false => Engine::new(Arc::clone(&lake), loaded.project.policies.clone())?,
        };
        Ok(Self { options: options.clone(), home, loaded, catalog, lake, engine })
    }

    /// The project's files, and what is wrong with them.
    pub fn problems(&self) -> Problems {
        self.loaded.problems()
    }

    /// The project as loaded; what is broken is missing from it.
    pub fn project(&self) -> &Arc<Project> {
        &self.loaded.project
    }

    pub fn home(&self) -> &Home {
        &self.home
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub fn lake(&self) -> &Arc<Lake> {
        &self.lake
    }

    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Who asks.
    pub fn principal(&self) -> String {
        self.options.principal.clone().unwrap_or_else(machine::user_name)
    }

    pub(crate) fn system(&self) -> &Arc<dyn System> {
        &self.options.system
    }

    pub(crate) fn author(&self) -> polder_catalog::Author {
        polder_catalog::Author { principal: self.principal() }
    }

    /// The ref that commands mean unless they are told one.
    ///
    /// # Errors
    /// The file that says so cannot be read.
    pub fn current_ref(&self) -> Result<String, AppError> {
        self.home.current_ref()
    }

    pub(crate) fn ref_or_current(&self, name: Option<&str>) -> Result<String, AppError> {
        name.map_or_else(|| self.current_ref(), |name| Ok(name.to_owned()))
    }

    /// What a command has to be told to mean a branch, with the space before it: nothing on the branch itself. What is
    /// proposed to be typed means what it says wherever it is typed.
    ///
    /// # Errors
    /// As [`App::current_ref`].
    pub fn naming(&self, option: &str, branch: &str) -> Result<String, AppError> {
        Ok(match self.current_ref()? == branch {
            true => String::new(),
            false => format!(" {option} {branch}"),
        })
    }

    /// A branch that can be written to, and its head.
    pub(crate) async fn target(&self, name: Option<&str>) -> Result<(String, CommitId), AppError> {
        let name = self.ref_or_current(name)?;
        match self.catalog.find_ref(&name).await? {
            Some(found) if found.kind == RefKind::Branch => Ok((name, found.commit)),
            Some(_) => {
                let message = format!("`{name}` is a tag: nothing can be published to it");
                Err(AppError::refused(codes::REFUSED, message).hint(format!("polder branch NAME --from {name}")))
            }
            None => {
                // Says what was perhaps meant, where that can be said.
                self.catalog.resolve(&name).await?;
                let message = format!("`{name}` is no branch: nothing can be published to it");
                Err(AppError::refused(codes::REFUSED, message))
            }
        }
    }

    /// Tables and views at a commit.
    pub(crate) async fn relations(&self, at: &CommitId) -> Result<BTreeMap<TableName, RelationKind>, AppError> {
        let entries = self.catalog.entries(at).await?;
        let relations = entries.into_iter().filter_map(|(key, entry)| match (key, entry) {
            (EntryKey::Relation(name), Entry::Table(_)) => Some((name, RelationKind::Table)),
            (EntryKey::Relation(name), Entry::View(_)) => Some((name, RelationKind::View)),
            _ => None,
        });
        Ok(relations.collect())
    }

    /// Values for `var('name')`.
    pub(crate) fn vars(&self, project: &Project) -> BTreeMap<String, Value> {
        let mut vars = project.settings.vars.clone();
        vars.extend(self.options.vars.clone());
        vars
    }
}
