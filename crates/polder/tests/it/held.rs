//! Held runs at the command line: what is said of them, and the commands that are said.

use crate::fixture::Project;

fn project() -> Project {
    Project::of(&[
        ("polder.yaml", "name: held\n"),
        ("sources/orders.yaml", "files: orders.csv\n"),
        ("sources/notes.yaml", "files: notes.csv\n"),
        ("models/gold/total.sql", "select sum(amount) as total from bronze.orders\n"),
        ("models/gold/notes.sql", "select count(*) as n from bronze.notes\n"),
        ("checks/orders.yaml", "table: bronze.orders\nchecks:\n  - holds: amount > 0\n"),
        ("orders.csv", "id,amount\n1,10\n"),
        ("notes.csv", "note\na\n"),
    ])
}

fn bad_day(project: &Project) {
    project.write("orders.csv", "id,amount\n1,10\n2,-5\n");
    project.write("notes.csv", "note\na\nb\n");
}

#[test]
fn a_held_run_says_what_can_be_done() {
    let project = project();
    project.polder(&["run"]).ends_with(0);
    bad_day(&project);
    let held = project.polder(&["run"]).ends_with(1);
    for text in [
        "HELD. main is unchanged: run 1, ",
        "  look      polder sql --ref run/2\n",
        "  fix, go   polder run --resume 2\n",
        "  or anew   polder run --anew\n",
        "  set aside polder accept 2 --quarantine --reason \"…\"\n",
    ] {
        assert!(held.out.contains(text), "{text}\n{}", held.out);
    }
    project.polder(&["accept", "2", "--quarantine"]).ends_with(1).complains("error[R012]");
    project
        .polder(&["accept", "2", "--quarantine", "--reason", "a test of the till"])
        .ends_with(0)
        .says("published: run 2 is what main shows.");
    assert_eq!(project.number("select count(*) from quarantine.orders where reason like '%a test of the till%'"), 1);
    assert_eq!(project.number("select count(*) from bronze.orders"), 1);
    assert_eq!(project.number("select count(*) from system.commits where reason = 'a test of the till'"), 1);
    project.polder(&["accept", "2", "--reason", "once more"]).ends_with(1).complains("run 2 is published");
}

#[test]
fn what_is_published_in_part_is_told_apart() {
    let project = project();
    project.polder(&["run"]).ends_with(0);
    bad_day(&project);
    let held = project.polder(&["run", "--publish", "healthy"]).ends_with(1);
    for text in [
        "published in part: main shows all of run 2 but\n",
        "  bronze.orders  amount > 0 on bronze.orders does not hold\n",
        "  gold.total     reads bronze.orders\n",
        "HELD. run/2 has what is held.\n",
        "  set aside polder accept 2 --quarantine --reason \"…\"\n",
        "exit 1",
    ] {
        assert!(held.out.contains(text), "{text}\n{}", held.out);
    }
    assert_eq!(project.number("select n from gold.notes"), 2);
    assert_eq!(project.number("select count(*) from bronze.orders"), 1);
    let status = project.polder(&["status"]).ends_with(0);
    assert!(status.out.contains("  held      bronze.orders, gold.total (the rest is published)"), "{}", status.out);
    project.polder(&["accept", "2", "--reason", "a refund"]).ends_with(0);
    assert_eq!(project.number("select total from gold.total"), 5);
}

#[test]
fn the_next_run_says_what_it_took_over() {
    let project = project();
    project.polder(&["run"]).ends_with(0);
    bad_day(&project);
    project.polder(&["run"]).ends_with(1);
    project.write("checks/orders.yaml", "table: bronze.orders\nchecks:\n  - holds: amount > -10\n");
    project.polder(&["run"]).ends_with(0).says("took over run 2");
    assert_eq!(project.number("select total from gold.total"), 5);
    project.polder(&["run", "--resume", "2"]).ends_with(1).complains("run 3 went on from what it had read");
}
