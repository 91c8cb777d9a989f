//! Tables of a real PostgreSQL.

use std::time::Duration;

use polder_project::{Connection, Lag, ReadMode, Stream};
use polder_run::Step;
use sqlx::Connection as _;

use crate::server::{Server, server};
use crate::support::{World, context, declared, parquet_files, stream, world};

async fn start() -> Option<(World, Server)> {
    let server = server().await?;
    let mut w = world().await;
    w.connection = Connection::Postgres { url: server.url() };
    Some((w, server))
}

fn full(table: &str) -> Stream {
    stream(table, ReadMode::Full)
}

fn incremental(cursor: &str) -> Stream {
    stream("orders", ReadMode::Incremental { cursor: cursor.to_owned(), lag: None })
}

/// Merged by `id`.
fn lagging(cursor: &str, lag: Lag) -> Stream {
    let read = ReadMode::Incremental { cursor: cursor.to_owned(), lag: Some(lag) };
    Stream { key: vec!["id".to_owned()], ..stream("orders", read) }
}

#[tokio::test]
async fn every_type_is_read() {
    let Some((w, server)) = start().await else { return };
    server
        .execute(
            "CREATE TYPE mood AS ENUM ('fine', 'bad'); CREATE DOMAIN cents AS int CHECK (VALUE >= 0);
             CREATE TABLE types (
               \"Small Int\" smallint NOT NULL, i int, b bigint, r real, d double precision, n numeric(12,2), m numeric,
               ok boolean, t text, v varchar(10), c char(3), day date, tm time, ts timestamp, tz timestamptz, id uuid,
               raw bytea, j json, jb jsonb, e mood, dom cents, ip inet, iv interval, o oid, ints int[], texts text[],
               nums numeric(5,1)[], moods mood[]);
             COMMENT ON COLUMN types.t IS 'a comment';
             INSERT INTO types VALUES (-1, 2, 9007199254740993, 1.5, 0.1, 12345.67, 0.000000001, true, 'é', 'vc', 'x',
               '2024-01-31', '06:00:02.5', '2024-01-31 10:00:00.123456', '2024-01-31 10:00:00+02',
               'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\\xdeadbeef', '{\"a\": 1}', '{\"b\":2}', 'fine', 5, '10.0.0.1',
               '1 day 2 hours', 4294967295, '{1,NULL,3}', '{a,\"b c\"}', '{1.5}', '{bad}');
             INSERT INTO types (\"Small Int\") VALUES (0);",
        )
        .await;
    let report = w.take(&full("types")).await;
    assert_eq!((report.rows, report.rejected), (Some(2), 0));
    assert_eq!(
        w.columns().await,
        [
            "small_int integer",
            "i integer",
            "b bigint",
            "r real",
            "d double",
            "n decimal(12, 2)",
            "m decimal(38, 9)",
            "ok boolean",
            "t text",
            "v text",
            "c text",
            "day date",
            "tm time",
            "ts timestamp",
            "tz timestamptz",
            "id text",
            "raw binary",
            "j text",
            "jb text",
            "e text",
            "dom integer",
            "ip text",
            "iv text",
            "o bigint",
            "ints integer[]",
            "texts text[]",
            "nums decimal(5, 1)[]",
            "moods text",
        ]
    );
    assert_eq!(w.comment("small_int").await.as_deref(), Some("Small Int"));
    assert_eq!(w.comment("t").await.as_deref(), Some("a comment"));
    let rows = w.sql("select * from t order by small_int").await;
    assert_eq!(
        rows[0],
        "-1 | 2 | 9007199254740993 | 1.5 | 0.1 | 12345.67 | 0.000000001 | true | é | vc | x   | 2024-01-31 | \
         06:00:02.500 | 2024-01-31T10:00:00.123456 | 2024-01-31T08:00:00Z | a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11 | \
         deadbeef | {\"a\": 1} | {\"b\": 2} | fine | 5 | 10.0.0.1/32 | P1DT2H | 4294967295 | [1, , 3] | [a, b c] | [1.5] | \
         {bad} | 1 | 2023-11-14T22:13:20Z"
    );
    assert!(rows[1].starts_with("0 | ∅ | ∅ | ∅ |") && rows[1].ends_with("∅ | 1 | 2023-11-14T22:13:20Z"), "{}", rows[1]);
}

#[tokio::test]
async fn values_without_a_place_are_rejected() {
    let Some((w, server)) = start().await else { return };
    server
        .execute(
            "CREATE TABLE odd (id int, n numeric, at timestamptz, day date, x int[]);
             INSERT INTO odd VALUES (1, 'NaN', NULL, NULL, NULL), (2, 0.0000000001, NULL, NULL, NULL),
               (3, NULL, 'infinity', NULL, NULL), (4, NULL, NULL, '-infinity', NULL), (5, 1.5, now(), '2024-01-31', '{1}'),
               (6, NULL, NULL, NULL, '{{1,2},{3,4}}');",
        )
        .await;
    let mut odd = full("odd");
    let told = w.refused(&odd).await;
    assert!(told.starts_with("error[I010]: 5 records for bronze.t were rejected, 0 allowed"), "{told}");
    odd.max_rejected = 5;
    let report = w.take(&odd).await;
    assert_eq!((report.rows, report.rejected), (Some(1), 5));
    let of_this_run = "select raw, reason from t where _run = (select max(_run) from t) order by raw";
    let set_aside = w.sql_over("quarantine.t", of_this_run).await;
    assert_eq!(
        set_aside[0],
        "{\"id\":\"1\",\"n\":\"NaN\",\"at\":null,\"day\":null,\"x\":null} | `n` is decimal(38, 9), but NaN is no decimal number"
    );
    assert!(set_aside[1].ends_with("`n` is decimal(38, 9), but 0.0000000001 does not fit into it"), "{set_aside:?}");
    assert!(set_aside[2].ends_with("`at` is timestamptz, but infinity is no timestamp"), "{set_aside:?}");
    assert!(
        set_aside[4].ends_with("`x` is integer[], but an array of 2 dimensions does not fit into a list"),
        "{set_aside:?}"
    );
}

#[tokio::test]
async fn declared_types_are_parsed_row_by_row() {
    let Some((w, server)) = start().await else { return };
    server
        .execute(
            "CREATE TABLE t (id int, n numeric, code text, at text);
             INSERT INTO t VALUES (1, 1.5, '7', '2024-01-31T00:00:00Z'), (2, 1.555, '8', NULL);",
        )
        .await;
    let mut stream = full("t");
    stream.max_rejected = 1;
    stream.columns = declared(&[("id", "text"), ("n", "decimal(10,2)"), ("code", "bigint"), ("at", "timestamptz")]);
    w.take(&stream).await;
    assert_eq!(w.columns().await, ["id text", "n decimal(10, 2)", "code bigint", "at timestamptz"]);
    assert_eq!(w.sql("select id, n, code, at from t").await, ["1 | 1.50 | 7 | 2024-01-31T00:00:00Z"]);
    let reasons = w.sql_over("quarantine.t", "select reason from t").await;
    assert_eq!(reasons, ["`n` is decimal(10, 2), but \"1.555\" does not fit into it"]);
}

#[tokio::test]
async fn a_full_table_is_replaced_when_it_changed() {
    let Some((w, server)) = start().await else { return };
    server
        .execute("CREATE TABLE t (id int, v text); INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 20000) g")
        .await;
    let report = w.take(&full("public.t")).await;
    assert_eq!(report.rows, Some(20_000));
    let files = parquet_files(&w.path("warehouse"));
    let report = w.take(&full("public.t")).await;
    assert!(report.unchanged);
    assert_eq!(parquet_files(&w.path("warehouse")), files, "what was written for nothing is removed");
    server.execute("UPDATE t SET v = 'new' WHERE id = 7; DELETE FROM t WHERE id = 8").await;
    assert!(!w.take(&full("public.t")).await.unchanged);
    assert_eq!(w.sql("select count(*), sum(id), max(v) from t").await, ["19999 | 200009992 | v9999"]);
    server.execute("ALTER TABLE t ADD COLUMN extra int").await;
    w.take(&full("public.t")).await;
    assert_eq!(w.columns().await, ["id integer", "v text", "extra integer"]);
    server.execute("ALTER TABLE t ALTER COLUMN id TYPE text").await;
    let told = w.refused(&full("public.t")).await;
    assert!(told.contains("column `id` is integer in the table and text in the source"), "{told}");
}

#[tokio::test]
async fn rows_beyond_the_cursor_are_added_once() {
    let Some((w, server)) = start().await else { return };
    server
        .execute(
            "CREATE TABLE orders (id int, at timestamptz NOT NULL);
             INSERT INTO orders VALUES (1, '2024-01-31 10:00+00'), (2, '2024-01-31 11:00+00'), (3, '2024-01-31 11:00+00')",
        )
        .await;
    let stream = incremental("at");
    let report = w.take(&stream).await;
    assert_eq!((report.rows, report.note.as_deref()), (Some(3), Some("cursor 2024-01-31 11:00:00")));
    assert!(w.take(&stream).await.unchanged);
    // Another row at the boundary, an equal one too, and one beyond.
    server
        .execute(
            "INSERT INTO orders VALUES (4, '2024-01-31 11:00+00'), (3, '2024-01-31 11:00+00'), (5, '2024-01-31 12:00+00')",
        )
        .await;
    assert_eq!(w.take(&stream).await.rows, Some(3));
    assert_eq!(w.sql("select id from t order by id").await, ["1", "2", "3", "3", "4", "5"]);
    assert!(w.take(&stream).await.unchanged);
    // A new column does not make the boundary's rows new.
    server.execute("ALTER TABLE orders ADD COLUMN extra text DEFAULT 'x'; INSERT INTO orders VALUES (6, '2024-01-31 12:00+00')").await;
    assert_eq!(w.take(&stream).await.rows, Some(1));
    assert_eq!(w.sql("select id, extra from t where id > 4 order by id").await, ["5 | ∅", "6 | x"]);
    assert!(w.take(&stream).await.unchanged);
    let told = w.refused(&incremental("id")).await;
    assert!(told.contains("I025") && told.contains("--full-refresh"), "{told}");
}

#[tokio::test]
async fn rows_with_a_key_are_merged() {
    let Some((w, server)) = start().await else { return };
    server
        .execute(
            "CREATE TABLE orders (id int PRIMARY KEY, v text, at timestamp);
             INSERT INTO orders VALUES (1, 'a', '2024-01-31'), (2, 'b', '2024-02-01')",
        )
        .await;
    let mut stream = incremental("at");
    stream.key = vec!["id".to_owned()];
    w.take(&stream).await;
    server
        .execute("UPDATE orders SET v = 'aa', at = '2024-02-02' WHERE id = 1; INSERT INTO orders VALUES (3, 'c', '2024-02-02')")
        .await;
    assert_eq!(w.take(&stream).await.rows, Some(2));
    assert_eq!(w.sql("select id, v from t order by id").await, ["1 | aa", "2 | b", "3 | c"]);
    assert!(w.take(&stream).await.unchanged);
}

/// Read once more, they would not be found in the table.
#[tokio::test]
async fn rows_without_a_whole_key_stop_an_incremental_read() {
    let Some((w, server)) = start().await else { return };
    server
        .execute(
            "CREATE TABLE orders (a int, b int, at int, UNIQUE (a, b)); INSERT INTO orders VALUES (1, 1, 1), (1, NULL, 2)",
        )
        .await;
    let stream = Stream { key: vec!["a".to_owned(), "b".to_owned()], ..incremental("at") };
    let told = w.refused(&stream).await;
    assert!(told.contains("I015") && told.contains("1 of the new rows has NULL in a, b, which is the key"), "{told}");
    assert!(!w.exists("bronze.t").await);
    server.execute("DELETE FROM orders WHERE b IS NULL").await;
    assert_eq!(w.take(&stream).await.rows, Some(1));
    server.execute("INSERT INTO orders VALUES (2, NULL, 3)").await;
    assert!(w.refused(&stream).await.contains("I015"));
}

#[tokio::test]
async fn many_rows_at_the_boundary_are_summed() {
    let Some((w, server)) = start().await else { return };
    server.execute("CREATE TABLE orders (id int, day date); INSERT INTO orders SELECT g, '2024-01-31' FROM generate_series(1, 60000) g").await;
    let stream = incremental("day");
    assert_eq!(w.take(&stream).await.rows, Some(60_000));
    assert!(w.cursor("test.orders").await.unwrap().len() < 1000);
    server.execute("INSERT INTO orders VALUES (70000, '2024-02-01')").await;
    assert_eq!(w.take(&stream).await.rows, Some(1));
    server.execute("DELETE FROM orders WHERE id = 70000; INSERT INTO orders SELECT g, '2024-02-02' FROM generate_series(80001, 140002) g").await;
    assert_eq!(w.take(&stream).await.rows, Some(60_002));
    server.execute("INSERT INTO orders VALUES (0, '2024-02-02')").await;
    let told = w.refused(&stream).await;
    assert!(told.contains("I027") && told.contains("60002 rows had it"), "{told}");
}

/// While no row comes, the rows at the boundary stay hashed over the columns of then.
#[tokio::test]
async fn a_new_column_does_not_make_many_rows_at_the_boundary_unknown() {
    let Some((w, server)) = start().await else { return };
    server.execute("CREATE TABLE orders (id int, day date); INSERT INTO orders SELECT g, '2024-01-31' FROM generate_series(1, 60000) g").await;
    let mut stream = incremental("day");
    stream.max_rejected = 1;
    w.take(&stream).await;
    // The row without a cursor has the cursor written anew.
    server.execute("ALTER TABLE orders ADD COLUMN extra int DEFAULT 7; INSERT INTO orders VALUES (0, NULL)").await;
    assert_eq!((w.take(&stream).await.rejected, w.columns().await.len()), (1, 3));
    assert!(w.take(&stream).await.unchanged);
    server.execute("INSERT INTO orders VALUES (60001, '2024-02-01')").await;
    assert_eq!(w.take(&stream).await.rows, Some(1));
    assert_eq!(w.sql("select count(*), count(distinct id) from t").await, ["60001 | 60001"]);
}

/// A transaction that began earlier than another may commit later than it, with an older value.
#[tokio::test]
async fn rows_that_come_late_are_found_within_the_lag() {
    let Some((w, server)) = start().await else { return };
    server
        .execute(
            "CREATE TABLE orders (id int PRIMARY KEY, v text, at timestamptz NOT NULL);
             INSERT INTO orders VALUES (1, 'a', '2024-01-31 10:00+00'), (2, 'b', '2024-01-31 11:30+00'), (3, 'c', '2024-01-31 12:00+00')",
        )
        .await;
    let stream = lagging("at", Lag::Seconds(3600));
    assert_eq!(w.take(&stream).await.rows, Some(3));
    assert!(w.take(&stream).await.unchanged);
    // One within the lag, one changed there without its cursor, and one that is too late.
    server
        .execute(
            "INSERT INTO orders VALUES (4, 'd', '2024-01-31 11:00+00'), (5, 'e', '2024-01-31 10:59+00');
             UPDATE orders SET v = 'bb' WHERE id = 2",
        )
        .await;
    let report = w.take(&stream).await;
    assert_eq!((report.rows, report.replaced), (Some(2), Some(1)));
    assert_eq!(w.sql("select id, v from t order by id").await, ["1 | a", "2 | bb", "3 | c", "4 | d"]);
    assert!(w.take(&stream).await.unchanged);
    // The window moves with the cursor, which never goes back.
    server.execute("INSERT INTO orders VALUES (6, 'f', '2024-01-31 12:30+00'), (7, 'g', '2024-01-31 11:45+00')").await;
    assert_eq!(w.take(&stream).await.rows, Some(2));
    server.execute("DELETE FROM orders WHERE id = 6; INSERT INTO orders VALUES (8, 'h', '2024-01-31 11:31+00')").await;
    assert_eq!(w.take(&stream).await.rows, Some(1));
    assert!(w.cursor("test.orders").await.unwrap().contains("12:30:00"));
    assert_eq!(w.sql("select string_agg(v, '' order by id) from t").await, ["abbcdfgh"]);
    assert!(w.take(&stream).await.unchanged);
}

/// Where the database does not keep the key unique, an older version of a row may come late.
#[tokio::test]
async fn of_several_rows_with_one_key_the_newest_wins_however_late_the_others_come() {
    let Some((w, server)) = start().await else { return };
    server
        .execute(
            "CREATE TABLE orders (id int, v text, at int); INSERT INTO orders VALUES (1, 'new', 100), (2, 'b', 90)",
        )
        .await;
    let stream = lagging("at", Lag::Values(50));
    w.take(&stream).await;
    server.execute("INSERT INTO orders VALUES (1, 'old', 70), (3, 'c', 60), (4, 'lost', 49)").await;
    w.take(&stream).await;
    assert_eq!(w.sql("select id, v from t order by id").await, ["1 | new", "2 | b", "3 | c"]);
    assert!(w.take(&stream).await.unchanged);
}

#[tokio::test]
async fn a_lag_may_hold_more_rows_than_are_remembered() {
    let Some((w, server)) = start().await else { return };
    server
        .execute("CREATE TABLE orders (id int PRIMARY KEY, at date); INSERT INTO orders SELECT g, '2024-01-30' FROM generate_series(1, 60000) g; INSERT INTO orders VALUES (0, '2024-01-31')")
        .await;
    // Part of a day is a day.
    let stream = lagging("at", Lag::Seconds(60));
    assert_eq!(w.take(&stream).await.rows, Some(60_001));
    assert!(w.cursor("test.orders").await.unwrap().len() < 1000);
    assert!(w.take(&stream).await.unchanged);
    server.execute("INSERT INTO orders VALUES (60001, '2024-01-30')").await;
    w.take(&stream).await;
    assert_eq!(w.sql("select count(*), count(distinct id) from t").await, ["60002 | 60002"]);
    assert!(w.take(&stream).await.unchanged);
    // Without a lag from now on: what was remembered serves on.
    let plain = Stream { key: stream.key.clone(), ..incremental("at") };
    server.execute("INSERT INTO orders VALUES (60002, '2024-01-31'), (60003, '2024-01-30')").await;
    w.take(&plain).await;
    assert_eq!(w.sql("select count(*), max(id) from t").await, ["60003 | 60002"]);
}

#[tokio::test]
async fn a_lag_goes_with_its_cursor() {
    let Some((w, server)) = start().await else { return };
    server.execute("CREATE TABLE orders (id int, at timestamptz, name text)").await;
    for (cursor, lag, want) in [
        ("id", Lag::Seconds(300), "error[I028]: `lag` is a time, and the cursor `id` is integer"),
        ("at", Lag::Values(5), "error[I028]: `lag` is a number, and the cursor `at` is timestamp with time zone"),
        ("name", Lag::Values(5), "error[I028]: `lag` is a number, and the cursor `name` is text"),
    ] {
        let told = w.refused(&lagging(cursor, lag)).await;
        assert!(told.starts_with(want) && told.contains("`5 minutes` for a date or timestamp"), "{told}");
    }
}

#[tokio::test]
async fn rows_without_a_cursor_are_told() {
    let Some((w, server)) = start().await else { return };
    server
        .execute(
            "CREATE TABLE orders (id int, at timestamp);
             INSERT INTO orders VALUES (1, '2024-01-31'), (2, NULL), (3, 'infinity'), (4, '-infinity')",
        )
        .await;
    let mut stream = incremental("at");
    let told = w.refused(&stream).await;
    assert!(told.starts_with("error[I026]: bronze.t: 3 rows have no usable value in the cursor column `at`"), "{told}");
    stream.max_rejected = 3;
    let report = w.take(&stream).await;
    assert_eq!((report.rows, report.rejected), (Some(1), 3));
    assert!(w.take(&stream).await.unchanged, "they are set aside once");
    let raw = w.sql_over("quarantine.t", "select raw from t order by raw").await;
    let (before, after) = ("{\"at\": \"-infinity\", \"id\": 4}", "{\"at\": \"infinity\", \"id\": 3}");
    assert_eq!(raw, [before, after, "{\"at\": null, \"id\": 2}"]);
}

#[tokio::test]
async fn mistakes_are_named() {
    let Some((mut w, server)) = start().await else { return };
    server
        .execute(
            "CREATE TABLE orders (id int, updated_at timestamptz, j json); CREATE SCHEMA sales; CREATE TABLE sales.items (id int);
             CREATE ROLE guest LOGIN PASSWORD 'guest'; GRANT pg_monitor TO guest",
        )
        .await;
    let told = w.refused(&full("ordes")).await;
    assert!(told.starts_with("error[I022]: there is no table `ordes` in postgres on 127.0.0.1:"), "{told}");
    assert!(told.contains("did you mean `orders`?"), "{told}");
    assert!(w.refused(&full("items")).await.contains("did you mean `sales.items`?"));
    let told = w.refused(&incremental("updatd_at")).await;
    assert!(told.starts_with("error[I023]") && told.contains("did you mean `updated_at`?"), "{told}");
    assert!(w.refused(&incremental("j")).await.contains("`j` is json, which cannot be a cursor"));
    w.connection = Connection::Postgres { url: server.url_as("guest", "guest", "postgres") };
    let told = w.refused(&full("orders")).await;
    assert!(told.starts_with("error[I024]") && told.contains("permission denied for table orders"), "{told}");
    w.connection = Connection::Postgres { url: server.url_as("tester", "wrong", "postgres") };
    let told = w.refused(&full("orders")).await;
    assert!(
        told.starts_with("error[I021]") && told.contains("refuses user `tester`") && !told.contains("wrong"),
        "{told}"
    );
    w.connection = Connection::Postgres { url: server.url_as("tester", "right", "nowhere") };
    assert!(w.refused(&full("orders")).await.contains("database \"nowhere\" does not exist"));
    w.connection = Connection::Postgres { url: "postgres://a:b@no-such-host.invalid/db".to_owned() };
    let told = w.refused(&full("orders")).await;
    assert!(told.contains("no-such-host.invalid"), "{told}");
    w.connection = Connection::Postgres { url: "postgres://a:b@127.0.0.1:1/db".to_owned() };
    assert!(w.refused(&full("orders")).await.starts_with("transient: db on 127.0.0.1:1 cannot be reached: "));
    w.connection = Connection::Postgres { url: format!("{}?sslmode=require", server.url()) };
    let told = w.refused(&full("orders")).await;
    assert!(told.contains("I021") && told.contains("encrypted"), "{told}");
}

#[tokio::test]
async fn a_server_that_goes_away_leaves_nothing_behind() {
    let Some((w, mut server)) = start().await else { return };
    server
        .execute("CREATE TABLE orders (id int, at bigint, v text); INSERT INTO orders SELECT g, g, repeat('x', 200) FROM generate_series(1, 1000000) g")
        .await;
    let stream = incremental("at");
    let step = w.step(&stream, false);
    let cx = context();
    let progress = cx.progress.clone();
    let running = tokio::spawn(async move { step.run(&cx).await });
    while progress.rows() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.kill();
    let told = crate::support::told(&running.await.unwrap().unwrap_err());
    assert!(told.starts_with("transient: postgres on 127.0.0.1:"), "{told}");
    assert!(!w.exists("bronze.t").await && w.cursor("test.orders").await.is_none());
    assert_eq!(parquet_files(&w.path("warehouse")), 0);
    server.restart().await;
    assert_eq!(w.take(&stream).await.rows, Some(1_000_000));
    assert_eq!(w.sql("select count(*), count(distinct id) from t").await, ["1000000 | 1000000"]);
}

#[tokio::test]
async fn one_snapshot_is_read() {
    let Some((w, server)) = start().await else { return };
    server
        .execute("CREATE TABLE orders (id int, at int, v text); INSERT INTO orders SELECT g, g, repeat('x', 100) FROM generate_series(1, 300000) g")
        .await;
    let stream = incremental("at");
    let step = w.step(&stream, false);
    let cx = context();
    let progress = cx.progress.clone();
    let running = tokio::spawn(async move { step.run(&cx).await });
    while progress.rows() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Rows that come while it reads are for the next run: the cursor must not pass them by.
    let mut other = server.connect().await;
    for id in 300_001..300_050 {
        sqlx::query("INSERT INTO orders VALUES ($1, $1, '')").bind(id).execute(&mut other).await.unwrap();
    }
    other.close().await.unwrap();
    running.await.unwrap().unwrap();
    w.take(&stream).await;
    assert_eq!(w.sql("select count(*), count(distinct id), max(id) from t").await, ["300049 | 300049 | 300049"]);
}

#[tokio::test]
async fn a_database_is_surveyed_and_looked_at_without_reading_it() {
    let Some((w, server)) = start().await else { return };
    server
        .execute(
            "CREATE TABLE orders (id bigint PRIMARY KEY, \"Updated At\" timestamptz, updated_at timestamptz NOT NULL,
               amount numeric(12,2));
             CREATE INDEX ON orders (updated_at);
             INSERT INTO orders SELECT i, NULL, now(), i FROM generate_series(1, 50) i; ANALYZE orders;
             CREATE SCHEMA sales; CREATE TABLE sales.lines (\"No\" int, order_id int, modified timestamp NOT NULL,
               PRIMARY KEY (order_id, \"No\"));
             CREATE TABLE log (line text);
             CREATE TABLE days (day date) PARTITION BY RANGE (day);
             CREATE TABLE days_1 PARTITION OF days DEFAULT;
             CREATE VIEW v AS SELECT 1 AS x;",
        )
        .await;
    let place = polder_diag::Span::file(&std::sync::Arc::from("address"));
    let found = polder_ingest::survey(&server.url(), &place).await.unwrap();
    let told: Vec<String> = found
        .iter()
        .map(|t| {
            let cursor = t.cursor.as_ref().map(|c| format!("{} {}", c.column, c.indexed));
            format!("{} [{}] {}", t.name, t.key.join(", "), cursor.unwrap_or_default())
        })
        .collect();
    assert_eq!(
        told,
        ["days [] ", "log [] ", "orders [id] updated_at true", "sales.lines [order_id, No] modified false"]
    );
    assert_eq!(found.iter().find(|t| t.name == "orders").and_then(|t| t.rows), Some(50));

    let connection = Connection::Postgres { url: server.url() };
    let mut orders = incremental("updated_at");
    orders.columns = declared(&[("amount", "text")]);
    let source =
        polder_project::Source { name: "shop".to_owned(), connection, streams: vec![], span: orders.span.clone() };
    let locked = polder_ingest::look(&w.path(""), &source, &stream("sales.lines", ReadMode::Full)).await.unwrap();
    assert_eq!(locked.key, ["no", "order_id"], "in the order of the table");
    let wrong = polder_ingest::look(&w.path(""), &source, &orders).await.unwrap_err().to_string();
    assert!(wrong.contains("I006"), "two columns that become one: {wrong}");
    server.execute("ALTER TABLE orders DROP COLUMN \"Updated At\"").await;
    let locked = polder_ingest::look(&w.path(""), &source, &orders).await.unwrap();
    let columns: Vec<String> = locked
        .columns
        .iter()
        .map(|(name, column)| format!("{name} {}{}", column.data_type, if column.not_null { " not null" } else { "" }))
        .collect();
    assert_eq!(columns, ["amount text", "id bigint not null", "updated_at timestamptz not null"]);
    assert_eq!(locked.key, ["id"]);
}
