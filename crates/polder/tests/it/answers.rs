//! Answers beside PostgreSQL's: decimals that are divided and averaged, and times in time zones.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::fixture::{Project, skipped};

/// What PostgreSQL gives for expressions, as text.
fn of_postgres(url: &str, statement: &str, columns: usize) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql("set time zone 'UTC'").execute(&mut connection).await.unwrap();
        let row = sqlx::query(AssertSqlSafe(statement.to_owned())).fetch_one(&mut connection).await.unwrap();
        let texts = (0..columns).map(|at| row.get::<String, _>(at)).collect();
        connection.close().await.unwrap();
        texts
    })
}

/// The same of Polder.
fn of_polder(project: &Project, statement: &str, columns: usize) -> Vec<String> {
    let rows = project.ask(statement);
    (0..columns).map(|at| rows[0][format!("c{at}")].as_str().unwrap_or("NULL").to_owned()).collect()
}

/// `select cast(… as text) as c0, … FROM`
fn select(expressions: &[String], from: &str) -> String {
    let column = |(at, expression): (usize, &String)| format!("cast({expression} as text) as c{at}");
    let columns: Vec<String> = expressions.iter().enumerate().map(column).collect();
    format!("select {} {from}", columns.join(", "))
}

fn server() -> Option<String> {
    let url = std::env::var("POLDER_TEST_PG").ok();
    if url.is_none() {
        skipped("POLDER_TEST_PG names no server (tools/pg.py run -- …)");
    }
    url
}

fn project() -> Project {
    let project = Project::of(&[("polder.yaml", "name: answers\n"), ("models/gold/one.sql", "select 1 as one\n")]);
    project.polder(&["run"]).ends_with(0);
    project
}

#[test]
fn quotients_and_averages_are_those_of_postgresql_rounded() {
    let Some(url) = server() else { return };
    let project = project();
    let from = "from (values (1.00, 7), (1.01, 7), (2.05, 7), (-3.33, 7), (123456789.99, 7)) as t(x, n)";
    let expressions: Vec<String> = [
        "2/3.0",
        "-2/3.0",
        "1/7.0",
        "1.00000000/3",
        "10.5/0.3",
        "0.00001/30000",
        "999999.99/0.07",
        "cast(1 as bigint)/cast(3 as decimal(38, 10))",
        "avg(x)",
        "avg(distinct x)",
        "avg(x * 3)",
        "sum(x)/count(*)",
        "sum(x)/sum(n)",
        "round(avg(x), 2)",
    ]
    .map(str::to_owned)
    .to_vec();
    let ours = of_polder(&project, &select(&expressions, from), expressions.len());
    // PostgreSQL has as many digits as it needs for 16 that tell: rounded to ours they are the same.
    let scale = |text: &String| text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let rounded = expressions.iter().zip(&ours);
    let rounded: Vec<String> = rounded.map(|(e, ours)| format!("round({e}, {})", scale(ours))).collect();
    let theirs = of_postgres(&url, &select(&rounded, from), expressions.len());
    for ((expression, ours), theirs) in expressions.iter().zip(&ours).zip(&theirs) {
        assert_eq!(ours, theirs, "{expression}");
        assert!(expression.starts_with("round") || scale(ours) >= 10, "{expression}: {ours}");
    }
    let middle = "cast(percentile_cont(0.5) within group (order by x) as numeric(20, 3))";
    let theirs = of_postgres(&url, &select(&[middle.to_owned()], from), 1);
    assert_eq!(of_polder(&project, &select(&["median(x)".to_owned()], from), 1), theirs);
}

#[test]
fn times_in_zones_are_those_of_postgresql() {
    let Some(url) = server() else { return };
    let project = project();
    let mut expressions = Vec::new();
    for zone in ["Europe/Amsterdam", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "UTC"] {
        // Both ways of the clock in each of them, a day that one left out, before 1970, and plain days.
        for time in [
            "2026-03-29 00:59:59",
            "2026-03-29 01:00:00",
            "2026-03-29 02:30:00",
            "2026-10-25 00:30:00",
            "2026-10-25 02:30:00",
            "2026-03-08 02:30:00",
            "2026-11-01 01:30:00",
            "2026-04-05 01:45:00",
            "2026-10-04 02:15:00",
            "2011-12-30 12:00:00",
            "1965-07-01 12:00:00",
            "2026-07-01 22:30:00",
        ] {
            for of in ["timestamp", "timestamptz"] {
                let there = format!("({of} '{time}' at time zone '{zone}')");
                expressions.push(format!("cast(extract(epoch from {there}) as bigint)"));
                expressions.push(format!("cast({there} as date)"));
            }
        }
    }
    for part in expressions.chunks(48) {
        let statement = select(part, "");
        let (ours, theirs) = (of_polder(&project, &statement, part.len()), of_postgres(&url, &statement, part.len()));
        for ((expression, ours), theirs) in part.iter().zip(&ours).zip(&theirs) {
            assert_eq!(ours, theirs, "{expression}");
        }
    }
    // What is stored is what was asked for.
    project.write(
        "models/gold/local.sql",
        "select timestamptz '2026-07-01 22:30:00Z' at time zone 'Europe/Amsterdam' as local, \
         timestamp '2026-07-02 00:30:00' at time zone 'Europe/Amsterdam' as moment\n",
    );
    project.polder(&["run"]).ends_with(0);
    let stored = "select cast(local as text) as c0, cast(moment as text) as c1, cast(cast(local as date) as text) as c2, \
                  arrow_typeof(local) as c3 from gold.local";
    assert_eq!(
        of_polder(&project, stored, 4),
        ["2026-07-02T00:30:00", "2026-07-01T22:30:00Z", "2026-07-02", "Timestamp(µs)"]
    );
}
