//! CSV files.

use std::io::Write;

use proptest::prelude::*;

use crate::support::{csv, declared, file_options, world};

#[tokio::test]
async fn types_are_found_and_names_normalised() {
    let w = world().await;
    w.file(
        "orders.csv",
        "Order ID,amount,rate,zip,paid,day,at,seen,note\n\
         1,12.50,0.5,007,true,2024-01-31,2024-01-31 10:00:00,2024-01-31T10:00:00+02:00,\n\
         2,9.99,1,010,false,2024-02-29,2024-02-29 00:00:00.25,2024-02-29T00:00:00Z,\"\"\n",
    );
    let report = w.take(&csv("orders.csv")).await;
    assert_eq!((report.rows, report.rejected, report.note.as_deref()), (Some(2), 0, Some("1 file")));
    assert_eq!(
        w.columns().await,
        [
            "order_id bigint",
            "amount decimal(18, 2)",
            "rate double",
            "zip text",
            "paid boolean",
            "day date",
            "at timestamp",
            "seen timestamptz",
            "note text"
        ]
    );
    assert_eq!(w.comment("order_id").await.as_deref(), Some("Order ID"));
    assert_eq!(w.comment("amount").await, None);
    assert_eq!(
        w.sql("select * from t order by order_id").await,
        [
            "1 | 12.50 | 0.5 | 007 | true | 2024-01-31 | 2024-01-31T10:00:00 | 2024-01-31T08:00:00Z | ∅ | 1 | \
             2023-11-14T22:13:20Z | orders.csv | 2",
            "2 | 9.99 | 1.0 | 010 | false | 2024-02-29 | 2024-02-29T00:00:00.250 | 2024-02-29T00:00:00Z |  | 1 | \
             2023-11-14T22:13:20Z | orders.csv | 3",
        ]
    );
}

#[tokio::test]
async fn declared_types_win() {
    let w = world().await;
    w.file("t.csv", "id,n,flag,at,price\n007,1,yes,2024-01-31,12.5\n008,2,no,2024-02-01T00:00:00,7\n");
    let mut stream = csv("t.csv");
    stream.columns = declared(&[
        ("id", "int"),
        ("n", "text"),
        ("flag", "boolean"),
        ("at", "timestamptz"),
        ("price", "decimal(10,3)"),
    ]);
    w.take(&stream).await;
    assert_eq!(w.columns().await, ["id integer", "n text", "flag boolean", "at timestamptz", "price decimal(10, 3)"]);
    assert_eq!(
        w.sql("select id, n, flag, at, price from t order by id").await,
        ["7 | 1 | true | 2024-01-31T00:00:00Z | 12.500", "8 | 2 | false | 2024-02-01T00:00:00Z | 7.000"]
    );
}

#[tokio::test]
async fn delimiters_missing_headers_and_null_words() {
    let w = world().await;
    w.file("t.csv", "1;NA;x\r\n2;7;\"NA\"\r\n");
    let mut stream = csv("t.csv");
    let options = file_options(&mut stream);
    (options.delimiter, options.header, options.nulls) = (b';', false, vec!["NA".to_owned()]);
    w.take(&stream).await;
    assert_eq!(w.columns().await, ["column_1 bigint", "column_2 bigint", "column_3 text"]);
    let rows = w.sql("select column_1, column_2, column_3, _position from t order by 1").await;
    assert_eq!(rows, ["1 | ∅ | x | 1", "2 | 7 | NA | 2"]);
}

#[tokio::test]
async fn quotes_hold_delimiters_and_line_ends() {
    let w = world().await;
    w.file("t.csv", "\u{feff}a,b\n1,\"x, \"\"y\"\"\nz\"\n2,plain\n");
    w.take(&csv("t.csv")).await;
    let rows = w.sql("select a, replace(b, chr(10), '/'), _position from t order by a").await;
    assert_eq!(rows, ["1 | x, \"y\"/z | 2", "2 | plain | 4"]);
}

#[tokio::test]
async fn compressed_files_are_known_by_their_first_bytes() {
    let w = world().await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"a,b\n1,x\n").unwrap();
    let mut gzip = gzip.finish().unwrap();
    // A second member, as programs that compress in parallel write it.
    let mut second = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    second.write_all(b"2,y\n").unwrap();
    gzip.extend(second.finish().unwrap());
    w.file("in/1.csv", gzip);
    w.file("in/2.csv.zst", zstd::encode_all(&b"a,b\n3,z\n"[..], 1).unwrap());
    let report = w.take(&csv("in/*")).await;
    assert_eq!((report.rows, report.note.as_deref()), (Some(3), Some("2 files")));
    let rows = w.sql("select a, b, _file, _position from t order by a").await;
    assert_eq!(rows, ["1 | x | in/1.csv | 2", "2 | y | in/1.csv | 3", "3 | z | in/2.csv.zst | 2"]);
}

#[tokio::test]
async fn files_may_differ_in_order_and_number_of_columns() {
    let w = world().await;
    w.file("in/1.csv", "a,b\n1,x\n");
    w.file("in/2.csv", "b,a\ny,2\n");
    w.file("in/3.csv", "a\n3\n");
    w.file("in/4.csv", "a,b,c\n4,z,1.5\n");
    w.take(&csv("in/*.csv")).await;
    assert_eq!(w.columns().await, ["a bigint", "b text", "c double"]);
    let rows = w.sql("select a, b, c from t order by a").await;
    assert_eq!(rows, ["1 | x | ∅", "2 | y | ∅", "3 | ∅ | ∅", "4 | z | 1.5"]);
}

#[tokio::test]
async fn many_chunks_and_threads_keep_every_row() {
    let w = world().await;
    let mut text = String::from("id,name,amount\n");
    for id in 0..600_000u64 {
        let name = if id % 1000 == 0 { "\"quoted, \"\"name\"\"\"" } else { "plain name of a customer" };
        text += &format!("{id},{name},{}.{:02}\n", id % 977, id % 100);
    }
    w.file("big.csv", &text);
    assert!(text.len() > 16 << 20, "more than one reader");
    let report = w.take(&csv("big.csv")).await;
    assert_eq!((report.rows, report.bytes), (Some(600_000), Some(text.len() as u64)));
    let sums = "select count(*), count(distinct id), sum(id), sum(_position - id), sum(amount) from t";
    let cents: u64 = (0..600_000).map(|id| (id % 977) * 100 + id % 100).sum();
    let want = format!("600000 | 600000 | {} | 1200000 | {}.{:02}", 599_999u64 * 300_000, cents / 100, cents % 100);
    assert_eq!(w.sql(sums).await, [want]);
}

fn written(rows: &[Vec<String>]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(["a", "b", "c"]).unwrap();
    rows.iter().for_each(|row| writer.write_record(row).unwrap());
    writer.into_inner().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// What the csv crate writes reads back equal; it writes no difference between empty and NULL.
    #[test]
    fn what_is_written_reads_back(rows in prop::collection::vec(prop::collection::vec("[a-c,\"\n\r é0-9.-]{0,6}", 3..=3), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let got = runtime.block_on(async {
            let w = world().await;
            w.file("t.csv", written(&rows));
            let mut stream = csv("t.csv");
            stream.columns = declared(&[("a", "text"), ("b", "text"), ("c", "text")]);
            w.take(&stream).await;
            w.sql("select coalesce(a, ''), coalesce(b, ''), coalesce(c, '') from t order by _position").await
        });
        let want: Vec<String> = rows.iter().map(|row| row.join(" | ")).collect();
        prop_assert_eq!(got, want);
    }
}
