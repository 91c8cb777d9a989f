//! `polder generate shop`: the same bytes for the same seed, in every format, and into PostgreSQL.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::fixture::{Project, skipped};

/// All files below a folder, by name.
fn files(project: &Project, folder: &str) -> Vec<(String, Vec<u8>)> {
    let root = project.path(folder);
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    found.push((name, std::fs::read(&path).unwrap()));
                }
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_seed_gives_the_same_bytes() {
    let project = Project::empty();
    for format in ["csv", "jsonl", "parquet"] {
        let make = |out: &str, seed: &str, threads: &str| {
            let arguments = ["generate", "shop", "--orders", "2k", "--format", format, "--out", out];
            project
                .polder(&[&arguments[..], &["--seed", seed, "--threads", threads, "--defects"]].concat())
                .ends_with(0);
            files(&project, out)
        };
        let (one, other) = (make(&format!("{format}-1"), "7", "1"), make(&format!("{format}-2"), "7", "3"));
        assert_eq!(one.len(), 6, "six tables");
        assert!(one.iter().all(|(name, bytes)| name.ends_with(format) && !bytes.is_empty()), "{format}");
        assert!(one == other, "{format}: other bytes for the same seed");
        assert!(one != make(&format!("{format}-3"), "8", "1"), "{format}: the same bytes for another seed");
    }
    for method in ["gzip", "zstd"] {
        let packed =
            ["generate", "shop", "--orders", "500", "--format", "csv", "--compression", method, "--out", method];
        project.polder(&packed).ends_with(0).says("orders");
        assert!(files(&project, method).iter().all(|(name, _)| name.ends_with(".gz") || name.ends_with(".zst")));
    }
    let parquet = ["generate", "shop", "--out", "x", "--format", "parquet", "--compression", "gzip"];
    project.polder(&parquet).ends_with(2).complains("Parquet compresses by itself");
}

#[test]
fn what_is_generated_is_what_is_told() {
    let project = Project::of(&[("polder.yaml", "name: made\n")]);
    let done =
        project.polder(&["generate", "shop", "--out", "data", "--orders", "1_000", "--format", "csv"]).ends_with(0);
    for table in ["customers", "products", "orders", "order_lines", "payments", "events"] {
        let line = done.out.lines().find(|l| l.starts_with(&format!("{table} "))).unwrap();
        let told: i64 = line.split_whitespace().nth(1).unwrap().replace(',', "").parse().unwrap();
        assert_eq!(project.number(&format!("select count(*) from 'data/{table}/*.csv'")), told, "{table}");
    }
    let none = ["generate", "shop", "--out", "data", "--orders", "1000", "--day", "2026-01-01"];
    project.polder(&none).ends_with(0).says("2026-01-01");
}

#[tokio::test]
async fn a_database_gets_the_same_shop() {
    let Ok(url) = std::env::var("POLDER_TEST_PG") else {
        skipped("POLDER_TEST_PG names no PostgreSQL (tools/pg.py run -- … starts one)");
        return;
    };
    let mut server = PgConnection::connect(&url).await.unwrap();
    for statement in ["drop database if exists polder_generate", "create database polder_generate"] {
        sqlx::raw_sql(statement).execute(&mut server).await.unwrap();
    }
    let (before, _) = url.rsplit_once('/').unwrap();
    let url = format!("{before}/polder_generate");
    let project = Project::of(&[("polder.yaml", "name: made\n")]);
    let arguments = ["generate", "shop", "--orders", "1000", "--seed", "3", "--tables", "orders,order_lines", "--out"];
    project.polder(&[&arguments[..], &[&url]].concat()).ends_with(0).says("orders").says("order_lines");
    project.polder(&[&arguments[..], &["data", "--format", "csv"]].concat()).ends_with(0);
    let mut made = PgConnection::connect(&url).await.unwrap();
    for (table, sum) in [("orders", "sum(cast(amount as decimal(12, 2)))"), ("order_lines", "sum(quantity)")] {
        let sql = format!("select count(*) || ' ' || {sum} from {table}");
        let in_database: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut made).await.unwrap();
        let sql = format!("select count(*) || ' ' || {sum} as s from 'data/{table}/*.csv'");
        assert_eq!(project.ask(&sql)[0]["s"], in_database, "{table}");
    }
    // What is there stays, unless it is told to go.
    let again = project.polder(&[&arguments[..], &[&url]].concat()).ends_with(3);
    assert!(again.err.contains("--replace"), "{}", again.err);
    project.polder(&[&arguments[..], &[&url, "--replace"]].concat()).ends_with(0);
}
