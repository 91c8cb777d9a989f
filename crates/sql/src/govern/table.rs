//! A table as a principal may see it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polder_base::TableName;

use super::barrier::{BarrierExec, veiled};
use super::harmless::harmless;
use crate::scanned::ScannedTable;

/// Rows after filter and masks; to a statement's plan it is a table like any other.
#[derive(Debug)]
pub(crate) struct GovernedTable {
    name: TableName,
    /// Masks over the row filter over the table (or the view).
    plan: LogicalPlan,
    schema: SchemaRef,
    masked: BTreeSet<String>,
    tables: Vec<ScannedTable>,
}

impl GovernedTable {
    pub(crate) fn new(name: TableName, plan: LogicalPlan, masked: BTreeSet<String>, tables: Vec<ScannedTable>) -> Self {
        // Nothing of how the table is stored, and no NOT NULL: it would say that no filter took a row away.
        let fields = plan.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { name, plan, schema, masked, tables }
    }

    /// The tables of the lake that are read below.
    pub(crate) fn tables(&self) -> &[ScannedTable] {
        &self.tables
    }

    /// What runs below: masks over the row filter over the table.
    pub(crate) fn below(&self) -> &LogicalPlan {
        &self.plan
    }

    fn plan(&self, projection: Option<&Vec<usize>>, filters: &[Expr], limit: Option<usize>) -> Result<LogicalPlan> {
        let mut builder = LogicalPlanBuilder::from(self.plan.clone());
        for filter in filters {
            builder = builder.filter(filter.clone())?;
        }
        if let Some(projection) = projection {
            let columns = projection.iter().map(|i| Expr::Column(Column::from(self.plan.schema().qualified_field(*i))));
            builder = builder.project(columns.collect::<Vec<_>>())?;
        }
        if limit.is_some() {
            builder = builder.limit(0, limit)?;
        }
        builder.build()
    }
}

#[async_trait]
impl TableProvider for GovernedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushed = |filter: &&Expr| match harmless(filter, &self.masked) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(pushed).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let inner = async {
            let plan = self.plan(projection, filters, limit)?;
            state.create_physical_plan(&plan).await
        };
        let inner = inner.await.map_err(|error| veiled(&self.name, error))?;
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => Arc::clone(&self.schema),
        };
        Ok(Arc::new(BarrierExec::new(self.name.clone(), inner, schema)))
    }
}
