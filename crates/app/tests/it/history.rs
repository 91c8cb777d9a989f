use std::sync::Arc;
use std::time::Duration;

use polder_app::{App, OpenOptions, RunRequest};
use polder_run::RunStatus;
use polder_system::{RealSystem, SimulatedSystem, System};

use crate::support::{ORDERS_SOURCE, Project, orders, row, told};

const DAY: Duration = Duration::from_secs(86_400);

fn shop() -> Project {
    let project =
        Project::new(&[ORDERS_SOURCE, ("models/silver/orders.sql", "select order_id, amount from bronze.orders\n")]);
    project.write("data/orders/a.csv", &orders(1..=3));
    project
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_what_each_run_did() {
    let project = shop();
    project.publish().await;
    project.write("data/orders/b.csv", &orders(4..=5));
    project.publish().await;
    let app = project.open().await;
    let log = app.log(None, 10).await.unwrap();
    assert_eq!(log.iter().map(|e| e.run).collect::<Vec<_>>(), [Some(2), Some(1), None]);
    let changes: Vec<String> = log[0]
        .changes
        .iter()
        .map(|c| format!("{} {} +{} -{}", c.action, c.entry, c.added_rows, c.removed_rows))
        .collect();
    assert!(changes.contains(&"append bronze.orders +2 -0".to_owned()), "{changes:?}");
    assert!(changes.contains(&"replace silver.orders +5 -3".to_owned()), "{changes:?}");
    assert_eq!(log[0].author, "ada");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_is_in_rows_and_columns() {
    let project = shop();
    project.publish().await;
    project.write("data/orders/b.csv", &orders(4..=5));
    project.write(
        "models/silver/orders.sql",
        "select order_id, cast(amount as double) as amount, 1 as n from bronze.orders\n",
    );
    project.write("models/gold/new.sql", "{{ config(materialized='view') }}\nselect 1 as one\n");
    project.publish().await;
    let app = project.open().await;
    let diff = app.diff("main~1", None).await.unwrap();
    let of = |name: &str| diff.iter().find(|d| d.name == name).unwrap();
    let bronze = of("bronze.orders");
    assert_eq!((bronze.change, bronze.rows_before, bronze.rows_after), ("changed", Some(3), Some(5)));
    assert_eq!(of("silver.orders").columns.len(), 2, "{:?}", of("silver.orders").columns);
    assert_eq!((of("gold.new").kind, of("gold.new").change), ("view", "added"));
    assert!(diff.iter().any(|d| d.kind == "cursor"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_are_made_looked_at_merged_and_removed() {
    let project = shop();
    project.publish().await;
    let app = project.open().await;
    app.create_branch("dev", None).await.unwrap();
    app.create_tag("v1", None).await.unwrap();
    app.switch("dev").await.unwrap();
    assert_eq!(project.open().await.current_ref().unwrap(), "dev");
    project.write("data/orders/b.csv", &orders(4..=5));
    let on_dev = project.publish().await;
    assert_eq!(on_dev.shown.name, "dev", "a run publishes to the current ref");
    let rows = |at: &'static str| {
        let app = app.clone();
        async move { row(&app, at, "select count(*) from silver.orders").await }
    };
    assert_eq!((rows("main").await, rows("dev").await, rows("v1").await), ("3".into(), "5".into(), "3".into()));
    app.merge("dev", Some("main"), false).await.unwrap();
    assert_eq!(rows("main").await, "5");

    let refuse = |text: String, want: &str| assert!(text.contains(want), "{text}");
    refuse(told(&app.delete_ref("dev").await.unwrap_err()), "`dev` is the current ref");
    refuse(told(&app.delete_ref("main").await.unwrap_err()), "`main` cannot be deleted");
    refuse(told(&app.switch("dve").await.unwrap_err()), "did you mean `dev`?");
    let to_tag = RunRequest { target: Some("v1".to_owned()), ..RunRequest::default() };
    refuse(
        told(
            &app.run(&to_tag, std::sync::Arc::new(polder_run::Silent), &tokio_util::sync::CancellationToken::new())
                .await
                .unwrap_err(),
        ),
        "`v1` is a tag",
    );
    app.switch("main").await.unwrap();
    app.delete_ref("dev").await.unwrap();
    assert_eq!(app.refs().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_shown_whole() {
    let project = shop();
    project.write(
        "models/silver/orders.yml",
        "models:\n  - name: orders\n    description: Orders that count\n    columns:\n      - { name: order_id, description: The number }\n",
    );
    project.write("checks/orders.yaml", "table: silver.orders\nchecks: [{ unique: order_id }]\n");
    project.publish().await;
    let app = project.open().await;
    let details = app.show(&"silver.orders".parse().unwrap(), None).await.unwrap();
    assert_eq!(
        (details.rows, details.files, details.comment.as_deref()),
        (Some(3), Some(1), Some("Orders that count"))
    );
    assert_eq!(
        (details.columns[0].name.as_str(), details.columns[0].comment.as_deref()),
        ("order_id", Some("The number"))
    );
    assert_eq!(details.declared_in.as_deref(), Some("models/silver/orders.sql"));
    assert_eq!(details.checked_in, ["checks/orders.yaml"]);
    assert_eq!(details.snapshots[0].run, Some(1));
    let error = app.show(&"silver.order".parse().unwrap(), None).await.unwrap_err();
    assert!(told(&error).contains("did you mean `silver.orders`?"), "{}", told(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_past_its_keep_goes_once_a_day() {
    let project =
        Project::new(&[ORDERS_SOURCE, ("checks/orders.yaml", "table: bronze.orders\nchecks:\n  - unique: order_id\n")]);
    project.write("data/orders/a.csv", &orders(1..=3));
    project.publish().await;
    project.write("data/orders/b.csv", &orders(3..=4));
    assert_eq!(project.run().await.record.status, RunStatus::Held);

    let clock = Arc::new(SimulatedSystem::new(7, RealSystem.now()));
    let options = OpenOptions { system: Arc::<SimulatedSystem>::clone(&clock), ..OpenOptions::new(project.path()) };
    let app = App::open(&options).await.unwrap();
    assert_eq!(app.housekeep().await.unwrap(), None, "a new project begins to count");
    clock.advance(DAY / 2);
    assert_eq!(app.housekeep().await.unwrap(), None);
    clock.advance(DAY);
    let gone = app.housekeep().await.unwrap().unwrap();
    assert!(gone.refs.is_empty(), "{gone:?}");
    clock.advance(7 * DAY);
    let gone = app.housekeep().await.unwrap().unwrap();
    assert!(gone.refs.is_empty(), "one reading of the clock deletes nothing: {gone:?}");
    clock.advance(DAY);
    let gone = app.housekeep().await.unwrap().unwrap();
    assert_eq!(gone.refs, ["run/2"]);
    assert!(gone.files > 0, "what only the branch had: {gone:?}");
    assert_eq!(row(&app, "main", "select count(*) from bronze.orders").await, "3");
    // With the branch's rows and cursor gone, the next run reads them again.
    project.write("data/orders/b.csv", &orders(4..=5));
    project.publish().await;
    assert_eq!(row(&project.open().await, "main", "select count(*) from bronze.orders").await, "5");
}
