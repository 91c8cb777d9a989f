//! From work to steps.

use std::sync::Arc;

use polder_check::CheckStep;
use polder_lake::Workspace;
use polder_model::ModelStep;
use polder_run::Step;

use super::Conductor;
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
                Arc::new(polder_ingest::IngestStep::new(workspace, root, &source, &stream, fresh))
            }
            Work::Model(model) => Arc::new(ModelStep::new(model, workspace, engine, namespace)),
            Work::Check(set) => Arc::new(CheckStep::new(set, workspace, engine, namespace)),
        };
        Ok(on_workers(step, self.app.options.workers.as_ref()))
    }
}
