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

/// Tables whose columns are read for the warnings of one session. In a catalog with more of them a mistake may go
/// untold: nobody should wait for a warning.
const MOST_READ: usize = 200;

/// A warning for each such mask. Tables are looked at until every masked column was seen somewhere, so that policies
/// without mistakes cost little. What cannot be read is passed over: no session fails for a warning.
pub(super) async fn idle_masks(policies: &Policies, catalog: &Catalog, at: &CommitId) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    if policies.broad_masks().next().is_none() {
        return warnings;
    }
    let Ok(mut tables) = Columns::of(catalog, at).await else { return warnings };
    for masks in policies.broad_masks() {
        if let Some(seen) = tables.below(catalog, &masks).await {
            warnings.extend(masks.policy.masks.keys().filter_map(|column| warning(&masks, column, &seen)));
        }
    }
    warnings
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
    /// `None`: the table cannot be read.
    known: BTreeMap<TableName, Option<BTreeSet<String>>>,
    /// Tables that may still be read.
    left: usize,
}

impl Columns {
    async fn of(catalog: &Catalog, at: &CommitId) -> Result<Self> {
        let entries = catalog.entries(at).await?.into_iter().filter_map(|(key, entry)| match key {
            EntryKey::Relation(name) => Some((name, entry)),
            EntryKey::Cursor(_) => None,
        });
        let known = system::columns().map(|(name, columns)| (name, Some(columns))).collect();
        Ok(Self { entries: entries.collect(), known, left: MOST_READ })
    }

    /// The columns of a policy's tables: all of them, unless all that it masks came before. `None`: it has no tables yet,
    /// or one that was not read may have what was not seen.
    async fn below(&mut self, catalog: &Catalog, masks: &BroadMasks<'_>) -> Option<BTreeSet<String>> {
        let of_records = masks.namespace().is_some_and(system::is_namespace);
        if !of_records && !self.entries.keys().any(|name| masks.cover(name)) {
            return None;
        }
        // What is known costs nothing.
        let unknown = self.entries.keys().filter(|name| !self.known.contains_key(*name));
        let covered: Vec<TableName> = self.known.keys().chain(unknown).filter(|n| masks.cover(n)).cloned().collect();
        let (mut seen, mut unread) = (BTreeSet::new(), false);
        for name in &covered {
            if masks.policy.masks.keys().all(|column| seen.contains(&column.to_lowercase())) {
                return Some(seen);
            }
            match self.columns(catalog, name).await {
                Some(columns) => seen.extend(columns.iter().cloned()),
                None => unread = true,
            }
        }
        (!unread).then_some(seen)
    }

    /// `None`: nobody knows them, or finding out would take too long.
    async fn columns(&mut self, catalog: &Catalog, name: &TableName) -> Option<&BTreeSet<String>> {
        if !self.known.contains_key(name) {
            self.left = self.left.checked_sub(1)?;
            let columns = self.read(catalog, name).await.ok();
            self.known.insert(name.clone(), columns);
        }
        self.known.get(name)?.as_ref()
    }

    async fn read(&self, catalog: &Catalog, name: &TableName) -> Result<BTreeSet<String>> {
        let schema = match self.entries.get(name) {
            Some(Entry::Table(table)) => catalog.metadata(table).await?.current_schema().clone(),
            Some(Entry::View(view)) => {
                let metadata = catalog.tables().view(&view.metadata_path).await.map_err(CatalogError::from)?;
                metadata.current_schema().clone()
            }
            _ => return Ok(BTreeSet::new()),
        };
        Ok(schema.as_struct().fields().iter().map(|f| f.name.to_lowercase()).collect())
    }
}
