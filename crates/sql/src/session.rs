//! A session: principal, ref, policies.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::common::spawn_buffered;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream, execute_stream_partitioned};
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast::{Query, Statement};
use polder_base::Timestamp;
use polder_catalog::CommitId;
use polder_diag::Diagnostic;
use polder_govern::Principal;
use polder_store::S3Options;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, Tables};
use crate::kept::Key;
use crate::limit::Limited;
use crate::planned::Planned;
use crate::prepared::{Parameters, Prepared};
use crate::resolve::{Resolver, Rights};
use crate::statement::{self, Kind, Parsed};
use crate::stopping::{Wanted, stoppable};
use crate::workbench::Workbench;
use crate::{Engine, Limits, Result, SqlError, describe, summarize};

/// What a session is opened with.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    pub principal: Principal,
    /// A ref as people write it: `main`, `run/12`, `main@2026-11-20`, a commit's hash.
    pub at: String,
    /// What `run_time()`, `now()` and `current_date` are; the time of the statement unless set.
    pub run_time: Option<Timestamp>,
    /// The schema of names that have none. `gold` unless set; then `silver`, then `bronze` are tried.
    pub default_namespace: Option<String>,
    /// `FROM 'x.csv'`, and warnings that tell of all tables: for the person at the command line only.
    pub allow_files: bool,
    /// How `FROM 's3://…'` is read.
    pub s3: S3Options,
    pub limits: Limits,
}

impl SessionOptions {
    /// A session of a principal at a ref, without files and without limits.
    pub fn new(principal: Principal, at: impl Into<String>) -> Self {
        Self {
            principal,
            at: at.into(),
            run_time: None,
            default_namespace: None,
            allow_files: false,
            s3: S3Options::default(),
            limits: Limits::default(),
        }
    }

    /// A session of the platform itself, as runs and checks use it.
    pub fn system(at: impl Into<String>, run_time: Timestamp) -> Self {
        Self { run_time: Some(run_time), ..Self::new(Principal::system(), at) }
    }
}

/// Rows of a statement, as they come. Dropping the stream cancels the statement.
pub struct QueryResult {
    pub schema: SchemaRef,
    pub stream: SendableRecordBatchStream,
}

impl std::fmt::Debug for QueryResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryResult").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// What a session fixes.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) engine: Arc<Engine>,
    pub(crate) at: CommitId,
    pub(crate) options: SessionOptions,
    /// Where names without a schema are looked for, in this order.
    pub(crate) namespaces: Vec<String>,
}

/// Batches that a query is ahead of whoever reads them.
const AHEAD: usize = 2;

/// Layers in the order in which people mean them.
const LAYERS: [&str; 3] = ["gold", "silver", "bronze"];

/// Where names without a schema are looked for: in `first`, then in the layers. In a view, `first` is its own schema.
pub fn search_order(first: Option<&str>) -> Vec<String> {
    first.into_iter().chain(LAYERS.into_iter().filter(|layer| Some(*layer) != first)).map(str::to_owned).collect()
}

impl Core {
    pub(crate) fn new(engine: Arc<Engine>, at: CommitId, options: SessionOptions) -> Self {
        let namespaces = search_order(options.default_namespace.as_deref());
        Self { engine, at, options, namespaces }
    }

    /// What a statement starts from.
    fn workbench(&self) -> Workbench {
        let now = self.options.run_time.unwrap_or_else(|| self.engine.catalog().system().now());
        Workbench::new(&self.engine, &self.options.principal.name, now)
    }
}

/// The only way to run SQL. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Session {
    core: Arc<Core>,
    /// Ends what its statements are doing.
    stop: CancellationToken,
}

impl Session {
    pub(crate) fn new(core: Core) -> Self {
        Self { core: Arc::new(core), stop: CancellationToken::new() }
    }

    /// The same session, whose statements end with [`SqlError::Cancelled`] once `stop` is cancelled: also those that are
    /// in the middle of work which does not give way. Cancel it from a thread that runs no statements.
    #[must_use]
    pub fn stopped_by(&self, stop: &CancellationToken) -> Self {
        Self { core: Arc::clone(&self.core), stop: stop.clone() }
    }

    /// The commit that this session reads.
    pub fn at(&self) -> &CommitId {
        &self.core.at
    }

    pub fn options(&self) -> &SessionOptions {
        &self.core.options
    }

    /// What a statement of this session starts from.
    pub(crate) fn workbench(&self) -> Workbench {
        self.core.workbench()
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// A statement that is wrong, denied, or too much for the session's limits. Errors that come while rows flow are
    /// in the stream; [`SqlError::from`] tells what kind they are.
    pub async fn query(&self, sql: &str) -> Result<QueryResult> {
        self.query_with(sql, &[]).await
    }

    /// Runs one statement with `values` in the place of `$1`, `$2`, ….
    ///
    /// # Errors
    /// As [`Session::query`]; also values that are missing, or do not go where they stand.
    pub async fn query_with(&self, sql: &str, values: &[ScalarValue]) -> Result<QueryResult> {
        let (stop, deadline) = (self.stop_of_statement(), self.deadline());
        let wanted = Wanted::new(stop.clone());
        let rows = self.within(deadline, self.begin(sql, values, &stop)).await?;
        Ok(self.limited(wanted.stream(rows), deadline))
    }

    /// What stops one statement of this session.
    pub(crate) fn stop_of_statement(&self) -> CancellationToken {
        self.stop.child_token()
    }

    /// When a statement that begins now is stopped.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.core.options.limits.timeout.map(|timeout| Instant::now() + timeout)
    }

    pub(crate) async fn within<T>(
        &self,
        deadline: Option<Instant>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, work).await.map_err(|_| self.timed_out())?,
            None => work.await,
        }
    }

    pub(crate) fn limited(&self, stream: SendableRecordBatchStream, deadline: Option<Instant>) -> QueryResult {
        let schema = stream.schema();
        let stream = Limited::new(stream, deadline, &self.core.options.limits);
        QueryResult { schema, stream: Box::pin(stream) }
    }

    /// Plans a statement and begins to run it, without limits, until `stop` is cancelled.
    pub(crate) async fn begin(
        &self,
        sql: &str,
        values: &[ScalarValue],
        stop: &CancellationToken,
    ) -> Result<SendableRecordBatchStream> {
        let bench = self.core.workbench();
        let physical = self.planned(&bench, sql).await?.physical(&bench, values).await?;
        let physical = stoppable(physical, stop)?;
        // A task of its own: the deadline comes also while an operator works long on one batch.
        Ok(spawn_buffered(execute_stream(physical, bench.state().task_ctx())?, AHEAD))
    }

    fn timed_out(&self) -> SqlError {
        SqlError::Limit(crate::limit::timeout_message(&self.core.options.limits))
    }

    /// Plans one statement, policies applied, without running it. The plan's types are settled; it is not optimised.
    ///
    /// # Errors
    /// A statement that is wrong or denied.
    pub async fn plan(&self, sql: &str) -> Result<LogicalPlan> {
        let bench = self.core.workbench();
        self.resolved(&bench, sql).await?.0.settle(&bench, Parameters::NONE)
    }

    /// Looks at a statement before the values of its `$1`, `$2`, … are known. `types`: of the first of them, as far as
    /// the client says them.
    ///
    /// # Errors
    /// A statement that is wrong or denied.
    pub async fn prepare(&self, sql: &str, types: &[Option<DataType>]) -> Result<Prepared> {
        let bench = self.core.workbench();
        self.planned(&bench, sql).await?.prepare(&bench, types)
    }

    /// The columns that a statement gives, as Arrow fields.
    pub async fn schema(&self, sql: &str) -> Result<SchemaRef> {
        let plan = self.plan(sql).await?;
        Ok(Arc::new(Schema::clone(plan.schema().as_arrow())))
    }

    /// Optimises a logical plan and gives the physical one.
    pub async fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.core.workbench().state().create_physical_plan(plan).await?)
    }

    /// Runs a physical plan, one stream for each of its partitions. Dropping them all ends it.
    pub fn execute(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<SendableRecordBatchStream>> {
        let stop = self.stop_of_statement();
        let plan = stoppable(Arc::clone(plan), &stop)?;
        let streams = execute_stream_partitioned(plan, self.core.workbench().state().task_ctx())?;
        let wanted = Wanted::new(stop);
        // Tasks of their own: whoever reads can be stopped also while an operator works long on one batch.
        Ok(streams.into_iter().map(|rows| wanted.stream(spawn_buffered(rows, AHEAD))).collect())
    }

    /// Warnings about policies that open the session all the same: masks that hide nothing of what it shows. They tell
    /// of columns of all tables. So they are for those who may see all of them: whom no policy binds, and the person at
    /// the command line, who has the files below the tables.
    pub async fn policy_warnings(&self) -> Vec<Diagnostic> {
        let (governance, options) = (self.core.engine.governance(), &self.core.options);
        if !options.allow_files && governance.binds(&options.principal) {
            return Vec::new();
        }
        governance.idle_masks(self.core.engine.catalog(), &self.core.at).await
    }

    /// The settings of statements, for those who build physical plans of their own.
    pub fn config(&self) -> &SessionConfig {
        self.core.engine.state().config()
    }

    /// A statement with its names resolved: as it was planned before, if it was and that still holds.
    async fn planned(&self, bench: &Workbench, sql: &str) -> Result<Arc<Planned>> {
        let kept = self.core.engine.kept();
        let key = Key::of(&self.core, sql);
        if let Some(planned) = key.as_ref().and_then(|key| kept.get(key)) {
            return Ok(planned);
        }
        let (planned, same_names) = self.resolved(bench, sql).await?;
        let Some(key) = key.filter(|_| same_names && planned.lasts()) else { return Ok(Arc::new(planned)) };
        let planned = Arc::new(planned.into_kept());
        kept.put(&key, &planned);
        Ok(planned)
    }

    /// Plans a statement as far as its names go. `true`: they mean the same as long as the commit is the same.
    async fn resolved(&self, bench: &Workbench, sql: &str) -> Result<(Planned, bool)> {
        let parsed = statement::parse(sql)?;
        let rights = if self.core.options.principal.system { Rights::Definer } else { Rights::Principal };
        let resolver = Resolver::new(&self.core, bench, rights);
        let tables = resolver.tables(&parsed.relations, Some(&parsed.text)).await?;
        let Parsed { text, kind, .. } = parsed;
        let (planned, settled) = match kind {
            Kind::Query(query) => (query_plan(bench, &tables, *query), false),
            Kind::Explain(explain) => (Context::new(bench, &tables).statement(*explain), true),
            Kind::Describe(query) => {
                (query_plan(bench, &tables, *query).and_then(|plan| describe::plan(plan.schema())), true)
            }
            Kind::Summarize(query) => {
                (query_plan(bench, &tables, *query).and_then(|plan| summarize::plan(bench, plan)), true)
            }
        };
        match planned {
            Ok(plan) => Ok((Planned::new(text, plan, settled), resolver.read_one_commit())),
            Err(error) => Err(SqlError::of_planning(error, &text)),
        }
    }
}

/// Plans a query over resolved tables.
pub(crate) fn query_plan(bench: &Workbench, tables: &Tables, query: Query) -> datafusion::common::Result<LogicalPlan> {
    Context::new(bench, tables).statement(Statement::Query(Box::new(query)))
}
