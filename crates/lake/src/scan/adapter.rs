//! Columns of a table in terms of the columns of one of its files: matched by field id, so that files written before a
//! rename, a promotion or a new column are read as the table is now.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema as ArrowSchema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::expressions::{CastExpr, Column, lit};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};
use datafusion::physical_plan::PhysicalExpr;
use polder_table::spec::Schema;

use crate::cast::{MatchBy, cast_column, position};
use crate::schema::{field_id, to_arrow};
use crate::value::default_to_scalar;

/// Makes adapters for the files of a table with this schema.
#[derive(Debug)]
pub(crate) struct FieldIdAdapterFactory {
    schema: Arc<Schema>,
    /// The same with field ids, by which the columns of a file are found.
    identified: SchemaRef,
}

impl FieldIdAdapterFactory {
    /// # Errors
    /// A type that there is none for in Arrow.
    pub(crate) fn new(schema: &Arc<Schema>) -> Result<Self> {
        Ok(Self { schema: Arc::clone(schema), identified: to_arrow(schema)? })
    }
}

impl PhysicalExprAdapterFactory for FieldIdAdapterFactory {
    fn create(
        &self,
        logical_file_schema: SchemaRef,
        physical_file_schema: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>> {
        Ok(Arc::new(FieldIdAdapter {
            schema: Arc::clone(&self.schema),
            identified: Arc::clone(&self.identified),
            table: logical_file_schema,
            file: physical_file_schema,
        }))
    }
}

#[derive(Debug)]
struct FieldIdAdapter {
    schema: Arc<Schema>,
    identified: SchemaRef,
    /// What the scan gives.
    table: SchemaRef,
    file: SchemaRef,
}

impl PhysicalExprAdapter for FieldIdAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        // From the top: what replaces a column is not looked at again, or its name in the file would be taken for
        // a name in the table.
        expr.transform_down(|node| match node.downcast_ref::<Column>() {
            Some(column) => {
                let replacement = self.column(column)?;
                Ok(Transformed::new(replacement, true, datafusion::common::tree_node::TreeNodeRecursion::Jump))
            }
            None => Ok(Transformed::no(node)),
        })
        .data()
    }
}

impl FieldIdAdapter {
    fn column(&self, column: &Column) -> Result<Arc<dyn PhysicalExpr>> {
        let wanted = self.table.field_with_name(column.name())?;
        let identified = self.identified.field_with_name(column.name())?;
        let Some(index) = position(self.file.fields(), identified, MatchBy::FieldId) else {
            return self.missing(wanted, identified);
        };
        let found = self.file.field(index);
        let in_file: Arc<dyn PhysicalExpr> = Arc::new(Column::new(found.name(), index));
        if found.data_type() == wanted.data_type() {
            return Ok(in_file);
        }
        if wanted.data_type().is_nested() || found.data_type().is_nested() {
            let (identified, target) = (Arc::new(identified.clone()), Arc::new(wanted.clone()));
            return Ok(Arc::new(FieldIdCast { input: in_file, identified, target }));
        }
        Ok(Arc::new(CastExpr::new_with_target_field(in_file, Arc::new(wanted.clone()), None)))
    }

    /// A column that the file is too old to have.
    fn missing(&self, wanted: &Field, identified: &Field) -> Result<Arc<dyn PhysicalExpr>> {
        let field = field_id(identified).and_then(|id| self.schema.field_by_id(id));
        let default = field.and_then(|f| default_to_scalar(f.initial_default.as_ref()?, &f.field_type));
        match default {
            Some(value) => Ok(lit(value)),
            None if wanted.is_nullable() => Ok(lit(ScalarValue::try_from(wanted.data_type())?)),
            None => exec_err!("the required column `{}` is missing in a data file", wanted.name()),
        }
    }
}

/// A nested column with the fields inside it matched by id.
#[derive(Debug, Eq)]
struct FieldIdCast {
    input: Arc<dyn PhysicalExpr>,
    /// The target with field ids.
    identified: FieldRef,
    target: FieldRef,
}

impl PartialEq for FieldIdCast {
    fn eq(&self, other: &Self) -> bool {
        self.input.eq(&other.input) && self.identified == other.identified && self.target == other.target
    }
}

impl Hash for FieldIdCast {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.identified.hash(state);
        self.target.hash(state);
    }
}

impl fmt::Display for FieldIdCast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by_field_id({})", self.input)
    }
}

impl PhysicalExpr for FieldIdCast {
    fn data_type(&self, _: &ArrowSchema) -> Result<DataType> {
        Ok(self.target.data_type().clone())
    }

    fn nullable(&self, _: &ArrowSchema) -> Result<bool> {
        Ok(self.target.is_nullable())
    }

    fn return_field(&self, _: &ArrowSchema) -> Result<FieldRef> {
        Ok(Arc::clone(&self.target))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.input.evaluate(batch)?.into_array(batch.num_rows())?;
        let (name, identified) = (self.target.name(), self.identified.data_type());
        let array = cast_column(&array, identified, name, MatchBy::FieldId)?;
        // The same fields without their ids: values are not touched.
        Ok(ColumnarValue::Array(cast_column(&array, self.target.data_type(), name, MatchBy::Name)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => {
                let (identified, target) = (Arc::clone(&self.identified), Arc::clone(&self.target));
                Ok(Arc::new(Self { input, identified, target }))
            }
            Err(children) => exec_err!("a cast has one input, not {}", children.len()),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.input.fmt_sql(f)
    }
}
