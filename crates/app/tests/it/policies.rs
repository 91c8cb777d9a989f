//! Policies from their files to what a person sees: what is not understood shows nothing.

use std::collections::BTreeMap;

use polder_app::{App, AppError, RunRequest, SqlOptions, validate};
use polder_sql::{Principal, SessionOptions, SqlError};

use crate::support::{ORDERS_SOURCE, Project, orders, row, run, told, try_rows};

const ALL: &str = "select count(*) from bronze.orders";

async fn shop() -> Project {
    let project = Project::new(&[ORDERS_SOURCE]);
    project.write("data/orders/a.csv", &orders(1..=6));
    project.publish().await;
    project
}

fn problems(project: &Project) -> String {
    let problems = validate(project.path(), None, &BTreeMap::new(), BTreeMap::new());
    told(&AppError::Project(Box::new(problems)))
}

async fn refused(app: &App, sql: &str) -> AppError {
    match try_rows(app, "main", sql).await {
        Err(error) => error,
        Ok(rows) => panic!("{sql} gave {rows:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_cannot_be_understood_show_nothing() {
    for (path, text, want) in [
        (
            "policies/hr/pay.yaml",
            "table: bronze.orders\nfilter: amount >> > 3\n",
            "error[S021]: the policy's filter is no SQL expression",
        ),
        (
            "policies/pay.yaml",
            "table: bronze.orders\nmask:\n  amount: { sql: left( }\n",
            "error[S021]: the policy's mask",
        ),
        (
            "policies/pay.yaml",
            "table: bronze.ordes\ndeny: true\n",
            "error[P013]: no model or source makes `bronze.ordes`",
        ),
        ("policies/pay.yaml", "table: system.step\ndeny: true\n", "error[S020]: no table is called `system.step`"),
        ("policies/pay.json", "{}", "error[P014]: `policies/pay.json` is not read"),
        ("policy/pay.yaml", "table: bronze.orders\ndeny: true\n", "error[P014]: folder `policy/` is not read"),
    ] {
        let project = shop().await;
        assert_eq!(row(&project.open().await, "main", ALL).await, "6");
        project.write(path, text);
        let found = problems(&project);
        assert!(found.starts_with(want), "{path}: {found}");
        let app = project.open().await;
        // The same mistake, with its place, is what whoever asks is told.
        let error = refused(&app, ALL).await;
        assert!(told(&error).starts_with(want), "{path}: {}", told(&error));
        assert!(told(&error).contains("no table of the project is shown to anybody"), "{path}: {}", told(&error));
        assert_eq!(error.exit_code(), 2);
        assert!(app.session(&SqlOptions::default()).await.is_err(), "whatever is asked");
        // A door that does not ask the app for a session gets nothing out of the engine either.
        let options = SessionOptions::new(Principal::user("ada"), "main");
        let denied = app.engine().session(options).await.unwrap().query(ALL).await.unwrap_err();
        assert!(matches!(denied, SqlError::Denied(_)), "{path}: {denied}");
        // What shows no rows goes on working.
        assert_eq!(app.status().await.unwrap().tables, 1);
        assert_eq!(app.log(None, 10).await.unwrap()[0].run, Some(1));
        let error = run(&app, &RunRequest::default()).await.unwrap_err();
        assert!(error.exit_code() == 2 && told(&error).contains(want), "{path}: {}", told(&error));
        // Once it is mended, all is as before.
        project.remove(path);
        assert_eq!(row(&project.open().await, "main", ALL).await, "6");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_in_policies_are_told_at_their_lines() {
    let project = shop().await;
    project.write(
        "policies/hr/pay.yaml",
        "table: bronze.orders\nfor: ada\nfilter: >-\n  amount > (\nmask:\n  customer: hash\n  amount: { sql: left( }\n",
    );
    let found = problems(&project);
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), 2, "{found}");
    assert!(lines[0].ends_with("policies/hr/pay.yaml:4:3"), "{found}");
    assert!(lines[1].ends_with("policies/hr/pay.yaml:7:3"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_does_not_fit_its_table_hides_that_table() {
    let project = shop().await;
    project
        .write("models/gold/sums.sql", "select customer, sum(amount) as amount from bronze.orders group by customer\n");
    project.write("policies/hr/pay.yaml", "table: bronze.orders\nfor: ada\nmask:\n  custmer: hash\n");
    project.publish().await;
    let app = project.open().await;
    let error = refused(&app, ALL).await;
    assert_eq!(
        told(&error),
        "error[S022]: bronze.orders cannot be read: a policy masks `custmer`, and it has no such column \
         policies/hr/pay.yaml:4:3 (did you mean `customer`?)"
    );
    assert_eq!(error.exit_code(), 2);
    assert_eq!(row(&app, "main", "select count(*) from gold.sums").await, "3", "of other tables it says nothing");
    let others = SqlOptions { principal: Some("bob".to_owned()), ..SqlOptions::default() };
    assert!(app.session(&others).await.unwrap().query(ALL).await.is_ok(), "nor to whom it is not for");
    project.write("policies/hr/pay.yaml", "table: bronze.orders\nfor: ada\nmask:\n  customer: hash\n");
    let masked = row(&project.open().await, "main", "select count(*) from bronze.orders where customer = 'c1'").await;
    assert_eq!(masked, "0");
}

/// What the prompt completes, and lists as refs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_those_that_a_session_may_know() {
    let project = shop().await;
    project.write("models/gold/total.sql", "select sum(amount) as total from bronze.orders\n");
    project.write("policies/refs.yaml", "table: system.refs\nfor: [ann]\ndeny: true\n");
    project.write("policies/orders.yaml", "table: bronze.orders\nfor: [ann]\ndeny: true\n");
    project.publish().await;
    let app = project.open().await;
    let session = async |principal: &str| {
        let options = SqlOptions { principal: Some(principal.to_owned()), ..SqlOptions::default() };
        app.session(&options).await.unwrap()
    };
    let (ada, ann) = (session("ada").await, session("ann").await);
    assert_eq!(ada.refs().await.unwrap(), ["main"]);
    assert!(told(&ann.refs().await.unwrap_err()).contains("may not read system.refs"));
    let names = ann.names().await.unwrap();
    assert!(names.refs.is_empty() && names.relation("bronze", "orders").is_none(), "{names:?}");

    // A table that is damaged has a name; all others have their columns, too.
    let folder = project.file(".polder/warehouse/bronze");
    for table in std::fs::read_dir(folder).unwrap() {
        std::fs::remove_dir_all(table.unwrap().path().join("metadata")).unwrap();
    }
    let app = project.open().await;
    let options = SqlOptions { principal: Some("ada".to_owned()), ..SqlOptions::default() };
    let names = app.session(&options).await.unwrap().names().await.unwrap();
    let columns = |namespace: &str, name: &str| names.relation(namespace, name).unwrap().columns.clone();
    assert_eq!(columns("gold", "total"), ["total"]);
    assert!(columns("bronze", "orders").is_empty());
    assert!(columns("system", "refs").contains(&"name".to_owned()));
}
