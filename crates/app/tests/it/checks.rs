use std::sync::Arc;

use polder_app::{CheckSummary, RunRequest};
use polder_run::{CheckFailure, Silent, StepStatus};
use tokio_util::sync::CancellationToken;

use crate::support::{Project, row, run, status_of, statuses, told};

const PEOPLE: &str = "id,email,age,country,boss,seen\n\
    1,a@x.org,30,NL,,2026-01-01 00:00:00\n\
    2,broken,17,NL,1,2026-01-02 00:00:00\n\
    3,c@x.org,130,BE,9,2026-01-03 00:00:00\n\
    4,,40,XX,1,2026-01-04 00:00:00\n\
    4,e@x.org,41,NL,2,2999-01-01 00:00:00\n";

fn project(checks: &str) -> Project {
    let project = Project::new(&[("sources/people.yaml", "files: data/people.csv\n")]);
    project.write("data/people.csv", PEOPLE);
    project.write("checks/people.yaml", checks);
    project
}

/// Puts the table onto `main`, without its checks, and then tests them.
async fn check(checks: &str) -> CheckSummary {
    let project = project(checks);
    let held_back = std::fs::read_to_string(project.file("checks/people.yaml")).unwrap();
    project.remove("checks/people.yaml");
    project.publish().await;
    project.write("checks/people.yaml", &held_back);
    let app = project.open().await;
    match app.check(&[], None, Arc::new(Silent), &CancellationToken::new()).await {
        Ok(summary) => {
            for failure in failures(&summary) {
                if let (Some(rows), Some(query)) = (failure.failed_rows, &failure.query) {
                    let count = row(&app, "main", &format!("select count(*) from ({query})")).await;
                    assert_eq!(count, rows.to_string(), "the query shows all: {query}");
                }
            }
            summary
        }
        Err(error) => panic!("{}", told(&error)),
    }
}

fn failures(summary: &CheckSummary) -> Vec<&CheckFailure> {
    summary.steps.iter().flat_map(|s| &s.report.failures).collect()
}

/// `check: failed of total; sample`
fn lines(summary: &CheckSummary) -> Vec<String> {
    let line = |f: &&CheckFailure| {
        let sample: Vec<String> = f
            .sample
            .iter()
            .map(|row| row.iter().map(|(column, value)| format!("{column}={value}")).collect::<Vec<_>>().join(" "))
            .collect();
        let counts = match (f.failed_rows, f.total_rows) {
            (Some(failed), Some(total)) => format!("{failed} of {total}"),
            _ => f.detail.clone().unwrap_or_default(),
        };
        format!("{}:{} {}: {counts}; {}", f.file, f.line, f.check, sample.join(", "))
    };
    failures(summary).iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_check_finds_its_rows() {
    let summary = check(
        "table: bronze.people\n\
         checks:\n\
         \x20 - unique: id\n\
         \x20 - not_null: [id, email]\n\
         \x20 - accepted_values: { column: country, values: [NL, BE] }\n\
         \x20 - range: { column: age, min: 18, max: 120 }\n\
         \x20 - regex: { column: email, pattern: '^[^@]+@[^@]+$' }\n\
         \x20 - relationships: { column: boss, to: bronze.people, field: id }\n\
         \x20 - row_count: { min: 10 }\n\
         \x20 - freshness: { column: seen, max_age: 1h }\n\
         \x20   where: id < 4\n\
         \x20 - holds: seen <= run_time()\n\
         \x20 - sql: select * from bronze.people where age > 40 and country = 'NL'\n\
         \x20   name: nobody old in NL\n",
    )
    .await;
    let key = "_file=data/people.csv";
    assert_eq!(
        lines(&summary),
        [
            format!("checks/people.yaml:3 unique id: 2 of 5; {key} _position=5 id=4, {key} _position=6 id=4"),
            format!("checks/people.yaml:4 not_null email: 1 of 5; {key} _position=5 email=NULL"),
            format!("checks/people.yaml:5 accepted_values country: 1 of 5; {key} _position=5 country=XX"),
            format!(
                "checks/people.yaml:6 range age 18..120: 2 of 5; {key} _position=3 age=17, {key} _position=4 age=130"
            ),
            format!("checks/people.yaml:7 regex email ^[^@]+@[^@]+$: 1 of 5; {key} _position=3 email=broken"),
            format!("checks/people.yaml:8 relationships boss → bronze.people.id: 1 of 5; {key} _position=4 boss=9"),
            "checks/people.yaml:9 row_count at least 10: 5 rows, at least 10 expected; ".to_owned(),
            "checks/people.yaml:10 freshness seen 1 h: the newest is 2026-01-03T00:00:00; at most 1 h old expected; "
                .to_owned(),
            format!("checks/people.yaml:12 seen <= run_time(): 1 of 5; {key} _position=6 seen=2999-01-01T00:00:00"),
            "checks/people.yaml:13 nobody old in NL: ; id=4 email=e@x.org age=41 country=NL boss=2 \
             seen=2999-01-01T00:00:00"
                .to_owned(),
        ]
    );
    assert_eq!(summary.exit_code(), 1);
    let passed: Vec<&str> = summary.steps.iter().flat_map(|s| &s.report.passed).map(|p| p.check.as_str()).collect();
    assert_eq!(passed, ["not_null id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_that_hold_say_so() {
    let summary = check(
        "table: bronze.people\n\
         checks:\n\
         \x20 - unique: [id, email]\n\
         \x20 - unique: id\n\
         \x20   where: id < 4\n\
         \x20 - not_null: email\n\
         \x20   where: country <> 'XX'\n\
         \x20 - range: { column: seen, max: 2100-01-01 }\n\
         \x20   where: id < 4\n\
         \x20 - row_count: { min: 1, max: 5 }\n\
         \x20 - holds: age > 0 and id in (1, 2, 3, 4)\n\
         \x20 - relationships: { column: boss, to: bronze.people, field: id }\n\
         \x20   where: boss < 9\n",
    )
    .await;
    assert_eq!(lines(&summary), Vec::<String>::new());
    assert_eq!(summary.steps[0].failure, None);
    assert_eq!((summary.exit_code(), summary.steps[0].report.passed.len()), (0, 7));
    assert_eq!(summary.steps[0].report.rows, Some(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_checks_are_told_at_their_lines() {
    let summary = check(
        "table: bronze.people\n\
         checks:\n\
         \x20 - unique: ids\n\
         \x20 - holds: age > 0\n\
         \x20 - range: { column: agee, min: 1 }\n",
    )
    .await;
    let failure = summary.steps[0].failure.as_ref().unwrap();
    assert_eq!(summary.steps[0].status, StepStatus::Failed);
    let diagnostic = failure.diagnostic.as_ref().unwrap();
    assert_eq!(diagnostic.to_string(), "error[C001]: bronze.people has no column `ids`");
    assert_eq!(diagnostic.hints, ["did you mean `id`?"]);
    assert_eq!(diagnostic.related[0].text, "bronze.people has no column `agee`");

    let summary = check(
        "table: bronze.people\n\
         checks:\n\
         \x20 - not_null: id\n\
         \x20 - holds: agee > 0\n",
    )
    .await;
    let diagnostic = summary.steps[0].failure.as_ref().unwrap().diagnostic.as_ref().unwrap();
    assert!(
        diagnostic.message.contains("`agee > 0` of bronze.people cannot be computed: no column is called `agee`"),
        "{}",
        diagnostic.message
    );
    let line = summary.sources.line_col(&diagnostic.label.as_ref().unwrap().span).unwrap().line;
    assert_eq!(line, 4);

    let summary = check("table: bronze.people\nchecks:\n  - not_null: id\n  - holds: 1 / (age - 17) > -99\n").await;
    let diagnostic = summary.steps[0].failure.as_ref().unwrap().diagnostic.as_ref().unwrap();
    assert_eq!(diagnostic.code, "C003");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_is_no_sql_is_told_before_anything_runs() {
    let project = project("table: bronze.people\nchecks:\n  - holds: age >\n");
    project.write("checks/orphans.sql", "select * from bronze.peple\n");
    let error = run(&project.open().await, &RunRequest::default()).await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let told = told(&error);
    assert!(told.contains("error[C002]: this check is not valid SQL"), "{told}");
    assert!(told.contains("checks/people.yaml:3:"), "{told}");
    assert!(told.contains("error[C004]: no model or source is called `bronze.peple` checks/orphans.sql:1:15 (did you mean `bronze.people`?)"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_in_a_file_is_a_check() {
    let project = project("table: bronze.people\nchecks:\n  - not_null: id\n");
    project.write(
        "checks/grown_ups.sql",
        "-- All are of age.\nselect id, age from {{ ref('people') }} where age < {{ var('age') }};\n",
    );
    project.write("polder.yaml", "name: test\nvars: { age: 18 }\n");
    let held = project.run().await;
    let step = held.steps.iter().find(|s| s.step.to_string() == "check grown_ups").unwrap();
    let failure = &step.report.failures[0];
    assert_eq!((failure.check.as_str(), failure.failed_rows), ("grown_ups", Some(1)));
    assert_eq!(failure.sample, [[("id".to_owned(), "2".to_owned()), ("age".to_owned(), "17".to_owned())]]);
}

/// Orders of which some cannot be read.
fn with_rejected(ids: &[&str], files: &[(&str, &str)]) -> Project {
    let source = "files: data/*.csv\nmax_rejected: 10\ncolumns: { id: bigint }\n";
    let model = ("models/gold/all.sql", "select id from bronze.orders\n");
    let project = Project::new(&[&[("sources/orders.yaml", source), model], files].concat());
    project
        .write("data/a.csv", &format!("id,amount\n{}", ids.iter().map(|id| format!("{id},1\n")).collect::<String>()));
    project
}

const FEW: (&str, &str) = ("checks/few.yaml", "table: quarantine.orders\nchecks:\n  - row_count: { max: 1 }\n");

fn selected(select: &[&str]) -> RunRequest {
    RunRequest { select: select.iter().map(|s| (*s).to_owned()).collect(), ..RunRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rejected_is_checked_with_its_table() {
    let project = with_rejected(&["1", "x", "y"], &[FEW]);
    let held = project.run().await;
    assert_eq!(
        statuses(&held),
        ["check quarantine.orders failed", "ingest bronze.orders done", "model gold.all skipped"],
        "it comes after the step that rejects, and before what is made of the rest"
    );
    assert_eq!(held.exit_code(), 1);
    assert_eq!(held.record.status, polder_run::RunStatus::Held);
    let failure = held.steps.iter().flat_map(|s| &s.report.failures).next().unwrap();
    assert_eq!(failure.detail.as_deref(), Some("2 rows, at most 1 expected"));

    let project = with_rejected(&["1", "x"], &[FEW]);
    let summary = project.publish().await;
    assert_eq!(status_of(&summary, "check quarantine.orders"), StepStatus::Done);
    // It is chosen by its name, with what its table brings, and with all that follows from that.
    let app = project.open().await;
    let (select, cancel) = (["quarantine.orders".to_owned()], CancellationToken::new());
    assert_eq!(app.check(&select, None, Arc::new(Silent), &cancel).await.unwrap().passed(), 1);
    for select in [&["bronze.orders"], &["quarantine.orders"], &["bronze.orders+"], &["path:checks/few.yaml"]] {
        let summary = project.run_with(&selected(select)).await;
        status_of(&summary, "check quarantine.orders");
    }
    assert!(!statuses(&project.run_with(&selected(&["gold.all"])).await).join(" ").contains("check"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_about_what_is_rejected_waits_for_it() {
    let query = ("checks/rejected.sql", "select raw from quarantine.orders\n");
    let held = with_rejected(&["1", "x"], &[query]).run().await;
    let failure = held.steps.iter().flat_map(|s| &s.report.failures).next().unwrap();
    assert_eq!((failure.check.as_str(), failure.failed_rows), ("rejected", Some(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_rejected_is_nothing_wrong() {
    let project = with_rejected(&["1", "2"], &[FEW]);
    let summary = project.publish().await;
    let step = summary.steps.iter().find(|s| s.step.to_string() == "check quarantine.orders").unwrap();
    assert_eq!((step.status, step.report.passed.len()), (StepStatus::Done, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platforms_records_are_checked_after_all_that_is_written() {
    let small = "table: system.tables\nchecks:\n  - holds: rows < 3\n    where: name = 'all'\n";
    let held = with_rejected(&["1", "2", "3"], &[("checks/small.yaml", small)]).run().await;
    let failure = held.steps.iter().flat_map(|s| &s.report.failures).next().unwrap();
    assert_eq!((failure.table.as_str(), failure.failed_rows), ("system.tables", Some(1)), "{:?}", statuses(&held));

    // What was found once is not taken over: the next run has other records.
    let runs =
        "table: system.runs\nchecks:\n  - row_count: { max: 1 }\n  - sql: select * from system.runs where run > 1\n";
    let project = with_rejected(&["1"], &[("checks/runs.yaml", runs)]);
    assert_eq!(status_of(&project.publish().await, "check system.runs"), StepStatus::Done);
    let second = project.run().await;
    assert_eq!(status_of(&second, "check system.runs"), StepStatus::Failed);
    assert_eq!(second.steps.iter().flat_map(|s| &s.report.failures).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_the_platform_that_there_are_not_are_told() {
    let project = with_rejected(
        &["1"],
        &[
            ("checks/a.yaml", "table: system.step\nchecks:\n  - not_null: run\n"),
            ("checks/b.yaml", "table: quarantine.order\nchecks:\n  - row_count: { max: 1 }\n"),
            ("checks/c.sql", "select * from quarantine.ordrs\n"),
        ],
    );
    let problems = polder_app::validate(project.path(), None, &Default::default(), Default::default());
    assert_eq!(
        told(&polder_app::AppError::Project(Box::new(problems))),
        "error[C004]: no model or source is called `system.step` checks/a.yaml:1:8 (did you mean `system.steps`?)\n\
         error[P013]: no model or source makes `quarantine.order` checks/b.yaml:1:8 (did you mean `quarantine.orders`?)\n\
         error[C004]: no model or source is called `quarantine.ordrs` checks/c.sql:1:15 (did you mean `quarantine.orders`?)"
    );
}
