//! Limits, and cancelling.

use std::time::{Duration, Instant};

use futures::StreamExt;
use polder_catalog::MAIN;
use polder_govern::Policy;
use polder_sql::{Limits, SqlError};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, options, policy, rows};

const ENDLESS: &str = "SELECT count(value % 7) FROM generate_series(1, 9000000000000)";

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_is_stopped() {
    let fixture = Fixture::empty(Vec::new()).await;
    let mut options = options("system");
    options.limits = Limits { timeout: Some(Duration::from_millis(300)), max_rows: None };
    let session = fixture.engine.session(options).await.unwrap();
    let started = Instant::now();
    let stopped = rows(&session, ENDLESS).await.unwrap_err();
    assert!(matches!(&stopped, SqlError::Limit(message) if message.contains("0.3 s")), "{stopped}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn rows_are_never_cut_off_silently() {
    let fixture = Fixture::empty(Vec::new()).await;
    let mut options = options("system");
    options.limits = Limits { timeout: None, max_rows: Some(10) };
    let session = fixture.engine.session(options).await.unwrap();
    assert_eq!(rows(&session, "SELECT * FROM generate_series(1, 10)").await.unwrap().len(), 10);
    let stopped = rows(&session, "SELECT * FROM generate_series(1, 11)").await.unwrap_err();
    assert!(matches!(stopped, SqlError::Limit(_)), "{stopped}");
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_a_limit() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    let sql = "SELECT array_agg(repeat('x', 1000)) FROM generate_series(1, 2000000)";
    let stopped = rows(&session, sql).await.unwrap_err();
    assert!(matches!(stopped, SqlError::Limit(_)), "{stopped}");
}

/// Statements with operators that would go on for hours.
const LASTING: [&str; 8] = [
    ENDLESS,
    // Pairs of which none is a result, with a condition alone and with a key that all rows share.
    "SELECT count(*) FROM {m} AS a JOIN {m} AS b ON a.value * b.value < 0",
    "SELECT count(*) FROM {m} AS a JOIN {m} AS b ON a.value % 2 = b.value % 2 AND a.value * b.value < 0",
    "SELECT count(*) FROM {m} AS a LEFT JOIN {m} AS b ON a.value < -b.value WHERE b.value IS NOT NULL",
    // Pairs that all are.
    "SELECT sum(a.value + b.value) FROM {m} AS a CROSS JOIN {m} AS b",
    "SELECT sum(a.value + b.value) FROM {m} AS a JOIN {m} AS b ON a.value % 2 = b.value % 2",
    "SELECT count(*) FROM {m} AS a WHERE EXISTS (SELECT 1 FROM {m} AS b WHERE b.value % 2 = a.value % 2 AND b.value <> a.value + 1)",
    "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i % 7 + 1 FROM n) SELECT count(*) FROM n",
];

#[tokio::test]
async fn dropping_the_stream_ends_the_statement() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    for statement in LASTING {
        let sql = statement.replace("{m}", "generate_series(1, 3000000)");
        let threads = Threads::new();
        let mut result = session.query_on(threads.0.handle(), &sql, &[]).await.unwrap();
        let begun = tokio::time::timeout(Duration::from_secs(1), result.stream.next()).await;
        assert!(begun.is_err(), "{sql} is at its end: {begun:?}");
        drop(result);
        threads.all_tasks_end(&sql).await;
    }
}

/// More of them than there are threads.
#[tokio::test]
async fn statements_that_last_let_others_have_their_turn() {
    let fixture = Fixture::empty(Vec::new()).await;
    let (session, threads) = (fixture.platform().await, Threads::new());
    let mut lasting = Vec::new();
    for statement in [LASTING[1], LASTING[2], LASTING[3], LASTING[6]] {
        let sql = statement.replace("{m}", "generate_series(1, 3000000)");
        let mut result = session.query_on(threads.0.handle(), &sql, &[]).await.unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(300), result.stream.next()).await;
        lasting.push(result);
    }
    let other = async {
        let mut result = session.query_on(threads.0.handle(), "SELECT 1", &[]).await.unwrap();
        result.stream.next().await.unwrap().unwrap()
    };
    let rows = tokio::time::timeout(Duration::from_secs(30), other).await.expect("it comes to its turn");
    assert_eq!(rows.num_rows(), 1);
    drop(lasting);
    threads.all_tasks_end("all").await;
}

/// What a policy does is planned by itself, and ends with the statement all the same.
#[tokio::test]
async fn dropping_the_stream_ends_what_a_policy_does() {
    let pairs = LASTING[1].replace("{m}", "generate_series(1, 3000000)");
    let filter = Policy { row_filter: Some(format!("n = ({pairs})")), ..policy("gold.one", &["*"]) };
    let fixture = Fixture::empty(vec![filter]).await;
    fixture.table(MAIN, "gold.one", "SELECT 1 AS n").await;
    let (session, threads) = (fixture.person("ann").await, Threads::new());
    let sql = "SELECT * FROM gold.one";
    let mut result = session.query_on(threads.0.handle(), sql, &[]).await.unwrap();
    let begun = tokio::time::timeout(Duration::from_secs(1), result.stream.next()).await;
    assert!(begun.is_err(), "it is at its end: {begun:?}");
    drop(result);
    threads.all_tasks_end(sql).await;
}

#[tokio::test]
async fn a_statement_that_takes_too_long_ends_where_it_is() {
    let fixture = Fixture::empty(Vec::new()).await;
    let mut options = options("system");
    options.limits = Limits { timeout: Some(Duration::from_millis(300)), max_rows: None };
    let session = fixture.engine.session(options).await.unwrap();
    let (sql, threads) = (LASTING[1].replace("{m}", "generate_series(1, 3000000)"), Threads::new());
    let mut result = session.query_on(threads.0.handle(), &sql, &[]).await.unwrap();
    let stopped = SqlError::from(result.stream.next().await.unwrap().unwrap_err());
    assert!(matches!(&stopped, SqlError::Limit(message) if message.contains("0.3 s")), "{stopped}");
    drop(result);
    threads.all_tasks_end(&sql).await;
}

/// A plan that a model's rows come from, as [`polder_sql::Session::execute`] gives them.
#[tokio::test]
async fn stopping_a_session_ends_what_it_executes() {
    let fixture = Fixture::empty(Vec::new()).await;
    let stop = CancellationToken::new();
    let session = fixture.platform().await.stopped_by(&stop);
    let (sql, threads) = (LASTING[1].replace("{m}", "generate_series(1, 3000000)"), Threads::new());
    let plan = session.physical(&session.plan(&sql).await.unwrap()).await.unwrap();
    let read = threads.0.spawn(async move { session.execute(&plan).unwrap().remove(0).next().await.unwrap() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    let stopped = SqlError::from(read.await.unwrap().unwrap_err());
    assert!(matches!(stopped, SqlError::Cancelled), "{stopped}");
    threads.all_tasks_end(&sql).await;
}

/// Threads that only statements use; they are left where they do not come to an end.
struct Threads(tokio::runtime::Runtime);

impl Threads {
    fn new() -> Self {
        Self(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
    }

    async fn all_tasks_end(self, sql: &str) {
        let metrics = self.0.metrics();
        for _ in 0..200 {
            if metrics.num_alive_tasks() == 0 {
                return self.0.shutdown_background();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.0.shutdown_background();
        panic!("{} tasks still run of {sql}", metrics.num_alive_tasks());
    }
}
