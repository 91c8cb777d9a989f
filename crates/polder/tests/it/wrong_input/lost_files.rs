//! Files of the warehouse that somebody took away: what is left can be looked at, and what was lost be made anew.

use std::path::{Path, PathBuf};

use super::{holds, project};
use crate::fixture::Project;

/// The files of a table's folder whose names end so, the newest first.
fn files(project: &Project, namespace: &str, folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let tables = entries(&project.path(".polder/warehouse").join(namespace));
    let mut found: Vec<PathBuf> = tables.iter().flat_map(|table| entries(&table.join(folder))).collect();
    found.retain(|file| file.to_string_lossy().ends_with(ending));
    found.sort_by_key(|file| std::cmp::Reverse(file.metadata().unwrap().modified().unwrap()));
    found
}

fn lose(files: &[PathBuf]) {
    assert!(!files.is_empty());
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
}

/// What is left can be looked at, and says which table is damaged, and how.
#[track_caller]
fn told(project: &Project, table: &str, what: &str) {
    let status = project.polder(&["status"]).ends_with(3).says(&format!("damaged: {table}: ")).says(what);
    assert!(status.out.contains(&format!("polder run {table} --full-refresh")), "{}", status.out);
    assert!(status.out.contains("2 tables, 0 views") && status.out.contains("run 2"), "{}", status.out);
    project.polder(&["show", table]).ends_with(3).says(&format!("damaged: {table}: ")).says(what);
    project.polder(&["log"]).ends_with(0).says("run 2").says(table);
    project.polder(&["branch"]).ends_with(0).says("main");
    project.polder(&["sql", &format!("select * from {table}")]).ends_with(3).complains("although the catalog names it");
}

#[track_caller]
fn made_anew(project: &Project) {
    project.polder(&["run", "--full-refresh"]).ends_with(0).says("published");
    holds(project, 4);
    project.polder(&["status"]).ends_with(0);
    project.write("in/3.csv", "a,b\n5,z\n");
    project.polder(&["run"]).ends_with(0);
    holds(project, 5);
}

#[test]
fn data_files_that_are_gone() {
    let project = project();
    lose(&files(&project, "bronze", "data", ".parquet"));
    told(&project, "bronze.t", ".parquet does not exist");
    made_anew(&project);
}

#[test]
fn the_data_of_a_model_that_is_gone() {
    let project = project();
    lose(&files(&project, "gold", "data", ".parquet"));
    told(&project, "gold.total", ".parquet does not exist");
    made_anew(&project);
}

#[test]
fn metadata_that_is_gone() {
    for (namespace, table) in [("bronze", "bronze.t"), ("gold", "gold.total")] {
        let project = project();
        lose(&files(&project, namespace, "metadata", ".metadata.json"));
        told(&project, table, ".metadata.json does not exist");
        made_anew(&project);
    }
}

#[test]
fn manifests_that_are_gone() {
    for (namespace, table) in [("bronze", "bronze.t"), ("gold", "gold.total")] {
        let project = project();
        lose(&files(&project, namespace, "metadata", ".avro"));
        told(&project, table, ".avro does not exist");
        made_anew(&project);
    }
}

/// A table that is built in full at each run needs no more than a run.
#[test]
fn a_model_is_built_again_without_being_asked() {
    let project = project();
    lose(&files(&project, "gold", "metadata", ".metadata.json"));
    let alone = ["plan", "gold.total"];
    for command in [&["plan"][..], &alone] {
        project.polder(command).ends_with(0).says("gold.total  its metadata file is gone (table)");
    }
    project.polder(&["run"]).ends_with(0).says("gold.total");
    project.polder(&alone).ends_with(0).says("gold.total  as run 3 built it");
    holds(&project, 4);
    project.polder(&["status"]).ends_with(0);
}

#[test]
fn a_view_is_made_again() {
    let project = project();
    project.write("models/gold/all_of_it.sql", "{{ config(materialized='view') }}\nselect a from bronze.t\n");
    project.polder(&["run"]).ends_with(0);
    let views = files(&project, "gold", "metadata", ".json");
    lose(&views.into_iter().filter(|f| f.to_string_lossy().contains("all_of_it")).collect::<Vec<_>>());
    project.polder(&["status"]).ends_with(3).says("damaged: gold.all_of_it: ");
    project.polder(&["show", "gold.all_of_it"]).ends_with(3).says("does not exist");
    project.polder(&["plan", "gold.all_of_it"]).ends_with(0).says("its metadata file is gone (view)");
    project.polder(&["run"]).ends_with(0);
    assert_eq!(project.number("select sum(a) from gold.all_of_it"), 10);
}
