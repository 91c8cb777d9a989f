//! Held runs: what is published of them, what the next run takes over, and what somebody decides.

use std::sync::Arc;
use std::time::Duration;

use polder_app::{AcceptRequest, App, AppError, OpenOptions, RunRequest, RunSummary};
use polder_base::{Publish, RunId};
use polder_run::{RunStatus, Silent, StepStatus};
use polder_store::{Batch, Space};
use polder_system::{RealSystem, SimulatedSystem, System as _};
use tokio_util::sync::CancellationToken;

use crate::resume::killed;
use crate::support::{ORDERS_SOURCE, Project, finished, orders, row, rows, started, status_of, told};

const CUSTOMERS: (&str, &str) = ("sources/customers.yaml", "files: data/customers/*.csv\n");
pub const NO_NEGATIVES: &str = "table: bronze.orders\nchecks:\n  - range: { column: amount, min: 0 }\n";

pub fn healthy() -> RunRequest {
    RunRequest { publish: Some(Publish::Healthy), ..RunRequest::default() }
}

/// Orders and customers, models of each and of both, and one behind a view.
pub fn shop() -> Project {
    let project = Project::new(&[
        ORDERS_SOURCE,
        CUSTOMERS,
        ("models/silver/shown.sql", "{{ config(materialized='view') }}\nselect * from bronze.orders\n"),
        ("models/gold/behind.sql", "select count(*) as n from silver.shown\n"),
        ("models/gold/people.sql", "select count(*) as n from bronze.customers\n"),
        (
            "models/gold/both.sql",
            "select (select count(*) from bronze.orders) as o, (select n from gold.people) as c\n",
        ),
        ("checks/orders.yaml", NO_NEGATIVES),
    ]);
    project.write("data/orders/a.csv", &orders(1..=3));
    project.write("data/customers/a.csv", "customer,name\nc0,Zero\nc1,One\n");
    project
}

/// One good order more, one that no check lets through, and a customer.
pub fn bad_day(project: &Project) {
    project.write("data/orders/b.csv", "order_id,customer,amount\n4,c1,5.00\n5,c2,-7.00\n");
    project.write("data/customers/b.csv", "customer,name\nc2,Two\n");
}

pub async fn resume(project: &Project, run: u64) -> Result<RunSummary, AppError> {
    project.open().await.resume(Some(RunId(run)), Arc::new(Silent), &CancellationToken::new()).await
}

pub async fn try_accept(app: &App, run: u64, reason: Option<&str>, quarantine: bool) -> Result<RunSummary, AppError> {
    let request = AcceptRequest { reason: reason.map(str::to_owned), quarantine };
    app.accept(RunId(run), &request, Arc::new(Silent), &CancellationToken::new()).await
}

pub async fn accept(app: &App, run: u64, reason: &str, quarantine: bool) -> RunSummary {
    match try_accept(app, run, Some(reason), quarantine).await {
        Ok(summary) => summary,
        Err(error) => panic!("{}", told(&error)),
    }
}

fn held(summary: &RunSummary) -> Vec<(&str, &str)> {
    summary.record.held.iter().map(|h| (h.table.as_str(), h.why.as_str())).collect()
}

pub const COUNTS: &str = "select (select count(*) from bronze.orders) as o, (select n from gold.behind) as b, \
                      (select count(*) from bronze.customers) as c, (select n from gold.people) as p, \
                      (select o from gold.both) as x";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_healthy_is_published_and_the_rest_stays_on_the_branch() {
    let project = shop();
    project.publish().await;
    bad_day(&project);
    let summary = project.run_with(&healthy()).await;
    assert_eq!(summary.record.status, RunStatus::Held, "{summary:#?}");
    assert_eq!(summary.exit_code(), 1);
    let why = "range amount 0.. on bronze.orders does not hold";
    assert_eq!(
        held(&summary),
        [
            ("bronze.orders", why),
            ("gold.behind", "reads bronze.orders"),
            ("gold.both", "reads bronze.orders"),
            ("silver.shown", "reads bronze.orders"),
        ]
    );
    let app = project.open().await;
    assert_eq!(row(&app, "main", COUNTS).await, "3|3|3|3|3", "customers are new, orders are not");
    assert_eq!(row(&app, "run/2", "select count(*) from bronze.orders").await, "5");
    assert_eq!(row(&app, "run/2", "select count(*) from bronze.customers").await, "3");
    let log = app.log(Some("main"), 1).await.unwrap();
    assert_eq!(log[0].run, Some(2));
    assert!(log[0].changes.iter().all(|c| !c.entry.contains("orders")), "not the cursor either: {:?}", log[0].changes);
    assert_eq!(summary.record.parts, [log[0].commit.0.clone()]);
    // What was published of it stands in the way of no merge.
    app.create_branch("work", Some("main~1")).await.unwrap();
    app.merge("main", Some("work"), false).await.unwrap();
    let error = app.merge("run/2", Some("main"), false).await.unwrap_err();
    assert!(told(&error).contains("run 2 is held"), "{}", told(&error));

    project.write("checks/orders.yaml", "table: bronze.orders\nchecks:\n  - range: { column: amount, min: -10 }\n");
    let resumed = resume(&project, 2).await.unwrap();
    assert_eq!(resumed.record.status, RunStatus::Published, "{resumed:#?}");
    assert!(resumed.record.held.is_empty());
    assert_eq!(row(&app, "main", COUNTS).await, "5|5|3|3|5");
    assert_eq!(row(&app, "main", "select count(distinct _run) from bronze.orders where order_id > 3").await, "1");
    let again = project.publish().await;
    assert!(again.steps.iter().all(|s| s.status == StepStatus::Unchanged), "{again:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_setting_of_the_project_decides_unless_the_run_does() {
    let project = shop();
    project.write("polder.yaml", "name: test\npublish: healthy\nenvironments:\n  careful: { publish: all }\n");
    project.publish().await;
    bad_day(&project);
    let all = RunRequest { publish: Some(Publish::All), ..RunRequest::default() };
    let summary = project.run_with(&all).await;
    assert!(summary.record.status == RunStatus::Held && summary.record.held.is_empty(), "{summary:#?}");
    let app = project.open().await;
    assert_eq!(row(&app, "main", COUNTS).await, "3|3|2|2|3");
    let options = OpenOptions { environment: Some("careful".to_owned()), ..OpenOptions::new(project.path()) };
    let careful = App::open(&options).await.unwrap();
    let summary = crate::support::run(&careful, &RunRequest::default()).await.unwrap();
    assert!(summary.record.held.is_empty(), "{summary:#?}");
    assert!(!project.run().await.record.held.is_empty());
    assert_eq!(row(&app, "main", COUNTS).await, "3|3|3|3|3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_fails_holds_what_needs_it() {
    let project = shop();
    project.publish().await;
    project.write("data/orders/b.csv", &orders(4..=5));
    project.write("data/customers/b.csv", "customer,name\nc2,Two\n");
    project.write("models/gold/people.sql", "select count(*) / (count(*) - 3) as n from bronze.customers\n");
    let summary = project.run_with(&healthy()).await;
    assert_eq!(summary.record.status, RunStatus::Held, "{summary:#?}");
    let tables: Vec<&str> = held(&summary).iter().map(|(table, _)| *table).collect();
    assert_eq!(tables, ["gold.both", "gold.people"]);
    let app = project.open().await;
    assert_eq!(row(&app, "main", COUNTS).await, "5|5|3|2|3");
}

/// Customers are held for their own check; the orders that refer to a new one would refer to nothing on main.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_hold_without_what_is_held_is_held_too() {
    let project = shop();
    project.write("checks/customers.yaml", "table: bronze.customers\nchecks:\n  - holds: name <> 'Bad'\n");
    project.write(
        "checks/orders.yaml",
        "table: bronze.orders\nchecks:\n  - relationships: { column: customer, to: bronze.customers, field: customer }\n",
    );
    project.write("data/customers/a.csv", "customer,name\nc0,Zero\nc1,One\nc2,Two\n");
    project.write("sources/notes.yaml", "files: data/notes.csv\n");
    project.write("data/notes.csv", "note\na\n");
    project.publish().await;
    project.write("data/customers/b.csv", "customer,name\nc9,Bad\n");
    project.write("data/orders/b.csv", "order_id,customer,amount\n4,c9,5.00\n");
    project.write("data/notes.csv", "note\na\nb\n");
    let summary = project.run_with(&healthy()).await;
    let tables: Vec<&str> = held(&summary).iter().map(|(table, _)| *table).collect();
    assert!(tables.contains(&"bronze.customers") && tables.contains(&"bronze.orders"), "{summary:#?}");
    let app = project.open().await;
    assert_eq!(row(&app, "main", "select count(*) from bronze.orders").await, "3");
    assert_eq!(row(&app, "main", "select count(*) from bronze.notes").await, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_healthy_nothing_is_published() {
    let project = shop();
    project.write("data/customers/a.csv", "customer,name\nc0,Zero\n");
    project.publish().await;
    project.write("data/orders/b.csv", "order_id,customer,amount\n5,c2,-7.00\n");
    let summary = project.run_with(&healthy()).await;
    assert_eq!((summary.record.status, summary.record.parts.len()), (RunStatus::Held, 0), "{summary:#?}");
    let app = project.open().await;
    assert_eq!(app.log(Some("main"), 10).await.unwrap()[0].run, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_held_run_has_read_is_not_read_again() {
    let project = shop();
    project.publish().await;
    bad_day(&project);
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    project.write("data/orders/c.csv", &orders(6..=6));
    let third = project.run().await;
    assert_eq!(third.record.status, RunStatus::Held);
    let note = |summary: &RunSummary, step: &str| {
        let step = summary.steps.iter().find(|s| s.step.to_string() == step).unwrap();
        (step.report.rows, step.report.note.clone().unwrap_or_default())
    };
    assert_eq!(note(&third, "ingest bronze.orders"), (Some(1), "took over run 2; 1 file".to_owned()));
    assert_eq!(note(&third, "ingest bronze.customers"), (Some(0), "took over run 2".to_owned()));
    // The newest counts, and a run that is published takes the others' place.
    project.write("checks/orders.yaml", "table: bronze.orders\nchecks:\n  - range: { column: amount, min: -10 }\n");
    let fourth = project.publish().await;
    assert_eq!(note(&fourth, "ingest bronze.orders"), (Some(0), "took over run 3".to_owned()));
    let app = project.open().await;
    let runs = "select _run, count(*) from bronze.orders group by _run order by _run";
    assert_eq!(rows(&app, "main", runs).await, ["1|3", "2|2", "3|1"]);
    for run in [2, 3] {
        let error = resume(&project, run).await.unwrap_err();
        assert!(told(&error).contains("run 4 went on from what it had read"), "{}", told(&error));
        let error = try_accept(&app, run, Some("late"), false).await.unwrap_err();
        assert!(told(&error).contains("run 4 went on from what it had read"), "{}", told(&error));
    }
    let error = app.resume(None, Arc::new(Silent), &CancellationToken::new()).await.unwrap_err();
    assert!(told(&error).contains("there is no run to take up again"), "{}", told(&error));
    assert!(app.status().await.unwrap().open.is_empty());
    assert_eq!(row(&app, "main", "select superseded_by from system.runs where run = 2").await, "3");
}

/// Nothing is taken over that may not be what the source, or the target, is by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_run_is_left_alone_where_things_have_changed() {
    let held_shop = async || {
        let project = shop();
        project.publish().await;
        bad_day(&project);
        assert_eq!(project.run().await.record.status, RunStatus::Held);
        project
    };
    let taken = |summary: &RunSummary| -> Vec<String> {
        summary.record.took_over.iter().map(|t| format!("{} {}", t.table, t.run)).collect()
    };
    let ids = "select order_id from bronze.orders order by order_id";
    // The file with the bad row is mended.
    let project = held_shop().await;
    project.write("data/orders/b.csv", "order_id,customer,amount\n4,c1,5.00\n5,c2,7.00\n");
    let summary = project.publish().await;
    assert_eq!(taken(&summary), ["bronze.customers 2"]);
    assert_eq!(rows(&project.open().await, "main", ids).await, ["1", "2", "3", "4", "5"]);
    // It is taken away.
    let project = held_shop().await;
    project.remove("data/orders/b.csv");
    assert_eq!(taken(&project.publish().await), ["bronze.customers 2"]);
    assert_eq!(rows(&project.open().await, "main", ids).await, ["1", "2", "3"]);
    // It is declared in another way.
    let project = held_shop().await;
    project.write("sources/orders.yaml", "files: data/orders/*.csv\ncolumns: { amount: double }\n");
    assert!(taken(&project.run().await).iter().all(|t| !t.contains("orders")));
    // Somebody asks for that.
    let project = held_shop().await;
    let anew = RunRequest { anew: true, ..RunRequest::default() };
    assert!(taken(&project.run_with(&anew).await).is_empty());
    let fresh = RunRequest { full_refresh: true, ..RunRequest::default() };
    assert!(taken(&project.run_with(&fresh).await).is_empty());
    // Another branch has its own.
    let app = project.open().await;
    app.create_branch("work", None).await.unwrap();
    let elsewhere = RunRequest { target: Some("work".to_owned()), ..RunRequest::default() };
    assert!(taken(&project.run_with(&elsewhere).await).is_empty());
    // The target's table is another by now.
    let project = held_shop().await;
    let app = project.open().await;
    app.rollback(None, "main~1", &[]).await.unwrap();
    assert!(taken(&project.run().await).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_failed_over_a_model_leaves_what_it_has_read() {
    let project = shop();
    project.publish().await;
    project.write("data/orders/b.csv", &orders(4..=5));
    project.write("models/gold/people.sql", "select no_such_column as n from bronze.customers\n");
    assert_eq!(project.run().await.record.status, RunStatus::Failed);
    project.write("models/gold/people.sql", "select count(*) as n from bronze.customers\n");
    let summary = project.publish().await;
    assert_eq!(summary.record.took_over.len(), 1, "customers had nothing new: {summary:#?}");
    let app = project.open().await;
    assert_eq!(row(&app, "main", "select count(*) from bronze.orders where _run = 2").await, "2");
    assert_eq!(row(&app, "main", "select took_over_from from system.runs where run = 3").await, "2");
}

/// What was taken over is there once, wherever the run that took it over is stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_took_over_is_stopped_and_taken_up_again() {
    for stop in ["start ingest bronze.orders", "end ingest bronze.orders", "start check bronze.orders"] {
        for go_on in [true, false] {
            let project = shop();
            project.publish().await;
            bad_day(&project);
            assert_eq!(project.run().await.record.status, RunStatus::Held);
            project.write("data/orders/c.csv", &orders(6..=6));
            let (when, step) = stop.split_once(' ').unwrap();
            let (step, at_start) = (step.to_owned(), when == "start");
            let app = project.open().await;
            killed(&app, move |e| if at_start { started(e, &step) } else { finished(e, &step) }).await;
            let relaxed = "table: bronze.orders\nchecks:\n  - range: { column: amount, min: -10 }\n";
            project.write("checks/orders.yaml", relaxed);
            if go_on {
                // It goes on with the files that it began with.
                assert_eq!(resume(&project, 3).await.unwrap().record.status, RunStatus::Held, "{stop}");
            }
            let summary = project.publish().await;
            let from = if go_on || when == "end" || stop.contains("check") { "3" } else { "2" };
            assert!(summary.record.took_over.iter().any(|t| t.run.to_string() == from), "{stop} {summary:#?}");
            let count = "select count(*), count(distinct order_id) from bronze.orders";
            assert_eq!(row(&project.open().await, "main", count).await, "6|6", "{stop}");
        }
    }
}

/// Records that stop a run which took over are no part of what it publishes in the end, and what it took over is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_records_of_a_run_that_took_over_are_there_once() {
    let source = "files: data/orders/*.csv\ncolumns: { order_id: bigint }\nmax_rejected: 1\n";
    let project = Project::new(&[("sources/orders.yaml", source), ("checks/orders.yaml", NO_NEGATIVES)]);
    project.write("data/orders/a.csv", &orders(1..=2));
    project.publish().await;
    project.write("data/orders/b.csv", "order_id,customer,amount\nx,c,1\n3,c,-1.00\n");
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    project.write("data/orders/c.csv", "order_id,customer,amount\ny,c,1\nz,c,1\n4,c,1.00\n");
    let failed = project.run().await;
    assert_eq!((failed.record.status, failed.record.took_over.len()), (RunStatus::Failed, 1), "{failed:#?}");
    let app = project.open().await;
    assert_eq!(row(&app, "run/3", "select count(*) from quarantine.orders").await, "3");
    project.write("sources/orders.yaml", &source.replace("max_rejected: 1", "max_rejected: 5"));
    project.write("checks/orders.yaml", "table: bronze.orders\nchecks:\n  - range: { column: amount, min: -10 }\n");
    let resumed = resume(&project, 3).await.unwrap();
    assert_eq!(resumed.record.status, RunStatus::Published, "{resumed:#?}");
    assert_eq!(row(&app, "main", "select count(*) from quarantine.orders").await, "3");
    assert_eq!(row(&app, "main", "select count(*) from bronze.orders").await, "4");
}

/// A key that a bad file had taken over from a good one is given back when the bad file is mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_with_a_key_are_those_of_the_mended_file() {
    let project = Project::new(&[
        ("sources/orders.yaml", "files: data/orders/*.csv\nkey: order_id\n"),
        ("checks/orders.yaml", NO_NEGATIVES),
    ]);
    project.write("data/orders/a.csv", &orders(1..=2));
    project.publish().await;
    project.write("data/orders/b.csv", "order_id,customer,amount\n1,c1,-1.00\n");
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    project.write("data/orders/b.csv", "order_id,customer,amount\n3,c1,1.00\n");
    project.publish().await;
    let app = project.open().await;
    let amounts = "select order_id, amount from bronze.orders order by order_id";
    assert_eq!(rows(&app, "main", amounts).await, ["1|10.50", "2|20.50", "3|1.00"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_run_is_published_for_a_reason() {
    let project = shop();
    project.publish().await;
    bad_day(&project);
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    let app = project.open().await;
    for reason in [None, Some("  ")] {
        let error = try_accept(&app, 2, reason, false).await.unwrap_err();
        assert!(
            told(&error).contains("error[R012]") && told(&error).contains("polder accept 2 --reason"),
            "{}",
            told(&error)
        );
    }
    let options = OpenOptions { principal: Some("grace".to_owned()), ..OpenOptions::new(project.path()) };
    let accepted = accept(&App::open(&options).await.unwrap(), 2, "a refund, not a mistake", false).await;
    assert_eq!(accepted.record.status, RunStatus::Published, "{accepted:#?}");
    assert_eq!(status_of(&accepted, "check bronze.orders"), StepStatus::Warned);
    assert_eq!(status_of(&accepted, "ingest bronze.orders"), StepStatus::Done);
    assert_eq!(row(&app, "main", COUNTS).await, "5|5|3|3|5", "what was skipped is built");
    let commit = "select principal, run, reason, overruled from system.commits where reason is not null";
    assert_eq!(rows(&app, "main", commit).await, ["grace|2|a refund, not a mistake|bronze.orders: range amount 0.."]);
    let check = "select passed, accepted from system.checks where run = 2 and resource = 'bronze.orders'";
    assert_eq!(rows(&app, "main", check).await, ["false|true"]);
    // On the same rows the decision stands.
    let again = project.publish().await;
    assert!(again.steps.iter().all(|s| s.status.succeeded()), "{again:#?}");
    project.write("data/orders/c.csv", "order_id,customer,amount\n6,c1,-1.00\n");
    assert_eq!(project.run().await.record.status, RunStatus::Held, "and on no others");
    let error = try_accept(&app, 2, Some("again"), false).await.unwrap_err();
    assert!(told(&error).contains("run 2 is published"), "{}", told(&error));
    project.write("models/gold/people.sql", "select no_such_column as n from bronze.customers\n");
    assert_eq!(project.run().await.record.status, RunStatus::Failed);
    let error = try_accept(&project.open().await, 5, Some("x"), false).await.unwrap_err();
    assert!(told(&error).contains("run 5 is failed: more than its checks went wrong"), "{}", told(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_has_seen_fail_is_not_accepted() {
    let project = shop();
    project.write("checks/behind.yaml", "table: gold.behind\nchecks:\n  - holds: n < 5\n");
    project.publish().await;
    bad_day(&project);
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    let app = project.open().await;
    let accepted = accept(&app, 2, "known", false).await;
    assert_eq!(accepted.record.status, RunStatus::Held, "{accepted:#?}");
    assert_eq!(status_of(&accepted, "check gold.behind"), StepStatus::Failed);
    let accepted = accept(&app, 2, "known as well", false).await;
    assert_eq!(accepted.record.status, RunStatus::Published, "{accepted:#?}");
    let overruled = row(&app, "main", "select overruled from system.commits where reason is not null").await;
    assert_eq!(overruled, "bronze.orders: range amount 0..; gold.behind: n < 5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_break_checks_are_set_aside() {
    let project = Project::new(&[
        ORDERS_SOURCE,
        CUSTOMERS,
        ("models/gold/total.sql", "select sum(amount) as total, count(*) as n from bronze.orders\n"),
        ("models/gold/people.sql", "select count(*) as n from bronze.customers\n"),
        (
            "checks/orders.yaml",
            "table: bronze.orders\nchecks:\n  - unique: order_id\n  - not_null: customer\n  \
             - range: { column: amount, max: 1000 }\n    where: customer <> 'c0'\n  - holds: amount > 0\n  \
             - relationships: { column: customer, to: bronze.customers, field: customer }\n  \
             - sql: select * from bronze.orders where order_id = 66\n  \
             - sql: select order_id from bronze.orders where order_id = 67\n    severity: warn\n",
        ),
    ]);
    project.write("data/orders/a.csv", &orders(1..=3));
    project.write("data/customers/a.csv", "customer,name\nc0,Zero\nc1,One\nc2,Two\n");
    project.publish().await;
    let bad = "order_id,customer,amount\n1,c1,1.00\n4,,4.00\n5,c1,5000.00\n6,c0,6000.00\n7,c1,-1.00\n8,c9,8.00\n66,c1,6.00\n\
               67,c1,6.00\n9,c1,9.00\n9,c1,9.50\n";
    project.write("data/orders/b.csv", bad);
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    let app = project.open().await;
    let accepted = accept(&app, 2, "ticket 7", true).await;
    assert_eq!(accepted.record.status, RunStatus::Published, "{accepted:#?}");
    let kept = "select order_id, cast(amount as double) from bronze.orders order by order_id";
    assert_eq!(rows(&app, "main", kept).await, ["1|10.5", "2|20.5", "3|30.5", "6|6000.0", "9|9.0", "67|6.0"]);
    let aside = "select raw, reason from quarantine.orders order by position";
    let aside = rows(&app, "main", aside).await;
    assert_eq!(aside.len(), 7, "{aside:#?}");
    assert!(aside[0].starts_with(r#"{"order_id":1,"customer":"c1","amount":1"#), "{aside:#?}");
    assert!(aside[0].contains("unique order_id (checks/orders.yaml:3): ticket 7 (set aside by ada)"), "{aside:#?}");
    assert!(aside[1].contains(r#""customer":null"#) && aside[1].contains("not_null customer"), "{aside:#?}");
    let place = "select _run, source, file, position from quarantine.orders where reason like 'amount > 0%'";
    assert_eq!(row(&app, "main", place).await, "2|orders.orders|data/orders/b.csv|6");
    assert_eq!(row(&app, "main", "select n from gold.total").await, "6", "what depends on them is built");
    assert_eq!(status_of(&accepted, "model gold.people"), StepStatus::Unchanged, "and nothing else");
    let commit = "select reason, overruled from system.commits where reason is not null";
    assert_eq!(rows(&app, "main", commit).await, ["ticket 7|NULL"]);
    let again = project.publish().await;
    assert!(again.steps.iter().all(|s| s.status.succeeded()), "{again:#?}");
    assert_eq!(row(&app, "main", "select count(*) from bronze.orders").await, "6", "they are not read again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_without_rows_to_set_aside_keeps_the_run_held() {
    let project = shop();
    project.write("checks/orders.yaml", &format!("{NO_NEGATIVES}  - row_count: {{ max: 3 }}\n"));
    project.publish().await;
    bad_day(&project);
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    let app = project.open().await;
    let accepted = accept(&app, 2, "one is wrong", true).await;
    assert_eq!(accepted.record.status, RunStatus::Held, "{accepted:#?}");
    assert_eq!(row(&app, "run/2", "select count(*) from bronze.orders").await, "4");
    let accepted = accept(&app, 2, "and four are not too many", false).await;
    assert_eq!(accepted.record.status, RunStatus::Published, "{accepted:#?}");
    assert_eq!(row(&app, "main", COUNTS).await, "4|4|3|3|4");
    assert_eq!(row(&app, "main", "select count(*) from quarantine.orders").await, "1");
    // A check of which no row can be set aside.
    project.write("data/orders/c.csv", &orders(6..=9));
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    let error = try_accept(&project.open().await, 3, Some("x"), true).await.unwrap_err();
    assert!(told(&error).contains("no failed check tells rows"), "{}", told(&error));
    assert_eq!(row(&app, "main", "select status from system.runs where run = 3").await, "held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_of_held_runs_are_warned_of_before_they_go() {
    let project = shop();
    project.write("data/orders/a.csv", "order_id,customer,amount\n5,c2,-7.00\n");
    let clock = Arc::new(SimulatedSystem::new(7, RealSystem.now()));
    let options = OpenOptions { system: Arc::<SimulatedSystem>::clone(&clock), ..OpenOptions::new(project.path()) };
    let app = App::open(&options).await.unwrap();
    let held = crate::support::run(&app, &RunRequest::default()).await.unwrap();
    assert_eq!(held.record.status, RunStatus::Held);
    app.housekeep().await.unwrap();
    let day = |days: u64| Duration::from_secs(days * 86_400);
    clock.advance(day(5) - Duration::from_secs(3_600));
    assert!(app.expiring().await.unwrap().is_empty());
    assert!(app.status().await.unwrap().open[0].expires.is_some());
    clock.advance(Duration::from_secs(7_200));
    let soon = app.expiring().await.unwrap();
    assert_eq!(soon.iter().map(|run| run.record.id.0).collect::<Vec<_>>(), [1]);
    clock.advance(day(2));
    app.housekeep().await.unwrap().unwrap();
    clock.advance(day(1));
    app.housekeep().await.unwrap().unwrap();
    assert!(app.expiring().await.unwrap().is_empty());
    let error = app.resume(Some(RunId(1)), Arc::new(Silent), &CancellationToken::new()).await.unwrap_err();
    assert!(told(&error).contains("its branch run/1 expired, "), "{}", told(&error));
    let error = try_accept(&app, 1, Some("late"), false).await.unwrap_err();
    assert!(told(&error).contains("its branch run/1 expired, "), "{}", told(&error));
}

/// A run that is taken up again is worked on: its branch is kept as long as a new one, also where it was past its day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_taken_up_late_keeps_its_branch() {
    let project = shop();
    project.publish().await;
    bad_day(&project);
    let clock = Arc::new(SimulatedSystem::new(7, RealSystem.now()));
    let options = OpenOptions { system: Arc::<SimulatedSystem>::clone(&clock), ..OpenOptions::new(project.path()) };
    let app = App::open(&options).await.unwrap();
    let held = crate::support::run(&app, &RunRequest::default()).await.unwrap();
    assert_eq!(held.record.status, RunStatus::Held);
    app.housekeep().await.unwrap();
    let day = |days: u64| Duration::from_secs(days * 86_400);
    clock.advance(day(8));
    let again = app.resume(Some(RunId(2)), Arc::new(Silent), &CancellationToken::new()).await.unwrap();
    assert_eq!(again.record.status, RunStatus::Held, "{again:#?}");
    for _ in 0..6 {
        clock.advance(day(1));
        app.housekeep().await.unwrap().unwrap();
    }
    assert_eq!(app.status().await.unwrap().open.len(), 1);
    assert_eq!(accept(&app, 2, "known", false).await.record.status, RunStatus::Published);
}

/// A clock that lost its time: what people have published says what day it is at least.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_behind_throws_no_branch_away_too_early() {
    let project = shop();
    let now = RealSystem.now();
    let clock = Arc::new(SimulatedSystem::new(7, now));
    let open = async || {
        let options = OpenOptions { system: Arc::<SimulatedSystem>::clone(&clock), ..OpenOptions::new(project.path()) };
        App::open(&options).await.unwrap()
    };
    let app = open().await;
    let first = crate::support::run(&app, &RunRequest::default()).await.unwrap();
    assert_eq!(first.record.status, RunStatus::Published);
    bad_day(&project);
    let before = crate::support::run(&open().await, &RunRequest::default()).await.unwrap();
    assert_eq!(before.record.status, RunStatus::Held);
    let day = |days: u64| Duration::from_secs(days * 86_400);
    clock.set_back(day(3650));
    let anew = RunRequest { anew: true, ..RunRequest::default() };
    let behind = crate::support::run(&open().await, &anew).await.unwrap();
    assert_eq!(behind.record.status, RunStatus::Held);
    for _ in 0..4 {
        clock.advance(day(1));
        app.housekeep().await.unwrap();
    }
    for branch in ["run/2", "run/3"] {
        let kept = app.catalog().find_ref(branch).await.unwrap().and_then(|found| found.expires);
        assert!(kept >= Some(now + day(7)), "{branch} {kept:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_of_a_run_that_cannot_be_read_keeps_nobody_from_running() {
    let project = shop();
    project.publish().await;
    bad_day(&project);
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    let app = project.open().await;
    let damage = Batch::new().put(Space::Runs, format!("{:020}", 1), b"{ not json".to_vec());
    app.catalog().state().apply(damage).await.unwrap();
    let third = project.run().await;
    assert_eq!((third.record.status, third.record.took_over.len()), (RunStatus::Held, 2), "{third:#?}");
    let open: Vec<u64> = app.status().await.unwrap().open.iter().map(|open| open.record.id.0).collect();
    assert_eq!(open, [3]);
    assert_eq!(rows(&app, "main", "select run from system.runs order by run").await, ["2", "3"]);
    // One that another was taken over by.
    let damage = Batch::new().put(Space::Runs, format!("{:020}", 3), b"{ not json".to_vec());
    app.catalog().state().apply(damage).await.unwrap();
    let open: Vec<u64> = app.status().await.unwrap().open.iter().map(|open| open.record.id.0).collect();
    assert_eq!(open, [2]);
    assert!(app.expiring().await.is_ok());
    let fourth = project.run().await;
    assert_eq!((fourth.record.status, fourth.record.took_over.len()), (RunStatus::Held, 2), "{fourth:#?}");
    assert_eq!(accept(&app, 4, "as it is", false).await.record.status, RunStatus::Published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_a_later_one_went_on_from_is_not_accepted() {
    let project = shop();
    project.publish().await;
    bad_day(&project);
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    project.write("data/orders/c.csv", &orders(6..=6));
    assert_eq!(project.run().await.record.took_over.len(), 2);
    let app = project.open().await;
    let error = try_accept(&app, 2, Some("x"), false).await.unwrap_err();
    assert_eq!(
        told(&error),
        "error[R004]: run 2 is not accepted: run 3 went on from what it had read, and is held (polder accept 3 --reason \"…\")"
    );
    let error = told(&try_accept(&app, 2, Some("x"), true).await.unwrap_err());
    assert!(error.contains("polder accept 3 --quarantine --reason \"…\""), "no hint to overrule the checks: {error}");
    assert_eq!(app.runs().await.unwrap()[1].accepted, None);
    // Without the later one's branch, nobody else has what it read.
    app.catalog().delete_ref("run/3").await.unwrap();
    let accepted = accept(&app, 2, "known", false).await;
    assert_eq!(accepted.record.status, RunStatus::Published, "{accepted:#?}");
    assert_eq!(row(&app, "main", "select count(*) from bronze.orders").await, "5");
}

/// The clock is wrong for a moment: years ahead, and set back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_false_reading_of_the_clock_throws_nothing_away() {
    let project = shop();
    project.publish().await;
    bad_day(&project);
    let clock = Arc::new(SimulatedSystem::new(7, RealSystem.now()));
    let open = async || {
        let options = OpenOptions { system: Arc::<SimulatedSystem>::clone(&clock), ..OpenOptions::new(project.path()) };
        App::open(&options).await.unwrap()
    };
    let app = open().await;
    let held = crate::support::run(&app, &RunRequest::default()).await.unwrap();
    assert_eq!(held.record.status, RunStatus::Held);
    let day = |days: u64| Duration::from_secs(days * 86_400);
    assert_eq!(app.housekeep().await.unwrap(), None);
    clock.advance(day(3650));
    let gone = app.housekeep().await.unwrap().unwrap();
    assert_eq!((gone.refs.len(), gone.commits, gone.files), (0, 0, 0), "{gone:?}");
    assert!(!app.events(RunId(1), None).await.unwrap().is_empty(), "what happened is kept as well");
    // A run of that moment: its branch is not kept for years.
    let ahead = crate::support::run(&open().await, &RunRequest::default()).await.unwrap();
    assert_eq!(ahead.record.status, RunStatus::Held);
    clock.set_back(day(3650));
    assert_eq!(app.housekeep().await.unwrap(), None, "it was seen to be false");
    for _ in 0..6 {
        clock.advance(day(1));
        app.housekeep().await.unwrap().unwrap();
        assert!(app.catalog().find_ref("run/2").await.unwrap().is_some());
    }
    // In the end it goes.
    for _ in 0..4 {
        clock.advance(day(1));
        app.housekeep().await.unwrap().unwrap();
    }
    for branch in ["run/2", "run/3"] {
        assert!(app.catalog().find_ref(branch).await.unwrap().is_none(), "{branch}");
    }
    assert_eq!(row(&app, "main", COUNTS).await, "3|3|2|2|3");
}
