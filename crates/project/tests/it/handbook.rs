//! The handbook's page about project files, and the list of codes, against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::folder::Folder;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// The fenced examples that begin with the path of a file, in a comment.
fn examples(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for block in page.split("```").skip(1).step_by(2) {
        let text = block.split_once('\n').unwrap().1;
        let first = text.lines().next().unwrap();
        let Some(comment) = first.strip_prefix("# ").or_else(|| first.strip_prefix("-- ")) else { continue };
        let path = comment.split(':').next().unwrap().trim();
        found.push((path.to_owned(), text.to_owned()));
    }
    found
}

#[test]
fn every_example_of_the_page_is_loaded() {
    let examples = examples(&page("project-files.md"));
    assert!(examples.len() >= 15, "{examples:#?}");
    let files: Vec<(&str, &str)> = examples.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let paths: BTreeSet<&str> = files.iter().map(|(path, _)| *path).collect();
    assert_eq!(paths.len(), files.len(), "a path is used twice");
    for environment in [None, Some("dev"), Some("prod")] {
        let mut folder = Folder::new(&files);
        folder.environment = environment.map(str::to_owned);
        let project = folder.project();
        assert_eq!((project.sources.len(), project.models.len(), project.policies.len()), (4, 2, 2));
        let checks: usize = project.checks.iter().map(|c| c.checks.len()).sum();
        assert_eq!((checks, project.sql_checks.len()), (16, 1));
    }
}

#[test]
fn every_example_of_the_page_about_storage_is_loaded() {
    let examples = examples(&page("storage.md"));
    let (settings, sources): (Vec<_>, Vec<_>) = examples.iter().partition(|(path, _)| path == "polder.yaml");
    assert_eq!((settings.len(), sources.len()), (2, 3));
    for (path, text) in settings {
        let all = sources.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        let mut folder = Folder::new(&all.chain([(path.as_str(), text.as_str())]).collect::<Vec<_>>());
        for name in ["MINIO_KEY", "MINIO_SECRET"] {
            folder.variables.insert(name.to_owned(), "x".to_owned());
        }
        folder.environment = text.contains("prod:").then(|| "prod".to_owned());
        assert_eq!(folder.project().settings.warehouse.as_deref(), Some("s3://lake/shop"));
    }
}

#[test]
fn the_policy_of_the_page_about_sql_is_one() {
    let examples = examples(&page("sql.md"));
    let policies = examples.iter().filter(|(path, _)| path.starts_with("policies/"));
    let policies: Vec<(&str, &str)> = policies.map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let model = ("models/silver/customers.sql", "select 1 as a\n");
    let project = Folder::new(&[policies.as_slice(), &[model]].concat()).project();
    let policy = &project.policies[0];
    assert_eq!((project.policies.len(), &*policy.table, policy.masks.len()), (1, "silver.customers", 4));
    assert!(policy.row_filter.is_some() && !policy.principals.is_empty() && !policy.except.is_empty());
}

/// The tables of keys on the page are made from the schemas. `POLDER_UPDATE=1` writes them anew.
#[test]
fn the_tables_of_keys_are_those_of_the_schemas() {
    let schemas: BTreeMap<&str, Value> = polder_project::schemas().into_iter().collect();
    let path = root().join("docs/project-files.md");
    let before = page("project-files.md");
    let mut after = String::new();
    let mut rest = before.as_str();
    let mut shown = BTreeSet::new();
    while let Some((text, tail)) = rest.split_once("<!-- keys ") {
        let (place, tail) = tail.split_once(" -->").unwrap();
        let (_, tail) = tail.split_once("<!-- /keys -->").unwrap();
        let (file, definition) = place.split_once('#').unwrap_or((place, ""));
        let schema = &schemas[file];
        let object = if definition.is_empty() { schema } else { &schema["definitions"][definition] };
        shown.insert(object["description"].as_str().unwrap().to_owned());
        after += &format!("{text}<!-- keys {place} -->\n{}<!-- /keys -->", table(object));
        rest = tail;
    }
    after += rest;
    if std::env::var_os("POLDER_UPDATE").is_some() {
        std::fs::write(path, &after).unwrap();
    } else {
        assert_eq!(before, after, "docs/project-files.md is stale: run this test with POLDER_UPDATE=1");
    }
    // Every mapping that a file may hold has its table, but for those that are told by another.
    for (file, schema) in &schemas {
        for (name, object) in objects(schema) {
            let description = object["description"].as_str().unwrap_or_else(|| panic!("{file}#{name} says nothing"));
            let told_elsewhere = ["SourceOverride", "TestConfig"].contains(&name.as_str());
            assert!(shown.contains(description) || told_elsewhere, "{file}#{name} has no table of keys");
        }
    }
}

/// The schema's mappings with fixed keys: itself and its definitions.
fn objects(schema: &Value) -> Vec<(String, &Value)> {
    let definitions =
        schema["definitions"].as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value));
    definitions.chain([("".to_owned(), schema)]).filter(|(_, value)| value["properties"].is_object()).collect()
}

fn table(object: &Value) -> String {
    let required: BTreeSet<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut out = "\n| key | what |\n|---|---|\n".to_owned();
    for (key, property) in object["properties"].as_object().unwrap() {
        let text = property["description"].as_str().unwrap_or_else(|| panic!("`{key}` says nothing"));
        let needed = if required.contains(key.as_str()) { "Needed. " } else { "" };
        out += &format!(
            "| `{key}` | {needed}{} |\n",
            text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
        );
    }
    out + "\n"
}

#[test]
fn schemas_are_strict_and_every_key_is_described() {
    for (file, schema) in polder_project::schemas() {
        for (name, object) in objects(&schema) {
            assert_eq!(object["additionalProperties"], Value::Bool(false), "{file}#{name}");
            for (key, property) in object["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{file}#{name}.{key} has no description");
            }
        }
    }
}

/// The codes that a file of sources gives names to.
fn codes(path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let found: Vec<String> = text
        .lines()
        .filter_map(|line| {
            Some(line.strip_prefix("pub const ")?.split_once("= \"")?.1.trim_end_matches("\";").to_owned())
        })
        .collect();
    assert!(!found.is_empty());
    found
}

#[test]
fn every_code_is_in_the_handbook() {
    let page = page("errors.md");
    for code in codes("crates/project/src/codes.rs").into_iter().chain(codes("crates/template/src/codes.rs")) {
        assert_eq!(page.matches(&format!("\n| {code} | ")).count(), 1, "{code} in docs/errors.md");
    }
    // And no code is spelled anywhere else, or the list above would miss it.
    for folder in ["crates/project/src", "crates/template/src"] {
        for file in rust_files(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let own = file.ends_with("codes.rs") || file.to_string_lossy().contains("test");
            let spelled = text.split('"').any(|word| {
                word.len() == 4 && word.starts_with(['P', 'M']) && word[1..].chars().all(|c| c.is_ascii_digit())
            });
            assert!(own || !spelled, "{} spells a code", file.display());
        }
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}
