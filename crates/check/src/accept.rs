//! Checks that somebody has overruled.

use std::collections::BTreeSet;
use std::sync::Arc;

use polder_run::{CheckFailure, Output, Retold, Step, StepReport};

/// The checks of a table, of which some do not hold the run although they fail: somebody decided so who had seen them
/// fail. `checks`: their names, as [`CheckFailure::name`] gives them.
pub fn overruled(step: Arc<dyn Step>, checks: &[String]) -> Arc<dyn Step> {
    let checks: BTreeSet<String> = checks.iter().cloned().collect();
    Arc::new(Retold::new(step, move |report| judged(report, &checks)))
}

/// The report as an equal step takes it over: on the same rows, what was decided stays decided.
fn judged(mut report: StepReport, checks: &BTreeSet<String>) -> StepReport {
    let known = |failure: &CheckFailure| failure.severity == "error" && checks.contains(&failure.name());
    report.failures.iter_mut().filter(|f| known(f)).for_each(|failure| failure.accepted = true);
    report.output = None;
    report.output = serde_json::to_value(&report).ok().map(Output);
    report
}
