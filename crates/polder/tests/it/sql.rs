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
fn somebody_else_reads_no_files() {
    let project = one();
    project.write("x.csv", "a\n1\n");
    for who in ["role:analysts", "ada"] {
        project
            .polder(&["sql", "--as", who, "select * from 'x.csv'"])
            .ends_with(2)
            .complains("this session reads no files")
            .complains("`polder sql` without `--as`");
    }
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
fn a_role_that_no_policy_names_is_told() {
    let project = one();
    let ask =
        |role: &str| project.polder(&["sql", "--as", role, "--format", "csv", "select count(*) as n from gold.fruit"]);
    assert_eq!(ask("role:analyst").ends_with(0).err, "", "there are no policies");
    project.write("policies/p.yaml", "table: gold.fruit\nfor: [analysts]\nexcept: [boss]\nfilter: price > 1\n");
    for role in ["role:analysts", "role:boss", "ada"] {
        assert_eq!(ask(role).ends_with(0).err, "", "{role}");
    }
    let done = ask("role:analyst").ends_with(0).says("n\n2\n");
    assert_eq!(done.err, "warning[R011]: no policy names the role `analyst`\n  = hint: did you mean `analysts`?\n");
    assert_eq!(ask("role:x").ends_with(0).err, "warning[R011]: no policy names the role `x`\n");
}

#[test]
fn a_mask_that_hides_nothing_is_told() {
    let project = one();
    let ask =
        || project.polder(&["sql", "--format", "csv", "select name from gold.fruit order by 1 limit 1"]).ends_with(0);
    project.write("policies/p.yaml", "table: gold.*\nmask: { Name: null, id: null }\n");
    let done = ask();
    assert_eq!((done.out.as_str(), done.err.as_str()), ("name\n\"\"\n", ""));
    for table in ["gold.*", "'*'"] {
        project.write("policies/p.yaml", &format!("table: {table}\nmask:\n  nmae: null\n"));
        let done = ask();
        assert_eq!(done.out, "name\napple\n");
        assert!(done.err.contains("warning[S022]: the mask of `nmae` hides nothing"), "{}", done.err);
        assert!(done.err.contains("policies/p.yaml:3:3"), "{}", done.err);
        assert!(done.err.contains("did you mean `name`?"), "{}", done.err);
    }
}

#[test]
fn a_damaged_table_closes_no_other() {
    let project = one();
    project.write("models/gold/vegetables.sql", "select 'leek' as name\n");
    project.polder(&["run"]).ends_with(0);
    project.write("policies/p.yaml", "table: '*'\nmask: { email: null }\n");
    let ask = || project.polder(&["sql", "--format", "csv", "select name from gold.vegetables"]).ends_with(0);
    assert!(ask().err.contains("the mask of `email` hides nothing"));
    let is_fruit = |folder: &std::path::Path| folder.file_name().unwrap().to_string_lossy().starts_with("fruit-");
    let entries = |folder: &std::path::Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let fruit = entries(&project.path(".polder/warehouse/gold")).find(|folder| is_fruit(folder)).unwrap();
    std::fs::remove_dir_all(fruit.join("metadata")).unwrap();
    let done = ask();
    // Whether it hides nothing of the table that cannot be read, nobody knows.
    assert_eq!((done.out.as_str(), done.err.as_str()), ("name\nleek\n", ""));
}

#[test]
fn a_policy_that_is_not_read_shows_nothing() {
    let project = one();
    project.write("policies/fruit.json", "[]");
    let done = project.polder(&["sql", "select * from gold.fruit"]).ends_with(2).complains("policies/fruit.json");
    assert!(!done.out.contains("apple"), "{}", done.out);
    project.polder(&["validate"]).ends_with(2).complains("error[P014]: `policies/fruit.json` is not read");
    project.polder(&["status"]).ends_with(0).says("run 1");
    project.polder(&["log"]).ends_with(0);
    std::fs::remove_file(project.path("policies/fruit.json")).unwrap();
    project.write("policies/fruit.yaml", "table: gold.fruit\nfilter: price > 1\nmask: { nmae: hash }\n");
    project
        .polder(&["sql", "select * from gold.fruit"])
        .ends_with(2)
        .complains("policies/fruit.yaml:3:9")
        .complains("did you mean `name`?");
}

#[test]
fn the_platform_is_read_as_tables() {
    let project = one();
    let runs = project.ask("select * from system.runs");
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert!(project.number("select count(*) from system.tables") >= 1);
}

#[test]
fn a_mistake_is_placed_in_the_file_or_the_pipe() {
    let project = one();
    project.write("ask.sql", "select 1;\n\n-- and then\nselect *\nfrom gold.friut;\n");
    let done = project.polder(&["sql", "-f", "ask.sql"]).ends_with(2);
    assert!(done.err.contains(" --> ask.sql:5:6\n") && done.err.contains("5 | from gold.friut;"), "{}", done.err);
    let done = pipe(&project, &["sql"], "select 1;\nselect nmae from gold.fruit").ends_with(2);
    assert!(done.err.contains(" --> stdin:2:8\n"), "{}", done.err);
    project.polder(&["sql", "-f", "none.sql"]).ends_with(3).complains("cannot read none.sql");
}

#[test]
fn errors_of_values_are_in_words() {
    let project = one();
    for (statement, message) in [
        ("select id / (id - id) from gold.fruit", "error[S009]: division by zero"),
        ("select cast(name as integer) from gold.fruit", "error[S009]: cannot cast string 'apple' to integer"),
        ("select 9223372036854775807 + id from gold.fruit", "does not fit its type"),
        ("select id as a, name as a from gold.fruit", "error[S003]: two columns are called `a`"),
    ] {
        let done = project.polder(&["sql", statement]);
        assert!(done.err.contains(message) && !done.err.contains("Arrow"), "{statement}: {}", done.err);
        assert!(matches!(done.code, 1 | 2), "{done:?}");
    }
}

#[test]
fn columns_are_called_what_was_written() {
    let project = one();
    let header = |statement: &str| {
        let out = project.polder(&["sql", "--format", "csv", statement]).ends_with(0).out;
        out.lines().next().unwrap().to_owned()
    };
    assert_eq!(header("select 1, 'a', 1"), "1,'a',1_1");
    assert_eq!(header("select count(*), sum(price) from gold.fruit"), "count(*),sum(price)");
    assert_eq!(header("select f.id, upper(f.name), id * 2 as twice from gold.fruit f"), "id,upper(f.name),twice");
    assert_eq!(header("select count(*) from gold.fruit group by name order by count(*)"), "count(*)");
    assert_eq!(header("select distinct upper(name) from gold.fruit order by upper(name)"), "upper(name)");
    assert_eq!(header("select upper(name) from gold.fruit group by upper(name) having count(*) > 0"), "upper(name)");
    assert_eq!(header("select upper(name) from gold.fruit union all select 'x'"), "upper(name)");
    assert_eq!(header("with f as (select * from gold.fruit) select max(id) from f"), "max(id)");
    assert_eq!(header("select name, row_number() over (order by id) from gold.fruit").split(',').count(), 2);
}

#[test]
fn null_is_told_in_every_format() {
    let project = one();
    let statement = "select id, price, null as nothing from gold.fruit where id = 2";
    let of = |format: &str| project.polder(&["sql", "--format", format, statement]).ends_with(0).out;
    assert_eq!(of("json").trim(), r#"[{"id":2,"price":null,"nothing":null}]"#);
    assert_eq!(of("jsonl").trim(), r#"{"id":2,"price":null,"nothing":null}"#);
    assert_eq!(of("csv"), "id,price,nothing\n2,,\n");
    assert!(of("table").contains("2   NULL  NULL") || of("table").contains(" 2   NULL  NULL"), "{}", of("table"));
}

#[test]
fn tables_are_read_as_they_are_elsewhere_and_were_before() {
    let project = one();
    project.polder(&["tag", "first"]).ends_with(0);
    let snapshot = project.number("select snapshot_id from system.snapshots where name = 'fruit'");
    std::thread::sleep(std::time::Duration::from_millis(50));
    let before = project.ask("select cast(now() as text) as t")[0]["t"].as_str().unwrap().to_owned();
    project.write("models/gold/fruit.sql", "select 1 as id, 'plum' as name, 2.00 as price\n");
    project.polder(&["branch", "work"]).ends_with(0);
    project.polder(&["run", "--ref", "work"]).ends_with(0);
    let count = |from: &str| project.number(&format!("select count(*) from gold.fruit {from}"));
    assert_eq!((count(""), count("at branch work"), count("at tag first")), (2, 1, 2));
    project.polder(&["merge", "work"]).ends_with(0);
    assert_eq!(count(""), 1);
    assert_eq!(count("at tag first"), 2);
    assert_eq!(count(&format!("for version as of {snapshot}")), 2);
    assert_eq!(count("for version as of 'main~1'"), 2);
    assert_eq!(count(&format!("for timestamp as of '{before}'")), 2);
    let joined = "select count(*) from gold.fruit f join gold.fruit at branch main~1 g on f.id = g.id";
    assert_eq!(project.number(&joined.replace("at branch main~1", "at tag first")), 1);
    project.polder(&["sql", "select * from gold.fruit at branch wrok"]).ends_with(2).complains("wrok");
}

#[test]
fn data_is_summarised_and_plans_are_told_in_lines() {
    let project = one();
    let rows = project.ask("summarize gold.fruit");
    let price = rows.iter().find(|r| r["column_name"] == "price").unwrap();
    assert_eq!((price["rows"].as_i64(), price["nulls"].as_i64()), (Some(2), Some(1)));
    let plan = project.polder(&["sql", "explain select * from gold.fruit"]).ends_with(0);
    assert!(plan.out.starts_with("logical_plan\n") && plan.out.contains("\nphysical_plan\n"), "{}", plan.out);
    assert!(!plan.out.contains('⏎'), "{}", plan.out);
    project.polder(&["sql", "describe gold.fruit"]).ends_with(0).says("price");
    project.polder(&["sql", "show tables"]).ends_with(0).says("fruit");
}

#[test]
fn every_table_of_the_platform_has_rows() {
    let shop = Project::shop(1_000);
    shop.polder(&["run"]).ends_with(0);
    for (table, least) in [
        ("runs", 1),
        ("steps", 20),
        ("checks", 20),
        ("commits", 2),
        ("refs", 1),
        ("tables", 15),
        ("columns", 60),
        ("snapshots", 13),
        ("files", 13),
    ] {
        let found = shop.number(&format!("select count(*) from system.{table}"));
        assert!(found >= least, "system.{table} has {found} rows");
        let done =
            shop.polder(&["sql", "--format", "csv", &format!("select * from system.{table} limit 1")]).ends_with(0);
        assert_eq!(done.out.lines().count(), 2, "{}", done.out);
    }
    let rows = "select count(*) from system.tables t join system.columns c on t.name = c.name where t.name = 'funnel'";
    assert!(shop.number(rows) > 3);
    let wrong = "select count(*) from system.steps s left join system.runs r on s.run = r.run where r.run is null";
    assert_eq!(shop.number(wrong), 0);
}

#[test]
fn patterns_of_files_go_through_folders() {
    let project = one();
    for (path, text) in [
        ("exports/2025/orders.csv", "id,zip\n1,01234\n"),
        ("exports/2026/orders.csv", "id,zip\n2,5\n3,6\n"),
        ("exports/2026/returns.csv", "id,zip\n4,7\n"),
        ("exports/2026/deep/orders.csv", "id,zip\n5,8\n"),
        ("exports/2026/.hidden.csv", "id,zip\n6,9\n"),
        ("exports/odd [1] %41.csv", "id,zip\n7,1\n"),
    ] {
        project.write(path, text);
    }
    for (pattern, ids) in [
        ("exports/*/orders.csv", "1,2,3"),
        ("exports/2026/*.csv", "2,3,4"),
        ("exports/{2025,2026}/{orders,returns}.csv", "1,2,3,4"),
        ("exports/**/orders.csv", "1,2,3,5"),
        ("exports/202[6-9]/o*.csv", "2,3"),
        ("./exports/*/returns.csv", "4"),
        ("exports/odd [1] %41.csv", "7"),
    ] {
        let statement = format!("select string_agg(cast(id as text), ',' order by id) as ids from '{pattern}'");
        assert_eq!(project.ask(&statement)[0]["ids"], ids, "{pattern}");
    }
    // What one file has decides for all: digits with leading zeros are no number.
    assert_eq!(project.ask("select zip from 'exports/*/orders.csv' order by id")[0]["zip"], "01234");
    // Each file is looked at, however long the others are.
    let long: String =
        std::iter::once("id,zip\n".to_owned()).chain((1..=11_000).map(|n| format!("{n},{n}\n"))).collect();
    for name in ["a", "b", "c"] {
        project.write(&format!("long/{name}.csv"), &long);
    }
    project.write("long/d.csv", "id,zip\n0,01234\n");
    assert_eq!(project.ask("select zip from 'long/*.csv' where id = 0")[0]["zip"], "01234");
    let absolute = project.path("exports/*/returns.csv");
    assert_eq!(project.number(&format!("select id from '{}'", absolute.display())), 4);
    for (path, message) in [
        ("exports/*/none.csv", "error[S008]: there is no file `exports/*/none.csv`"),
        ("exports/2027/*.csv", "error[S008]: there is no file `exports/2027/*.csv`"),
        ("exports/[.csv", "error[S008]: `exports/[.csv` cannot be read: it is no pattern"),
        ("s3://a b/x.csv", "a bucket's name is made of letters"),
        ("http://127.0.0.1:9/x.csv", "error[S008]: `http://127.0.0.1:9/x.csv` cannot be read"),
    ] {
        let done = project.polder(&["sql", &format!("select * from '{path}'")]).ends_with(2).complains(message);
        assert!(!done.err.contains("RuntimeEnv"), "{}", done.err);
    }
}

#[test]
fn json_has_texts_for_numbers_that_it_has_not() {
    let project = one();
    let rows = project.ask("select cast('NaN' as double) as a, cast('-inf' as double) as b, map {1: 0.5} as m");
    assert_eq!(serde_json::Value::from(rows).to_string(), r#"[{"a":"NaN","b":"-Infinity","m":{"1":0.5}}]"#);
}

/// CSV is read by the places of its columns.
#[test]
fn csv_files_that_do_not_fit_together_are_not_added_up() {
    let project = Project::of(&[("polder.yaml", "name: test\n")]);
    project.write("p/feb.csv", "id,fee,amount\n2,2,200\n");
    project.write("p/jan.csv", "id,amount,fee\n1,100,1\n");
    let told = project.polder(&["sql", "select sum(amount) from 'p/*.csv'"]).ends_with(2);
    told.complains("p/jan.csv has other columns than").complains("in another order");
    project.write("q/a.csv", "v\n1.5\n");
    project.write("q/b.csv", "v\n7\n");
    assert_eq!(project.ask("select sum(v) as s from 'q/*.csv'")[0]["s"], 8.5);
}
