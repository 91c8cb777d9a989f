//! Which tables are governed although they are called something else.

use std::collections::{BTreeMap, BTreeSet};

use polder_base::TableName;

/// The names that policies have known a table under, by the table's UUID: a table that was renamed, or that a branch
/// shows under another name, stays governed by the policies of its first name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings {
    by_uuid: BTreeMap<String, BTreeSet<TableName>>,
}

impl Bindings {
    /// Remembers that `uuid` was called `name`. `true`: that is news.
    pub fn bind(&mut self, uuid: &str, name: &TableName) -> bool {
        match self.by_uuid.get_mut(uuid) {
            Some(names) => names.insert(name.clone()),
            None => self.by_uuid.insert(uuid.to_owned(), BTreeSet::from([name.clone()])).is_none(),
        }
    }

    /// The names that a table was known under.
    pub fn names(&self, uuid: &str) -> impl Iterator<Item = &TableName> {
        self.by_uuid.get(uuid).into_iter().flatten()
    }
}
