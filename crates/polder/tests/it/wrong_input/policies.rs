//! Policies that are broken: `polder sql` shows nothing at all, rather than what they should hide.

use crate::basics::pipe;
use crate::fixture::Project;

const SECRET: &str = "xyzzy";
const GOOD: &str = "table: gold.people\nmask: { name: hash }\n";

fn people() -> Project {
    let project = Project::of(&[
        ("polder.yaml", "name: people\n"),
        ("models/gold/people.sql", "select 1 as id, 'xyzzy' as name\n"),
        ("models/gold/fruit.sql", "select 'apple' as name\n"),
    ]);
    project.polder(&["run"]).ends_with(0);
    project
}

#[test]
fn a_broken_policy_file_closes_every_way_to_ask() {
    for (path, text, told) in [
        ("policies/p.yaml", "table: [gold.people\nmask: {", "P002"),
        ("policies/p.yaml", "table: gold.people\nmsk: { name: hash }\n", "did you mean `mask`?"),
        ("policies/p.yaml", "table: gold.people\nmask: { name: hsah }\n", "did you mean `hash`?"),
        ("policies/p.yaml", "table: gold.poeple\nmask: { name: hash }\n", "did you mean `gold.people`"),
        ("policies/p.yaml", "table: gould.*\nmask: { name: hash }\n", "did you mean `gold.*`?"),
        ("policies/p.yaml", "table: gold.people\nfilter: name = = 'a'\n", "error[S021]"),
        ("policies/p.yaml", "table: gold.people\nmask: { name: { sql: 'upper(' } }\n", "error[S021]"),
        ("policies/p.yaml", "table: gold.people\nfilter: name = '${env:NOT_SET_ANYWHERE}'\n", "error[P007]"),
        ("policies/p.yaml", "", "error[P019]: `policies/p.yaml` is empty"),
        ("policies/p.json", "{}", "error[P014]: `policies/p.json` is not read"),
        ("policy/p.yaml", GOOD, "error[P014]: folder `policy/` is not read"),
    ] {
        let project = people();
        project.write(path, text);
        let commands =
            [&["sql", "select * from gold.people"][..], &["sql", "--as", "role:boss", "select * from gold.fruit"]];
        let mut done: Vec<_> = commands.iter().map(|command| project.polder(command)).collect();
        done.push(pipe(&project, &["sql"], "select * from gold.people;"));
        for done in done {
            super::keeps(&done, SECRET);
            let done = done.ends_with(2).complains(told).complains("no table of the project is shown to anybody");
            assert!(!done.out.contains("apple"), "{text}: {done:?}");
        }
        project.polder(&["validate"]).ends_with(2).complains(told);
        project.polder(&["run"]).ends_with(2).complains(told);
        std::fs::remove_file(project.path(path)).unwrap();
        project.write("policies/p.yaml", GOOD);
        let good = project.polder(&["sql", "select * from gold.people"]).ends_with(0);
        super::keeps(&good, SECRET);
        project.polder(&["sql", "select * from gold.fruit"]).ends_with(0).says("apple");
    }
}

/// What only the table can tell: the policy closes the table that it is for.
#[test]
fn a_policy_that_does_not_fit_its_table_closes_it() {
    for (policy, told) in [
        ("table: gold.people\nmask: { nmae: hash }\n", "policies/p.yaml:2:9"),
        ("table: gold.people\nfilter: nmae = 'a'\n", "policies/p.yaml:2:9"),
    ] {
        let project = people();
        project.write("policies/p.yaml", policy);
        let done = project.polder(&["sql", "select * from gold.people"]).ends_with(2).complains("error[S022]");
        let done = done.complains(told).complains("`nmae`");
        super::keeps(&done, SECRET);
        project.polder(&["sql", "select * from gold.fruit"]).ends_with(0).says("apple");
    }
    // A rule for many tables hides a column where there is one.
    let project = people();
    project.write("policies/p.yaml", "table: gold.*\nmask: { id: 'null' }\n");
    project.polder(&["sql", "select * from gold.fruit"]).ends_with(0).says("apple");
}
