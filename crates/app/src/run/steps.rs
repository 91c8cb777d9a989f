//! From work to steps.

use std::sync::Arc;

use polder_check::{CheckStep, overruled};
use polder_lake::Workspace;
use polder_model::ModelStep;
use polder_run::Step;

use super::Conductor;
use super::takeover::went_on;
use super::workers::on_workers;
use crate::AppError;
use crate::blueprint::Work;

impl Conductor {
    pub(super) fn step(&self, work: Work, workspace: &Workspace) -> Result<Arc<dyn Step>, AppError> {
        let namespace = polder_model::default_namespace(&self.loaded.project);
        let engine = Arc::clone(&self.app.engine);
        let workspace = workspace.clone();
        let step: Arc<dyn Step> = match work {
            Work::Ingest(source, stream) => {
                let root = &self.app.options.project;
                let fresh = self.record.full_refresh;
                let step = polder_ingest::IngestStep::new(workspace, root, &source, &stream, fresh);
                match self.record.took_over.iter().find(|t| t.table == stream.table.to_string()) {
                    Some(taken) => went_on(step, taken.run),
                    None => Arc::new(step),
                }
            }
            Work::Model(model) => Arc::new(ModelStep::new(model, workspace, engine, namespace)),
            Work::Check(set) => {
                let step: Arc<dyn Step> = Arc::new(CheckStep::new(set, workspace, engine, namespace));
                match self.record.accepted.as_ref().filter(|a| !a.checks.is_empty()) {
                    Some(accepted) => overruled(step, &accepted.checks),
                    None => step,
                }
            }
        };
        Ok(on_workers(step, self.app.options.workers.as_ref()))
    }
}
