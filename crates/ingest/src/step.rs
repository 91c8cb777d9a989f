//! The ingest step of a run.

use std::path::PathBuf;

use polder_base::TableName;
use polder_catalog::{Change, Entry, EntryKey};
use polder_lake::{LakeError, LakeTable, Workspace, quarantine_of};
use polder_project::{Connection, FileMode, ReadMode, Source, Stream};
use polder_run::{Fingerprint, Output, Step, StepContext, StepError, StepKey, StepKind, StepReport};

use crate::landing::Landing;
use crate::{IngestError, Result, files, postgres};

/// The name of the cursor that says how far a stream has been read: `shop.orders`.
pub fn cursor_of(source: &Source, stream: &Stream) -> String {
    format!("{}.{}", source.name, stream.name)
}

/// Reads what is new in one stream of a source into its bronze table.
#[derive(Debug)]
pub struct IngestStep {
    key: StepKey,
    workspace: Workspace,
    /// What relative patterns are relative to.
    project: PathBuf,
    connection: Connection,
    /// `shop.orders`: source and stream.
    cursor_name: String,
    stream: Stream,
    full_refresh: bool,
}

impl IngestStep {
    /// `full_refresh`: forget how far was read, and replace the table.
    pub fn new(
        workspace: Workspace,
        project: impl Into<PathBuf>,
        source: &Source,
        stream: &Stream,
        full_refresh: bool,
    ) -> Self {
        Self {
            key: StepKey::new(StepKind::Ingest, stream.table.to_string()),
            workspace,
            project: project.into(),
            connection: source.connection.clone(),
            cursor_name: cursor_of(source, stream),
            stream: Stream {
                key: stream.key.iter().map(|k| polder_base::normalise_column(k)).collect(),
                ..stream.clone()
            },
            full_refresh,
        }
    }

    async fn ingest(&self, cx: &StepContext) -> Result<StepReport> {
        let landing = Landing {
            cx,
            workspace: &self.workspace,
            stream: &self.stream,
            cursor_name: self.cursor_name.clone(),
            cursor: self.workspace.cursor(&self.cursor_name).await?,
            table: self.table().await?,
            full_refresh: self.full_refresh,
            newest_by: self.newest_by(),
            unique: false,
        };
        match (&self.connection, &self.stream.read) {
            (Connection::Files, ReadMode::Files(stream)) => files::step::run(&landing, &self.project, stream).await,
            (Connection::Postgres { url }, ReadMode::Full | ReadMode::Incremental { .. }) => {
                postgres::run(landing, url).await
            }
            _ => Err(IngestError::Defect(format!("{} does not go with its source", self.stream.name))),
        }
    }

    /// The table as it is. Where all is read anew, nothing of it is needed but its name: one whose files are gone is
    /// taken away, and made anew.
    async fn table(&self) -> Result<Option<LakeTable>> {
        let table = &self.stream.table;
        if !self.full_refresh {
            return Ok(self.workspace.table(table).await?);
        }
        self.drop_if_damaged(&quarantine_of(table)).await?;
        self.drop_if_damaged(table).await
    }

    async fn drop_if_damaged(&self, table: &TableName) -> Result<Option<LakeTable>> {
        let found = self.workspace.replaceable(table).await?;
        let key = EntryKey::Relation(table.clone());
        let catalog = self.workspace.lake.catalog();
        let entry = catalog.entry(&self.workspace.head().await?, &key).await.map_err(LakeError::from)?;
        if let (None, Some(Entry::Table(_))) = (&found, entry) {
            let message = format!("drop {table}, whose files are gone");
            self.workspace.commit(&message, vec![Change::Drop { key }]).await?;
        }
        Ok(found)
    }

    fn newest_by(&self) -> Vec<String> {
        match &self.stream.read {
            ReadMode::Files(stream) if stream.mode == FileMode::Append || !self.stream.key.is_empty() => {
                vec!["_file".to_owned(), "_position".to_owned()]
            }
            ReadMode::Incremental { cursor, .. } => vec![polder_base::normalise_column(cursor)],
            _ => Vec::new(),
        }
    }
}

#[async_trait::async_trait]
impl Step for IngestStep {
    fn key(&self) -> &StepKey {
        &self.key
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>, StepError> {
        Ok(None)
    }

    async fn adopt(&self, _: &Output) -> Result<Option<StepReport>, StepError> {
        Ok(None)
    }

    async fn run(&self, cx: &StepContext) -> Result<StepReport, StepError> {
        tokio::select! {
            // Dropping the work closes the channels, and the readers stop at their next batch.
            () = cx.cancel.cancelled() => Err(StepError::Cancelled),
            result = self.ingest(cx) => result.map_err(|error| error.into_step_error(&self.stream)),
        }
    }
}
