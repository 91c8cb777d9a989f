use std::sync::Arc;

use polder_app::{App, RunRequest};
use polder_base::RunId;
use polder_run::{RunStatus, Silent, StepStatus};
use polder_store::{Batch, Space};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::support::{ORDERS_SOURCE, Project, Watch, finished, orders, row, rows, started, status_of, told};

/// A run, stopped dead at an event: its tasks are dropped where they are, as `kill -9` would leave them.
pub async fn killed(app: &App, at: impl Fn(&polder_run::Event) -> bool + Send + Sync + 'static) {
    let stop = Arc::new(Notify::new());
    let signal = Arc::clone(&stop);
    let watch = Watch::new(move |event| {
        if at(event) {
            signal.notify_one();
        }
    });
    let (request, cancel) = (RunRequest::default(), CancellationToken::new());
    tokio::select! {
        biased;
        () = stop.notified() => {}
        result = app.run(&request, watch, &cancel) => panic!("the run came to its end: {result:#?}"),
    }
    // A dead process does not renew its lease; its time passes here at once.
    let runs = app.runs().await.unwrap();
    let key = format!("{:020}", runs[0].id.0);
    let until = format!("{key}/until");
    app.catalog().state().apply(Batch::new().delete(Space::Leases, key).delete(Space::Leases, until)).await.unwrap();
}

async fn resume(project: &Project, run: Option<u64>) -> polder_app::RunSummary {
    let app = project.open().await;
    match app.resume(run.map(RunId), Arc::new(Silent), &CancellationToken::new()).await {
        Ok(summary) => summary,
        Err(error) => panic!("{}", told(&error)),
    }
}

fn shop() -> Project {
    let project = Project::new(&[
        ORDERS_SOURCE,
        ("models/silver/orders.sql", "select order_id, amount from bronze.orders\n"),
        (
            "models/gold/log.sql",
            "{{ config(materialized='incremental') }}\nselect order_id, amount from silver.orders\n\
             {% if is_incremental() %}where order_id > (select max(order_id) from {{ this }}){% endif %}\n",
        ),
        ("models/gold/total.sql", "select sum(amount) as total from gold.log\n"),
    ]);
    project.write("data/orders/a.csv", &orders(1..=4));
    project
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_from_the_last_finished_step() {
    let project = shop();
    let app = project.open().await;
    killed(&app, |e| started(e, "model gold.log")).await;
    assert_eq!(app.runs().await.unwrap()[0].status, RunStatus::Running);
    // What the folder says by now is not what runs.
    project.write("models/gold/total.sql", "select 1 as other\n");
    let resumed = resume(&project, Some(1)).await;
    assert_eq!(resumed.record.status, RunStatus::Published, "{resumed:#?}");
    assert_eq!(row(&app, "main", "select total from gold.total").await, "102.00");
    let ingest = resumed.steps.iter().find(|s| s.step.to_string() == "ingest bronze.orders").unwrap();
    assert_eq!(ingest.attempt, 1);
    assert_eq!(row(&app, "main", "select count(*) from bronze.orders").await, "4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_a_run_is_stopped_no_row_is_lost_or_doubled() {
    for stop in [
        "start ingest bronze.orders",
        "end ingest bronze.orders",
        "start model silver.orders",
        "end model silver.orders",
        "start model gold.log",
        "end model gold.log",
        "forget model gold.log",
        "end model gold.total",
    ] {
        let project = shop();
        project.publish().await;
        project.write("data/orders/b.csv", &orders(5..=7));
        let app = project.open().await;
        let (when, step) = stop.split_once(' ').unwrap();
        let step = step.to_owned();
        let (forget, at_start) = (when == "forget", when == "start");
        killed(&app, move |e| if at_start { started(e, &step) } else { finished(e, &step) }).await;
        if forget {
            // The crash came after the step's commit and before its record.
            let key = "00000000000000000002/model/gold.log".to_owned();
            app.catalog().state().apply(Batch::new().delete(Space::Steps, key)).await.unwrap();
        }
        let resumed = resume(&project, None).await;
        assert_eq!(resumed.record.status, RunStatus::Published, "{stop}: {resumed:#?}");
        let sums = "select (select count(*) from bronze.orders) as b, (select count(*) from silver.orders) as s, \
                    (select count(*) from gold.log) as l, (select total from gold.total) as t";
        assert_eq!(row(&app, "main", sums).await, "7|7|7|283.50", "{stop}");
        let again = project.publish().await;
        assert!(again.steps.iter().all(|s| s.status == StepStatus::Unchanged), "{stop}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_run_takes_the_files_as_they_are_now() {
    let project = shop();
    project.write("checks/log.yaml", "table: gold.log\nchecks:\n  - holds: amount < 30\n");
    let held = project.run().await;
    assert_eq!(held.record.status, RunStatus::Held);
    project.write("checks/log.yaml", "table: gold.log\nchecks:\n  - holds: amount < 300\n");
    let resumed = resume(&project, None).await;
    assert_eq!(resumed.record.status, RunStatus::Published, "{resumed:#?}");
    assert_eq!(status_of(&resumed, "model silver.orders"), StepStatus::Unchanged);
    assert_eq!(status_of(&resumed, "model gold.log"), StepStatus::Unchanged);
    let app = project.open().await;
    assert_eq!(row(&app, "main", "select count(*) from gold.log").await, "4");
}

/// Records that stop a run are on its branch to be looked at; they are no part of what it publishes in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_records_that_stop_a_run_are_kept_until_it_is_taken_up() {
    let source = "files: data/orders.csv\ncolumns: { order_id: bigint }\n";
    let project = Project::new(&[
        ("sources/orders.yaml", source),
        ("sources/customers.yaml", "files: data/customers.csv\nmax_rejected: 1\ncolumns: { id: bigint }\n"),
        ("data/customers.csv", "id\n1\nnobody\n"),
    ]);
    let wrong =
        |count: u32| format!("{}{}", orders(1..=3), (0..count).map(|n| format!("x{n},c,1\n")).collect::<String>());
    project.write("data/orders.csv", &wrong(7));
    let failed = project.run().await;
    assert_eq!(failed.record.status, RunStatus::Failed);
    let failure = failed.steps.iter().find_map(|s| s.failure.as_ref()).unwrap();
    assert!(
        failure.message.starts_with("error[I010]: 7 records for bronze.orders were rejected"),
        "{}",
        failure.message
    );
    let look = "all of them: polder sql --ref run/1 \"select * from quarantine.orders\"";
    assert!(failure.diagnostic.as_ref().unwrap().hints.iter().any(|h| h == look), "{failure:#?}");
    let app = project.open().await;
    let (count, customers) = ("select count(*) from quarantine.orders", "select count(*) from quarantine.customers");
    assert_eq!(row(&app, "run/1", count).await, "7");

    project.write("data/orders.csv", &wrong(6));
    assert_eq!(resume(&project, None).await.record.status, RunStatus::Failed);
    assert_eq!((row(&app, "run/1", count).await, row(&app, "run/1", customers).await), ("6".into(), "1".into()));

    project.write("sources/orders.yaml", &format!("{source}max_rejected: 6\n"));
    let resumed = resume(&project, None).await;
    assert_eq!(resumed.record.status, RunStatus::Published, "{resumed:#?}");
    assert_eq!((row(&app, "main", count).await, row(&app, "main", customers).await), ("6".into(), "1".into()));

    project.write("data/orders.csv", &wrong(8));
    assert_eq!(project.run().await.record.status, RunStatus::Failed);
    assert_eq!(row(&app, "run/2", count).await, "14");
    project.write("data/orders.csv", &orders(1..=4));
    assert_eq!(resume(&project, None).await.record.status, RunStatus::Published);
    assert_eq!(row(&app, "main", "select count(*) from bronze.orders").await, "4");
    assert_eq!(row(&app, "main", count).await, "6", "none of this run's were published");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_run_is_recognised() {
    let project = shop();
    project.publish().await;
    let again = resume(&project, Some(1)).await;
    assert!(again.already_published);
    assert_eq!(again.exit_code(), 0);
    let app = project.open().await;
    let error = app.resume(Some(RunId(9)), Arc::new(Silent), &CancellationToken::new()).await.unwrap_err();
    assert!(told(&error).contains("error[R004]: there is no run 9"), "{}", told(&error));
    let error = app.resume(None, Arc::new(Silent), &CancellationToken::new()).await.unwrap_err();
    assert!(told(&error).contains("all are published"), "{}", told(&error));
    assert_eq!(rows(&app, "main", "select count(*) from system.runs").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_others_have_overtaken_says_so_and_is_left_alone() {
    let project =
        Project::new(&[ORDERS_SOURCE, ("checks/orders.yaml", "table: bronze.orders\nchecks:\n  - unique: customer\n")]);
    project.write("data/orders/a.csv", &orders(1..=1));
    project.publish().await;
    project.write("data/orders/b.csv", &orders(3..=4));
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    project.remove("checks/orders.yaml");
    // Not the held run, but a new one brings the rows.
    project.publish().await;
    let app = project.open().await;
    let refused = async |run| app.resume(run, Arc::new(Silent), &CancellationToken::new()).await.unwrap_err();
    let error = refused(None).await;
    assert!(told(&error).contains("older than the last"), "{}", told(&error));
    let error = refused(Some(RunId(2))).await;
    assert!(
        told(&error).contains("run 3 went on from what it had read") && told(&error).contains("polder run"),
        "{}",
        told(&error)
    );
    assert_eq!(row(&project.open().await, "main", "select count(*) from bronze.orders").await, "3");
}
