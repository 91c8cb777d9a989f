//! A database that refuses, lacks what is asked for, or goes away in mid-read.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use super::keeps;
use crate::fixture::{Done, Project, skipped};

/// A database of its own on the server of `POLDER_TEST_PG`.
pub struct Database {
    server: PgConnectOptions,
    name: String,
}

impl Database {
    /// `None`, and a word about it, where there is no server.
    pub fn with(tables: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Ok(url) = std::env::var("POLDER_TEST_PG") else {
            skipped("POLDER_TEST_PG names no PostgreSQL (tools/pg.py run -- … starts one)");
            return None;
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let database =
            Self { server: url.parse().unwrap(), name: format!("polder_wrong_{}_{number}", std::process::id()) };
        execute(&database.server, &format!("CREATE DATABASE {}", database.name));
        database.execute(tables);
        Some(database)
    }

    pub fn execute(&self, sql: &str) {
        execute(&self.server.clone().database(&self.name), sql);
    }

    /// The URL, with another host and port, user, password or database where they are given.
    fn url(&self, change: impl FnOnce(PgConnectOptions) -> PgConnectOptions) -> String {
        change(self.server.clone().database(&self.name)).to_url_lossy().to_string()
    }

    pub fn plain(&self) -> String {
        self.url(|options| options)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        execute(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

fn execute(options: &PgConnectOptions, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = PgConnection::connect_with(options).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

/// A way to a server that breaks: connections that are to be cut end after so many bytes from the server.
struct Proxy {
    address: SocketAddr,
    cuts: Arc<AtomicUsize>,
}

const CUT_AFTER_BYTES: usize = 1 << 20;

impl Proxy {
    fn to(server: &PgConnectOptions) -> Self {
        let server = (server.get_host(), server.get_port()).to_socket_addrs().unwrap().next().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), cuts: Arc::default() };
        let cuts = Arc::clone(&proxy.cuts);
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let cut = cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
                let limit = if cut { CUT_AFTER_BYTES } else { usize::MAX };
                std::thread::spawn(move || forward(client, server, limit));
            }
        });
        proxy
    }

    fn cut(&self, connections: usize) {
        self.cuts.store(connections, Ordering::SeqCst);
    }
}

fn forward(client: TcpStream, server: SocketAddr, limit: usize) {
    let server = TcpStream::connect(server).unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let (mut server, mut client) = (server, client);
    let (mut buffer, mut sent) = (vec![0; 64 << 10], 0);
    while let Ok(n @ 1..) = server.read(&mut buffer) {
        sent += n;
        if sent > limit || client.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

fn shop(tables: &str) -> Project {
    Project::of(&[
        ("polder.yaml", "name: shop\n"),
        ("sources/shop.yaml", &format!("postgres: ${{env:SHOP_PG}}\ntables:\n{tables}")),
        ("models/gold/n.sql", "select 1 as n\n"),
    ])
}

fn polder(project: &Project, url: &str, arguments: &[&str]) -> Done {
    let mut command: Command = project.command(arguments);
    command.env("SHOP_PG", url).output().unwrap().into()
}

const ORDERS: &str = "create table orders (order_id int primary key, at timestamp not null, v text); \
    insert into orders select g, timestamp '2026-01-01' + g * interval '1 s', repeat('x', 200) from generate_series(1, 60000) g";
const COUNTS: &str = "select count(*) as n, count(distinct order_id) as d from bronze.shop_orders";

#[track_caller]
fn holds(project: &Project, rows: i64) {
    assert_eq!(project.ask(COUNTS), [serde_json::json!({"n": rows, "d": rows})]);
}

#[test]
fn a_server_that_cannot_be_entered() {
    let Some(database) = Database::with(ORDERS) else { return };
    let project = shop("  orders: full\n");
    let wrong = database.url(|options| options.password("not-the-password"));
    let nobody = "postgres://somebody:not-the-password@127.0.0.1:1/shop".to_owned();
    let unknown = "postgres://somebody:not-the-password@no-such-host.invalid/shop".to_owned();
    let nowhere = database.url(|options| options.database("nowhere"));
    for (url, told) in [
        (&wrong, &["error[I021]", "refuses user", "sources/shop.yaml:3:3", "check user and password"][..]),
        (&nobody, &["shop on 127.0.0.1:1 cannot be reached", "↻", "try 2 failed"]),
        (&unknown, &["error[I021]", "there is no host `no-such-host.invalid`"]),
        (&nowhere, &["error[I021]", "database \"nowhere\" does not exist"]),
    ] {
        let done = polder(&project, url, &["run"]);
        keeps(&done, "not-the-password");
        let done = done.ends_with(3).says("FAILED. main is unchanged").says("exit 3");
        for text in told {
            assert!(done.out.contains(text), "no `{text}` in\n{}", done.out);
        }
    }
    let done = polder(&project, "mysql://a:not-the-password@b/c", &["run"]).ends_with(2).complains("`postgres://`");
    keeps(&done, "not-the-password");
    polder(&project, &database.plain(), &["run"]).ends_with(0);
    holds(&project, 60_000);
}

#[test]
fn tables_and_columns_that_are_not_what_they_should_be() {
    let tables = "create table orders (order_id int, updated_at timestamp); insert into orders values (1, now());
        create table nulls (id int, at timestamp); insert into nulls values (1, '2026-01-01'), (2, null);
        create table documents (id int, at json);
        create table twice (\"Order ID\" int, order_id int)";
    let Some(database) = Database::with(tables) else { return };
    for (stream, told) in [
        ("ordes: full", "error[I022]: there is no table `ordes`"),
        ("ordes: full", "did you mean `orders`?"),
        ("orders: { cursor: updatd_at }", "error[I023]: the cursor column `updatd_at` is not in \"public\".\"orders\""),
        ("orders: { cursor: updatd_at }", "did you mean `updated_at`?"),
        ("orders: { cursor: updated_at, key: ordr_id }", "error[I009]: the key column `ordr_id` is not in orders"),
        ("documents: { cursor: at }", "error[I025]: `at` is json, which cannot be a cursor"),
        (
            "nulls: { cursor: at }",
            "error[I026]: bronze.shop_nulls: 1 row has no usable value in the cursor column `at`",
        ),
        (
            "twice: full",
            "error[I006]: \"public\".\"twice\": columns `Order ID` and `order_id` are both called `order_id`",
        ),
    ] {
        let project = shop(&format!("  {stream}\n"));
        let done = polder(&project, &database.plain(), &["run"]).ends_with(1).says(told);
        assert!(
            done.out.contains("sources/shop.yaml:3:3") && done.out.contains("FAILED. main is unchanged"),
            "{done:?}"
        );
    }
    // Rows that no cursor can pass are set aside once, where they may be.
    let project = shop("  nulls: { cursor: at, max_rejected: 1 }\n");
    polder(&project, &database.plain(), &["run"]).ends_with(0).says("1 record set aside in quarantine.shop_nulls");
    polder(&project, &database.plain(), &["run"]).ends_with(0).says("unchanged");
    assert_eq!(project.number("select count(*) from quarantine.shop_nulls"), 1);
    assert_eq!(project.number("select count(*) from bronze.shop_nulls"), 1);
}

#[test]
fn a_column_that_changes_its_type() {
    let Some(database) = Database::with("create table orders (id int, v int); insert into orders values (1, 1)") else {
        return;
    };
    let project = shop("  orders: full\n");
    polder(&project, &database.plain(), &["run"]).ends_with(0);
    database.execute("alter table orders alter column v type text; insert into orders values (2, 'x')");
    polder(&project, &database.plain(), &["run"])
        .ends_with(1)
        .says("error[I011]: bronze.shop_orders: column `v` is integer in the table and text in the source");
    assert_eq!(project.number("select sum(v) from bronze.shop_orders"), 1);
    polder(&project, &database.plain(), &["run", "--full-refresh"]).ends_with(0);
    assert_eq!(project.number("select count(*) from bronze.shop_orders where v in ('1', 'x')"), 2);
    database.execute("alter table orders drop column v");
    polder(&project, &database.plain(), &["run"]).ends_with(0).says("without `v`, which the table has");
    // The same tables as files: the cursors of the one say nothing about the other.
    project.write("sources/shop.yaml", "files: { orders: in/*.csv }\n");
    project.write("in/1.csv", "id,v\n7,y\n");
    project.polder(&["run"]).ends_with(1).says("error[I013]: bronze.shop_orders").says("--full-refresh");
    assert_eq!(project.number("select count(*) from bronze.shop_orders"), 2);
}

#[test]
fn a_server_that_goes_away_in_mid_read() {
    let Some(database) = Database::with(ORDERS) else { return };
    let proxy = Proxy::to(&database.server);
    let url = database.url(|options| options.host("127.0.0.1").port(proxy.address.port()));
    for stream in ["  orders: full\n", "  orders: { cursor: at }\n", "  orders: { cursor: at, key: order_id }\n"] {
        let project = shop(stream);
        // It does not come back.
        proxy.cut(usize::MAX);
        let done = polder(&project, &url, &["run"]).ends_with(3);
        for text in ["try 2 failed", "connection", "FAILED. main is unchanged", "polder run --resume 1"] {
            assert!(done.out.contains(text), "no `{text}` in\n{}", done.out);
        }
        project.polder(&["sql", COUNTS]).ends_with(2).complains("no table is called `bronze.shop_orders`");
        // It comes back while the step is tried again.
        proxy.cut(1);
        polder(&project, &url, &["run", "--resume"]).ends_with(0).says("try 1 failed");
        holds(&project, 60_000);
    }
    // Half of what is new comes, and does not count.
    let project = shop("  orders: { cursor: at }\n");
    proxy.cut(0);
    polder(&project, &url, &["run"]).ends_with(0);
    database.execute(
        "insert into orders select g, timestamp '2026-01-01' + g * interval '1 s', repeat('y', 200) \
         from generate_series(60001, 120000) g",
    );
    proxy.cut(usize::MAX);
    polder(&project, &url, &["run"]).ends_with(3);
    holds(&project, 60_000);
    proxy.cut(0);
    polder(&project, &url, &["run"]).ends_with(0);
    holds(&project, 120_000);
    // What a rollback takes back is read again, once.
    project.polder(&["rollback"]).ends_with(0);
    holds(&project, 60_000);
    polder(&project, &url, &["run"]).ends_with(0);
    holds(&project, 120_000);
}
