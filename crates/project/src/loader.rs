//! From files to a project: read, parse, resolve, look up; the problems of all steps in one go.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use polder_base::{TableName, nearest};
use polder_diag::{Diagnostic, Severity, Span};

use crate::check::{ChecksYaml, PendingCheck};
use crate::common::OneOrMore;
use crate::docs::{self, Description, ModelDocsYaml, Target};
use crate::files::{Files, Kind, has_settings, is_of_policies, overlay, scan};
use crate::names::{Tables, check_plain};
use crate::pipeline::PipelineYaml;
use crate::policy::PolicyYaml;
use crate::references::{TableRef, check_policy_table};
use crate::resource::{MacroFile, Project, TableChecks};
use crate::settings::{self, PolderYaml};
use crate::source::{self, BRONZE, SourceYaml};
use crate::yaml::{At, Decode, Environment, Node, Problems, Value, parse, substitute};
use crate::{check, codes, dotenv, lock, model, pipeline, policy};

/// How to load a project.
pub struct Options<'a> {
    /// The environment whose overrides apply.
    pub environment: Option<String>,
    /// Unsaved texts by path (`models/gold/daily.sql`): they take the place of what is on the disk, or add to it.
    pub overlay: BTreeMap<String, String>,
    /// Variables for `${env:NAME}`; they win over `.env`.
    pub variables: &'a dyn Fn(&str) -> Option<String>,
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("environment", &self.environment)
            .field("overlay", &self.overlay.keys())
            .finish_non_exhaustive()
    }
}

impl Default for Options<'_> {
    /// The process's own variables, no environment, nothing unsaved.
    fn default() -> Self {
        Self { environment: None, overlay: BTreeMap::new(), variables: &|name| std::env::var(name).ok() }
    }
}

/// Loads the project folder `root`: what it declares, and all that is wrong with it, in the order of files and lines.
///
/// What is broken is missing from the project; everything else is there. A problem that follows from another is not
/// told.
pub fn load(root: &Path, options: &Options<'_>) -> (Project, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let mut files = scan(root, &mut problems);
    overlay(&mut files, &options.overlay, &mut problems);
    if !has_settings(&files) && problems.iter().all(|p| p.code != codes::NO_PROJECT) {
        let message = format!("there is no project in {}: `polder.yaml` is missing", root.display());
        problems.push(Diagnostic::error(codes::NO_PROJECT, message).hint("`polder init` makes one"));
    }
    finish(files, options, problems)
}

/// Loads a project from texts by path, as a run has stored them.
pub fn load_texts<'t>(
    texts: impl IntoIterator<Item = (&'t str, &'t str)>,
    options: &Options<'_>,
) -> (Project, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let mut files = Files::default();
    for (path, text) in texts {
        files.add(path, text, &mut problems);
    }
    overlay(&mut files, &options.overlay, &mut problems);
    finish(files, options, problems)
}

fn finish(files: Files, options: &Options<'_>, mut problems: Vec<Diagnostic>) -> (Project, Vec<Diagnostic>) {
    let variables = files.dotenv.as_deref().map(|text| dotenv::parse(text, &mut problems)).unwrap_or_default();
    let loader = Loader {
        environment: Environment::new(options.variables, variables),
        chosen: options.environment.as_deref(),
        addresses: BTreeMap::new(),
        project: Project::default(),
        problems,
        pending: Vec::new(),
    };
    loader.run(files)
}

/// Checks that wait until all tables are known.
struct Pending {
    table: TableRef,
    checks: Vec<PendingCheck>,
    span: Span,
}

struct Loader<'a> {
    environment: Environment<'a>,
    chosen: Option<&'a str>,
    /// Addresses of databases that the environment sets, by source.
    addresses: BTreeMap<String, At<String>>,
    project: Project,
    problems: Vec<Diagnostic>,
    pending: Vec<Pending>,
}

impl Loader<'_> {
    fn run(mut self, files: Files) -> (Project, Vec<Diagnostic>) {
        let of = |kind: Kind| files.texts.iter().filter(move |(_, (k, _))| *k == kind).map(|(f, (_, t))| (f, t));
        for (file, text) in of(Kind::Settings) {
            if !self.settings(file, text) {
                self.project.policies_broken = true;
                self.project.files = files.sources;
                return (self.project, self.problems);
            }
        }
        for (file, text) in of(Kind::Lock) {
            self.project.lock = lock::parse(file, text, &mut self.problems);
        }
        for (file, text) in of(Kind::Source) {
            self.source(file, text);
        }
        self.unknown_addresses();
        for (file, text) in of(Kind::Model) {
            self.model(file, text);
        }
        for file in &files.unreadable {
            self.doubt(file);
        }
        for (file, text) in of(Kind::ModelDocs) {
            self.model_docs(file, text);
        }
        for (file, text) in of(Kind::Checks) {
            self.checks(file, text);
        }
        for (file, text) in of(Kind::SqlCheck) {
            let sql_check = check::resolve_sql(file, text, &mut self.problems);
            self.project.sql_checks.extend(sql_check);
        }
        for (file, text) in of(Kind::Policies) {
            self.policies(file, text);
        }
        for (file, text) in of(Kind::Pipeline) {
            self.pipeline(file, text);
        }
        let macros = of(Kind::Macros).map(|(path, text)| MacroFile { path: Arc::clone(path), text: Arc::clone(text) });
        self.project.macros = macros.collect();
        self.look_up();
        self.project.files = files.sources;
        self.project.policies_broken |= self.problems.iter().any(breaks_policies);
        let mut problems = self.problems;
        problems.sort_by_cached_key(order);
        problems.dedup();
        (self.project, problems)
    }

    /// Parses, substitutes and decodes a file. `None`: it is empty or broken, which is told.
    fn read<T: Decode>(
        &mut self,
        file: &Arc<str>,
        text: &str,
        prepare: impl FnOnce(&mut Node, &mut Problems<'_>) -> bool,
    ) -> Option<T> {
        let mut problems = Problems::new(file, &mut self.problems);
        let mut node = match parse(text) {
            Ok(Some(node)) => node,
            Ok(None) => {
                let diagnostic = Diagnostic::warning(codes::EMPTY, format!("`{file}` is empty"));
                problems.push(diagnostic.at(Span::file(file), ""));
                return None;
            }
            Err(error) => {
                let message = format!("this is no YAML: {}", error.message);
                let span = problems.span(error.span);
                problems.push(Diagnostic::error(codes::SYNTAX, message).at(span, ""));
                return None;
            }
        };
        if !prepare(&mut node, &mut problems) {
            return None;
        }
        substitute(&mut node, text, &self.environment, &mut problems);
        T::decode(&node, &mut problems)
    }

    /// `false`: the project is too new to be read at all.
    fn settings(&mut self, file: &Arc<str>, text: &str) -> bool {
        let mut too_new = false;
        // An empty file lacks its name, as an empty mapping does.
        let text = if matches!(parse(text), Ok(None)) { "{}" } else { text };
        let raw: Option<PolderYaml> = self.read(file, text, |node, problems| {
            too_new = settings::is_too_new(node, problems);
            !too_new
        });
        if let Some(raw) = raw {
            let resolved = settings::resolve(raw, self.chosen, &mut Problems::new(file, &mut self.problems));
            self.project.name = resolved.name.unwrap_or_default();
            self.project.settings = resolved.settings;
            self.addresses = resolved.addresses;
        }
        !too_new
    }

    fn source(&mut self, file: &Arc<str>, text: &str) {
        let errors = self.errors();
        let name = source::name_of(file);
        if let Some(found) = check_plain("source", &name, &Span::file(file)) {
            self.problems.push(found.hint("a source has its file's name"));
        } else if let Some(other) = self.project.sources.iter().find(|s| s.name == *name) {
            let message = format!("source `{name}` is defined twice");
            let diagnostic = Diagnostic::error(codes::DUPLICATE, message).at(Span::file(file), "");
            self.problems.push(diagnostic.related(Span::file(&other.span.file), "first definition"));
        } else if let Some(raw) = self.read::<SourceYaml>(file, text, |_, _| true) {
            let mut problems = Problems::new(file, &mut self.problems);
            if let Some(mut source) =
                source::resolve(&name, raw, &self.addresses, &self.project.settings.s3, &mut problems)
            {
                source.streams.retain(|stream| match self.project.tables.define(&stream.table, &stream.span) {
                    Ok(()) => true,
                    Err(found) => {
                        self.problems.push(found.hint("two names that become one table: rename one of the files"));
                        false
                    }
                });
                for stream in &mut source.streams {
                    stream.locked = self.project.lock.tables.get(&stream.table).cloned().map(Arc::new);
                }
                self.project.sources.push(source);
            }
        }
        if self.errors() > errors {
            self.project.tables.doubt(TableName::new(BRONZE, &*name));
        }
    }

    fn unknown_addresses(&mut self) {
        for (name, address) in &self.addresses {
            let known = || self.project.sources.iter().map(|s| s.name.as_str());
            let doubtful = self.project.tables.is_doubtful(&TableName::new(BRONZE, &**name));
            if doubtful || known().any(|k| k == name) {
                continue;
            }
            let mut diagnostic = Diagnostic::error(codes::UNKNOWN_SOURCE, format!("no source is called `{name}`"))
                .at(address.span.clone(), "unknown name");
            if let Some(near) = nearest(name, known()) {
                diagnostic = diagnostic.hint(format!("did you mean `{near}` (sources/{near}.yaml)?"));
            }
            self.problems.push(diagnostic);
        }
    }

    fn model(&mut self, file: &Arc<str>, text: &Arc<str>) {
        let namespace = self.project.settings.default_namespace.as_deref();
        let Some(model) = model::resolve(file, text, namespace, &mut self.problems) else { return self.doubt(file) };
        match self.project.tables.define(&model.table, &model.span) {
            Ok(()) => self.project.models.push(model),
            Err(found) => {
                self.problems.push(found.hint("the first folder below `models/` and the file's name make the table"));
            }
        }
    }

    /// The tables of a file that is broken as a whole.
    fn doubt(&mut self, file: &str) {
        if file.starts_with("models/") {
            let table = model::table_of(file, self.project.settings.default_namespace.as_deref());
            self.project.tables.doubt(table);
        } else if file.starts_with("sources/") {
            self.project.tables.doubt(TableName::new(BRONZE, &*source::name_of(file)));
        }
    }

    fn model_docs(&mut self, file: &Arc<str>, text: &str) {
        let raw = self.read::<ModelDocsYaml>(file, text, |node, problems| {
            docs::drop_unused(node, problems);
            !matches!(&node.value, Value::Map(entries) if entries.is_empty())
        });
        let Some(raw) = raw else { return };
        let own = model::table_of(file, self.project.settings.default_namespace.as_deref());
        let descriptions = docs::resolve(raw, &own, &mut Problems::new(file, &mut self.problems));
        for description in descriptions {
            self.describe(description, &own.namespace);
        }
    }

    fn describe(&mut self, description: Description, namespace: &str) {
        let Project { models, tables, described, .. } = &mut self.project;
        let table = match &description.target {
            Target::Table(reference) => reference.clone(),
            Target::Model(name) => match docs::find(name, namespace, models, tables) {
                Ok(model) => {
                    if let Some(first) = described.insert(model.table.clone(), name.span.clone()) {
                        let message = format!("model `{}` is described twice", model.table);
                        let diagnostic = Diagnostic::error(codes::DUPLICATE, message).at(name.span.clone(), "second");
                        self.problems.push(diagnostic.related(first, "first"));
                        return;
                    }
                    model.description = description.description;
                    model.columns = description.columns;
                    model.tags = description.tags;
                    model.config = description.config;
                    TableRef::parse(model.table.to_string(), name.span.clone())
                }
                Err(found) => {
                    self.problems.extend(found.map(|d| *d));
                    return;
                }
            },
        };
        if !description.checks.is_empty() {
            self.pending.push(Pending { table, checks: description.checks, span: description.span });
        }
    }

    fn checks(&mut self, file: &Arc<str>, text: &str) {
        let raw: Option<OneOrMore<ChecksYaml>> = self.read(file, text, |_, _| true);
        for raw in raw.into_iter().flat_map(|r| r.0) {
            let mut problems = Problems::new(file, &mut self.problems);
            let checks = raw.checks.into_iter().filter_map(|c| check::resolve(c, &mut problems)).collect();
            let span = raw.table.span.clone();
            self.pending.push(Pending { table: TableRef::parse(raw.table.value, raw.table.span), checks, span });
        }
    }

    fn policies(&mut self, file: &Arc<str>, text: &str) {
        if matches!(parse(text), Ok(None)) {
            // Perhaps a full disk left it so: what it protected must not be shown.
            let diagnostic = Diagnostic::error(codes::EMPTY, format!("`{file}` is empty")).at(Span::file(file), "");
            self.problems.push(diagnostic.hint("remove it, if there is nothing to protect"));
            return;
        }
        let raw: Option<OneOrMore<PolicyYaml>> = self.read(file, text, |_, _| true);
        for raw in raw.into_iter().flat_map(|r| r.0) {
            let policy = policy::resolve(raw, &mut Problems::new(file, &mut self.problems));
            self.project.policies.extend(policy);
        }
    }

    fn pipeline(&mut self, file: &Arc<str>, text: &str) {
        let name = source::name_of(file);
        if let Some(found) = check_plain("pipeline", &name, &Span::file(file)) {
            self.problems.push(found.hint("a pipeline has its file's name"));
            return;
        }
        if let Some(other) = self.project.pipelines.iter().find(|p| p.name == *name) {
            let diagnostic = Diagnostic::error(codes::DUPLICATE, format!("pipeline `{name}` is defined twice"));
            let diagnostic = diagnostic.at(Span::file(file), "");
            self.problems.push(diagnostic.related(Span::file(&other.span.file), "first definition"));
            return;
        }
        if let Err(error) = parse(text)
            && let Some(problem) = pipeline::unquoted_cron(file, text, error.span)
        {
            self.problems.push(problem);
            return;
        }
        if let Some(raw) = self.read::<PipelineYaml>(file, text, |_, _| true) {
            let pipeline = pipeline::resolve(&name, raw, &mut Problems::new(file, &mut self.problems));
            self.project.pipelines.extend(pipeline);
        }
    }

    /// Looks up the tables that checks and policies name.
    fn look_up(&mut self) {
        let Self { project, problems, pending, .. } = self;
        let tables: &Tables = &project.tables;
        let mut resolve = |reference: &TableRef| match reference.resolve(tables) {
            Ok(table) => Some(table),
            Err(found) => {
                problems.extend(found.map(|d| *d));
                None
            }
        };
        for Pending { table, checks, span } in std::mem::take(pending) {
            let table = resolve(&table);
            let checks = checks.into_iter().filter_map(|c| c.ready(&mut resolve)).collect();
            project.checks.extend(table.map(|table| TableChecks { table, checks, span }));
        }
        for policy in &project.policies {
            problems.extend(check_policy_table(&policy.table, &policy.span, tables));
        }
    }

    fn errors(&self) -> usize {
        self.problems.iter().filter(|p| p.severity == Severity::Error).count()
    }
}

/// Whatever is wrong with policies, what they would hide is not known.
fn breaks_policies(problem: &Diagnostic) -> bool {
    problem.severity == Severity::Error && problem.label.as_ref().is_some_and(|label| is_of_policies(&label.span.file))
}

/// Problems of no file come first, then by file and place.
fn order(problem: &Diagnostic) -> (Option<(Arc<str>, usize)>, &'static str) {
    (problem.label.as_ref().map(|l| (Arc::clone(&l.span.file), l.span.start)), problem.code)
}
