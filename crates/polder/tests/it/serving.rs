//! `polder up`: psql, psycopg and curl ask it, as the handbook says and as it does not say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::{Done, Project, skipped, until};

/// A server that is ended with the test.
pub struct Up {
    child: Killed,
    postgres: u16,
    http: u16,
    log: std::thread::JoinHandle<String>,
}

/// A process that does not outlive a test that fails.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

impl Up {
    pub fn start(project: &Project) -> Self {
        Self::of(&mut project.command(&["up"]))
    }

    /// The server that a command starts.
    pub fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let (mut postgres, mut http, mut said) = (0, 0, String::new());
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap) {
            said += &format!("{line}\n");
            let port = |before: &str| line.split(before).nth(1)?.split_whitespace().next()?.parse().ok();
            postgres = port("-p ").unwrap_or(postgres);
            http = port("http://127.0.0.1:").unwrap_or(http);
            if line.starts_with("ready in") {
                return Self { child: Killed(child), postgres, http, log };
            }
        }
        child.wait().unwrap();
        panic!("it did not start: {said}{}", log.join().unwrap());
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.child.0.id().to_string()]).status().unwrap().success());
    }

    /// Ends it as a service manager does, and gives its exit code and what it told on standard error.
    pub fn end(mut self) -> (i32, String) {
        self.signal("TERM");
        let code = self.child.0.wait().unwrap().code().unwrap_or(-1);
        (code, self.log.join().unwrap())
    }

    pub fn psql(&self, database: &str, statement: &str) -> Done {
        let (port, database) = (self.postgres.to_string(), format!("dbname={database}"));
        let mut psql = Command::new("psql");
        psql.args(["-X", "-h", "127.0.0.1", "-p", &port, "-At", "-c", statement, &database]);
        psql.env("PGUSER", "tester").env("PGCONNECT_TIMEOUT", "20").output().unwrap().into()
    }

    /// A request, and the status and body that came back.
    fn http(&self, request: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    pub fn get(&self, path: &str, headers: &str) -> (u16, String) {
        self.http(&format!("GET {path} HTTP/1.0\r\nhost: 127.0.0.1\r\n{headers}\r\n"))
    }

    pub fn post(&self, path: &str, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        self.http(&format!(
            "POST {path} HTTP/1.0\r\nhost: 127.0.0.1\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        ))
    }
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        skipped(&format!("{program} is not on this machine"));
    }
    found
}

fn python() -> Option<PathBuf> {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/setup.sh");
    let printed = Command::new("sh").arg(setup).arg("--python").output().unwrap();
    let python = PathBuf::from(String::from_utf8(printed.stdout).unwrap().trim());
    let found = Command::new(&python).args(["-c", "import psycopg"]).output().is_ok_and(|done| done.status.success());
    if !found {
        skipped("psycopg is not installed");
    }
    found.then_some(python)
}

const DAILY: &str = "select * from (values (date '2026-01-05', 12.50, 3), (date '2026-01-06', 40.00, 7)) \
                     as t (day, revenue, orders)\n";

fn daily() -> Project {
    let project = Project::of(&[("polder.yaml", "name: shop\n"), ("models/gold/daily.sql", DAILY)]);
    project.polder(&["run"]).ends_with(0);
    project
}

/// The fenced blocks of a language in a page of the handbook.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let fence = format!("```{language}\n");
    text.split(fence.as_str()).skip(1).map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

/// Whether what came is what the page shows, where `…` stands for anything.
fn is_like(came: &str, shown: &str) -> bool {
    let mut rest = came;
    for (at, part) in shown.split('…').enumerate() {
        match rest.find(part) {
            Some(0) => rest = &rest[part.len()..],
            Some(found) if at > 0 => rest = &rest[found + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty()
}

#[test]
fn psql_and_curl_answer_as_the_handbook_shows() {
    if !has("psql") || !has("curl") {
        return;
    }
    let project = daily();
    assert_eq!(blocks("serving.md", "sql")[0].lines().skip(1).collect::<Vec<_>>().join(" "), DAILY.trim());
    let up = Up::start(&project);
    let mut sessions = 0;
    for block in blocks("serving.md", "console") {
        for session in block.split("$ ").filter(|s| s.starts_with("psql") || s.starts_with("curl")) {
            let (command, shown) = session.split_once('\n').unwrap();
            let command = command.replace("5433", &up.postgres.to_string()).replace("7070", &up.http.to_string());
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{command} 2>&1")]).env("PGUSER", "tester").env("PSQLRC", "/dev/null");
            let came = String::from_utf8(shell.output().unwrap().stdout).unwrap();
            assert!(is_like(came.trim_end(), shown.trim_end()), "{command}\n{came}\n--- shown:\n{shown}");
            sessions += 1;
        }
    }
    assert_eq!(sessions, 6);
    assert_eq!(up.end().0, 0);
}

#[test]
fn psycopg_answers_as_the_handbook_shows_and_beyond() {
    let Some(python) = python() else { return };
    let project = daily();
    let up = Up::start(&project);
    let page = blocks("serving.md", "python")[0].replace("5433", &up.postgres.to_string());
    let done = Done::from(Command::new(&python).args(["-c", &page]).output().unwrap()).ends_with(0);
    assert_eq!(done.out, "2026-01-06 40.00\n");
    let script = include_str!("serving/psycopg_session.py");
    let done = Command::new(&python).args(["-c", script, &up.postgres.to_string()]).output().unwrap();
    assert_eq!(Done::from(done).ends_with(0).out, "all as it should be\n");
    assert_eq!(up.end().0, 0);
}

#[test]
fn psql_finds_refs_settings_and_errors() {
    if !has("psql") {
        return;
    }
    let project = daily();
    project.write("checks/daily.yaml", "table: gold.daily\nchecks:\n  - row_count: { min: 3 }\n");
    project.write("models/gold/daily.sql", "select 1 as n\n");
    project.polder(&["run"]).ends_with(1);
    let up = Up::start(&project);
    assert_eq!(up.psql("main", "select count(*) from gold.daily").ends_with(0).out, "2\n");
    assert_eq!(up.psql("run/2", "select n from gold.daily").ends_with(0).out, "1\n");
    assert_eq!(up.psql("postgres", "select count(*) from daily").ends_with(0).out, "2\n");
    up.psql("mein", "select 1").ends_with(2).complains("did you mean `main`?");
    let several = "begin; select 1; select 2.50; show statement_timeout; set statement_timeout = '5s'; commit";
    assert_eq!(up.psql("main", several).ends_with(0).out, "BEGIN\n1\n2.50\n0\nSET\nCOMMIT\n");
    up.psql("main", "insert into gold.daily values (1)").ends_with(1).complains("INSERT is not for `sql`");
    up.psql("main", "select * from 'daily.csv'").ends_with(1).complains("ERROR");
    up.psql("main", "select 1/0").ends_with(1).complains("ERROR");
    // Values of every kind as PostgreSQL prints them.
    let kinds = "select true, 1e300::double, 0.1::double + 0.2::double, 12.50, date '2026-01-05', \
                 timestamp '2026-01-05 06:00:00.5', timestamptz '2026-01-05 06:00:00Z', null, 'größe', [1, 2], x'00ff'";
    let printed = "t|1e+300|0.30000000000000004|12.50|2026-01-05|2026-01-05 06:00:00.5|2026-01-05 06:00:00+00||größe|{1,2}|\\x00ff\n";
    assert_eq!(up.psql("main", kinds).ends_with(0).out, printed);
    assert_eq!(up.end().0, 0);
}

#[test]
fn a_project_has_one_server_and_commands_work_beside_it() {
    let project = daily();
    let begun = Instant::now();
    let up = Up::start(&project);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let refused = project.polder(&["up"]).ends_with(1).complains("this project is served already, by process");
    assert!(refused.err.contains(&format!("psql -h 127.0.0.1 -p {} main", up.postgres)), "{refused:?}");
    project.write("models/gold/more.sql", "select count(*) as n from gold.daily\n");
    project.polder(&["run"]).ends_with(0);
    let (status, body) = up.post("/api/sql", "", "select n from more");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"rows\":[{\"n\":2}],\"row_count\":1"), "{body}");
    let (status, body) = up.get("/api/runs", "");
    let runs: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &runs[0]["status"], &runs[0]["id"]), (200, &"published".into(), &2.into()));
    let (_, events) = up.get("/api/runs/2/events", "");
    assert!(events.contains("run_started") && events.contains("run_finished"), "{events}");
    assert_eq!(up.get("/api/runs/77", "").0, 404);
    assert_eq!(up.get("/api/nothing", "").0, 404);
    let (status, metrics) = up.get("/metrics", "");
    assert!(status == 200 && metrics.contains("polder_statements_total{door=\"http\",outcome=\"ok\"} 1"), "{metrics}");
    let (code, log) = up.end();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("stopped"), "{log}");
    // The lock went with it.
    assert_eq!(Up::start(&project).end().0, 0);
}

/// So long we wait for what comes by itself.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn files_are_read_again_and_wrong_ones_change_nothing() {
    let project = daily();
    let up = Up::start(&project);
    let rows = |user: &str| {
        let (_, body) =
            up.post("/api/sql", &format!("x-polder-user: {user}\r\n"), "select count(*) as n from gold.daily");
        serde_json::from_str::<serde_json::Value>(&body).unwrap()["rows"][0]["n"].as_i64()
    };
    assert_eq!(rows("ann"), Some(2));
    project.write("policies/daily.yaml", "table: gold.daily\nfor: ann\nfilter: orders > 5\n");
    until("ann's policy", PATIENCE, || rows("ann") == Some(1));
    assert_eq!(rows("bob"), Some(2));
    // Broken, they protect as before.
    project.write("policies/daily.yaml", "table: gold.daily\nfor: ann\nfiltr: orders > 5\n");
    until("that they are wrong", PATIENCE, || up.get("/healthz", "").1.contains("\"files\":\"wrong\""));
    assert_eq!((rows("ann"), rows("bob")), (Some(1), Some(2)));
    project.write("policies/daily.yaml", "table: gold.daily\nfor: bob\nfilter: orders > 5\n");
    until("bob's policy", PATIENCE, || rows("ann") == Some(2) && rows("bob") == Some(1));
    let (code, log) = up.end();
    assert_eq!(code, 0);
    assert!(log.contains("not reloaded:") && log.contains("policies/daily.yaml:3"), "{log}");
}

#[test]
fn tokens_open_doors_that_ask_for_them() {
    let project = daily();
    project.write("polder.yaml", "name: shop\ndoors: { tokens: always }\n");
    project.write("policies/daily.yaml", "table: gold.daily\nexcept: managers\nfilter: orders > 5\n");
    let token = project.polder(&["token", "ann"]).ends_with(0).out.trim().to_owned();
    assert!(token.starts_with("polder_") && token.len() > 60, "{token}");
    let manager = project.polder(&["token", "bob", "--role", "managers", "--expires", "1d"]).ends_with(0).out;
    project.polder(&["token", "ann"]).ends_with(1).complains("called `ann` already");
    let list = project.polder(&["token"]).ends_with(0).says("managers");
    assert!(!list.out.contains(&token), "{list:?}");
    let up = Up::start(&project);
    let ask = |headers: &str| up.post("/api/sql", headers, "select count(*) as n, current_user() as who from daily");
    assert_eq!(ask("").0, 401);
    assert_eq!(ask("authorization: Bearer polder_00\r\n").0, 401);
    let (status, body) = ask(&format!("authorization: Bearer {token}\r\n"));
    assert!(status == 200 && body.contains("{\"n\":1,\"who\":\"ann\"}"), "{body}");
    let (status, body) = ask(&format!("authorization: Bearer {}\r\n", manager.trim()));
    assert!(status == 200 && body.contains("{\"n\":2,\"who\":\"bob\"}"), "{body}");
    assert_eq!(up.get("/healthz", "").0, 200);
    assert_eq!(up.get("/metrics", "").0, 401);
    if has("psql") {
        let psql = |user: &str, password: &str| {
            let port = up.postgres.to_string();
            let mut psql = Command::new("psql");
            psql.args([
                "-X",
                "-w",
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                user,
                "-At",
                "-c",
                "select count(*) from daily",
                "main",
            ]);
            Done::from(psql.env("PGPASSWORD", password).output().unwrap())
        };
        assert_eq!(psql("ann", &token).ends_with(0).out, "1\n");
        assert_eq!(psql("bob", manager.trim()).ends_with(0).out, "2\n");
        psql("ann", "wrong").ends_with(2).complains("the token is not known");
        psql("eve", &token).ends_with(2).complains("the token is not `eve`'s");
    }
    project.polder(&["token", "ann", "--revoke"]).ends_with(0);
    assert_eq!(ask(&format!("authorization: Bearer {token}\r\n")).0, 401);
    assert_eq!(up.end().0, 0);
}

#[test]
fn hostile_bytes_leave_it_answering() {
    let project = daily();
    let up = Up::start(&project);
    // Of xorshift: the same in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let hello: &[u8] = b"\0\0\0\x1f\0\x03\0\0user\0eve\0database\0main\0\0";
    for round in 0..300 {
        for port in [up.postgres, up.http] {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let mut bytes: Vec<u8> = (0..random() % 200).map(|_| random() as u8).collect();
            if port == up.postgres && round % 2 == 0 {
                // Past the greeting, messages of known types.
                let kind = b"QPBDECHSpdcf"[(random() % 12) as usize];
                let mut message = vec![kind];
                message.extend(u32::try_from(bytes.len() + 4).unwrap().to_be_bytes());
                message.append(&mut bytes);
                bytes = [hello, &message].concat();
            } else if port == up.http && round % 2 == 0 {
                bytes =
                    [b"POST /api/sql HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n", &bytes[..]].concat();
            }
            // Whoever is sent nonsense may hang up at any time.
            let _ = socket.write_all(&bytes);
            if round % 3 == 0 {
                socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                let _ = socket.read(&mut [0; 64]);
            }
        }
    }
    assert_eq!(up.post("/api/sql", "", "select 1 as n").0, 200);
    // A page of another site, and a name that was made to lead here.
    assert_eq!(up.post("/api/sql", "origin: https://evil.example\r\n", "select 1 as n").0, 403);
    let rebound = "POST /api/sql HTTP/1.0\r\nhost: evil.example\r\ncontent-length: 8\r\n\r\nselect 1";
    assert_eq!(up.http(rebound).0, 403);
    if has("psql") {
        assert_eq!(up.psql("main", "select 1").ends_with(0).out, "1\n");
    }
    let (code, log) = up.end();
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("defect"), "{log}");
}

#[test]
fn statements_that_would_be_too_deep_are_refused() {
    let project = daily();
    let up = Up::start(&project);
    for (chain, end) in [("1+", "1"), ("- ", "1"), ("not ", "true"), ("1 union select ", "1"), ("true and ", "true")] {
        let statement = |times: usize| format!("select {}{end}", chain.repeat(times));
        let (status, body) = up.post("/api/sql", "", &statement(100_000));
        assert_eq!(status, 400, "{chain}: {body}");
        let (status, body) = up.post("/api/sql", "", &statement(1_000));
        assert_eq!(status, 400, "{chain}: {body}");
    }
    // As deep as it may be.
    let (status, body) = up.post("/api/sql", "", &format!("select {}1 as n", "1+".repeat(240)));
    assert!(status == 200 && body.contains("\"n\":241"), "{body}");
    assert_eq!(up.end().0, 0);
}

#[test]
fn http_tells_of_runs_whom_no_policy_binds_and_takes_refs_and_digits_as_written() {
    let project = daily();
    project.write("policies/daily.yaml", "table: gold.daily\nfor: ann\nfilter: orders > 5\n");
    project.polder(&["branch", "old"]).ends_with(0);
    project.write("models/gold/daily.sql", "select 1 as orders\n");
    project.polder(&["run"]).ends_with(0);
    let up = Up::start(&project);
    for path in ["/api/runs", "/api/runs/1", "/api/runs/1/events"] {
        assert_eq!(up.get(path, "x-polder-user: bob\r\n").0, 200, "{path}");
        let (status, body) = up.get(path, "x-polder-user: ann\r\n");
        assert!(status == 403 && body.contains("system.runs"), "{path}: {body}");
    }
    let json = "content-type: application/json\r\n";
    let count = r#"{"sql": "select count(*) as n from gold.daily"}"#;
    assert!(up.post("/api/sql?ref=old", json, count).1.contains("\"n\":2"));
    assert!(up.post("/api/sql", json, count).1.contains("\"n\":1"));
    assert_eq!(up.post("/api/sql?reff=old", json, count).0, 400);
    let digits = r#"{"sql": "select cast($1 as decimal(38, 9)) as d", "params": [12345678901234567890.123456789]}"#;
    let (_, body) = up.post("/api/sql", json, digits);
    assert!(body.contains("12345678901234567890.123456789"), "{body}");
    for (asked, told) in [
        (r#"{"sql": "select cast(1 as decimal(9, 2)) > $1 as d", "params": [1.5e-05]}"#, "\"d\":true"),
        (r#"{"sql": "select 1 as n", "params": [5]}"#, "the statement has 0 parameters, and 1 values were given"),
        (r#"{"sql": "select orders from gold.daily where orders = $1"}"#, "a parameter $1, and 0 values were given"),
        (r#"{"sql": "select orders from gold.daily where orders = $1", "params": ["x"]}"#, "`x` is no "),
    ] {
        let (_, body) = up.post("/api/sql", json, asked);
        assert!(body.contains(told), "{asked}: {body}");
    }
    assert_eq!(up.end().0, 0);
}

#[test]
fn a_run_is_followed_and_cancelled_from_elsewhere() {
    let project = Project::of(&[
        ("polder.yaml", "name: slow\n"),
        ("models/silver/quick.sql", "select 1 as n\n"),
        (
            "models/gold/slow.sql",
            "select sum(a.value % 7 + b.value % 3) as n from silver.quick q, generate_series(1, 1000000) a, \
             generate_series(1, 1000000) b where a.value % 11 <> b.value % 13\n",
        ),
    ]);
    let mut run = project.command(&["run"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the run in the list", PATIENCE, || {
        assert_eq!(run.try_wait().unwrap(), None, "{:?}", project.polder(&["runs"]));
        let listed: serde_json::Value =
            serde_json::from_str(&project.polder(&["runs", "--format", "json"]).ends_with(0).out).unwrap();
        listed[0]["executed"] == true
    });
    until("the step in the log", PATIENCE, || project.polder(&["logs", "1"]).ends_with(0).out.contains("silver.quick"));
    project.polder(&["cancel", "1"]).ends_with(0).says("cancelled by tester");
    let done = Done::from(run.wait_with_output().unwrap()).ends_with(1);
    assert!(done.out.contains("CANCELLED"), "{done:?}");
    project.polder(&["logs", "1"]).ends_with(0).says("run 1 is cancelled: cancelled by tester");
    project.polder(&["cancel", "1"]).ends_with(1).complains("run 1 does not go on: it is cancelled");
    project.polder(&["cancel", "9"]).ends_with(1).complains("there is no run 9");
    project.write("models/gold/slow.sql", "select 2 as n\n");
    project.polder(&["run"]).ends_with(0);
}
