//! Time travel.

use polder_catalog::MAIN;
use polder_sql::SessionOptions;

use crate::fixture::{Fixture, START, error, lines, one};

#[tokio::test]
async fn a_branch_shows_what_it_has() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    assert_eq!(one(&session, "SELECT count(*) FROM silver.orders AT BRANCH 'pr-42'").await, "5");
    assert_eq!(one(&session, "SELECT count(*) FROM silver.orders AT BRANCH pr-42").await, "5");
    assert_eq!(
        one(&session, "SELECT max(a.order_id) FROM silver.orders AT BRANCH pr-42 AS a WHERE a.region = 'eu'").await,
        "5"
    );
    assert_eq!(one(&session, "SELECT max(orders.order_id) FROM silver.orders AT BRANCH pr-42").await, "5");
    assert_eq!(one(&session, "SELECT sum(revenue) FROM gold.revenue AT BRANCH pr-42").await, "135.59");
    let on_branch = fixture.engine.session(SessionOptions::system("pr-42", START)).await.unwrap();
    assert_eq!(one(&on_branch, "SELECT count(*) FROM silver.orders").await, "5");
}

#[tokio::test]
async fn one_table_joins_itself_at_two_refs() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    let added = "SELECT b.order_id FROM silver.orders AT BRANCH pr-42 AS b \
                 LEFT JOIN silver.orders AS m ON m.order_id = b.order_id WHERE m.order_id IS NULL";
    assert_eq!(lines(&session, added).await, ["5"]);
    let diff = "SELECT order_id FROM orders AT BRANCH pr-42 EXCEPT SELECT order_id FROM orders AT BRANCH main";
    assert_eq!(lines(&session, diff).await, ["5"]);
    let nested = "SELECT (SELECT count(*) FROM silver.orders AT BRANCH pr-42) - (SELECT count(*) FROM silver.orders)";
    assert_eq!(one(&session, nested).await, "1");
}

#[tokio::test]
async fn snapshots_commits_and_times() {
    let fixture = Fixture::shop().await;
    let before = fixture.lake.catalog().resolve(MAIN).await.unwrap();
    let stamp = fixture.lake.catalog().commit_object(&before).await.unwrap().at();
    fixture.append(MAIN, "silver.orders", "SELECT 6 AS order_id, 10 AS customer_id, 'eu' AS region, 1.00 AS amount, CAST('2026-11-20' AS TIMESTAMP) AS created_at").await;
    let session = fixture.platform().await;
    assert_eq!(one(&session, "SELECT count(*) FROM silver.orders").await, "5");
    let snapshot = one(&session, "SELECT snapshot_id FROM system.snapshots WHERE namespace = 'silver' AND name = 'orders' ORDER BY committed LIMIT 1").await;
    assert_eq!(one(&session, &format!("SELECT count(*) FROM silver.orders FOR VERSION AS OF {snapshot}")).await, "4");
    assert_eq!(
        one(&session, &format!("SELECT count(*) FROM silver.orders FOR VERSION AS OF '{before}' AS o")).await,
        "4"
    );
    assert_eq!(one(&session, &format!("SELECT count(*) FROM silver.orders AT COMMIT {}", before.short())).await, "4");
    assert_eq!(one(&session, &format!("SELECT count(*) FROM silver.orders FOR TIMESTAMP AS OF '{stamp}'")).await, "4");
    assert_eq!(
        one(&session, "SELECT count(*) FROM silver.orders FOR TIMESTAMP AS OF TIMESTAMP '2027-01-01 00:00:00'").await,
        "5"
    );
}

#[tokio::test]
async fn versions_that_cannot_be_are_told_with_their_place() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    let message = error(&session, "SELECT * FROM silver.orders AT BRANCH pr-4").await;
    assert!(message.contains("pr-4") && message.contains("did you mean `pr-42`?"), "{message}");
    for (sql, part) in [
        ("SELECT * FROM silver.orders AS o AT BRANCH main", "right after the table's name"),
        ("SELECT order_id AT BRANCH main FROM silver.orders", "belongs to no table"),
        ("SELECT * FROM silver.orders FOR VERSION AS OF 12", "has no snapshot 12"),
        ("SELECT * FROM silver.orders FOR VERSION AS OF now()", "expected the id of a snapshot"),
        ("SELECT * FROM silver.orders FOR TIMESTAMP AS OF 'tomorrow'", "expected a time"),
        ("SELECT * FROM silver.orders FOR TIMESTAMP AS OF '1999-01-01'", "no history before"),
        ("SELECT * FROM gold.revenue FOR VERSION AS OF 12", "views have no snapshots"),
        ("SELECT * FROM system.runs AT BRANCH main", "no versions"),
        ("SELECT * FROM silver.orders VERSION AS OF 3", ""),
        ("SELECT * FROM silver.orders AT BRANCH", "expected the name of a branch"),
    ] {
        let message = error(&session, sql).await;
        assert!(message.contains(part), "{sql}: {message}");
    }
}

#[tokio::test]
async fn a_session_reads_one_commit() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    fixture.append(MAIN, "silver.orders", "SELECT 6 AS order_id, 10 AS customer_id, 'eu' AS region, 1.00 AS amount, CAST('2026-11-20' AS TIMESTAMP) AS created_at").await;
    assert_eq!(one(&session, "SELECT count(*) FROM silver.orders").await, "4");
    assert_eq!(one(&fixture.platform().await, "SELECT count(*) FROM silver.orders").await, "5");
}
