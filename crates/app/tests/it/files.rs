use std::collections::BTreeMap;

use polder_app::{init, validate};

use crate::support::{ORDERS_SOURCE, Project, orders, told};

fn problems(files: &[(&str, &str)]) -> Vec<String> {
    let project = Project::new(files);
    let problems = validate(project.path(), None, &BTreeMap::new(), BTreeMap::new());
    let error = polder_app::AppError::Project(Box::new(problems));
    told(&error).lines().map(str::to_owned).filter(|l| !l.is_empty()).collect()
}

#[test]
fn mistakes_in_models_are_told_where_they_were_written() {
    assert_eq!(
        problems(&[
            ORDERS_SOURCE,
            ("models/silver/orders.sql", "select order_id\nfrom bronze.order\n"),
            ("models/gold/daily.sql", "select count(*) as n\n-- one\nfrom {{ ref('ordes') }}\n"),
            (
                "models/gold/top.sql",
                "{% if true %}\nselect order_id, count(*) from {{ source('orders', 'orders') }} group by 1\n{% endif %}\n"
            ),
            ("models/gold/wrong.sql", "select 1 as a\nfrom (\n"),
            ("models/gold/config.sql", "{{ config(materialized='tabel', uniq='x') }}\nselect 1 as a\n"),
        ]),
        [
            "error[M011]: `materialized` cannot be `tabel` models/gold/config.sql:1:11 (did you mean `table`?)",
            "error[M010]: config has no key `uniq` models/gold/config.sql:1:33 (one of materialized, unique_key, incremental_strategy, partition_by, tags, description)",
            "error[M012]: no model or source is called `ordes` models/gold/daily.sql:3:13 (did you mean `orders` (models/silver/orders.sql)?)",
            "error[M018]: a column of gold.top has no name models/gold/top.sql:2:18 (give it one: `count(*) as name`)",
            "error[S001]: expected: identifier, found: EOF models/gold/wrong.sql:2:7",
            "error[M012]: no model or source is called `bronze.order` models/silver/orders.sql:2:6 (did you mean `bronze.orders` (sources/orders.yaml)?)",
        ]
    );
}

#[test]
fn models_that_read_each_other_are_told_as_a_way() {
    let found = problems(&[
        ("models/silver/a.sql", "select x from {{ ref('c') }}\n"),
        ("models/silver/b.sql", "select x from silver.a\n"),
        ("models/silver/c.sql", "select x from silver.b\n"),
        ("models/gold/d.sql", "select x from gold.d\n"),
    ]);
    assert_eq!(
        found,
        [
            "error[M015]: gold.d reads itself models/gold/d.sql:1:15 (only an incremental model may, inside `{% if is_incremental() %} … {% endif %}`) (if another table of this name is meant, write its namespace)",
            "error[M014]: models are made from each other: silver.a ← silver.c ← silver.b ← silver.a models/silver/a.sql:1:22",
        ]
    );
}

#[test]
fn a_starter_and_every_example_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let starter = folder.path().join("first");
    let made = init(&starter, None).unwrap();
    assert!(made.files.contains(&"polder.yaml".to_owned()));
    let found = validate(&starter, None, &BTreeMap::new(), BTreeMap::new());
    assert_eq!(found.diagnostics, [], "{:#?}", found.diagnostics);
    for example in polder_app::examples() {
        let path = folder.path().join(example);
        init(&path, Some(example)).unwrap();
        let found = validate(&path, None, &BTreeMap::new(), BTreeMap::new());
        assert_eq!(found.diagnostics, [], "{example}");
    }
    let error = init(&starter, None).unwrap_err();
    assert!(told(&error).contains("error[R009]"), "{}", told(&error));
    let error = init(&folder.path().join("x"), Some("shp")).unwrap_err();
    assert!(told(&error).contains("(did you mean `shop`?)"), "{}", told(&error));
}

#[test]
fn a_project_is_not_made_inside_another() {
    let project = Project::new(&[]);
    for folder in ["inner", "a/b/c"] {
        let error = told(&init(&project.file(folder), None).unwrap_err());
        assert!(error.starts_with("error[R009]: ") && error.contains("lies in the project "), "{error}");
        assert!(!project.file(folder).exists());
    }
    let error = told(&init(&project.file("models/../inner"), Some("shop")).unwrap_err());
    assert!(error.contains("lies in the project "), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_whose_name_is_empty_is_refused() {
    let project = Project::new(&[("models/gold/nameless.sql", "select 1 as \"\", 2 as b\n")]);
    let summary = project.run().await;
    let failure = summary.steps.iter().find_map(|s| s.failure.as_ref()).unwrap();
    let told = failure.diagnostic.as_ref().unwrap().to_string();
    assert_eq!(told, "error[M018]: a column of gold.nameless has an empty name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_sql_are_names_of_namespaces_tables_and_columns() {
    let project = Project::new(&[
        ("models/lateral/table.sql", "select 1 as \"select\", 2 as \"from\"\n"),
        ("models/lateral/group.sql", "{{ config(materialized='view') }}\nselect * from {{ ref('lateral.table') }}\n"),
        ("checks/table.yaml", "table: lateral.table\nchecks:\n  - unique: [select, from]\n  - not_null: select\n"),
        ("checks/group.yaml", "table: lateral.group\nchecks:\n  - unique: from\n"),
    ]);
    project.publish().await;
    let app = project.open().await;
    let about = crate::support::rows(&app, "main", "summarize \"lateral\".\"group\"").await;
    assert_eq!(about.len(), 2, "{about:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_starter_runs() {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), None).unwrap();
    let app = polder_app::App::open(&polder_app::OpenOptions::new(folder.path())).await.unwrap();
    let summary = crate::support::run(&app, &polder_app::RunRequest::default()).await.unwrap();
    assert_eq!(summary.exit_code(), 0, "{summary:#?}");
    let daily = crate::support::rows(&app, "main", "select * from gold.daily order by day").await;
    assert_eq!(daily, ["2026-01-05|2|24.90", "2026-01-06|1|42.00"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sql_that_runs_is_shown() {
    let project = Project::new(&[
        ORDERS_SOURCE,
        (
            "models/gold/log.sql",
            "{{ config(materialized='incremental') }}\nselect order_id from {{ source('orders', 'orders') }}\n\
             {% if is_incremental() %}where order_id > (select max(order_id) from {{ this }}){% endif %}\n",
        ),
    ]);
    project.write("data/orders/a.csv", &orders(1..=2));
    let compiled = project.open().await.compile(&["gold.*".to_owned()], None, false).await.unwrap();
    assert_eq!(
        (compiled[0].kind, compiled[0].sql.trim()),
        ("incremental, in full", "select order_id from bronze.orders")
    );
    project.publish().await;
    let compiled = project.open().await.compile(&[], None, false).await.unwrap();
    assert_eq!(compiled[0].kind, "incremental");
    assert!(compiled[0].sql.contains("from gold.log"), "{}", compiled[0].sql);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_that_does_not_fit_its_tables_is_told_in_the_file() {
    let project = Project::new(&[
        ORDERS_SOURCE,
        ("models/gold/wrong.sql", "{# a comment #}\nselect {{ 'custmer' }} as c\nfrom bronze.orders\n"),
    ]);
    project.write("data/orders/a.csv", &orders(1..=2));
    let summary = project.run().await;
    assert_eq!(summary.exit_code(), 1);
    let failure = summary.steps.iter().find_map(|s| s.failure.as_ref()).unwrap();
    let diagnostic = failure.diagnostic.as_ref().unwrap();
    assert!(diagnostic.hints[0].starts_with("did you mean `customer`"), "{diagnostic:#?}");
    let at = summary.sources.line_col(&diagnostic.label.as_ref().unwrap().span).unwrap();
    assert_eq!((at.line, at.column), (2, 11), "{diagnostic:#?}");
}
