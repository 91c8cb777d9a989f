//! A model as a step of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use polder_catalog::{Change, Entry, EntryKey, TableEntry, ViewEntry};
use polder_lake::{LakeTable, Workspace};
use polder_run::{Fingerprint, Output, Step, StepContext, StepError, StepKey, StepKind, StepReport};
use polder_sql::{Engine, Session, SessionOptions};
use polder_table::Operation;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::compile::CompiledModel;
use crate::config::{Materialization, Strategy};
use crate::error::{catalog_error, lake_error, query_error};
use crate::render::Rendering;
use crate::write::Writer;

/// The property of a table that engines show as its description.
pub(crate) const COMMENT_PROPERTY: &str = "comment";

/// Builds one model on a run's branch.
#[derive(Debug)]
pub struct ModelStep {
    key: StepKey,
    pub(crate) model: Arc<CompiledModel>,
    pub(crate) workspace: Workspace,
    engine: Arc<Engine>,
    default_namespace: String,
    /// The metadata of the table that the first try added to.
    first_base: OnceCell<Option<String>>,
}

/// The entry that a model left behind: enough to take it over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Built {
    Table { uuid: String, metadata_path: String, snapshot_id: Option<i64> },
    View { uuid: String, metadata_path: String },
}

impl Built {
    fn of(entry: &Entry) -> Option<Self> {
        match entry {
            Entry::Table(TableEntry { uuid, metadata_path, snapshot_id }) => Some(Self::Table {
                uuid: uuid.clone(),
                metadata_path: metadata_path.clone(),
                snapshot_id: *snapshot_id,
            }),
            Entry::View(ViewEntry { uuid, metadata_path }) => {
                Some(Self::View { uuid: uuid.clone(), metadata_path: metadata_path.clone() })
            }
            Entry::Cursor(_) => None,
        }
    }

    fn entry(self) -> Entry {
        match self {
            Self::Table { uuid, metadata_path, snapshot_id } => {
                Entry::Table(TableEntry { uuid, metadata_path, snapshot_id })
            }
            Self::View { uuid, metadata_path } => Entry::View(ViewEntry { uuid, metadata_path }),
        }
    }

    fn metadata_path(&self) -> &str {
        match self {
            Self::Table { metadata_path, .. } | Self::View { metadata_path, .. } => metadata_path,
        }
    }
}

/// A model's query, planned against the branch as it is now.
pub(crate) struct Planned {
    pub(crate) session: Session,
    pub(crate) plan: LogicalPlan,
    pub(crate) schema: SchemaRef,
}

impl ModelStep {
    pub fn new(
        model: Arc<CompiledModel>,
        workspace: Workspace,
        engine: Arc<Engine>,
        default_namespace: impl Into<String>,
    ) -> Self {
        let key = StepKey::new(StepKind::Model, model.table.to_string());
        Self { key, model, workspace, engine, default_namespace: default_namespace.into(), first_base: OnceCell::new() }
    }

    pub(crate) async fn plan(&self, rendering: &Rendering) -> Result<Planned, StepError> {
        let session = self
            .engine
            .session(SessionOptions {
                default_namespace: Some(self.default_namespace.clone()),
                ..SessionOptions::system(&self.workspace.branch, self.workspace.run_time)
            })
            .await
            .map_err(|e| query_error(&self.model, rendering, e))?;
        let plan = session.plan(&rendering.sql).await.map_err(|e| query_error(&self.model, rendering, e))?;
        let schema = self.model.describe(plan.schema().as_arrow())?;
        Ok(Planned { session, plan, schema })
    }

    /// The table or view as it is on the branch.
    pub(crate) async fn entry(&self) -> Result<Option<Entry>, StepError> {
        let catalog = self.workspace.lake.catalog();
        let head = self.workspace.head().await.map_err(|e| lake_error(&self.model, e))?;
        catalog.entry(&head, &self.relation()).await.map_err(|e| catalog_error(&e))
    }

    pub(crate) fn relation(&self) -> EntryKey {
        EntryKey::Relation(self.model.table.clone())
    }

    pub(crate) async fn table(&self) -> Result<Option<LakeTable>, StepError> {
        match self.entry().await? {
            Some(Entry::Table(_)) => {
                self.workspace.table(&self.model.table).await.map_err(|e| lake_error(&self.model, e))
            }
            _ => Ok(None),
        }
    }

    /// The table whose rows are to be replaced; `None` also where its files are gone, so that it has to be made anew.
    pub(crate) async fn replaceable(&self) -> Result<Option<LakeTable>, StepError> {
        match self.entry().await? {
            Some(Entry::Table(_)) => {
                self.workspace.replaceable(&self.model.table).await.map_err(|e| lake_error(&self.model, e))
            }
            _ => Ok(None),
        }
    }

    /// Whether a file of the warehouse is there.
    async fn is_there(&self, path: &str) -> bool {
        self.workspace.lake.catalog().tables().warehouse().storage().head(path).await.is_ok()
    }

    /// What decides the output: the query as planned, the snapshots it reads, how the result is kept, and this version
    /// of Polder. `own`: the table that an incremental model adds to.
    fn hash(&self, planned: &Planned, own: Option<&LakeTable>) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        part("model 1");
        part(env!("CARGO_PKG_VERSION"));
        part(&self.model.table.to_string());
        part(&self.model.config.canonical());
        part(&polder_sql::normalised_plan(&planned.plan));
        for field in planned.schema.fields() {
            part(&format!("{} {} {:?}", field.name(), field.data_type(), field.metadata().get(polder_lake::COMMENT)));
        }
        if self.model.config.materialization == Materialization::View {
            // A view is its query: what it shows changes with its tables, what it is does not.
            part(&self.model.rendering(false).sql);
            part(self.model.description.as_deref().unwrap_or_default());
            return Fingerprint(hasher.finalize().to_hex().to_string());
        }
        for table in polder_sql::scanned_tables(&planned.plan) {
            part(&format!("{} {} {:?} {}", table.name, table.uuid, table.snapshot_id, table.schema_id));
        }
        if polder_sql::is_volatile(&planned.plan) {
            part(&self.workspace.run_time.to_string());
        }
        if let Some(own) = own {
            let metadata = &own.metadata;
            part(&format!("onto {} {:?} {}", metadata.uuid(), own.snapshot_id, metadata.current_schema_id()));
        }
        Fingerprint(hasher.finalize().to_hex().to_string())
    }

    /// The table that this step adds to; `None`: it builds in full.
    pub(crate) async fn base(&self) -> Result<Option<LakeTable>, StepError> {
        match self.model.config.materialization {
            Materialization::Incremental(_) if self.model.incremental => self.table().await,
            _ => Ok(None),
        }
    }

    async fn build(&self, cx: &StepContext) -> Result<StepReport, StepError> {
        let base = self.base().await?;
        let path = base.as_ref().map(|b| b.metadata_path.clone());
        if base.is_some() && self.first_base.get_or_init(async || path.clone()).await != &path {
            // An earlier try committed, and failed after that: adding once more would double its rows.
            return Ok(StepReport::default());
        }
        let planned = self.plan(self.model.rendering(base.is_some())).await?;
        let writer = Writer { step: self, cx, planned: &planned };
        match (&self.model.config.materialization, base) {
            (Materialization::View, _) => self.make_view(&planned).await,
            (Materialization::Incremental(Strategy::Merge { unique_key }), None) => {
                writer.replace_by_key(unique_key).await
            }
            (Materialization::Incremental(Strategy::Append), Some(base)) => writer.append(&base).await,
            (Materialization::Incremental(Strategy::Merge { unique_key }), Some(base)) => {
                writer.merge(&base, unique_key).await
            }
            (Materialization::Incremental(Strategy::InsertOverwrite), Some(base)) => writer.overwrite(&base).await,
            (_, _) => writer.replace().await,
        }
    }

    async fn make_view(&self, planned: &Planned) -> Result<StepReport, StepError> {
        let schema = polder_lake::from_arrow(&planned.schema).map_err(|e| lake_error(&self.model, e))?;
        let mut changes = Vec::new();
        let stays = match self.entry().await? {
            // A view is compared with what it was: one whose file is gone is made anew.
            Some(Entry::View(view)) => self.is_there(&view.metadata_path).await,
            Some(_) => false,
            None => true,
        };
        if !stays {
            changes.push(Change::Drop { key: self.relation() });
        }
        changes.push(Change::View {
            table: self.model.table.clone(),
            sql: self.model.rendering(false).sql.clone(),
            schema: schema.into(),
            comment: self.model.description.clone(),
        });
        self.commit(changes).await?;
        Ok(StepReport { note: Some("view".to_owned()), ..StepReport::default() })
    }

    pub(crate) async fn commit(&self, changes: Vec<Change>) -> Result<(), StepError> {
        let message = format!("model {}", self.model.table);
        self.workspace.commit(&message, changes).await.map_err(|e| lake_error(&self.model, e))?;
        Ok(())
    }

    /// Writes the model's description to its table where that has another one; whether it had. Nothing is computed for
    /// it: what a table is called decides none of its rows, and so is no part of the fingerprint.
    async fn describe_table(&self) -> Result<bool, StepError> {
        let Some(table) = self.table().await? else { return Ok(false) };
        let description = &self.model.description;
        if table.metadata.properties().get(COMMENT_PROPERTY) == description.as_ref() {
            return Ok(false);
        }
        let properties = BTreeMap::from([(COMMENT_PROPERTY.to_owned(), description.clone())]);
        let operations = vec![Operation::SetProperties { properties }];
        let read = Some(table.metadata_path.clone());
        self.commit(vec![Change::Table { table: self.model.table.clone(), operations, read }]).await?;
        Ok(true)
    }

    /// Adds what a later, equal step needs to take this one's result over.
    async fn settle(&self, mut report: StepReport) -> Result<StepReport, StepError> {
        let built = self.entry().await?.as_ref().and_then(Built::of);
        report.output = built.and_then(|b| serde_json::to_value(b).ok()).map(Output);
        if matches!(self.model.config.materialization, Materialization::Incremental(_)) {
            // While nothing that it reads changes, running it again on its own result would add nothing.
            let own = self.table().await?;
            let planned = self.plan(self.model.rendering(true)).await?;
            report.settled = Some(self.hash(&planned, own.as_ref()));
        }
        Ok(report)
    }
}

#[async_trait::async_trait]
impl Step for ModelStep {
    fn key(&self) -> &StepKey {
        &self.key
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>, StepError> {
        let base = self.base().await?;
        let planned = self.plan(self.model.rendering(base.is_some())).await?;
        Ok(Some(self.hash(&planned, base.as_ref())))
    }

    async fn adopt(&self, output: &Output) -> Result<Option<StepReport>, StepError> {
        let Ok(built) = serde_json::from_value::<Built>(output.0.clone()) else { return Ok(None) };
        if !self.is_there(built.metadata_path()).await {
            // Collected since, because nothing referred to it any more; or taken away by somebody.
            return Ok(None);
        }
        let present = self.entry().await?;
        let mut report = StepReport { output: Some(output.clone()), ..StepReport::default() };
        if present.as_ref().and_then(Built::of).as_ref() == Some(&built) {
            if self.describe_table().await? {
                report.note = Some("description".to_owned());
                return self.settle(report).await.map(Some);
            }
            report.unchanged = true;
            return Ok(Some(report));
        }
        report.note = Some("as built before".to_owned());
        self.commit(vec![Change::Take { key: self.relation(), entry: built.entry() }]).await?;
        self.describe_table().await?;
        self.settle(report).await.map(Some)
    }

    async fn run(&self, cx: &StepContext) -> Result<StepReport, StepError> {
        let mut report = self.build(cx).await?;
        if self.describe_table().await? {
            report.unchanged = false;
        }
        self.settle(report).await
    }
}
