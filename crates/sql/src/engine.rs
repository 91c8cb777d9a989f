//! What all sessions of a process share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::context::SessionConfig;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::AggregateUDF;
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{AnalyzerRule, Optimizer};
use polder_catalog::{Catalog, CommitId};
use polder_diag::Span;
use polder_govern::{Policies, Policy, PolicyPlaces, Principal};
use polder_lake::Lake;

use crate::compared::ComparedTypes;
use crate::govern::{Governance, check_policies};
use crate::kept::Kept;
use crate::membership::Membership;
use crate::numbers::{CheckedNumbers, CheckedSum, DivisionPlanner, ExactMedian, RoundedAvg, WrittenCasts};
use crate::refused::Refused;
use crate::session::Core;
use crate::{Result, Session, SessionOptions, SqlError, functions, types};

/// Limits of one session.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Planning and running one statement.
    pub timeout: Option<Duration>,
    /// A statement that gives more rows is stopped with an error: rows are never cut off silently.
    pub max_rows: Option<u64>,
}

/// Makes sessions over one lake.
#[derive(Debug)]
pub struct Engine {
    lake: Arc<Lake>,
    governance: Governance,
    /// All functions that every session has, by name.
    functions: SessionState,
    /// What else is the same in every session, without the functions; each statement starts from a copy.
    state: SessionState,
    /// The same, for plans of one thread.
    narrow: SessionState,
    /// Computes what is constant, and does nothing else.
    folding: Optimizer,
    kept: Kept,
}

impl Engine {
    /// `policies` come from the server's project, never from a ref.
    ///
    /// # Errors
    /// A policy whose filter or mask is no SQL expression, or whose table is no table name.
    pub fn new(lake: Arc<Lake>, policies: Vec<Policy>) -> Result<Arc<Self>> {
        if let Some(problem) = check_policies(&policies).into_iter().next() {
            return Err(SqlError::statement(problem));
        }
        let policies = Policies::new(policies).map_err(SqlError::Statement)?;
        let functions = base_state(&lake)?;
        let state = without_functions(&functions);
        let narrow = SessionStateBuilder::new_from_existing(state.clone())
            .with_config(state.config().clone().with_target_partitions(1))
            .build();
        let folding = Optimizer::with_rules(vec![Arc::new(SimplifyExpressions::new())]);
        let governance = Governance::new(policies);
        Ok(Arc::new(Self { lake, governance, functions, state, narrow, folding, kept: Kept::new() }))
    }

    /// An engine for a project whose policies cannot be read: only the platform itself sees any table until they can.
    ///
    /// # Errors
    /// None that a project could cause.
    pub fn closed(lake: Arc<Lake>) -> Result<Arc<Self>> {
        let everything = Policy {
            table: "*".to_owned(),
            principals: vec!["*".to_owned()],
            except: Vec::new(),
            deny: true,
            row_filter: None,
            masks: BTreeMap::new(),
            span: Span::file(&"policies".into()),
            places: PolicyPlaces::default(),
        };
        Self::new(lake, vec![everything])
    }

    pub fn lake(&self) -> &Arc<Lake> {
        &self.lake
    }

    /// Opens a session at a ref. What the ref shows is fixed now: a session reads one commit.
    pub async fn session(self: &Arc<Self>, options: SessionOptions) -> Result<Session> {
        let at = self.catalog().resolve(&options.at).await?;
        self.session_at(at, options).await
    }

    /// Opens a session at a commit; `options.at` names the ref that it is shown on.
    pub async fn session_at(self: &Arc<Self>, at: CommitId, options: SessionOptions) -> Result<Session> {
        self.governance.refresh(self.catalog()).await?;
        Ok(Session::new(Core::new(Arc::clone(self), at, options)))
    }

    /// Whether some policy is for a principal: there may be rows or columns that they do not see.
    pub fn binds(&self, principal: &Principal) -> bool {
        self.governance.binds(principal)
    }

    /// How many statements need not be planned anew when they are asked again.
    pub fn kept_statements(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        self.lake.catalog()
    }

    pub(crate) fn governance(&self) -> &Governance {
        &self.governance
    }

    pub(crate) fn functions(&self) -> &SessionState {
        &self.functions
    }

    pub(crate) fn state(&self) -> &SessionState {
        &self.state
    }

    pub(crate) fn narrow(&self) -> &SessionState {
        &self.narrow
    }

    pub(crate) fn folding(&self) -> &Optimizer {
        &self.folding
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }
}

/// DataFusion's own analysis between ours: types that meet are made equal and written casts are made to round before the
/// rest is settled; numbers are checked, and lists looked through as SQL does, after.
fn analysis() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(Refused),
        Arc::new(ResolveGroupingFunction::new()),
        Arc::new(ComparedTypes),
        Arc::new(WrittenCasts::new()),
        Arc::new(TypeCoercion::new()),
        Arc::new(CheckedNumbers::new()),
        Arc::new(Membership::new()),
    ]
}

/// The same without functions, but for those that rules of the optimiser ask for by name.
fn without_functions(state: &SessionState) -> SessionState {
    let asked_for = ["first_value"].into_iter().filter_map(|name| state.aggregate_functions().get(name).cloned());
    SessionStateBuilder::new_from_existing(state.clone())
        .with_scalar_functions(Vec::new())
        .with_higher_order_functions(Vec::new())
        .with_aggregate_functions(asked_for.collect())
        .with_window_functions(Vec::new())
        .with_table_functions(HashMap::new())
        .build()
}

/// A session state with Polder's numbers, times and names.
fn base_state(lake: &Lake) -> Result<SessionState> {
    let mut config = SessionConfig::new().with_information_schema(false).with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    options.execution.time_zone = Some(types::UTC.to_owned());
    options.execution.collect_statistics = true;
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.collect_spans = true;
    options.sql_parser.enable_ident_normalization = true;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(Arc::clone(lake.runtime()))
        .with_default_features()
        .with_analyzer_rules(analysis())
        .build();
    functions::register_common(&mut state)?;
    state.register_udaf(Arc::new(AggregateUDF::new_from_impl(CheckedSum::default())))?;
    state.register_udaf(Arc::new(AggregateUDF::new_from_impl(RoundedAvg::default())))?;
    state.register_udaf(Arc::new(AggregateUDF::new_from_impl(ExactMedian::default())))?;
    state.register_expr_planner(Arc::new(DivisionPlanner::new()))?;
    Ok(state)
}
