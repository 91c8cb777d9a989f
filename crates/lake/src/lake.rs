//! What all sessions of a process share.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use polder_base::TableName;
use polder_catalog::{Catalog, CommitId, Entry, EntryKey, TableEntry};
use polder_table::{ViewDefinition, view_definition};

use crate::scan::ManifestCache;
use crate::warehouse::{WarehouseFiles, warehouse_url};
use crate::{LakeTable, Result};

/// Consumers of memory that an error about too little of it names.
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

#[derive(Debug, Clone)]
pub struct LakeOptions {
    /// What queries and writers may hold before they spill.
    pub memory_limit_bytes: u64,
    /// Where they spill to.
    pub spill_folder: PathBuf,
    /// Memory of the cache of manifests and table statistics, and as much again for the footers of data files.
    pub manifest_cache_bytes: u64,
}

/// The lake as one process sees it: catalog, memory, caches.
#[derive(Debug)]
pub struct Lake {
    catalog: Catalog,
    runtime: Arc<RuntimeEnv>,
    manifests: ManifestCache,
}

impl Lake {
    /// # Errors
    /// A spill folder that cannot be used.
    pub fn open(catalog: Catalog, options: &LakeOptions) -> Result<Arc<Self>> {
        let pool = FairSpillPool::new(saturate(options.memory_limit_bytes));
        let spill = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![options.spill_folder.clone()]))
            // The disk's own limit is the limit: DataFusion's 100 GB would stop a large sort on a large disk.
            .with_max_temp_directory_size(u64::MAX);
        let cache_bytes = saturate(options.manifest_cache_bytes);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, NAMED_CONSUMERS)))
            .with_disk_manager_builder(spill)
            .with_metadata_cache_limit(cache_bytes)
            // Folders that people name in `FROM` are looked at each time: others write into them.
            .with_object_list_cache_limit(0)
            .build_arc()?;
        let storage = Arc::clone(catalog.tables().warehouse().storage());
        runtime.register_object_store(warehouse_url()?.as_ref(), Arc::new(WarehouseFiles::new(storage)));
        Ok(Arc::new(Self { catalog, runtime, manifests: ManifestCache::new(cache_bytes) }))
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Memory pool, disk manager and object stores (the warehouse's is registered), for every session of the process.
    pub fn runtime(&self) -> &Arc<RuntimeEnv> {
        &self.runtime
    }

    pub(crate) fn manifests(&self) -> &ManifestCache {
        &self.manifests
    }

    /// A table as it is at a commit; `None` when there is none, or the name is a view's.
    pub async fn table(self: &Arc<Self>, at: &CommitId, name: &TableName) -> Result<Option<LakeTable>> {
        match self.catalog.entry(at, &EntryKey::Relation(name.clone())).await? {
            Some(Entry::Table(entry)) => Ok(Some(self.table_of(&entry).await?)),
            _ => Ok(None),
        }
    }

    /// The table of a catalog entry.
    pub async fn table_of(self: &Arc<Self>, entry: &TableEntry) -> Result<LakeTable> {
        let metadata = self.catalog.metadata(entry).await?;
        let snapshot_id = metadata.current_snapshot_id();
        LakeTable::new(self, entry.metadata_path.clone(), metadata, snapshot_id)
    }

    /// A view as it is at a commit; `None` when there is none, or the name is a table's.
    pub async fn view(&self, at: &CommitId, name: &TableName) -> Result<Option<ViewDefinition>> {
        match self.catalog.entry(at, &EntryKey::Relation(name.clone())).await? {
            Some(Entry::View(entry)) => {
                let metadata = self.catalog.tables().view(&entry.metadata_path).await?;
                Ok(Some(view_definition(&metadata)?))
            }
            _ => Ok(None),
        }
    }
}

fn saturate(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
