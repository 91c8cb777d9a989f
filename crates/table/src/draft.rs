//! A commit in the making: metadata, the manifests of its newest snapshot, and what is written for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::avro::{self, Entries, ManifestKind};
use crate::io::{NewFile, live};
use crate::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestFile, Schema, Snapshot, TableMetadata,
};
use crate::summary::Tally;
use crate::{Committed, DataFileInfo, Result, TableError, TableIo, merge, metadata, property};

/// Which files a snapshot removes.
#[derive(Debug)]
pub(crate) enum Removal<'a> {
    Nothing,
    Locations(&'a BTreeSet<String>),
    Everything,
}

/// A commit in the making.
pub(crate) struct Draft<'a> {
    io: &'a TableIo,
    base: Option<(&'a TableMetadata, &'a str)>,
    metadata: TableMetadata,
    /// Of the newest snapshot, in the order of its list.
    manifests: Vec<ManifestFile>,
    summary: &'a BTreeMap<String, String>,
    /// What all its files are called by.
    uuid: Uuid,
    manifests_written: usize,
    changed: bool,
}

impl<'a> Draft<'a> {
    /// Begins a table.
    pub fn create(io: &'a TableIo, metadata: TableMetadata, summary: &'a BTreeMap<String, String>) -> Self {
        let uuid = io.system.uuid();
        Self { io, base: None, metadata, manifests: Vec::new(), summary, uuid, manifests_written: 0, changed: true }
    }

    /// Begins a change of a table.
    pub async fn open(
        io: &'a TableIo,
        base: (&'a TableMetadata, &'a str),
        summary: &'a BTreeMap<String, String>,
    ) -> Result<Self> {
        let metadata = base.0.clone();
        if metadata.format_version() != FormatVersion::V2 {
            return Err(TableError::Invalid(format!(
                "the table at {} has format {}, and only format v2 can be written",
                metadata.location(),
                metadata.format_version()
            )));
        }
        let manifests = io.manifests(&metadata, metadata.current_snapshot_id()).await?;
        let uuid = io.system.uuid();
        Ok(Self { io, base: Some(base), metadata, manifests, summary, uuid, manifests_written: 0, changed: false })
    }

    pub fn metadata(&self) -> &TableMetadata {
        &self.metadata
    }

    pub fn manifests(&self) -> &[ManifestFile] {
        &self.manifests
    }

    /// Later than everything that the metadata knows, also when the clock was set back.
    fn now_ms(&self) -> i64 {
        self.io.system.now().millis().max(self.metadata.last_updated_ms() + 1)
    }

    pub fn set_schema(&mut self, schema: &Schema) -> Result<()> {
        if let Some(metadata) = metadata::set_schema(&self.metadata, schema, self.now_ms())? {
            self.metadata = metadata;
            self.changed = true;
        }
        Ok(())
    }

    pub fn set_properties(&mut self, properties: &BTreeMap<String, Option<String>>) -> Result<()> {
        if let Some(metadata) = metadata::set_properties(&self.metadata, properties, self.now_ms())? {
            self.metadata = metadata;
            self.changed = true;
        }
        Ok(())
    }

    /// Makes a snapshot that removes files and adds others; none when that changes nothing.
    ///
    /// `taken`: manifests of new files that are there already, with their files.
    pub async fn snapshot(
        &mut self,
        removal: Removal<'_>,
        add: &[DataFile],
        taken: Vec<(ManifestFile, Vec<DataFileInfo>)>,
    ) -> Result<()> {
        let mut new = NewSnapshot::begin(self);
        for (manifest, files) in taken {
            new.take(manifest, &files);
        }
        new.add(self, add).await?;
        new.remove(self, &removal).await?;
        if new.files.is_empty() && new.manifests.is_empty() {
            return Ok(());
        }
        let replacing = matches!(removal, Removal::Everything);
        new.merge(self).await?;
        self.put(new, replacing).await
    }

    /// Writes a snapshot's files and makes it the current one.
    async fn put(&mut self, mut new: NewSnapshot, replacing: bool) -> Result<()> {
        let parent = self.metadata.current_snapshot().cloned();
        let operation = new.tally.operation(replacing && parent.is_some());
        let summary = new.tally.summary(operation, parent.as_ref().map(|p| p.summary()), self.summary);
        let list_path = format!("{}/metadata/snap-{}-1-{}.avro", self.folder()?, new.id, self.uuid);
        let snapshot = Snapshot::builder()
            .with_snapshot_id(new.id)
            .with_parent_snapshot_id(parent.map(|p| p.snapshot_id()))
            .with_sequence_number(self.metadata.next_sequence_number())
            .with_timestamp_ms(self.now_ms())
            .with_manifest_list(self.io.warehouse.location(&list_path))
            .with_summary(summary)
            .with_schema_id(self.metadata.current_schema_id())
            .build();
        new.manifests.append(&mut new.kept);
        let (manifests, bytes) = avro::manifest_list(&snapshot, new.manifests).await?;
        new.files.push(NewFile { path: list_path, bytes });
        self.io.write(new.files).await?;
        let builder = self.metadata.clone().into_builder(None);
        let built = builder.set_branch_snapshot(snapshot, MAIN_BRANCH).and_then(|b| b.build());
        self.metadata = built.map_err(TableError::invalid)?.metadata;
        self.manifests = manifests;
        self.changed = true;
        Ok(())
    }

    /// Writes the metadata file, last of all files.
    pub async fn finish(self) -> Result<Committed> {
        let warehouse = &self.io.warehouse;
        if let (false, Some((_, path))) = (self.changed, self.base) {
            let snapshot_id = self.metadata.current_snapshot_id();
            return Ok(Committed { metadata_path: path.to_owned(), metadata: Arc::new(self.metadata), snapshot_id });
        }
        // A file with a name of another kind has as many before it as its log says, at least.
        let before = |(base, path): (&TableMetadata, &str)| {
            metadata::file_number(path).unwrap_or(base.metadata_log().len() as u64)
        };
        let version = self.base.map_or(0, |base| before(base) + 1);
        let metadata_path = format!("{}/metadata/{version:05}-{}.metadata.json", self.folder()?, self.uuid);
        let base = self.base.map(|(base, path)| (base, warehouse.location(path)));
        let (metadata, bytes) = metadata::finish(&self.metadata, base)?;
        self.io.write(vec![NewFile { path: metadata_path.clone(), bytes }]).await?;
        let snapshot_id = metadata.current_snapshot_id();
        Ok(Committed { metadata_path, metadata: Arc::new(metadata), snapshot_id })
    }

    /// The table's folder, relative to the warehouse.
    fn folder(&self) -> Result<&str> {
        Ok(self.io.warehouse.path(self.metadata.location())?)
    }

    fn new_snapshot_id(&self) -> i64 {
        loop {
            // Positive, as Iceberg's libraries make them.
            let id = i64::try_from(self.io.system.random() >> 1).unwrap_or(i64::MAX);
            if id > 0 && self.metadata.snapshot_by_id(id).is_none() {
                return id;
            }
        }
    }

    /// With what files of a partition spec are listed: the table's present schema.
    fn kind(&self, spec_id: i32) -> Result<ManifestKind> {
        let spec = self.metadata.partition_spec_by_id(spec_id).ok_or_else(|| {
            TableError::Invalid(format!("the table at {} has no partition spec {spec_id}", self.metadata.location()))
        })?;
        Ok(ManifestKind {
            schema: self.metadata.current_schema().clone(),
            spec: spec.as_ref().clone(),
            content: ManifestContentType::Data,
        })
    }
}

/// The manifests of a snapshot in the making.
struct NewSnapshot {
    id: i64,
    tally: Tally,
    /// Manifests that are new in this snapshot.
    manifests: Vec<ManifestFile>,
    /// Manifests of the parent that stay as they are.
    kept: Vec<ManifestFile>,
    files: Vec<NewFile>,
}

impl NewSnapshot {
    fn begin(draft: &Draft<'_>) -> Self {
        // A manifest that lists only what an earlier snapshot removed has told its story.
        let kept = draft.manifests.iter().filter(|m| m.has_added_files() || m.has_existing_files()).cloned().collect();
        Self { id: draft.new_snapshot_id(), tally: Tally::default(), manifests: Vec::new(), kept, files: Vec::new() }
    }

    /// Takes over a manifest whose entries inherit everything from the list that they are in.
    fn take(&mut self, mut manifest: ManifestFile, files: &[DataFileInfo]) {
        for info in files {
            self.tally.add(&info.file, info.partition_spec_id);
        }
        manifest.added_snapshot_id = self.id;
        manifest.sequence_number = crate::spec::UNASSIGNED_SEQUENCE_NUMBER;
        manifest.min_sequence_number = crate::spec::UNASSIGNED_SEQUENCE_NUMBER;
        self.manifests.push(manifest);
    }

    /// Lists new files. They belong to the table's default partition spec: a data file does not tell another.
    async fn add(&mut self, draft: &mut Draft<'_>, add: &[DataFile]) -> Result<()> {
        if add.is_empty() {
            return Ok(());
        }
        let kind = draft.kind(draft.metadata.default_partition_spec_id())?;
        let mut seen = BTreeSet::new();
        for file in add {
            if !seen.insert(file.file_path()) {
                return Err(TableError::Invalid(format!("{} is added twice", file.file_path())));
            }
            if file.partition().fields().len() != kind.spec.fields().len() {
                return Err(TableError::Invalid(format!("{} has other partition fields", file.file_path())));
            }
            self.tally.add(file, kind.spec.spec_id());
        }
        self.encode(draft, kind, Entries { added: add.to_vec(), ..Entries::default() }).await
    }

    /// Rewrites the manifests that list removed files.
    async fn remove(&mut self, draft: &mut Draft<'_>, removal: &Removal<'_>) -> Result<()> {
        let mut missing: BTreeSet<&str> = match removal {
            Removal::Nothing => return Ok(()),
            Removal::Locations(locations) => locations.iter().map(String::as_str).collect(),
            Removal::Everything => BTreeSet::new(),
        };
        let everything = matches!(removal, Removal::Everything);
        for manifest in std::mem::take(&mut self.kept) {
            let ours = everything || (!missing.is_empty() && manifest.content == ManifestContentType::Data);
            let entries = if ours { self.split(draft, &manifest, everything, &mut missing).await? } else { None };
            match entries {
                Some((kind, entries)) => self.encode(draft, kind, entries).await?,
                None => self.kept.push(manifest),
            }
        }
        match missing.first() {
            None => Ok(()),
            Some(location) => {
                Err(TableError::Invalid(format!("{location} cannot be removed: the table does not have it")))
            }
        }
    }

    /// Divides a manifest's files into those that stay and those that go; `None` when all stay.
    async fn split(
        &mut self,
        draft: &Draft<'_>,
        manifest: &ManifestFile,
        everything: bool,
        missing: &mut BTreeSet<&str>,
    ) -> Result<Option<(ManifestKind, Entries)>> {
        let read = draft.io.manifest(manifest).await?;
        let goes = |info: &DataFileInfo| everything || missing.remove(info.file.file_path());
        let (deleted, existing): (Vec<_>, Vec<_>) = live(&read, manifest).into_iter().partition(goes);
        if deleted.is_empty() {
            return Ok(None);
        }
        for info in &deleted {
            self.tally.remove(&info.file, info.partition_spec_id);
        }
        // With its own schema: its partition spec may need columns that the table does not have any more.
        let (_, header) = read.into_parts();
        let kind = ManifestKind { schema: header.schema, spec: header.partition_spec, content: manifest.content };
        Ok(Some((kind, Entries { existing, deleted, ..Entries::default() })))
    }

    /// Merges small manifests of the parent. New ones are left alone: they may be replayed elsewhere.
    async fn merge(&mut self, draft: &mut Draft<'_>) -> Result<()> {
        let Some(policy) = property::merge_policy(draft.metadata.properties()) else { return Ok(()) };
        let mut merged = BTreeSet::new();
        for group in merge::groups(&self.kept, policy) {
            let mut existing = Vec::new();
            for &index in &group {
                existing.extend(draft.io.live_files(&self.kept[index]).await?);
            }
            let kind = draft.kind(self.kept[group[0]].partition_spec_id)?;
            self.encode(draft, kind, Entries { existing, ..Entries::default() }).await?;
            merged.extend(group);
        }
        let kept = std::mem::take(&mut self.kept).into_iter().enumerate();
        self.kept = kept.filter(|(index, _)| !merged.contains(index)).map(|(_, manifest)| manifest).collect();
        Ok(())
    }

    async fn encode(&mut self, draft: &mut Draft<'_>, kind: ManifestKind, entries: Entries) -> Result<()> {
        let path = format!("{}/metadata/{}-m{}.avro", draft.folder()?, draft.uuid, draft.manifests_written);
        draft.manifests_written += 1;
        let location = draft.io.warehouse.location(&path);
        let (manifest, bytes) = avro::manifest(location, self.id, kind, entries).await?;
        self.manifests.push(manifest);
        self.files.push(NewFile { path, bytes });
        Ok(())
    }
}
