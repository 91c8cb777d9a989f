//! A full disk under `polder up`: what happens is told, nothing is lost, and when there is room again, the server goes on.
//!
//! The disk is a small one in memory, mounted in a namespace of its own, which takes no rights of a superuser; every command
//! of the test enters it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::fixture::{Done, Project, skipped, until};
use crate::serving::{Killed, Up};

/// A small disk at the project's home.
struct Disk<'p> {
    project: &'p Project,
    holder: Killed,
}

impl<'p> Disk<'p> {
    /// `None`: this machine does not let us.
    fn mount(project: &'p Project, megabytes: u32) -> Option<Self> {
        std::fs::create_dir(project.path(".polder")).unwrap();
        let mount = format!("mount -t tmpfs -o size={megabytes}m none .polder && echo mounted && exec sleep 600");
        let mut unshare = Command::new("unshare");
        unshare.args(["-r", "-m", "sh", "-c", &mount]).current_dir(project.folder());
        let spawned = unshare.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut holder = Killed(spawned.ok()?);
        let mut word = String::new();
        let stdout = holder.0.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut word).unwrap();
        (word == "mounted\n").then_some(Self { project, holder })
    }

    /// A command where the disk is, in the project's folder.
    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let inner = self.project.command(&[]);
        let mut command = Command::new("nsenter");
        command.args(["--preserve-credentials", "-U", "-m", "-t", &self.holder.0.id().to_string()]);
        command.args(["sh", "-c", "cd \"$0\" && exec \"$@\""]).arg(self.project.folder()).arg(program).args(arguments);
        command.stdin(Stdio::null());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    fn polder(&self, arguments: &[&str]) -> Done {
        let program = Path::new(env!("CARGO_BIN_EXE_polder"));
        self.command(program, arguments).output().unwrap().into()
    }

    fn shell(&self, script: &str) {
        self.command(Path::new("sh"), &["-c", script]).stderr(Stdio::null()).status().unwrap();
    }

    /// Leaves no byte free.
    fn fill(&self) {
        self.shell("cat /dev/zero > .polder/filler; cat /dev/zero > .polder/filler2");
    }

    fn empty(&self) {
        self.shell("rm -f .polder/filler .polder/filler2");
    }
}

/// The one number that a statement gives for `n`.
fn number(up: &Up, statement: &str) -> u64 {
    let (status, body) = up.post("/api/sql", "", statement);
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    answer["rows"][0]["n"].as_u64().unwrap_or_else(|| panic!("{body}"))
}

fn orders(from: u32, to: u32) -> String {
    // Nothing that a compression would make small.
    let rows = (from..=to).map(|id| format!("{id},customer {},{}\n", id % 1000, u64::from(id) * 7919 % 1_000_003));
    std::iter::once("id,customer,amount\n".to_owned()).chain(rows).collect()
}

/// So long we wait for what comes by itself.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_full_disk_stops_runs_and_not_the_server_and_when_there_is_room_it_goes_on() {
    let project = Project::of(&[
        ("polder.yaml", "name: full\nmemory_limit: 256MB\n"),
        ("sources/orders.yaml", "files: data/*.csv\n"),
        ("models/gold/total.sql", "select count(*) as n, sum(amount) as amount from bronze.orders\n"),
        ("checks/orders.yaml", "table: bronze.orders\nchecks:\n  - unique: id\n"),
        ("pipelines/often.yaml", "every: 10s\nretries: { times: 100, wait: 1s, longest: 1s }\n"),
    ]);
    project.write("data/a.csv", &orders(1, 1000));
    let Some(disk) = Disk::mount(&project, 24) else {
        return skipped("no disk can be mounted in a namespace of one's own");
    };
    disk.polder(&["run"]).ends_with(0);
    let up = Up::of(&mut disk.command(Path::new(env!("CARGO_BIN_EXE_polder")), &["up"]));
    assert!(!up.get("/healthz", "").1.contains("pipelines"));

    // No byte is left for the scheduler's record.
    disk.fill();
    project.write("data/b.csv", &orders(1001, 2000));
    until("the trouble", PATIENCE, || up.get("/healthz", "").1.contains("\"pipelines\":"));
    assert_eq!(up.get("/healthz", "").0, 200, "what is published is served");
    assert_eq!(number(&up, "select n from gold.total"), 1000);

    // A little room: for the record of a run, and not for its rows.
    project.write("data/c.csv", &orders(2001, 300_000));
    disk.shell("truncate -s -1M .polder/filler");
    until("a run that failed", PATIENCE, || up.get("/api/runs", "").1.contains("no space left for bronze/orders"));
    assert!(number(&up, "select n from gold.total") < 300_000);

    disk.empty();
    until("all rows", PATIENCE, || number(&up, "select n from gold.total") == 300_000);
    until("no trouble", PATIENCE, || !up.get("/healthz", "").1.contains("\"pipelines\":"));
    assert_eq!(number(&up, "select count(*) as n from bronze.orders"), 300_000);
    assert_eq!(number(&up, "select count(distinct id) as n from bronze.orders"), 300_000);
    let (code, log) = up.end();
    assert_eq!(code, 0, "{log}");
    for told in ["warning: pipeline often: ", "the scheduler goes on"] {
        assert!(log.contains(told), "{told}: {log}");
    }
}
