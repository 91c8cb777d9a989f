//! Which files are new; what becomes of files that were written anew.

use polder_project::FileMode;
use polder_run::{Step, StepError};

use crate::support::{context, csv, file_options, parquet_files, world};

#[tokio::test]
async fn only_new_files_are_added() {
    let w = world().await;
    let stream = csv("in/*.csv");
    w.file("in/1.csv", "a\n1\n");
    w.take(&stream).await;
    assert!(w.take(&stream).await.unchanged);
    w.file("in/2.csv", "a\n2\n");
    let report = w.take(&stream).await;
    assert_eq!((report.rows, report.unchanged, report.note.as_deref()), (Some(1), false, Some("1 file")));
    assert_eq!(w.sql("select a, _run, _file from t order by a").await, ["1 | 1 | in/1.csv", "2 | 3 | in/2.csv"]);
}

#[tokio::test]
async fn rows_of_a_rewritten_file_are_replaced() {
    let w = world().await;
    let stream = csv("in/*.csv");
    w.file("in/1.csv", "a\n1\n2\n");
    w.file("in/2.csv", "a\n3\n");
    w.take(&stream).await;
    w.file("in/1.csv", "a\n1\n20\n200\n");
    w.file("in/3.csv", "a\n4\n");
    let report = w.take(&stream).await;
    assert_eq!(report.rows, Some(4));
    assert_eq!(w.sql("select a from t order by a").await, ["1", "3", "4", "20", "200"]);
    assert!(w.take(&stream).await.unchanged);
}

#[tokio::test]
async fn one_file_replaces_the_table_when_it_changes() {
    let w = world().await;
    let stream = csv("t.csv");
    w.file("t.csv", "a\n1\n2\n");
    w.take(&stream).await;
    assert!(w.take(&stream).await.unchanged);
    w.file("t.csv", "a,b\n3,x\n");
    w.take(&stream).await;
    assert_eq!(w.sql("select a, b from t").await, ["3 | x"]);
    // Another way of reading makes the table anew.
    let mut declared = stream.clone();
    declared.columns = crate::support::declared(&[("a", "bigint")]);
    assert!(!w.take(&declared).await.unchanged);
}

#[tokio::test]
async fn a_key_merges() {
    let w = world().await;
    let mut stream = csv("in/*.csv");
    stream.key = vec!["Id".to_owned()];
    w.file("in/1.csv", "Id,v\n1,a\n2,b\n1,c\n");
    let report = w.take(&stream).await;
    assert_eq!((report.rows, report.replaced), (Some(3), Some(1)), "one of three gave way");
    assert_eq!(w.sql("select id, v from t order by id").await, ["1 | c", "2 | b"]);
    w.file("in/2.csv", "Id,v\n2,b\n3,d\n2,bb\n");
    let report = w.take(&stream).await;
    assert_eq!((report.rows, report.replaced), (Some(3), Some(2)), "one old row, one new");
    assert_eq!(w.sql("select id, v from t order by id").await, ["1 | c", "2 | bb", "3 | d"]);
}

/// Rows that it has no longer go, and those without a whole key do not come twice.
#[tokio::test]
async fn a_file_with_a_key_that_is_read_again_gives_all_its_rows_anew() {
    let w = world().await;
    let mut stream = csv("in/*.csv");
    stream.key = vec!["a".to_owned(), "b".to_owned()];
    w.file("in/1.csv", "a,b,v\n1,,1\n1,1,2\n2,1,3\n");
    w.file("in/2.csv", "a,b,v\n5,5,5\n5,,5\n");
    w.take(&stream).await;
    let all = "select a, b, v, _file from t order by a, b, v";
    w.file("in/1.csv", "a,b,v\n1,,1\n1,1,20\n");
    w.take(&stream).await;
    let others = ["5 | 5 | 5 | in/2.csv", "5 | ∅ | 5 | in/2.csv"];
    let want = |first: &[&str]| first.iter().chain(&others).map(|row| (*row).to_owned()).collect::<Vec<_>>();
    assert_eq!(w.sql(all).await, want(&["1 | 1 | 20 | in/1.csv", "1 | ∅ | 1 | in/1.csv"]));
    w.file("in/1.csv", "a,b,v\n");
    w.take(&stream).await;
    assert_eq!(w.sql(all).await, want(&[]));
    assert!(w.take(&stream).await.unchanged);
}

#[tokio::test]
async fn a_full_refresh_forgets_what_was_read() {
    let w = world().await;
    let stream = csv("in/*.csv");
    w.file("in/1.csv", "a\n1\n");
    w.take(&stream).await;
    w.file("in/1.csv", "a\nx\n");
    let told = w.refused(&stream).await;
    assert!(told.contains("column `a` is bigint in the table and text in the source"), "{told}");
    w.step(&stream, true).run(&context()).await.unwrap();
    assert_eq!((w.columns().await, w.sql("select a from t").await), (vec!["a text".to_owned()], vec!["x".to_owned()]));
}

#[tokio::test]
async fn a_cancelled_step_commits_nothing() {
    let w = world().await;
    w.file("t.csv", "a\n".to_owned() + &"1\n".repeat(2_000_000));
    let step = w.step(&csv("t.csv"), false);
    let cx = context();
    let cancel = cx.cancel.clone();
    let progress = cx.progress.clone();
    let running = tokio::spawn(async move { step.run(&cx).await });
    while progress.rows() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    cancel.cancel();
    assert!(matches!(running.await.unwrap(), Err(StepError::Cancelled)));
    assert!(!w.exists("bronze.t").await);
    for _ in 0..100 {
        if parquet_files(&w.path("warehouse")) == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("data files are left of a cancelled step");
}

#[tokio::test]
async fn the_mode_can_be_chosen() {
    let w = world().await;
    let mut stream = csv("in/*.csv");
    file_options(&mut stream).mode = FileMode::Replace;
    w.file("in/1.csv", "a\n1\n");
    w.take(&stream).await;
    std::fs::remove_file(w.path("in/1.csv")).unwrap();
    w.file("in/2.csv", "a\n2\n");
    w.take(&stream).await;
    assert_eq!(w.sql("select a from t").await, ["2"]);
}

#[tokio::test]
async fn two_steps_at_once_do_not_take_a_file_twice() {
    let w = world().await;
    let stream = csv("in/*.csv");
    w.file("in/1.csv", "a\n1\n");
    w.take(&stream).await;
    w.file("in/2.csv", "a\n2\n");
    let (a, b) = (w.step(&stream, false), w.step(&stream, false));
    let (cx, cy) = (context(), context());
    let (a, b) = tokio::join!(a.run(&cx), b.run(&cy));
    assert!(a.is_ok() || b.is_ok());
    w.take(&stream).await;
    assert_eq!(w.sql("select a from t order by a").await, ["1", "2"]);
}
