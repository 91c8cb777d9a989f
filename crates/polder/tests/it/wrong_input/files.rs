//! Files that are not what they should be.

use crate::fixture::{Project, skipped};

/// A project whose table was filled from a good file.
fn after_a_good_day(source: &str, file: &str, good: &[u8]) -> Project {
    let project = Project::of(&[("polder.yaml", "name: files\n"), ("sources/t.yaml", source)]);
    project.write("models/gold/n.sql", "select count(*) as n from bronze.t\n");
    put(&project, file, good);
    project.polder(&["run"]).ends_with(0);
    project
}

fn put(project: &Project, name: &str, bytes: &[u8]) {
    let path = project.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

const ROWS: &str = "select count(*) from bronze.t";
const BUILT: &str = "select n from gold.n";

/// A bad file stops the run with what is wrong and where; `main` is as it was; a good file then goes through.
#[track_caller]
fn refused(source: &str, file: &str, good: &[u8], bad: &[u8], told: &[&str]) {
    let project = after_a_good_day(source, file, good);
    let (rows, head) = (project.number(ROWS), project.polder(&["log", "--limit", "1"]).out);
    put(&project, file, bad);
    let done = project.polder(&["run"]).ends_with(1);
    for text in
        told.iter().chain(&["FAILED. main is unchanged: run 1, ", "polder run --resume 2", "not built", "exit 1"])
    {
        assert!(done.out.contains(text), "no `{text}` in\n{}", done.out);
    }
    assert_eq!((project.number(ROWS), project.number(BUILT)), (rows, rows));
    assert_eq!(project.polder(&["log", "--limit", "1"]).out, head);
    // The same again is told again: nothing was taken for read.
    project.polder(&["run"]).ends_with(1);
    put(&project, file, good);
    project.polder(&["run"]).ends_with(0);
    assert_eq!((project.number(ROWS), project.number(BUILT)), (rows, rows));
}

#[track_caller]
fn csv(bad: impl AsRef<[u8]>, told: &[&str]) {
    refused("files: data/t.csv\n", "data/t.csv", b"a,b\n1,x\n2,y\n", bad.as_ref(), told);
}

#[test]
fn a_ragged_csv() {
    csv(
        "a,b\n1,x\n2\n3,y,z\n4,w\n",
        &[
            "error[I010]: 2 records for bronze.t were rejected, 0 allowed",
            "data/t.csv:3: 1 field, 2 expected: 2",
            "data/t.csv:4: 3 fields, 2 expected: 3,y,z",
            "set `max_rejected` to let that many go to quarantine",
        ],
    );
}

#[test]
fn text_that_is_no_utf_8() {
    csv(b"a,b\n1,caf\xe9\n", &["error[I010]", "data/t.csv:2: not UTF-8: byte 0xe9 after 5 bytes of the record"]);
    csv(b"a,\xe9t\xe9\n1,x\n", &["error[I005]: data/t.csv: the header is not UTF-8: byte 0xe9", "iconv"]);
    csv(b"\xff\xfea\0,\0b\0\n\0", &["error[I005]: data/t.csv is UTF-16, UTF-8 is expected", "iconv -f UTF-16"]);
}

#[test]
fn columns_that_become_one() {
    csv("Order ID,order_id\n1,2\n", &["error[I006]", "`Order ID` and `order_id` are both called `order_id`"]);
    csv("a,a\n1,2\n", &["error[I006]: data/t.csv: two columns are called `a`", "rename one of them"]);
}

#[test]
fn a_type_that_changes_half_way() {
    let rows = |n: usize, text: &str| text.repeat(n);
    csv(
        format!("a,b\n{}abc,x\n", rows(30_000, "1,x\n")),
        &["error[I010]: 1 record", "data/t.csv:30002: `a` is bigint, but \"abc\" is text"],
    );
    // From file to file, when the table has a type.
    refused(
        "files: data/*.csv\n",
        "data/2.csv",
        b"a,b\n1,x\n",
        b"a,b\nfoo,2026-02-30\n",
        &[
            "error[I011]: bronze.t: column `a` is bigint in the table and text in the source",
            "sources/t.yaml:1:8",
            "data/2.csv:2 has \"foo\"",
            "--full-refresh",
        ],
    );
}

#[test]
fn digits_that_a_double_would_lose() {
    let csv = |bad: &[u8], told: &[&str]| {
        refused("files: v.csv\n", "v.csv", b"v\n0.5\n", bad, told);
    };
    csv(
        b"v\n0.5\n1.5\n1234567890123456789.25\n",
        &["error[I010]: 1 record", "v.csv:4: `v` is double, but \"1234567890123456789.25\" is decimal(38, 2)"],
    );
    csv(
        b"v\n0.5\n123456789012345678\n1234567890123456789.25\n",
        &["error[I011]", "column `v` is double in the table and decimal(38, 2) in the source", "v.csv:3 has"],
    );
    refused(
        "files: v.jsonl\n",
        "v.jsonl",
        b"{\"v\":0.5}\n",
        b"{\"v\":0.5}\n{\"v\":1.5}\n{\"v\":12345678901234567.25}\n",
        &["error[I010]: 1 record", "v.jsonl:3: `v` is double, but 12345678901234567.25 is a number that does not fit"],
    );
    // Whoever declares a double has decided.
    let columns = "columns: { v: double }\n";
    for (file, text) in [("v.csv", "v\n1234567890123456789.25\n"), ("v.jsonl", "{\"v\":1234567890123456789.25}\n")] {
        let project = after_a_good_day(&format!("files: {file}\n{columns}"), file, text.as_bytes());
        assert_eq!(project.number("select count(*) from bronze.t where v > 1e18"), 1);
    }
}

#[test]
fn torn_and_broken_json_lines() {
    let json = |bad: &[u8], told: &[&str]| refused("files: e.jsonl\n", "e.jsonl", b"{\"a\":1}\n{\"a\":2}\n", bad, told);
    json(b"{\"a\":1}\n{\"a\":", &["error[I010]: 1 record", "e.jsonl:2: not JSON: it ends too early"]);
    json(b"{\"a\":\"\xff\"}\n", &["error[I010]: 1 record", "e.jsonl:1: not UTF-8"]);
    json(b"{\"a\":1}\n{\"new\": [1,\n", &["error[I010]: 1 record", "e.jsonl:2: not JSON"]);
    json(b"{\"a\":1,\"A\":2}\n", &["error[I006]", "`a` and `A` are both called `a`"]);
    json(b"{\"a\":1,\"a\":2}\n", &["error[I010]: 1 record", "the key `a` comes twice"]);
    json(b"[{\"a\":1}]", &["error[I005]: e.jsonl is one JSON list", "jq"]);
    json(b"{\"a\":\"x\"}\n", &["error[I011]", "column `a` is bigint in the table and text in the source", "e.jsonl:1"]);
}

#[test]
fn a_parquet_file_that_is_cut_or_damaged() {
    let maker = Project::of(&[("polder.yaml", "name: maker\n")]);
    let rows = "select x as a, cast(x * 7919 as varchar) as b from generate_series(1, 50000) as t(x)";
    maker.polder(&["sql", "-o", "good.parquet", rows]).ends_with(0);
    let good = std::fs::read(maker.path("good.parquet")).unwrap();
    let parquet = |bad: &[u8], told: &[&str]| refused("files: t.parquet\n", "t.parquet", &good, bad, told);
    parquet(&good[..good.len() / 2], &["error[I004]: t.parquet is damaged or cut off", "fetch the file again"]);
    parquet(b"", &["error[I004]: t.parquet is empty", "fetch the file again"]);
    let mut holed = good.clone();
    holed[4..200].fill(0xff);
    parquet(&holed, &["error[I004]: t.parquet is damaged or cut off", "nothing of it was taken in"]);
    parquet(b"a,b\n1,2\n", &["error[I004]: t.parquet is damaged or cut off"]);
    maker.polder(&["sql", "-o", "other.parquet", "select 'x' as a, 'y' as b"]).ends_with(0);
    let other = std::fs::read(maker.path("other.parquet")).unwrap();
    parquet(&other, &["error[I011]: bronze.t: column `a` is bigint in the table and text in the source"]);
}

#[test]
fn an_empty_file_is_no_table() {
    let project = Project::of(&[("polder.yaml", "name: empty\n"), ("sources/t.yaml", "files: t.csv\n"), ("t.csv", "")]);
    project.polder(&["run"]).ends_with(0).says("t.csv is empty; no table was made");
    project.polder(&["sql", ROWS]).ends_with(2).complains("no table is called `bronze.t`");
    project.write("t.csv", "a,b\n");
    project.polder(&["run"]).ends_with(0);
    assert_eq!(project.number(ROWS), 0);
    project.write("t.csv", "a,b\n1,2026-11-20\n");
    project.polder(&["run"]).ends_with(0);
    // A header alone said nothing about types.
    assert_eq!(project.number("select count(*) from bronze.t where a = 1 and b = date '2026-11-20'"), 1);
}

#[test]
fn a_file_that_became_empty() {
    // Without a byte it was perhaps still being written; a header says that there are no rows any more.
    csv("", &["error[I014]: data/t.csv is empty (0 bytes), and bronze.t has 2 rows", "the table stays as it is"]);
    let project = after_a_good_day("files: t.csv\n", "t.csv", b"a,b\n1,x\n2,y\n");
    project.write("t.csv", "a,b\n");
    project.polder(&["run"]).ends_with(0).says("the table had 2 rows");
    assert_eq!((project.number(ROWS), project.number(BUILT)), (0, 0));
    project.polder(&["rollback"]).ends_with(0);
    assert_eq!((project.number(ROWS), project.number(BUILT)), (2, 2));
}

#[test]
fn a_line_of_10_mb() {
    let project = after_a_good_day("files: t.csv\n", "t.csv", b"a,b\n1,x\n");
    put(&project, "t.csv", format!("a,b\n1,{}\n2,y\n", "x".repeat(10 << 20)).as_bytes());
    project.polder(&["run"]).ends_with(0);
    assert_eq!(project.number("select max(length(b)) from bronze.t"), 10 << 20);
    assert_eq!(project.number(ROWS), 2);
}

#[test]
fn files_that_are_not_there() {
    let project = Project::of(&[("polder.yaml", "name: none\n"), ("sources/t.yaml", "files: dta/*.csv\n")]);
    project.write("data/1.csv", "a\n1\n");
    project
        .polder(&["run"])
        .ends_with(1)
        .says("error[I001]: no file matches `dta/*.csv`")
        .says("sources/t.yaml:1:8")
        .says("did you mean `data`?")
        .says("FAILED. main is unchanged");
    project.write("sources/t.yaml", "files: data\nformat: csv\n");
    project.polder(&["run"]).ends_with(1).says("`data` is a folder").says("such as `data/*.csv`");
    project.write("sources/t.yaml", "files: data/*.csv\n");
    project.polder(&["run"]).ends_with(0);
    assert_eq!(project.number(ROWS), 1);
}

/// A source that was renamed into one that fills the same table would bring all rows once more.
#[test]
fn a_renamed_source_does_not_double_rows() {
    let project =
        Project::of(&[("polder.yaml", "name: renamed\n"), ("sources/shop.yaml", "files: { a_b: in/*.csv }\n")]);
    project.write("in/1.csv", "a\n1\n2\n");
    project.polder(&["run"]).ends_with(0);
    std::fs::remove_file(project.path("sources/shop.yaml")).unwrap();
    project.write("sources/shop_a.yaml", "files: { b: in/*.csv }\n");
    project.polder(&["run"]).ends_with(1).says("error[I013]: bronze.shop_a_b").says("--full-refresh");
    assert_eq!(project.number("select count(*) from bronze.shop_a_b"), 2);
    project.polder(&["run", "--full-refresh"]).ends_with(0);
    assert_eq!(project.number("select count(*) from bronze.shop_a_b"), 2);
}

#[cfg(unix)]
#[test]
fn files_that_may_not_be_read() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let project = after_a_good_day("files: in/*.csv\n", "in/1.csv", b"a\n1\n");
    symlink("/nowhere", project.path("in/2.csv")).unwrap();
    project.polder(&["run"]).ends_with(3).says("in/2.csv: the link leads nowhere").says("exit 3");
    std::fs::remove_file(project.path("in/2.csv")).unwrap();
    project.write("in/2.csv", "a\n2\n");
    let forbid = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(project.path("in/2.csv"), permissions).unwrap();
    };
    forbid(0);
    if std::fs::read(project.path("in/2.csv")).is_ok() {
        skipped("this user (root) may read everything");
    } else {
        let done = project.polder(&["run"]).ends_with(3);
        assert!(done.out.contains("in/2.csv: Permission denied"), "{}", done.out);
    }
    assert_eq!(project.number(ROWS), 1);
    forbid(0o644);
    project.polder(&["run"]).ends_with(0);
    assert_eq!((project.number(ROWS), project.number(BUILT)), (2, 2));
}
