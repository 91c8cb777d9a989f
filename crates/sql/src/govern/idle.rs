//! Masks of policies for many tables that hide nothing: none of the tables has such a column.
//!
//! A policy for one table fails closed when its column is not there. One for many tables cannot: the tables that have no
//! such column would all be closed. But a column that none of them has is spelled wrong, or was renamed.

use std::collections::{BTreeMap, BTreeSet};

use polder_base::{TableName, nearest};
use polder_catalog::{Catalog, CatalogError, CommitId, Entry, EntryKey};
use polder_diag::Diagnostic;
use polder_govern::{BroadMasks, Policies};

use crate::{Result, codes, system};

/// A warning for each such mask. Tables are looked at until every masked column was seen somewhere, so that policies
/// without mistakes cost little.
pub(super) async fn idle_masks(policies: &Policies, catalog: &Catalog, at: &CommitId) -> Result<Vec<Diagnostic>> {
    let mut warnings = Vec::new();
    if policies.broad_masks().next().is_none() {
        return Ok(warnings);
    }
    let mut tables = Columns::of(catalog, at).await?;
    for masks in policies.broad_masks() {
        if let Some(seen) = tables.below(catalog, &masks).await? {
            warnings.extend(masks.policy.masks.keys().filter_map(|column| warning(&masks, column, &seen)));
        }
    }
    Ok(warnings)
}

fn warning(masks: &BroadMasks<'_>, column: &str, seen: &BTreeSet<String>) -> Option<Diagnostic> {
    if seen.contains(&column.to_lowercase()) {
        return None;
    }
    let message =
        format!("the mask of `{column}` hides nothing: no table of `{}` has such a column", masks.policy.table);
    let diagnostic = Diagnostic::warning(codes::POLICY_MISFIT, message).at(masks.policy.mask_span(column).clone(), "");
    let near = nearest(column, seen.iter().map(String::as_str));
    Some(near.iter().fold(diagnostic, |d, near| d.hint(format!("did you mean `{near}`?"))))
}

/// The columns of the tables at a commit, in lower case; each table is read once.
struct Columns {
    entries: BTreeMap<TableName, Entry>,
    known: BTreeMap<TableName, BTreeSet<String>>,
}

impl Columns {
    async fn of(catalog: &Catalog, at: &CommitId) -> Result<Self> {
        let entries = catalog.entries(at).await?.into_iter().filter_map(|(key, entry)| match key {
            EntryKey::Relation(name) => Some((name, entry)),
            EntryKey::Cursor(_) => None,
        });
        Ok(Self { entries: entries.collect(), known: system::columns().collect() })
    }

    /// The columns of a policy's tables: all of them, unless all that it masks came before. `None`: it has no tables yet.
    async fn below(&mut self, catalog: &Catalog, masks: &BroadMasks<'_>) -> Result<Option<BTreeSet<String>>> {
        let of_records = masks.namespace().is_some_and(system::is_namespace);
        if !of_records && !self.entries.keys().any(|name| masks.cover(name)) {
            return Ok(None);
        }
        let all = self.entries.keys().chain(self.known.keys());
        let covered: Vec<TableName> = all.filter(|name| masks.cover(name)).cloned().collect();
        let mut seen = BTreeSet::new();
        for name in covered {
            if masks.policy.masks.keys().all(|column| seen.contains(&column.to_lowercase())) {
                break;
            }
            seen.extend(self.columns(catalog, name).await?);
        }
        Ok(Some(seen))
    }

    async fn columns(&mut self, catalog: &Catalog, name: TableName) -> Result<BTreeSet<String>> {
        if let Some(known) = self.known.get(&name) {
            return Ok(known.clone());
        }
        let schema = match self.entries.get(&name) {
            Some(Entry::Table(table)) => catalog.metadata(table).await?.current_schema().clone(),
            Some(Entry::View(view)) => {
                let metadata = catalog.tables().view(&view.metadata_path).await.map_err(CatalogError::from)?;
                metadata.current_schema().clone()
            }
            _ => return Ok(BTreeSet::new()),
        };
        let columns: BTreeSet<String> = schema.as_struct().fields().iter().map(|f| f.name.to_lowercase()).collect();
        self.known.insert(name, columns.clone());
        Ok(columns)
    }
}
