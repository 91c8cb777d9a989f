//! What one statement is planned and run with.

use std::sync::Arc;

use chrono::DateTime;
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, WindowUDF};
use polder_base::Timestamp;

use crate::Engine;
use crate::functions::Own;

/// The state of one statement, and the functions that it may call.
///
/// They are apart. The functions have some five hundred names, and are needed by who plans a statement's text alone: a
/// state that held them would be copied with all of them for each statement, and once more to run it.
pub(crate) struct Workbench {
    state: SessionState,
    engine: Arc<Engine>,
    own: Own,
}

impl Workbench {
    /// `now`: what the statement takes for the time.
    pub(crate) fn new(engine: &Arc<Engine>, principal: &str, now: Timestamp) -> Self {
        let mut state = engine.state().clone();
        let config = Arc::clone(state.config_options());
        let props = state.execution_props_mut();
        props.mark_start_execution(config);
        props.query_execution_start_time = DateTime::from_timestamp_micros(now.micros());
        Self { state, engine: Arc::clone(engine), own: Own::new(principal, now) }
    }

    /// For analysis, optimisation and execution: it knows no function by name.
    pub(crate) fn state(&self) -> &SessionState {
        &self.state
    }

    /// The same for a plan of one thread.
    pub(crate) fn narrow(&self) -> SessionState {
        let mut state = self.engine.narrow().clone();
        *state.execution_props_mut() = self.state.execution_props().clone();
        state
    }

    /// All functions but the statement's own.
    pub(crate) fn common(&self) -> &SessionState {
        self.engine.functions()
    }

    pub(crate) fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.own.get(name).or_else(|| self.common().scalar_functions().get(name).cloned())
    }

    pub(crate) fn higher_order(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.common().higher_order_functions().get(name).cloned()
    }

    pub(crate) fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.common().aggregate_functions().get(name).cloned()
    }

    pub(crate) fn window(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.common().window_functions().get(name).cloned()
    }

    /// The names of all scalar functions, the statement's own too.
    pub(crate) fn scalar_names(&self) -> Vec<String> {
        let common = self.common().scalar_functions().keys().filter(|name| !Own::NAMES.contains(&name.as_str()));
        common.cloned().chain(Own::NAMES.map(str::to_owned)).collect()
    }

    /// Settles the types of a plan.
    pub(crate) fn analyse(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        self.state.analyzer().execute_and_check(plan, self.state.config_options(), |_, _| {})
    }

    /// Optimises a plan whose types are settled.
    pub(crate) fn optimise(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        self.state.optimizer().optimize(plan, &self.state, |_, _| {})
    }

    /// Computes what can be computed now in a plan that is optimised but for values that were not known.
    pub(crate) fn fold(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        self.engine.folding().optimize(plan, &self.state, |_, _| {})
    }
}
