//! `polder sql`: formats, files, mistakes, policies.

use crate::basics::pipe;
use crate::fixture::Project;

fn one() -> Project {
    let project = Project::of(&[
        ("polder.yaml", "name: one\n"),
        (
            "models/gold/fruit.sql",
            "select * from (values (1, 'apple', 1.50), (2, 'pear', null)) as t(id, name, price)\n",
        ),
    ]);
    project.polder(&["run"]).ends_with(0);
    project
}

#[test]
fn rows_come_in_every_format() {
    let project = one();
    let statement = "select * from gold.fruit order by id";
    let of = |format: &str| project.polder(&["sql", "--format", format, statement]).ends_with(0).out;
    assert_eq!(of("csv"), "id,name,price\n1,apple,1.50\n2,pear,\n");
    let table = of("table");
    assert!(table.contains("  2  pear   NULL\n") || table.contains(" 2  pear    NULL\n"), "{table}");
    assert!(table.ends_with("(2 rows)\n"), "{table}");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&of("json")).unwrap();
    assert_eq!((rows.len(), &rows[0]["name"]), (2, &serde_json::json!("apple")));
    assert_eq!(of("jsonl").lines().count(), 2);
    project.polder(&["sql", "--format", "parquet", statement]).ends_with(2).complains("--output");
    project
        .polder(&["sql", "-o", "fruit.parquet", statement])
        .ends_with(0)
        .complains("2 rows written to fruit.parquet");
    assert_eq!(project.number("select count(*) from 'fruit.parquet'"), 2);
    project.polder(&["sql", "-o", "fruit.xlsx", statement]).ends_with(2).complains("tells no format");
}

#[test]
fn statements_come_from_a_pipe_or_a_file() {
    let project = one();
    let done = pipe(&project, &["sql", "--format", "csv"], "select 1 as a; -- then\nselect ';' as b;\n").ends_with(0);
    assert_eq!(done.out, "a\n1\nb\n;\n");
    project.write("ask.sql", "select count(*) as n from gold.fruit");
    project.polder(&["sql", "-f", "ask.sql", "--format", "csv"]).ends_with(0).says("n\n2\n");
    pipe(&project, &["sql"], " -- nothing\n").ends_with(2).complains("there is no statement");
}

#[test]
fn a_mistake_in_a_statement_has_a_place_and_a_suggestion() {
    let project = one();
    let done = project.polder(&["sql", "select nmae from gold.fruit"]).ends_with(2);
    assert!(done.err.contains("nmae") && done.err.contains("name"), "{}", done.err);
    project.polder(&["sql", "select * from gold.friut"]).ends_with(2).complains("gold.fruit");
    let done = project.polder(&["sql", "selec 1"]).ends_with(2);
    assert!(!done.err.contains("SqlError") && !done.err.contains("ParserError("), "{}", done.err);
    project.polder(&["sql", "--ref", "mian", "select 1"]).ends_with(1).complains("main");
}

#[test]
fn numbers_are_what_people_expect() {
    let project = one();
    let done = project.polder(&["sql", "--format", "csv", "select 0.1 + 0.2 as sum"]).ends_with(0);
    assert_eq!(done.out, "sum\n0.3\n");
    project.polder(&["sql", "select 9223372036854775807 + 1"]).ends_with(1);
}

#[test]
fn files_are_read_by_name() {
    let project = one();
    project.write("x.csv", "a,b\n1,x\n2,y\n");
    assert_eq!(project.number("select sum(a) from 'x.csv'"), 3);
}

#[test]
fn analysts_see_what_policies_leave() {
    let shop = Project::shop(2_000);
    shop.polder(&["run"]).ends_with(0);
    let statement = "select email from silver.customers where email like '%@%'";
    let all = shop.polder(&["sql", "--format", "csv", statement]).ends_with(0);
    assert!(all.out.contains('@'));
    let analyst = ["sql", "--as", "role:analysts", "--format", "csv"];
    let masked = shop.polder(&[&analyst[..], &["select * from silver.customers"]].concat()).ends_with(0);
    assert!(!masked.out.contains('@'), "{}", &masked.out[..500]);
    let denied = shop.polder(&[&analyst[..], &["select * from bronze.shop_customers"]].concat());
    assert_ne!(denied.code, 0, "{}", denied.out);
}

#[test]
fn the_platform_is_read_as_tables() {
    let project = one();
    let runs = project.ask("select * from system.runs");
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert!(project.number("select count(*) from system.tables") >= 1);
}
