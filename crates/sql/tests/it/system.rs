//! `system.*` and `information_schema.*`.

use polder_base::{RunId, Timestamp};
use polder_run::{
    CheckRecord, FailureKind, RunKind, RunRecord, RunStatus, StepFailure, StepKey, StepKind, StepRecord, StepReport,
    StepStatus,
};
use polder_store::{Batch, Space};

use crate::fixture::{Fixture, START, lines, one, options, policy};

fn run(id: u64, status: RunStatus) -> RunRecord {
    RunRecord {
        id: RunId(id),
        kind: RunKind::Run,
        target: "main".to_owned(),
        branch: format!("run/{id}"),
        status,
        reason: (status == RunStatus::Held).then(|| "a check failed".to_owned()),
        principal: "ann".to_owned(),
        started: START,
        run_time: START,
        finished: Some(Timestamp(START.micros() + 2_400_000)),
        base: "c0ffee".to_owned(),
        commit: None,
        select: vec!["silver.*".to_owned()],
        exclude: vec!["silver.tmp".to_owned()],
        full_refresh: false,
        environment: None,
        vars: Default::default(),
        version: "0.1.0".to_owned(),
        git_commit: None,
        git_dirty: false,
        files: Default::default(),
        resumed: 0,
        stale: false,
        publish: Default::default(),
        parts: Vec::new(),
        held: Vec::new(),
        took_over: Vec::new(),
        superseded: Vec::new(),
        same_as: None,
        cancelled_by: None,
        accepted: None,
        pipeline: None,
        due: None,
    }
}

fn json(record: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(record).unwrap()
}

async fn record(fixture: &Fixture) {
    let key = StepKey::new(StepKind::Model, "silver.customers");
    let step = StepRecord {
        run: RunId(12),
        step: key.clone(),
        status: StepStatus::Done,
        attempt: 1,
        started: Some(START),
        finished: Some(Timestamp(START.micros() + 1_000_000)),
        fingerprint: None,
        report: StepReport {
            rows: Some(3),
            bytes: Some(99),
            note: Some("newest 2026".to_owned()),
            ..StepReport::default()
        },
        failure: None,
    };
    let check = CheckRecord {
        run: RunId(12),
        table: "silver.customers".to_owned(),
        check: "email like 'bob%'".to_owned(),
        severity: "error".to_owned(),
        passed: false,
        failed_rows: Some(1),
        total_rows: Some(3),
        detail: None,
        query: Some("SELECT * FROM silver.customers WHERE email LIKE 'bob%'".to_owned()),
        file: "checks/c.yaml".to_owned(),
        line: 4,
        at: START,
        accepted: false,
    };
    let batch = Batch::new()
        .put(Space::Runs, RunRecord::key(RunId(11)), json(&run(11, RunStatus::Published)))
        .put(Space::Runs, RunRecord::key(RunId(12)), json(&run(12, RunStatus::Held)))
        .put(Space::Steps, StepRecord::key(RunId(12), &key), json(&step))
        .put(Space::Checks, CheckRecord::key(RunId(12), "silver.customers", 0), json(&check));
    fixture.lake.catalog().state().apply(batch).await.unwrap();
}

#[tokio::test]
async fn runs_steps_and_checks_are_read_as_tables() {
    let fixture = Fixture::shop().await;
    record(&fixture).await;
    let session = fixture.platform().await;
    assert_eq!(
        lines(&session, "SELECT run, status, elapsed_ms, selection, reason FROM system.runs ORDER BY run").await,
        [
            "11|published|2400|silver.* --exclude silver.tmp|NULL",
            "12|held|2400|silver.* --exclude silver.tmp|a check failed"
        ]
    );
    assert_eq!(one(&session, "SELECT status FROM system.runs WHERE run = 12").await, "held");
    assert_eq!(
        one(&session, "SELECT kind, resource, status, rows FROM system.steps WHERE run = 12").await,
        "model|silver.customers|done|3"
    );
    assert_eq!(one(&session, "SELECT count(*) FROM system.steps WHERE run = 11").await, "0");
    assert_eq!(one(&session, "SELECT check_name, failed_rows, line FROM system.checks").await, "email like 'bob%'|1|4");
    // Joined like any other tables.
    let joined = "SELECT r.status, c.passed FROM system.runs r JOIN system.checks c ON r.run = c.run";
    assert_eq!(one(&session, joined).await, "held|false");
}

#[tokio::test]
async fn records_of_governed_tables_hide_their_numbers() {
    let fixture = Fixture::shop().await;
    record(&fixture).await;
    let ann = fixture.person("ann").await;
    assert_eq!(one(&ann, "SELECT status, rows, bytes, note FROM system.steps").await, "done|NULL|NULL|NULL");
    assert_eq!(
        one(&ann, "SELECT passed, check_name, failed_rows, total_rows, query FROM system.checks").await,
        "false|NULL|NULL|NULL|NULL"
    );
}

/// A step of a table that everybody may read, made from one that not everybody may: its error quotes a value.
fn failed(resource: &str, error: &str) -> StepRecord {
    StepRecord {
        run: RunId(12),
        step: StepKey::new(StepKind::Model, resource),
        status: StepStatus::Failed,
        attempt: 1,
        started: Some(START),
        finished: Some(START),
        fingerprint: None,
        report: StepReport { rows: Some(7), note: Some(error.to_owned()), ..StepReport::default() },
        failure: Some(StepFailure { kind: FailureKind::Data, message: error.to_owned(), diagnostic: None }),
    }
}

fn failed_check(table: &str, query: &str) -> CheckRecord {
    CheckRecord {
        run: RunId(12),
        table: table.to_owned(),
        check: "a name".to_owned(),
        severity: "error".to_owned(),
        passed: false,
        failed_rows: Some(1),
        total_rows: Some(3),
        detail: Some(query.to_owned()),
        query: Some(query.to_owned()),
        file: "checks/c.yaml".to_owned(),
        line: 4,
        at: START,
        accepted: false,
    }
}

#[tokio::test]
async fn what_a_run_left_behind_may_quote_any_table() {
    const SECRET: &str = "cannot cast 'bob@example.com' to bigint";
    let fixture = Fixture::shop().await;
    let mut batch = Batch::new();
    for step in [failed("gold.daily", SECRET), failed("silver.payroll", SECRET), failed("orphans", SECRET)] {
        batch = batch.put(Space::Steps, StepRecord::key(RunId(12), &step.step), json(&step));
    }
    for table in ["gold.daily", "silver.payroll", "orphans"] {
        batch = batch.put(Space::Checks, CheckRecord::key(RunId(12), table, 0), json(&failed_check(table, SECRET)));
    }
    let held = RunRecord { reason: Some(SECRET.to_owned()), ..run(12, RunStatus::Held) };
    batch = batch.put(Space::Runs, RunRecord::key(RunId(12)), json(&held));
    fixture.lake.catalog().state().apply(batch).await.unwrap();

    let (runs, steps, checks) = (
        "SELECT run, status, reason FROM system.runs",
        "SELECT resource, status, rows, note, error FROM system.steps ORDER BY resource",
        "SELECT resource, check_name, failed_rows, total_rows, detail, query FROM system.checks ORDER BY resource",
    );
    let ann = fixture.person("ann").await;
    assert_eq!(one(&ann, runs).await, "12|held|NULL");
    assert_eq!(lines(&ann, steps).await, ["gold.daily|failed|7|NULL|NULL", "orphans|failed|NULL|NULL|NULL"]);
    assert_eq!(lines(&ann, checks).await, ["gold.daily|a name|NULL|3|NULL|NULL", "orphans|NULL|NULL|NULL|NULL|NULL"]);
    // Nor where a filter is applied before rows are shown.
    for (table, column) in [("runs", "reason"), ("steps", "error"), ("steps", "note"), ("checks", "detail")] {
        let sql = format!("SELECT count(*) FROM system.{table} WHERE {column} LIKE '%bob@%'");
        assert_eq!(one(&ann, &sql).await, "0", "{sql}");
    }
    // Whom no policy binds sees all of it.
    let platform = fixture.platform().await;
    assert_eq!(one(&platform, runs).await, format!("12|held|{SECRET}"));
    assert_eq!(lines(&platform, steps).await.len(), 3);
    let open = fixture.governed_by(vec![policy("silver.payroll", &["somebody else"])]);
    let ann = open.session(options("ann")).await.unwrap();
    assert_eq!(one(&ann, runs).await, format!("12|held|{SECRET}"));
    assert_eq!(lines(&ann, checks).await[2], format!("silver.payroll|a name|1|3|{SECRET}|{SECRET}"));
}

#[tokio::test]
async fn commits_do_not_name_what_is_denied() {
    let fixture = Fixture::shop().await;
    let denied = "SELECT count(*) FROM system.commits WHERE changed LIKE '%payroll%'";
    assert_eq!(one(&fixture.person("ann").await, denied).await, "0");
    assert_eq!(one(&fixture.person("hr").await, denied).await, "1");
}

#[tokio::test]
async fn the_catalog_is_read_as_tables() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    assert_eq!(
        lines(&session, "SELECT name, kind FROM system.refs ORDER BY name").await,
        ["main|branch", "pr-42|branch"]
    );
    assert_eq!(
        one(
            &session,
            "SELECT kind, columns, rows, files FROM system.tables WHERE namespace = 'silver' AND name = 'orders'"
        )
        .await,
        "table|5|4|1"
    );
    assert_eq!(one(&session, "SELECT kind, rows FROM system.tables WHERE name = 'revenue'").await, "view|NULL");
    assert_eq!(
        one(&session, "SELECT message, principal, changed, added_rows FROM system.commits ORDER BY time DESC LIMIT 1")
            .await,
        "made by a test|tests|gold.daily|2"
    );
    assert_eq!(lines(&session, "SELECT \"commit\" FROM system.commits LIMIT 3").await.len(), 3);
    assert_eq!(
        lines(
            &session,
            "SELECT position, column_name, data_type FROM system.columns WHERE namespace = 'gold' AND name = 'daily'"
        )
        .await,
        ["1|day|date", "2|revenue|decimal(22, 2)"]
    );
    assert_eq!(
        one(&session, "SELECT operation, added_rows, current FROM system.snapshots WHERE name = 'orders'").await,
        "append|4|true"
    );
    let file =
        one(&session, "SELECT rows, format, lower_bounds, upper_bounds FROM system.files WHERE name = 'orders'").await;
    assert!(file.starts_with("4|parquet|") && file.contains("order_id"), "{file}");
}

#[tokio::test]
async fn information_schema_is_there_for_tools() {
    let fixture = Fixture::shop().await;
    let session = fixture.platform().await;
    assert_eq!(
        lines(&session, "SELECT schema_name FROM information_schema.schemata ORDER BY 1").await,
        ["bronze", "finance.eu", "gold", "silver"]
    );
    assert_eq!(
        one(
            &session,
            "SELECT table_type FROM information_schema.tables WHERE table_schema = 'gold' AND table_name = 'revenue'"
        )
        .await,
        "VIEW"
    );
    assert_eq!(
        one(&session, "SELECT ordinal_position, data_type, is_nullable FROM information_schema.columns WHERE table_name = 'orders' AND column_name = 'amount'").await,
        "4|decimal(12, 2)|YES"
    );
}
