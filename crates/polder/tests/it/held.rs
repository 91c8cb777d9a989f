//! Held runs at the command line: what is said of them, and the commands that are said.

use crate::fixture::Project;
use crate::wrong_input::database::Database;

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
        .says("published: run 2 is what main shows.")
        .says("  set aside 1 row of bronze.orders: quarantine.orders\n");
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
    project.polder(&["run"]).ends_with(1).says("took over run 2");
    let status = project.polder(&["status"]).ends_with(0);
    assert!(status.out.contains("\nrun 3 is held") && !status.out.contains("\nrun 2 is held"), "{}", status.out);
    assert!(status.out.contains("was held"), "the earlier one waits for nobody: {}", status.out);
    project.write("checks/orders.yaml", "table: bronze.orders\nchecks:\n  - holds: amount > -10\n");
    project.polder(&["run"]).ends_with(0).says("took over run 3");
    assert_eq!(project.number("select total from gold.total"), 5);
    project.polder(&["run", "--resume", "2"]).ends_with(1).complains("run 4 went on from what it had read");
}

/// Rows with a key, rows without one, and a table that is read in full: what a held run has read of a database is there
/// once, and what was corrected since takes the wrong one's place.
#[test]
fn a_database_is_read_on_from_where_the_held_run_stopped() {
    let tables = "create table orders(id int primary key, amount numeric(10, 2), updated_at timestamptz);
        create table events(id bigint, what text);
        create table people(id int, name text);
        insert into orders select i, i * 10, '2026-11-01'::timestamptz + i * interval '1 h' from generate_series(1, 5) i;
        insert into events select i, 'e' from generate_series(1, 5) i;
        insert into people values (1, 'a'), (2, 'b');";
    let Some(database) = Database::with(tables) else { return };
    let source = "tables:\n  orders: { key: id, cursor: updated_at }\n  events: { cursor: id }\n  people: full\n";
    let project = Project::of(&[
        ("polder.yaml", "name: held\n"),
        ("sources/shop.yaml", &format!("postgres: {}\n{source}", database.plain())),
        ("checks/o.yaml", "table: bronze.shop_orders\nchecks:\n  - holds: amount > 0\n  - unique: id\n"),
        ("checks/e.yaml", "table: bronze.shop_events\nchecks:\n  - unique: id\n"),
    ]);
    project.polder(&["run"]).ends_with(0);
    database.execute(
        "insert into orders values (6, -1, '2026-11-02'), (7, 70, '2026-11-02 01:00');
         insert into events values (6, 'x'), (7, 'x');
         insert into people values (3, 'c')",
    );
    project.polder(&["run"]).ends_with(1);
    database.execute(
        "update orders set amount = 60, updated_at = '2026-11-03' where id = 6;
         insert into orders values (8, 80, '2026-11-03');
         insert into events values (8, 'x')",
    );
    let third = project.polder(&["run"]).ends_with(0);
    for text in ["+1, 1 replaced", "+1  ", "+0  ", "took over run 2"] {
        assert!(third.out.contains(text), "{text}\n{}", third.out);
    }
    let runs = |table: &str| -> Vec<(i64, i64)> {
        let rows = project.ask(&format!("select _run, count(*) as n from bronze.{table} group by _run order by _run"));
        rows.iter().map(|row| (row["_run"].as_i64().unwrap(), row["n"].as_i64().unwrap())).collect()
    };
    assert_eq!(runs("shop_orders"), [(1, 5), (2, 1), (3, 2)]);
    assert_eq!(runs("shop_events"), [(1, 5), (2, 2), (3, 1)]);
    assert_eq!(runs("shop_people"), [(2, 3)]);
    project.polder(&["run"]).ends_with(0).says("nothing new");
}

#[test]
fn what_was_overruled_for_a_run_that_stays_held_holds_for_no_other() {
    let project = Project::of(&[
        ("polder.yaml", "name: acc\n"),
        ("sources/o.yaml", "files: data/*.csv\n"),
        ("data/1.csv", "id,c,amt\n1,a,5.00\n"),
        ("models/gold/bycust.sql", "select c, sum(amt) as amt from bronze.o group by c\n"),
        (
            "checks/o.yaml",
            "- table: bronze.o\n  checks:\n    - range: { column: amt, min: 0 }\n\
             - table: gold.bycust\n  checks:\n    - row_count: { max: 1 }\n",
        ),
    ]);
    project.polder(&["run"]).ends_with(0);
    project.write("data/2.csv", "id,c,amt\n2,b,-5.00\n");
    project.polder(&["run"]).ends_with(1);
    // The check of the source is overruled; the one of the model then fails for the first time.
    project.polder(&["accept", "2", "--reason", "no idea"]).ends_with(1).says("HELD");
    let checks = std::fs::read_to_string(project.path("checks/o.yaml")).unwrap();
    project.write("checks/o.yaml", &checks.replace("max: 1 ", "max: 5 "));
    project.polder(&["run"]).ends_with(1).says("range amt");
    assert_eq!(project.number("select count(*) from bronze.o"), 1);
}
