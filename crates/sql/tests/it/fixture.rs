//! A small lake, made through the crates that make lakes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use polder_base::{RunId, TableName, Timestamp};
use polder_catalog::{Author, Catalog, Change, CommitId, MAIN};
use polder_diag::Span;
use polder_govern::{Mask, Policy, PolicyPlaces, Principal};
use polder_lake::{Lake, LakeOptions, Workspace, from_arrow};
use polder_sql::{Engine, Session, SessionOptions, SqlError};
use polder_store::{MemoryState, MemoryStorage, Warehouse};
use polder_system::{SimulatedSystem, System};
use polder_table::Operation;
use polder_table::spec::{PartitionSpec, UnboundPartitionSpec};
use tokio_util::sync::CancellationToken;

/// 2026-11-20T06:00:00Z: when the lake was made. Each later commit is a minute after the one before.
pub const START: Timestamp = Timestamp(1_795_154_400_000_000);

pub struct Fixture {
    pub lake: Arc<Lake>,
    pub engine: Arc<Engine>,
    pub system: Arc<SimulatedSystem>,
    /// Removed with the lake.
    _spill: tempfile::TempDir,
}

impl Fixture {
    /// An empty lake.
    pub async fn empty(policies: Vec<Policy>) -> Self {
        let system = Arc::new(SimulatedSystem::new(7, START));
        let shared: Arc<dyn System> = Arc::<SimulatedSystem>::clone(&system);
        let storage = Arc::new(MemoryStorage::new(Arc::clone(&shared)));
        let warehouse = Warehouse::new(storage, "memory:///warehouse");
        let catalog = Catalog::open(Arc::new(MemoryState::new()), warehouse, shared).await.unwrap();
        let spill = tempfile::tempdir().unwrap();
        let options = LakeOptions {
            memory_limit_bytes: 256 << 20,
            spill_folder: spill.path().to_owned(),
            manifest_cache_bytes: 16 << 20,
        };
        let lake = Lake::open(catalog, &options).unwrap();
        let engine = Engine::new(Arc::clone(&lake), policies).unwrap();
        Self { lake, engine, system, _spill: spill }
    }

    /// The shop: see `shop` below for its tables.
    pub async fn shop() -> Self {
        let fixture = Self::empty(policies()).await;
        fixture.fill().await;
        fixture
    }

    /// The same lake under other policies.
    pub fn governed_by(&self, policies: Vec<Policy>) -> Arc<Engine> {
        Engine::new(Arc::clone(&self.lake), policies).unwrap()
    }

    async fn fill(&self) {
        self.table(
            MAIN,
            "bronze.shop_orders",
            "SELECT CAST(column1 AS BIGINT) AS order_id, CAST(column2 AS VARCHAR) AS status FROM VALUES (1, 'new'), (2, 'paid')",
        )
        .await;
        self.table(
            MAIN,
            "silver.orders",
            "SELECT column1 AS order_id, column2 AS customer_id, column3 AS region, CAST(column4 AS DECIMAL(12,2)) AS amount, \
             CAST(column5 AS TIMESTAMP) AS created_at FROM (VALUES \
             (1, 10, 'eu', 10.10, '2026-11-18 10:00:00'), (2, 11, 'us', 20.20, '2026-11-18 11:00:00'), \
             (3, 10, 'eu', 0.30, '2026-11-19 12:30:00'), (4, 12, NULL, 5.00, '2026-11-19 13:00:00'))",
        )
        .await;
        self.table(
            MAIN,
            "silver.customers",
            "SELECT column1 AS customer_id, column2 AS name, column3 AS email, column4 AS phone, column5 AS region, \
             column6 AS salary FROM (VALUES \
             (10, 'Anna', 'anna@example.org', '0301234567', 'eu', 100), \
             (11, 'Bob', 'bob@example.com', '555-0199', 'us', 200), \
             (12, 'Chen', 'chen@example.net', '4711', 'eu', 300))",
        )
        .await;
        self.table(MAIN, "silver.payroll", "SELECT 'Anna' AS name, 1000 AS pay").await;
        self.table(
            MAIN,
            "silver.accounts",
            "SELECT column1 AS owner, column2 AS balance FROM (VALUES ('ann', 1), ('bob', 2), ('ann', 3))",
        )
        .await;
        self.table(MAIN, "finance.eu.ledger", "SELECT 1 AS entry").await;
        self.view(MAIN, "gold.revenue", "SELECT region, sum(amount) AS revenue FROM silver.orders GROUP BY region")
            .await;
        self.view(MAIN, "gold.contacts", "SELECT name, email, region, salary FROM silver.customers").await;
        self.table(
            MAIN,
            "gold.daily",
            "SELECT CAST(created_at AS DATE) AS day, sum(amount) AS revenue FROM silver.orders GROUP BY ALL",
        )
        .await;
        self.branch("pr-42").await;
        self.append("pr-42", "silver.orders", "SELECT 5 AS order_id, 13 AS customer_id, 'eu' AS region, 99.99 AS amount, CAST('2026-11-20' AS TIMESTAMP) AS created_at")
            .await;
    }

    pub fn workspace(&self, branch: &str) -> Workspace {
        Workspace {
            lake: Arc::clone(&self.lake),
            branch: branch.to_owned(),
            run: RunId(1),
            run_time: START,
            author: Author { principal: "tests".to_owned() },
        }
    }

    pub async fn branch(&self, name: &str) {
        let head = self.lake.catalog().resolve(MAIN).await.unwrap();
        self.lake.catalog().create_branch(name, &head, None).await.unwrap();
    }

    async fn rows(
        &self,
        branch: &str,
        sql: &str,
    ) -> (Session, Vec<datafusion::physical_plan::SendableRecordBatchStream>) {
        let session = self.engine.session(SessionOptions::system(branch, START)).await.unwrap();
        let plan = session.plan(sql).await.unwrap();
        let physical = session.physical(&plan).await.unwrap();
        let streams = session.execute(&physical).unwrap();
        (session, streams)
    }

    /// Makes a table from a query.
    pub async fn table(&self, branch: &str, name: &str, sql: &str) -> CommitId {
        let name: TableName = name.parse().unwrap();
        let (_, streams) = self.rows(branch, sql).await;
        let workspace = self.workspace(branch);
        let schema = from_arrow(&streams[0].schema()).unwrap();
        let folder = workspace.new_folder(&name);
        let target = workspace.new_target(&folder, schema.clone(), PartitionSpec::unpartition_spec());
        let written = self.lake.write(&target, streams, &CancellationToken::new(), &|_, _| {}).await.unwrap();
        let operation = Operation::Create {
            folder,
            schema,
            partition: UnboundPartitionSpec::builder().build(),
            sort: None,
            properties: BTreeMap::new(),
            files: written.files,
        };
        self.commit(branch, vec![Change::Table { table: name, operations: vec![operation], read: None }]).await
    }

    /// Adds the rows of a query to a table.
    pub async fn append(&self, branch: &str, name: &str, sql: &str) -> CommitId {
        let name: TableName = name.parse().unwrap();
        let (_, streams) = self.rows(branch, sql).await;
        let workspace = self.workspace(branch);
        let table = workspace.table(&name).await.unwrap().unwrap();
        let target = workspace.target(&table);
        let written = self.lake.write(&target, streams, &CancellationToken::new(), &|_, _| {}).await.unwrap();
        let operation = Operation::Append { files: written.files };
        self.commit(branch, vec![Change::Table { table: name, operations: vec![operation], read: None }]).await
    }

    pub async fn view(&self, branch: &str, name: &str, sql: &str) -> CommitId {
        let session = self.engine.session(SessionOptions::system(branch, START)).await.unwrap();
        let schema = from_arrow(&session.schema(sql).await.unwrap()).unwrap();
        let view =
            Change::View { table: name.parse().unwrap(), sql: sql.to_owned(), schema: schema.into(), comment: None };
        self.commit(branch, vec![view]).await
    }

    pub async fn commit(&self, branch: &str, changes: Vec<Change>) -> CommitId {
        let commit = self.workspace(branch).commit("made by a test", changes).await.unwrap();
        self.system.advance(Duration::from_secs(60));
        commit
    }

    /// A session of the platform on `main`.
    pub async fn platform(&self) -> Session {
        self.engine.session(SessionOptions::system(MAIN, START)).await.unwrap()
    }

    /// A session of a person on `main`.
    pub async fn person(&self, name: &str) -> Session {
        self.engine.session(options(name)).await.unwrap()
    }
}

/// People of the shop: `ann` is an analyst, `hr` sees the payroll.
pub fn options(name: &str) -> SessionOptions {
    let principal = match name {
        "system" => Principal::system(),
        "ann" | "bob" => Principal::user(name).with_roles(["analyst"]),
        _ => Principal::user(name),
    };
    SessionOptions { run_time: Some(START), ..SessionOptions::new(principal, MAIN) }
}

pub fn policy(table: &str, principals: &[&str]) -> Policy {
    let file: Arc<str> = "policies/shop.yaml".into();
    Policy {
        table: table.to_owned(),
        principals: principals.iter().map(|p| (*p).to_owned()).collect(),
        except: Vec::new(),
        deny: false,
        row_filter: None,
        masks: BTreeMap::new(),
        span: Span::file(&file),
        places: PolicyPlaces::default(),
    }
}

/// What the shop lets people see.
pub fn policies() -> Vec<Policy> {
    let masks = [
        ("email", Mask::Hash),
        ("phone", Mask::Partial),
        ("salary", Mask::Null),
        ("name", Mask::Expression("left(name, 1) || '.'".to_owned())),
    ];
    vec![
        Policy {
            row_filter: Some("region = 'eu'".to_owned()),
            masks: masks.into_iter().map(|(column, mask)| (column.to_owned(), mask)).collect(),
            ..policy("silver.customers", &["analyst"])
        },
        Policy { deny: true, except: vec!["hr".to_owned()], ..policy("silver.payroll", &["*"]) },
        Policy { row_filter: Some("owner = current_user()".to_owned()), ..policy("silver.accounts", &["*"]) },
    ]
}

/// Runs a statement to its end; rows as text, NULL as `NULL`.
pub async fn rows(session: &Session, sql: &str) -> Result<Vec<Vec<String>>, SqlError> {
    let result = session.query(sql).await?;
    let batches: Vec<RecordBatch> = result.stream.try_collect().await?;
    let options = FormatOptions::new().with_null("NULL");
    let mut rows = Vec::new();
    for batch in &batches {
        let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect()));
    }
    Ok(rows)
}

/// One line for each row, columns apart by a bar.
pub async fn lines(session: &Session, sql: &str) -> Vec<String> {
    match rows(session, sql).await {
        Ok(rows) => rows.into_iter().map(|row| row.join("|")).collect(),
        Err(error) => panic!("{sql}: {error}"),
    }
}

pub async fn one(session: &Session, sql: &str) -> String {
    lines(session, sql).await.join("\n")
}

/// The error of a statement, with all that a person would read.
pub async fn error(session: &Session, sql: &str) -> String {
    match rows(session, sql).await {
        Ok(rows) => panic!("{sql} gave {rows:?}"),
        Err(SqlError::Statement(problem)) => {
            let place = problem.label.as_ref().map(|label| &sql[label.span.start..label.span.end]).unwrap_or_default();
            format!("{problem} [{place}] {}", problem.hints.join("; "))
        }
        Err(error) => error.to_string(),
    }
}
