//! Speed and memory: run by hand, with `cargo test -p polder-ingest --test it -- --ignored --nocapture weight`.

use std::io::{BufWriter, Write};
use std::time::Instant;

use polder_project::{Connection, FileFormat, ReadMode};

use crate::server::server;
use crate::support::{csv, files, stream, world};

const ROWS: u64 = 5_000_000;

/// The most memory that this process ever had, in MiB (Linux).
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("0");
    line.split_whitespace().find_map(|w| w.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn report(what: &str, bytes: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    let (mib, rows) = (bytes as f64 / 1048576.0 / seconds, ROWS as f64 / seconds);
    eprintln!("{what}: {seconds:.2} s, {mib:.0} MiB/s, {rows:.0} rows/s, peak {} MiB", peak_mib());
}

fn line(id: u64) -> String {
    let day = 1 + id % 28;
    format!(
        "{id},{},customer {},{}.{:02},2024-01-{day:02} 10:00:00,{}\n",
        id % 99_991,
        id % 7919,
        id % 500,
        id % 100,
        id.is_multiple_of(3)
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn weight_of_csv() {
    let w = world().await;
    let mut out = BufWriter::new(std::fs::File::create(w.path("t.csv")).unwrap());
    out.write_all(b"id,customer_id,name,amount,at,paid\n").unwrap();
    (0..ROWS).for_each(|id| out.write_all(line(id).as_bytes()).unwrap());
    out.into_inner().unwrap();
    let started = Instant::now();
    let took = w.take(&csv("t.csv")).await;
    report("csv", took.bytes.unwrap(), started);
    assert_eq!(w.sql("select count(*), sum(id) from t").await, [format!("{ROWS} | {}", ROWS * (ROWS - 1) / 2)]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn weight_of_json() {
    let w = world().await;
    let mut out = BufWriter::new(std::fs::File::create(w.path("t.jsonl")).unwrap());
    for id in 0..ROWS {
        writeln!(out, "{{\"id\":{id},\"user\":{{\"id\":{},\"name\":\"user {}\"}},\"kind\":\"click\",\"at\":\"2024-01-01T10:00:00Z\"}}", id % 9973, id % 7919).unwrap();
    }
    out.into_inner().unwrap();
    let started = Instant::now();
    let took = w.take(&files("t.jsonl", FileFormat::JsonLines)).await;
    report("json", took.bytes.unwrap(), started);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn weight_of_postgres() {
    let Some(server) = server().await else { return };
    let mut w = world().await;
    w.connection = Connection::Postgres { url: server.url() };
    server
        .execute(&format!(
            "CREATE TABLE orders AS SELECT g AS id, g % 99991 AS customer_id, 'customer ' || g % 7919 AS name,
             (g % 50000 / 100.0)::numeric(12,2) AS amount, timestamptz '2024-01-01' + g * interval '1 s' AS at
             FROM generate_series(0, {ROWS} - 1) g; ANALYZE orders"
        ))
        .await;
    let started = Instant::now();
    w.take(&stream("orders", ReadMode::Full)).await;
    report("postgres", 0, started);
}
