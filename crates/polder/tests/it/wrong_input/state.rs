//! A state store that was damaged, lost, or written by another version. The tables are in the warehouse, and so is what
//! makes the store again.

use std::path::PathBuf;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use super::{holds, project};
use crate::fixture::Project;

const FILES: [&str; 3] = ["state.db", "state.db-wal", "state.db-shm"];

fn file(project: &Project, name: &str) -> PathBuf {
    project.path(".polder").join(name)
}

/// Runs statements in the state store; afterwards all of it is in the one file.
fn execute(project: &Project, sql: &str) {
    let options = SqliteConnectOptions::new().filename(file(project, "state.db"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let sql = format!("{sql}; PRAGMA wal_checkpoint(TRUNCATE)");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

/// Every command says what is wrong and what mends it.
#[track_caller]
fn refused(project: &Project, told: &str) {
    for command in [&["status"][..], &["sql", super::ROWS], &["run"]] {
        let done = project.polder(command).ends_with(3).complains(told);
        assert!(!done.err.contains("(code: 1)"), "{done:?}");
    }
}

/// What the message says mends it: all that was published is there, and runs go on.
#[track_caller]
fn mended_by_moving_it_away(project: &Project, rows: i64) {
    std::fs::create_dir(project.path("old")).unwrap();
    for name in FILES {
        let _ = std::fs::rename(file(project, name), project.path("old").join(name));
    }
    let done = project.polder(&["status"]).ends_with(0);
    let told = done.complains("was built again from the warehouse").complains("records of earlier runs are lost");
    assert_eq!(told.err.lines().count(), 1, "{told:?}");
    assert_eq!(project.polder(&["status"]).ends_with(0).err, "", "it is told once");
    holds(project, rows);
    project.polder(&["run"]).ends_with(0).says("unchanged");
    holds(project, rows);
    project.write("in/9.csv", &format!("a,b\n{},z\n", rows + 1));
    project.polder(&["run"]).ends_with(0);
    holds(project, rows + 1);
}

#[test]
fn a_damaged_state_file() {
    let half = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let head = |bytes: &mut Vec<u8>| bytes[..100].fill(0);
    let pages = |bytes: &mut Vec<u8>| bytes.chunks_mut(4096).skip(2).for_each(|page| page[..64].fill(0xab));
    let text = |bytes: &mut Vec<u8>| *bytes = b"hello world ".repeat(1000);
    for damage in [&half as &dyn Fn(&mut Vec<u8>), &head, &pages, &text] {
        let project = project();
        execute(&project, "");
        let mut bytes = std::fs::read(file(&project, "state.db")).unwrap();
        damage(&mut bytes);
        std::fs::write(file(&project, "state.db"), bytes).unwrap();
        refused(&project, "state.db is damaged");
        refused(&project, "move `state.db`, `state.db-wal` and `state.db-shm` away");
        mended_by_moving_it_away(&project, 4);
    }
}

#[test]
fn a_state_file_that_is_gone_or_empty() {
    let project = project();
    mended_by_moving_it_away(&project, 4);
    execute(&project, "");
    std::fs::write(file(&project, "state.db"), b"").unwrap();
    project.polder(&["status"]).ends_with(0).complains("was built again from the warehouse");
    holds(&project, 5);
}

#[test]
fn records_that_are_damaged() {
    for (sql, told) in [
        ("update objects set value = x'00112233'", "is damaged: its content does not match its name"),
        ("delete from objects", "is missing"),
        ("update refs set value = x'7b'", "record ref main is damaged"),
    ] {
        let project = project();
        execute(&project, sql);
        refused(&project, told);
        refused(&project, "move `state.db`, `state.db-wal` and `state.db-shm` away");
        mended_by_moving_it_away(&project, 4);
    }
    // What only tells of earlier runs stops nothing but telling.
    let project = project();
    execute(&project, "update fingerprints set value = x'7b'; delete from steps; delete from checks");
    project.polder(&["run"]).ends_with(0);
    holds(&project, 4);
}

/// From a backup, say: `main` would go back to what it was then, and nobody would notice.
#[test]
fn a_state_file_that_is_older_than_the_warehouse() {
    let project = project();
    execute(&project, "");
    std::fs::copy(file(&project, "state.db"), project.path("backup")).unwrap();
    for n in 5..=6 {
        project.write(&format!("in/{n}.csv"), &format!("a,b\n{n},z\n"));
        project.polder(&["run"]).ends_with(0);
    }
    for name in FILES {
        let _ = std::fs::remove_file(file(&project, name));
    }
    std::fs::copy(project.path("backup"), file(&project, "state.db")).unwrap();
    refused(&project, "the state is older than the warehouse");
    mended_by_moving_it_away(&project, 6);
}

#[test]
fn a_store_of_a_newer_version() {
    let project = project();
    execute(&project, "update meta set value = cast('99' as blob) where key = 'format'");
    refused(&project, "state.db has format 99, and this version of Polder knows formats up to 1: install a newer one");
    execute(&project, "update meta set value = cast('1' as blob) where key = 'format'");
    holds(&project, 4);
    let format = project.path(".polder/warehouse/_polder/format");
    let known = std::fs::read_to_string(&format).unwrap();
    std::fs::write(&format, known.replace("\"format\":1", "\"format\":99")).unwrap();
    refused(&project, "_polder/format has format 99");
    std::fs::write(&format, known).unwrap();
    holds(&project, 4);
}

/// The newest data file of a table.
fn data_file(project: &Project, namespace: &str) -> PathBuf {
    let entries = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let table = entries(project.path(".polder/warehouse").join(namespace)).next().unwrap();
    entries(table.join("data")).max_by_key(|file| file.metadata().unwrap().modified().unwrap()).unwrap()
}

#[test]
fn a_data_file_that_is_gone_or_damaged() {
    let project = project();
    let path = data_file(&project, "bronze");
    let whole = std::fs::read(&path).unwrap();
    project.write("in/3.csv", "a,b\n5,z\n");
    let refused = |told: &[&str]| {
        let asked = project.polder(&["sql", "select sum(a) from bronze.t"]).ends_with(3);
        let run = project.polder(&["run"]).ends_with(3).says("FAILED. main is unchanged: run 2, ");
        for text in told {
            assert!(asked.err.contains(text) && run.out.contains(text), "no `{text}` in\n{}\n{}", asked.err, run.out);
        }
    };
    std::fs::remove_file(&path).unwrap();
    refused(&["bronze/t-", ".parquet does not exist"]);
    project.polder(&["sql", "select sum(a) from bronze.t"]).complains("does not exist, although the catalog names it");
    std::fs::write(&path, &whole[..30]).unwrap();
    refused(&["bronze/t-", ".parquet is damaged"]);
    // Brought back, all is as it was.
    std::fs::write(&path, whole).unwrap();
    project.polder(&["run"]).ends_with(0);
    holds(&project, 5);
}
