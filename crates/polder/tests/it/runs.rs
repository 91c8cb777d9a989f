//! Runs: published, held, resumed, interrupted, and how they are told.

use serde_json::Value;

use crate::fixture::Project;

const ORDERS: u32 = 3_000;

fn events(out: &str) -> Vec<Value> {
    out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|e| e["event"] == name).collect()
}

#[test]
fn a_good_run_is_published_and_again_changes_nothing() {
    let shop = Project::shop(ORDERS);
    shop.polder(&["plan"]).ends_with(0).says("gold.daily_revenue");
    let done = shop.polder(&["run"]).ends_with(0);
    assert!(done.out.starts_with("run 1 → main\n\n"), "{}", done.out);
    for text in
        [" ✓ ingest  bronze.shop_orders", "+3,000", " ✓ model   gold.daily_revenue", " ✓ check   bronze.shop_orders"]
    {
        assert!(done.out.contains(text), "{text}\n{}", done.out);
    }
    assert_eq!(shop.number("select count(*) from bronze.shop_orders"), i64::from(ORDERS));
    assert!(shop.number("select sum(orders) from gold.daily_revenue where orders > 0") > 2_000);
    let again = shop.polder(&["run"]).ends_with(0);
    assert!(again.out.contains(" = ingest  bronze.shop_orders"), "{}", again.out);
    assert!(again.out.contains(" = model   gold.funnel"), "{}", again.out);
}

#[test]
fn a_day_adds_and_updates() {
    let shop = Project::shop(ORDERS);
    shop.polder(&["run"]).ends_with(0);
    let placed = "select count(*) from silver.orders where status = 'placed'";
    let before = shop.number(placed);
    shop.generate(ORDERS, &["--day", "2026-01-01"]);
    shop.polder(&["run"]).ends_with(0);
    assert!(shop.number("select count(*) from silver.orders") > i64::from(ORDERS));
    assert_eq!(shop.number("select count(*) - count(distinct order_id) from silver.orders"), 0);
    assert!(shop.number(placed) < before + 20, "orders moved on");
}

#[test]
fn a_bad_day_is_held_and_main_stays() {
    let shop = Project::shop(ORDERS);
    shop.polder(&["run"]).ends_with(0);
    let total = "select cast(sum(amount) * 100 as bigint) from bronze.shop_orders";
    let before = shop.number(total);
    shop.generate(ORDERS, &["--day", "2026-01-01", "--defects", "future_orders=0.5"]);
    let done = shop.polder(&["run"]).ends_with(1);
    for text in [
        " ✗ check   bronze.shop_orders",
        "checks/bronze.yaml:",
        "HELD. main is unchanged: run 1, ",
        "look      polder sql --ref run/2",
        "fix, go   polder run --resume 2",
        "exit 1",
        "not built",
    ] {
        assert!(done.out.contains(text), "{text}\n{}", done.out);
    }
    assert_eq!(shop.number(total), before);
    let future = "select count(*) from bronze.shop_orders where created_at > now()";
    assert_eq!(shop.number(future), 0);
    assert!(shop.number_at("run/2", future) > 0, "the branch is there to look at");

    // The mistake is mended in the check: the run goes on without reading the files again.
    let checks = std::fs::read_to_string(shop.path("checks/bronze.yaml")).unwrap();
    shop.write("checks/bronze.yaml", &checks.replace("created_at <= run_time()", "created_at is not null"));
    shop.polder(&["run", "--resume", "2"]).ends_with(0);
    assert!(shop.number(future) > 0);
}

#[test]
fn records_that_cannot_be_read_are_kept() {
    let shop = Project::shop(ORDERS);
    shop.polder(&["run"]).ends_with(0);
    let bad = ["--day", "2026-01-01", "--defects", "torn_lines=0.1"];
    let told = shop.generate(ORDERS, &bad);
    let torn: i64 = told
        .out
        .lines()
        .find_map(|l| l.strip_prefix("torn_lines in payments: ")?.split_once(' ')?.0.parse().ok())
        .unwrap();
    shop.polder(&["run"]).ends_with(0).says("quarantine.payments");
    assert_eq!(shop.number("select count(*) from quarantine.payments"), torn);
}

#[test]
fn events_are_json_for_programs() {
    let shop = Project::shop(ORDERS);
    let done = shop.polder(&["run", "--format", "json"]).ends_with(0);
    let events = events(&done.out);
    assert_eq!(events[0]["event"], "run_started");
    assert_eq!(events.last().unwrap()["event"], "run_finished");
    assert_eq!(events.last().unwrap()["status"], "published");
    let steps = events[0]["steps"].as_array().unwrap().len();
    assert_eq!(named(&events, "step_finished").len(), steps);
    let orders = named(&events, "step_finished")
        .into_iter()
        .find(|e| e["step"]["kind"] == "ingest" && e["step"]["resource"] == "bronze.shop_orders")
        .unwrap();
    assert_eq!(orders["report"]["rows"], ORDERS);
}

#[test]
fn a_selection_runs_what_it_names() {
    let shop = Project::shop(ORDERS);
    let done = shop.polder(&["run", "+gold.funnel", "--format", "json"]).ends_with(0);
    let events = events(&done.out);
    let steps: Vec<&str> =
        events[0]["steps"].as_array().unwrap().iter().map(|s| s["resource"].as_str().unwrap()).collect();
    assert!(steps.contains(&"bronze.events") && steps.contains(&"gold.funnel"), "{steps:?}");
    assert!(!steps.contains(&"bronze.shop_orders"), "{steps:?}");
    shop.polder(&["run", "gold.funel"]).ends_with(1).complains("did you mean `gold.funnel`?");
}

#[test]
fn checks_run_alone() {
    let shop = Project::shop(ORDERS);
    shop.polder(&["run"]).ends_with(0);
    shop.polder(&["check"]).ends_with(0).says("bronze.shop_orders");
    shop.write("checks/strict.yaml", "table: gold.funnel\nchecks:\n  - row_count: { min: 100000 }\n");
    shop.polder(&["check", "gold.funnel"]).ends_with(1).says("checks/strict.yaml:3");
}

#[test]
fn compile_shows_the_sql_that_runs() {
    let shop = Project::shop(ORDERS);
    let done = shop.polder(&["compile", "silver.orders"]).ends_with(0);
    assert!(done.out.contains("cast(amount * exchange_rate as decimal(14, 2))"), "{}", done.out);
    assert!(!done.out.contains("{{") && !done.out.contains("where updated_at"), "{}", done.out);
    // One of the checks of what is run looks at a table that is not there.
    let early = shop.polder(&["run", "+silver.orders"]).ends_with(1);
    assert!(early.out.contains("bronze.shop_customers is not built yet"), "{}", early.out);
    assert!(early.out.contains("hint: polder run bronze.shop_customers"), "{}", early.out);
    shop.polder(&["run", "+silver.orders", "bronze.shop_customers"]).ends_with(0);
    shop.polder(&["compile", "silver.orders"]).ends_with(0).says("where updated_at");
}

fn planned(project: &Project, selection: &[&str]) -> Vec<String> {
    let done = project.polder(&[&["plan", "--format", "json"], selection].concat()).ends_with(0);
    let plan: Value = serde_json::from_str(&done.out).unwrap();
    let steps = plan["steps"].as_array().unwrap().iter().filter(|s| s["step"]["kind"] != "check");
    let mut names: Vec<String> = steps.map(|s| s["step"]["resource"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn selections_are_those_of_dbt() {
    let project = Project::of(&[
        ("polder.yaml", "name: select\n"),
        ("sources/shop.yaml", "files:\n  orders: data/orders.csv\n  people: data/people.csv\n"),
        ("models/silver/orders.sql", "select * from bronze.shop_orders\n"),
        ("models/silver/people.sql", "select * from bronze.shop_people\n"),
        ("models/gold/daily.sql", "{{ config(tags=['nightly']) }}\nselect * from silver.orders\n"),
        ("models/gold/report.sql", "select d.* from gold.daily d, silver.people p\n"),
    ]);
    for (selection, names) in [
        (&["gold.daily"][..], &["gold.daily"][..]),
        (&["daily"], &["gold.daily"]),
        (&["+daily"], &["bronze.shop_orders", "gold.daily", "silver.orders"]),
        (&["1+daily"], &["gold.daily", "silver.orders"]),
        (&["silver.orders+"], &["gold.daily", "gold.report", "silver.orders"]),
        (&["silver.orders+1"], &["gold.daily", "silver.orders"]),
        (&["+silver.people+"], &["bronze.shop_people", "gold.report", "silver.people"]),
        (&["tag:nightly"], &["gold.daily"]),
        (&["path:models/silver"], &["silver.orders", "silver.people"]),
        (&["path:models/gold/report.sql"], &["gold.report"]),
        (&["source:shop"], &["bronze.shop_orders", "bronze.shop_people"]),
        (&["gold.*"], &["gold.daily", "gold.report"]),
        (&["*.orders", "tag:nightly"], &["gold.daily", "silver.orders"]),
        (&["+gold.*,tag:nightly"], &["gold.daily"]),
        (&["gold.*", "--exclude", "tag:nightly"], &["gold.report"]),
    ] {
        assert_eq!(planned(&project, selection), names, "{selection:?}");
    }
    project.polder(&["plan", "nightly"]).ends_with(1).complains("`nightly` selects nothing");
    project.polder(&["plan", "dialy"]).ends_with(1).complains("did you mean");
    project.polder(&["plan", "tagg:nightly"]).ends_with(1).complains("did you mean `tag:`?");
}

#[test]
fn a_run_on_a_branch_leaves_main_alone() {
    let shop = Project::shop(ORDERS);
    shop.polder(&["run"]).ends_with(0);
    shop.polder(&["branch", "pr-1"]).ends_with(0);
    shop.generate(ORDERS, &["--day", "2026-01-01"]);
    let done = shop.polder(&["run", "--ref", "pr-1"]).ends_with(0);
    assert!(done.out.starts_with("run 2 → pr-1\n\n"), "{}", done.out);
    assert!(done.out.ends_with("s\n") && done.out.contains("published: run 2 is what pr-1 shows."), "{}", done.out);
    let orders = "select count(*) from bronze.shop_orders";
    assert!(shop.number_at("pr-1", orders) > shop.number(orders));
    // After the merge there is nothing left to do: neither rows nor results come twice.
    shop.polder(&["merge", "pr-1"]).ends_with(0);
    let again = shop.polder(&["run"]).ends_with(0).says("nothing new: main shows ");
    assert!(!again.out.contains(" ✓ ingest") && !again.out.contains(" ✓ model"), "{}", again.out);
}

#[test]
fn changed_rows_are_told_apart_from_rewritten_ones() {
    let project = Project::of(&[
        ("polder.yaml", "name: rows\n"),
        ("sources/orders.yaml", "files: data/*.csv\nkey: id\n"),
        (
            "models/silver/orders.sql",
            "{{ config(materialized='incremental', unique_key='id') }}\nselect id, word, at from bronze.orders\n\
             {% if is_incremental() %}where at > (select max(at) from {{ this }}){% endif %}\n",
        ),
    ]);
    let rows = |from: u32, to: u32, word: &str, at: u32| {
        (from..to).map(|id| format!("{id},{word},{at}\n")).collect::<String>()
    };
    project.write("data/1.csv", &format!("id,word,at\n{}", rows(0, 1000, "first", 1)));
    project.polder(&["run"]).ends_with(0).says("+1,000").says("1,000 rows");
    project.write("data/2.csv", &format!("id,word,at\n{}", rows(990, 1005, "second", 2)));
    let done = project.polder(&["run"]).ends_with(0);
    assert!(done.out.contains(" ✓ ingest  bronze.orders  +5, 10 replaced  1 file "), "{}", done.out);
    assert!(done.out.contains(" ✓ model   silver.orders  +5, 10 replaced  merge "), "{}", done.out);
    let step = &project.ask("select rows, replaced from system.steps where run = 2 and kind = 'model'")[0];
    assert_eq!((step["rows"].as_i64(), step["replaced"].as_i64()), (Some(15), Some(10)));
    assert_eq!(project.number("select count(*) from silver.orders where word = 'second'"), 15);
    project.polder(&["log", "-n", "1"]).ends_with(0).says("silver.orders  +5  (1,005 written)");
}

#[test]
fn checks_alone_are_kept_as_a_run_of_their_own_kind() {
    let shop = Project::shop(ORDERS);
    shop.polder(&["run"]).ends_with(0);
    let done = shop.polder(&["check"]).ends_with(0);
    assert!(done.out.starts_with("run 2 checks main\n\n"), "{}", done.out);
    assert!(done.out.contains("passed: ") && done.out.contains(" checks of main hold."), "{}", done.out);
    shop.write("checks/strict.yaml", "table: gold.funnel\nchecks:\n  - row_count: { min: 100000 }\n");
    let done = shop.polder(&["check", "gold.funnel"]).ends_with(1);
    assert!(done.out.contains("FAILED. 1 of 3 checks of main do not hold."), "{}", done.out);
    let runs = shop.ask("select run, kind, status from system.runs order by run");
    let told: Vec<String> = runs
        .iter()
        .map(|r| format!("{} {} {}", r["run"], r["kind"].as_str().unwrap(), r["status"].as_str().unwrap()))
        .collect();
    assert_eq!(told, ["1 run published", "2 check passed", "3 check failed"]);
    assert_eq!(shop.number("select count(*) from system.checks where run = 3 and not passed"), 1);
    // It made no branch and nothing to take up.
    assert_eq!(shop.number("select count(*) from system.refs"), 1);
    shop.polder(&["run", "--resume", "3"]).ends_with(1).complains("checks alone");
    shop.polder(&["run", "--resume"]).ends_with(1).complains("there is no run to take up again");
    shop.polder(&["status"]).ends_with(0).says("checks failed");
}

/// What programs read is what the handbook promises.
#[test]
fn events_are_as_the_handbook_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runs.md");
    let handbook = std::fs::read_to_string(path).unwrap();
    let shop = Project::shop(ORDERS);
    let mut told = shop.polder(&["run", "--format", "json"]).ends_with(0).out;
    told += &shop.polder(&["check", "--format", "json"]).ends_with(0).out;
    shop.write("checks/strict.yaml", "table: gold.funnel\nchecks:\n  - row_count: { min: 100000 }\n");
    told += &shop.polder(&["run", "--format", "json"]).ends_with(1).out;
    for event in events(&told) {
        let event = event.as_object().unwrap();
        let mut words: Vec<&str> = event.keys().map(String::as_str).collect();
        words.push(event["event"].as_str().unwrap());
        words.extend(event.get("status").and_then(Value::as_str));
        words.extend(
            event.get("report").and_then(Value::as_object).into_iter().flat_map(|r| r.keys().map(String::as_str)),
        );
        words.extend(
            event.get("failure").and_then(Value::as_object).into_iter().flat_map(|f| f.keys().map(String::as_str)),
        );
        for word in words.into_iter().filter(|word| *word != "unchanged") {
            assert!(handbook.contains(&format!("`{word}`")), "docs/runs.md does not tell of `{word}`");
        }
        let at = event["at"].as_str().unwrap();
        assert!(at.ends_with('Z') && at.as_bytes()[10] == b'T', "{at}");
    }
}
