//! The first own project, as README.md tells it: what it says to type is typed, what it says to write is written.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::{Done, program};

/// A fenced block: its language, and its lines.
type Block<'t> = (&'t str, Vec<&'t str>);

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(language) if !open => {
                open = true;
                blocks.push((language, Vec::new()));
            }
            Some(_) => open = false,
            None if open => blocks.last_mut().unwrap().1.push(line),
            None => {}
        }
    }
    blocks
}

/// `# held: exit code 1` behind a command says how it ends.
fn exit_code(command: &str) -> i32 {
    command.rsplit_once("exit code ").map_or(0, |(_, code)| code.trim().parse().unwrap())
}

/// The path that the first line of a file's block names: `-- models/gold/due.sql: is gold.due`.
fn path_of(lines: &[&str]) -> PathBuf {
    let comment = lines[0].trim_start_matches(['-', '#', ' ']);
    comment.split_once(':').unwrap_or((comment, "")).0.into()
}

fn type_in(folder: &Path, command: &str) -> Done {
    let binary = Path::new(program().get_program()).parent().unwrap().to_owned();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(folder).env("PATH", path).env("USER", "tester");
    Done::from(shell.output().unwrap())
}

#[test]
fn a_first_project_goes_as_the_readme_says() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let (_, walk) = readme.split_once("## Ten minutes to a first own project").unwrap();
    let walk = walk.split("\n## ").next().unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut folder = home.path().to_owned();
    let mut said = String::new();
    for (language, lines) in blocks(walk) {
        if !language.is_empty() {
            let path = folder.join(path_of(&lines));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, lines.join("\n") + "\n").unwrap();
            continue;
        }
        for command in lines.iter().filter_map(|line| line.strip_prefix("$ ")) {
            match command.strip_prefix("cd ") {
                Some(to) => folder.push(to),
                None => said.push_str(&type_in(&folder, command).ends_with(exit_code(command)).out),
            }
        }
    }
    for text in ["42.00", "HELD. main is unchanged", "9999"] {
        assert!(said.contains(text), "no `{text}` in:\n{said}");
    }
}
