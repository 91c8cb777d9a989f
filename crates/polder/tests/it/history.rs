//! git's words: status, log, diff, branch, switch, tag, merge, rollback, show.

use crate::fixture::Project;

/// A project whose one table counts the runs that changed it.
fn counter() -> Project {
    let project = Project::of(&[("polder.yaml", "name: counter\n")]);
    step(&project, 1);
    project
}

fn step(project: &Project, n: u32) {
    project.write("models/gold/steps.sql", &format!("select * from generate_series(1, {n}) as t(n)\n"));
    project.polder(&["run"]).ends_with(0);
}

const COUNT: &str = "select count(*) from gold.steps";

#[test]
fn history_is_shown_and_turned_back() {
    let project = counter();
    step(&project, 2);
    step(&project, 3);
    let log = project.polder(&["log"]).ends_with(0);
    assert!(log.out.contains("run 3") && log.out.contains("run 1"), "{}", log.out);
    assert_eq!(project.number_at("main~1", COUNT), 2);
    project.polder(&["diff", "main~1", "main"]).ends_with(0).says("gold.steps");
    project.polder(&["rollback", "--to", "main~2"]).ends_with(0);
    assert_eq!(project.number(COUNT), 1);
    // A rollback is a commit of its own: it can be undone.
    project.polder(&["rollback"]).ends_with(0);
    assert_eq!(project.number(COUNT), 3);
    project.polder(&["rollback", "--run", "3"]).ends_with(0);
    assert_eq!(project.number(COUNT), 2);
}

#[test]
fn branches_are_apart_until_merged() {
    let project = counter();
    project.polder(&["branch", "work"]).ends_with(0);
    project.polder(&["switch", "work"]).ends_with(0);
    step(&project, 5);
    assert_eq!((project.number_at("main", COUNT), project.number_at("work", COUNT)), (1, 5));
    project.polder(&["status"]).ends_with(0).says("work");
    project.polder(&["branch"]).ends_with(0).says("* work").says("  main");
    project.polder(&["switch", "main"]).ends_with(0);
    project.polder(&["merge", "work"]).ends_with(0);
    assert_eq!(project.number(COUNT), 5);
    project.polder(&["branch", "-d", "work"]).ends_with(0);
    project.polder(&["switch", "work"]).ends_with(1).complains("work");
}

#[test]
fn tags_stay_where_they_are() {
    let project = counter();
    project.polder(&["tag", "first"]).ends_with(0);
    step(&project, 4);
    assert_eq!(project.number_at("first", COUNT), 1);
    project.polder(&["tag"]).ends_with(0).says("first");
    project.polder(&["run", "--ref", "first"]).ends_with(1).complains("tag");
    project.polder(&["tag", "-d", "first"]).ends_with(0);
}

#[test]
fn a_table_is_shown_with_what_is_known_about_it() {
    let project = counter();
    let shown = project.polder(&["show", "gold.steps"]).ends_with(0);
    for text in ["gold.steps", "n", "bigint", "1 row"] {
        assert!(shown.out.contains(text), "{text}\n{}", shown.out);
    }
    project.polder(&["show", "gold.stpes"]).ends_with(1).complains("gold.steps");
    let json: serde_json::Value =
        serde_json::from_str(&project.polder(&["show", "gold.steps", "--format", "json"]).ends_with(0).out).unwrap();
    assert!(json.is_object());
}

#[test]
fn everything_has_a_form_for_programs() {
    let project = counter();
    for command in [&["status"][..], &["log"], &["diff"], &["branch"], &["tag"], &["plan"], &["compile"]] {
        let done = project.polder(&[command, &["--format", "json"]].concat()).ends_with(0);
        serde_json::from_str::<serde_json::Value>(&done.out)
            .unwrap_or_else(|e| panic!("{command:?}: {e}\n{}", done.out));
    }
}
