//! How names resolve, and what a person reads when they do not.

use polder_sql::{references, table_references};

use crate::fixture::{Fixture, error, lines, one, options};

#[tokio::test]
async fn names_without_a_schema_are_looked_for_in_the_layers() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    assert_eq!(one(&session, "SELECT count(*) FROM daily").await, "2");
    assert_eq!(one(&session, "SELECT count(*) FROM Orders").await, "4");
    assert_eq!(one(&session, "SELECT count(*) FROM shop_orders").await, "2");
    assert_eq!(one(&session, "SELECT orders.order_id FROM silver.orders WHERE orders.order_id = 1").await, "1");
    let mut options = options("system");
    options.default_namespace = Some("finance.eu".to_owned());
    let finance = fixture.engine.session(options).await.unwrap();
    assert_eq!(one(&finance, "SELECT entry FROM ledger").await, "1");
}

#[tokio::test]
async fn a_nested_namespace_is_one_quoted_schema() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    assert_eq!(one(&session, "SELECT entry FROM \"finance.eu\".ledger").await, "1");
    assert_eq!(one(&session, "SELECT entry FROM finance.eu.ledger").await, "1");
}

#[tokio::test]
async fn unknown_names_get_a_place_and_a_guess() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    assert_eq!(
        error(&session, "SELECT *\nFROM silver.ordes").await,
        "error[S002]: no table is called `silver.ordes` [silver.ordes] did you mean `silver.orders`?"
    );
    assert_eq!(
        error(&session, "SELECT * FROM gold.orders").await,
        "error[S002]: no table is called `gold.orders` [gold.orders] did you mean `silver.orders`?"
    );
    assert_eq!(
        error(&session, "SELECT amuont FROM silver.orders").await,
        "error[S003]: no column is called `amuont` [amuont] did you mean `amount` of silver.orders?"
    );
    assert_eq!(
        error(&session, "SELECT o.zzz FROM bronze.shop_orders AS o").await,
        "error[S003]: no column is called `o.zzz` [o.zzz] there are order_id, status"
    );
    let message = error(&session, "SELECT lenght(region) FROM silver.orders").await;
    assert!(message.contains("did you mean `length`?"), "{message}");
    assert_eq!(
        error(&session, "SELECT 1 FROM system.run").await,
        "error[S002]: no table is called `system.run` [system.run] did you mean `system.runs`?"
    );
}

#[tokio::test]
async fn what_does_not_parse_points_at_the_place() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    let message = error(&session, "SELECT 1 FORM t WHERE").await;
    assert!(message.starts_with("error[S001]") && message.contains("[t]"), "{message}");
    assert!(error(&session, "SELECT 'open").await.starts_with("error[S001]"));
    for sql in ["from gold.t x y", "select 1 where 2 where 3", "from gold.t where true select a"] {
        let message = error(&session, sql).await;
        assert!(message.starts_with("error[S001]"), "{sql}: {message}");
    }
    assert!(error(&session, "").await.contains("there is no statement"));
    assert!(error(&session, "SELECT 1; SELECT 2").await.contains("2 statements"));
    assert_eq!(one(&session, "SELECT 1;").await, "1");
}

#[tokio::test]
async fn only_queries_are_answered() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    for (sql, hint) in [
        ("INSERT INTO silver.orders VALUES (1)", "polder run"),
        ("UPDATE silver.orders SET amount = 0", "polder run"),
        ("DELETE FROM silver.orders", "polder run"),
        ("CREATE TABLE x AS SELECT 1", "models/"),
        ("CREATE VIEW v AS SELECT 1", "models/"),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", ""),
        ("DROP TABLE silver.orders", "rollback"),
        ("TRUNCATE TABLE silver.orders", "polder run"),
        ("COPY (SELECT 1) TO '/tmp/x.csv'", "--format"),
        ("SET datafusion.execution.batch_size = 1", "polder.yaml"),
        ("SELECT 1 INTO x", "polder run"),
        ("WITH x AS (DELETE FROM silver.orders) SELECT 1", "polder run"),
        ("EXPLAIN INSERT INTO silver.orders VALUES (1)", ""),
        ("BEGIN", "one commit"),
        ("GRANT SELECT ON silver.orders TO ann", "policies"),
    ] {
        let message = error(&session, sql).await;
        assert!(message.contains(hint) && (message.contains("S005") || message.contains("S001")), "{sql}: {message}");
    }
    assert_eq!(one(&session, "SELECT count(*) FROM silver.orders").await, "4");
}

#[tokio::test]
async fn describe_show_and_summarize() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    let columns = lines(&session, "DESCRIBE silver.orders").await;
    assert_eq!(columns[3], "amount|decimal(12, 2)|true|NULL");
    assert_eq!(lines(&session, "SHOW COLUMNS FROM silver.orders").await, columns);
    assert_eq!(lines(&session, "DESCRIBE SELECT 1 AS x").await, ["x|bigint|false|NULL"]);
    assert_eq!(
        lines(&session, "SHOW TABLES IN gold").await,
        ["gold|contacts|view", "gold|daily|table", "gold|revenue|view"]
    );
    assert_eq!(lines(&session, "SHOW TABLES LIKE 'ord%'").await, ["silver|orders|table"]);
    let summary = lines(&session, "SUMMARIZE silver.orders").await;
    assert_eq!(summary.len(), 5);
    assert_eq!(summary[0], "order_id|bigint|4|0|4|1|4|2.5|1.5|2.5|3.5");
    assert_eq!(summary[2], "region|text|4|1|2|eu|us|NULL|NULL|NULL|NULL");
    assert_eq!(
        lines(&session, "SUMMARIZE SELECT 1.5 AS x WHERE false").await,
        ["x|decimal(2, 1)|0|0|0|NULL|NULL|NULL|NULL|NULL|NULL"]
    );
    assert_eq!(lines(&session, "SUMMARIZE silver.orders AT BRANCH pr-42").await.len(), 5);
}

#[tokio::test]
async fn files_are_for_the_command_line_only() {
    let fixture = Fixture::empty(Vec::new()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("a.csv"), "id,code,name\n1,007,x\n2,012,\"y, z\"\n").unwrap();
    std::fs::write(path("b.tsv"), "id\tname\n1\tx\n").unwrap();
    std::fs::write(path("c.jsonl"), "{\"id\": 1, \"tags\": [\"a\"]}\n{\"id\": 2}\n").unwrap();
    std::fs::write(path("d1.csv"), "n\n1\n").unwrap();
    std::fs::write(path("d2.csv"), "n\n2\n").unwrap();
    let door = fixture.platform().await;
    let refused = error(&door, &format!("SELECT * FROM '{}'", path("a.csv"))).await;
    assert!(refused.contains("reads no files"), "{refused}");
    let mut options = options("system");
    options.allow_files = true;
    let session = fixture.engine.session(options).await.unwrap();
    assert_eq!(
        lines(&session, &format!("SELECT id + 1, code, name FROM '{}' ORDER BY id", path("a.csv"))).await,
        ["2|007|x", "3|012|y, z"]
    );
    assert_eq!(one(&session, &format!("SELECT name FROM '{}'", path("b.tsv"))).await, "x");
    assert_eq!(one(&session, &format!("SELECT sum(id) FROM '{}'", path("c.jsonl"))).await, "3");
    assert_eq!(one(&session, &format!("SELECT sum(n) FROM '{}'", path("d*.csv"))).await, "3");
    assert!(error(&session, &format!("SELECT * FROM '{}'", path("none.csv"))).await.contains("there is no file"));
    assert!(error(&session, "SELECT * FROM 'x.doc'").await.contains("no kind of file"));
    assert!(error(&session, "SELECT * FROM 'x.csv.gz'").await.contains("sources"));
}

#[test]
fn references_are_the_tables_to_wait_for() {
    let names = |sql: &str| -> Vec<String> {
        let shown = |(namespace, name): (Option<String>, String)| match namespace {
            Some(namespace) => format!("{namespace}.{name}"),
            None => name,
        };
        table_references(sql).unwrap().into_iter().map(shown).collect()
    };
    assert_eq!(names("SELECT * FROM Silver.Orders o JOIN customers c ON o.a = c.a"), ["silver.orders", "customers"]);
    assert_eq!(names("WITH t AS (SELECT * FROM a), u AS (SELECT * FROM t, b) SELECT * FROM u, t, c"), ["a", "b", "c"]);
    // The expression itself does not see its own name, unless it is recursive.
    assert_eq!(names("WITH t AS (SELECT * FROM t) SELECT * FROM t"), ["t"]);
    assert_eq!(names("WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT * FROM t) SELECT * FROM t"), Vec::<String>::new());
    // A name of an inner WITH is not in scope outside.
    assert_eq!(names("SELECT * FROM (WITH t AS (SELECT 1) SELECT * FROM t) x, t"), ["t"]);
    assert_eq!(
        names("SELECT (SELECT max(x) FROM a) FROM b WHERE EXISTS (SELECT 1 FROM c) AND x IN (SELECT x FROM d)"),
        ["a", "b", "c", "d"]
    );
    assert_eq!(names("SELECT * FROM a UNION ALL SELECT * FROM b EXCEPT (SELECT * FROM a)"), ["a", "b"]);
    assert_eq!(names("SELECT * FROM generate_series(1, 3), unnest([1]), 'x.csv', system.runs"), Vec::<String>::new());
    assert_eq!(names("SELECT * FROM t AT BRANCH main, u"), ["u"]);
    let found = references("SELECT *\nFROM t AT BRANCH main AS x").unwrap();
    assert!(found[0].versioned);
    assert_eq!(found[0].range, 14..15);
    assert!(table_references("SELECT * FROM").is_err());
}

#[tokio::test]
async fn a_column_without_a_name_is_called_as_it_is_written() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    for (sql, names) in [
        (
            "SELECT 7 / 2, sum(amount), region FROM silver.orders GROUP BY region ORDER BY sum(amount)",
            "7 / 2|sum(amount)|region",
        ),
        (
            "SELECT order_id + 1, o.*, count(*) OVER () FROM silver.orders o LIMIT 1",
            "order_id + 1|order_id|customer_id|region|amount|created_at|count(*) OVER ()",
        ),
        ("SELECT 'a' UNION ALL SELECT 'b'", "'a'"),
        ("(SELECT 1 + 1)", "1 + 1"),
        ("SELECT amount AS \"1\", 1 FROM silver.orders", "1|1_1"),
        ("WITH t AS (SELECT max(amount) AS m FROM silver.orders) SELECT * FROM t", "m"),
    ] {
        let schema = session.schema(sql).await.unwrap();
        let found: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(found.join("|"), names, "{sql}");
        session.query(sql).await.unwrap();
    }
}

#[tokio::test]
async fn from_alone_selects_everything() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    let all = lines(&session, "SELECT * FROM silver.payroll").await;
    for sql in [
        "FROM silver.payroll",
        "FROM silver.payroll ORDER BY pay LIMIT 1",
        "SELECT * FROM (FROM silver.payroll) AS p",
        "WITH p AS (FROM silver.payroll) FROM p",
        "FROM silver.payroll AT BRANCH main",
        "FROM silver.payroll SELECT name, pay",
        "-- all of it\nFROM silver.payroll AS p WHERE pay > 0",
        "FROM (SELECT * FROM silver.payroll) AS p\nWHERE true",
    ] {
        assert_eq!(lines(&session, sql).await, all, "{sql}");
    }
    assert_eq!(one(&session, "SELECT (SELECT count(*) FROM (FROM silver.orders) AS o)").await, "4");
    assert_eq!(lines(&session, "FROM silver.payroll WHERE pay < 0").await, Vec::<String>::new());
    assert_eq!(lines(&session, "DESCRIBE FROM silver.payroll").await.len(), 2);
    assert!(one(&session, "EXPLAIN FROM silver.payroll").await.contains("payroll"));
}
