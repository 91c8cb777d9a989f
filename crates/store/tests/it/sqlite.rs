//! What only SQLite does: several processes, crashes, damage, versions.

use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use polder_store::{Batch, Outcome, Space, SqliteState, State, StoreError};

/// Set for the processes that these tests start from their own program.
const CHILD: &str = "POLDER_STORE_TEST_STATE";

#[tokio::test]
async fn the_library_is_new_enough() {
    let folder = tempfile::tempdir().unwrap();
    let state = SqliteState::open(folder.path().join("state.db")).await.unwrap();
    let version = state.library_version().await.unwrap();
    let numbers: Vec<u32> = version.split('.').map(|n| n.parse().unwrap()).collect();
    assert!(numbers >= vec![3, 51, 3], "SQLite {version} can damage a WAL that two connections use");
}

#[tokio::test]
async fn records_survive_closing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = SqliteState::open(&path).await.unwrap();
    state.apply(Batch::new().put(Space::Refs, "main", "1")).await.unwrap();
    drop(state);
    let state = SqliteState::open(&path).await.unwrap();
    assert_eq!(state.get(Space::Refs, "main").await.unwrap().unwrap(), "1");
    assert_eq!(state.get(Space::Meta, "format").await.unwrap().unwrap(), "1");
}

/// Two handles have a writer each, as two processes have.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_handles_see_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (one, two) = tokio::join!(SqliteState::open(&path), SqliteState::open(&path));
    let (one, two) = (Arc::new(one.unwrap()), Arc::new(two.unwrap()));
    let tasks = [&one, &two, &one, &two].map(|state| tokio::spawn(super::state::count(state.clone(), 50)));
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(one.get(Space::Meta, "counter").await.unwrap().unwrap(), "200");
    assert_eq!(two.get(Space::Meta, "counter").await.unwrap().unwrap(), "200");
}

#[tokio::test]
async fn a_dropped_caller_leaves_no_open_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (ours, other) = (SqliteState::open(&path).await.unwrap(), SqliteState::open(&path).await.unwrap());
    for round in 0..50u64 {
        let batch = (0..20).fold(Batch::new(), |b, i| b.put(Space::Runs, format!("{i}"), format!("{round}")));
        let waiting = tokio::time::timeout(std::time::Duration::from_micros(round * 20), ours.apply(batch));
        let _ = waiting.await;
    }
    // An open transaction of ours would hold this back until it times out.
    let applied = tokio::time::timeout(
        std::time::Duration::from_secs(10),
        other.apply(Batch::new().put(Space::Refs, "main", "1")),
    );
    assert_eq!(applied.await.unwrap().unwrap(), Outcome::Applied);
    assert_same(&other, 20).await;
}

/// All records of `Runs` have one value: a batch was applied as a whole, or not at all.
async fn assert_same(state: &SqliteState, count: usize) -> Option<u64> {
    let records = state.scan(Space::Runs, "", None, 1000).await.unwrap();
    let first = records.first().map(|(_, value)| value.clone())?;
    assert_eq!(records.len(), count);
    assert!(records.iter().all(|(_, value)| *value == first), "{records:?}");
    Some(std::str::from_utf8(&first).unwrap().parse().unwrap())
}

/// Not a test of its own: the process that `a_killed_process_leaves_whole_batches` starts and kills.
#[tokio::test]
async fn child_that_writes_until_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let state = SqliteState::open(path).await.unwrap();
    let start = assert_same(&state, 40).await.unwrap_or(0);
    for round in start + 1.. {
        let batch = (0..40).fold(Batch::new(), |b, i| b.put(Space::Runs, format!("{i:02}"), format!("{round}")));
        assert_eq!(state.apply(batch).await.unwrap(), Outcome::Applied);
        println!("done {round}");
    }
}

#[tokio::test]
async fn a_killed_process_leaves_whole_batches() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    for round in 0..8u64 {
        let reported = kill_child(&path, 3 + 2 * round);
        let state = SqliteState::open(&path).await.unwrap();
        let found = assert_same(&state, 40).await.unwrap();
        assert!(found >= reported, "batch {reported} was reported as applied, and {found} is there");
    }
}

/// Starts a process that writes batches, kills it after some, and returns the last that it reported.
fn kill_child(path: &Path, batches: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite::child_that_writes_until_killed", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut reported = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("done ")?.parse().ok());
    let last: u64 = reported.by_ref().take(usize::try_from(batches).unwrap()).last().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    reported.last().unwrap_or(last)
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = SqliteState::open(&path).await.unwrap();
    state.apply(Batch::new().put(Space::Meta, "format", "2").put(Space::Refs, "main", "1")).await.unwrap();
    drop(state);
    let newer = SqliteState::open(&path).await.unwrap_err();
    assert!(matches!(newer, StoreError::TooNew { found: 2, known: 1, .. }), "{newer:?}");
}

#[tokio::test]
async fn a_damaged_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = SqliteState::open(&path).await.unwrap();
    for i in 0..200 {
        state.apply(Batch::new().put(Space::Objects, format!("{i:064}"), vec![7; 2000])).await.unwrap();
    }
    drop(state);
    wait_for_checkpoint(&path).await;

    // Pages in the middle are overwritten: what reads them says so, and what does not still works.
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let size = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(size / 2 / 4096 * 4096)).unwrap();
    file.write_all(&vec![0xab; 64 * 1024]).unwrap();
    drop(file);
    let state = SqliteState::open(&path).await.unwrap();
    let damaged = state.scan(Space::Objects, "", None, 1000).await.unwrap_err();
    assert_corrupt(&damaged);
    drop(state);

    // No database at all.
    std::fs::write(&path, vec![0xcd; 8192]).unwrap();
    for extension in ["db-wal", "db-shm"] {
        let _ = std::fs::remove_file(path.with_extension(extension));
    }
    assert_corrupt(&SqliteState::open(&path).await.unwrap_err());
}

fn assert_corrupt(error: &StoreError) {
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("move `state.db`, `state.db-wal` and `state.db-shm` away"), "{error}");
}

/// The last connection to close moves the WAL into the file and removes it, on a thread of its own.
async fn wait_for_checkpoint(path: &Path) {
    for _ in 0..6_000 {
        if !path.with_extension("db-wal").exists() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the WAL is still there");
}

#[tokio::test]
async fn a_database_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("CREATE TABLE songs (title TEXT)").execute(&pool).await.unwrap();
    pool.close().await;
    let error = SqliteState::open(&path).await.unwrap_err();
    assert!(error.to_string().contains("a database of something else"), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_missing_is_named() {
    let error = SqliteState::open("/nowhere/at/all/state.db").await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all/state.db"), "{error}");
}

/// An error that SQLite does not answer by rolling back itself.
#[tokio::test]
async fn a_batch_that_fails_half_way_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = SqliteState::open(&path).await.unwrap();
    let other =
        sqlx::SqlitePool::connect_with(sqlx::sqlite::SqliteConnectOptions::new().filename(&path)).await.unwrap();
    sqlx::query("DROP TABLE steps").execute(&other).await.unwrap();
    let batch = Batch::new().put(Space::Refs, "main", "1").put(Space::Steps, "1", "x");
    assert!(state.apply(batch).await.is_err());
    assert_eq!(state.get(Space::Refs, "main").await.unwrap(), None);
    assert_eq!(state.apply(Batch::new().put(Space::Refs, "main", "2")).await.unwrap(), Outcome::Applied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_open_a_new_file_at_once() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let opening: Vec<_> = (0..6).map(|_| tokio::spawn(SqliteState::open(path.clone()))).collect();
        for opened in opening {
            opened.await.unwrap().unwrap();
        }
    }
}
