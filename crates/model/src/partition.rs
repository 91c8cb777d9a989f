//! Partition specifications from `partition_by`.

use polder_diag::{Diagnostic, Span};
use polder_run::StepError;
use polder_table::spec::{PartitionSpec, Schema, UnboundPartitionSpec};

use crate::codes;
use crate::config::PartitionBy;

/// The specification for a schema.
///
/// # Errors
/// A column that the model does not have, or whose type the transform does not take.
pub(crate) fn partition_spec(
    parts: &[PartitionBy],
    schema: &Schema,
    span: &Span,
) -> Result<UnboundPartitionSpec, StepError> {
    let wrong = |message: String| Diagnostic::error(codes::PARTITION, message).at(span.clone(), "");
    let mut builder = UnboundPartitionSpec::builder();
    for part in parts {
        let Some(field) = schema.field_by_name(&part.column) else {
            let columns = schema.as_struct().fields().iter().map(|f| f.name.as_str());
            let near = polder_base::nearest(&part.column, columns);
            let diagnostic = wrong(format!("there is no column `{}` to partition by", part.column));
            return Err(near.iter().fold(diagnostic, |d, n| d.hint(format!("did you mean `{n}`?"))).into());
        };
        part.transform
            .result_type(&field.field_type)
            .map_err(|_| wrong(format!("`{}` of type {} has no {}", part.column, field.field_type, part.transform)))?;
        builder = builder
            .add_partition_field(field.id, part.field_name(), part.transform)
            .map_err(|e| wrong(e.message().to_owned()))?;
    }
    Ok(builder.build())
}

/// Whether a table is partitioned as the model says.
pub(crate) fn same_partitions(table: &PartitionSpec, wanted: &UnboundPartitionSpec) -> bool {
    table.fields().len() == wanted.fields().len()
        && table
            .fields()
            .iter()
            .zip(wanted.fields())
            .all(|(a, b)| a.source_id == b.source_id && a.transform == b.transform && a.name == b.name)
}
