//! What can be said about a project from its files alone.

use std::collections::BTreeMap;
use std::path::Path;

use polder_base::TableName;
use polder_diag::Diagnostic;
use polder_project::Project;
use polder_run::Selection;
use serde::Serialize;
use serde_json::Value;

use crate::app::{Loaded, has_errors};
use crate::blueprint::{Blueprint, Ground, selection_error};
use crate::{App, AppError, Problems};

/// All that is wrong with the files of a project. Nothing is opened but the files: no state, no network.
///
/// `overlay`: unsaved texts by path, which take the place of what is on the disk.
pub fn validate(
    project: &Path,
    environment: Option<&str>,
    vars: &BTreeMap<String, Value>,
    overlay: BTreeMap<String, String>,
) -> Problems {
    let loaded = Loaded::read(project, environment.map(str::to_owned), overlay);
    let mut values = loaded.project.settings.vars.clone();
    values.extend(vars.clone());
    let ground = Ground { vars: &values, existing: &BTreeMap::new(), full_refresh: false };
    let blueprint = Blueprint::of(&loaded.project, &ground);
    let mut problems = loaded.problems();
    problems.diagnostics.extend(blueprint.diagnostics.iter().cloned());
    if !has_errors(&problems.diagnostics) {
        // Where a file is broken, what it would have made cannot be selected: that is no news.
        problems.diagnostics.extend(wrong_selections(&loaded.project, &blueprint));
    }
    let order = |d: &polder_diag::Diagnostic| d.label.as_ref().map(|l| (l.span.file.clone(), l.span.start));
    problems.diagnostics.sort_by_key(order);
    problems
}

/// What pipelines select that there is not, or in words that are no selection.
fn wrong_selections(project: &Project, blueprint: &Blueprint) -> Vec<Diagnostic> {
    let choose = |text: &String| {
        let selection = Selection::parse(std::slice::from_ref(text), &[]).map_err(selection_error)?;
        blueprint.select(&selection).map(|_| ())
    };
    let leave_out =
        |text: &String| Selection::parse(&[], std::slice::from_ref(text)).map(|_| ()).map_err(selection_error);
    let mut wrong = Vec::new();
    for pipeline in &project.pipelines {
        let chosen = pipeline.select.iter().zip(&pipeline.places.select).map(|(text, span)| (choose(text), span));
        let left_out =
            pipeline.exclude.iter().zip(&pipeline.places.exclude).map(|(text, span)| (leave_out(text), span));
        for (result, span) in chosen.chain(left_out) {
            if let Err(AppError::Refused(diagnostic)) = result {
                wrong.push(diagnostic.at(span.clone(), ""));
            }
        }
    }
    wrong
}

/// The JSON schemas of the project's files, by kind.
pub fn schemas() -> Vec<(&'static str, Value)> {
    polder_project::schemas()
}

/// A model as it runs.
#[derive(Debug, Clone, Serialize)]
pub struct CompiledSql {
    pub table: TableName,
    pub file: String,
    /// `view`, `table`, `incremental`, or `incremental, in full`: its table is not there yet.
    pub kind: &'static str,
    pub sql: String,
    /// The tables that it reads.
    pub reads: Vec<TableName>,
}

impl App {
    /// The SQL that `run` would execute for the chosen models.
    ///
    /// # Errors
    /// A project with mistakes, a selection that chooses nothing, an unknown ref.
    pub async fn compile(
        &self,
        select: &[String],
        at: Option<&str>,
        full_refresh: bool,
    ) -> Result<Vec<CompiledSql>, AppError> {
        let commit = self.catalog.resolve(&self.ref_or_current(at)?).await?;
        let blueprint = self.blueprint(&self.loaded, &commit, full_refresh).await?.valid()?;
        let chosen = blueprint.select(&Selection::parse(select, &[]).map_err(selection_error)?)?;
        let models = blueprint.models.iter().filter(|m| chosen.contains(&m.table.to_string()));
        let compiled = models.map(|model| CompiledSql {
            table: model.table.clone(),
            file: model.span.file.to_string(),
            kind: model.kind(),
            sql: model.sql().to_owned(),
            reads: model.reads.iter().map(|r| r.table.clone()).collect(),
        });
        Ok(compiled.collect())
    }
}
