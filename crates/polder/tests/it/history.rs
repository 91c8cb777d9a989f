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

#[test]
fn a_rollback_takes_cursors_with_the_tables() {
    let project = Project::of(&[
        ("polder.yaml", "name: cursors\n"),
        ("sources/orders.yaml", "files: data/orders/*.csv\n"),
        ("sources/events.yaml", "files: data/events/*.csv\n"),
        ("data/orders/1.csv", "id\n1\n2\n"),
        ("data/events/1.csv", "id\n1\n"),
    ]);
    project.polder(&["run"]).ends_with(0);
    project.write("data/orders/2.csv", "id\n3\n");
    project.write("data/events/2.csv", "id\n2\n3\n4\n");
    project.polder(&["run"]).ends_with(0);
    let rows = |project: &Project| {
        let of = |table: &str| project.number(&format!("select count(*) from bronze.{table}"));
        let distinct = |table: &str| project.number(&format!("select count(distinct id) from bronze.{table}"));
        assert_eq!((of("orders"), of("events")), (distinct("orders"), distinct("events")), "each row once");
        (of("orders"), of("events"))
    };
    assert_eq!(rows(&project), (3, 4));
    let done = project.polder(&["rollback"]).ends_with(0).says("rolled back main to run 1, today ");
    let undo = done.out.lines().nth(1).unwrap().trim().strip_prefix("undo").unwrap().trim().to_owned();
    assert_eq!(rows(&project), (2, 1));
    project.polder(&["rollback", "--to", "main"]).ends_with(0).says("nothing to do");
    // What the files hold comes again, and only once.
    project.polder(&["run"]).ends_with(0);
    assert_eq!(rows(&project), (3, 4));
    project.polder(&["rollback", "--to", "main~2", "bronze.events"]).ends_with(0).says("bronze.events of main");
    assert_eq!(rows(&project), (3, 4), "main~2 is the commit before the first rollback");
    project.polder(&["rollback", "--run", "3", "bronze.events"]).ends_with(0);
    assert_eq!(rows(&project), (3, 1), "one table goes back, the other stays");
    let again = project.polder(&["run"]).ends_with(0);
    assert!(again.out.contains(" = ingest  bronze.orders") && again.out.contains("+3"), "{}", again.out);
    assert_eq!(rows(&project), (3, 4));
    // The line that says how to undo it is a command that does.
    let words: Vec<&str> = undo.split(' ').skip(1).collect();
    project.polder(&words).ends_with(0);
    assert_eq!(rows(&project), (3, 4));
    project.polder(&["rollback", "--run", "77"]).ends_with(1).complains("run 77 was not published to main");
    project.polder(&["rollback", "bronze.evnts"]).ends_with(1).complains("bronze.evnts");
}

#[test]
fn git_words_say_what_happened() {
    let project = counter();
    project.polder(&["status"]).ends_with(0).says("counter on main: run 1, today ").says("1 table, 0 views");
    project.polder(&["branch", "work"]).ends_with(0).says("branch work at ");
    project.polder(&["branch", "work"]).ends_with(1).complains("`work` exists already");
    project.polder(&["branch", "no such"]).ends_with(1).complains("cannot be the name of a ref");
    project.polder(&["merge", "work"]).ends_with(0).says("main has all of work already");
    project.polder(&["merge", "main"]).ends_with(1).complains("cannot be merged into itself");
    project.polder(&["merge", "wrok"]).ends_with(1).complains("did you mean `work`?");
    project.polder(&["switch", "work"]).ends_with(0).says("on work: run 1, today ");
    step(&project, 2);
    project.polder(&["diff", "main"]).ends_with(0).says("~ table  gold.steps  1 → 2 rows\n");
    project.polder(&["diff", "main", "main"]).ends_with(0).says("no difference");
    let merged = project.polder(&["merge", "work", "--into", "main"]).ends_with(0);
    assert!(merged.out.starts_with("merged work into main: "), "{}", merged.out);
    project
        .polder(&["branch", "-d", "work"])
        .ends_with(1)
        .complains("is the current ref")
        .complains("polder switch main");
    project.polder(&["switch", "main"]).ends_with(0);
    project.polder(&["branch", "-d", "work"]).ends_with(0).says("deleted work");
    project.polder(&["branch", "-d", "main"]).ends_with(1).complains("`main` cannot be deleted");
    let log = project.polder(&["log", "-n", "2"]).ends_with(0);
    assert!(log.out.lines().next().unwrap().ends_with("tester  Merge work into main"), "{}", log.out);
    assert_eq!(log.out.lines().filter(|l| !l.starts_with(' ')).count(), 2, "{}", log.out);
    // A commit is named by the first digits of its hash.
    let commit = log.out.split(' ').next().unwrap().to_owned();
    assert_eq!(project.number_at(&commit, COUNT), 2);
    assert_eq!(project.number_at(&format!("{commit}~1"), COUNT), 1);
    project.polder(&["log", "nowhere"]).ends_with(1).complains("there is no ref `nowhere`");
}

/// What a hint says can be typed.
#[test]
fn a_commit_is_worked_on_as_a_branch() {
    let project = counter();
    step(&project, 2);
    project.polder(&["switch", "main~1"]).ends_with(1).complains("polder branch NAME --from main~1");
    project.polder(&["branch", "before", "--from", "main~1"]).ends_with(0);
    project.polder(&["switch", "before"]).ends_with(0);
    assert_eq!(project.number_at("before", COUNT), 1);
}

#[test]
fn a_run_that_is_held_is_not_merged_by_the_way() {
    let project = counter();
    project.write("checks/steps.yaml", "table: gold.steps\nchecks:\n  - holds: n < 2\n  - row_count: { max: 1 }\n");
    project.write("models/gold/steps.sql", "select * from generate_series(1, 2) as t(n)\n");
    project.polder(&["run"]).ends_with(1).says("HELD.");
    project
        .polder(&["merge", "run/2"])
        .ends_with(1)
        .complains("run 2 is held: n < 2 on gold.steps does not hold, and 1 more")
        .complains("polder run --resume 2")
        .complains("polder merge run/2 --unchecked");
    assert_eq!(project.number(COUNT), 1);
    // Neither is it a way back: main never showed it.
    let to_it = ["rollback", "--to", "run/2"];
    project.polder(&to_it).ends_with(1).complains("run 2 is held").complains("polder merge run/2 --unchecked");
    assert_eq!(project.number(COUNT), 1);
    project.polder(&["merge", "run/2", "--unchecked"]).ends_with(0).says("merged run/2 into main: ");
    assert_eq!(project.number(COUNT), 2);
}

/// The commits of a held run, under other names than its branch's.
#[test]
fn what_a_held_run_wrote_is_not_merged_under_another_name() {
    let project = counter();
    project.write("checks/steps.yaml", "table: gold.steps\nchecks:\n  - holds: n < 2\n");
    project.write("models/gold/steps.sql", "select * from generate_series(1, 2) as t(n)\n");
    project.polder(&["run"]).ends_with(1).says("HELD.");
    project.polder(&["branch", "fix", "--from", "run/2"]).ends_with(0);
    project.polder(&["tag", "seen", "run/2"]).ends_with(0);
    for name in ["run/2~0", "fix", "seen"] {
        project
            .polder(&["merge", name])
            .ends_with(1)
            .complains(&format!("{name} has what run 2 wrote, and run 2 is held: n < 2 on gold.steps does not hold"))
            .complains(&format!("polder merge {name} --unchecked"));
    }
    // A run that is published on top of it does not make it good.
    project.write("models/gold/other.sql", "select 1 as one\n");
    project.polder(&["run", "gold.other", "--ref", "fix"]).ends_with(0);
    project.polder(&["merge", "fix"]).ends_with(1).complains("fix has what run 2 wrote");
    project.polder(&["branch", "work"]).ends_with(0);
    project.polder(&["merge", "fix", "--into", "work"]).ends_with(1).complains("merge fix --into work --unchecked");
    assert_eq!(project.number(COUNT), 1);

    // What was taken over by a decision stands in the way of nothing later, here and where that is merged.
    project.polder(&["merge", "run/2", "--into", "work", "--unchecked"]).ends_with(0);
    project.polder(&["merge", "work"]).ends_with(0).says("merged work into main: ");
    assert_eq!(project.number(COUNT), 2);
    project.polder(&["merge", "fix"]).ends_with(0).says("merged fix into main: ");
    project.polder(&["merge", "run/2"]).ends_with(0).says("main has all of run/2 already");
}

/// A run that was held first, and then taken up and published.
#[test]
fn what_was_published_in_the_end_can_be_merged() {
    let project = counter();
    project.polder(&["branch", "work"]).ends_with(0);
    project.write("checks/steps.yaml", "table: gold.steps\nchecks:\n  - holds: n < 2\n");
    project.write("models/gold/steps.sql", "select * from generate_series(1, 2) as t(n)\n");
    project.polder(&["run", "--ref", "work"]).ends_with(1).says("HELD.");
    project.write("checks/steps.yaml", "table: gold.steps\nchecks:\n  - holds: n < 3\n");
    project.polder(&["run", "--resume", "2"]).ends_with(0);
    project.polder(&["merge", "work"]).ends_with(0).says("merged work into main: ");
    assert_eq!(project.number(COUNT), 2);
}

#[test]
fn tables_that_nothing_makes_any_more_are_told_and_dropped() {
    let project = Project::of(&[
        ("polder.yaml", "name: leftovers\n"),
        ("sources/orders.yaml", "files: data/*.csv\nmax_rejected: 1\ncolumns: { id: bigint }\n"),
        ("data/1.csv", "id\n1\n2\nx\n"),
        ("models/gold/old.sql", "select id from bronze.orders\n"),
        ("models/gold/older.sql", "{{ config(materialized='view') }}\nselect id from gold.old\n"),
        ("models/gold/kept.sql", "select 1 as one\n"),
    ]);
    project.polder(&["run"]).ends_with(0);
    let done = project.polder(&["status"]).ends_with(0);
    assert!(!done.out.contains("polder drop"), "{}", done.out);
    project.polder(&["drop", "bronze.orders"]).ends_with(1).complains("bronze.orders is read by gold.old");

    std::fs::remove_file(project.path("models/gold/old.sql")).unwrap();
    std::fs::remove_file(project.path("models/gold/older.sql")).unwrap();
    for command in ["status", "plan"] {
        let done =
            project.polder(&[command]).ends_with(0).says("no model or source makes gold.old, gold.older any more");
        assert!(done.out.contains("polder drop gold.old gold.older"), "{}", done.out);
    }
    project.polder(&["drop", "gold.odl"]).ends_with(1).complains("did you mean `gold.old`?");
    project
        .polder(&["drop", "gold.old"])
        .ends_with(1)
        .complains("gold.old is read by the view gold.older")
        .complains("polder drop gold.old gold.older");
    let done = project.polder(&["drop", "gold.old", "gold.older"]).ends_with(0);
    assert!(done.out.starts_with("dropped gold.old, gold.older from main, as commit "), "{}", done.out);
    project.polder(&["status"]).ends_with(0).says("3 tables, 0 views");

    // A source's table goes with its cursor and what was set aside: nothing says that its files were read.
    std::fs::rename(project.path("sources"), project.path("away")).unwrap();
    project.polder(&["status"]).ends_with(0).says("polder drop bronze.orders\n");
    project.polder(&["drop", "bronze.orders"]).ends_with(0).says("dropped bronze.orders, quarantine.orders from main");
    project.polder(&["status"]).ends_with(0).says("1 table, 0 views");
    project.polder(&["log", "-n", "1"]).ends_with(0).says("Drop bronze.orders, quarantine.orders").says("drop ");
    std::fs::rename(project.path("away"), project.path("sources")).unwrap();
    project.polder(&["run"]).ends_with(0).says("+2");

    // What is declared comes again with the next run; and a drop is undone as any commit is.
    let done = project.polder(&["drop", "gold.kept"]).ends_with(0).says("the next run makes gold.kept again");
    let undo = done.out.lines().last().unwrap().trim().strip_prefix("undo").unwrap().trim().to_owned();
    project.polder(&["sql", "select * from gold.kept"]).ends_with(2);
    project.polder(&undo.split(' ').skip(1).collect::<Vec<_>>()).ends_with(0);
    assert_eq!(project.number("select one from gold.kept"), 1);
}

/// What undoes a drop or a rollback of another branch names that branch.
#[test]
fn what_happens_on_another_branch_is_undone_there() {
    let project = Project::of(&[("polder.yaml", "name: elsewhere\n"), ("models/gold/kept.sql", "select 1 as one\n")]);
    project.write("models/gold/old.sql", "select 1 as one\n");
    project.polder(&["run"]).ends_with(0);
    project.polder(&["branch", "dev"]).ends_with(0);
    std::fs::remove_file(project.path("models/gold/old.sql")).unwrap();
    project.polder(&["plan", "--ref", "dev"]).ends_with(0).says("polder drop gold.old --ref dev\n");
    let before = project.polder(&["log", "main", "-n", "1"]).ends_with(0).out;
    for command in [&["drop", "gold.old", "--ref", "dev"][..], &["rollback", "--ref", "dev", "--to", "dev~1"]] {
        let done = project.polder(command).ends_with(0);
        let undo = done.out.lines().last().unwrap().trim().strip_prefix("undo").unwrap().trim().to_owned();
        assert!(undo.ends_with(" --ref dev"), "{}", done.out);
        let undo = undo.split(' ').skip(1).collect::<Vec<_>>();
        project.polder(&undo).ends_with(0).says("rolled back dev to ");
        assert_eq!(project.number_at("dev", "select one from gold.old"), 1);
    }
    assert_eq!(project.polder(&["log", "main", "-n", "1"]).ends_with(0).out, before);
}

/// A view that reads another view has none of its tables in its plan but those below both.
#[test]
fn a_view_of_a_view_stands_against_a_drop() {
    let project = Project::of(&[
        ("polder.yaml", "name: views\n"),
        ("models/gold/kept.sql", "select 1 as one\n"),
        ("models/gold/v1.sql", "{{ config(materialized='view') }}\nselect one from gold.kept\n"),
        ("models/gold/v2.sql", "{{ config(materialized='view') }}\nselect one from v1\n"),
    ]);
    project.polder(&["run"]).ends_with(0);
    for view in ["v1", "v2"] {
        std::fs::remove_file(project.path(&format!("models/gold/{view}.sql"))).unwrap();
    }
    project.polder(&["branch", "dev"]).ends_with(0);
    project
        .polder(&["drop", "gold.v1", "--ref", "dev"])
        .ends_with(1)
        .complains("gold.v1 is read by the view gold.v2")
        .complains("polder drop gold.v1 gold.v2 --ref dev");
    project.polder(&["drop", "gold.v1"]).ends_with(1).complains("gold.v1 is read by the view gold.v2");
    assert_eq!(project.number("select one from gold.v2"), 1);
    project.polder(&["drop", "gold.v2"]).ends_with(0);
    project.polder(&["drop", "gold.v1"]).ends_with(0);
}

#[test]
fn what_a_model_with_mistakes_reads_is_not_called_left_over() {
    let project = Project::of(&[
        ("polder.yaml", "name: mistaken\n"),
        ("models/gold/base.sql", "select 1 as one\n"),
        ("models/gold/d.sql", "select one from gold.base\n"),
    ]);
    project.polder(&["run"]).ends_with(0);
    std::fs::remove_file(project.path("models/gold/base.sql")).unwrap();
    project.polder(&["validate"]).ends_with(2).complains("M012");
    let done = project.polder(&["status"]).ends_with(0);
    assert!(!done.out.contains("polder drop"), "{}", done.out);
    std::fs::remove_file(project.path("models/gold/d.sql")).unwrap();
    project.write("models/gold/kept.sql", "select 1 as one\n");
    project.polder(&["status"]).ends_with(0).says("polder drop gold.base gold.d\n");
}

#[test]
fn an_empty_project_answers_too() {
    let project = Project::of(&[("polder.yaml", "name: empty\n")]);
    let done = project.polder(&["branch"]).ends_with(0);
    assert!(!done.out.contains("1970"), "{}", done.out);
    assert_eq!(project.ask("select created from system.refs"), [serde_json::json!({"created": null})]);
    project.polder(&["status"]).ends_with(0).says("empty on main: the empty catalog").says("0 tables, 0 views");
    project.polder(&["log"]).ends_with(0).says("Empty catalog");
    project.polder(&["run"]).ends_with(1).complains("there is nothing to run");
    project.polder(&["check"]).ends_with(1).complains("there are no checks");
    project.polder(&["diff"]).ends_with(1);
    project.polder(&["rollback"]).ends_with(1);
    project.polder(&["run", "--resume"]).ends_with(1).complains("there is no run to take up again");
    project.polder(&["show", "gold.x"]).ends_with(1).complains("there is no table `gold.x` at main");
}
