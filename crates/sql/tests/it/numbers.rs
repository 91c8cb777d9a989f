//! Integers that overflow: wherever it happens, it is an error and never a wrapped number.

use std::collections::BTreeMap;

use polder_govern::{Mask, Policy};
use polder_sql::{check_policies, references};

use crate::fixture::{Fixture, error, lines, one, options, policy};

const MAX: &str = "9223372036854775807";

#[tokio::test]
async fn arithmetic_is_checked_when_folded_and_when_run() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    for sql in [
        // Folded while planning.
        format!("SELECT {MAX} + 1"),
        format!("SELECT -{MAX} - 2"),
        format!("SELECT {MAX} * 2"),
        "SELECT -CAST('-9223372036854775808' AS BIGINT)".to_owned(),
        // Run over rows.
        format!("SELECT x + 1 FROM (VALUES ({MAX}), (1)) AS t(x)"),
        format!("SELECT 1 + x FROM (VALUES ({MAX}), (1)) AS t(x)"),
        format!("SELECT x + x FROM (VALUES ({MAX}), (1)) AS t(x)"),
        format!("SELECT x * 3 FROM (VALUES ({MAX}), (1)) AS t(x)"),
        "SELECT -x FROM (VALUES (CAST('-9223372036854775808' AS BIGINT)), (1)) AS t(x)".to_owned(),
        "SELECT abs(x) FROM (VALUES (CAST('-9223372036854775808' AS BIGINT)), (1)) AS t(x)".to_owned(),
        "SELECT CAST(x AS INT) + CAST(1 AS INT) FROM (VALUES (2147483647), (1)) AS t(x)".to_owned(),
        // In every clause.
        format!("SELECT count(*) FROM (VALUES ({MAX}), (1)) AS t(x) WHERE x + 1 > 0"),
        format!("SELECT x + 1, count(*) FROM (VALUES ({MAX}), (1)) AS t(x) GROUP BY x + 1"),
        format!("SELECT x FROM (VALUES ({MAX}), (1)) AS t(x) ORDER BY x + 1"),
        format!("SELECT max(x + 1) FROM (VALUES ({MAX}), (1)) AS t(x)"),
        format!("SELECT sum(x + 1) OVER () FROM (VALUES ({MAX}), (1)) AS t(x)"),
        format!("SELECT * FROM (VALUES ({MAX}), (1)) AS t(x) JOIN (VALUES (1)) AS u(y) ON t.x + 1 = u.y"),
        format!("SELECT (SELECT max(x + 1) FROM (VALUES ({MAX}), (1)) AS t(x))"),
        format!("SELECT 1 WHERE EXISTS (SELECT 1 FROM (VALUES ({MAX}), (1)) AS t(x) WHERE x * 2 > 5)"),
        format!("WITH t AS (SELECT {MAX} AS x) SELECT x + 1 FROM t"),
        format!("VALUES ({MAX} + 1)"),
    ] {
        let message = error(&session, &sql).await;
        assert!(message.contains("does not fit"), "{sql}: {message}");
    }
}

#[tokio::test]
async fn casts_and_division_fail_rather_than_lie() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    for sql in [
        "SELECT CAST(x AS INT) FROM (VALUES (3000000000)) AS t(x)",
        "SELECT CAST('abc' AS BIGINT)",
        "SELECT 1 / 0",
        "SELECT 1 % 0",
        "SELECT 10 / x FROM (VALUES (0), (1)) AS t(x)",
        "SELECT CAST(x AS DECIMAL(3, 1)) FROM (VALUES (1234.5)) AS t(x)",
    ] {
        error(&session, sql).await;
    }
    assert_eq!(one(&session, "SELECT TRY_CAST('abc' AS BIGINT)").await, "NULL");
}

#[tokio::test]
async fn a_sum_is_exact_or_an_error() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    let values = format!("(VALUES ('a', {MAX}), ('a', 1), ('a', -5), ('b', 2), ('b', NULL)) AS t(g, x)");
    // Beyond the range on the way, within it at the end.
    assert_eq!(one(&session, &format!("SELECT sum(x) FROM {values}")).await, "9223372036854775805");
    assert_eq!(
        lines(&session, &format!("SELECT g, sum(x) FROM {values} GROUP BY g ORDER BY g")).await,
        ["a|9223372036854775803", "b|2"]
    );
    assert_eq!(
        one(&session, &format!("SELECT arrow_typeof(sum(x)), arrow_typeof(sum(CAST(1 AS INT))) FROM {values}")).await,
        "Int64|Int64"
    );
    for sql in [
        format!("SELECT sum(x) FROM (VALUES ({MAX}), (1)) AS t(x)"),
        format!("SELECT g, sum(x) FROM (VALUES (1, {MAX}), (1, 1), (2, 1)) AS t(g, x) GROUP BY g"),
        format!("SELECT sum(x) OVER (ORDER BY x) FROM (VALUES ({MAX}), (1)) AS t(x)"),
        format!("SELECT sum(x) OVER (ORDER BY x ROWS 1 PRECEDING) FROM (VALUES ({MAX}), (1), (2)) AS t(x)"),
        format!("SELECT sum(DISTINCT x) FROM (VALUES ({MAX}), (1), (1)) AS t(x)"),
        format!("SELECT sum(DISTINCT x), count(DISTINCT g) FROM (VALUES (1, {MAX}), (2, 1), (2, 1)) AS t(g, x)"),
    ] {
        let message = error(&session, &sql).await;
        assert!(message.contains("overflow"), "{sql}: {message}");
    }
}

#[tokio::test]
async fn a_sum_over_a_window_slides() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    let sql = "SELECT sum(x) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), \
               sum(DISTINCT x) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), \
               sum(d) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) \
               FROM (VALUES (1, 5, 0.1), (2, 5, 0.2), (3, NULL, NULL), (4, NULL, NULL), (5, 7, 0.3)) AS t(i, x, d) ORDER BY i";
    assert_eq!(lines(&session, sql).await, ["5|5|0.1", "10|5|0.3", "5|5|0.2", "NULL|NULL|NULL", "7|7|0.3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_of_many_groups_and_partitions_are_those_of_one() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    // Nearly a group for each row: the aggregation gives up on grouping early and passes states on.
    let sql = "SELECT sum(s), count(*) FROM (SELECT value % 150001 AS g, sum(value) AS s FROM generate_series(1, 400000) GROUP BY g)";
    assert_eq!(one(&session, sql).await, "80000200000|150001");
    let filtered = "SELECT sum(value) FILTER (WHERE value % 2 = 0), sum(CAST(value AS DECIMAL(10, 2))) FROM generate_series(1, 100000)";
    assert_eq!(one(&session, filtered).await, "2500050000|5000050000.00");
}

#[tokio::test]
async fn decimals_and_times_are_what_people_write() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    assert_eq!(one(&session, "SELECT 0.1 + 0.2, 0.1 + 0.2 = 0.3").await, "0.3|true");
    assert_eq!(
        one(&session, "SELECT arrow_typeof(CAST('2026-01-01' AS TIMESTAMP)), arrow_typeof(now()), arrow_typeof(to_timestamp('2026-01-01'))").await,
        "Timestamp(µs)|Timestamp(µs, \"UTC\")|Timestamp(µs, \"UTC\")"
    );
    assert_eq!(
        one(&session, "SELECT run_time(), now() = run_time(), current_date, today()").await,
        "2026-11-20T06:00:00Z|true|2026-11-20|2026-11-20"
    );
    let schema = session.schema("SELECT row_number() OVER () AS n, to_timestamp_nanos(1) AS t").await.unwrap();
    assert_eq!(schema.field(0).data_type().to_string(), "Int64");
    assert_eq!(schema.field(1).data_type().to_string(), "Timestamp(µs, \"UTC\")");
}

#[tokio::test]
async fn times_beyond_nanoseconds_are_compared() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    let times =
        "(SELECT CAST(column1 AS TIMESTAMP) AS t FROM (VALUES ('2026-01-01 10:00:00'), ('9999-12-31'))) AS times";
    for (condition, rows) in [
        ("t < '3000-01-01'", "1"),
        ("t = '9999-12-31'", "1"),
        ("'0001-01-01' < t", "2"),
        ("t < DATE '3000-01-01'", "1"),
        ("t BETWEEN '2026-01-01' AND '9999-12-31 00:00:00'", "2"),
        ("t IN ('9999-12-31', '2026-01-01T10:00:00')", "2"),
        ("t NOT IN (DATE '9999-12-31')", "1"),
        ("now() < '9999-12-31' AND t IS DISTINCT FROM '9999-12-31'", "1"),
        ("EXISTS (SELECT 1 WHERE t > '3000-01-01')", "1"),
    ] {
        assert_eq!(
            one(&session, &format!("SELECT count(*) FROM {times} WHERE {condition}")).await,
            rows,
            "{condition}"
        );
    }
    assert!(error(&session, &format!("SELECT count(*) FROM {times} WHERE t > 'soon'")).await.contains("soon"));
}

#[tokio::test]
async fn a_number_with_an_exponent_is_a_double() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    assert_eq!(
        one(&session, "SELECT arrow_typeof(1e0), arrow_typeof(1.5E3), 1e0 / 4, 1e300 > 1").await,
        "Float64|Float64|0.25|true"
    );
    assert_eq!(session.schema("SELECT 1e0").await.unwrap().field(0).name(), "1e0");
}

#[tokio::test]
async fn a_double_beside_a_decimal_stays_a_double() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    let values = "(SELECT CAST(column1 AS DOUBLE) AS d FROM (VALUES ('1e-20'), ('0.30000000000000004'), ('0.3'), ('5'), ('1e20'))) AS t";
    for (sql, gives) in [
        (format!("SELECT count(*) FROM {values} WHERE d > 0.0"), "5"),
        (format!("SELECT count(*) FROM {values} WHERE d = 0.3"), "1"),
        (format!("SELECT count(*) FROM {values} WHERE d IN (0.3, 5.0)"), "2"),
        (format!("SELECT count(*) FROM {values} WHERE d BETWEEN 0.0 AND 0.5"), "3"),
        (format!("SELECT count(*) FROM {values} WHERE CASE WHEN d > 1 THEN d ELSE 0.0 END > 0"), "2"),
        (format!("SELECT count(*) FROM {values} WHERE coalesce(d, 0.0) > 0"), "5"),
        (format!("SELECT arrow_typeof(d) FROM (SELECT d FROM {values} UNION ALL SELECT 0.5) LIMIT 1"), "Float64"),
        (format!("SELECT sum(d) FROM (SELECT d FROM {values} WHERE d < 0.1 UNION ALL SELECT 0.5)"), "0.5"),
    ] {
        assert_eq!(one(&session, &sql).await, gives, "{sql}");
    }
}

#[tokio::test]
async fn a_decimal_has_no_more_digits_than_its_type() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    let most = "9".repeat(38);
    for sql in [
        format!("SELECT {most} + 1"),
        format!("SELECT -{most} - 1"),
        format!("SELECT x + 1 FROM (VALUES ({most})) AS t(x)"),
        format!("SELECT count(*) FROM (VALUES ({most}), (1)) AS t(x) WHERE x + 1 > 0"),
    ] {
        assert!(error(&session, &sql).await.contains("does not fit its type"), "{sql}");
    }
    assert_eq!(one(&session, &format!("SELECT {most} - 1 + 1")).await, most);
}

#[tokio::test]
async fn doubles_are_doubles_wherever_they_are_written() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    for sql in [
        "EXPLAIN SELECT x * 1e300 FROM (VALUES (CAST(2 AS DOUBLE))) AS t(x)",
        "EXPLAIN ANALYZE SELECT x * 1e300 FROM (VALUES (CAST(2 AS DOUBLE))) AS t(x)",
    ] {
        assert!(one(&session, sql).await.contains("1e300"), "{sql}");
    }
    let masks = BTreeMap::from([("name".to_owned(), Mask::Expression("arrow_typeof(1e300)".to_owned()))]);
    let governed = Policy { masks, row_filter: Some("1e300 > 1".to_owned()), ..policy("silver.payroll", &["*"]) };
    let ann = fixture.governed_by(vec![governed]).session(options("ann")).await.unwrap();
    assert_eq!(one(&ann, "SELECT name FROM silver.payroll").await, "Float64");
}

#[tokio::test]
async fn an_integer_beyond_bigint_is_a_decimal() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    for (sql, gives) in [
        ("SELECT 9223372036854775807, arrow_typeof(9223372036854775807)", "9223372036854775807|Int64"),
        ("SELECT 9223372036854775808, arrow_typeof(9223372036854775808)", "9223372036854775808|Decimal128(38, 0)"),
        ("SELECT 18446744073709551616 + 1", "18446744073709551617"),
        ("SELECT -9223372036854775808, arrow_typeof(-9223372036854775808)", "-9223372036854775808|Int64"),
        ("SELECT -9223372036854775809, arrow_typeof(-9223372036854775809)", "-9223372036854775809|Decimal128(38, 0)"),
        ("SELECT x > 9223372036854775808 FROM (VALUES (1)) AS t(x)", "false"),
        ("SELECT sum(x) FROM (VALUES (9223372036854775808), (1)) AS t(x)", "9223372036854775809"),
    ] {
        assert_eq!(one(&session, sql).await, gives, "{sql}");
    }
    assert_eq!(
        session.schema("SELECT 9223372036854775808").await.unwrap().field(0).name(),
        "9223372036854775808",
        "a column is called what was written"
    );
    for number in ["1".repeat(39), format!("0.{}", "1".repeat(39)), format!("{}.5", "1".repeat(38))] {
        let message = error(&session, &format!("SELECT {number}")).await;
        assert!(message.starts_with("error[S001]: a number of 39 digits"), "{message}");
        assert!(message.contains(&format!("[{number}]")), "{message}");
    }
    let most = format!("000{}", "9".repeat(38));
    assert_eq!(one(&session, &format!("SELECT {most}")).await, "9".repeat(38));
}

/// DataFusion takes it for exclusive or, PostgreSQL and DuckDB for power.
#[tokio::test]
async fn a_caret_is_refused_at_its_place() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    for sql in ["SELECT 2^10", "EXPLAIN SELECT 2 ^ 10", "SELECT * FROM (VALUES (1)) AS t(x) WHERE x ^ 2 = 1"] {
        let message = error(&session, sql).await;
        assert!(message.starts_with("error[S001]") && message.contains("[^]"), "{sql}: {message}");
        assert!(message.contains("`power(a, b)`"), "{sql}: {message}");
    }
    assert!(references("SELECT x ^ 2 FROM gold.t").is_err());
    let filter = Policy { row_filter: Some("pay ^ 2 > 1".to_owned()), ..policy("silver.payroll", &["*"]) };
    let told = &check_policies(&[filter])[0];
    assert!(told.message.contains("is power in some databases") && told.hints[0].contains("`power(a, b)`"), "{told:?}");
    assert_eq!(one(&session, "SELECT '^', power(2, 10) = 1024, (6 | 3) - (6 & 3)").await, "^|true|5");
}

#[tokio::test]
async fn a_cast_to_an_integer_rounds_half_away_from_zero() {
    let fixture = Fixture::empty(Vec::new()).await;
    let session = fixture.platform().await;
    for (sql, gives) in [
        // Folded while planning.
        ("SELECT CAST(2.7 AS INT), CAST(2.5 AS BIGINT), CAST(-2.5 AS BIGINT), CAST(2.4 AS SMALLINT)", "3|3|-3|2"),
        ("SELECT 2.7::int, -2.5::int, TRY_CAST(2.5 AS INT), TRY_CAST(9.5 AS INT)", "3|-3|3|10"),
        ("SELECT CAST(2.5e0 AS INT), CAST(-2.5e0 AS INT), CAST(0.49999999999999994e0 AS INT)", "3|-3|0"),
        ("SELECT CAST(CAST(2.5 AS REAL) AS INT), CAST(CAST(NULL AS DOUBLE) AS INT)", "3|NULL"),
        ("SELECT CAST(arrow_cast(2.5e0, 'Float16') AS INT), CAST(arrow_cast(-2.7e0, 'Float16') AS BIGINT)", "3|-3"),
        ("SELECT sum(CAST(arrow_cast(x, 'Float16') AS INT)) FROM (VALUES (2.5e0), (0.4e0)) AS t(x)", "3"),
        // The name of an Arrow type asks for what Arrow does.
        ("SELECT arrow_cast(2.7e0, 'Int64'), arrow_cast(-2.7e0, 'Int32')", "2|-2"),
        // Run over rows.
        ("SELECT sum(CAST(x AS INT)) FROM (VALUES (0.5), (1.4), (-0.5), (NULL)) AS t(x)", "1"),
        ("SELECT sum(CAST(CAST(x AS DOUBLE) AS INT)) FROM (VALUES (0.5), (1.4), (-1.5)) AS t(x)", "0"),
        ("SELECT count(*) FROM (VALUES (2.4), (2.5), (3.4)) AS t(x) WHERE CAST(x AS INT) = 3", "2"),
        ("SELECT CAST(x AS INT), count(*) FROM (VALUES (2.6), (3.4)) AS t(x) GROUP BY CAST(x AS INT)", "3|2"),
        ("SELECT CAST(x AS INT) AS n FROM (VALUES (2.6), (1.2)) AS t(x) ORDER BY CAST(x AS INT) LIMIT 1", "1"),
        ("SELECT (SELECT max(CAST(x AS INT)) FROM (VALUES (2.6)) AS t(x))", "3"),
        // Planned anew as a table of the statement.
        ("WITH t AS (SELECT CAST(2.5 AS INT) AS n) SELECT n, CAST(n + 0.5 AS INT) FROM t", "3|4"),
        (
            "SELECT CAST(99999999999999999999999999999999999.5 AS DECIMAL(38, 0))",
            "100000000000000000000000000000000000",
        ),
        // Nothing to round.
        ("SELECT CAST(7 AS SMALLINT), CAST('7' AS INT), CAST(true AS INT), CAST(7.0 AS INT)", "7|7|1|7"),
    ] {
        assert_eq!(one(&session, sql).await, gives, "{sql}");
    }
    for sql in ["SELECT CAST(2147483647.5 AS INT)", "SELECT CAST(1e300 AS BIGINT)", "SELECT CAST('2.7' AS INT)"] {
        error(&session, sql).await;
    }
    assert_eq!(one(&session, "SELECT TRY_CAST(2147483647.5 AS INT)").await, "NULL");
}
