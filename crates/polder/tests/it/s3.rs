//! Projects whose warehouse, and whose sources, are in a bucket; and stores and servers that fail.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::fixture::{Done, Project, skipped, until};
use crate::serving::Up;

#[path = "../../../store/tests/it/proxy.rs"]
mod proxy;

use proxy::{Fault, Proxy, Request};

const BUSY: Fault = Fault::Answer(503, "<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>");

/// The servers there are: `(name, URL)`. The URL is `http://key:secret@host:port/bucket`.
pub fn servers() -> Vec<(&'static str, String)> {
    let found: Vec<_> = ["POLDER_TEST_S3", "POLDER_TEST_VERSITYGW"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok().map(|url| (name, url)))
        .collect();
    if found.len() < 2 {
        skipped("POLDER_TEST_S3 and POLDER_TEST_VERSITYGW do not both name a server (tools/s3.py run -- …)");
    }
    found
}

/// The server that takes requests without a signature.
fn moto() -> Option<String> {
    let found = std::env::var("POLDER_TEST_S3").ok();
    if found.is_none() {
        skipped("POLDER_TEST_S3 names no server (tools/s3.py run -- …)");
    }
    found
}

/// `key`, `secret`, `host:port` and `bucket` of a server's URL.
fn parts(url: &str) -> (&str, &str, &str, &str) {
    let (keys, place) = url.strip_prefix("http://").unwrap().split_once('@').unwrap();
    let ((key, secret), (host, bucket)) = (keys.split_once(':').unwrap(), place.split_once('/').unwrap());
    (key, secret, host, bucket)
}

/// All that a command said, without the ends of its lines.
fn said(done: &Done) -> String {
    format!("{}{}", done.out, done.err).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A name that no other test has.
fn fresh(what: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    format!("{what}{}", folder.path().file_name().unwrap().to_str().unwrap().replace('.', "-"))
}

/// The `s3:` of a project for a server, without much patience.
pub fn settings(url: &str) -> String {
    let (key, secret, host, _) = parts(url);
    format!(
        "s3:\n  endpoint: http://{host}\n  access_key_id: {key}\n  secret_access_key: {secret}\n  timeout: 5s\n  \
         retry_for: 3s\n"
    )
}

fn orders(ids: std::ops::Range<u32>) -> String {
    let lines = ids.map(|id| format!("{id},{}.50\n", id * 10));
    std::iter::once("order_id,amount\n".to_owned()).chain(lines).collect()
}

/// A small project with its warehouse on a server; `warehouse` is its place.
fn project(url: &str, warehouse: &str) -> Project {
    let polder = format!("name: test\nconcurrency: 2\nmemory_limit: 256MB\nwarehouse: {warehouse}\n{}", settings(url));
    Project::of(&[
        ("polder.yaml", &polder),
        ("sources/orders.yaml", "files: data/orders/*.csv\nkey: order_id\n"),
        ("models/gold/total.sql", "select count(*) as orders, sum(amount) as amount from bronze.orders\n"),
        ("checks/orders.yaml", "table: bronze.orders\nchecks:\n  - holds: amount > 0\n"),
        ("data/orders/1.csv", &orders(1..101)),
    ])
}

pub fn warehouse(url: &str) -> String {
    format!("s3://{}/{}", parts(url).3, fresh("lake"))
}

/// Takes the state away, as a broken disk would.
pub fn lose_state(project: &Project) {
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(project.path(&format!(".polder/{file}")));
    }
}

#[test]
fn a_project_lives_in_a_bucket() {
    for (name, url) in servers() {
        let place = warehouse(&url);
        let project = project(&url, &place);
        project.polder(&["run"]).ends_with(0);
        assert_eq!(project.number("select orders from gold.total"), 100, "{name}");
        assert!(!project.path(".polder/warehouse").exists(), "{name}: nothing is on disk");
        let location = project.polder(&["show", "gold.total"]).ends_with(0);
        location.says(&format!("{place}/gold/total-"));

        project.polder(&["status"]).ends_with(0).says(&format!("2 tables, 0 views in {place}\n"));

        // A bad day: held, looked at, set right.
        project.write("data/orders/2.csv", "order_id,amount\n7,-1.00\n101,5.00\n");
        project.polder(&["run"]).ends_with(1).says("HELD");
        assert_eq!(project.number("select orders from gold.total"), 100);
        assert_eq!(project.number_at("run/2", "select count(*) from bronze.orders"), 101);
        project.write("data/orders/2.csv", "order_id,amount\n101,5.00\n");
        project.polder(&["run"]).ends_with(0);
        assert_eq!(project.number("select orders from gold.total"), 101);
        project.polder(&["rollback", "--to", "main~1"]).ends_with(0);
        assert_eq!(project.number("select orders from gold.total"), 100);

        // The state is lost: everything that was published is in the bucket.
        lose_state(&project);
        assert_eq!(project.number("select orders from gold.total"), 100, "{name}");
        project.polder(&["run"]).ends_with(0);
        assert_eq!(project.number("select orders from gold.total"), 101, "{name}: read again after the rollback");
    }
}

#[test]
fn two_runs_at_once_publish_both() {
    for (name, url) in servers() {
        let project = project(&url, &warehouse(&url));
        project.write("models/gold/least.sql", "select min(amount) as least from bronze.orders\n");
        project.polder(&["run"]).ends_with(0);
        project.write("models/gold/total.sql", "select count(*) + 1 as orders from bronze.orders\n");
        project.write("models/gold/least.sql", "select min(amount) + 1 as least from bronze.orders\n");
        let start = |model: &str| project.command(&["run", model]).output();
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| start("gold.total"));
            let second = scope.spawn(|| start("gold.least"));
            (first.join().unwrap().unwrap(), second.join().unwrap().unwrap())
        });
        for output in [first, second] {
            let said =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{name}: {said}");
        }
        assert_eq!(project.number("select orders from gold.total"), 101, "{name}");
        assert_eq!(project.number("select cast(least as bigint) from gold.least"), 12, "{name}");
    }
}

#[test]
fn a_warehouse_belongs_to_one_state_and_a_state_to_one_warehouse() {
    let Some(url) = moto() else { return };
    let place = warehouse(&url);
    let first = project(&url, &place);
    first.polder(&["run"]).ends_with(0);
    let second = project(&url, &place);
    let refused = second.polder(&["run"]).ends_with(3);
    refused.complains("belongs to the state in").complains("/_polder/owner");

    let text = std::fs::read_to_string(first.path("polder.yaml")).unwrap();
    first.write("polder.yaml", &text.replace(&place, &warehouse(&url)));
    first.polder(&["status"]).ends_with(3).complains("the state in this `home` is about the tables in s3://");
    first.write("polder.yaml", &text.replace(&format!("warehouse: {place}"), "warehouse: local"));
    first.polder(&["status"]).ends_with(3).complains("another `home`");
    first.write("polder.yaml", &text);
    assert_eq!(first.number("select orders from gold.total"), 100);
}

/// What a store does for a while, and what is said of it; then the next run goes on by itself.
#[test]
fn a_store_that_fails_holds_nothing_up_for_good() {
    type Rule = fn(&Request) -> Fault;
    let failures: [(&str, Rule, &str); 3] = [
        ("busy", |_| BUSY, "the store answered 503"),
        (
            "refusing",
            |request| match request.method.as_str() {
                "PUT" => Fault::Answer(
                    403,
                    "<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>",
                ),
                _ => Fault::None,
            },
            "ExpiredToken: The token has expired.",
        ),
        (
            "silent",
            |request| match request.method.as_str() {
                "PUT" => Fault::Silence(Duration::from_secs(10)),
                _ => Fault::None,
            },
            "the store did not answer in time",
        ),
    ];
    for (name, url) in servers() {
        let proxy = Proxy::before(&url);
        let project = project(&proxy.url, &warehouse(&url));
        let text = std::fs::read_to_string(project.path("polder.yaml")).unwrap();
        project.write(
            "polder.yaml",
            &text.replace("timeout: 5s", "timeout: 1s").replace("retry_for: 3s", "retry_for: 1s"),
        );
        project.polder(&["run"]).ends_with(0);
        let mut rows = 100;
        for (kind, rule, told) in failures {
            project.write(&format!("data/orders/{kind}.csv"), &orders(rows + 1..rows + 11));
            proxy.fail(rule);
            let failed = project.polder(&["run"]);
            assert!(matches!(failed.code, 1 | 3), "{name} {kind}: {failed:?}");
            let said = said(&failed);
            assert!(said.contains(told), "{name} {kind}: {said}");
            proxy.recover();
            assert_eq!(project.number("select orders from gold.total"), i64::from(rows), "{name} {kind}");
            project.polder(&["run"]).ends_with(0);
            rows += 10;
            assert_eq!(project.number("select orders from gold.total"), i64::from(rows), "{name} {kind}");
            assert_eq!(project.number("select count(*) from bronze.orders"), i64::from(rows), "{name} {kind}");
        }
    }
}

#[test]
fn a_short_failure_is_not_even_noticed() {
    for (name, url) in servers() {
        let proxy = Proxy::before(&url);
        let project = project(&proxy.url, &warehouse(&url));
        let mut count = 0;
        // Every fifth request fails, each time in another way.
        proxy.fail(move |request| {
            count += 1;
            match count % 15 {
                5 => BUSY,
                10 if request.method == "PUT" => Fault::LoseAnswer,
                0 => Fault::Answer(500, ""),
                _ => Fault::None,
            }
        });
        project.polder(&["run"]).ends_with(0);
        assert_eq!(project.number("select orders from gold.total"), 100, "{name}");
        assert!(proxy.seen().len() > 15, "{name}: {}", proxy.seen().len());
    }
}

/// The rows of a table come in a few large requests, and only what is asked for.
#[test]
fn a_table_is_read_in_few_requests() {
    for (name, url) in servers() {
        let proxy = Proxy::before(&url);
        let project = project(&proxy.url, &warehouse(&url));
        let wide = "select value as id, 'text ' || value as text, value % 7 as seven, cast(value as double) / 3 as third \
                    from generate_series(1, 500000)\n";
        project.write("models/gold/wide.sql", wide);
        project.polder(&["run", "gold.wide"]).ends_with(0);
        let count = |sql: &str| {
            let before = proxy.seen().len();
            project.polder(&["sql", sql]).ends_with(0);
            proxy.seen()[before..].iter().filter(|r| r.method == "GET" && r.path.contains("/data/")).count()
        };
        let all = count("select sum(id), max(text), sum(seven), sum(third) from gold.wide");
        assert!(all <= 8, "{name}: {all} requests for all columns");
        let one = count("select sum(seven) from gold.wide");
        assert!(one <= 4, "{name}: {one} requests for one column");
        assert_eq!(count("select count(*) from gold.wide"), 0, "{name}: that is in the metadata");
    }
}

/// Of a server that looks at signatures: what is signed with wrong keys is refused.
#[test]
fn credentials_are_found_where_tools_of_aws_find_them() {
    let Some((_, url)) = servers().into_iter().find(|(name, _)| *name == "POLDER_TEST_VERSITYGW") else { return };
    let (key, secret, host, _) = parts(&url);
    let config = format!(
        "[default]\nendpoint_url = http://{host}\n[profile program]\nendpoint_url = http://{host}\n\
         credential_process = cat keys.json\n"
    );
    let keys = format!("{{\"Version\": 1, \"AccessKeyId\": \"{key}\", \"SecretAccessKey\": \"{secret}\"}}");
    let project = project(&url, &warehouse(&url));
    let text = std::fs::read_to_string(project.path("polder.yaml")).unwrap();
    project.write("polder.yaml", text.split("s3:\n").next().unwrap());
    project.write("aws/config", &config);
    project.write("aws/credentials", "");
    project.write("keys.json", &keys);
    let polder = |variables: &[(&str, &str)]| -> Done {
        let mut command = project.command(&["run"]);
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"] {
            command.env_remove(name);
        }
        command.env("AWS_CONFIG_FILE", project.path("aws/config"));
        command.env("AWS_SHARED_CREDENTIALS_FILE", project.path("aws/credentials"));
        command.env("AWS_EC2_METADATA_DISABLED", "true").envs(variables.iter().copied());
        command.output().unwrap().into()
    };
    let none = polder(&[]).ends_with(3);
    assert!(self::said(&none).contains("no credentials were found"), "{none:?}");
    polder(&[("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)]).ends_with(0);
    polder(&[("AWS_PROFILE", "program")]).ends_with(0);
    project.write("aws/credentials", &format!("[default]\naws_access_key_id={key}\naws_secret_access_key={secret}\n"));
    polder(&[]).ends_with(0);
    let wrong = polder(&[("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", "sesame")]).ends_with(3);
    assert!(!self::said(&wrong).contains("sesame"), "{wrong:?}");
    let unknown = polder(&[("AWS_PROFILE", "programme")]).ends_with(3);
    assert!(self::said(&unknown).contains("there is no profile `programme`"), "{unknown:?}");
}

// ---- sources ----

/// Puts an object onto moto, which takes whoever asks for who they say they are.
fn put(url: &str, key: &str, body: &[u8]) {
    let (_, _, host, bucket) = parts(url);
    let mut stream = TcpStream::connect(host).unwrap();
    let head = [
        &format!("PUT /{bucket}/{key} HTTP/1.1"),
        &format!("Host: {host}"),
        "Authorization: Basic bWU6bWU=",
        &format!("Content-Length: {}", body.len()),
        "Connection: close\r\n\r\n",
    ];
    stream.write_all(head.join("\r\n").as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn gzip(text: &str) -> Vec<u8> {
    let mut child = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap().stdout;
    writer.join().unwrap();
    output
}

#[test]
fn sources_are_read_from_a_bucket() {
    let Some(url) = moto() else { return };
    let folder = fresh("in");
    let bucket = parts(&url).3;
    put(&url, &format!("{folder}/2026/01.csv"), orders(1..11).as_bytes());
    put(&url, &format!("{folder}/2026/02.csv.gz"), &gzip(&orders(11..21)));
    put(&url, &format!("{folder}/2026/.hidden.csv"), b"nonsense");
    put(&url, &format!("{folder}/notes.txt"), b"nonsense");
    put(&url, &format!("{folder}/events.jsonl"), b"{\"id\": 1}\n{\"id\": 2}\n");
    let polder = format!("name: test\nmemory_limit: 256MB\n{}", settings(&url));
    let project = Project::of(&[
        ("polder.yaml", &polder),
        ("sources/orders.yaml", &format!("files: s3://{bucket}/{folder}/*/*.csv*\nformat: csv\n")),
        ("sources/events.yaml", &format!("files: s3://{bucket}/{folder}/events.jsonl\n")),
    ]);
    project.polder(&["run"]).ends_with(0);
    assert_eq!(project.number("select count(*) from bronze.orders"), 20);
    assert_eq!(project.number("select count(*) from bronze.events"), 2);
    let files = project.ask("select distinct _file from bronze.orders order by 1");
    assert_eq!(files[0]["_file"], format!("s3://{bucket}/{folder}/2026/01.csv"));

    let again = project.polder(&["run"]).ends_with(0);
    assert_eq!(again.out.matches("unchanged").count(), 2, "{}", again.out);
    put(&url, &format!("{folder}/2026/03.csv"), orders(21..31).as_bytes());
    put(&url, &format!("{folder}/events.jsonl"), b"{\"id\": 3}\n");
    project.polder(&["run"]).ends_with(0);
    assert_eq!(project.number("select count(*) from bronze.orders"), 30);
    assert_eq!(project.number("select max(id) from bronze.events"), 3);

    project.write("sources/orders.yaml", &format!("files: s3://{bucket}/{folder}/none/*.csv\n"));
    project.polder(&["run", "bronze.orders"]).ends_with(1).says("no object matches");
    project.write("sources/orders.yaml", "files: s3://polder-no-such-bucket/*.csv\n");
    project.polder(&["run", "bronze.orders"]).says("NoSuchBucket");
}

#[test]
fn parquet_is_read_from_a_bucket_in_few_requests() {
    let Some(url) = moto() else { return };
    let proxy = Proxy::before(&url);
    let folder = fresh("parquet");
    let polder = format!("name: test\nmemory_limit: 256MB\n{}", settings(&proxy.url));
    let project = Project::of(&[("polder.yaml", &polder)]);
    let rows = "select value as id, 'text ' || value as text from generate_series(1, 50000)";
    project.polder(&["sql", "--format", "parquet", "--output", "rows.parquet", rows]).ends_with(0);
    put(&url, &format!("{folder}/rows.parquet"), &std::fs::read(project.path("rows.parquet")).unwrap());
    project.write("sources/rows.yaml", &format!("files: s3://{}/{folder}/*.parquet\n", parts(&url).3));
    let before = proxy.seen().len();
    project.polder(&["run"]).ends_with(0);
    assert_eq!(project.number("select sum(id) from bronze.rows"), 1_250_025_000);
    let seen = proxy.seen().split_off(before);
    assert!(seen.len() <= 8, "{seen:#?}");
}

/// Such a server cannot be asked for a file's end: a copy is made.
#[test]
fn parquet_is_read_from_a_web_server_that_knows_no_ranges() {
    let Some(url) = moto() else { return };
    let proxy = Proxy::before(&url);
    let key = fresh("whole");
    let project = Project::of(&[("polder.yaml", "name: test\nmemory_limit: 256MB\n")]);
    let rows = "select value as id from generate_series(1, 50000)";
    project.polder(&["sql", "--format", "parquet", "--output", "rows.parquet", rows]).ends_with(0);
    put(&url, &format!("{key}.parquet"), &std::fs::read(project.path("rows.parquet")).unwrap());
    let (_, _, host, bucket) = parts(&proxy.url);
    project.write("sources/rows.yaml", &format!("files: http://me:me@{host}/{bucket}/{key}.parquet\n"));
    proxy.fail(|_| Fault::Without("range"));
    project.polder(&["run"]).ends_with(0);
    assert_eq!(project.number("select sum(id) from bronze.rows"), 1_250_025_000);
    assert!(proxy.seen().len() <= 3, "it is fetched once: {:?}", proxy.seen());
    project.polder(&["run"]).ends_with(0).says("unchanged");
}

#[test]
fn a_file_is_read_over_http_and_taken_up_where_it_broke() {
    let Some(url) = moto() else { return };
    let proxy = Proxy::before(&url);
    let key = fresh("web");
    put(&url, &format!("{key}.csv.gz"), &gzip(&orders(1..200_001)));
    let (_, _, host, bucket) = parts(&proxy.url);
    // User and parameters are for the server alone.
    let address = format!("http://me:sesame@{host}/{bucket}/{key}.csv.gz?token=sesame");
    let project = Project::of(&[
        ("polder.yaml", "name: test\nmemory_limit: 256MB\n"),
        ("sources/orders.yaml", &format!("files: {address}\n")),
    ]);
    let mut cut = 5;
    proxy.fail(move |request| {
        if request.method == "GET" && cut > 0 {
            cut -= 1;
            return Fault::Cut(100_000);
        }
        Fault::None
    });
    let done = project.polder(&["run"]).ends_with(0);
    assert_eq!(project.number("select count(distinct order_id) from bronze.orders"), 200_000);
    assert!(!done.out.contains("sesame"), "{}", done.out);
    let file = &project.ask("select distinct _file from bronze.orders")[0]["_file"];
    assert_eq!(*file, format!("http://{host}/{bucket}/{key}.csv.gz"));
    project.polder(&["run"]).ends_with(0).says("unchanged");

    proxy.fail(|_| Fault::Answer(403, ""));
    let refused = project.polder(&["run"]);
    let said = said(&refused);
    assert!(said.contains("the server answered 403") && !said.contains("sesame"), "{said}");
    proxy.fail(|_| Fault::Answer(404, ""));
    let missing = project.polder(&["run"]).ends_with(1);
    assert!(self::said(&missing).contains("there is no file at http://"), "{missing:?}");
    assert_eq!(project.number("select count(*) from bronze.orders"), 200_000, "what is there stays");
}

/// So long we wait for what comes by itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// Busy, then silent: the pipeline is not run, with a reason, and the rows come once the store answers, by themselves.
#[test]
fn a_server_goes_on_when_its_bucket_does() {
    let Some(url) = moto() else { return };
    let proxy = Proxy::before(&url);
    let project = project(&proxy.url, &warehouse(&url));
    project.write("pipelines/feed.yaml", "every: 10s\n");
    let up = Up::start(&project);
    let has = |count: &str| up.psql("main", "select orders from gold.total").out.trim() == count;
    until("the first rows", PATIENCE, || has("100"));
    for (n, fault) in [(1, BUSY), (2, Fault::Silence(Duration::from_secs(6)))] {
        proxy.fail(move |_| fault.clone());
        project.write(&format!("data/orders/{}.csv", n + 1), &orders(n * 100 + 1..n * 100 + 101));
        until("the failure", PATIENCE, || up.get("/healthz", "").1.contains("`polder pipelines` says why"));
        assert_eq!(up.get("/healthz", "").0, 200, "the server is there, and answers what needs no bucket");
        // What the state knows needs no bucket either.
        project.polder(&["pipelines"]).ends_with(0).says("feed: ").says("the store ");
        project.polder(&["runs"]).ends_with(0).says("published");
        project.polder(&["logs", "1"]).ends_with(0).says("bronze.orders");
        proxy.recover();
        until("the rows", PATIENCE, || has(&((n + 1) * 100).to_string()));
        until("the good end", PATIENCE, || !up.get("/healthz", "").1.contains("pipelines"));
    }
    let (code, log) = up.end();
    assert_eq!(code, 0, "{log}");
    for told in ["not run: ", "the store answered 503", "the store did not answer in time"] {
        assert!(log.contains(told), "{told}: {log}");
    }
}
