//! Since when a statement does not hold.

use polder_app::{App, BisectOutcome, BisectRequest, Bisected, Culprit};
use polder_base::RunId;
use polder_catalog::{Author, Change, ChangeSet, EntryKey};

use crate::support::{ORDERS_SOURCE, Project, orders, told};

const LARGE: &str = "select total > 100 from gold.total";

fn shop() -> Project {
    let project = Project::new(&[
        ORDERS_SOURCE,
        ("models/silver/orders.sql", "select order_id, amount from bronze.orders\n"),
        ("models/gold/total.sql", "select sum(amount) as total from silver.orders\n"),
        ("models/gold/other.sql", "select count(*) as n from bronze.orders\n"),
    ]);
    project.write("data/orders/a.csv", &orders(1..=6));
    project
}

async fn bisect(app: &App, statement: &str, bad: Option<&str>, good: Option<&str>) -> Bisected {
    let owned = |name: Option<&str>| name.map(str::to_owned);
    let request = BisectRequest { statement: statement.to_owned(), good: owned(good), bad: owned(bad) };
    app.bisect(&request).await.unwrap_or_else(|error| panic!("{}", told(&error)))
}

fn culprit(found: &Bisected) -> &Culprit {
    match &found.outcome {
        BisectOutcome::Found { culprit } => culprit,
        other => panic!("{other:#?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_that_was_changed_is_named() {
    let project = shop();
    project.publish().await;
    project.write("data/orders/b.csv", &orders(7..=7));
    project.publish().await;
    project.write("models/silver/orders.sql", "select order_id, amount / 10 as amount from bronze.orders\n");
    project.write("models/gold/other.sql", "select count(*) + 1 as n from bronze.orders\n");
    project.publish().await;
    project.write("data/orders/c.csv", &orders(8..=8));
    project.publish().await;
    let found = bisect(&project.open().await, LARGE, None, None).await;
    let culprit = culprit(&found);
    assert_eq!(culprit.run, Some(3), "{found:#?}");
    assert_eq!(culprit.models, [("silver.orders".to_owned(), "models/silver/orders.sql".to_owned())]);
    assert!(culprit.sources.is_empty());
    let tables: Vec<&str> = culprit.tables.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(tables, ["gold.total", "silver.orders"], "what the statement is made from, and nothing else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_that_brought_rows_is_named() {
    let project = shop();
    project.publish().await;
    project.write("data/orders/b.csv", "order_id,customer,amount\n7,c1,-500.00\n");
    project.publish().await;
    project.write("data/orders/c.csv", &orders(8..=8));
    project.publish().await;
    let app = project.open().await;
    let found = bisect(&app, LARGE, None, None).await;
    let culprit = culprit(&found);
    assert_eq!((culprit.run, culprit.author.as_str()), (Some(2), "ada"));
    assert_eq!(culprit.sources, ["orders.orders"]);
    assert!(culprit.models.is_empty());
    let bronze = culprit.tables.iter().find(|d| d.name == "bronze.orders").and_then(|d| d.rows.as_ref()).unwrap();
    assert_eq!((bronze.added, bronze.removed), (1, 0));
    let given = bisect(&app, LARGE, Some("main"), Some("main~2")).await;
    assert!(matches!(given.outcome, BisectOutcome::Found { .. }), "{given:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_commits_take_few_queries() {
    let project = shop();
    project.publish().await;
    project.write("data/orders/b.csv", "order_id,customer,amount\n7,c1,-500.00\n");
    project.publish().await;
    let app = project.open().await;
    let catalog = app.catalog();
    let key = EntryKey::Relation("gold.total".parse().unwrap());
    let bad = catalog.entry(&catalog.resolve("main").await.unwrap(), &key).await.unwrap().unwrap();
    app.create_branch("long", Some("main~1")).await.unwrap();
    let mut value: Option<String> = None;
    for n in 0..1_000 {
        let next = n.to_string();
        let name = "beat.beat".to_owned();
        let table = "bronze.orders".parse().unwrap();
        let mut changes = vec![Change::Cursor { name, table, base: value, value: next.clone() }];
        if n == 618 {
            changes.push(Change::Take { key: key.clone(), entry: bad.clone() });
        }
        let author = Author { principal: "beat".to_owned() };
        let message = format!("beat {n}");
        catalog.commit("long", ChangeSet { author, message, run: Some(RunId(2)), changes }).await.unwrap();
        value = Some(next);
    }
    let found = bisect(&app, LARGE, Some("long"), None).await;
    assert_eq!(culprit(&found).message, "beat 618");
    assert!(found.commits > 1_000 && found.queries <= 22, "{} queries", found.queries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_told_is_told() {
    let project = shop();
    project.publish().await;
    project.write("data/orders/b.csv", &orders(7..=7));
    project.publish().await;
    let app = project.open().await;
    assert!(matches!(bisect(&app, LARGE, None, None).await.outcome, BisectOutcome::Holds));
    let never = bisect(&app, "select total > 1000000 from gold.total", None, None).await;
    let first = app.catalog().resolve("main~1").await.unwrap();
    assert!(matches!(&never.outcome, BisectOutcome::NeverHeld { since } if *since == first), "{never:#?}");
    let refused = async |statement: &str, good: Option<&str>| {
        let good = good.map(str::to_owned);
        let request = BisectRequest { statement: statement.to_owned(), good, bad: None };
        told(&app.bisect(&request).await.unwrap_err())
    };
    assert!(refused("select 1", None).await.contains("does not give one boolean"));
    assert!(refused("select total > 1 from gold.nowhere", None).await.contains("no table is called"));
    assert!(refused("select total > 1 from gold.total where false", None).await.contains("it gives no row"));
    let either = refused("select total > 1000000 from gold.total", Some("main~1")).await;
    assert!(either.contains("does not hold at `main~1` either"), "{either}");
}
