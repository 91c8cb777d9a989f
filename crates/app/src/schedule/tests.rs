//! What is decided, by time and record; and that crashes lose and double nothing.

mod decisions;
mod simulation;

use polder_project::{Options, Pipeline, load_texts};

/// A pipeline from its file.
fn pipeline(text: &str) -> Pipeline {
    let options = Options { variables: &|_| None, ..Options::default() };
    let (project, problems) = load_texts([("polder.yaml", "name: test\n"), ("pipelines/p.yaml", text)], &options);
    assert!(problems.is_empty(), "{problems:?}");
    project.pipelines[0].clone()
}
