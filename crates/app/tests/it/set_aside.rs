//! Rows of held runs that somebody sets aside, and what becomes of that decision.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use polder_app::{App, OpenOptions};
use polder_base::{RunId, Timestamp};
use polder_run::RunStatus;
use polder_system::{RealSystem, System};
use tokio_util::sync::CancellationToken;

use crate::held::{COUNTS, NO_NEGATIVES, accept, bad_day, healthy, resume, shop, try_accept};
use crate::support::{ORDERS_SOURCE, Project, orders, row, rows, told};

/// Whoever decides last is the author; nobody's reason is lost, and nobody's rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_decision_comes_on_top_of_the_first() {
    let project = shop();
    project.write("checks/orders.yaml", &format!("{NO_NEGATIVES}  - row_count: {{ max: 3 }}\n"));
    project.publish().await;
    bad_day(&project);
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    let options = OpenOptions { principal: Some("grace".to_owned()), ..OpenOptions::new(project.path()) };
    let first = accept(&App::open(&options).await.unwrap(), 2, "one is wrong", true).await;
    assert_eq!(first.record.status, RunStatus::Held, "{first:#?}");
    let app = project.open().await;
    let error = told(&try_accept(&app, 2, Some("all of it"), true).await.unwrap_err());
    assert!(error.contains("no failed check tells rows"), "{error}");
    assert_eq!(app.runs().await.unwrap()[0].accepted, first.record.accepted, "it came to nothing");
    accept(&app, 2, "so many are fine", false).await;
    let commit = "select principal, reason, overruled from system.commits where reason is not null";
    let [told] = rows(&app, "main", commit).await.try_into().unwrap();
    assert!(told.contains("|so many are fine; one is wrong|") && told.contains("row_count"), "{told}");
    assert!(!told.starts_with("grace"), "{told}");
    assert_eq!(app.runs().await.unwrap()[0].accepted.as_ref().unwrap().set_aside["bronze.orders"], 1);
}

/// A decision goes with the tables that it is about, and not with others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_without_the_tables_of_a_decision_has_no_reason() {
    let project = shop();
    project.write("checks/orders.yaml", &format!("{NO_NEGATIVES}  - row_count: {{ max: 3 }}\n"));
    project.publish().await;
    bad_day(&project);
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    let app = project.open().await;
    assert_eq!(accept(&app, 2, "one is wrong", true).await.record.status, RunStatus::Held);
    let third = project.run_with(&healthy()).await;
    assert_eq!((third.record.status, third.record.parts.len()), (RunStatus::Held, 1), "{third:#?}");
    assert!(third.record.accepted.is_some());
    assert_eq!(rows(&app, "main", "select reason from system.commits where run = 3").await, ["NULL"]);
    project.write("checks/orders.yaml", NO_NEGATIVES);
    assert_eq!(resume(&project, 3).await.unwrap().record.status, RunStatus::Published);
    let reasons = "select reason from system.commits where run = 3 and reason is not null";
    assert_eq!(rows(&app, "main", reasons).await, ["one is wrong"]);
}

/// Rows were set aside, and another check holds the run: whoever publishes what is left publishes that decision too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_takes_over_what_rows_were_set_aside_of_has_the_reason() {
    let project = shop();
    project.write("checks/orders.yaml", &format!("{NO_NEGATIVES}  - row_count: {{ max: 3 }}\n"));
    project.publish().await;
    bad_day(&project);
    assert_eq!(project.run().await.record.status, RunStatus::Held);
    let options = OpenOptions { principal: Some("grace".to_owned()), ..OpenOptions::new(project.path()) };
    let accepted = accept(&App::open(&options).await.unwrap(), 2, "one is wrong", true).await;
    assert_eq!(accepted.record.status, RunStatus::Held, "{accepted:#?}");
    project.write("models/gold/people.sql", "select no_such_column as n from bronze.customers\n");
    project.write("checks/orders.yaml", NO_NEGATIVES);
    let third = project.run().await;
    assert_eq!(third.record.status, RunStatus::Failed, "{third:#?}");
    let app = project.open().await;
    let error = try_accept(&app, 3, Some("x"), false).await.unwrap_err();
    assert!(told(&error).contains("run 3 is failed"), "nobody decided about this one: {}", told(&error));
    project.write("models/gold/people.sql", "select count(*) as n from bronze.customers\n");
    let fourth = project.publish().await;
    let from = fourth.record.accepted.as_ref().and_then(|accepted| accepted.from);
    assert_eq!((from, fourth.record.took_over.len()), (Some(RunId(2)), 2), "{fourth:#?}");
    let commit = "select principal, run, reason, overruled from system.commits where reason is not null";
    assert_eq!(rows(&app, "main", commit).await, ["grace|4|one is wrong|NULL"]);
    assert_eq!(row(&app, "main", COUNTS).await, "4|4|3|3|4");
    // What comes after that is nobody's decision.
    project.write("data/orders/c.csv", &orders(6..=6));
    assert_eq!(project.publish().await.record.accepted, None);
}

/// A clock that ends the process that reads it for the n-th time: it is never polled again.
#[derive(Debug)]
struct Mortal {
    readings: AtomicUsize,
    dead: CancellationToken,
}

#[async_trait::async_trait]
impl System for Mortal {
    fn now(&self) -> Timestamp {
        if self.readings.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.dead.cancel();
        }
        RealSystem.now()
    }

    fn random(&self) -> u64 {
        RealSystem.random()
    }

    async fn sleep(&self, duration: Duration) {
        RealSystem.sleep(duration).await;
    }
}

/// Accepts in a process that dies at its n-th look at the clock. `false`: it came to its end.
async fn accept_and_die(project: &Project, readings: usize) -> bool {
    let system = Arc::new(Mortal { readings: AtomicUsize::new(usize::MAX), dead: CancellationToken::new() });
    let shared: Arc<dyn System> = Arc::<Mortal>::clone(&system);
    let options = OpenOptions { principal: Some("ada".to_owned()), system: shared, ..OpenOptions::new(project.path()) };
    let app = App::open(&options).await.unwrap();
    system.readings.store(readings, Ordering::SeqCst);
    tokio::select! {
        biased;
        () = system.dead.cancelled() => {}
        accepted = try_accept(&app, 2, Some("ticket 7"), true) => assert!(accepted.is_ok(), "{accepted:?}"),
    }
    system.dead.is_cancelled()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_to_set_rows_aside_is_done_to_its_end_wherever_the_process_dies() {
    set_aside_and_die(false).await;
}

/// No run that comes between publishes what is left without the decision, or takes it from who finishes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_run_after_a_decision_that_was_cut_short_has_it_or_leaves_it_alone() {
    set_aside_and_die(true).await;
}

/// `between`: a run like any other comes before somebody goes on with the decision.
async fn set_aside_and_die(between: bool) {
    // Every reading of the clock while rows are set aside, and some of those after.
    for readings in (1..16).chain((16..).step_by(9)) {
        let project = Project::new(&[
            ORDERS_SOURCE,
            ("models/gold/total.sql", "select count(*) as n from bronze.orders\n"),
            ("checks/orders.yaml", &format!("{NO_NEGATIVES}  - unique: order_id\n")),
        ]);
        project.write("data/orders/a.csv", &orders(1..=3));
        project.publish().await;
        project.write("data/orders/b.csv", "order_id,customer,amount\n1,c1,4.00\n4,c1,5.00\n5,c2,-7.00\n");
        assert_eq!(project.run().await.record.status, RunStatus::Held);
        let died = accept_and_die(&project, readings).await;
        let app = project.open().await;
        let mut kept = app.runs().await.unwrap().remove(0);
        if between && kept.status != RunStatus::Published {
            let ordinary = project.run().await.record;
            let half_done = kept.accepted.as_ref().is_some_and(|a| a.setting_aside.is_some());
            assert_eq!(ordinary.took_over.is_empty(), half_done, "{readings}: {ordinary:#?}");
            if !half_done {
                kept = ordinary;
            }
        }
        let run = kept.id;
        if kept.status != RunStatus::Published {
            // Where nothing was decided yet, a run that is taken up again is held for the same once more.
            let again = match readings % 2 == 0 && kept.accepted.is_some() {
                true => resume(&project, run.0).await,
                false => try_accept(&app, run.0, Some("ticket 7"), true).await,
            };
            match again {
                Ok(summary) => assert_eq!(summary.record.status, RunStatus::Published, "{readings}: {summary:#?}"),
                Err(error) => panic!("{readings}: {}", told(&error)),
            }
        }
        let run = app.runs().await.unwrap().into_iter().find(|kept| kept.id == run).unwrap();
        let decided = run.accepted.as_ref();
        assert_eq!(run.status, RunStatus::Published, "{readings}: {run:#?}");
        assert_eq!(row(&app, "main", "select count(*), sum(order_id) from bronze.orders").await, "4|10", "{readings}");
        assert_eq!(row(&app, "main", "select n from gold.total").await, "4", "{readings}");
        assert_eq!(row(&app, "main", "select count(*) from quarantine.orders").await, "2", "{readings}");
        assert_eq!(decided.map(|a| a.set_aside.clone()), Some([("bronze.orders".to_owned(), 2)].into()), "{readings}");
        assert_eq!(decided.and_then(|a| a.setting_aside.clone()), None, "{readings}");
        let reason = "select reason from system.commits where reason is not null";
        assert_eq!(rows(&app, "main", reason).await, ["ticket 7"], "{readings}");
        if !died {
            assert!(readings > 3, "the process died nowhere");
            return;
        }
    }
}
