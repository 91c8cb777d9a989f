//! A project in a folder of its own, and the program to run in it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub struct Project {
    folder: tempfile::TempDir,
}

/// What a command gave.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Done {
    /// Asserts the exit code, and shows what was said where it is another.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.out.contains(text), "no `{text}` in stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no `{text}` in stderr:\n{}\nstdout:\n{}", self.err, self.out);
        self
    }
}

/// The program, with an environment that does not depend on who runs the tests.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polder"));
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "COLUMNS", "POLDER_PRINCIPAL", "RUST_BACKTRACE"] {
        command.env_remove(name);
    }
    command.env("USER", "tester").stdin(Stdio::null());
    command
}

/// Says that the test that calls this cannot test here what it is for. Of a test that passes nothing is shown, so it is
/// written down as well, where somebody asks for that (`tools/test.sh` does).
pub fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
    let Some(list) = std::env::var_os("POLDER_TEST_SKIPPED") else { return };
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    let mut list = std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
    list.write_all(line.as_bytes()).unwrap();
}

impl Project {
    /// A folder without anything.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A project of these files.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let project = Self::empty();
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    /// The shop, with a history of so many orders.
    pub fn shop(orders: u32) -> Self {
        let project = Self::empty();
        project.polder(&["init", ".", "--example", "shop"]).ends_with(0);
        project.generate(orders, &[]);
        project
    }

    pub fn generate(&self, orders: u32, more: &[&str]) -> Done {
        let orders = orders.to_string();
        let arguments = [&["generate", "shop", "--out", "data", "--orders", &orders], more].concat();
        self.polder(&arguments).ends_with(0)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    pub fn polder(&self, arguments: &[&str]) -> Done {
        self.command(arguments).output().unwrap().into()
    }

    /// Rows of a statement, as JSON objects.
    #[track_caller]
    pub fn ask(&self, statement: &str) -> Vec<serde_json::Value> {
        self.ask_at("main", statement)
    }

    #[track_caller]
    pub fn ask_at(&self, at: &str, statement: &str) -> Vec<serde_json::Value> {
        let done = self.polder(&["sql", "--ref", at, "--format", "json", statement]).ends_with(0);
        serde_json::from_str(&done.out).unwrap()
    }

    /// The one number that a statement gives.
    #[track_caller]
    pub fn number(&self, statement: &str) -> i64 {
        self.number_at("main", statement)
    }

    #[track_caller]
    pub fn number_at(&self, at: &str, statement: &str) -> i64 {
        let rows = self.ask_at(at, statement);
        let value = rows[0].as_object().unwrap().values().next().unwrap();
        value.as_i64().unwrap_or_else(|| panic!("{value} is no whole number"))
    }
}

/// Asks until it is so.
#[track_caller]
pub fn until(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < within, "it never came: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
