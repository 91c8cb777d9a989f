//! Iceberg views as files (view specification, format version 1).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::io::{NewFile, not_metadata};
use crate::spec::{Schema, SchemaRef, ViewMetadata, ViewRepresentation};
use crate::{Result, TableError, TableIo, metadata};

/// The SQL dialect that Polder's views are written in, unless told otherwise.
pub const DIALECT: &str = "datafusion";

/// Versions that a view's metadata keeps (the specification's `version.history.num-entries`).
const VERSIONS_MAX: usize = 10;

/// Property with a view's comment.
const COMMENT: &str = "comment";

/// What a view is.
#[derive(Debug, Clone)]
pub struct ViewDefinition {
    pub sql: String,
    pub dialect: String,
    pub schema: SchemaRef,
    pub comment: Option<String>,
}

/// A view's metadata, written.
#[derive(Debug, Clone)]
pub struct CommittedView {
    /// Relative to the warehouse.
    pub metadata_path: String,
    pub metadata: Arc<ViewMetadata>,
}

impl TableIo {
    /// Reads a view's metadata; `path` is relative to the warehouse.
    ///
    /// # Errors
    /// A file that is missing or damaged.
    pub async fn view(&self, path: &str) -> Result<Arc<ViewMetadata>> {
        let bytes = self.warehouse.storage().get(path).await?;
        serde_json::from_slice(&bytes).map(Arc::new).map_err(|e| not_metadata(path, &bytes, &e))
    }

    /// Makes a view in `folder` (relative to the warehouse), or, with a base, a new version of that one; its folder
    /// stays then. `summary`: properties of the version, such as `polder.run`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub async fn commit_view(
        &self,
        base: Option<(&ViewMetadata, &str)>,
        folder: &str,
        definition: &ViewDefinition,
        summary: &BTreeMap<String, String>,
    ) -> Result<CommittedView> {
        let number = base.map_or(0, |(_, path)| metadata::file_number(path).unwrap_or(0) + 1);
        let (value, folder) = match base {
            None => (self.new_view(folder, definition, summary)?, folder.to_owned()),
            Some((base, _)) => {
                let folder = self.warehouse.path(base.location())?.to_owned();
                (self.next_version(base, definition, summary)?, folder)
            }
        };
        let bytes = serde_json::to_vec(&value).map_err(TableError::invalid)?.into();
        let metadata: ViewMetadata = serde_json::from_value(value).map_err(TableError::invalid)?;
        let metadata_path = format!("{folder}/metadata/{number:05}-{}.metadata.json", self.system.uuid());
        self.write(vec![NewFile { path: metadata_path.clone(), bytes }]).await?;
        Ok(CommittedView { metadata_path, metadata: Arc::new(metadata) })
    }

    fn new_view(&self, folder: &str, view: &ViewDefinition, summary: &BTreeMap<String, String>) -> Result<Value> {
        let now_ms = self.system.now().millis();
        Ok(json!({
            "view-uuid": self.system.uuid(),
            "format-version": 1,
            "location": self.warehouse.location(folder),
            "schemas": [schema_json(&view.schema, 0)?],
            "current-version-id": 1,
            "versions": [version_json(1, 0, now_ms, view, summary)],
            "version-log": [{"version-id": 1, "timestamp-ms": now_ms}],
            "properties": properties(view),
        }))
    }

    fn next_version(
        &self,
        base: &ViewMetadata,
        view: &ViewDefinition,
        summary: &BTreeMap<String, String>,
    ) -> Result<Value> {
        let last_ms = base.history().last().map_or(0, |entry| entry.timestamp_ms());
        let now_ms = self.system.now().millis().max(last_ms + 1);
        let id = base.versions().map(|v| v.version_id()).max().unwrap_or(0) + 1;
        let mut kept: Vec<_> = base.versions().collect();
        kept.sort_by_key(|v| v.version_id());
        kept.drain(..kept.len().saturating_sub(VERSIONS_MAX - 1));
        let (mut schemas, schema_id) = kept_schemas(base, kept.iter().map(|v| v.schema_id()).collect(), &view.schema)?;
        if schemas.iter().all(|s| s["schema-id"] != schema_id) {
            schemas.push(schema_json(&view.schema, schema_id)?);
        }
        let ids: HashSet<i32> = kept.iter().map(|v| v.version_id()).collect();
        let mut log: Vec<_> = base.history().iter().filter(|entry| ids.contains(&entry.version_id())).collect();
        log.drain(..log.len().saturating_sub(VERSIONS_MAX - 1));
        let mut value = json!({
            "view-uuid": base.uuid(),
            "format-version": 1,
            "location": base.location(),
            "schemas": schemas,
            "current-version-id": id,
            "versions": kept,
            "version-log": log,
            "properties": properties(view),
        });
        if let Some(versions) = value["versions"].as_array_mut() {
            versions.push(version_json(id, schema_id, now_ms, view, summary));
        }
        if let Some(log) = value["version-log"].as_array_mut() {
            log.push(json!({"version-id": id, "timestamp-ms": now_ms}));
        }
        Ok(value)
    }
}

/// What a view's current version says.
///
/// # Errors
/// A view without SQL.
pub fn view_definition(metadata: &ViewMetadata) -> Result<ViewDefinition> {
    let version = metadata.current_version();
    let ours = |r: &&ViewRepresentation| matches!(r, ViewRepresentation::Sql(sql) if sql.dialect == DIALECT);
    let representation =
        version.representations().iter().find(ours).or_else(|| version.representations().iter().next());
    let Some(ViewRepresentation::Sql(sql)) = representation else {
        return Err(TableError::corrupt(metadata.location(), "the view has no SQL"));
    };
    Ok(ViewDefinition {
        sql: sql.sql.clone(),
        dialect: sql.dialect.clone(),
        schema: metadata.current_schema().clone(),
        comment: metadata.properties().get(COMMENT).cloned(),
    })
}

/// The schemas that kept versions need, and the id that a schema has or gets.
fn kept_schemas(base: &ViewMetadata, needed: HashSet<i32>, schema: &Schema) -> Result<(Vec<Value>, i32)> {
    let known = base.schemas_iter().find(|s| s.as_struct() == schema.as_struct()).map(|s| s.schema_id());
    let next = base.schemas_iter().map(|s| s.schema_id() + 1).max().unwrap_or(0);
    let id = known.unwrap_or(next);
    let mut kept: Vec<_> =
        base.schemas_iter().filter(|s| s.schema_id() == id || needed.contains(&s.schema_id())).collect();
    kept.sort_by_key(|s| s.schema_id());
    let kept = kept.into_iter().map(|s| serde_json::to_value(s.as_ref())).collect::<Result<_, _>>();
    Ok((kept.map_err(TableError::invalid)?, id))
}

fn schema_json(schema: &Schema, id: i32) -> Result<Value> {
    let schema = schema.clone().into_builder().with_schema_id(id).build().map_err(TableError::invalid)?;
    serde_json::to_value(schema).map_err(TableError::invalid)
}

fn version_json(
    id: i32,
    schema_id: i32,
    now_ms: i64,
    view: &ViewDefinition,
    summary: &BTreeMap<String, String>,
) -> Value {
    json!({
        "version-id": id,
        "schema-id": schema_id,
        "timestamp-ms": now_ms,
        "summary": summary,
        // Names in our SQL are qualified.
        "default-namespace": [],
        "representations": [{"type": "sql", "sql": view.sql, "dialect": view.dialect}],
    })
}

fn properties(view: &ViewDefinition) -> BTreeMap<&'static str, &str> {
    view.comment.as_deref().map(|comment| (COMMENT, comment)).into_iter().collect()
}
