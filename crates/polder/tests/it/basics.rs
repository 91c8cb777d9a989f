//! What every program does: version, help, exit codes, pipes.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::fixture::{Done, Project, program};

#[test]
fn version_and_help_need_no_project() {
    let project = Project::empty();
    let done = project.polder(&["--version"]).ends_with(0);
    assert_eq!(done.out, format!("polder {}\n", env!("CARGO_PKG_VERSION")));
    project.polder(&["--help"]).ends_with(0).says("Exit codes: 0 ok");
    project.polder(&["run", "--help"]).ends_with(0).says("--full-refresh");
}

/// Nothing is started before the arguments are read. The limit is generous: a machine that runs all tests is busy.
#[test]
fn version_answers_at_once() {
    let fastest = (0..10)
        .map(|_| {
            let since = Instant::now();
            assert!(program().arg("--version").stdout(Stdio::null()).status().unwrap().success());
            since.elapsed()
        })
        .min();
    assert!(fastest.unwrap() < Duration::from_millis(100), "{fastest:?}");
}

#[test]
fn a_wrong_command_line_ends_with_2_and_a_suggestion() {
    let project = Project::empty();
    project.polder(&["rum"]).ends_with(2).complains("run");
    project.polder(&["run", "--resume", "1", "--full-refresh"]).ends_with(2).complains("cannot be used with");
}

#[test]
fn without_a_project_commands_say_how_to_make_one() {
    let project = Project::empty();
    for command in ["validate", "run", "status"] {
        project.polder(&[command]).ends_with(2).complains("polder.yaml").complains("polder init");
    }
    assert!(!project.path(".polder").exists(), "a folder without a project stays as it was");
}

#[test]
fn a_project_is_found_from_the_folders_below_it() {
    let project = Project::of(&[("polder.yaml", "name: below\n"), ("models/gold/one.sql", "select 1 as one\n")]);
    let below = program().args(["validate"]).current_dir(project.path("models/gold")).output().unwrap();
    Done::from(below).ends_with(0);
    let named = program().args(["validate", "--project"]).arg(project.folder()).current_dir("/").output().unwrap();
    Done::from(named).ends_with(0);
}

/// `polder … | head` ends without an error message.
#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = program().args(["reference"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let done: Done = child.wait_with_output().unwrap().into();
    assert_eq!(done.err, "");
    assert_eq!(done.code, 0);
}

#[test]
fn colours_are_for_terminals_and_on_demand() {
    let project = Project::of(&[("polder.yaml", "name: x\n"), ("models/gold/one.sql", "select from from\n")]);
    let plain = project.polder(&["validate"]);
    assert!(!plain.err.contains('\u{1b}') && !plain.out.contains('\u{1b}'), "{plain:?}");
    let asked = project.polder(&["validate", "--color", "always"]);
    assert!(asked.err.contains('\u{1b}') || asked.out.contains('\u{1b}'), "{asked:?}");
    let mut refused = project.command(&["validate"]);
    let refused: Done = refused.env("NO_COLOR", "1").env("CLICOLOR_FORCE", "1").output().unwrap().into();
    assert!(!refused.err.contains('\u{1b}') && !refused.out.contains('\u{1b}'), "{refused:?}");
}

#[test]
fn an_example_is_a_project_and_is_not_overwritten() {
    let project = Project::empty();
    project.polder(&["init", "shop", "--example", "shop"]).ends_with(0);
    assert!(project.path("shop/models/gold/daily_revenue.sql").exists());
    project.polder(&["validate", "--project", "shop"]).ends_with(0);
    project.polder(&["init", "shop", "--example", "shop"]).ends_with(1).complains("shop");
    project.polder(&["init", "other", "--example", "shpo"]).ends_with(1).complains("did you mean `shop`");
    project.polder(&["init", "own"]).ends_with(0);
    project.polder(&["validate", "--project", "own"]).ends_with(0);
}

/// The example that is built in is the one in the repository.
#[test]
fn the_example_is_complete() {
    let project = Project::empty();
    project.polder(&["init", "shop", "--example", "shop"]).ends_with(0);
    let files = |root: &std::path::Path| {
        let mut found = Vec::new();
        let mut open = vec![root.to_path_buf()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.push((path.strip_prefix(root).unwrap().to_path_buf(), std::fs::read(&path).unwrap()));
                }
            }
        }
        found.sort();
        found
    };
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    let (made, kept) = (files(&project.path("shop")), files(&repository));
    let names = |f: &[(std::path::PathBuf, Vec<u8>)]| f.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(&made), names(&kept));
    assert!(made == kept, "a file of the example differs");
}

#[test]
fn schemas_are_json_schemas() {
    let project = Project::empty();
    let done = project.polder(&["schema", "source"]).ends_with(0);
    let schema: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"));
    project.polder(&["schema", "sauce"]).ends_with(2).complains("source");
    project.polder(&["schema", "--out", "schemas"]).ends_with(0);
    assert!(project.path("schemas/polder.schema.json").exists());
}

#[test]
fn wrong_options_of_generate_are_told() {
    let project = Project::empty();
    for (arguments, what) in [
        (&["--out", "x", "--day", "2025-12-31"][..], "belongs to the history"),
        (&["--out", "x", "--day", "tomorrow"], "is no date"),
        (&["--out", "x", "--defects", "orphan"], "did you mean `orphans`"),
        (&["--out", "x", "--tables", "order"], "did you mean `orders`"),
        (&["--out", "mysql://x"], "postgres://"),
        (&["--out", "x", "--replace"], "--replace"),
    ] {
        project.polder(&[&["generate", "shop", "--orders", "100"], arguments].concat()).ends_with(2).complains(what);
    }
    let refused = ["generate", "shop", "--out", "postgres://nobody:secret@127.0.0.1:1/x"];
    let done = project.polder(&refused).ends_with(3).complains("127.0.0.1:1");
    assert!(!done.err.contains("secret"), "{done:?}");
}

/// Statements from a pipe, as programs send them.
pub fn pipe(project: &Project, arguments: &[&str], input: &str) -> Done {
    let mut child =
        project.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}
