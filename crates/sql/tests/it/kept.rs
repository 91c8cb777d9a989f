//! Statements that were planned before give what they would give if they were planned anew.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use polder_catalog::{Change, EntryKey, MAIN};
use polder_govern::Principal;
use polder_sql::{Engine, Session, SessionOptions};

use crate::fixture::{Fixture, lines, policy};

/// A session of a person, whose time is the clock's.
async fn session(engine: &Arc<Engine>, name: &str) -> Session {
    engine.session(SessionOptions::new(Principal::user(name), MAIN)).await.unwrap()
}

async fn with(session: &Session, sql: &str, values: &[ScalarValue]) -> Vec<String> {
    let result = session.query_with(sql, values).await.unwrap_or_else(|e| panic!("{sql} {values:?}: {e}"));
    let batches: Vec<RecordBatch> = result.stream.try_collect().await.unwrap();
    let row = |batch: &RecordBatch, row| {
        let cells = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
        cells.collect::<Vec<_>>().join("|")
    };
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|n| row(batch, n))).collect()
}

fn int(value: i64) -> ScalarValue {
    ScalarValue::Int64(Some(value))
}

fn text(value: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(value.to_owned()))
}

#[tokio::test]
async fn a_commit_is_seen_by_the_next_statement() {
    let fixture = Fixture::shop().await;
    let sql = "SELECT count(*) FROM silver.orders";
    assert_eq!(lines(&session(&fixture.engine, "zoe").await, sql).await, ["4"]);
    let before = session(&fixture.engine, "zoe").await;
    let more = "SELECT 6 AS order_id, 14 AS customer_id, 'eu' AS region, 1.00 AS amount, CAST('2026-11-20' AS TIMESTAMP) AS created_at";
    fixture.append(MAIN, "silver.orders", more).await;
    assert_eq!(lines(&session(&fixture.engine, "zoe").await, sql).await, ["5"]);
    assert_eq!(lines(&before, sql).await, ["4"], "a session stays at its commit");
}

#[tokio::test]
async fn people_see_what_their_policies_let_them() {
    let fixture = Fixture::shop().await;
    for _ in 0..2 {
        for (name, sum) in [("ann", "4"), ("bob", "2"), ("zoe", "NULL")] {
            let session = session(&fixture.engine, name).await;
            assert_eq!(lines(&session, "SELECT sum(balance) FROM silver.accounts").await, [sum]);
            let expected: &[&str] = match name {
                "ann" => &["3"],
                "bob" => &["2"],
                _ => &[],
            };
            let above = "SELECT balance FROM silver.accounts WHERE balance > $1 ORDER BY 1";
            assert_eq!(with(&session, above, &[int(1)]).await, expected);
        }
        let role = SessionOptions::new(Principal::user("zoe").with_roles(["analyst"]), MAIN);
        let (plain, analyst) = (session(&fixture.engine, "zoe").await, fixture.engine.session(role).await.unwrap());
        let sql = "SELECT name FROM silver.customers ORDER BY customer_id";
        assert_eq!(lines(&plain, sql).await, ["Anna", "Bob", "Chen"]);
        assert_eq!(lines(&analyst, sql).await, ["A.", "C."]);
    }
}

/// A kept statement over a table that a policy comes to know on `main`, by another name: the statement's own commit has
/// not changed.
#[tokio::test]
async fn a_table_that_comes_under_a_policy_is_denied_at_once() {
    let fixture = Fixture::shop().await;
    let engine = fixture.governed_by(vec![polder_govern::Policy { deny: true, ..policy("silver.later", &["*"]) }]);
    fixture.branch("b").await;
    fixture.table("b", "silver.quiet", "SELECT 1 AS n").await;
    let on_branch = async || {
        engine
            .session(SessionOptions::new(Principal::user("zoe"), "b"))
            .await
            .unwrap()
            .query("SELECT n FROM silver.quiet")
            .await
    };
    assert!(on_branch().await.is_ok());
    assert_eq!(engine.kept_statements(), 1);
    let key = |name: &str| EntryKey::Relation(name.parse().unwrap());
    let catalog = fixture.lake.catalog();
    let entry = catalog.entry(&catalog.resolve("b").await.unwrap(), &key("silver.quiet")).await.unwrap().unwrap();
    fixture.commit(MAIN, vec![Change::Take { key: key("silver.later"), entry }]).await;
    let denied = on_branch().await.unwrap_err();
    assert!(matches!(denied, polder_sql::SqlError::Denied(_)), "{denied}");
}

#[tokio::test]
async fn time_goes_on() {
    let fixture = Fixture::shop().await;
    let in_policy = polder_govern::Policy {
        row_filter: Some("created_at > now() - interval '2 days'".to_owned()),
        ..policy("silver.orders", &["*"])
    };
    let engine = fixture.governed_by(vec![in_policy]);
    let asked = ["SELECT now()", "SELECT count(*) FROM silver.orders WHERE order_id > 0"];
    let mut told = Vec::new();
    for _ in 0..2 {
        let session = session(&engine, "zoe").await;
        for sql in asked {
            told.push(lines(&session, sql).await);
        }
        fixture.system.advance(Duration::from_secs(86_400));
    }
    assert_ne!(told[0], told[2], "now()");
    assert_ne!(told[1], told[3], "a row filter that asks for the time");
    assert_eq!(engine.kept_statements(), 0);
}

#[tokio::test]
async fn what_is_read_elsewhere_is_looked_up_each_time() {
    let fixture = Fixture::shop().await;
    let session = session(&fixture.engine, "zoe").await;
    let sql = "SELECT count(*) FROM silver.orders AT BRANCH pr-42";
    assert_eq!(lines(&session, sql).await, ["5"]);
    let more = "SELECT 7 AS order_id, 14 AS customer_id, 'eu' AS region, 1.00 AS amount, CAST('2026-11-20' AS TIMESTAMP) AS created_at";
    fixture.append("pr-42", "silver.orders", more).await;
    assert_eq!(lines(&session, sql).await, ["6"]);
    assert_eq!(lines(&session, "SELECT count(*) FROM system.refs").await, ["2"]);
    fixture.branch("another").await;
    assert_eq!(lines(&session, "SELECT count(*) FROM system.refs").await, ["3"]);
    assert_eq!(fixture.engine.kept_statements(), 0);
}

#[tokio::test]
async fn values_take_the_places_of_parameters() {
    let fixture = Fixture::shop().await;
    let session = session(&fixture.engine, "zoe").await;
    let compared = "SELECT amount FROM silver.orders WHERE order_id = $1";
    assert_eq!(with(&session, compared, &[int(1)]).await, ["10.10"]);
    assert_eq!(with(&session, compared, &[int(3)]).await, ["0.30"]);
    assert_eq!(with(&session, compared, &[ScalarValue::Int32(Some(4))]).await, ["5.00"]);
    assert_eq!(with(&session, compared, &[ScalarValue::Int64(None)]).await, [""; 0]);
    assert_eq!(with(&session, compared, &[text("2")]).await, ["20.20"]);
    let computed = "SELECT order_id, $2 + order_id AS more FROM silver.orders \
                    WHERE order_id BETWEEN $1 AND $1 + 1 AND created_at >= CAST($3 AS TIMESTAMP) ORDER BY 1";
    assert_eq!(with(&session, computed, &[int(2), int(10), text("2026-11-18")]).await, ["2|12", "3|13"]);
    assert_eq!(with(&session, computed, &[int(1), int(0), text("2026-11-18 11:00:00")]).await, ["2|2"]);
    let chosen = "SELECT round(amount, $1) FROM silver.orders ORDER BY order_id LIMIT $2";
    assert_eq!(with(&session, chosen, &[int(0), int(1)]).await, ["10"]);
    assert_eq!(with(&session, chosen, &[int(1), int(2)]).await, ["10.1", "20.2"]);
    let of_types = "SELECT $1 AS it, count(*) FROM silver.orders WHERE region IN ($1, $2)";
    assert_eq!(with(&session, of_types, &[text("eu"), text("us")]).await, ["eu|3"]);
    assert_eq!(with(&session, of_types, &[text("eu"), text("x")]).await, ["eu|2"]);
    let below = "SELECT customer_id FROM silver.customers c WHERE EXISTS \
                 (SELECT 1 FROM silver.orders o WHERE o.customer_id = c.customer_id AND o.order_id = $1)";
    assert_eq!(with(&session, below, &[int(1)]).await, ["10"]);
    assert_eq!(with(&session, below, &[int(4)]).await, ["12"]);
    assert_eq!(fixture.engine.kept_statements(), 5);
}

#[tokio::test]
async fn a_missing_value_is_told_each_time() {
    let fixture = Fixture::shop().await;
    let session = session(&fixture.engine, "zoe").await;
    let sql = "SELECT amount FROM silver.orders WHERE order_id = $1 OR order_id = $2";
    for _ in 0..2 {
        let error = session.query_with(sql, &[int(1)]).await.unwrap_err().to_string();
        assert!(error.contains("$2"), "{error}");
        assert_eq!(with(&session, sql, &[int(1), int(3)]).await.len(), 2);
    }
}
