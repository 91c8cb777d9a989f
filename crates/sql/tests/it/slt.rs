//! Runs `sqltest/**/*.slt`: SQL behaviour in files that anyone can read and extend.
//!
//! The format is sqllogictest's: `statement ok`, `statement error <part of the message>`, `query [types] [rowsort]` with
//! the expected rows below `----`, values apart by tabs or two spaces and more, and `connection <principal>`, which
//! holds for the records after it (`system` unless told). `SLT=write cargo test -p polder-sql slt` writes what was found
//! into the files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use polder_sql::Session;

use crate::fixture::{Fixture, options, rows};

#[derive(Debug)]
enum Expected {
    Ok,
    Error(String),
    Rows { sorted: bool, rows: Vec<String> },
}

#[derive(Debug)]
struct Record {
    /// Comments and blank lines before it, and its first line.
    head: String,
    line: usize,
    sql: String,
    expected: Expected,
    connection: Option<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_behaves_as_its_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sqltest");
    let mut files = Vec::new();
    find(&root, &mut files);
    assert!(!files.is_empty(), "no .slt files below {}", root.display());
    let mut failures = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let fixture = Fixture::shop().await;
        let mut written = String::new();
        let mut session = session(&fixture, "system").await;
        for record in parse(&text) {
            if let Some(name) = &record.connection {
                session = self::session(&fixture, name).await;
                written += &record.head;
                continue;
            }
            let (found, matches) = run(&session, &record).await;
            written += &render(&record, &found);
            if !matches {
                failures.push(format!("{}:{}\n{}\nfound:\n{found}", file.display(), record.line, record.sql));
            }
        }
        if std::env::var("SLT").is_ok_and(|mode| mode == "write") {
            std::fs::write(&file, written).unwrap();
        }
    }
    assert!(failures.is_empty(), "{} failures\n\n{}", failures.len(), failures.join("\n\n"));
}

async fn session(fixture: &Fixture, name: &str) -> Session {
    fixture.engine.session(options(name)).await.unwrap()
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            files.push(path);
        }
    }
}

fn parse(text: &str) -> Vec<Record> {
    let mut lines = text.lines().enumerate().peekable();
    let mut records = Vec::new();
    let mut head = String::new();
    while let Some((number, line)) = lines.next() {
        let _ = writeln!(head, "{line}");
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut record = Record {
            head: std::mem::take(&mut head),
            line: number + 1,
            sql: String::new(),
            expected: Expected::Ok,
            connection: line.strip_prefix("connection ").map(|name| name.trim().to_owned()),
        };
        if record.connection.is_none() {
            let mut sql = Vec::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| !line.trim().is_empty() && *line != "----") {
                sql.push(line);
            }
            record.sql = sql.join("\n");
            record.expected = expected(line, &mut lines);
        }
        records.push(record);
    }
    records
}

fn expected<'a>(line: &str, lines: &mut std::iter::Peekable<impl Iterator<Item = (usize, &'a str)>>) -> Expected {
    if line == "statement ok" {
        return Expected::Ok;
    }
    if let Some(message) = line.strip_prefix("statement error") {
        return Expected::Error(message.trim().to_owned());
    }
    assert!(line.starts_with("query"), "not a record: {line}");
    let mut rows = Vec::new();
    if lines.next_if(|(_, line)| *line == "----").is_some() {
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.trim().is_empty()) {
            rows.push(normal(line));
        }
    }
    Expected::Rows { sorted: line.split_whitespace().any(|word| word == "rowsort"), rows }
}

/// Columns apart by one tab, however they were written.
fn normal(line: &str) -> String {
    line.replace('\t', "  ").split("  ").map(str::trim).filter(|value| !value.is_empty()).collect::<Vec<_>>().join("\t")
}

async fn run(session: &Session, record: &Record) -> (String, bool) {
    let found = rows(session, &record.sql).await;
    match (&record.expected, found) {
        (Expected::Error(message), Err(error)) => (error.to_string(), error.to_string().contains(message.as_str())),
        (_, Err(error)) => (format!("error: {error}"), false),
        (Expected::Error(_), Ok(_)) => ("no error".to_owned(), false),
        (Expected::Ok, Ok(_)) => (String::new(), true),
        (Expected::Rows { sorted, rows }, Ok(found)) => {
            let shown = |value: &String| if value.is_empty() { "(empty)".to_owned() } else { value.clone() };
            let mut found: Vec<String> =
                found.iter().map(|row| row.iter().map(shown).collect::<Vec<_>>().join("\t")).collect();
            let mut wanted = rows.clone();
            if *sorted {
                found.sort();
                wanted.sort();
            }
            let matches = found.iter().map(|row| normal(row)).eq(wanted);
            (found.join("\n"), matches)
        }
    }
}

fn render(record: &Record, found: &str) -> String {
    let mut text = format!("{}{}\n", record.head, record.sql);
    if matches!(record.expected, Expected::Rows { .. }) {
        let _ = writeln!(text, "----");
        if !found.is_empty() {
            let _ = writeln!(text, "{}", found.replace('\t', "  "));
        }
    }
    text
}
