use std::sync::Arc;

use polder_app::{App, RunRequest};
use polder_base::{RunId, TableName};
use polder_catalog::{Author, Change};
use polder_lake::Workspace;
use polder_run::{Event, RunStatus, StepStatus};
use polder_sql::SessionOptions;
use polder_table::Operation;
use tokio_util::sync::CancellationToken;

use crate::support::{ORDERS_SOURCE, Project, Watch, finished, now, orders, row, run, started, status_of, told};

/// Appends the rows of a query to a table of `main`, as a stream would: blindly, and without asking anybody.
async fn append(app: &App, table: &str, sql: &str) {
    let workspace = Workspace {
        lake: Arc::clone(app.lake()),
        branch: "main".to_owned(),
        run: RunId(999),
        run_time: polder_base::Timestamp(0),
        author: Author { principal: "stream".to_owned() },
    };
    let session = app.engine().session(SessionOptions::system("main", workspace.run_time)).await.unwrap();
    let plan = session.plan(sql).await.unwrap();
    let rows = session.execute(&session.physical(&plan).await.unwrap()).unwrap();
    let table: TableName = table.parse().unwrap();
    let target = workspace.target(&workspace.table(&table).await.unwrap().unwrap());
    let written = app.lake().write(&target, rows, &CancellationToken::new(), &|_, _| {}).await.unwrap();
    let operations = vec![Operation::Append { files: written.files }];
    workspace.commit("stream", vec![Change::Table { table, operations, read: None }]).await.unwrap();
}

fn shop() -> Project {
    let project = Project::new(&[
        ORDERS_SOURCE,
        ("sources/customers.yaml", "files: data/customers/*.csv\n"),
        (
            "checks/orders.yaml",
            "table: bronze.orders\nchecks:\n  - unique: order_id\n  - relationships: { column: customer, to: bronze.customers, field: customer }\n",
        ),
    ]);
    project.write("data/customers/a.csv", "customer,name\nc0,Zero\nc1,One\nc2,Two\n");
    project.write("data/orders/a.csv", &orders(1..=3));
    project
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_check_that_held_on_the_branch_fails_on_the_sum() {
    let project = shop();
    project.publish().await;
    project.write("data/orders/b.csv", &orders(4..=5));
    let app = project.open().await;
    let other = app.clone();
    let watch = Watch::new(move |event| {
        if finished(event, "check bronze.orders")
            && !matches!(event, Event::StepFinished { status: StepStatus::Failed, .. })
        {
            // Order 5 arrives by another way while run 2 has checked its own.
            now(append(&other, "bronze.orders", "select cast(5 as bigint) as order_id, 'c1' as customer"));
        }
    });
    let held = app.run(&RunRequest::default(), Arc::clone(&watch) as _, &CancellationToken::new()).await.unwrap();
    assert_eq!(held.record.status, RunStatus::Held, "{held:#?}");
    let reason = held.record.reason.clone().unwrap();
    assert!(reason.contains("main moved, and the checks of bronze.orders were run again"), "{reason}");
    assert!(reason.contains("unique order_id"), "{reason}");
    assert_eq!(status_of(&held, "check bronze.orders"), StepStatus::Failed);
    assert!(
        watch
            .events
            .lock()
            .unwrap()
            .iter()
            .any(|e| matches!(e, Event::Rebased { tables, .. } if tables == &["bronze.orders"]))
    );
    assert_eq!(
        row(&app, "main", "select count(*) from bronze.orders").await,
        "4",
        "what the stream brought, and run 1"
    );
    assert_eq!(row(&app, "run/2", "select count(*) from bronze.orders").await, "6", "the sum can be looked at");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_check_that_reads_a_view_of_what_moved_is_run_again() {
    let project = Project::new(&[
        ORDERS_SOURCE,
        ("models/silver/clean.sql", "{{ config(materialized='view') }}\nselect * from bronze.orders\n"),
        ("models/gold/big.sql", "select order_id from bronze.orders where amount > 10\n"),
        (
            "checks/big.yaml",
            "table: gold.big\nchecks:\n  - sql: select order_id from silver.clean where order_id > 50\n",
        ),
    ]);
    project.write("data/orders/a.csv", &orders(1..=3));
    project.publish().await;
    project.write("data/orders/b.csv", &orders(4..=5));
    let app = project.open().await;
    let other = app.clone();
    let watch = Watch::new(move |event| {
        if finished(event, "check gold.big") && now(other.log(None, 10)).unwrap().len() == 2 {
            let sql = "select cast(77 as bigint) as order_id, 'c1' as customer";
            now(append(&other, "bronze.orders", sql));
        }
    });
    let held = app.run(&RunRequest::default(), watch, &CancellationToken::new()).await.unwrap();
    assert_eq!(held.record.status, RunStatus::Held, "{held:#?}");
    assert!(held.record.reason.unwrap().contains("the checks of gold.big were run again"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_that_arrived_meanwhile_are_kept_when_the_sum_holds() {
    let project = shop();
    project.publish().await;
    project.write("data/orders/b.csv", &orders(4..=5));
    let app = project.open().await;
    let other = app.clone();
    let watch = Watch::new(move |event| {
        if started(event, "check bronze.orders") && now(other.log(None, 10)).unwrap().len() == 2 {
            now(append(&other, "bronze.orders", "select cast(77 as bigint) as order_id, 'c1' as customer"));
        }
    });
    let summary = app.run(&RunRequest::default(), watch, &CancellationToken::new()).await.unwrap();
    assert_eq!(summary.record.status, RunStatus::Published, "{summary:#?}");
    assert_eq!(row(&app, "main", "select count(*), count(distinct order_id) from bronze.orders").await, "6|6");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_runs_at_once_on_one_table_name_each_other() {
    let project = shop();
    let app = project.open().await;
    let second = project.open().await;
    let watch = Watch::new(move |event| {
        if started(event, "ingest bronze.orders") {
            let error = now(run(&second, &RunRequest::default())).unwrap_err();
            assert_eq!(error.exit_code(), 1);
            let told = told(&error);
            assert!(told.contains("[R003]") && told.contains("is being written by run 1"), "{told}");
        }
    });
    let summary = app.run(&RunRequest::default(), watch, &CancellationToken::new()).await.unwrap();
    assert_eq!(summary.record.status, RunStatus::Published, "{summary:#?}");
    let third = project.run().await;
    assert_eq!(third.record.status, RunStatus::Published, "the claims were given back");
}
