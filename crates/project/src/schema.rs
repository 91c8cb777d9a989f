//! JSON schemas of the file kinds, from the structs that read them.

use schemars::{JsonSchema, generate::SchemaSettings};

use crate::check::ChecksYaml;
use crate::common::OneOrMore;
use crate::docs::ModelDocsYaml;
use crate::pipeline::PipelineYaml;
use crate::policy::PolicyYaml;
use crate::settings::PolderYaml;
use crate::source::SourceYaml;

/// The schema of each kind of YAML file, with the name of the file that it goes into.
pub fn schemas() -> Vec<(&'static str, serde_json::Value)> {
    vec![
        ("polder.schema.json", of::<PolderYaml>("polder.yaml")),
        ("source.schema.json", of::<SourceYaml>("sources/*.yaml")),
        ("model.schema.json", of::<ModelDocsYaml>("models/**/*.yml")),
        ("checks.schema.json", of::<OneOrMore<ChecksYaml>>("checks/*.yaml")),
        ("policies.schema.json", of::<OneOrMore<PolicyYaml>>("policies/**/*.yaml")),
        ("pipeline.schema.json", of::<PipelineYaml>("pipelines/*.yaml")),
    ]
}

fn of<T: JsonSchema>(title: &str) -> serde_json::Value {
    // Editors know draft 7 best.
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema.to_value()
}
