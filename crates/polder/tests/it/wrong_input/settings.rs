//! Projects that are wrong: nothing runs, nothing is written, and every mistake has its place.

use crate::fixture::Project;

/// Every command that needs the project refuses it, and nothing was made.
#[track_caller]
fn refused(files: &[(&str, &str)], told: &[&str]) {
    let project = Project::of(files);
    for command in ["validate", "plan", "run"] {
        let done = project.polder(&[command]).ends_with(2);
        for text in told {
            assert!(done.err.contains(text), "{command}: no `{text}` in\n{}", done.err);
        }
    }
    let history = project.polder(&["log"]);
    assert!(history.code != 0 || !history.out.contains("run 1"), "{history:?}");
}

const NAME: (&str, &str) = ("polder.yaml", "name: wrong\n");

#[test]
fn models_that_are_made_from_each_other() {
    refused(
        &[
            NAME,
            ("models/gold/a.sql", "select * from gold.b\n"),
            ("models/gold/b.sql", "select * from {{ ref('c') }}\n"),
            ("models/gold/c.sql", "select * from gold.a\n"),
        ],
        &["error[M014]", "gold.a ← gold.b ← gold.c ← gold.a", "models/gold/a.sql:1:15", "models/gold/b.sql:1:22"],
    );
    refused(
        &[NAME, ("models/gold/a.sql", "select * from gold.a\n")],
        &["error[M015]: gold.a reads itself", "a.sql:1:15"],
    );
}

#[test]
fn keys_that_there_are_not() {
    refused(
        &[
            ("polder.yaml", "name: wrong\nconcurency: 3\n"),
            ("sources/t.yaml", "files: a.csv\nmax_rejectd: 3\n"),
            ("checks/t.yaml", "table: bronze.t\nchecks:\n  - uniqe: a\n"),
        ],
        &[
            "polder.yaml:2:1",
            "did you mean `concurrency`?",
            "sources/t.yaml:2:1",
            "did you mean `max_rejected`?",
            "checks/t.yaml:3:5",
            "did you mean `unique`?",
        ],
    );
}

#[test]
fn a_variable_that_is_not_set() {
    let files = [NAME, ("sources/shop.yaml", "postgres: ${env:NOT_SET_ANYWHERE}\ntables: { orders: full }\n")];
    refused(&files, &["error[P007]", "`NOT_SET_ANYWHERE` is not set", "sources/shop.yaml:1:11", "`.env`"]);
}

#[test]
fn a_project_of_a_newer_version() {
    let project = Project::of(&[("polder.yaml", "name: new\nformat: 99\n"), ("models/gold/a.sql", "select 1 as a\n")]);
    for command in [&["validate"][..], &["run"], &["status"], &["sql", "select 1"]] {
        project
            .polder(command)
            .ends_with(2)
            .complains("error[P010]")
            .complains("polder.yaml:2:9")
            .complains("newer Polder");
    }
    assert!(!project.path(".polder").exists());
}

/// The settings say where the data is: nobody is shown an empty project in its place.
#[test]
fn broken_settings_open_no_other_home() {
    let project =
        Project::of(&[("polder.yaml", "name: here\nhome: elsewhere\n"), ("models/gold/a.sql", "select 1 as a\n")]);
    project.polder(&["run"]).ends_with(0);
    project.write("polder.yaml", "name: here\nhmoe: elsewhere\n");
    for command in [&["status"][..], &["log"], &["sql", "select * from gold.a"], &["run"]] {
        project.polder(command).ends_with(2).complains("did you mean `home`?");
    }
    assert!(!project.path(".polder").exists());
    project.write("polder.yaml", "name: here\nhome: elsewhere\nenvironments: { prod: { home: prod } }\n");
    project.polder(&["status", "--env", "prdo"]).ends_with(2).complains("prod");
    assert_eq!(project.number("select a from gold.a"), 1);
}
