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
    assert_eq!(shop.number("select sum(orders) from gold.daily_revenue where orders > 0") > 2_000, true);
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
    shop.polder(&["run", "+silver.orders"]).ends_with(0);
    shop.polder(&["compile", "silver.orders"]).ends_with(0).says("where updated_at");
}
