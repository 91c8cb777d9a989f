//! `kill -9` of the real process, anywhere: then `run --resume`, or a plain run, and no row is lost or doubled.
//!
//! `POLDER_CRASH_ROUNDS=1000 cargo test -p polder crash` goes on for longer; `POLDER_CRASH_SEED` repeats the same choices
//! (where the process is by then is not ours to repeat).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::fixture::{Project, skipped};

/// Rounds of each test unless told otherwise.
const ROUNDS: u64 = 24;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Chance that can be repeated (xorshift64*).
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = number("POLDER_CRASH_SEED", u64::from(now.subsec_nanos()));
        eprintln!("POLDER_CRASH_SEED={seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit.max(1)
    }
}

/// When a process is killed.
#[derive(Debug)]
enum Moment {
    After(Duration),
    /// So long after this many events.
    Event(u64, Duration),
}

impl Moment {
    /// Half of them anywhere in a run that takes about `usual`, half close to something that just happened.
    fn choose(chance: &mut Chance, usual: Duration, events: u64) -> Self {
        let micros = |limit: Duration, chance: &mut Chance| {
            Duration::from_micros(chance.below(u64::try_from(limit.as_micros()).unwrap()))
        };
        match chance.below(2) {
            0 => Self::After(micros(usual + usual / 8, chance)),
            _ => Self::Event(1 + chance.below(events), micros(Duration::from_millis(8), chance)),
        }
    }
}

fn start(project: &Project, arguments: &[&str]) -> Child {
    let mut command = project.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Runs, and kills the process at a moment. Gives whether it was still alive then.
fn run_and_kill(project: &Project, moment: &Moment) -> bool {
    let mut child = start(project, &["run", "--format", "json"]);
    let events = BufReader::new(child.stdout.take().unwrap()).lines();
    match *moment {
        Moment::After(wait) => {
            // Somebody must read, or the process waits for us.
            let reader = std::thread::spawn(move || events.count());
            std::thread::sleep(wait);
            let alive = kill(&mut child);
            reader.join().unwrap();
            alive
        }
        Moment::Event(count, wait) => {
            let mut events = events;
            for _ in 0..count {
                if events.next().is_none() {
                    break;
                }
            }
            std::thread::sleep(wait);
            kill(&mut child)
        }
    }
}

fn kill(child: &mut Child) -> bool {
    let alive = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    alive
}

/// After a crash: takes the run up again, or starts another one. Both must end well.
fn recover(project: &Project, chance: &mut Chance) {
    if chance.below(2) == 0 {
        let resumed = project.polder(&["run", "--resume"]);
        if resumed.code == 0 {
            return;
        }
        // It was killed before it began, or after it was published.
        assert!(resumed.err.contains("all are published"), "{resumed:?}");
    }
    project.polder(&["run"]).ends_with(0);
}

/// How long a run takes, and how many events it tells.
fn measure(project: &Project) -> (Duration, u64) {
    let since = Instant::now();
    let done = project.polder(&["run", "--format", "json"]).ends_with(0);
    (since.elapsed(), done.out.lines().count() as u64)
}

/// What is downstream is the same in every test: an incremental model by appending, one by key, a table, checks.
fn project_on(table: &str) -> Project {
    let project = Project::of(&[("polder.yaml", "name: crash\n")]);
    project.write(
        "models/silver/log.sql",
        &format!(
            "{{{{ config(materialized='incremental') }}}}\nselect id, amount from {table}\n\
             {{% if is_incremental() %}}where id > (select max(id) from {{{{ this }}}}){{% endif %}}\n"
        ),
    );
    project.write(
        "models/silver/by_customer.sql",
        &format!(
            "{{{{ config(materialized='incremental', unique_key='customer') }}}}\n\
             select customer, count(*) as orders, sum(amount) as amount from {table}\n\
             {{% if is_incremental() %}}where customer in (select customer from {table} where _run = \
             (select max(_run) from {table})){{% endif %}}\ngroup by customer\n"
        ),
    );
    project.write(
        "models/gold/total.sql",
        "select count(*) as orders, cast(sum(amount) as bigint) as amount from silver.log\n",
    );
    project.write(
        "checks/orders.yaml",
        &format!("table: {table}\nchecks:\n  - unique: id\n  - not_null: [id, customer, amount]\n"),
    );
    project.write("checks/total.yaml", "table: gold.total\nchecks:\n  - row_count: { min: 1, max: 1 }\n");
    project
}

/// The tables that must hold what follows from the orders 1 to `last`: `(name, columns, the rows as SQL)`.
fn expected(table: &str, last: u64) -> [(String, &'static str, String); 4] {
    let rows = format!(
        "(select value as id, 'c' || (value % 13) as customer, value % 97 + 1 as amount \
                         from generate_series(1, {last}))"
    );
    let sums = "count(*) as orders, cast(sum(amount) as bigint) as amount";
    [
        (table.to_owned(), "id, customer, amount", rows.clone()),
        ("silver.log".to_owned(), "id, amount", rows.clone()),
        (
            "silver.by_customer".to_owned(),
            "customer, orders, amount",
            format!("(select customer, {sums} from {rows} group by customer)"),
        ),
        ("gold.total".to_owned(), "orders, amount", format!("(select {sums} from {rows})")),
    ]
}

/// Every table has the rows that follow from the orders 1 to `last`, each as often as it must be there, and no others.
fn expect(project: &Project, table: &str, last: u64, round: &str) {
    let mut wrong = String::new();
    for (n, (name, columns, rows)) in expected(table, last).into_iter().enumerate() {
        let comma = if n > 0 { ", " } else { "" };
        write!(
            wrong,
            "{comma}(select count(*) from (select {columns} from (select {columns}, 1 as n from {name} union all \
             select {columns}, -1 from {rows}) group by {columns} having sum(n) <> 0)) as t{n}"
        )
        .unwrap();
    }
    let done = project.polder(&["sql", "--format", "csv", &format!("select {wrong}")]).ends_with(0);
    assert_eq!(done.out.lines().nth(1), Some("0,0,0,0"), "{round}: rows of {table}, log, by_customer, total are wrong");
}

/// The same without trusting any SQL: all rows are fetched and compared here.
fn expect_by_hand(project: &Project, table: &str, last: u64) {
    let fetch = |name: &str, columns: &str| {
        let sql = format!("select {columns} from {name} order by {columns}");
        let done = project.polder(&["sql", "--format", "csv", &sql]).ends_with(0);
        done.out.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let orders = (1..=last).map(|id| (id, id % 13, id % 97 + 1));
    let mut by_customer = BTreeMap::new();
    for (_, customer, amount) in orders.clone() {
        let (count, sum) = by_customer.entry(format!("c{customer}")).or_insert((0_u64, 0_u64));
        (*count, *sum) = (*count + 1, *sum + amount);
    }
    let sum: u64 = by_customer.values().map(|(_, sum)| sum).sum();
    let rows: Vec<_> = orders.clone().map(|(id, customer, amount)| format!("{id},c{customer},{amount}")).collect();
    assert_eq!(fetch(table, "id, customer, amount"), rows);
    assert_eq!(
        fetch("silver.log", "id, amount"),
        orders.map(|(id, _, amount)| format!("{id},{amount}")).collect::<Vec<_>>()
    );
    let groups: Vec<_> = by_customer.iter().map(|(customer, (n, sum))| format!("{customer},{n},{sum}")).collect();
    assert_eq!(fetch("silver.by_customer", "customer, orders, amount"), groups);
    assert_eq!(fetch("gold.total", "orders, amount"), [format!("{last},{sum}")]);
}

/// Orders of files: numbers `from` to `to`, with an amount that follows from the number.
fn orders(from: u64, to: u64) -> String {
    let mut text = "id,customer,amount\n".to_owned();
    for id in from..to {
        writeln!(text, "{id},c{},{}", id % 13, id % 97 + 1).unwrap();
    }
    text
}

#[test]
fn files_arrive_once_whenever_the_process_is_killed() {
    let project = project_on("bronze.orders");
    kill_and_recover(&project, ROUNDS, false);
}

/// And the state is lost now and then: all that was published comes back from the bucket.
#[test]
fn files_arrive_once_in_a_bucket_whenever_the_process_is_killed() {
    for (_, url) in crate::s3::servers() {
        let project = project_on("bronze.orders");
        let place = crate::s3::warehouse(&url);
        project.write("polder.yaml", &format!("name: crash\nwarehouse: {place}\n{}", crate::s3::settings(&url)));
        kill_and_recover(&project, ROUNDS / 2, true);
    }
}

/// Lets files arrive, kills runs that take them in, and looks at the rows after each.
fn kill_and_recover(project: &Project, rounds: u64, loses_state: bool) {
    const ROWS: u64 = 4_000;
    project.write("sources/orders.yaml", "files: data/*.csv\n");
    project.write("data/000000.csv", &orders(1, ROWS));
    let mut known = ROWS;
    let (usual, events) = measure(project);
    let mut chance = Chance::new();
    let (mut alive, mut left) = (0, 0);
    for round in 1..=number("POLDER_CRASH_ROUNDS", rounds) {
        project.write(&format!("data/{round:06}.csv"), &orders(known, known + ROWS));
        known += ROWS;
        let moment = Moment::choose(&mut chance, usual, events);
        alive += u64::from(run_and_kill(project, &moment));
        // Now and then the next process is killed, too, in the middle of taking the run up again.
        if chance.below(4) == 0 {
            left += u64::from(run_and_kill(project, &Moment::choose(&mut chance, usual, events)));
        }
        recover(project, &mut chance);
        expect(project, "bronze.orders", known - 1, &format!("round {round}, {moment:?}"));
        if loses_state && chance.below(6) == 0 {
            crate::s3::lose_state(project);
            expect(project, "bronze.orders", known - 1, &format!("round {round}, the state was lost"));
        }
    }
    expect_by_hand(project, "bronze.orders", known - 1);
    eprintln!("{alive} processes were alive when they were killed, and {left} of those that came after them");
    assert!(alive > 0, "nothing was killed: the test tests nothing");
}

/// A server that runs a pipeline, on a disk or in a bucket.
fn kill_the_server(project: &Project, rounds: u64) {
    const ROWS: u64 = 2_000;
    /// The least interval, and what a run takes after it on a busy machine.
    const SLOT: Duration = Duration::from_secs(10);
    const PATIENCE: Duration = Duration::from_secs(90);
    project.write("sources/orders.yaml", "files: data/*.csv\n");
    project.write("pipelines/feed.yaml", "every: 10s\n");
    let mut known = 1;
    let mut chance = Chance::new();
    for round in 1..=number("POLDER_CRASH_ROUNDS", rounds) {
        project.write(&format!("data/{round:06}.csv"), &orders(known, known + ROWS));
        known += ROWS;
        let mut served = start(project, &["up"]);
        let micros = u64::try_from(SLOT.as_micros()).unwrap() + 1_000_000;
        std::thread::sleep(Duration::from_micros(chance.below(micros)));
        assert!(kill(&mut served), "round {round}: the server ended by itself");
        // What the next one does is all that happens: nobody calls `run`.
        let mut served = start(project, &["up"]);
        let since = Instant::now();
        let rows = || {
            let done = project.polder(&["sql", "--format", "csv", "select orders from gold.total"]);
            done.out.lines().nth(1).and_then(|n| n.parse::<u64>().ok())
        };
        while rows() != Some(known - 1) {
            assert!(since.elapsed() < PATIENCE, "round {round}: the rows never came");
            std::thread::sleep(Duration::from_millis(300));
        }
        assert!(kill(&mut served), "round {round}: the server ended by itself");
        expect(project, "bronze.orders", known - 1, &format!("round {round}"));
    }
    expect_by_hand(project, "bronze.orders", known - 1);
    // No slot was run twice.
    let twice = "select count(*) from (select due from system.runs where pipeline = 'feed' and due is not null \
                 group by due having count(*) > 1)";
    assert_eq!(project.number(twice), 0);
}

#[test]
fn a_pipeline_goes_on_whenever_the_server_is_killed() {
    kill_the_server(&project_on("bronze.orders"), 4);
}

#[test]
fn a_pipeline_on_a_bucket_goes_on_whenever_the_server_is_killed() {
    if let Some((_, url)) = crate::s3::servers().into_iter().next() {
        let project = project_on("bronze.orders");
        let place = crate::s3::warehouse(&url);
        project.write("polder.yaml", &format!("name: crash\nwarehouse: {place}\n{}", crate::s3::settings(&url)));
        kill_the_server(&project, 3);
    }
}

/// `$POLDER_TEST_PG`, with a schema of its own.
async fn database() -> Option<(String, PgConnection)> {
    let Ok(url) = std::env::var("POLDER_TEST_PG") else {
        skipped("POLDER_TEST_PG names no PostgreSQL (tools/pg.py run -- … starts one)");
        return None;
    };
    let mut connection = PgConnection::connect(&url).await.unwrap();
    run_sql(&mut connection, "drop schema if exists crash cascade; create schema crash").await;
    Some((url, connection))
}

async fn run_sql(connection: &mut PgConnection, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(connection).await.unwrap();
}

#[tokio::test]
async fn rows_behind_a_cursor_arrive_once_whenever_the_process_is_killed() {
    const ROWS: u64 = 3_000;
    let Some((url, mut pg)) = database().await else { return };
    run_sql(
        &mut pg,
        "create table crash.orders (id bigint, customer text not null, amount bigint not null, \
         changed timestamptz not null default clock_timestamp())",
    )
    .await;
    let project = project_on("bronze.pg_crash_orders");
    project.write("sources/pg.yaml", "postgres: ${env:CRASH_PG}\ntables:\n  crash.orders: { cursor: changed }\n");
    project.write(".env", &format!("CRASH_PG={url}\n"));
    let insert = |from: u64, to: u64| {
        format!(
            "insert into crash.orders (id, customer, amount) \
             select n, 'c' || n % 13, n % 97 + 1 from generate_series({from}, {}) n",
            to - 1
        )
    };
    run_sql(&mut pg, &insert(1, ROWS)).await;
    let mut known = ROWS;
    let (usual, events) = measure(&project);
    let mut chance = Chance::new();
    let mut alive = 0;
    for round in 1..=number("POLDER_CRASH_ROUNDS", ROUNDS) {
        // Many rows of one transaction have one time: the boundary of the cursor is full of them.
        run_sql(&mut pg, &insert(known, known + ROWS)).await;
        known += ROWS;
        let moment = Moment::choose(&mut chance, usual, events);
        alive += u64::from(run_and_kill(&project, &moment));
        recover(&project, &mut chance);
        expect(&project, "bronze.pg_crash_orders", known - 1, &format!("round {round}, {moment:?}"));
    }
    expect_by_hand(&project, "bronze.pg_crash_orders", known - 1);
    assert!(alive > 0, "nothing was killed: the test tests nothing");
}
