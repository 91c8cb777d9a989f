use std::sync::Arc;

use polder_app::{Action, RunRequest};
use polder_run::{RunStatus, StepKind, StepStatus};
use tokio_util::sync::CancellationToken;

use crate::support::{ORDERS_SOURCE, Project, Watch, orders, row, rows, run, started, status_of, statuses, told};

const DAILY: (&str, &str) = (
    "models/gold/by_customer.sql",
    "select customer, count(*) as orders, sum(amount) as revenue\nfrom {{ ref('orders') }}\ngroup by customer\n",
);
const SILVER: (&str, &str) =
    ("models/silver/orders.sql", "select order_id, customer, amount from bronze.orders where amount > 0\n");
const CHECKS: (&str, &str) = (
    "checks/orders.yaml",
    "table: bronze.orders\nchecks:\n  - unique: order_id\n  - not_null: [order_id, customer]\n  - holds: amount < 1000\n",
);

fn shop() -> Project {
    let project = Project::new(&[ORDERS_SOURCE, SILVER, DAILY, CHECKS]);
    project.write("data/orders/a.csv", &orders(1..=6));
    project
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_is_run_and_published() {
    let project = shop();
    let summary = project.publish().await;
    assert_eq!(
        statuses(&summary),
        [
            "check bronze.orders done",
            "ingest bronze.orders done",
            "model gold.by_customer done",
            "model silver.orders done"
        ]
    );
    assert_eq!(summary.exit_code(), 0);
    assert_eq!(summary.shown.run, Some(1));
    let app = project.open().await;
    assert_eq!(
        rows(&app, "main", "select customer, orders, revenue from gold.by_customer order by customer").await,
        ["c0|2|91.00", "c1|2|51.00", "c2|2|71.00"]
    );
    assert!(app.refs().await.unwrap().iter().all(|r| r.name == "main"), "the run's branch is gone");
    let record = &app.runs().await.unwrap()[0];
    assert_eq!(record.status, RunStatus::Published);
    assert_eq!(record.commit.as_deref(), Some(summary.shown.commit.as_str()));
    assert!(record.files.contains_key("models/silver/orders.sql"), "{:?}", record.files);
    assert_eq!(rows(&app, "main", "select status from system.runs").await, ["published"], "runs are read as a table");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_finds_nothing_to_do() {
    let project = shop();
    let first = project.publish().await;
    let second = project.publish().await;
    assert!(second.steps.iter().all(|s| s.status == StepStatus::Unchanged), "{:?}", statuses(&second));
    assert_eq!(second.shown.commit, first.shown.commit, "main did not move");
    let plan = project.open().await.plan(&RunRequest::default()).await.unwrap();
    let of = |name: &str| plan.steps.iter().find(|s| s.step.to_string() == name).unwrap();
    assert_eq!(of("ingest bronze.orders").action, Action::Run);
    assert_eq!(of("model silver.orders").action, Action::Perhaps, "{:?}", of("model silver.orders"));
    assert_eq!(of("model silver.orders").why, "when bronze.orders changes (table)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_check_leaves_main_and_names_the_branch() {
    let project = shop();
    project.publish().await;
    project.write("data/orders/b.csv", "order_id,customer,amount\n7,c1,70.50\n6,c0,60.50\n6,c0,60.50\n");
    let held = project.run().await;
    assert_eq!((held.record.status, held.exit_code()), (RunStatus::Held, 1));
    let reason = held.record.reason.clone().unwrap();
    assert!(reason.contains("unique order_id on bronze.orders does not hold"), "{reason}");
    assert!(reason.contains("run/2"), "{reason}");
    assert_eq!(held.shown.run, Some(1), "main shows run 1");
    assert_eq!(status_of(&held, "model silver.orders"), StepStatus::Skipped);

    let check = held.steps.iter().find(|s| s.step.to_string() == "check bronze.orders").unwrap();
    let failure = &check.report.failures[0];
    assert_eq!((failure.file.as_str(), failure.line), ("checks/orders.yaml", 3));
    assert_eq!((failure.failed_rows, failure.total_rows), (Some(3), Some(9)));
    assert_eq!(failure.detail.as_deref(), Some("1 value occurs more than once"));
    assert_eq!(check.report.passed.len(), 3);

    let app = project.open().await;
    assert_eq!(row(&app, "main", "select count(*) from bronze.orders").await, "6");
    assert_eq!(row(&app, "run/2", "select count(*) from bronze.orders").await, "9");
    let all = format!("select count(*) from ({})", failure.query.as_deref().unwrap());
    assert_eq!(row(&app, "run/2", &all).await, "3", "the query shows all of them");
    let branch = app.refs().await.unwrap().into_iter().find(|r| r.name == "run/2").unwrap();
    assert!(branch.expires.is_some(), "the branch goes away by itself");
    assert_eq!(app.status().await.unwrap().open[0].record.id.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warning_is_told_and_published() {
    let project = shop();
    project
        .write("checks/warn.yaml", "table: silver.orders\nchecks:\n  - row_count: { min: 100 }\n    severity: warn\n");
    let summary = project.publish().await;
    assert_eq!(status_of(&summary, "check silver.orders"), StepStatus::Warned);
    let step = summary.steps.iter().find(|s| s.step.to_string() == "check silver.orders").unwrap();
    assert_eq!(step.report.failures[0].detail.as_deref(), Some("6 rows, at least 100 expected"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selection_runs_a_part() {
    let project = shop();
    project.publish().await;
    project.write("models/silver/orders.sql", "select order_id, customer, amount * 2 as amount from bronze.orders\n");
    let select = |text: &str| RunRequest { select: vec![text.to_owned()], ..RunRequest::default() };
    let summary = project.run_with(&select("silver.orders")).await;
    assert_eq!(statuses(&summary), ["model silver.orders done"]);
    let summary = project.run_with(&select("silver.orders+")).await;
    assert_eq!(statuses(&summary), ["model gold.by_customer done", "model silver.orders unchanged"]);
    let app = project.open().await;
    let error = run(&app, &select("silver.ordes")).await.unwrap_err();
    assert_eq!(told(&error), "error[R001]: `silver.ordes` selects nothing (did you mean `silver.orders`?)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_whose_table_changed_is_built_again_and_nothing_else() {
    let project = shop();
    project.write("models/gold/fixed.sql", "select 1 as one\n");
    project.publish().await;
    project.write("data/orders/b.csv", &orders(7..=8));
    let summary = project.publish().await;
    assert_eq!(status_of(&summary, "model gold.by_customer"), StepStatus::Done);
    assert_eq!(status_of(&summary, "model gold.fixed"), StepStatus::Unchanged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_branch_computed_is_computed_nowhere_else() {
    let project = shop();
    project.publish().await;
    let app = project.open().await;
    app.create_branch("pr-1", None).await.unwrap();
    let on_branch = RunRequest { target: Some("pr-1".to_owned()), ..RunRequest::default() };
    let untouched = project.run_with(&on_branch).await;
    assert!(untouched.steps.iter().all(|s| s.status == StepStatus::Unchanged), "{:?}", statuses(&untouched));

    project
        .write("models/silver/orders.sql", "select order_id, customer, amount from bronze.orders where amount > 15\n");
    let changed = project.run_with(&on_branch).await;
    assert_eq!(status_of(&changed, "model silver.orders"), StepStatus::Done);
    assert_eq!(row(&app, "pr-1", "select count(*) from silver.orders").await, "5");
    assert_eq!(row(&app, "main", "select count(*) from silver.orders").await, "6");

    let on_main = project.publish().await;
    assert_eq!(status_of(&on_main, "model silver.orders"), StepStatus::Reused);
    assert_eq!(status_of(&on_main, "model gold.by_customer"), StepStatus::Reused);
    assert_eq!(row(&app, "main", "select count(*) from silver.orders").await, "5");

    app.create_branch("pr-2", Some("main")).await.unwrap();
    project.write("models/gold/by_customer.sql", "select customer, 1 as one from silver.orders group by customer\n");
    project.run_with(&RunRequest { target: Some("pr-2".to_owned()), ..RunRequest::default() }).await;
    app.merge("pr-2", Some("main"), false).await.unwrap();
    let after_merge = project.publish().await;
    assert!(after_merge.steps.iter().all(|s| s.status == StepStatus::Unchanged), "{:?}", statuses(&after_merge));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_refresh_takes_nothing_over() {
    let project = shop();
    project.publish().await;
    let summary = project.run_with(&RunRequest { full_refresh: true, ..RunRequest::default() }).await;
    assert_eq!(summary.record.status, RunStatus::Published);
    assert_eq!(status_of(&summary, "model silver.orders"), StepStatus::Done);
    let app = project.open().await;
    assert_eq!(row(&app, "main", "select count(*) from silver.orders").await, "6");
    assert_eq!(row(&app, "main", "select count(*) from bronze.orders").await, "6");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_leaves_main_and_can_be_taken_up() {
    let project = shop();
    let app = project.open().await;
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let watch = Watch::new(move |event| {
        if started(event, "model silver.orders") {
            stop.cancel();
        }
    });
    let summary = app.run(&RunRequest::default(), watch, &cancel).await.unwrap();
    assert_eq!((summary.record.status, summary.exit_code()), (RunStatus::Cancelled, 1));
    assert_eq!(status_of(&summary, "model gold.by_customer"), StepStatus::Cancelled);
    assert_eq!(summary.shown.run, None, "main is as it was made");

    let resumed = app.resume(None, Arc::new(polder_run::Silent), &CancellationToken::new()).await.unwrap();
    assert_eq!(resumed.record.status, RunStatus::Published, "{resumed:#?}");
    assert_eq!((resumed.record.id.0, resumed.record.resumed), (1, 1));
    assert_eq!(row(&app, "main", "select count(*) from silver.orders").await, "6");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_follows_its_tables() {
    let project = shop();
    project.write(
        "models/gold/recent.sql",
        "{{ config(materialized='view') }}\nselect * from silver.orders where order_id > 5\n",
    );
    project.publish().await;
    let app = project.open().await;
    assert_eq!(row(&app, "main", "select count(*) from gold.recent").await, "1");
    project.write("data/orders/b.csv", &orders(7..=8));
    let second = project.publish().await;
    assert_eq!(status_of(&second, "model gold.recent"), StepStatus::Unchanged, "a view is its query");
    assert_eq!(row(&project.open().await, "main", "select count(*) from gold.recent").await, "3");

    project.write("models/gold/recent.sql", "select * from silver.orders where order_id > 5\n");
    project.publish().await;
    let details = project.open().await.show(&"gold.recent".parse().unwrap(), None).await.unwrap();
    assert_eq!((details.kind, details.rows), ("table", Some(3)), "a view can become a table");
    project.write("models/gold/recent.sql", "{{ config(materialized='view') }}\nselect * from silver.orders\n");
    project.publish().await;
    let details = project.open().await.show(&"gold.recent".parse().unwrap(), None).await.unwrap();
    assert_eq!(details.kind, "view", "and a table a view");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_time_is_one_moment() {
    let project = Project::new(&[
        ("models/silver/a.sql", "select run_time() as at, now() as also\n"),
        ("models/gold/b.sql", "select a.at, run_time() as later from silver.a as a\n"),
    ]);
    let first = project.publish().await;
    let app = project.open().await;
    assert_eq!(row(&app, "main", "select count(distinct x) from (select at as x from gold.b union all select later from gold.b union all select also from silver.a)").await, "1");
    let second = project.publish().await;
    assert_eq!(status_of(&second, "model gold.b"), StepStatus::Done, "another time, another result");
    assert!(second.record.run_time > first.record.run_time);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_description_reaches_its_table_and_nothing_is_computed_for_it() {
    let project = shop();
    // It would add its rows once more if it ran.
    project
        .write("models/gold/log.sql", "{{ config(materialized='incremental') }}\nselect order_id from bronze.orders\n");
    project.write("models/gold/recent.sql", "{{ config(materialized='view') }}\nselect order_id from silver.orders\n");
    let tables = ["gold.by_customer", "gold.log", "gold.recent"];
    let describe = |text: &str| {
        let models =
            tables.map(|t| format!("  - {{ name: {}, description: {text} }}\n", t.trim_start_matches("gold.")));
        project.write("models/gold/models.yml", &format!("models:\n{}", models.concat()));
    };
    let comments = async || {
        let app = project.open().await;
        let mut comments = Vec::new();
        for table in tables {
            comments.push(app.show(&table.parse().unwrap(), None).await.unwrap().comment);
        }
        comments
    };
    describe("First");
    project.publish().await;
    assert_eq!(comments().await, ["First"; 3].map(|t| Some(t.to_owned())));
    describe("Second");
    let second = project.publish().await;
    assert_eq!(comments().await, ["Second"; 3].map(|t| Some(t.to_owned())));
    for table in ["gold.by_customer", "gold.log"] {
        let step = second.steps.iter().find(|s| s.step.resource == table && s.step.kind == StepKind::Model).unwrap();
        assert_eq!((step.status, step.report.note.as_deref()), (StepStatus::Reused, Some("description")), "{table}");
    }
    assert_eq!(status_of(&second, "model silver.orders"), StepStatus::Unchanged);
    assert_eq!(row(&project.open().await, "main", "select count(*) from gold.log").await, "6");
    let third = project.publish().await;
    assert!(third.steps.iter().all(|s| s.status == StepStatus::Unchanged), "{:?}", statuses(&third));

    // With new rows it goes along, and a description that is gone goes as well. What the SQL file says wins.
    project.write("data/orders/b.csv", &orders(7..=8));
    project.remove("models/gold/models.yml");
    let config = "{{ config(materialized='incremental', description='In SQL') }}";
    project.write("models/gold/log.sql", &format!("{config}\nselect order_id from bronze.orders where order_id > 6\n"));
    project.publish().await;
    assert_eq!(comments().await, [None, Some("In SQL".to_owned()), None]);
    assert_eq!(row(&project.open().await, "main", "select count(*) from gold.log").await, "8");
}
