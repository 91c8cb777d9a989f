//! A private PostgreSQL, started from the server programs found on the machine.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

pub struct Server {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    process: Child,
}

/// Starts a server; `None` (and a word about it) where there is none to start.
pub async fn server() -> Option<Server> {
    let Some(programs) = programs() else {
        skipped("no PostgreSQL server programs found (Debian: apt-get install postgresql)");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    // The server runs as another user than root, who has to get in.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let data = folder.path().join("data");
    let made = as_server_user(&programs.join("initdb"))
        .args(["--auth-local=trust", "--auth-host=scram-sha-256", "--username=tester", "--no-sync", "--encoding=UTF8"])
        .arg("--pwfile")
        .arg(password_file(folder.path()))
        .arg(&data)
        .output()
        .unwrap();
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    let port = free_port();
    let process = start(&programs, folder.path(), port);
    let server = Server { programs, folder, port, process };
    server.wait().await;
    Some(server)
}

/// Says that the test that calls this cannot test here what it is for. Of a test that passes nothing is shown, so it is
/// written down as well, where somebody asks for that (`tools/test.sh` does).
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
    let Some(list) = std::env::var_os("POLDER_TEST_SKIPPED") else { return };
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    let mut list = std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
    list.write_all(line.as_bytes()).unwrap();
}

fn password_file(folder: &Path) -> PathBuf {
    let path = folder.join("password");
    std::fs::write(&path, "right").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    path
}

fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop()
}

/// PostgreSQL refuses to run as root.
fn as_server_user(program: &Path) -> Command {
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"));
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn free_port() -> u16 {
    // Tests of one process start servers at once: a port that one was given is not another's before its server listens.
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

fn start(programs: &Path, folder: &Path, port: u16) -> Child {
    as_server_user(&programs.join("postgres"))
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k"])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Server {
    pub fn url(&self) -> String {
        self.url_as("tester", "right", "postgres")
    }

    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    async fn wait(&self) {
        for _ in 0..200 {
            if PgConnection::connect(&self.url()).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server does not start");
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    pub async fn execute(&self, sql: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    }

    /// Stops at once, as after a power cut.
    pub fn kill(&mut self) {
        let data = self.folder.path().join("data");
        let mut stop = as_server_user(&self.programs.join("pg_ctl"));
        stop.args(["stop", "-m", "immediate", "-D"]).arg(data).output().unwrap();
        let _ = self.process.wait();
    }

    pub async fn restart(&mut self) {
        self.process = start(&self.programs, self.folder.path(), self.port);
        self.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
