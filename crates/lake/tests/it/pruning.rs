//! Files that cannot have a row of the answer are not read, and no others.

use std::sync::Arc;

use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::datasource::MemTable;
use polder_table::spec::Transform;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{World, text_rows, world};

fn schema() -> SchemaRef {
    let micros = TimeUnit::Microsecond;
    Arc::new(Schema::new(vec![
        Field::new("i", DataType::Int64, true),
        Field::new("f", DataType::Float64, true),
        Field::new("s", DataType::Utf8, true),
        Field::new("d", DataType::Date32, true),
        Field::new("ts", DataType::Timestamp(micros, Some("UTC".into())), true),
        Field::new("b", DataType::Binary, true),
        Field::new("n", DataType::Decimal128(12, 2), true),
    ]))
}

#[derive(Debug, Clone)]
struct Row {
    i: Option<i64>,
    f: Option<f64>,
    s: Option<String>,
    d: Option<i32>,
    ts: Option<i64>,
    b: Option<Vec<u8>>,
    n: Option<i128>,
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.i).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.f).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|r| r.s.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.d).collect::<Date32Array>()),
        Arc::new(rows.iter().map(|r| r.ts).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        Arc::new(rows.iter().map(|r| r.b.as_deref()).collect::<BinaryArray>()),
        Arc::new(rows.iter().map(|r| r.n).collect::<Decimal128Array>().with_precision_and_scale(12, 2).unwrap()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

const DAY: i64 = 86_400_000_000;

fn row_near(center: i64) -> impl Strategy<Value = Row> {
    let text = prop_oneof![
        4 => "[a-c]{0,3}".prop_map(String::from),
        1 => (60usize..70, "[a-c\u{10ffff}]").prop_map(|(n, c)| "ß".repeat(n / 2) + &c),
        1 => Just("\u{10ffff}".repeat(20)),
    ];
    let bytes = prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..3),
        1 => (62usize..67).prop_map(|n| vec![0xff; n]),
    ];
    let float = prop_oneof![
        6 => (-3i32..3).prop_map(f64::from),
        1 => Just(f64::NAN), 1 => Just(-f64::NAN), 1 => Just(-0.0), 1 => Just(f64::INFINITY),
    ];
    let near = move |span: i64| (center - span)..(center + span);
    (
        proptest::option::weighted(0.8, near(20)),
        proptest::option::weighted(0.8, float),
        proptest::option::weighted(0.8, text),
        proptest::option::weighted(0.8, near(5).prop_map(|d| i32::try_from(d).unwrap())),
        proptest::option::weighted(0.8, near(3).prop_flat_map(|day| (day * DAY)..(day + 1) * DAY)),
        proptest::option::weighted(0.8, bytes),
        proptest::option::weighted(0.8, near(50).prop_map(i128::from)),
    )
        .prop_map(|(i, f, s, d, ts, b, n)| Row { i, f, s, d, ts, b, n })
}

fn comparison() -> impl Strategy<Value = String> {
    let op = prop_oneof![Just("="), Just("<"), Just("<="), Just(">"), Just(">="), Just("<>")];
    let near = prop_oneof![Just(0i64), Just(100)].prop_flat_map(|c| (c - 25)..(c + 25));
    let operand = prop_oneof![
        near.clone().prop_map(|v| ("i".to_owned(), v.to_string())),
        prop_oneof![
            (-3i32..3).prop_map(|v| format!("{v}.0")),
            Just("'NaN'::double".to_owned()),
            Just("-0.0".to_owned())
        ]
        .prop_map(|v| ("f".to_owned(), v)),
        prop_oneof!["'[a-c]{0,3}'", "'ß{30,34}[a-c]?'", "'\u{10ffff}{1,20}'"].prop_map(|v| ("s".to_owned(), v)),
        near.clone().prop_map(|v| ("d".to_owned(), format!("arrow_cast({v}::int, 'Date32')"))),
        near.clone().prop_map(|v| ("ts".to_owned(), format!("to_timestamp_micros({})", v * DAY / 5))),
        Just(("b".to_owned(), "X'ff'".to_owned())),
        near.prop_map(|v| ("n".to_owned(), format!("{v}::decimal(12,2) / 10"))),
    ];
    let compare = (operand.clone(), op).prop_map(|((column, value), op)| format!("{column} {op} {value}"));
    let nulls = prop_oneof![Just("i"), Just("f"), Just("s"), Just("ts")]
        .prop_flat_map(|column| prop_oneof![Just(format!("{column} is null")), Just(format!("{column} is not null"))]);
    let list = proptest::collection::vec(0i64..110, 1..4)
        .prop_map(|list| format!("i in ({})", list.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")));
    let text = prop_oneof![Just("s like 'a%'".to_owned()), Just("s not like 'b%'".to_owned())];
    prop_oneof![8 => compare, 2 => nulls, 2 => list, 1 => text]
}

fn predicate() -> impl Strategy<Value = String> {
    comparison().prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

/// Random files, random predicates: what a scan gives is what a filter over all rows gives.
async fn scan_equals_filter(partition: &[(&str, Transform)], seed: u8, predicates: usize) {
    let config = Config { failure_persistence: None, ..Config::default() };
    let rng = proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let mut draw = |strategy: &BoxedStrategy<Vec<Row>>| strategy.new_tree(&mut runner).unwrap().current();
    let world = world().await;
    world.create(&schema(), partition).await;
    let mut all = Vec::new();
    for file in 0..8 {
        let rows = proptest::collection::vec(row_near(if file % 2 == 0 { 0 } else { 100 }), 1..12).boxed();
        let rows = batch(&draw(&rows));
        world.append(vec![rows.clone()]).await;
        all.push(rows);
    }
    let session = world.session().await;
    session.register_table("m", Arc::new(MemTable::try_new(schema(), vec![all]).unwrap())).unwrap();
    let predicate_tree = predicate();
    let mut pruned = 0;
    for _ in 0..predicates {
        let predicate = predicate_tree.new_tree(&mut runner).unwrap().current();
        let query = |table: &str| format!("select * from {table} where {predicate}");
        let rows_of = async |table: &str| {
            let result = session.sql(&query(table)).await.unwrap().collect().await.unwrap();
            let mut rows: Vec<_> = result.iter().flat_map(text_rows).collect();
            rows.sort();
            rows
        };
        assert_eq!(rows_of("t").await, rows_of("m").await, "where {predicate}");
        pruned += usize::from(was_pruned(&world.explain(&query("t")).await));
    }
    assert!(pruned > predicates / 8, "pruning happened for {pruned} of {predicates} predicates only");
}

/// `files=3/8`: three of eight.
fn was_pruned(plan: &str) -> bool {
    plan.split("files=").nth(1).is_some_and(|rest| {
        let (read, total) = rest.split([',', ' ', '\n']).next().unwrap().split_once('/').unwrap();
        read != total
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_equal_filters() {
    for seed in 0..3 {
        scan_equals_filter(&[], seed, 120).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_of_partitioned_tables_equal_filters() {
    scan_equals_filter(&[("ts", Transform::Day)], 10, 60).await;
    scan_equals_filter(&[("d", Transform::Month), ("i", Transform::Bucket(4))], 11, 60).await;
    scan_equals_filter(&[("s", Transform::Truncate(1)), ("i", Transform::Truncate(10))], 12, 60).await;
    scan_equals_filter(&[("f", Transform::Identity), ("ts", Transform::Hour)], 13, 60).await;
    scan_equals_filter(&[("b", Transform::Identity), ("n", Transform::Bucket(3))], 14, 60).await;
}

async fn expect_files(world: &World, predicate: &str, files: &str) {
    let plan = world.explain(&format!("select * from t where {predicate}")).await;
    assert!(plan.contains(&format!("files={files},")), "{predicate}: {plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_shows_what_bounds_leave_out() {
    let world = world().await;
    let schema =
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("name", DataType::Utf8, true)]));
    world.create(&schema, &[]).await;
    for start in 0..4i64 {
        let ids = Int64Array::from_iter_values(start * 10..start * 10 + 10);
        let names =
            StringArray::from_iter_values((0..10).map(|n| format!("{}-{n}", "x".repeat(100) + &start.to_string())));
        world
            .append(vec![RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids), Arc::new(names)]).unwrap()])
            .await;
    }
    expect_files(&world, "id = 17", "1/4").await;
    expect_files(&world, "id >= 15 and id < 25", "2/4").await;
    expect_files(&world, "id in (1, 39)", "2/4").await;
    expect_files(&world, "id > 100", "0/4").await;
    expect_files(&world, "id is null", "0/4").await;
    expect_files(&world, "name = 'y'", "0/4").await;
    // All names share the prefix that bounds keep.
    let wanted = "x".repeat(100) + "2-7";
    expect_files(&world, &format!("name = '{wanted}'"), "4/4").await;
    assert_eq!(world.rows(&format!("select id from t where name = '{wanted}'")).await, ["27"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_shows_what_partitions_leave_out() {
    let world = world().await;
    let schema = Arc::new(Schema::new(vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("key", DataType::Utf8, true),
    ]));
    world.create(&schema, &[("at", Transform::Day), ("key", Transform::Bucket(8))]).await;
    let times = TimestampMicrosecondArray::from_iter_values((0..40).map(|n| n % 10 * DAY + n)).with_timezone("UTC");
    let keys = StringArray::from_iter_values((0..40).map(|n| if n < 10 { "a" } else { "zz" }));
    world.append(vec![RecordBatch::try_new(schema, vec![Arc::new(times), Arc::new(keys)]).unwrap()]).await;
    let total = world.table().await.files().await.unwrap().len();
    assert_eq!(total, 20);
    expect_files(&world, "at >= '1970-01-04T00:00:00Z' and at < '1970-01-05T00:00:00Z'", "2/20").await;
    expect_files(&world, "key = 'a'", "10/20").await;
    // Between the bounds of every file there is, but in no file's bucket.
    expect_files(&world, "key in ('b', 'c') and at < '1970-01-02T00:00:00Z'", "0/20").await;
}
