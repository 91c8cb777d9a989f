use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use polder_table::Operation;
use tokio_util::sync::CancellationToken;

use crate::support::{stream_of, world};

fn orders(start: i64, rows: i64) -> RecordBatch {
    let mix = |i: i64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64) >> 20).rem_euclid(1_000_000);
    let r = start..start + rows;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("order_id", Arc::new(Int64Array::from_iter_values(r.clone()))),
        ("customer_id", Arc::new(Int64Array::from_iter_values(r.clone().map(|i| mix(i) % 100_000)))),
        (
            "status",
            Arc::new(StringArray::from_iter_values(
                r.clone().map(|i| ["new", "paid", "shipped", "returned"][(mix(i) % 4) as usize]),
            )),
        ),
        ("email", Arc::new(StringArray::from_iter_values(r.clone().map(|i| format!("user{}@example.com", mix(i)))))),
        (
            "amount",
            Arc::new(
                Decimal128Array::from_iter_values(r.clone().map(|i| i128::from(mix(i))))
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
        ),
        ("quantity", Arc::new(Int32Array::from_iter_values(r.clone().map(|i| (mix(i) % 10) as i32)))),
        (
            "created_at",
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                r.clone().map(|i| 1_700_000_000_000_000 + i * 1_000_003),
            )),
        ),
        ("price", Arc::new(Float64Array::from_iter_values(r.clone().map(|i| mix(i) as f64 / 7.0)))),
        ("_run", Arc::new(Int64Array::from_iter_values(r.clone().map(|_| 7)))),
        ("_file", Arc::new(StringArray::from_iter_values(r.map(|_| "orders-2026-11-20.csv")))),
    ];
    let fields: Vec<Field> = columns.iter().map(|(n, c)| Field::new(*n, c.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, c)| c).collect()).unwrap()
}

fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
#[ignore]
async fn speed() {
    let world = world().await;
    let first = orders(0, 1);
    let target = world.create(&first.schema(), &[]).await;
    let _ = DataType::Timestamp(TimeUnit::Second, None);
    let batches: Vec<_> = (0..100).map(|i| orders(i * 8192, 8192)).collect();
    println!("before: {} MB", peak_mb());
    for streams in [1, 2] {
        let start = Instant::now();
        let source = (0..streams).map(|_| {
            let batches: Vec<_> = (0..610 / streams).map(|i| batches[i % 100].clone()).collect();
            stream_of(first.schema(), batches)
        });
        let written =
            world.lake().write(&target, source.collect(), &CancellationToken::new(), &|_, _| {}).await.unwrap();
        println!(
            "{streams} streams: {} rows, {} MB in {} files, {:?}, peak {} MB",
            written.rows,
            written.bytes >> 20,
            written.files.len(),
            start.elapsed(),
            peak_mb()
        );
        if streams == 2 {
            world.commit(Operation::Append { files: written.files }).await;
        }
    }
    for sql in [
        "select count(*), sum(amount), sum(price), count(distinct customer_id) from t",
        "select status, sum(quantity), max(email) from t group by status",
        "select count(*) from t where email like '%99@%'",
        "select * from t where order_id = 77777",
    ] {
        for _ in 0..2 {
            let start = Instant::now();
            let rows = world.rows(sql).await.len();
            println!("{:?} {rows} rows: {sql}", start.elapsed());
        }
    }
    println!("peak {} MB", peak_mb());
}
