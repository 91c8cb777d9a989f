//! A disk without room, at whatever point of a run it comes to its end.

use std::path::Path;
use std::process::Command;

use crate::fixture::{Project, skipped};

/// Room that is left in KiB when the second run begins.
const FREE_KIB: [u32; 12] = [0, 32, 48, 64, 96, 128, 160, 224, 288, 352, 416, 4096];
const ROWS: u32 = 3_000;

/// In a small file system of its own, for each of the rooms: a good run, a run that finds the disk full, what can be
/// read then and afterwards, and the next run. What each says goes to files outside.
const SCRIPT: &str = r#"
set -eu
polder=$1 disk=$2 input=$3 told=$4
shift 4
mount -t tmpfs -o size=16m tmpfs "$disk"
for free in "$@"; do
    rm -rf "$disk/project"
    cp -r "$input" "$disk/project"
    cd "$disk/project"
    mv in/2.csv later.csv
    "$polder" run >/dev/null
    mv later.csv in/2.csv
    room=$(df -k --output=avail . | tail -n 1)
    dd if=/dev/zero of="$disk/filler" bs=1k count=$((room - free)) 2>/dev/null
    step() {
        name=$1
        shift
        code=0
        "$polder" "$@" >"$told/$free.$name" 2>&1 || code=$?
        echo "$code" >"$told/$free.$name.code"
    }
    count="select count(*) as n, count(distinct a) as d from gold.kept"
    step full run
    step read sql --format csv "$count"
    rm "$disk/filler"
    step kept sql --format csv "$count"
    step next run
    step last sql --format csv "$count"
    cd /
done
"#;

/// Polder's own words, or the system's.
fn told_full(text: &str) -> bool {
    text.to_lowercase().contains("no space left")
}

struct Told<'a> {
    folder: &'a Path,
    free: u32,
}

impl Told<'_> {
    fn step(&self, name: &str) -> (i32, String) {
        let read = |name: String| std::fs::read_to_string(self.folder.join(name)).unwrap();
        let text = read(format!("{}.{name}", self.free));
        (read(format!("{}.{name}.code", self.free)).trim().parse().unwrap(), text)
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let isolated = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", program]);
        command
    };
    if !isolated("true").output().is_ok_and(|o| o.status.success()) {
        skipped("no file system can be mounted here (unshare --map-root-user --mount)");
        return;
    }
    let rows: String =
        (3..=ROWS).map(|n| format!("{n},{:032x}\n", u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let project = Project::of(&[
        ("polder.yaml", "name: full\n"),
        ("sources/t.yaml", "files: in/*.csv\n"),
        (
            "models/gold/kept.sql",
            "{{ config(materialized='incremental') }}\nselect a, b from bronze.t\n{% if is_incremental() %} where a > (select max(a) from {{ this }}) {% endif %}\n",
        ),
        ("checks/kept.yaml", "table: gold.kept\nchecks:\n  - unique: a\n"),
        ("in/1.csv", "a,b\n1,x\n2,y\n"),
        ("in/2.csv", &format!("a,b\n{rows}")),
    ]);
    let (disk, told) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let done = isolated("sh")
        .args(["-c", SCRIPT, "sh", env!("CARGO_BIN_EXE_polder")])
        .args([disk.path(), project.folder(), told.path()])
        .args(FREE_KIB.map(|free| free.to_string()))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let counts = |n: u32| format!("n,d\n{n},{n}\n");
    let mut codes = Vec::new();
    for free in FREE_KIB {
        let told = Told { folder: told.path(), free };
        let (code, text) = told.step("full");
        codes.push(code);
        let published = code == 0;
        if !published {
            assert_eq!(code, 3, "{free} KiB: {text}");
            assert!(told_full(&text), "{free} KiB: {text}");
        }
        let shown = (0, counts(if published { ROWS } else { 2 }));
        let (code, text) = told.step("read");
        assert!((code, text.clone()) == shown || code == 3 && told_full(&text), "{free} KiB: {text}");
        assert_eq!(told.step("kept"), shown, "{free} KiB");
        let (code, text) = told.step("next");
        assert_eq!(code, 0, "{free} KiB: {text}");
        assert_eq!(told.step("last"), (0, counts(ROWS)), "{free} KiB");
    }
    assert!(codes.contains(&3) && codes.last() == Some(&0), "{codes:?}");
}
