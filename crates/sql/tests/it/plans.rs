//! What fingerprints are made of.

use polder_catalog::MAIN;
use polder_sql::{SessionOptions, is_volatile, normalised_plan, scanned_tables};

use crate::fixture::{Fixture, START};

#[tokio::test]
async fn a_plan_is_the_same_on_every_ref() {
    let fixture = Fixture::shop().await;
    let sql = "WITH eu AS (SELECT * FROM orders WHERE region = 'eu') \
               SELECT region, sum(amount) + 1 AS total FROM eu WHERE order_id IN (SELECT order_id FROM silver.orders) GROUP BY region";
    let main = fixture.platform().await.plan(sql).await.unwrap();
    let branch = fixture.engine.session(SessionOptions::system("pr-42", START)).await.unwrap().plan(sql).await.unwrap();
    assert_eq!(normalised_plan(&main), normalised_plan(&branch));
    assert_ne!(scanned_tables(&main), scanned_tables(&branch), "the branch has another snapshot");
    let other = fixture.platform().await.plan(&sql.replace("+ 1", "+ 2")).await.unwrap();
    assert_ne!(normalised_plan(&main), normalised_plan(&other));
}

#[tokio::test]
async fn all_values_and_subqueries_count() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    let text = async |sql: &str| normalised_plan(&session.plan(sql).await.unwrap());
    let many = |last: u32| format!("SELECT * FROM (VALUES (1), (2), (3), (4), (5), (6), (7), ({last})) AS t(x)");
    assert_ne!(text(&many(8)).await, text(&many(9)).await);
    let exists = |n: u32| format!("SELECT 1 WHERE EXISTS (SELECT 1 FROM silver.orders WHERE order_id = {n})");
    assert_ne!(text(&exists(1)).await, text(&exists(2)).await);
}

#[tokio::test]
async fn tables_below_views_and_subqueries_are_read() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    let sql = "SELECT * FROM gold.revenue WHERE region IN (SELECT region FROM silver.customers) AND EXISTS (SELECT 1 FROM daily)";
    let plan = session.plan(sql).await.unwrap();
    let names: Vec<_> = scanned_tables(&plan).into_iter().map(|table| table.name.to_string()).collect();
    assert_eq!(names, ["gold.daily", "silver.customers", "silver.orders"]);
    assert!(scanned_tables(&plan).iter().all(|table| table.snapshot_id.is_some() && !table.metadata_path.is_empty()));
    // The definition of a view is part of the plan.
    let before = normalised_plan(&plan);
    fixture
        .view(MAIN, "gold.revenue", "SELECT region, sum(amount) * 2 AS revenue FROM silver.orders GROUP BY region")
        .await;
    let after = normalised_plan(&fixture.platform().await.plan(sql).await.unwrap());
    assert_ne!(before, after);
}

#[tokio::test]
async fn what_depends_on_time_or_chance_is_volatile() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    for (sql, volatile) in [
        ("SELECT order_id FROM silver.orders", false),
        ("SELECT sum(amount) FROM gold.revenue, silver.orders", false),
        ("SELECT now()", true),
        ("SELECT CURRENT_TIMESTAMP", true),
        ("SELECT * FROM silver.orders WHERE created_at < current_date", true),
        ("SELECT * FROM silver.orders WHERE EXISTS (SELECT 1 WHERE run_time() > created_at)", true),
        ("SELECT random()", true),
        ("SELECT uuid()", true),
        ("SELECT * FROM system.refs", true),
    ] {
        assert_eq!(is_volatile(&session.plan(sql).await.unwrap()), volatile, "{sql}");
    }
}
