//! Mistakes of a project, as their maker sees them.

use crate::fixture::Project;

fn broken() -> Project {
    Project::of(&[
        ("polder.yaml", "name: broken\nconcurency: 4\n"),
        ("sources/orders.yaml", "files: data/*.csv\nkye: id\n"),
        ("models/silver/orders.sql", "select * from bronze.orders\n"),
        ("models/gold/daily.sql", "select *\nfrom {{ ref('ordes') }}\n"),
        ("checks/orders.yaml", "table: silver.orders\nchecks:\n  - uniqe: id\n"),
    ])
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places() {
    let done = broken().polder(&["validate"]).ends_with(2);
    for text in [
        "polder.yaml:2:1",
        "did you mean `concurrency`?",
        "sources/orders.yaml:2:1",
        "did you mean `key`?",
        "checks/orders.yaml:3:5",
        "did you mean `unique`?",
    ] {
        assert!(done.err.contains(text), "{text}\n{}", done.err);
    }
}

#[test]
fn an_unknown_name_in_a_model_points_into_the_file_as_written() {
    let project = broken();
    for name in ["polder.yaml", "sources/orders.yaml", "checks/orders.yaml"] {
        std::fs::remove_file(project.path(name)).unwrap();
    }
    project.write("polder.yaml", "name: broken\n");
    project.write("sources/orders.yaml", "files: data/*.csv\n");
    project
        .polder(&["validate"])
        .ends_with(2)
        .complains("models/gold/daily.sql:2:13")
        .complains("did you mean `orders` (models/silver/orders.sql)?");
}

#[test]
fn json_is_one_object_for_each_mistake() {
    let done = broken().polder(&["validate", "--format", "json"]).ends_with(2);
    let lines: Vec<serde_json::Value> = done.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let found = lines.iter().find(|l| l["file"] == "polder.yaml").unwrap();
    assert_eq!((found["severity"].as_str(), found["line"].as_u64()), (Some("error"), Some(2)));
    assert!(lines.len() >= 3, "{}", done.out);
}

#[test]
fn a_broken_project_does_not_run_and_writes_nothing() {
    let project = broken();
    project.polder(&["run"]).ends_with(2).complains("did you mean `key`?");
    project.polder(&["plan"]).ends_with(2);
}

#[test]
fn a_good_project_is_told_to_be_good() {
    let project = Project::of(&[("polder.yaml", "name: good\n"), ("models/gold/one.sql", "select 1 as one\n")]);
    project.polder(&["validate"]).ends_with(0).says("no mistakes");
}

#[test]
fn an_environment_that_is_not_there_is_a_mistake() {
    let project = Project::of(&[("polder.yaml", "name: good\nenvironments:\n  dev: { home: .dev }\n")]);
    project.polder(&["validate", "--env", "dve"]).ends_with(2).complains("dev");
}

/// What stops a step is told where it stopped, in full, and not again.
#[test]
fn a_failed_step_is_told_once() {
    let project = Project::of(&[
        ("polder.yaml", "name: once\n"),
        ("models/gold/first.sql", "select 1 as one\n"),
        ("models/gold/wrong.sql", "select 1 / (one - 1) as x\nfrom gold.first\n"),
        ("models/gold/unread.sql", "select x from gold.wrong\n"),
    ]);
    let done = project.polder(&["run"]).ends_with(1).says("FAILED. main is unchanged");
    assert_eq!(done.out.matches("division by zero").count(), 1, "{}", done.out);
    let (step, told) = (done.out.find("✗ model   gold.wrong"), done.out.find("--> models/gold/wrong.sql"));
    assert!(step < told && told < done.out.find("– model   gold.unread"), "{}", done.out);
    done.says("  failed    model gold.wrong\n").says("polder run --resume 1");
}

#[test]
fn what_a_source_rejects_is_read_after_the_source() {
    let project = Project::of(&[
        ("polder.yaml", "name: rejected\n"),
        ("sources/orders.yaml", "files: data/*.csv\nmax_rejected: 10\ncolumns: { id: bigint }\n"),
        ("data/1.csv", "id\n1\nx\n"),
        ("models/gold/a_count.sql", "select count(*) as n from quarantine.orders\n"),
    ]);
    let plan: serde_json::Value =
        serde_json::from_str(&project.polder(&["plan", "--format", "json"]).ends_with(0).out).unwrap();
    let steps: Vec<&str> =
        plan["steps"].as_array().unwrap().iter().filter_map(|s| s["step"]["resource"].as_str()).collect();
    assert_eq!(steps, ["bronze.orders", "gold.a_count"]);
    project.polder(&["run"]).ends_with(0);
    assert_eq!(project.number("select n from gold.a_count"), 1);
    project.write("data/2.csv", "id\n2\ny\nz\n");
    project.polder(&["run"]).ends_with(0);
    assert_eq!(project.number("select n from gold.a_count"), 3);
    project.polder(&["run", "+gold.a_count"]).ends_with(0).says("bronze.orders");
}

/// Words of the engine are no help to who wrote a model.
#[test]
fn a_wrong_model_is_told_in_words_of_sql() {
    for (model, told) in [
        ("select now() - timestamp '2026-01-01' as age\n", "column `age` is a length of time, which no table can hold"),
        ("select one + 'x' as y from gold.first\n", "there is no `bigint + text`: cast one of the two"),
        ("select one, sum(one) as s from gold.first\n", "column `gold.first.one` is neither in `group by`"),
        ("select sum(cast(one as text)) as s from gold.first\n", "`sum` does not take (text)"),
        ("select lag(one) as l from gold.first\n", "`lag` needs a window"),
    ] {
        let project = Project::of(&[
            ("polder.yaml", "name: words\n"),
            ("models/gold/first.sql", "select 1 as one\n"),
            ("models/gold/wrong.sql", model),
        ]);
        project.polder(&["run"]).ends_with(1).says(told).says("models/gold/wrong.sql");
    }
}
