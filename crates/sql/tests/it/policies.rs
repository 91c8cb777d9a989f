//! Policies: what a principal may not see does not come out, whatever the statement is.

use polder_catalog::{Change, EntryKey, MAIN};
use polder_govern::{Mask, Policy};
use polder_sql::{Engine, SqlError};

use crate::fixture::{Fixture, error, lines, one, options, policy, rows};

/// What `ann` must never read: the hidden row, and hidden values of visible rows.
const SECRETS: [&str; 9] =
    ["Bob", "bob@example", "555-0199", "anna@example", "chen@example", "0301234567", "4711", "Anna", "Chen"];

#[tokio::test]
async fn rows_are_filtered_and_columns_are_masked() {
    let fixture = Fixture::shop().await;
    let ann = fixture.person("ann").await;
    let hash = |text: &str| format!("SELECT encode(sha256('{text}'), 'hex')");
    let platform = fixture.platform().await;
    let (anna, chen) =
        (one(&platform, &hash("anna@example.org")).await, one(&platform, &hash("chen@example.net")).await);
    assert_eq!(
        lines(&ann, "SELECT * FROM silver.customers ORDER BY customer_id").await,
        [format!("10|A.|{anna}|******4567|eu|NULL"), format!("12|C.|{chen}|****|eu|NULL")]
    );
    assert_eq!(lines(&platform, "SELECT count(*), sum(salary) FROM silver.customers").await, ["3|600"]);
    // Nobody's policy: a person without the role sees all.
    assert_eq!(one(&fixture.person("zoe").await, "SELECT count(*) FROM silver.customers").await, "3");
}

/// Every way to ask that we know of. None may tell a secret, in its rows or in its error.
#[tokio::test]
async fn no_statement_tells_what_is_hidden() {
    let fixture = Fixture::shop().await;
    let ann = fixture.person("ann").await;
    let statements = [
        "SELECT * FROM silver.customers",
        "SELECT * FROM silver.customers AT BRANCH pr-42",
        "SELECT * FROM silver.customers FOR TIMESTAMP AS OF '2027-01-01'",
        "TABLE silver.customers",
        "SELECT * FROM (SELECT * FROM silver.customers) AS c",
        "WITH c AS (SELECT * FROM silver.customers) SELECT * FROM c",
        "SELECT (SELECT string_agg(name || email || phone, ',') FROM silver.customers)",
        "SELECT * FROM silver.orders o JOIN silver.customers c ON o.customer_id = c.customer_id",
        "SELECT * FROM silver.orders o FULL JOIN silver.customers c ON o.customer_id = c.customer_id",
        "SELECT c.* FROM silver.orders o, LATERAL (SELECT * FROM silver.customers c WHERE c.customer_id = o.customer_id) AS c",
        "SELECT * FROM silver.customers UNION ALL SELECT * FROM silver.customers",
        "SELECT * FROM silver.customers ORDER BY salary DESC LIMIT 1",
        "SELECT min(name), max(name), min(email), max(phone) FROM silver.customers",
        "SELECT first_value(name) OVER (ORDER BY salary DESC), lead(name) OVER (ORDER BY customer_id) FROM silver.customers",
        "SELECT * FROM silver.customers WHERE email LIKE 'bob%' OR name = 'Bob' OR region = 'us'",
        "SELECT * FROM silver.customers WHERE CAST(name AS BIGINT) = 1",
        "SELECT CAST(phone AS BIGINT) FROM silver.customers",
        "SELECT CAST(email AS BIGINT) FROM silver.customers",
        "SELECT arrow_cast(name, 'Int64') FROM silver.customers",
        "SELECT 1 / (salary - 200) FROM silver.customers",
        "SELECT * FROM silver.customers WHERE 1 / (customer_id - 11) = 0",
        "SELECT * FROM silver.customers WHERE CAST(name || region AS INT) > 0 AND region = 'us'",
        "SUMMARIZE silver.customers",
        "SUMMARIZE SELECT name, email, phone FROM silver.customers",
        "DESCRIBE silver.customers",
        "EXPLAIN SELECT * FROM silver.customers WHERE name = 'x'",
        "EXPLAIN VERBOSE SELECT * FROM silver.customers WHERE customer_id > 1",
        "EXPLAIN ANALYZE SELECT * FROM silver.customers WHERE customer_id > 1",
        "EXPLAIN ANALYZE VERBOSE SELECT * FROM silver.customers ORDER BY customer_id LIMIT 1",
        "SELECT * FROM system.files",
        "SELECT * FROM system.snapshots",
        "SELECT * FROM system.columns",
        "SELECT * FROM information_schema.columns",
    ];
    for sql in statements {
        let told = match rows(&ann, sql).await {
            Ok(rows) => format!("{rows:?}"),
            Err(error) => error.to_string(),
        };
        for secret in SECRETS {
            assert!(!told.contains(secret), "{sql} tells {secret}: {told}");
        }
    }
}

#[tokio::test]
async fn a_predicate_that_fails_on_hidden_rows_tells_nothing() {
    let fixture = Fixture::shop().await;
    let ann = fixture.person("ann").await;
    // 11 is hidden: dividing by it less 11 fails if the predicate ever sees it.
    assert_eq!(one(&ann, "SELECT count(*) FROM silver.customers WHERE 1 / (customer_id - 11) > -5").await, "2");
    // Nor by the way of a join, a subquery, a sort or a function.
    assert_eq!(
        one(
            &ann,
            "SELECT count(*) FROM silver.orders o JOIN silver.customers c \
             ON o.customer_id = c.customer_id AND 1 / (c.customer_id - 11) > -5"
        )
        .await,
        "3"
    );
    assert_eq!(
        one(&ann, "SELECT count(*) FROM silver.orders WHERE customer_id IN (SELECT customer_id FROM silver.customers WHERE 10 / (customer_id - 11) > -50)").await,
        "3"
    );
    assert_eq!(lines(&ann, "SELECT customer_id FROM silver.customers ORDER BY 1 / (customer_id - 11)").await.len(), 2);
    // A masked value is what the predicate sees.
    assert_eq!(one(&ann, "SELECT count(*) FROM silver.customers WHERE salary > 0").await, "0");
    assert_eq!(one(&ann, "SELECT count(*) FROM silver.customers WHERE name = 'A.'").await, "1");
    assert_eq!(one(&ann, "SELECT count(*) FROM silver.customers WHERE name = 'Anna'").await, "0");
    assert_eq!(one(&ann, "SELECT count(*) FROM silver.customers WHERE email LIKE 'anna%'").await, "0");
}

#[tokio::test]
async fn counts_are_of_visible_rows() {
    let fixture = Fixture::shop().await;
    let ann = fixture.person("ann").await;
    for sql in [
        "SELECT count(*) FROM silver.customers",
        "SELECT count(1) FROM silver.customers WHERE customer_id < 100",
        "SELECT count(*) FROM (SELECT * FROM silver.customers LIMIT 10)",
        "SELECT count(*) FROM silver.customers AT BRANCH pr-42",
        "SELECT count(DISTINCT region) + 1 FROM silver.customers",
    ] {
        assert_eq!(one(&ann, sql).await, "2", "{sql}");
    }
    assert_eq!(one(&ann, "SELECT min(customer_id), max(customer_id) FROM silver.customers").await, "10|12");
    assert_eq!(one(&ann, "SELECT customer_id FROM silver.customers ORDER BY customer_id DESC LIMIT 1").await, "12");
    assert_eq!(one(&ann, "SELECT customer_id FROM silver.customers WHERE customer_id = 11 LIMIT 1").await, "");
    assert_eq!(lines(&ann, "SELECT customer_id FROM silver.customers LIMIT 1").await.len(), 1);
}

#[tokio::test]
async fn harmless_predicates_go_below_and_explain_ends_there() {
    let fixture = Fixture::shop().await;
    let ann = fixture.person("ann").await;
    let plan = lines(&ann, "EXPLAIN SELECT name FROM silver.customers WHERE customer_id > 11 AND name <> 'x'")
        .await
        .join("\n");
    assert!(plan.contains("full_filters=[silver.customers.customer_id > Int64(11)]"), "{plan}");
    assert!(plan.contains("GovernedScan: silver.customers"), "{plan}");
    for below in ["region", "DataSource", "Parquet", "left(", "\"eu\"", "polder://"] {
        assert!(!plan.contains(below), "{below} in {plan}");
    }
    let analysed = lines(&ann, "EXPLAIN ANALYZE SELECT count(*) FROM silver.customers").await.join("\n");
    assert!(!analysed.contains("Parquet") && !analysed.contains("=3"), "{analysed}");
    let open = lines(&fixture.platform().await, "EXPLAIN SELECT name FROM silver.customers").await.join("\n");
    assert!(open.contains("DataSource") && !open.contains("GovernedScan"), "{open}");
}

#[tokio::test]
async fn a_view_has_its_definers_rights_and_is_a_barrier() {
    let fixture = Fixture::shop().await;
    let ann = fixture.person("ann").await;
    // The view shows what its definer meant to show.
    assert_eq!(one(&ann, "SELECT count(*) FROM gold.contacts").await, "3");
    // But nobody looks below it.
    let plan = lines(&ann, "EXPLAIN SELECT * FROM gold.contacts WHERE 1 / (salary - 100) = 0").await.join("\n");
    assert!(plan.contains("GovernedScan: gold.contacts") && !plan.contains("silver.customers"), "{plan}");
    // A policy on the view itself holds for it.
    let engine = fixture
        .governed_by(vec![Policy { row_filter: Some("region = 'us'".to_owned()), ..policy("gold.contacts", &["*"]) }]);
    let bob = engine.session(options("bob")).await.unwrap();
    assert_eq!(lines(&bob, "SELECT name FROM gold.contacts").await, ["Bob"]);
}

#[tokio::test]
async fn a_denied_table_is_not_there() {
    let fixture = Fixture::shop().await;
    let ann = fixture.person("ann").await;
    for sql in [
        "SELECT * FROM silver.payroll",
        "SELECT count(*) FROM payroll",
        "SELECT * FROM silver.payroll AT BRANCH pr-42",
        "SELECT 1 FROM silver.orders WHERE EXISTS (SELECT 1 FROM silver.payroll)",
        "DESCRIBE silver.payroll",
        "SUMMARIZE silver.payroll",
        "EXPLAIN SELECT * FROM silver.payroll",
    ] {
        let denied = rows(&ann, sql).await.unwrap_err();
        assert!(matches!(&denied, SqlError::Denied(message) if message.contains("silver.payroll")), "{sql}: {denied}");
    }
    for sql in [
        "SELECT count(*) FROM system.tables WHERE name = 'payroll'",
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'payroll'",
    ] {
        assert_eq!(one(&ann, sql).await, "0");
    }
    assert!(!error(&ann, "SELECT * FROM silver.payrol").await.contains("payroll"));
    assert_eq!(one(&fixture.person("hr").await, "SELECT pay FROM silver.payroll").await, "1000");
}

#[tokio::test]
async fn the_filter_knows_who_asks() {
    let fixture = Fixture::shop().await;
    assert_eq!(
        one(&fixture.person("ann").await, "SELECT sum(balance), current_user() FROM silver.accounts").await,
        "4|ann"
    );
    assert_eq!(one(&fixture.person("bob").await, "SELECT sum(balance) FROM silver.accounts").await, "2");
    assert_eq!(one(&fixture.person("eve").await, "SELECT count(*) FROM silver.accounts").await, "0");
    // Nobody becomes somebody else by a function of the same name.
    assert_eq!(
        one(&fixture.person("bob").await, "SELECT count(*) FROM silver.accounts WHERE owner = 'ann'").await,
        "0"
    );
}

#[tokio::test]
async fn a_filter_may_ask_other_tables() {
    let fixture = Fixture::shop().await;
    let filter = "customer_id IN (SELECT customer_id FROM silver.customers WHERE salary < 250)";
    let engine = fixture.governed_by(vec![
        Policy { row_filter: Some(filter.to_owned()), ..policy("silver.orders", &["*"]) },
        Policy { deny: true, ..policy("silver.customers", &["*"]) },
    ]);
    let ann = engine.session(options("ann")).await.unwrap();
    assert_eq!(lines(&ann, "SELECT order_id FROM silver.orders ORDER BY order_id").await, ["1", "2", "3"]);
    assert!(rows(&ann, "SELECT * FROM silver.customers").await.is_err());
}

#[tokio::test]
async fn a_policy_that_cannot_be_applied_shows_nothing() {
    let fixture = Fixture::shop().await;
    for filter in ["no_such_column = 1", "region", "region = (SELECT nothing FROM nowhere)"] {
        let engine = fixture
            .governed_by(vec![Policy { row_filter: Some(filter.to_owned()), ..policy("silver.orders", &["*"]) }]);
        let ann = engine.session(options("ann")).await.unwrap();
        let denied = rows(&ann, "SELECT * FROM silver.orders").await.unwrap_err();
        assert!(matches!(denied, SqlError::Denied(_)), "{filter}: {denied}");
    }
    let broken = Engine::new(
        std::sync::Arc::clone(&fixture.lake),
        vec![Policy { row_filter: Some("region = = 1".to_owned()), ..policy("silver.orders", &["*"]) }],
    );
    assert!(broken.unwrap_err().to_string().contains("is no SQL expression"));
}

#[tokio::test]
async fn an_error_below_the_barrier_quotes_no_value() {
    let fixture = Fixture::shop().await;
    let engine = fixture.governed_by(vec![Policy {
        masks: [("name".to_owned(), Mask::Expression("CAST(CAST(email AS BIGINT) AS VARCHAR)".to_owned()))].into(),
        ..policy("silver.customers", &["*"])
    }]);
    let ann = engine.session(options("ann")).await.unwrap();
    let message = rows(&ann, "SELECT name FROM silver.customers").await.unwrap_err().to_string();
    assert!(message.contains("below its policy") && !message.contains('@'), "{message}");
}

#[tokio::test]
async fn a_table_under_another_name_stays_governed() {
    let fixture = Fixture::shop().await;
    // The policies are bound when a session sees the table under its name.
    fixture.person("ann").await;
    let key = |name: &str| EntryKey::Relation(name.parse().unwrap());
    let head = fixture.lake.catalog().resolve(MAIN).await.unwrap();
    let entry = fixture.lake.catalog().entry(&head, &key("silver.customers")).await.unwrap().unwrap();
    let take = Change::Take { key: key("gold.people"), entry };
    fixture.commit(MAIN, vec![take, Change::Drop { key: key("silver.customers") }]).await;
    let ann = fixture.person("ann").await;
    assert_eq!(one(&ann, "SELECT count(*) FROM gold.people").await, "2");
    // A process that starts later knows it too.
    let engine = fixture.governed_by(crate::fixture::policies());
    let later = engine.session(options("ann")).await.unwrap();
    assert_eq!(one(&later, "SELECT count(*) FROM gold.people").await, "2");
}

#[tokio::test]
async fn system_tables_hide_counts_and_bounds() {
    let fixture = Fixture::shop().await;
    let (ann, platform) = (fixture.person("ann").await, fixture.platform().await);
    let counts = "SELECT rows, bytes, files FROM system.tables WHERE namespace = 'silver' AND name = 'customers'";
    assert_eq!(one(&ann, counts).await, "NULL|NULL|NULL");
    assert!(one(&platform, counts).await.starts_with("3|"));
    let files = "SELECT count(*) FROM system.files WHERE name = 'customers'";
    assert_eq!((one(&ann, files).await, one(&platform, files).await), ("0".to_owned(), "1".to_owned()));
    let added = "SELECT added_rows, total_rows FROM system.snapshots WHERE name = 'customers'";
    assert_eq!((one(&ann, added).await, one(&platform, added).await), ("NULL|NULL".to_owned(), "3|3".to_owned()));
    let commits = "SELECT added_rows FROM system.commits WHERE changed LIKE '%silver.customers%'";
    assert_eq!(one(&ann, commits).await, "NULL");
    assert_eq!(
        lines(&ann, "SELECT column_name FROM system.columns WHERE name = 'customers' AND masked ORDER BY column_name")
            .await,
        ["email", "name", "phone", "salary"]
    );
}
