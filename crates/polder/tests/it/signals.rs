//! Ctrl-C and SIGTERM: the run ends with a sentence, its branch stays, the next run works.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::{Done, Project};

/// A project with one quick table, and one that takes very long.
fn slow() -> Project {
    Project::of(&[
        ("polder.yaml", "name: slow\n"),
        ("models/silver/quick.sql", "select 1 as n\n"),
        (
            "models/gold/slow.sql",
            "select sum(a.value % 7 + b.value % 3) as n from silver.quick q, generate_series(1, 1000000) a, \
             generate_series(1, 1000000) b where a.value % 11 <> b.value % 13\n",
        ),
        ("models/gold/after.sql", "select n from gold.slow\n"),
    ])
}

fn spawn(project: &Project, arguments: &[&str]) -> Child {
    project.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

/// Starts a run, waits until the long step goes on, sends a signal, and gives how the process ended.
fn interrupt(project: &Project, name: &str) -> Done {
    let mut child = spawn(project, &["run", "--format", "json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let begun = lines.by_ref().any(|l| l.contains("step_started") && l.contains("gold.slow"));
    assert!(begun, "the run ended before the long step");
    // By then it is deep in a join that does not look up.
    std::thread::sleep(Duration::from_millis(400));
    let since = Instant::now();
    signal(&child, name);
    let rest: Vec<String> = lines.collect();
    let mut done: Done = child.wait_with_output().unwrap().into();
    assert!(since.elapsed() < Duration::from_secs(12), "{:?}", since.elapsed());
    done.out = rest.join("\n");
    done
}

#[test]
fn a_signal_cancels_a_run_and_the_next_one_works() {
    for name in ["INT", "TERM"] {
        let project = slow();
        let done = interrupt(&project, name).ends_with(1).complains("cancelling");
        assert!(done.out.lines().last().unwrap().contains("\"status\":\"cancelled\""), "{done:?}");
        project.polder(&["branch"]).ends_with(0).says("run/1");
        assert_eq!(project.number_at("run/1", "select n from silver.quick"), 1);
        let status = project.polder(&["status"]).ends_with(0).says("run 1 was cancelled\n");
        assert!(status.out.contains("go on     polder run --resume 1"), "{status:?}");
        project.write("models/gold/slow.sql", "select 2 as n\n");
        // Taken up again, it is the run that it was: with the files that it began with.
        let again = interrupt_resumed(&project, name);
        assert!(again.out.contains("\"resumed\":true"), "{again:?}");
        project.polder(&["run"]).ends_with(0);
        assert_eq!(project.number("select n from gold.after"), 2);
    }
}

fn interrupt_resumed(project: &Project, name: &str) -> Done {
    let mut child = spawn(project, &["run", "--resume", "--format", "json"]);
    let mut told = Vec::new();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.map(Result::unwrap) {
        let long = line.contains("step_started") && line.contains("gold.slow");
        told.push(line);
        if long {
            signal(&child, name);
        }
    }
    let mut done: Done = child.wait_with_output().unwrap().into();
    done.out = told.join("\n");
    done.ends_with(1)
}

#[test]
fn what_is_told_of_a_cancelled_run_says_what_to_do() {
    let project = slow();
    let mut child = spawn(&project, &["run"]);
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(out.by_ref().any(|l| l.contains("silver.quick")), "the quick step is told");
    std::thread::sleep(Duration::from_millis(400));
    signal(&child, "INT");
    let rest = out.collect::<Vec<_>>().join("\n");
    let mut done: Done = child.wait_with_output().unwrap().into();
    done.out = rest;
    let done = done.ends_with(1);
    for text in [
        " – model   gold.slow     cancelled",
        " – 1 step not begun",
        "CANCELLED. main is unchanged: it is empty.",
        "go on     polder run --resume 1",
    ] {
        assert!(done.out.contains(text), "{text}\n{}", done.out);
    }
}

#[test]
fn checks_and_statements_are_cancelled_too() {
    let project = slow();
    project.polder(&["run", "silver.quick"]).ends_with(0);
    let long = "select sum(a.value % 7 * b.value) from generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    let child = spawn(&project, &["sql", long]);
    std::thread::sleep(Duration::from_millis(700));
    signal(&child, "INT");
    let done: Done = child.wait_with_output().unwrap().into();
    done.ends_with(1).complains("cancelled");
    project.write(
        "checks/slow.sql",
        &format!("select 1 as n from ({long}) t(s) where s < 0 and 1 < (select max(n) from silver.quick)\n"),
    );
    let mut child = spawn(&project, &["check", "--format", "json"]);
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(out.by_ref().any(|l| l.contains("step_started")));
    signal(&child, "TERM");
    let last = out.last().unwrap();
    assert!(last.contains("run_finished") && last.contains("cancelled"), "{last}");
    let done: Done = child.wait_with_output().unwrap().into();
    done.ends_with(1);
    assert_eq!(project.ask("select status from system.runs where kind = 'check'")[0]["status"], "cancelled");
}
