//! Wrong input: a clear message, and nothing lost.

use polder_catalog::Change;
use polder_project::{FileFormat, FileMode};
use polder_run::Step;

use crate::support::{World, context, csv, declared, file_options, files, parquet_files, world};

#[tokio::test]
async fn no_file_matches() {
    let w = world().await;
    w.file("data/orders.csv", "a\n1\n");
    let told = w.refused(&csv("data/ordes.csv")).await;
    assert!(
        told.starts_with("error[I001]: no file matches `data/ordes.csv`\n  = did you mean `orders.csv`?"),
        "{told}"
    );
    let told = w.refused(&csv("dta/*.csv")).await;
    assert!(told.starts_with("error[I001]: no file matches `dta/*.csv`\n  = did you mean `data`?"), "{told}");
    let told = w.refused(&csv("data")).await;
    assert!(
        told.starts_with("error[I001]: `data` is a folder\n  = name the files in it, such as `data/*.csv`"),
        "{told}"
    );
}

#[tokio::test]
async fn an_empty_file_makes_no_table_and_says_so() {
    let w = world().await;
    w.file("t.csv", "");
    let report = w.take(&csv("t.csv")).await;
    assert_eq!((report.rows, report.note.as_deref()), (Some(0), Some("t.csv is empty; no table was made")));
    assert!(!w.exists("bronze.t").await);
    let mut stream = csv("t.csv");
    stream.columns = declared(&[("a", "bigint")]);
    w.take(&stream).await;
    assert_eq!(w.columns().await, ["a bigint"]);
}

#[tokio::test]
async fn a_header_alone_makes_an_empty_table() {
    let w = world().await;
    w.file("t.csv", "a,b");
    let report = w.take(&csv("t.csv")).await;
    assert_eq!(report.rows, Some(0));
    assert_eq!(w.columns().await, ["a text", "b text"]);
    assert_eq!(w.sql("select count(*) from t").await, ["0"]);
}

#[tokio::test]
async fn ragged_records_stop_the_run_or_go_to_quarantine() {
    let w = world().await;
    w.file("t.csv", "a,b\n1,x\n2\n3,y,z\n4,w");
    let told = w.refused(&csv("t.csv")).await;
    assert!(
        told.starts_with("error[I010]: 2 records for bronze.t were rejected, 0 allowed; reading stopped"),
        "{told}"
    );
    assert!(told.contains("t.csv:3: 1 field, 2 expected: 2"), "{told}");
    assert!(told.contains("all of them: polder sql --ref main \"select * from quarantine.t\""), "{told}");
    // They are there to be looked at, and nothing else is.
    assert!(!w.exists("bronze.t").await && w.cursor("test.t").await.is_none());
    assert_eq!(w.sql_over("quarantine.t", "select raw from t order by position").await, ["2", "3,y,z"]);
    let mut stream = csv("t.csv");
    stream.max_rejected = 2;
    let report = w.take(&stream).await;
    assert_eq!((report.rows, report.rejected), (Some(2), 2));
    assert_eq!(w.sql("select a from t order by a").await, ["1", "4"]);
    let of_this_run = "select source, file, position, raw, reason from t where _run = (select max(_run) from t)";
    let set_aside = w.sql_over("quarantine.t", &format!("{of_this_run} order by position")).await;
    assert_eq!(
        set_aside,
        ["test.t | t.csv | 3 | 2 | 1 field, 2 expected", "test.t | t.csv | 4 | 3,y,z | 3 fields, 2 expected"]
    );
}

#[tokio::test]
async fn bytes_that_are_no_utf_8_are_rejected() {
    let w = world().await;
    w.file("t.csv", b"a,b\n1,x\n2,caf\xe9\n3,\"\xff\"\n4,\xc3\xa9\n");
    let mut stream = csv("t.csv");
    stream.max_rejected = 5;
    let report = w.take(&stream).await;
    assert_eq!((report.rows, report.rejected), (Some(2), 2));
    assert_eq!(w.sql("select a, b from t order by a").await, ["1 | x", "4 | é"]);
    let set_aside = w.sql_over("quarantine.t", "select position, raw, reason from t order by position").await;
    assert_eq!(
        set_aside,
        [
            "3 | 2,caf\u{fffd} | not UTF-8: byte 0xe9 after 5 bytes of the record",
            "4 | 3,\"\u{fffd}\" | not UTF-8: byte 0xff after 3 bytes of the record"
        ]
    );
}

#[tokio::test]
async fn a_line_of_10_mb_is_read() {
    let w = world().await;
    w.file("t.csv", format!("a,b\n1,{}\n2,y\n", "x".repeat(10 << 20)));
    w.take(&csv("t.csv")).await;
    assert_eq!(w.sql("select a, length(b) from t order by a").await, ["1 | 10485760", "2 | 1"]);
}

#[tokio::test]
async fn a_line_without_end_is_rejected() {
    let w = world().await;
    w.file("t.csv", format!("a,b\n1,x\n2,{}\n3,y\n", "x".repeat(65 << 20)));
    let mut stream = csv("t.csv");
    stream.max_rejected = 1;
    let report = w.take(&stream).await;
    assert_eq!((report.rows, report.rejected), (Some(2), 1));
    let set_aside = w.sql_over("quarantine.t", "select position, length(raw), reason from t").await;
    assert_eq!(set_aside, ["3 | 1048576 | the line is longer than 64 MiB; the raw text is its first 1024 KiB"]);
}

#[tokio::test]
async fn a_quote_that_is_never_closed_costs_one_line() {
    let w = world().await;
    let rows: String = (0..50_000).map(|n| format!("{n},some text\n")).collect();
    w.file("t.csv", format!("a,b\n-1,\"torn\n{rows}"));
    let mut stream = csv("t.csv");
    stream.max_rejected = 1;
    let report = w.take(&stream).await;
    assert_eq!((report.rows, report.rejected), (Some(50_000), 1));
}

#[tokio::test]
async fn a_torn_last_line_is_rejected() {
    let w = world().await;
    w.file("t.jsonl", "{\"a\": 1}\n{\"a\": 2}\n{\"a\": ");
    let mut stream = files("t.jsonl", FileFormat::JsonLines);
    let told = w.refused(&stream).await;
    assert!(told.contains("t.jsonl:3: not JSON: it ends too early after 6 bytes: {\"a\":"), "{told}");
    stream.max_rejected = 1;
    w.take(&stream).await;
    assert_eq!(w.sql("select a from t order by a").await, ["1", "2"]);
}

#[tokio::test]
async fn a_type_that_changes_half_way_is_told() {
    let w = world().await;
    // Within the sample: text holds everything, and the note says where it began.
    w.file("t.csv", "a\n".to_owned() + &"1\n".repeat(50) + &"abc\n".repeat(50));
    let report = w.take(&csv("t.csv")).await;
    let note = report.note.unwrap();
    assert_eq!(note, "1 file; `a` is text: after 50 values of type bigint, t.csv:52 has \"abc\"");
    assert_eq!(w.sql("select count(*) from t").await, ["100"]);
    // Beyond it: rejected records, with both types.
    let w = world().await;
    w.file("t.csv", "a\n".to_owned() + &"1\n".repeat(30_000) + &"abc\n".repeat(30_000));
    let told = w.refused(&csv("t.csv")).await;
    assert!(told.contains("t.csv:30002: `a` is bigint, but \"abc\" is text: abc"), "{told}");
    assert!(!w.exists("bronze.t").await);
}

#[tokio::test]
async fn a_changed_type_stops_the_run_and_a_new_column_is_added() {
    let w = world().await;
    w.file("in/1.csv", "a,b\n1,2024-01-31\n");
    w.take(&csv("in/*.csv")).await;
    w.file("in/2.csv", "a,b,c\n1.5,x,7\n");
    let told = w.refused(&csv("in/*.csv")).await;
    assert!(
        told.contains("error[I011]: bronze.t: column `a` is bigint in the table and double in the source"),
        "{told}"
    );
    assert!(told.contains("in/2.csv:2 has \"1.5\""), "{told}");
    assert!(told.contains("also: bronze.t: column `b` is date in the table and text in the source"), "{told}");
    w.file("in/2.csv", "a,b,c\n2,2024-02-01,7\n");
    w.take(&csv("in/*.csv")).await;
    assert_eq!(w.columns().await, ["a bigint", "b date", "c bigint"]);
    assert_eq!(w.sql("select a, c from t order by a").await, ["1 | ∅", "2 | 7"]);
}

#[tokio::test]
async fn a_table_keeps_its_types_when_a_file_looks_narrower() {
    let w = world().await;
    w.file("in/1.csv", "zip,x,y\n007,1.5,\n");
    w.take(&csv("in/*.csv")).await;
    w.file("in/2.csv", "zip,x,y\n123,2,\n");
    w.take(&csv("in/*.csv")).await;
    assert_eq!(w.columns().await, ["zip text", "x double", "y text"]);
    assert_eq!(w.sql("select zip, x from t order by x").await, ["007 | 1.5", "123 | 2.0"]);
}

#[tokio::test]
async fn names_that_collide_are_refused() {
    let w = world().await;
    w.file("t.csv", "Order ID,order_id\n1,2\n");
    let told = w.refused(&csv("t.csv")).await;
    let want = "error[I006]: t.csv: columns `Order ID` and `order_id` are both called `order_id` once normalised";
    assert!(told.starts_with(want), "{told}");
    for (header, want) in [("a,b,a", "two columns are called `a`"), ("a,,", "two columns have no name")] {
        w.file("t.csv", format!("{header}\n1,2,3\n"));
        let told = w.refused(&csv("t.csv")).await;
        assert!(told.starts_with(&format!("error[I006]: t.csv: {want}\n  = rename one of them in the file")), "{told}");
    }
    w.file("t.csv", "_run,a\n1,2\n");
    let told = w.refused(&csv("t.csv")).await;
    assert!(told.starts_with("error[I007]: t: the source has a column `_run`"), "{told}");
}

#[tokio::test]
async fn wrong_declarations_are_told_together() {
    let w = world().await;
    w.file("t.csv", "order_id,amount\n1,2\n");
    let mut stream = csv("t.csv");
    stream.columns = declared(&[("amont", "double"), ("order_id", "bigit")]);
    stream.key = vec!["id".to_owned()];
    let told = w.refused(&stream).await;
    assert!(
        told.starts_with("error[I008]: column `order_id`: there is no type `bigit`\n  = did you mean `bigint`?"),
        "{told}"
    );
    assert!(told.contains("also: the declared column `amont` is not in t"), "{told}");
    assert!(told.contains("also: the key column `id` is not in t"), "{told}");
}

#[tokio::test]
async fn other_encodings_and_formats_are_recognised() {
    let w = world().await;
    for (bytes, format, want) in [
        (&b"\xff\xfea\0,\0b\0\n\0"[..], FileFormat::Csv, "is UTF-16, UTF-8 is expected"),
        (b"a,b\r1,2\r3,4\r", FileFormat::Csv, "ends its lines with CR alone"),
        (b"PAR1....", FileFormat::Csv, "is a Parquet file, CSV is expected"),
        (b"[\n{\"a\": 1}]", FileFormat::JsonLines, "is one JSON list, one object a line is expected"),
        (b"a,b\n1,2\n", FileFormat::Parquet, "is damaged or cut off"),
    ] {
        w.file("x", bytes);
        let told = w.refused(&files("x", format)).await;
        assert!(told.contains(want), "{told}");
    }
}

#[tokio::test]
async fn a_torn_archive_is_damaged() {
    let w = world().await;
    use std::io::Write;
    let text: String = (0..100_000).map(|n| format!("{n},{}\n", n * 7919)).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(("a,b\n".to_owned() + &text).as_bytes()).unwrap();
    let whole = gzip.finish().unwrap();
    w.file("t.csv.gz", &whole[..whole.len() / 2]);
    let told = w.refused(&csv("t.csv.gz")).await;
    assert!(told.starts_with("error[I004]: t.csv.gz is damaged or cut off"), "{told}");
    let whole = zstd::encode_all(text.as_bytes(), 1).unwrap();
    w.file("t.csv.zst", &whole[..whole.len() / 2]);
    let mut stream = csv("t.csv.zst");
    file_options(&mut stream).header = false;
    let told = w.refused(&stream).await;
    assert!(told.starts_with("error[I004]: t.csv.zst is damaged or cut off"), "{told}");
    assert!(!w.exists("bronze.t").await);
}

#[tokio::test]
async fn an_empty_file_among_others_is_no_matter() {
    let w = world().await;
    w.file("in/1.csv", "a\n1\n");
    w.file("in/2.csv", "");
    let report = w.take(&csv("in/*.csv")).await;
    assert_eq!((report.rows, report.note.as_deref()), (Some(1), Some("2 files; in/2.csv is empty")));
}

#[tokio::test]
async fn a_file_of_broken_records_alone_is_rejected() {
    let w = world().await;
    let mut stream = files("t.jsonl", FileFormat::JsonLines);
    for (text, why) in [
        (&b"{\"a\": \"\xff\"}\n"[..], "t.jsonl:1: not UTF-8 after 7 bytes"),
        (b"{\"a\": ", "t.jsonl:1: not JSON: it ends too early"),
        (b"[1, 2]\n", "t.jsonl:1: not an object"),
    ] {
        w.file("t.jsonl", text);
        let told = w.refused(&stream).await;
        assert!(told.starts_with("error[I010]: 1 record for bronze.t was rejected, 0 allowed"), "{told}");
        assert!(told.contains(why), "{told}");
        assert!(!w.exists("bronze.t").await);
    }
    stream.max_rejected = 1;
    let report = w.take(&stream).await;
    assert_eq!((report.rows, report.rejected), (Some(0), 1));
    assert_eq!(
        w.sql_over("quarantine.t", "select raw, reason from t where _run = (select max(_run) from t)").await,
        ["[1, 2] | not an object"]
    );
    // The next good file makes the table what it should be.
    w.file("t.jsonl", "{\"a\": 1}\n");
    w.take(&stream).await;
    assert_eq!(
        (w.columns().await, w.sql("select a from t").await),
        (vec!["a bigint".to_owned()], vec!["1".to_owned()])
    );
}

#[tokio::test]
async fn blank_lines_alone_are_an_empty_file() {
    let w = world().await;
    w.file("t.jsonl", "\n \n\n");
    let report = w.take(&files("t.jsonl", FileFormat::JsonLines)).await;
    assert_eq!((report.rows, report.note.as_deref()), (Some(0), Some("t.jsonl is empty; no table was made")));
}

/// The key of a torn record cannot be learned: it must not be looked for again and again.
#[tokio::test]
async fn a_torn_record_with_a_key_of_its_own_is_rejected() {
    let w = world().await;
    let mut stream = files("t.jsonl", FileFormat::JsonLines);
    stream.max_rejected = 1;
    for before in [1, 25_000] {
        w.file("t.jsonl", "{\"a\": 1}\n".repeat(before) + "{\"b\": [1, \n");
        let report = w.take(&stream).await;
        assert_eq!((report.rows, report.rejected), (Some(before as u64), 1));
        assert_eq!(w.columns().await, ["a bigint"]);
    }
}

#[tokio::test]
async fn a_header_that_is_no_utf_8_is_refused() {
    let w = world().await;
    w.file("t.csv", b"id,pr\xe9nom\n1,ada\n");
    let told = w.refused(&csv("t.csv")).await;
    let want =
        "error[I005]: t.csv: the header is not UTF-8: byte 0xe9 in the column `pr\u{fffd}nom`\n  = convert the file";
    assert!(told.starts_with(want), "{told}");
    // Without a header, and with quotes that never end, nobody knows the columns.
    w.file("t.csv", "\"1,2\n");
    let mut stream = csv("t.csv");
    file_options(&mut stream).header = false;
    let told = w.refused(&stream).await;
    assert!(told.starts_with("error[I005]: t.csv: the quotes of the first record do not match"), "{told}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_leads_nowhere_is_told() {
    let w = world().await;
    w.file("in/1.csv", "a\n1\n");
    std::os::unix::fs::symlink("/nowhere", w.path("in/2.csv")).unwrap();
    let told = w.refused(&csv("in/*.csv")).await;
    assert!(
        told.starts_with("permanent: cannot read ") && told.ends_with("in/2.csv: the link leads nowhere"),
        "{told}"
    );
    // One that no pattern names, and a folder that is called like a file, are nobody's.
    std::fs::rename(w.path("in/2.csv"), w.path("in/2.txt")).unwrap();
    std::fs::create_dir(w.path("in/3.csv")).unwrap();
    assert_eq!(w.take(&csv("in/*.csv")).await.rows, Some(1));
}

#[tokio::test]
async fn a_type_that_changes_from_file_to_file_is_told() {
    let w = world().await;
    w.file("in/1.csv", "a\n1\n");
    w.file("in/2.csv", "a\nx\n");
    let report = w.take(&csv("in/*.csv")).await;
    assert_eq!(
        report.note.as_deref(),
        Some("2 files; `a` is text: after 1 value of type bigint, in/2.csv:2 has \"x\"")
    );
    // Between runs the table's type stays, in JSON lines as well.
    let w = world().await;
    let stream = files("in/*.jsonl", FileFormat::JsonLines);
    w.file("in/1.jsonl", "{\"a\": 1}\n");
    w.take(&stream).await;
    w.file("in/2.jsonl", "{\"a\": \"x\"}\n");
    let told = w.refused(&stream).await;
    assert!(told.contains("column `a` is bigint in the table and text in the source"), "{told}");
    assert!(told.contains("in/2.jsonl:1 has \"x\""), "{told}");
    assert_eq!(w.sql("select a from t").await, ["1"]);
}

#[tokio::test]
async fn a_file_that_became_empty_takes_no_rows_away() {
    let w = world().await;
    let stream = csv("t.csv");
    w.file("t.csv", "a,b\n1,x\n2,y\n");
    w.take(&stream).await;
    w.file("t.csv", "");
    let told = w.refused(&stream).await;
    let want = "error[I014]: t.csv is empty (0 bytes), and bronze.t has 2 rows: an export that broke off?";
    assert!(told.starts_with(want), "{told}");
    assert!(told.contains("write the header alone, or polder run bronze.t --full-refresh"), "{told}");
    assert_eq!(w.sql("select a from t order by a").await, ["1", "2"]);
    // It was being written.
    w.file("t.csv", "a,b\n1,x\n2,y\n3,z\n");
    assert_eq!(w.take(&stream).await.rows, Some(3));
    // A header says that there are no rows.
    w.file("t.csv", "a,b\n");
    let report = w.take(&stream).await;
    assert_eq!(report.note.as_deref(), Some("1 file; the table had 3 rows"));
    assert_eq!(w.sql("select count(*) from t").await, ["0"]);
    // Now there is nothing to lose.
    w.file("t.csv", "");
    w.take(&stream).await;
}

#[tokio::test]
async fn an_empty_file_is_believed_when_everything_is_read_anew() {
    let w = world().await;
    let mut stream = files("t.jsonl", FileFormat::JsonLines);
    w.file("t.jsonl", "{\"a\": 1, \"at\": \"2024-01-31\"}\n");
    w.take(&stream).await;
    w.file("t.jsonl", "");
    assert!(w.refused(&stream).await.contains("write one empty line, or polder run"));
    full_refresh(&w, &stream).await;
    // The file says nothing about columns.
    assert_eq!(
        (w.sql("select a from t").await, w.columns().await),
        (vec![], vec!["a bigint".to_owned(), "at date".to_owned()])
    );
    w.file("t.jsonl", "{\"a\": 2}\n");
    w.take(&stream).await;
    w.file("t.jsonl", "\n");
    w.take(&stream).await;
    assert_eq!(w.sql("select count(*) from t").await, ["0"]);
    // Under another name it is the same file to nobody, but the table has rows all the same.
    w.file("t.jsonl", "{\"a\": 3}\n");
    w.take(&stream).await;
    stream.name = "renamed".to_owned();
    w.file("t.jsonl", "");
    assert!(w.refused(&stream).await.starts_with("error[I014]"));
}

#[tokio::test]
async fn of_several_files_one_that_became_empty_takes_no_rows_away() {
    for mode in [FileMode::Append, FileMode::Replace] {
        let w = world().await;
        let mut stream = csv("in/*.csv");
        file_options(&mut stream).mode = mode;
        w.file("in/1.csv", "a\n1\n");
        w.file("in/2.csv", "a\n2\n");
        w.take(&stream).await;
        w.file("in/1.csv", "");
        assert!(w.refused(&stream).await.starts_with("error[I014]: in/1.csv is empty"), "{mode:?}");
        assert_eq!(w.sql("select a from t order by a").await, ["1", "2"]);
        // A new one had no rows.
        w.file("in/1.csv", "a\n1\n");
        w.file("in/3.csv", "");
        w.take(&stream).await;
        assert_eq!(w.sql("select a from t order by a").await, ["1", "2"]);
    }
}

#[tokio::test]
async fn a_file_that_is_cut_while_it_is_read_is_not_taken() {
    let w = world().await;
    w.file("t.csv", "a\n".to_owned() + &"1\n".repeat(10_000_000));
    let (step, cx) = (w.step(&csv("t.csv"), false), context());
    let progress = cx.progress.clone();
    let running = tokio::spawn(async move { step.run(&cx).await });
    while progress.rows() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    w.file("t.csv", "");
    let told = crate::support::told(&running.await.unwrap().unwrap_err());
    assert_eq!(told, "transient: t.csv was written anew while it was read");
    assert!(!w.exists("bronze.t").await && w.cursor("test.t").await.is_none());
    assert_eq!(parquet_files(&w.path("warehouse")), 0);
}

/// A key that rows cannot be found by is a mistake of the person, not of the machine.
#[tokio::test]
async fn a_nested_key_is_refused() {
    let w = world().await;
    let mut stream = files("in/*.jsonl", FileFormat::JsonLines);
    w.file("in/1.jsonl", "{\"a\": {\"b\": 1}}\n");
    w.take(&stream).await;
    stream.key = vec!["a".to_owned()];
    w.file("in/2.jsonl", "{\"a\": {\"b\": 2}}\n");
    let told = w.refused(&stream).await;
    assert!(told.starts_with("error[I015]: bronze.t: column `a` is nested and cannot be a key"), "{told}");
}

#[tokio::test]
async fn a_column_that_comes_no_more_is_told() {
    let w = world().await;
    w.file("in/1.csv", "a,b\n1,x\n");
    w.take(&csv("in/*.csv")).await;
    w.file("in/2.csv", "a\n2\n");
    let report = w.take(&csv("in/*.csv")).await;
    assert_eq!(report.note.as_deref(), Some("1 file; without `b`, which the table has"));
    assert_eq!(w.sql("select a, b from t order by a").await, ["1 | x", "2 | ∅"]);
}

async fn full_refresh(w: &World, stream: &polder_project::Stream) {
    w.step(stream, true).run(&context()).await.unwrap();
}

/// A source that was renamed to one that fills the same table has no cursor yet: all files would come once more.
#[tokio::test]
async fn rows_that_another_stream_brought_are_not_doubled() {
    let w = world().await;
    let mut stream = csv("in/*.csv");
    w.file("in/1.csv", "a\n1\n");
    w.take(&stream).await;
    stream.name = "renamed".to_owned();
    let told = w.refused(&stream).await;
    assert!(told.starts_with("error[I013]: bronze.t: the table has rows that `test.renamed` did not bring"), "{told}");
    assert!(told.contains("--full-refresh"), "{told}");
    assert_eq!(w.sql("select a from t").await, ["1"]);
    full_refresh(&w, &stream).await;
    assert!(w.take(&stream).await.unchanged);
    assert_eq!(w.sql("select a from t").await, ["1"]);
}

#[tokio::test]
async fn a_cursor_of_another_kind_or_version_is_not_gone_on_from() {
    let w = world().await;
    let stream = csv("in/*.csv");
    w.file("in/1.csv", "a\n1\n");
    w.take(&stream).await;
    for (value, want) in [
        (r#"{"read":"full","version":1}"#, "error[I013]: bronze.t: the table was filled from another kind of source"),
        (r#"{"version":2,"files":[]}"#, "permanent: the cursor `test.t` was written by a newer Polder"),
        ("{", "permanent: the cursor `test.t` is damaged"),
    ] {
        let cursor = Change::Cursor {
            name: "test.t".to_owned(),
            table: stream.table.clone(),
            base: w.cursor("test.t").await,
            value: value.to_owned(),
        };
        w.workspace().commit("another program", vec![cursor]).await.unwrap();
        let told = w.refused(&stream).await;
        assert!(told.starts_with(want), "{told}");
    }
    full_refresh(&w, &stream).await;
    assert_eq!(w.sql("select a from t").await, ["1"]);
}
