//! Others who change the same things at the same time.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use super::{holds, project, signal};
use crate::fixture::Project;

/// A run that was stopped in the middle, and goes on when it is told to.
struct Halted {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Halted {
    /// Stops the run as soon as `step` alone goes on, which must take its time. (Stopped in the middle of a write, it
    /// would keep everybody from the state store.)
    fn at(project: &Project, arguments: &[&str], step: &str) -> Self {
        let mut command = project.command(&[&["run", "--format", "json"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (mut others, mut goes_on) = (usize::MAX, false);
        while others > 0 || !goes_on {
            let mut line = String::new();
            assert_ne!(out.read_line(&mut line).unwrap(), 0, "the run ended before {step}");
            let event: Value = serde_json::from_str(&line).unwrap();
            let of_step = event["step"]["resource"] == step;
            match event["event"].as_str().unwrap() {
                "run_started" => others = event["steps"].as_array().unwrap().len() - 1,
                "step_started" => goes_on |= of_step,
                "step_finished" => {
                    assert!(!of_step, "{step} was too fast");
                    others -= 1;
                }
                _ => {}
            }
        }
        // What it has said is in the state by now; a transaction that it is halted in would keep all others out.
        std::thread::sleep(std::time::Duration::from_millis(300));
        signal("-STOP", child.id());
        Self { child, out }
    }

    /// Lets it go on to its end; gives its exit code and what it said since.
    fn go_on(mut self) -> (Option<i32>, String) {
        signal("-CONT", self.child.id());
        let mut said = String::new();
        self.out.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// Long enough to be stopped in it.
const SLOW: &str =
    "select count(*) as n from generate_series(1, 200000000) as t(x) where x % 7 = (select min(a) from bronze.t)\n";

#[test]
fn two_runs_at_once_on_one_table() {
    let project = project();
    project.write("models/gold/slow.sql", SLOW);
    project.write("in/3.csv", "a,b\n5,z\n");
    let first = Halted::at(&project, &[], "gold.slow");
    let second = project.polder(&["run"]).ends_with(1);
    assert!(second.err.contains("error[R003]: bronze.t is being written by run 3 for `main`"), "{second:?}");
    assert!(second.err.contains("wait for run 3 to end"), "{second:?}");
    holds(&project, 4);
    let (code, said) = first.go_on();
    assert_eq!(code, Some(0), "{said}");
    holds(&project, 5);
    project.polder(&["run"]).ends_with(0);
    holds(&project, 5);
}

#[test]
fn two_incremental_runs_of_one_model() {
    let project = project();
    project.write("models/gold/kept.sql", "{{ config(materialized='incremental') }}\nselect a from bronze.t where (select count(*) from generate_series(1, 200000000) as t(x) where x % 7 = 3) > 0\n{% if is_incremental() %} and a > (select max(a) from {{ this }}) {% endif %}\n");
    project.polder(&["run"]).ends_with(0);
    project.write("in/3.csv", "a,b\n5,z\n6,z\n");
    project.polder(&["run", "bronze.t"]).ends_with(0);
    let first = Halted::at(&project, &["gold.kept"], "gold.kept");
    project.polder(&["run", "gold.kept"]).ends_with(1).complains("error[R003]: gold.kept is being written by run 5");
    let (code, said) = first.go_on();
    assert_eq!(code, Some(0), "{said}");
    project.polder(&["run"]).ends_with(0);
    assert_eq!(project.number("select count(*) from gold.kept"), 6);
    assert_eq!(project.number("select count(distinct a) from gold.kept"), 6);
}

/// On the branch every order has its customer; on `main` the customer went meanwhile.
#[test]
fn a_check_that_holds_on_the_branch_and_fails_after_the_rebase() {
    let project = Project::of(&[
        ("polder.yaml", "name: rebased\n"),
        ("sources/t.yaml", "files: orders.csv\n"),
        ("sources/customers.yaml", "files: customers.csv\n"),
        ("models/gold/slow.sql", SLOW),
        (
            "checks/t.yaml",
            "table: bronze.t\nchecks:\n  - relationships: { column: customer, to: bronze.customers, field: id }\n",
        ),
        ("orders.csv", "a,customer\n1,1\n"),
        ("customers.csv", "id\n1\n2\n"),
    ]);
    project.polder(&["run"]).ends_with(0);
    project.write("orders.csv", "a,customer\n1,1\n2,2\n");
    let first = Halted::at(&project, &["bronze.t", "gold.slow"], "gold.slow");
    project.write("customers.csv", "id\n1\n");
    project.polder(&["run", "bronze.customers"]).ends_with(0);
    let (code, said) = first.go_on();
    assert_eq!(code, Some(1), "{said}");
    let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rebased = events.iter().find(|event| event["event"] == "rebased").unwrap();
    assert_eq!(rebased["tables"], serde_json::json!(["bronze.customers"]));
    let last = events.last().unwrap();
    assert_eq!(last["status"], "held");
    let reason = last["reason"].as_str().unwrap();
    assert!(reason.starts_with("main moved, and the checks of bronze.t were run again"), "{reason}");
    let orders = "select count(*) from bronze.t";
    assert_eq!((project.number(orders), project.number("select count(*) from bronze.customers")), (1, 1));
    assert_eq!(project.number_at("run/2", orders), 2);
    // As things are it is held again; when the customer is back, the next run goes through.
    project.polder(&["run", "--resume", "2"]).ends_with(1).says("HELD. main is unchanged: run 3, ");
    project.write("customers.csv", "id\n1\n2\n");
    project.polder(&["run"]).ends_with(0);
    assert_eq!(project.number(orders), 2);
}

#[test]
fn a_rollback_followed_by_an_ingest() {
    let project = project();
    project.polder(&["rollback"]).ends_with(0);
    holds(&project, 2);
    // The cursor went back with the rows: what was taken back comes again, and nothing twice.
    project.polder(&["run"]).ends_with(0).says("+2");
    holds(&project, 4);
    project.polder(&["run"]).ends_with(0).says("unchanged");
    project.polder(&["rollback", "--to", "main~3"]).ends_with(0);
    holds(&project, 2);
    project.write("in/3.csv", "a,b\n5,z\n");
    project.polder(&["run"]).ends_with(0).says("+3");
    holds(&project, 5);
}

#[test]
fn the_same_file_read_on_two_branches() {
    let project = project();
    project.polder(&["branch", "work"]).ends_with(0);
    project.write("in/3.csv", "a,b\n5,z\n");
    project.polder(&["run"]).ends_with(0);
    project.polder(&["run", "--ref", "work"]).ends_with(0);
    let refused = project.polder(&["merge", "work"]).ends_with(1).complains("error[R006]: cursor t.t was changed by");
    assert!(refused.err.contains("= hint: "), "{refused:?}");
    holds(&project, 5);
    project.polder(&["rollback"]).ends_with(0);
    project.polder(&["merge", "work"]).ends_with(0);
    holds(&project, 5);
    project.polder(&["run"]).ends_with(0);
    holds(&project, 5);
}
