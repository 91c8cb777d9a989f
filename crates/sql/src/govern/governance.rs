//! The policies of an engine, and which tables they are bound to.

use parking_lot::RwLock;
use polder_base::TableName;
use polder_catalog::{Catalog, CommitId, Entry, EntryKey, MAIN};
use polder_diag::Diagnostic;
use polder_govern::{Bindings, Decision, Policies, Principal};
use polder_store::{Batch, Space};
use tokio::sync::Mutex;

use super::idle::idle_masks;
use crate::Result;

/// Keys of the state store that hold bindings: this, the table's UUID, `/`, the name that a policy knew it by.
const BINDING: &str = "governed/";

#[derive(Debug)]
pub(crate) struct Governance {
    policies: Policies,
    bound: RwLock<Bound>,
    /// Bindings are looked for by one task at a time: what one has seen must not be taken back by a slower one.
    refreshing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Bound {
    bindings: Bindings,
    /// The commit of `main` that the bindings were last taken from.
    seen: Option<CommitId>,
    loaded: bool,
    /// How often there was something new to bind.
    changes: u64,
}

impl Governance {
    pub(crate) fn new(policies: Policies) -> Self {
        Self { policies, bound: RwLock::default(), refreshing: Mutex::default() }
    }

    /// What a principal may see of a table, by its name and by the names that it was known under.
    pub(crate) fn decide(&self, principal: &Principal, name: &TableName, uuid: Option<&str>) -> Decision {
        if self.policies.is_empty() || principal.system {
            return Decision::default();
        }
        let bound = self.bound.read();
        let former = uuid.into_iter().flat_map(|uuid| bound.bindings.names(uuid));
        self.policies.decide(principal, std::iter::once(name).chain(former))
    }

    /// Another number whenever another table may have come under a policy.
    pub(crate) fn version(&self) -> u64 {
        self.bound.read().changes
    }

    /// Whether any policy, of whatever table, is for a principal.
    pub(crate) fn binds(&self, principal: &Principal) -> bool {
        self.policies.bind(principal)
    }

    /// A warning for each mask of many tables that hides nothing at a commit.
    pub(crate) async fn idle_masks(&self, catalog: &Catalog, at: &CommitId) -> Vec<Diagnostic> {
        idle_masks(&self.policies, catalog, at).await
    }

    /// Binds the tables that policies name on `main` by their UUIDs, for good: a table that is renamed, or shown under
    /// another name by a branch, stays governed.
    pub(crate) async fn refresh(&self, catalog: &Catalog) -> Result<()> {
        if self.policies.is_empty() {
            return Ok(());
        }
        let head = catalog.resolve(MAIN).await?;
        if self.bound.read().seen.as_ref() == Some(&head) {
            return Ok(());
        }
        let _alone = self.refreshing.lock().await;
        if !self.bound.read().loaded {
            self.load(catalog).await?;
        }
        // As it is now: another task may have bound a later commit's tables meanwhile.
        let head = catalog.resolve(MAIN).await?;
        let named = catalog.entries(&head).await?.into_iter().filter_map(|(key, entry)| match (key, entry) {
            (EntryKey::Relation(name), Entry::Table(table)) if self.policies.mention(&name) => Some((table.uuid, name)),
            (EntryKey::Relation(name), Entry::View(view)) if self.policies.mention(&name) => Some((view.uuid, name)),
            _ => None,
        });
        let news: Vec<(String, TableName)> = {
            let bound = self.bound.read();
            named.filter(|(uuid, name)| !bound.bindings.names(uuid).any(|known| known == name)).collect()
        };
        if !news.is_empty() {
            // Kept before it is known here: a binding that could not be kept is news again the next time.
            let batch = news.iter().fold(Batch::new(), |batch, (uuid, name)| {
                batch.put(Space::Meta, format!("{BINDING}{uuid}/{name}"), Vec::new())
            });
            catalog.state().apply(batch).await?;
        }
        let mut bound = self.bound.write();
        for (uuid, name) in &news {
            bound.bindings.bind(uuid, name);
        }
        bound.changes += u64::from(!news.is_empty());
        bound.seen = Some(head);
        Ok(())
    }

    async fn load(&self, catalog: &Catalog) -> Result<()> {
        const PAGE: usize = 1000;
        let mut after: Option<String> = None;
        loop {
            let page = catalog.state().scan(Space::Meta, BINDING, after.as_deref(), PAGE).await?;
            let mut bound = self.bound.write();
            for (key, _) in &page {
                let binding = key.strip_prefix(BINDING).and_then(|rest| rest.split_once('/'));
                if let Some((uuid, Ok(name))) = binding.map(|(uuid, name)| (uuid, name.parse::<TableName>())) {
                    bound.bindings.bind(uuid, &name);
                }
            }
            if page.len() < PAGE {
                bound.loaded = true;
                bound.changes += 1;
                return Ok(());
            }
            after = page.last().map(|(key, _)| key.clone());
        }
    }
}
