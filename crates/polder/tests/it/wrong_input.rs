//! Wrong input, and a world that fails: a clear error, the right exit code, and nothing lost or doubled.

pub mod database;
mod disk;
mod files;
mod lost_files;
mod policies;
mod races;
mod settings;
mod state;

use std::process::Command;

use crate::fixture::{Done, Project};

/// A project that has read two files and built from them.
fn project() -> Project {
    let project = Project::of(&[
        ("polder.yaml", "name: wrong\n"),
        ("sources/t.yaml", "files: in/*.csv\n"),
        ("models/gold/total.sql", "select count(*) as n, sum(a) as a from bronze.t\n"),
        ("in/1.csv", "a,b\n1,x\n2,y\n"),
    ]);
    project.polder(&["run"]).ends_with(0);
    project.write("in/2.csv", "a,b\n3,x\n4,y\n");
    project.polder(&["run"]).ends_with(0);
    project
}

const ROWS: &str = "select count(*) from bronze.t";
const DISTINCT: &str = "select count(distinct a) from bronze.t";
const TOTAL: &str = "select a from gold.total";

/// Asserts that the table holds the numbers from 1 to `n`, each once, and that what is built from it knows.
#[track_caller]
fn holds(project: &Project, n: i64) {
    assert_eq!((project.number(ROWS), project.number(DISTINCT)), (n, n));
    assert_eq!(project.number(TOTAL), n * (n + 1) / 2);
}

/// Sends a signal to a process.
fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").args([name, &process.to_string()]).status().unwrap();
    assert!(sent.success(), "kill {name} {process}");
}

/// Asserts that nothing says a secret.
#[track_caller]
fn keeps(done: &Done, secret: &str) {
    assert!(!done.out.contains(secret) && !done.err.contains(secret), "{done:?}");
}
