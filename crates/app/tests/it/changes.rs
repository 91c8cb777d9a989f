//! A branch for a change: built, compared, merged, and nothing computed twice.

use std::path::{Path, PathBuf};

use polder_app::{App, Difference, OpenOptions, RowDifference, RunRequest};
use polder_run::{RunStatus, StepStatus};

use crate::support::{ORDERS_SOURCE, Project, orders, row, rows, status_of, told};

fn shop() -> Project {
    let project = Project::new(&[
        ORDERS_SOURCE,
        ("models/silver/orders.sql", "select order_id, customer, amount from bronze.orders\n"),
        ("models/gold/total.sql", "select customer, sum(amount) as total from silver.orders group by customer\n"),
        ("models/gold/people.sql", "select distinct customer from silver.orders\n"),
        ("checks/total.yaml", "table: gold.total\nchecks:\n  - unique: customer\n"),
    ]);
    project.write("data/orders/a.csv", &orders(1..=6));
    project
}

/// The data files of the warehouse.
fn data_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(data_files(&path));
        } else if path.extension().is_some_and(|e| e == "parquet") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn warehouse(project: &Project) -> PathBuf {
    project.file(".polder/warehouse")
}

/// Does something while no data file can be read.
async fn without_data<T>(files: &[PathBuf], work: impl AsyncFnOnce() -> T) -> T {
    let hidden = |file: &PathBuf| file.with_extension("hidden");
    files.iter().for_each(|file| std::fs::rename(file, hidden(file)).unwrap());
    let done = work().await;
    files.iter().for_each(|file| std::fs::rename(hidden(file), file).unwrap());
    done
}

fn on(branch: &str) -> RunRequest {
    RunRequest { target: Some(branch.to_owned()), ..RunRequest::default() }
}

fn rows_of<'d>(differences: &'d [Difference], table: &str) -> &'d RowDifference {
    let found = differences.iter().find(|d| d.name == table);
    found.and_then(|d| d.rows.as_ref()).unwrap_or_else(|| panic!("{table}: {differences:#?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_built_on_its_branch_and_merged_without_computing() {
    let project = shop();
    project.publish().await;
    let app = project.open().await;
    app.create_branch("fix", None).await.unwrap();
    project.write(
        "models/gold/total.sql",
        "select customer, sum(amount) * 2 as total from silver.orders group by customer\n",
    );
    let built = project.run_with(&on("fix")).await;
    assert_eq!(built.record.status, RunStatus::Published, "{built:#?}");
    for (step, status) in [
        ("ingest bronze.orders", StepStatus::Unchanged),
        ("model silver.orders", StepStatus::Unchanged),
        ("model gold.people", StepStatus::Unchanged),
        ("model gold.total", StepStatus::Done),
    ] {
        assert_eq!(status_of(&built, step), status, "{step}");
    }
    let files = data_files(&warehouse(&project));
    let runs = app.runs().await.unwrap().len();
    let merged = without_data(&files, async || app.merge("fix", Some("main"), false).await).await;
    merged.unwrap_or_else(|error| panic!("{}", told(&error)));
    assert_eq!(app.runs().await.unwrap().len(), runs, "no step has run");
    assert_eq!(data_files(&warehouse(&project)), files, "and no row was written");
    assert_eq!(row(&app, "main", "select sum(total) from gold.total").await, "426.00");
    // What the branch has built is what main would build.
    let again = project.publish().await;
    assert!(again.steps.iter().all(|s| s.status == StepStatus::Unchanged), "{again:#?}");
    assert_eq!(data_files(&warehouse(&project)), files);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_differ_are_told_by_key() {
    let project = shop();
    project.publish().await;
    let app = project.open().await;
    app.create_branch("fix", None).await.unwrap();
    project.write(
        "models/gold/total.sql",
        "select case when customer = 'c0' then 'c9' else customer end as customer, sum(amount) + case when customer = \
         'c1' then 1 else 0 end as total from silver.orders group by customer\n",
    );
    project.run_with(&on("fix")).await;
    let app = project.open().await;
    // Tables that do not differ are not read.
    let untouched: Vec<PathBuf> = data_files(&warehouse(&project))
        .into_iter()
        .filter(|file| !file.to_string_lossy().contains("/total-"))
        .collect();
    assert!(untouched.len() >= 3, "{untouched:?}");
    let compared = without_data(&untouched, async || app.diff_rows("main", Some("fix")).await).await;
    let differences = compared.unwrap_or_else(|error| panic!("{}", told(&error)));
    let names: Vec<&str> = differences.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["gold.total"]);
    let rows = rows_of(&differences, "gold.total");
    assert_eq!(rows.key, ["customer"], "of the check that it is unique");
    assert_eq!((rows.added, rows.removed, rows.changed), (1, 1, 1), "{rows:#?}");
    assert_eq!(rows.columns.iter().map(|c| (c.column.as_str(), c.rows)).collect::<Vec<_>>(), [("total", 1)]);
    let first = &rows.sample[0];
    let pair = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    assert_eq!((first.change, &first.key), ("changed", &vec![pair("customer", "c1")]));
    assert_eq!((&first.before, &first.after), (&vec![pair("total", "51.00")], &vec![pair("total", "52.00")]));
    let others: Vec<(&str, &str)> =
        rows.sample[1..].iter().map(|r| (r.change, r.key[0].1.as_deref().unwrap_or_default())).collect();
    assert_eq!(others, [("removed", "c0"), ("added", "c9")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_rows_come_and_go_as_often_as_they_are_there() {
    let project = Project::new(&[("sources/notes.yaml", "files: data/notes.csv\n")]);
    project.write("data/notes.csv", "note,n\na,1\na,1\nb,2\n");
    project.publish().await;
    project.write("data/notes.csv", "note,n\na,1\nb,2\nc,\nc,\n");
    project.publish().await;
    let app = project.open().await;
    let differences = app.diff_rows("main~1", Some("main")).await.unwrap();
    let rows = rows_of(&differences, "bronze.notes");
    // The file's place of a row is part of it.
    assert_eq!((rows.changed, rows.key.len()), (0, 0), "{rows:#?}");
    assert_eq!(rows.added as i64 - rows.removed as i64, 1, "{rows:#?}");
    assert!(rows.sample.iter().any(|r| r.change == "added" && r.after.contains(&("n".to_owned(), None))), "{rows:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_several_columns_and_new_columns() {
    let project = Project::new(&[("sources/prices.yaml", "files: data/prices/*.csv\nkey: [shop, item]\n")]);
    project.write("data/prices/a.csv", "shop,item,price\n1,x,1.00\n1,y,2.00\n2,x,3.00\n");
    project.publish().await;
    project.write("data/prices/b.csv", "shop,item,price,note\n1,y,2.50,new\n3,x,9.00,\n");
    project.publish().await;
    let app = project.open().await;
    let differences = app.diff_rows("main~1", Some("main")).await.unwrap();
    let table = differences.iter().find(|d| d.name == "bronze.prices").unwrap();
    assert_eq!(table.columns, ["+ note text"]);
    let rows = rows_of(&differences, "bronze.prices");
    assert_eq!((rows.added, rows.removed, rows.changed), (1, 0, 1), "{rows:#?}");
    assert!(rows.columns.iter().any(|c| c.column == "price" && c.rows == 1), "{rows:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_apply_to_who_compares() {
    let project = shop();
    project.write("policies/orders.yaml", "table: bronze.orders\nfor: [ann]\nfilter: customer = 'c1'\n");
    project.publish().await;
    project.write("data/orders/b.csv", &orders(7..=9));
    project.publish().await;
    let compared = async |principal: &str| {
        let options = OpenOptions { principal: Some(principal.to_owned()), ..OpenOptions::new(project.path()) };
        let app = App::open(&options).await.unwrap();
        let differences = app.diff_rows("main~1", Some("main")).await.unwrap_or_else(|e| panic!("{}", told(&e)));
        rows_of(&differences, "bronze.orders").added
    };
    assert_eq!((compared("ada").await, compared("ann").await), (3, 1));
    assert_eq!(rows(&project.open().await, "main", "select count(*) from bronze.orders").await, ["9"]);
}

fn names(tables: &[polder_base::TableName]) -> Vec<String> {
    tables.iter().map(ToString::to_string).collect()
}

fn chosen(select: &str, branch: &str) -> RunRequest {
    RunRequest { select: vec![select.to_owned()], ..on(branch) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_tells_what_it_leaves_to_build() {
    let project = shop();
    project.publish().await;
    project.open().await.create_branch("fix", None).await.unwrap();
    project.write("models/silver/orders.sql", "select order_id, customer, amount + 1 as amount from bronze.orders\n");
    // What is made from it is not built on the branch.
    project.run_with(&chosen("silver.orders", "fix")).await;
    let app = project.open().await;
    let merged = app.merge("fix", Some("main"), false).await.unwrap_or_else(|e| panic!("{}", told(&e)));
    assert_eq!(names(&merged.undone.behind), ["gold.people", "gold.total"], "{:?}", merged.undone);
    let again = app.merge("fix", Some("main"), false).await.unwrap();
    assert!(again.undone.is_nothing(), "nothing was merged: {again:?}");
    project.publish().await;
    app.create_branch("more", None).await.unwrap();
    project.write(
        "models/gold/total.sql",
        "select customer, sum(amount) as total, 1 as one from silver.orders group by 1\n",
    );
    project.run_with(&on("more")).await;
    let app = project.open().await;
    assert!(app.merge("more", Some("main"), false).await.unwrap().undone.is_nothing(), "all of it was built");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_tells_what_neither_side_has_seen_together() {
    let project = shop();
    project.write("models/gold/vip.sql", "select 'c1' as customer\n");
    project.write(
        "checks/vip.yaml",
        "table: gold.vip\nchecks:\n  - relationships: { column: customer, to: silver.orders, field: customer }\n",
    );
    project.publish().await;
    project.open().await.create_branch("fix", None).await.unwrap();
    // On main orders come, and are built as far as silver; the branch has its own customers and totals.
    project.write("data/orders/b.csv", &orders(7..=9));
    project.run_with(&chosen("bronze.orders", "main")).await;
    project.run_with(&chosen("silver.orders", "main")).await;
    project.write("models/gold/vip.sql", "select 'c2' as customer\n");
    project.write("models/gold/total.sql", "select customer, count(*) as total from silver.orders group by customer\n");
    project.run_with(&chosen("gold.vip", "fix")).await;
    project.run_with(&chosen("gold.total", "fix")).await;
    let app = project.open().await;
    let merged = app.merge("fix", Some("main"), false).await.unwrap_or_else(|e| panic!("{}", told(&e)));
    assert_eq!(names(&merged.undone.behind), ["gold.total"], "{:?}", merged.undone);
    assert_eq!(merged.undone.unchecked, ["gold.vip"]);
}
