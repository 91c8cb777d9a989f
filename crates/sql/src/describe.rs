//! `DESCRIBE`: the columns of a table or query, a row each.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use datafusion::common::{DFSchema, Result};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};

use polder_lake::sql_type_name_of_arrow;
pub(crate) fn plan(schema: &DFSchema) -> Result<LogicalPlan> {
    let fields = schema.fields();
    let text = |f: &dyn Fn(&datafusion::arrow::datatypes::Field) -> Option<String>| -> ArrayRef {
        Arc::new(fields.iter().map(|field| f(field)).collect::<StringArray>())
    };
    let nullable: ArrayRef = Arc::new(fields.iter().map(|field| Some(field.is_nullable())).collect::<BooleanArray>());
    let batch = RecordBatch::try_from_iter([
        ("column_name", text(&|field| Some(field.name().clone()))),
        ("data_type", text(&|field| Some(sql_type_name_of_arrow(field.data_type())))),
        ("nullable", nullable),
        ("comment", text(&|field| field.metadata().get("comment").cloned())),
    ])?;
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    LogicalPlanBuilder::scan("columns", provider_as_source(Arc::new(table)), None)?.build()
}
