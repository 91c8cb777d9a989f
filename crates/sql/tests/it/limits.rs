//! Limits, and cancelling.

use std::time::{Duration, Instant};

use futures::StreamExt;
use polder_sql::{Limits, SqlError};

use crate::fixture::{Fixture, options, rows};

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

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_stream_cancels_the_statement() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    let mut result = session.query(ENDLESS).await.unwrap();
    let _ = tokio::time::timeout(Duration::from_millis(200), result.stream.next()).await;
    drop(result);
    let metrics = tokio::runtime::Handle::current().metrics();
    for _ in 0..100 {
        if metrics.num_alive_tasks() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} tasks still run", metrics.num_alive_tasks());
}
