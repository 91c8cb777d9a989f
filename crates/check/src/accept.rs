//! Checks that somebody has overruled.

use std::collections::BTreeSet;
use std::sync::Arc;

use polder_run::{CheckFailure, Fingerprint, Output, Step, StepContext, StepError, StepKey, StepReport};

/// The checks of a table, of which some do not hold the run although they fail: somebody decided so who had seen them
/// fail.
pub struct Overruled {
    step: Arc<dyn Step>,
    checks: BTreeSet<String>,
}

impl Overruled {
    /// `checks`: their names, as [`CheckFailure::name`] gives them.
    pub fn new(step: Arc<dyn Step>, checks: &[String]) -> Self {
        Self { step, checks: checks.iter().cloned().collect() }
    }

    /// The report as an equal step takes it over: on the same rows, what was decided stays decided.
    fn judge(&self, mut report: StepReport) -> StepReport {
        let known = |failure: &CheckFailure| failure.severity == "error" && self.checks.contains(&failure.name());
        report.failures.iter_mut().filter(|f| known(f)).for_each(|failure| failure.accepted = true);
        report.output = None;
        report.output = serde_json::to_value(&report).ok().map(Output);
        report
    }
}

#[async_trait::async_trait]
impl Step for Overruled {
    fn key(&self) -> &StepKey {
        self.step.key()
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>, StepError> {
        self.step.fingerprint().await
    }

    async fn adopt(&self, output: &Output) -> Result<Option<StepReport>, StepError> {
        self.step.adopt(output).await
    }

    async fn run(&self, cx: &StepContext) -> Result<StepReport, StepError> {
        Ok(self.judge(self.step.run(cx).await?))
    }
}
