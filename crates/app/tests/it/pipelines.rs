//! Pipelines with real runs: a scheduler on real state, on a clock that the test sets, and a webhook that listens.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polder_app::{AcceptRequest, App, AppError, OpenOptions, PipelineLog, PipelineRow, RunRequest, Scheduler};
use polder_base::{RunId, Timestamp};
use polder_run::{Event, EventSink, PipelineRecord, RunRecord, RunStatus, Silent, StepStatus};
use polder_store::{Batch, Space};
use polder_system::{RealSystem, System};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{ORDERS_SOURCE, Project, orders, row, rows, told};

/// A clock that stands still until it is set. Waits are real, but short.
#[derive(Debug)]
struct Clock(AtomicI64);

impl Clock {
    fn at(time: &str) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(time.parse::<Timestamp>().unwrap().0)))
    }

    fn set(&self, time: &str) {
        self.0.store(time.parse::<Timestamp>().unwrap().0, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl System for Clock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn random(&self) -> u64 {
        RealSystem.random()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration.min(Duration::from_millis(20))).await;
    }
}

/// A server's scheduler over a project.
struct Server {
    app: Arc<App>,
    apps: watch::Sender<Arc<App>>,
    stop: CancellationToken,
    work: JoinHandle<()>,
    /// What the log was told besides runs.
    troubles: Arc<Mutex<Vec<String>>>,
}

struct Log {
    sink: Arc<dyn EventSink>,
    troubles: Arc<Mutex<Vec<String>>>,
}

impl PipelineLog for Log {
    fn runs(&self, _: &str) -> Arc<dyn EventSink> {
        Arc::clone(&self.sink)
    }

    fn not_run(&self, pipeline: &str, error: &AppError) {
        self.troubles.lock().unwrap().push(format!("{pipeline}: {}", told(error)));
    }

    fn trouble(&self, pipeline: &str, what: Option<&str>) {
        self.troubles.lock().unwrap().push(format!("{pipeline}: {}", what.unwrap_or("goes on")));
    }
}

async fn open(project: &Project, clock: &Arc<Clock>) -> Arc<App> {
    let system: Arc<dyn System> = Arc::clone(clock) as _;
    let options = OpenOptions { principal: Some("ada".to_owned()), system, ..OpenOptions::new(project.path()) };
    match App::open(&options).await {
        Ok(app) => Arc::new(app),
        Err(error) => panic!("{}", told(&error)),
    }
}

impl Server {
    async fn start(project: &Project, clock: &Arc<Clock>) -> Self {
        Self::start_with(project, clock, Arc::new(Silent)).await
    }

    async fn start_with(project: &Project, clock: &Arc<Clock>, sink: Arc<dyn EventSink>) -> Self {
        let app = open(project, clock).await;
        let (apps, receiver) = watch::channel(Arc::clone(&app));
        let stop = CancellationToken::new();
        let troubles = Arc::default();
        let log = Log { sink, troubles: Arc::clone(&troubles) };
        let scheduler = Scheduler::new(receiver, Arc::new(log));
        let work = tokio::spawn(scheduler.work(stop.clone()));
        let server = Self { app, apps, stop, work, troubles };
        // The schedules count from now.
        let declared = server.app.project().pipelines.len();
        eventually(async || (server.records().await.len() == declared).then_some(())).await;
        server
    }

    async fn reload(&mut self, project: &Project, clock: &Arc<Clock>) {
        self.app = open(project, clock).await;
        self.apps.send_replace(Arc::clone(&self.app));
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.work).await.expect("it stops in time").unwrap();
    }

    async fn records(&self) -> Vec<PipelineRecord> {
        let found = self.app.catalog().state().scan(Space::Pipelines, "", None, 100).await.unwrap();
        found.iter().map(|(_, raw)| serde_json::from_slice(raw).unwrap()).collect()
    }

    async fn runs(&self) -> Vec<RunRecord> {
        let found = self.app.catalog().state().scan(Space::Runs, "", None, 100).await.unwrap();
        found.iter().map(|(_, raw)| serde_json::from_slice(raw).unwrap()).collect()
    }

    /// Waits until the pipeline has done all that is due; gives its status.
    async fn settled(&self, due: &str) -> String {
        let due: Timestamp = due.parse().unwrap();
        eventually(async || {
            let record = self.records().await.remove(0);
            let last = record.last.as_ref().filter(|last| last.due == due && record.active.is_none())?;
            Some(last.status.as_str().to_owned())
        })
        .await
    }
}

async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1500 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come");
}

fn shop(pipeline: &str) -> Project {
    let project = Project::new(&[
        ORDERS_SOURCE,
        ("models/gold/total.sql", "select sum(amount) as total from bronze.orders\n"),
        ("checks/total.yaml", "table: gold.total\nchecks:\n  - holds: total < 1000\n"),
        ("pipelines/hourly.yaml", pipeline),
    ]);
    project.write("data/orders/a.csv", &orders(1..=2));
    project
}

/// A webhook that takes what it gets, once it has refused so many.
async fn webhook(refuses: usize) -> (String, Arc<Mutex<Vec<serde_json::Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/s3cret", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&taken);
    tokio::spawn(async move {
        let mut refused = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let body = loop {
                let mut chunk = [0; 4096];
                let n = stream.read(&mut chunk).await.unwrap();
                request.extend_from_slice(&chunk[..n]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0) {
                    assert!(head.starts_with("POST /s3cret "), "{head}");
                    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
                    break body.to_owned();
                }
            };
            let status = if refused < refuses { "503 Service Unavailable" } else { "204 No Content" };
            match refused < refuses {
                true => refused += 1,
                false => kept.lock().unwrap().push(serde_json::from_str(&body).unwrap()),
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_pipeline_runs_once_and_is_read_as_a_table() {
    let project = shop("every: 1h\nrun: +gold.total\nvars: { days: 3 }\n");
    let clock = Clock::at("2026-11-20T05:50:00Z");
    let server = Server::start(&project, &clock).await;
    clock.set("2026-11-20T06:00:05Z");
    assert_eq!(server.settled("2026-11-20T06:00:00Z").await, "published");
    // Set back, and forth again.
    clock.set("2026-11-20T05:59:00Z");
    tokio::time::sleep(Duration::from_millis(200)).await;
    clock.set("2026-11-20T06:00:30Z");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let app = &server.app;
    assert_eq!(
        rows(app, "main", "select run, pipeline, due, selection, status from system.runs").await,
        ["1|hourly|2026-11-20T06:00:00Z|+gold.total|published"]
    );
    let columns = "name, schedule, time_zone, paused, status, next, last_due, last_run, failing_since";
    assert_eq!(
        row(app, "main", &format!("select {columns} from system.pipelines")).await,
        "hourly|every 1h|NULL|false|published|2026-11-20T07:00:00Z|2026-11-20T06:00:00Z|1|NULL"
    );
    let listed = app.pipelines().await.unwrap();
    assert_eq!(listed[0].next, Some("2026-11-20T07:00:00Z".parse().unwrap()));
    assert_eq!(server.runs().await[0].vars["days"], 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_and_recovery_are_told_to_a_webhook_that_first_refuses() {
    let (address, taken) = webhook(1).await;
    let project = shop("every: 1h\nnotify:\n  - webhook: ${env:HOOK}\n");
    project.write(".env", &format!("HOOK={address}\n"));
    project.write("data/orders/b.csv", &orders(100..=101));
    let clock = Clock::at("2026-11-20T05:50:00Z");
    let mut server = Server::start(&project, &clock).await;
    clock.set("2026-11-20T06:00:05Z");
    assert_eq!(server.settled("2026-11-20T06:00:00Z").await, "held");
    eventually(async || (server.records().await[0].notices.first()?.tries == 1).then_some(())).await;
    let raw = server.app.catalog().state().get(Space::Pipelines, "hourly").await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&raw).contains("s3cret"), "the address is a secret");
    clock.set("2026-11-20T06:01:00Z");
    let failure = eventually(async || taken.lock().unwrap().first().cloned()).await;
    assert_eq!((&failure["event"], &failure["status"]), (&"failure".into(), &"held".into()), "{failure:#}");
    assert_eq!((&failure["run"], &failure["due"]), (&1.into(), &"2026-11-20T06:00:00Z".into()));
    let text = failure["text"].as_str().unwrap();
    assert!(text.starts_with("test: pipeline hourly was held (run 1), due 2026-11-20T06:00:00Z\n"), "{text}");

    project.write("checks/total.yaml", "table: gold.total\nchecks:\n  - holds: total < 100000\n");
    server.reload(&project, &clock).await;
    clock.set("2026-11-20T07:00:05Z");
    assert_eq!(server.settled("2026-11-20T07:00:00Z").await, "published");
    let recovery = eventually(async || taken.lock().unwrap().get(1).cloned()).await;
    assert_eq!((&recovery["event"], &recovery["run"]), (&"recovery".into(), &2.into()), "{recovery:#}");
    assert_eq!(recovery["failing_since"], "2026-11-20T06:00:05Z");
    eventually(async || server.records().await[0].notices.is_empty().then_some(())).await;
    server.stop().await;
}

/// Stops at the first step of a run until it is let go.
struct Gate {
    reached: CancellationToken,
    go_on: std::sync::mpsc::Sender<()>,
    wait: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Gate {
    fn new() -> Arc<Self> {
        let (go_on, wait) = std::sync::mpsc::channel();
        Arc::new(Self { reached: CancellationToken::new(), go_on, wait: Mutex::new(wait) })
    }
}

impl EventSink for Gate {
    fn event(&self, event: &Event) {
        if matches!(event, Event::StepFinished { status: StepStatus::Done, .. }) && !self.reached.is_cancelled() {
            self.reached.cancel();
            tokio::task::block_in_place(|| {
                let _ = self.wait.lock().unwrap().recv_timeout(Duration::from_secs(20));
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_stops_leaves_its_run_to_the_next() {
    let project = shop("every: 1h\n");
    let clock = Clock::at("2026-11-20T05:50:00Z");
    let gate = Gate::new();
    let server = Server::start_with(&project, &clock, Arc::clone(&gate) as _).await;
    clock.set("2026-11-20T06:00:05Z");
    gate.reached.cancelled().await;
    let go_on = gate.go_on.clone();
    let app = Arc::clone(&server.app);
    let stopping = tokio::spawn(server.stop());
    // It says that it was interrupted before it ends.
    eventually(async || {
        let raw = app.catalog().state().get(Space::Pipelines, "hourly").await.unwrap().unwrap();
        let record: PipelineRecord = serde_json::from_slice(&raw).unwrap();
        record.active.unwrap().interrupted.then_some(())
    })
    .await;
    go_on.send(()).unwrap();
    stopping.await.unwrap();
    drop(app);
    let server = Server::start(&project, &clock).await;
    assert_eq!(server.settled("2026-11-20T06:00:00Z").await, "published");
    let runs = server.runs().await;
    assert_eq!(runs.len(), 1, "{runs:#?}");
    assert_eq!((runs[0].status, runs[0].resumed), (RunStatus::Published, 1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_tried_again_with_the_same_run() {
    let project = shop("every: 1h\nretries: { times: 1, wait: 10m }\n");
    project.write("sources/erp.yaml", "postgres: postgres://nobody@127.0.0.1:1/none\ntables: [things]\n");
    let clock = Clock::at("2026-11-20T05:50:00Z");
    let server = Server::start(&project, &clock).await;
    clock.set("2026-11-20T06:00:05Z");
    eventually(async || (server.records().await[0].status() == Some("retrying")).then_some(())).await;
    assert_eq!(server.runs().await.len(), 1);
    clock.set("2026-11-20T06:10:05Z");
    assert_eq!(server.settled("2026-11-20T06:00:00Z").await, "failed");
    let record = server.records().await.remove(0);
    assert_eq!(record.last.map(|last| last.attempts), Some(2));
    let runs = server.runs().await;
    assert_eq!((runs.len(), runs[0].resumed), (1, 1), "{runs:#?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_that_takes_too_long_is_cancelled_but_sleep_is_no_work() {
    let project = shop("every: 1h\ntimeout: 1m\n");
    let clock = Clock::at("2026-11-20T05:50:00Z");
    let gate = Gate::new();
    let server = Server::start_with(&project, &clock, Arc::clone(&gate) as _).await;
    clock.set("2026-11-20T06:00:05Z");
    gate.reached.cancelled().await;
    // The machine slept for an hour: that was not the run's time.
    clock.set("2026-11-20T06:50:00Z");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!server.records().await[0].active.as_ref().unwrap().timed_out);
    for second in (0..59).step_by(5) {
        clock.set(&format!("2026-11-20T06:51:{second:02}Z"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eventually(async || server.records().await[0].active.as_ref().is_some_and(|a| a.timed_out).then_some(())).await;
    gate.go_on.send(()).unwrap();
    assert_eq!(server.settled("2026-11-20T06:00:00Z").await, "timed out");
    let run = server.runs().await.remove(0);
    assert_eq!(run.status, RunStatus::Cancelled);
    assert_eq!(run.reason.as_deref(), Some("timed out after 60s; run/1 stays to look at"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_one_begins_a_run() {
    let project = shop("every: 1h\n");
    let clock = Clock::at("2026-11-20T05:50:00Z");
    let (one, other) = (Server::start(&project, &clock).await, Server::start(&project, &clock).await);
    for hour in 6..9 {
        clock.set(&format!("2026-11-20T0{hour}:00:05Z"));
        assert_eq!(one.settled(&format!("2026-11-20T0{hour}:00:00Z")).await, "published");
    }
    assert_eq!(other.runs().await.len(), 3);
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_is_run_by_hand_and_its_selection_is_validated() {
    let project = shop("every: 1h\nrun: +gold.total\nref: main\npaused: true\n");
    let app = project.open().await;
    let (app, request) = app.for_pipeline(app.pipeline("hourly").unwrap());
    assert_eq!(request.select, ["+gold.total"]);
    let summary = crate::support::run(&app, &request).await.unwrap();
    assert_eq!((summary.record.pipeline.as_deref(), summary.record.due), (Some("hourly"), None));
    assert_eq!(
        told(&app.pipeline("hourli").unwrap_err()),
        "error[R030]: no pipeline is called `hourli` (did you mean `hourly`?)"
    );
    // A run of a slot that nobody decided is none.
    let due = Some("2026-11-20".parse().unwrap());
    let refused = crate::support::run(&app, &RunRequest { due, ..request }).await.unwrap_err();
    assert_eq!(told(&refused), "error[R031]: pipeline hourly was begun by another server");
    assert_eq!(rows(&app, "main", "select name from system.refs").await, ["main"]);

    project.write("pipelines/hourly.yaml", "every: 1h\nrun: [gold.totl, 'tagg:x']\nexclude: 'x:'\n");
    let problems = polder_app::validate(project.path(), None, &Default::default(), Default::default());
    let found: Vec<String> = problems.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(problems.diagnostics.iter().all(|d| d.label.is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_for_the_same_is_held_once() {
    let project = shop("every: 1h\n");
    project.write("data/orders/b.csv", &orders(100..=101));
    let clock = Clock::at("2026-11-20T05:50:00Z");
    let server = Server::start(&project, &clock).await;
    for hour in 6..9 {
        clock.set(&format!("2026-11-20T0{hour}:00:05Z"));
        assert_eq!(server.settled(&format!("2026-11-20T0{hour}:00:00Z")).await, "held");
    }
    let runs = server.runs().await;
    let same: Vec<_> = runs.iter().map(|run| run.same_as.map(|first| first.0)).collect();
    assert_eq!(same, [None, Some(1), Some(1)], "{runs:#?}");
    let kept = rows(&server.app, "main", "select run from system.runs where same_as = 1 order by run").await;
    assert_eq!(kept, ["2", "3"]);
    let reason = runs[2].reason.clone().unwrap();
    assert!(reason.starts_with("still held by run 1: nothing changed (total < 1000 on gold.total"), "{reason}");
    assert!(!reason.contains("run/3"), "{reason}");
    let app = Arc::clone(&server.app);
    let branches = async || rows(&app, "main", "select name from system.refs order by name").await;
    assert_eq!(branches().await, ["main", "run/1"]);
    let open: Vec<u64> = app.status().await.unwrap().open.iter().map(|open| open.record.id.0).collect();
    assert_eq!(open, [1]);
    // Something new: it is held with that.
    project.write("data/orders/c.csv", &orders(200..=200));
    clock.set("2026-11-20T09:00:05Z");
    assert_eq!(server.settled("2026-11-20T09:00:00Z").await, "held");
    assert_eq!(branches().await, ["main", "run/1", "run/4"]);
    clock.set("2026-11-20T10:00:05Z");
    assert_eq!(server.settled("2026-11-20T10:00:00Z").await, "held");
    assert_eq!(server.runs().await[4].same_as.map(|first| first.0), Some(4));
    let accept = async |run: u64| {
        let request = AcceptRequest { reason: Some("known".to_owned()), quarantine: false };
        app.accept(RunId(run), &request, Arc::new(Silent), &CancellationToken::new()).await
    };
    let error = accept(5).await.unwrap_err();
    assert!(told(&error).contains("it came to the same as run 4"), "{}", told(&error));
    assert_eq!(accept(4).await.unwrap().record.status, RunStatus::Published);
    clock.set("2026-11-20T11:00:05Z");
    assert_eq!(server.settled("2026-11-20T11:00:00Z").await, "published");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_files_are_held_anew() {
    let project = shop("every: 1h\n");
    project.write("data/orders/b.csv", &orders(100..=101));
    let clock = Clock::at("2026-11-20T05:50:00Z");
    let mut server = Server::start(&project, &clock).await;
    clock.set("2026-11-20T06:00:05Z");
    assert_eq!(server.settled("2026-11-20T06:00:00Z").await, "held");
    project.write("checks/total.yaml", "table: gold.total\nchecks:\n  - holds: total < 1001\n");
    server.reload(&project, &clock).await;
    clock.set("2026-11-20T07:00:05Z");
    assert_eq!(server.settled("2026-11-20T07:00:00Z").await, "held");
    let runs = server.runs().await;
    assert_eq!((runs.len(), runs[1].same_as), (2, None));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_cannot_run_or_be_read_is_told_and_the_others_go_on() {
    let project = shop("every: 1h\n");
    project.write("pipelines/broken.yaml", "every: 1h\nrun: gold.broken\nnotify: []\n");
    project.write("pipelines/damaged.yaml", "every: 1h\n");
    project.write("models/gold/broken.sql", "select 1 as one\nfrom where x\n");
    let clock = Clock::at("2026-11-20T05:50:00Z");
    let server = Server::start(&project, &clock).await;
    let damage = Batch::new().put(Space::Pipelines, "damaged", b"{ not json".to_vec());
    server.app.catalog().state().apply(damage).await.unwrap();
    clock.set("2026-11-20T06:00:05Z");
    let state = async || -> Vec<PipelineRow> { server.app.pipelines().await.unwrap() };
    let row = async |name: &str| state().await.into_iter().find(|row| row.name == name).unwrap();
    eventually(async || (row("broken").await.status == Some("failed")).then_some(())).await;
    let broken = row("broken").await;
    let reason = broken.reason.unwrap();
    assert!(reason.starts_with("error[") && reason.ends_with("(models/gold/broken.sql:2:6)"), "{reason}");
    assert_eq!(broken.last_run, None);
    let damaged = row("damaged").await;
    assert_eq!((damaged.status, damaged.next), (Some("damaged"), None));
    assert!(damaged.reason.unwrap().contains("cannot be read"));
    let names = rows(&server.app, "main", "select name from system.pipelines order by name").await;
    assert_eq!(names, ["broken", "hourly"], "the others are shown");
    let troubles = server.troubles.lock().unwrap().clone();
    let of = |name: &str| troubles.iter().filter(|told| told.starts_with(&format!("{name}: "))).count();
    assert_eq!((of("broken"), of("damaged")), (1, 1), "each once: {troubles:#?}");
    assert!(troubles.iter().any(|told| told.contains("models/gold/broken.sql:2:6")), "{troubles:#?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_somebody_else_made_good_is_no_failure() {
    let project = shop("every: 1h\nretries: { times: 1, wait: 10m }\n");
    project.write("sources/erp.yaml", "postgres: postgres://nobody@127.0.0.1:1/none\ntables: [things]\n");
    let clock = Clock::at("2026-11-20T05:50:00Z");
    let server = Server::start(&project, &clock).await;
    clock.set("2026-11-20T06:00:05Z");
    eventually(async || (server.records().await[0].status() == Some("retrying")).then_some(())).await;
    // Somebody gets the things in another way, and runs everything, with what the first try has read.
    project.remove("sources/erp.yaml");
    project.write("sources/erp_things.yaml", "files: data/things.csv\n");
    project.write("data/things.csv", "id\n1\n");
    let app = open(&project, &clock).await;
    let by_hand = crate::support::run(&app, &RunRequest::default()).await.unwrap();
    assert_eq!((by_hand.record.status, by_hand.record.took_over.len()), (RunStatus::Published, 1), "{by_hand:#?}");
    clock.set("2026-11-20T06:10:05Z");
    assert_eq!(server.settled("2026-11-20T06:00:00Z").await, "published");
    let record = server.records().await.remove(0);
    assert_eq!((record.last_run(), record.failing_since), (Some(RunId(2)), None), "{record:#?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_of_which_somebody_else_did_a_part_is_done_anew() {
    let project = shop("every: 1h\nretries: { times: 1, wait: 10m }\n");
    project.write("sources/erp.yaml", "postgres: postgres://nobody@127.0.0.1:1/none\ntables: [things]\n");
    let clock = Clock::at("2026-11-20T05:50:00Z");
    let server = Server::start(&project, &clock).await;
    clock.set("2026-11-20T06:00:05Z");
    eventually(async || (server.records().await[0].status() == Some("retrying")).then_some(())).await;
    // Somebody runs what can be run, with what the first try has read.
    let request = RunRequest { exclude: vec!["bronze.erp_things".to_owned()], ..RunRequest::default() };
    let app = open(&project, &clock).await;
    let by_hand = crate::support::run(&app, &request).await.unwrap();
    assert_eq!((by_hand.record.status, by_hand.record.took_over.len()), (RunStatus::Published, 1), "{by_hand:#?}");
    clock.set("2026-11-20T06:10:05Z");
    assert_eq!(server.settled("2026-11-20T06:00:00Z").await, "failed", "nobody has read the things");
    let record = server.records().await.remove(0);
    assert_eq!(record.last.as_ref().map(|last| (last.run, last.attempts)), Some((Some(RunId(3)), 2)), "{record:#?}");
    assert!(record.failing_since.is_some());
    server.stop().await;
}

/// What is held for the same keeps the first run's branch for as long as that goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_others_were_folded_into_is_kept_from_the_last_of_them() {
    let project = shop("cron: 0 6 * * *\n");
    project.write("data/orders/b.csv", &orders(100..=101));
    let clock = Clock::at("2026-11-01T05:50:00Z");
    let server = Server::start(&project, &clock).await;
    let expires = async |branch: &str| server.app.catalog().find_ref(branch).await.unwrap().and_then(|r| r.expires);
    for day in 1..=6 {
        clock.set(&format!("2026-11-0{day}T06:00:05Z"));
        assert_eq!(server.settled(&format!("2026-11-0{day}T06:00:00Z")).await, "held");
    }
    assert_eq!(expires("run/1").await, Some("2026-11-13T06:00:05Z".parse().unwrap()));
    // Past its day, it may go at any moment: the next one keeps its own.
    clock.set("2026-11-13T06:00:05Z");
    assert_eq!(server.settled("2026-11-13T06:00:00Z").await, "held");
    assert_eq!(server.runs().await.last().unwrap().same_as, None);
    assert_eq!(expires("run/7").await, Some("2026-11-20T06:00:05Z".parse().unwrap()));
    server.stop().await;
}

/// Somebody cancels a run, and the server stops before it could take note of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_person_cancelled_stays_so_when_the_server_stops() {
    let project = shop("every: 1h\n");
    let clock = Clock::at("2026-11-20T05:50:00Z");
    let gate = Gate::new();
    let server = Server::start_with(&project, &clock, Arc::clone(&gate) as _).await;
    clock.set("2026-11-20T06:00:05Z");
    gate.reached.cancelled().await;
    server.app.cancel(RunId(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    server.stop.cancel();
    eventually(async || server.records().await[0].active.as_ref()?.interrupted.then_some(())).await;
    gate.go_on.send(()).unwrap();
    server.stop().await;
    let server = Server::start(&project, &clock).await;
    assert_eq!(server.settled("2026-11-20T06:00:00Z").await, "cancelled");
    let run = server.runs().await.remove(0);
    assert_eq!((run.resumed, run.cancelled_by.as_deref()), (0, Some("ada")), "{run:#?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_cancels_a_run_that_a_server_left_is_told_as_such() {
    let project = shop("every: 1h\n");
    let clock = Clock::at("2026-11-20T05:50:00Z");
    let gate = Gate::new();
    let server = Server::start_with(&project, &clock, Arc::clone(&gate) as _).await;
    clock.set("2026-11-20T06:00:05Z");
    gate.reached.cancelled().await;
    server.stop.cancel();
    eventually(async || server.records().await[0].active.as_ref()?.interrupted.then_some(())).await;
    gate.go_on.send(()).unwrap();
    server.stop().await;
    // The next server goes on with it, and somebody does not want that.
    let gate = Gate::new();
    let server = Server::start_with(&project, &clock, Arc::clone(&gate) as _).await;
    gate.reached.cancelled().await;
    server.app.cancel(RunId(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    gate.go_on.send(()).unwrap();
    assert_eq!(server.settled("2026-11-20T06:00:00Z").await, "cancelled");
    let run = server.runs().await.remove(0);
    assert_eq!(run.resumed, 1);
    assert_eq!(run.reason.as_deref(), Some("cancelled by ada; run/1 stays to look at"));
    server.stop().await;
}
