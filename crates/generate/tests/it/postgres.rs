//! Loading into a real PostgreSQL: the one that `POLDER_TEST_PG` names. `make test` starts one.

use std::sync::Arc;

use polder_generate::{Defect, Defects, NaiveDate, PostgresOptions, Shop, ShopOptions, Slice, Table, load_postgres};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// A database of this test alone, or `None` without a server.
async fn database(name: &str) -> Option<String> {
    let Ok(server) = std::env::var("POLDER_TEST_PG") else {
        eprintln!("POLDER_TEST_PG is not set: not tested");
        return None;
    };
    let mut connection = PgConnection::connect(&server).await.unwrap();
    for sql in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
    let mut url: Vec<&str> = server.splitn(2, '?').collect();
    let base = url[0].rsplit_once('/').unwrap().0;
    let whole = format!("{base}/{name}");
    url[0] = &whole;
    Some(url.join("?"))
}

async fn number(url: &str, sql: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_and_two_days() {
    let Some(url) = database("polder_generate_days").await else { return };
    let shop = Arc::new(Shop::new(&ShopOptions { orders: 35_000, seed: 9, ..ShopOptions::default() }).unwrap());
    let options = PostgresOptions::new(&url);
    let summary = load_postgres(&shop, Slice::History, &Defects::none(), &options, &|_| ()).await.unwrap();
    assert_eq!(summary.tables.len(), 6);
    for table in &summary.tables {
        let rows = number(&url, &format!("SELECT count(*) FROM {}", table.table)).await;
        assert_eq!(rows.unsigned_abs(), table.rows, "{}", table.table);
    }
    // The same rows as the files have.
    let amount = "SELECT (sum(o.amount) * 100)::bigint FROM orders o";
    let lines =
        "SELECT ((SELECT sum(amount) FROM order_lines) * 100 + (SELECT sum(shipping) FROM orders) * 100)::bigint";
    assert_eq!(number(&url, amount).await, number(&url, lines).await);

    let placed = "SELECT count(*) FROM orders WHERE status = 'placed'";
    for day in 1..=2 {
        let slice = Slice::Day(NaiveDate::from_ymd_opt(2026, 1, day).unwrap());
        let before = number(&url, placed).await;
        let summary = load_postgres(&shop, slice, &Defects::none(), &options, &|_| ()).await.unwrap();
        let rows = number(&url, "SELECT count(*) FROM orders").await;
        assert!(rows > 35_000 && summary.rows() > 0);
        // Orders move on: they do not pile up as `placed`.
        assert!(number(&url, placed).await < before + 50);
        // The same day again changes nothing.
        load_postgres(&shop, slice, &Defects::none(), &options, &|_| ()).await.unwrap();
        assert_eq!(number(&url, "SELECT count(*) FROM orders").await, rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defects_that_a_database_cannot_hold_are_left_out_and_said() {
    let Some(url) = database("polder_generate_defects").await else { return };
    let shop = Arc::new(Shop::new(&ShopOptions { orders: 2_000, seed: 9, ..ShopOptions::default() }).unwrap());
    let options = PostgresOptions { tables: vec![Table::Orders, Table::OrderLines], ..PostgresOptions::new(&url) };
    let summary = load_postgres(&shop, Slice::History, &Defects::all(), &options, &|_| ()).await.unwrap();
    assert_eq!(summary.notes.len(), 2, "{:?}", summary.notes);
    assert_eq!(summary.defects.get(Defect::DuplicateKeys, Table::Orders), 0);
    let future = number(&url, "SELECT count(*) FROM orders WHERE created_at > '2030-01-01'").await;
    assert_eq!(summary.defects.get(Defect::FutureOrders, Table::Orders), future.unsigned_abs());
    assert!(future > 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_in_the_address_is_made() {
    let Some(url) = database("polder_generate_schema").await else { return };
    let url = format!("{url}{}options=-csearch_path%3Ddemo", if url.contains('?') { '&' } else { '?' });
    let shop = Arc::new(Shop::new(&ShopOptions { orders: 500, ..ShopOptions::default() }).unwrap());
    let options = PostgresOptions { tables: vec![Table::Products], replace: true, ..PostgresOptions::new(&url) };
    for _ in 0..2 {
        load_postgres(&shop, Slice::History, &Defects::none(), &options, &|_| ()).await.unwrap();
    }
    assert_eq!(number(&url, "SELECT count(*) FROM demo.products").await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_persons_own_is_dropped() {
    let Some(url) = database("polder_generate_own").await else { return };
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE products (mine int)").execute(&mut connection).await.unwrap();
    let shop = Arc::new(Shop::new(&ShopOptions { orders: 500, ..ShopOptions::default() }).unwrap());
    let options = PostgresOptions::new(&url);
    let err = load_postgres(&shop, Slice::History, &Defects::none(), &options, &|_| ()).await.unwrap_err();
    let message = "PostgreSQL: table `products` is there already; with `--replace` it is dropped first";
    assert_eq!(err.to_string(), message);
    // All or nothing: the customers came first and are gone again.
    assert_eq!(number(&url, "SELECT count(*) FROM pg_tables WHERE tablename = 'customers'").await, 0);
    let options = PostgresOptions { replace: true, ..options };
    load_postgres(&shop, Slice::History, &Defects::none(), &options, &|_| ()).await.unwrap();

    let wrong = PostgresOptions::new("postgres://nobody:secret@127.0.0.1:1/none");
    let err = load_postgres(&shop, Slice::History, &Defects::none(), &wrong, &|_| ()).await.unwrap_err();
    assert!(err.to_string().starts_with("PostgreSQL: cannot connect to 127.0.0.1:1: "), "{err}");
    assert!(!err.to_string().contains("secret"), "{err}");
}
