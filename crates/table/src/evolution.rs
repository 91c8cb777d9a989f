//! Which schemas may follow which.

use std::sync::Arc;

use crate::spec::{NestedField, PrimitiveType, Schema, TableMetadata, Transform, Type};

/// Why a schema cannot follow the table's present one, if it cannot: field ids keep their meaning for ever, because
/// data files refer to columns by them.
///
/// Allowed are new optional columns with new ids, comments, other names and orders, wider types, and dropping NOT NULL.
pub(crate) fn check_evolution(metadata: &TableMetadata, new: &Schema) -> Result<(), String> {
    let present = metadata.current_schema();
    for (id, old) in present.field_id_to_fields() {
        let Some(field) = new.field_by_id(*id) else {
            return Err(format!("column `{}` is missing in the new schema", name(present, *id)));
        };
        check_type(old, field)?;
        if field.required && !old.required {
            return Err(format!("column `{}` holds NULLs and cannot become NOT NULL", name(present, *id)));
        }
    }
    for (id, field) in new.field_id_to_fields().iter().filter(|(id, _)| present.field_by_id(**id).is_none()) {
        if *id <= metadata.last_column_id() {
            return Err(format!("new column `{}` has field id {id}, which was used before", name(new, *id)));
        }
        if field.required && !inside_new(metadata, new, *id) {
            return Err(format!("new column `{}` must be optional: rows exist without it", name(new, *id)));
        }
    }
    check_partition_names(metadata, new)
}

/// Why a schema cannot replace the table's schema together with its content, if it cannot: ids of old are for the same
/// column of old, everything else has a new id.
pub(crate) fn check_replacement(metadata: &TableMetadata, new: &Schema) -> Result<(), String> {
    for (id, field) in new.field_id_to_fields().iter().filter(|(id, _)| **id <= metadata.last_column_id()) {
        let before = metadata.schemas_iter().filter_map(|s| s.field_by_id(*id)).collect::<Vec<_>>();
        if before.is_empty() {
            return Err(format!("new column `{}` has field id {id}, which was used before", name(new, *id)));
        }
        for old in before {
            check_type(old, field)?;
        }
    }
    for partition in metadata.default_partition_spec().fields() {
        if new.field_by_id(partition.source_id).is_none() {
            return Err(format!(
                "the table is partitioned by `{}`, and its column is missing in the new schema: make the table anew",
                partition.name
            ));
        }
    }
    check_partition_names(metadata, new)
}

/// The schema of a table on which what a branch wrote since it forked is replayed: the target's with the branch's new
/// columns. `None`: the target's as it is.
///
/// # Errors
/// Why the branch's files do not fit the target.
pub(crate) fn merged_schema(
    fork: &TableMetadata,
    branch: &TableMetadata,
    target: &TableMetadata,
) -> Result<Option<Schema>, String> {
    let (ours, theirs) = (branch.current_schema(), target.current_schema());
    if ours.as_struct() == theirs.as_struct() || ours.as_struct() == fork.current_schema().as_struct() {
        check_readable(ours, theirs)?;
        return Ok(None);
    }
    if theirs.as_struct() != fork.current_schema().as_struct() {
        return Err("both sides changed its columns".to_owned());
    }
    check_evolution(target, ours)?;
    Ok(Some(ours.as_ref().clone()))
}

/// Files that were written with one schema go into a table with another.
fn check_readable(written: &Schema, table: &Schema) -> Result<(), String> {
    for (id, field) in written.field_id_to_fields() {
        let Some(there) = table.field_by_id(*id) else {
            return Err(format!("column `{}` was dropped", name(written, *id)));
        };
        check_type(field, there)?;
    }
    for (id, field) in table.field_id_to_fields() {
        if written.field_by_id(*id).is_none() && field.required {
            return Err(format!("column `{}` was added and is NOT NULL", name(table, *id)));
        }
    }
    Ok(())
}

fn check_type(old: &Arc<NestedField>, new: &Arc<NestedField>) -> Result<(), String> {
    let fits = match (old.field_type.as_ref(), new.field_type.as_ref()) {
        (Type::Primitive(old), Type::Primitive(new)) => widens(old, new),
        // What is inside has ids of its own.
        (Type::Struct(_), Type::Struct(_)) | (Type::List(_), Type::List(_)) | (Type::Map(_), Type::Map(_)) => true,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(format!("column `{}` cannot change from {} to {}", new.name, old.field_type, new.field_type))
}

/// The promotions that the specification allows in v2 ("Schema Evolution").
fn widens(old: &PrimitiveType, new: &PrimitiveType) -> bool {
    match (old, new) {
        (PrimitiveType::Int, PrimitiveType::Long) | (PrimitiveType::Float, PrimitiveType::Double) => true,
        (
            PrimitiveType::Decimal { precision: old, scale: old_scale },
            PrimitiveType::Decimal { precision: new, scale: new_scale },
        ) => new >= old && new_scale == old_scale,
        _ => old == new,
    }
}

/// A required field inside a column that is itself new is fine.
fn inside_new(metadata: &TableMetadata, new: &Schema, id: i32) -> bool {
    new.as_struct()
        .fields()
        .iter()
        .any(|top| top.id > metadata.last_column_id() && !top.required && top.id != id && contains(&top.field_type, id))
}

fn contains(field_type: &Type, id: i32) -> bool {
    let inside = |field: &Arc<NestedField>| field.id == id || contains(&field.field_type, id);
    match field_type {
        Type::Primitive(_) => false,
        Type::Struct(s) => s.fields().iter().any(inside),
        Type::List(list) => inside(&list.element_field),
        Type::Map(map) => inside(&map.key_field) || inside(&map.value_field),
    }
}

/// A column called as a partition field is would shadow it, unless the field is just that column.
fn check_partition_names(metadata: &TableMetadata, new: &Schema) -> Result<(), String> {
    for partition in metadata.partition_specs_iter().flat_map(|spec| spec.fields()) {
        let Some(field) = new.field_by_name(&partition.name) else { continue };
        if field.id != partition.source_id || partition.transform != Transform::Identity {
            return Err(format!("a column cannot be called `{}`: a partition field is", partition.name));
        }
    }
    Ok(())
}

fn name(schema: &Schema, id: i32) -> String {
    schema.name_by_field_id(id).map_or_else(|| format!("#{id}"), ToOwned::to_owned)
}
