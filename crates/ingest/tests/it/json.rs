//! JSON-lines files.

use polder_project::FileFormat;

use crate::support::{declared, files, world};

fn jsonl(pattern: &str) -> polder_project::Stream {
    files(pattern, FileFormat::JsonLines)
}

#[tokio::test]
async fn objects_and_lists_become_structs_and_lists() {
    let w = world().await;
    w.file(
        "e.jsonl",
        "{\"eventId\": 1, \"at\": \"2024-01-31T10:00:00Z\", \"user\": {\"id\": 7, \"tags\": [\"a\", \"b\"]}, \"v\": 1}\n\
         \n\
         {\"eventId\": 2, \"at\": null, \"user\": {\"id\": 8, \"city\": \"Köln\"}, \"v\": 2.5}\n\
         {\"eventId\": 3, \"v\": null}\n",
    );
    let report = w.take(&jsonl("e.jsonl")).await;
    assert_eq!((report.rows, report.rejected), (Some(3), 0));
    assert_eq!(
        w.columns().await,
        ["event_id bigint", "at timestamptz", "user struct(id bigint, tags text[], city text)", "v double"]
    );
    assert_eq!(w.comment("event_id").await.as_deref(), Some("eventId"));
    let rows = w
        .sql("select event_id, at, t.\"user\"['id'], t.\"user\"['tags'], t.\"user\"['city'], v, _position from t order by 1")
        .await;
    assert_eq!(
        rows,
        [
            "1 | 2024-01-31T10:00:00Z | 7 | [a, b] | ∅ | 1.0 | 1",
            "2 | ∅ | 8 | ∅ | Köln | 2.5 | 3",
            "3 | ∅ | ∅ | ∅ | ∅ | ∅ | 4"
        ]
    );
}

#[tokio::test]
async fn values_of_several_kinds_are_kept_as_text() {
    let w = world().await;
    w.file("e.jsonl", "{\"x\": 1}\n{\"x\": {\"a\": [1, 2]}}\n{\"x\": \"plain\"}\n{\"x\": true}\n");
    let report = w.take(&jsonl("e.jsonl")).await;
    assert_eq!(w.columns().await, ["x text"]);
    assert_eq!(w.sql("select x from t order by _position").await, ["1", "{\"a\": [1, 2]}", "plain", "true"]);
    assert!(report.note.unwrap().contains("`x` holds values of several kinds"));
}

#[tokio::test]
async fn keys_beyond_the_sample_are_columns_too() {
    let w = world().await;
    let mut text: String = (0..30_000).map(|n| format!("{{\"n\": {n}, \"s\": {{\"a\": {n}}}}}\n")).collect();
    text += "{\"n\": 30000, \"late\": \"x\", \"s\": {\"b\": 1.5}}\n";
    w.file("e.jsonl", text);
    let report = w.take(&jsonl("e.jsonl")).await;
    assert_eq!(report.rows, Some(30_001));
    assert_eq!(w.columns().await, ["n bigint", "s struct(a bigint, b double)", "late text"]);
    assert_eq!(w.sql("select n, late, s['b'] from t where late is not null").await, ["30000 | x | 1.5"]);
    assert_eq!(w.sql("select count(*) from t").await, ["30001"]);
}

#[tokio::test]
async fn a_new_key_in_a_later_file_is_added_also_inside_objects() {
    let w = world().await;
    w.file("in/1.jsonl", "{\"a\": {\"x\": 1.5}}\n");
    w.take(&jsonl("in/*.jsonl")).await;
    w.file("in/2.jsonl", "{\"a\": {\"x\": 2, \"y\": true}, \"b\": [1]}\n");
    w.take(&jsonl("in/*.jsonl")).await;
    assert_eq!(w.columns().await, ["a struct(x double, y boolean)", "b bigint[]"]);
    let rows = w.sql("select a['x'], a['y'], b from t order by 1").await;
    assert_eq!(rows, ["1.5 | ∅ | ∅", "2.0 | true | [1]"]);
}

#[tokio::test]
async fn decimals_are_read_as_they_are_written() {
    let w = world().await;
    w.file("e.jsonl", "{\"p\": 12345678901234567.89, \"q\": \"0.10\"}\n{\"p\": 0.10, \"q\": 3}\n");
    let mut stream = jsonl("e.jsonl");
    stream.columns = declared(&[("p", "decimal(38,2)"), ("q", "decimal(10,2)")]);
    w.take(&stream).await;
    assert_eq!(w.sql("select p, q from t order by _position").await, ["12345678901234567.89 | 0.10", "0.10 | 3.00"]);
}
