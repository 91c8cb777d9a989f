//! What the policies say about one principal and one table.

use std::collections::{BTreeMap, BTreeSet};

use polder_diag::Span;
use polder_project::Mask;

/// A condition that rows must meet to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFilter {
    /// A SQL condition over the table's columns.
    pub sql: String,
    /// Where the policy is written.
    pub span: Span,
}

/// What of a table a principal may see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// The policy that forbids the table altogether.
    pub denied: Option<Span>,
    /// All of them must hold for a row to be seen.
    pub filters: Vec<RowFilter>,
    /// How columns are hidden, by name in lower case. Columns that the table does not have may be among them, where a
    /// policy is for many tables.
    pub masks: BTreeMap<String, Mask>,
    /// Columns, in lower case, that policies for this very table hide: one that is not there is spelled wrong, or was
    /// renamed, and what it should hide would be seen under another name.
    pub needed: BTreeSet<String>,
    /// Where it is written that a column is hidden, by name in lower case.
    pub(crate) places: BTreeMap<String, Span>,
}

impl Decision {
    /// No policy names the table and the principal: all is to be seen.
    pub fn is_open(&self) -> bool {
        self.denied.is_none() && self.filters.is_empty() && self.masks.is_empty()
    }

    /// How a column is hidden. Names are compared without regard to case: a policy that is spelled otherwise than the
    /// column still hides it.
    pub fn mask_of(&self, column: &str) -> Option<&Mask> {
        self.masks.get(&column.to_lowercase())
    }

    /// Where it is written that a column is hidden.
    pub fn mask_span(&self, column: &str) -> Option<&Span> {
        self.places.get(&column.to_lowercase())
    }

    /// Where some column is hidden.
    pub fn any_mask_span(&self) -> Option<&Span> {
        self.places.values().next()
    }

    /// The first column that must be hidden and is not among these.
    pub fn missing<'a>(&self, columns: impl IntoIterator<Item = &'a str>) -> Option<&str> {
        let there: BTreeSet<String> = columns.into_iter().map(str::to_lowercase).collect();
        self.needed.iter().find(|needed| !there.contains(*needed)).map(String::as_str)
    }

    /// Adds one more mask to a column. Where two rules hide one column in different ways, nothing of it is shown:
    /// showing either form could tell what the other one hides.
    pub(crate) fn mask(&mut self, column: &str, mask: &Mask, place: &Span) {
        let column = column.to_lowercase();
        self.places.entry(column.clone()).or_insert_with(|| place.clone());
        self.masks
            .entry(column)
            .and_modify(|known| {
                if known != mask {
                    *known = Mask::Null;
                }
            })
            .or_insert_with(|| mask.clone());
    }
}
