use polder_app::RunRequest;
use polder_run::{RunStatus, StepStatus};

use crate::support::{ORDERS_SOURCE, Project, orders, row, rows, status_of};

fn project(model: &str) -> Project {
    let project = Project::new(&[ORDERS_SOURCE, ("models/gold/log.sql", model)]);
    project.write("data/orders/a.csv", &orders(1..=3));
    project
}

const APPEND: &str = "{{ config(materialized='incremental') }}\nselect order_id, amount from bronze.orders\n\
    {% if is_incremental() %}where order_id > (select max(order_id) from {{ this }}){% endif %}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn append_adds_what_is_new() {
    let project = project(APPEND);
    project.publish().await;
    let app = project.open().await;
    let before = app.show(&"gold.log".parse().unwrap(), None).await.unwrap();
    project.write("data/orders/b.csv", &orders(4..=5));
    let second = project.publish().await;
    let step = second.steps.iter().find(|s| s.step.to_string() == "model gold.log").unwrap();
    assert_eq!((step.report.rows, step.status), (Some(2), StepStatus::Done));
    let after = project.open().await.show(&"gold.log".parse().unwrap(), None).await.unwrap();
    assert_eq!((after.rows, &after.uuid), (Some(5), &before.uuid));
    assert_eq!(status_of(&project.publish().await, "model gold.log"), StepStatus::Unchanged);
    let refreshed = project.run_with(&RunRequest { full_refresh: true, ..RunRequest::default() }).await;
    let step = refreshed.steps.iter().find(|s| s.step.to_string() == "model gold.log").unwrap();
    assert_eq!(step.report.rows, Some(5), "built in full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merge_replaces_rows_with_an_equal_key() {
    let model = "{{ config(materialized='incremental', unique_key='customer') }}\n\
        select customer, max(amount) as most from bronze.orders group by customer\n";
    let project = project(model);
    project.publish().await;
    project.write("data/orders/b.csv", "order_id,customer,amount\n9,c1,900.00\n10,c9,1.00\n");
    project.publish().await;
    let app = project.open().await;
    assert_eq!(
        rows(&app, "main", "select customer, most from gold.log order by customer").await,
        ["c0|30.50", "c1|900.00", "c2|20.50", "c9|1.00"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_rows_of_one_key_stop_the_run() {
    let model =
        "{{ config(materialized='incremental', unique_key='customer') }}\nselect customer, amount from bronze.orders\n";
    let project = project(model);
    project.write("data/orders/a.csv", &orders(1..=6));
    let summary = project.run().await;
    assert_eq!((summary.record.status, summary.exit_code()), (RunStatus::Failed, 1));
    let reason = summary.record.reason.unwrap();
    assert!(reason.contains("error[M021]") && reason.contains("customer = c"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insert_overwrite_replaces_partitions() {
    let model = "{{ config(materialized='incremental', incremental_strategy='insert_overwrite', partition_by='customer') }}\n\
        select customer, order_id from bronze.orders\n\
        {% if is_incremental() %}where customer = 'c1'{% endif %}\n";
    let project = project(model);
    project.publish().await;
    let app = project.open().await;
    assert_eq!(app.show(&"gold.log".parse().unwrap(), None).await.unwrap().partitions, ["customer"]);
    project.write("data/orders/b.csv", &orders(4..=6));
    project.publish().await;
    assert_eq!(
        rows(&project.open().await, "main", "select customer, order_id from gold.log order by 1, 2").await,
        ["c0|3", "c1|1", "c1|4", "c2|2"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_column_is_added_and_another_type_stops() {
    let project = project(APPEND);
    project.publish().await;
    project.write("data/orders/b.csv", &orders(4..=4));
    project.write("models/gold/log.sql", &APPEND.replace("amount from", "amount, customer from"));
    project.publish().await;
    let app = project.open().await;
    assert_eq!(
        rows(&app, "main", "select order_id, customer from gold.log order by 1").await,
        ["1|NULL", "2|NULL", "3|NULL", "4|c1"]
    );
    project.write("data/orders/c.csv", &orders(5..=5));
    project.write("models/gold/log.sql", &APPEND.replace("amount from", "cast(amount as text) as amount from"));
    let stopped = project.run().await;
    assert_eq!(stopped.record.status, RunStatus::Failed);
    let failure = stopped.steps.iter().find_map(|s| s.failure.clone()).unwrap();
    assert!(failure.message.contains("error[M019]") && failure.message.contains("`amount` is"), "{}", failure.message);
    assert!(failure.diagnostic.unwrap().hints[0].contains("--full-refresh"));
    assert_eq!(row(&app, "main", "select count(*) from gold.log").await, "4");
    let rebuilt = project.run_with(&RunRequest { full_refresh: true, ..RunRequest::default() }).await;
    assert_eq!(rebuilt.record.status, RunStatus::Published, "{:?}", rebuilt.record.reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_takes_cursors_back_and_the_next_run_reads_again() {
    let project = project(APPEND);
    project.publish().await;
    project.write("data/orders/b.csv", &orders(4..=5));
    project.publish().await;
    let app = project.open().await;
    app.rollback(None, "main~1", &[]).await.unwrap();
    assert_eq!(
        row(&app, "main", "select (select count(*) from bronze.orders) as b, (select count(*) from gold.log) as l")
            .await,
        "3|3"
    );
    let again = project.publish().await;
    assert_eq!(status_of(&again, "ingest bronze.orders"), StepStatus::Done);
    let app = project.open().await;
    assert_eq!(
        row(&app, "main", "select (select count(*) from bronze.orders) as b, (select count(*) from gold.log) as l")
            .await,
        "5|5"
    );
    assert_eq!(row(&app, "main", "select count(distinct order_id) from gold.log").await, "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_of_one_table_takes_its_quarantine_back() {
    let project = project(APPEND);
    project.write("sources/orders.yaml", "files: data/orders/*.csv\nmax_rejected: 5\n");
    project.publish().await;
    project.write("data/orders/b.csv", &format!("{}x,c9,none\n", orders(4..=5)));
    project.publish().await;
    let app = project.open().await;
    let count = "select (select count(*) from bronze.orders) as b, (select count(*) from quarantine.orders) as q";
    assert_eq!(row(&app, "main", count).await, "5|1");
    app.rollback(None, "main~1", &["bronze.orders".parse().unwrap()]).await.unwrap();
    assert_eq!(row(&app, "main", "select count(*) from bronze.orders").await, "3");
    project.publish().await;
    assert_eq!(row(&project.open().await, "main", count).await, "5|1");
}

/// Lists, structs and maps in tables, and through models that are built in full and added to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_values_go_through_models() {
    let nested = "select order_id, customer, [order_id, order_id + 1] as l, {'a': customer, 'b': [amount]} as s, \
        map {'k': [order_id]} as m, [{'q': customer}] as n from bronze.orders\n";
    let latest = "{{ config(materialized='incremental', unique_key='customer') }}\n\
        select customer, max(l) as l, max(s) as s, any_value(n) as n, first_value(m order by order_id desc) as m \
        from silver.nested group by customer\n";
    let both = "select l, n from silver.nested union all select [0], [{'q': 'none'}] union all \
        select coalesce(b.l, [9]), b.n from gold.latest a cross join gold.latest b where a.customer = 'c1'\n";
    let project = Project::new(&[
        ORDERS_SOURCE,
        ("models/silver/nested.sql", nested),
        ("models/gold/latest.sql", latest),
        ("models/gold/both.sql", both),
        ("data/orders/a.csv", &orders(1..=2)),
    ]);
    project.publish().await;
    project.write("data/orders/b.csv", &orders(3..=4));
    project.publish().await;
    let app = project.open().await;
    assert_eq!(
        rows(&app, "main", "select * from gold.latest order by customer").await,
        [
            "c0|[3, 4]|{a: c0, b: [30.50]}|[{q: c0}]|{k: [3]}",
            "c1|[4, 5]|{a: c1, b: [40.50]}|[{q: c1}]|{k: [4]}",
            "c2|[2, 3]|{a: c2, b: [20.50]}|[{q: c2}]|{k: [2]}",
        ]
    );
    assert_eq!(row(&app, "main", "select count(*), max(l) from gold.both").await, "8|[4, 5]");
}
