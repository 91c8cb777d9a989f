//! What manifests know about the values of columns: for pruning, and for the planner's statistics.

use datafusion::common::ScalarValue;
use polder_table::DataFileInfo;
use polder_table::spec::{Literal, NestedField, PrimitiveType, TableMetadata, Transform, Type};

use crate::schema::primitive_to_arrow_top;
use crate::transform::range;
use crate::value::{bound_to_scalar, to_scalar};

/// Bounds of a column in one file. A bound that is missing says nothing.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ColumnBounds {
    pub(crate) lower: Option<ScalarValue>,
    pub(crate) upper: Option<ScalarValue>,
    /// Both are values of the column, not just beyond them.
    pub(crate) exact: bool,
}

/// Bounds of a column at the top of the schema: from the file's metrics, or else from its partition.
pub(crate) fn column_bounds(info: &DataFileInfo, metadata: &TableMetadata, field: &NestedField) -> ColumnBounds {
    let Type::Primitive(primitive) = field.field_type.as_ref() else {
        return ColumnBounds::default();
    };
    if may_hold_nan(info, field) {
        // NaN is greater than everything to DataFusion (and -NaN smaller), and no bound counts it.
        return ColumnBounds::default();
    }
    let bound = |bounds: &std::collections::HashMap<i32, polder_table::spec::Datum>| {
        bounds.get(&field.id).and_then(|bound| bound_to_scalar(bound, primitive))
    };
    let (lower, upper) = (bound(info.file.lower_bounds()), bound(info.file.upper_bounds()));
    if lower.is_some() && upper.is_some() {
        return ColumnBounds { lower, upper, exact: is_exact(primitive) };
    }
    let (from_lower, from_upper) = partition_bounds(info, metadata, field.id, primitive).unzip();
    ColumnBounds { lower: lower.or(from_lower), upper: upper.or(from_upper), exact: false }
}

/// Whether a file may have NaN in a column.
pub(crate) fn may_hold_nan(info: &DataFileInfo, field: &NestedField) -> bool {
    field.field_type.is_floating_type() && info.file.nan_value_counts().get(&field.id) != Some(&0)
}

/// How many of a file's rows have NULL in a column.
pub(crate) fn null_count(info: &DataFileInfo, metadata: &TableMetadata, field: &NestedField) -> Option<u64> {
    info.file.null_value_counts().get(&field.id).copied().or_else(|| {
        let identity = |transform| transform == Transform::Identity;
        partition_values(info, metadata, field.id).find(|(transform, _)| identity(*transform)).map(|(_, value)| {
            match value {
                Some(_) => 0,
                None => info.file.record_count(),
            }
        })
    })
}

/// The values of the partition fields that were made from a column.
pub(crate) fn partition_values<'a>(
    info: &'a DataFileInfo,
    metadata: &'a TableMetadata,
    source_id: i32,
) -> impl Iterator<Item = (Transform, Option<&'a Literal>)> {
    let fields = metadata.partition_spec_by_id(info.partition_spec_id).map(|spec| spec.fields()).unwrap_or_default();
    fields
        .iter()
        .zip(info.file.partition().iter())
        .filter(move |(field, _)| field.source_id == source_id)
        .map(|(field, value)| (field.transform, value))
}

fn partition_bounds(
    info: &DataFileInfo,
    metadata: &TableMetadata,
    source_id: i32,
    primitive: &PrimitiveType,
) -> Option<(ScalarValue, ScalarValue)> {
    let column = primitive_to_arrow_top(primitive).ok()?;
    partition_values(info, metadata, source_id).find_map(|(transform, value)| {
        let result = transform.result_type(&Type::Primitive(primitive.clone())).ok()?;
        let literal = value?.as_primitive_literal()?;
        let scalar = to_scalar(&literal, result.as_primitive_type()?)?;
        range(transform, &scalar, &column)
    })
}

/// Types whose bounds are never cut, and whose values are equal only when their bits are.
fn is_exact(primitive: &PrimitiveType) -> bool {
    !is_floating(primitive)
        && !matches!(
            primitive,
            PrimitiveType::String | PrimitiveType::Binary | PrimitiveType::Fixed(_) | PrimitiveType::Uuid
        )
}

fn is_floating(primitive: &PrimitiveType) -> bool {
    matches!(primitive, PrimitiveType::Float | PrimitiveType::Double)
}
