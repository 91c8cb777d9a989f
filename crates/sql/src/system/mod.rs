//! `system.*`: what the platform knows about itself, as tables. `information_schema.*`: the same for tools that ask for
//! it. Nothing of it is stored as a table: the catalog and the state store are read when a statement is run.
//!
//! What a policy hides of a table is hidden here too: its bounds, counts, samples and the literals of its checks. Words
//! that a run left behind (why a step failed, what a check found) may quote rows of any table that was read on the way;
//! whom any policy binds is shown none of them.

mod columns;
mod lake;
mod records;
mod wanted;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::Result as DfResult;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polder_base::TableName;
use polder_catalog::Catalog;
use polder_govern::Decision;

use crate::Result;
use crate::resolve::{Resolver, Rights};
use crate::session::Core;
use wanted::Wanted;

const SYSTEM: &str = "system";
const INFORMATION_SCHEMA: &str = "information_schema";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Runs,
    Steps,
    Checks,
    Pipelines,
    Commits,
    Refs,
    Tables,
    Columns,
    Snapshots,
    Files,
    Schemata,
    InformationTables,
    InformationColumns,
}

const TABLES: [(&str, &str, Kind); 13] = [
    (SYSTEM, "runs", Kind::Runs),
    (SYSTEM, "steps", Kind::Steps),
    (SYSTEM, "checks", Kind::Checks),
    (SYSTEM, "pipelines", Kind::Pipelines),
    (SYSTEM, "commits", Kind::Commits),
    (SYSTEM, "refs", Kind::Refs),
    (SYSTEM, "tables", Kind::Tables),
    (SYSTEM, "columns", Kind::Columns),
    (SYSTEM, "snapshots", Kind::Snapshots),
    (SYSTEM, "files", Kind::Files),
    (INFORMATION_SCHEMA, "schemata", Kind::Schemata),
    (INFORMATION_SCHEMA, "tables", Kind::InformationTables),
    (INFORMATION_SCHEMA, "columns", Kind::InformationColumns),
];

pub(crate) fn is_namespace(namespace: &str) -> bool {
    namespace == SYSTEM || namespace == INFORMATION_SCHEMA
}

/// The tables that Polder fills with what it knows about itself.
pub fn system_tables() -> impl Iterator<Item = TableName> {
    TABLES.iter().map(|(namespace, name, _)| TableName::new(*namespace, *name))
}

/// Whether a table is one of those.
pub fn is_system_table(table: &TableName) -> bool {
    TABLES.iter().any(|(namespace, name, _)| table.namespace == *namespace && table.name == *name)
}

/// Their columns.
pub(crate) fn columns() -> impl Iterator<Item = (TableName, BTreeSet<String>)> {
    TABLES.iter().filter_map(|(namespace, name, kind)| {
        let schema = kind.schema().ok()?;
        Some((TableName::new(*namespace, *name), schema.fields().iter().map(|field| field.name().clone()).collect()))
    })
}

/// The tables of a namespace.
pub(crate) fn names(namespace: &str) -> Vec<&'static str> {
    TABLES.iter().filter(|(of, ..)| *of == namespace).map(|(_, name, _)| *name).collect()
}

pub(crate) fn table(resolver: &Resolver<'_>, namespace: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
    let (.., kind) = TABLES.iter().find(|(of, known, _)| *of == namespace && *known == name)?;
    let reader = Reader { core: Arc::clone(resolver.core), rights: resolver.rights() };
    let schema = kind.schema().ok()?;
    Some(Arc::new(SystemTable { kind: *kind, schema, reader }))
}

/// Reads the platform's records for one session.
#[derive(Debug)]
struct Reader {
    core: Arc<Core>,
    rights: Rights,
}

impl Reader {
    fn catalog(&self) -> &Catalog {
        self.core.engine.catalog()
    }

    fn decide(&self, name: &TableName, uuid: Option<&str>) -> Decision {
        match self.rights {
            Rights::Definer => Decision::default(),
            Rights::Principal => self.core.engine.governance().decide(&self.core.options.principal, name, uuid),
        }
    }

    /// Whether a policy, of whatever table, is for the principal.
    fn is_bound(&self) -> bool {
        self.rights == Rights::Principal && self.core.engine.governance().binds(&self.core.options.principal)
    }

    /// Whether all about a table may be told, by its name as text. What is no table's name is told.
    fn is_open(&self, name: &str) -> bool {
        name.parse().map_or(true, |name: TableName| self.decide(&name, None).is_open())
    }

    /// Whether a principal may know of a table, by its name as text.
    fn is_known(&self, name: &str) -> bool {
        name.parse().map_or(true, |name: TableName| self.decide(&name, None).denied.is_none())
    }
}

impl Kind {
    /// The schema of no rows.
    fn schema(self) -> DfResult<SchemaRef> {
        let batch = match self {
            Self::Runs => records::runs(&[], polder_base::Timestamp::default()),
            Self::Steps => records::steps(&[]),
            Self::Checks => records::checks(&[]),
            Self::Pipelines => records::pipelines(&[]),
            Self::Commits => lake::commits(&[]),
            Self::Refs => lake::refs(&[]),
            Self::Tables => lake::tables(&[]),
            Self::Columns => lake::columns(&[]),
            Self::Snapshots => lake::snapshots(&[]),
            Self::Files => lake::files(&[]),
            Self::Schemata => lake::schemata(&[]),
            Self::InformationTables => lake::information_tables(&[]),
            Self::InformationColumns => lake::information_columns(&[]),
        };
        Ok(batch?.schema())
    }

    async fn rows(self, reader: &Reader, wanted: &Wanted) -> Result<RecordBatch> {
        let batch = match self {
            Self::Runs => records::runs(&reader.read_runs(wanted).await?, reader.catalog().system().now()),
            Self::Steps => records::steps(&reader.read_steps(wanted).await?),
            Self::Checks => records::checks(&reader.read_checks(wanted).await?),
            Self::Pipelines => records::pipelines(&reader.read_pipelines().await?),
            Self::Commits => lake::commits(&reader.read_commits(wanted).await?),
            Self::Refs => lake::refs(&reader.catalog().refs().await?),
            Self::Tables => lake::tables(&reader.read_tables(wanted).await?),
            Self::Columns => lake::columns(&reader.read_columns(wanted).await?),
            Self::Snapshots => lake::snapshots(&reader.read_snapshots(wanted).await?),
            Self::Files => lake::files(&reader.read_files(wanted).await?),
            Self::Schemata => lake::schemata(&reader.read_relations(wanted).await?),
            Self::InformationTables => lake::information_tables(&reader.read_relations(wanted).await?),
            Self::InformationColumns => lake::information_columns(&reader.read_columns(wanted).await?),
        };
        Ok(batch?)
    }
}

/// One table of `system` or `information_schema`.
#[derive(Debug)]
struct SystemTable {
    kind: Kind,
    schema: SchemaRef,
    reader: Reader,
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    /// Equalities that spare reading: the statement applies them once more.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let pushed = |filter: &&Expr| match Wanted::understands(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(pushed).collect())
    }

    async fn scan(
        &self,
        _: &dyn datafusion::catalog::Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let wanted = Wanted::of(filters, limit);
        let batch = self.kind.rows(&self.reader, &wanted).await.map_err(crate::SqlError::into_datafusion)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], Arc::clone(&self.schema), projection.cloned())?)
    }
}
