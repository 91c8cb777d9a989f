//! Metadata files: new ones, schema changes, and the last touches before one is written.
//!
//! `iceberg`'s builder makes snapshots. What it would do otherwise than Polder needs is done on the JSON, which the
//! crate then reads back and checks: its builder gives a new table field ids and an UUID of its own, and takes the time
//! from the machine's clock.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::spec::{Schema, SortOrder, TableMetadata, UnboundPartitionSpec};
use crate::{Result, TableError, property};

/// Ids of partition fields begin above this one, in a table without partitions too.
const LAST_PARTITION_ID: i32 = 999;

/// What a new table is made of.
pub(crate) struct NewTable<'a> {
    pub uuid: Uuid,
    pub location: String,
    pub schema: &'a Schema,
    pub partition: &'a UnboundPartitionSpec,
    pub sort: Option<&'a SortOrder>,
    pub properties: &'a BTreeMap<String, String>,
}

/// Metadata of a table without rows. Field ids are taken as they are.
pub(crate) fn create(table: NewTable<'_>, now_ms: i64) -> Result<TableMetadata> {
    let schema = table.schema.clone().into_builder().with_schema_id(0).build().map_err(TableError::invalid)?;
    let partition = table.partition.clone().bind(schema.clone()).map_err(TableError::invalid)?.with_spec_id(0);
    let sort = match table.sort {
        Some(order) if !order.fields.is_empty() => sort_order(&schema, order)?,
        _ => SortOrder::unsorted_order(),
    };
    let mut properties = table.properties.clone();
    properties.entry(property::GC_ENABLED.to_owned()).or_insert_with(|| "false".to_owned());
    from_json(json!({
        "format-version": 2,
        "table-uuid": table.uuid,
        "location": table.location,
        "last-sequence-number": 0,
        "last-updated-ms": now_ms,
        "last-column-id": schema.highest_field_id(),
        "schemas": [to_json(&schema)?],
        "current-schema-id": 0,
        "partition-specs": [to_json(&partition)?],
        "default-spec-id": 0,
        "last-partition-id": partition.highest_field_id().unwrap_or(LAST_PARTITION_ID),
        "sort-orders": [to_json(&sort)?],
        "default-sort-order-id": sort.order_id,
        "properties": properties,
        "snapshots": [],
        "snapshot-log": [],
        "metadata-log": [],
    }))
}

fn sort_order(schema: &Schema, order: &SortOrder) -> Result<SortOrder> {
    let mut builder = SortOrder::builder();
    builder.with_order_id(1).with_fields(order.fields.clone());
    builder.build(schema).map_err(TableError::invalid)
}

/// Makes a schema the current one; `None` when it is already.
pub(crate) fn set_schema(metadata: &TableMetadata, schema: &Schema, now_ms: i64) -> Result<Option<TableMetadata>> {
    let same = |other: &Schema| {
        other.as_struct() == schema.as_struct()
            && other.identifier_field_ids().collect::<HashSet<_>>() == schema.identifier_field_ids().collect()
    };
    if same(metadata.current_schema()) {
        return Ok(None);
    }
    let order = metadata.default_sort_order();
    if !order.fields.is_empty() {
        sort_order(schema, order)?;
    }
    let known = metadata.schemas_iter().find(|s| same(s)).map(|s| s.schema_id());
    let id = known.unwrap_or_else(|| metadata.schemas_iter().map(|s| s.schema_id() + 1).max().unwrap_or(0));
    let mut value = to_json(metadata)?;
    if known.is_none() {
        let schema = schema.clone().into_builder().with_schema_id(id).build().map_err(TableError::invalid)?;
        push(&mut value, "schemas", to_json(&schema)?);
    }
    value["current-schema-id"] = id.into();
    value["last-column-id"] = metadata.last_column_id().max(schema.highest_field_id()).into();
    value["last-updated-ms"] = now_ms.into();
    from_json(value).map(Some)
}

/// Sets properties, or removes those without a value; `None` when they are so already.
pub(crate) fn set_properties(
    metadata: &TableMetadata,
    properties: &BTreeMap<String, Option<String>>,
    now_ms: i64,
) -> Result<Option<TableMetadata>> {
    if properties.iter().all(|(key, value)| metadata.properties().get(key) == value.as_ref()) {
        return Ok(None);
    }
    let mut all: BTreeMap<&String, &String> = metadata.properties().iter().collect();
    for (key, value) in properties {
        match value {
            Some(value) => all.insert(key, value),
            None => all.remove(key),
        };
    }
    let mut json = to_json(metadata)?;
    json["properties"] = to_json(&all)?;
    json["last-updated-ms"] = now_ms.into();
    from_json(json).map(Some)
}

/// The metadata as it is written, with its bytes: what came before is noted in its log, and old snapshots are let go.
///
/// `base`: the metadata that it follows, with its location.
pub(crate) fn finish(
    metadata: &TableMetadata,
    base: Option<(&TableMetadata, String)>,
) -> Result<(TableMetadata, Bytes)> {
    let mut value = to_json(metadata)?;
    if let Some((base, location)) = base {
        push(&mut value, "metadata-log", json!({"timestamp-ms": base.last_updated_ms(), "metadata-file": location}));
        keep_last(&mut value, "metadata-log", property::metadata_log_max(metadata.properties()));
    }
    forget_snapshots(metadata, &mut value);
    // The crate keeps these in hash maps: an order of its own makes metadata files comparable.
    sort_by(&mut value, "snapshots", "sequence-number");
    sort_by(&mut value, "schemas", "schema-id");
    let bytes = serde_json::to_vec(&value).map_err(TableError::invalid)?;
    Ok((from_json(value)?, bytes.into()))
}

/// Leaves out ancestors of the current snapshot beyond the newest ones, but for those that a ref of the table names.
fn forget_snapshots(metadata: &TableMetadata, value: &mut Value) {
    let keep = property::snapshots_max(metadata.properties());
    if metadata.snapshots().len() <= keep {
        return;
    }
    let named: HashSet<i64> = value["refs"]
        .as_object()
        .into_iter()
        .flat_map(|refs| refs.values())
        .filter_map(|reference| reference["snapshot-id"].as_i64())
        .collect();
    let forgotten: HashSet<i64> = ancestors(metadata).skip(keep).filter(|id| !named.contains(id)).collect();
    let is_forgotten = |entry: &Value| entry["snapshot-id"].as_i64().is_some_and(|id| forgotten.contains(&id));
    for list in ["snapshots", "statistics", "partition-statistics"] {
        if let Some(list) = value.get_mut(list).and_then(Value::as_array_mut) {
            list.retain(|entry| !is_forgotten(entry));
        }
    }
    if let Some(log) = value.get_mut("snapshot-log").and_then(Value::as_array_mut) {
        // The log must have no gaps: what was current in between would seem to have been another snapshot.
        let start = log.iter().rposition(is_forgotten).map_or(0, |last| last + 1);
        log.drain(..start);
    }
}

/// The current snapshot and those it descends from, newest first, as far as the metadata knows them.
pub(crate) fn ancestors(metadata: &TableMetadata) -> impl Iterator<Item = i64> {
    std::iter::successors(metadata.current_snapshot(), |snapshot| {
        metadata.snapshot_by_id(snapshot.parent_snapshot_id()?)
    })
    .map(|snapshot| snapshot.snapshot_id())
}

/// The number at the start of a metadata file's name, in the names that Polder and most others give.
pub(crate) fn file_number(path: &str) -> Option<u64> {
    path.rsplit('/').next()?.split('-').next()?.parse().ok()
}

fn to_json(value: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(TableError::invalid)
}

fn from_json(value: Value) -> Result<TableMetadata> {
    serde_json::from_value(value).map_err(TableError::invalid)
}

fn push(value: &mut Value, list: &str, entry: Value) {
    match value.get_mut(list).and_then(Value::as_array_mut) {
        Some(entries) => entries.push(entry),
        None => value[list] = Value::Array(vec![entry]),
    }
}

fn keep_last(value: &mut Value, list: &str, count: usize) {
    if let Some(list) = value.get_mut(list).and_then(Value::as_array_mut) {
        list.drain(..list.len().saturating_sub(count));
    }
}

fn sort_by(value: &mut Value, list: &str, key: &str) {
    if let Some(list) = value.get_mut(list).and_then(Value::as_array_mut) {
        list.sort_by_key(|entry| entry[key].as_i64());
    }
}
