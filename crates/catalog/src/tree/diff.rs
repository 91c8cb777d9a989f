//! Comparing trees, through the nodes that differ only.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::{Hash, corrupt};
use crate::objects::Stage;
use crate::tree::read::{child, descend};
use crate::tree::{Key, Value};
use crate::{Entry, Result};

/// An entry that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) before: Option<Entry>,
    pub(crate) after: Option<Entry>,
}

/// The nodes of one level of one tree that the other does not have.
#[derive(Debug)]
struct Side {
    level: u8,
    nodes: BTreeSet<Hash>,
}

impl Side {
    async fn new(stage: &Stage<'_>, root: &Hash) -> Result<Self> {
        Ok(Self { level: stage.node(root).await?.level, nodes: BTreeSet::from([*root]) })
    }

    /// Replaces the nodes by their children.
    async fn descend(&mut self, stage: &Stage<'_>) -> Result<()> {
        let mut below = BTreeSet::new();
        for name in &self.nodes {
            let node = descend(stage, name, self.level + 1).await?;
            for item in &node.items {
                below.insert(child(&item.value)?);
            }
        }
        self.nodes = below;
        self.level -= 1;
        Ok(())
    }

    async fn entries(&self, stage: &Stage<'_>) -> Result<BTreeMap<Key, Entry>> {
        let mut entries = BTreeMap::new();
        for name in &self.nodes {
            for item in &descend(stage, name, 1).await?.items {
                match &item.value {
                    Value::Entry(entry) => entries.insert(Key::clone(&item.key), entry.clone()),
                    Value::Child(_) => return Err(corrupt("leaf", "a node stands where an entry must")),
                };
            }
        }
        Ok(entries)
    }
}

/// Removes what both sides have: equal nodes hold equal entries, and no key occurs twice in a tree.
fn drop_common(a: &mut Side, b: &mut Side) {
    if a.level == b.level {
        let common: Vec<Hash> = a.nodes.intersection(&b.nodes).copied().collect();
        for name in &common {
            a.nodes.remove(name);
            b.nodes.remove(name);
        }
    }
}

/// The entries that differ between two trees.
pub(crate) async fn diff(stage: &Stage<'_>, from: &Hash, to: &Hash) -> Result<BTreeMap<Key, Difference>> {
    if from == to {
        return Ok(BTreeMap::new());
    }
    let (mut a, mut b) = (Side::new(stage, from).await?, Side::new(stage, to).await?);
    loop {
        drop_common(&mut a, &mut b);
        match (a.level, b.level) {
            (0, 0) => break,
            (x, y) if x > y => a.descend(stage).await?,
            (x, y) if x < y => b.descend(stage).await?,
            _ => {
                a.descend(stage).await?;
                b.descend(stage).await?;
            }
        }
    }
    let (before, mut after) = (a.entries(stage).await?, b.entries(stage).await?);
    let mut found = BTreeMap::new();
    for (key, before) in before {
        let after = after.remove(&key);
        if after.as_ref() != Some(&before) {
            found.insert(key, Difference { before: Some(before), after });
        }
    }
    found.extend(after.into_iter().map(|(key, entry)| (key, Difference { before: None, after: Some(entry) })));
    Ok(found)
}

/// The nodes of `root` that the tree at `known` lacks: what a reader who has that one needs to read this one.
pub(crate) async fn new_nodes(stage: &Stage<'_>, known: Option<&Hash>, root: &Hash) -> Result<BTreeSet<Hash>> {
    let mut new = BTreeSet::new();
    let mut a = match known {
        Some(known) => Some(Side::new(stage, known).await?),
        None => None,
    };
    let mut b = Side::new(stage, root).await?;
    loop {
        if let Some(a) = &mut a {
            while a.level > b.level {
                a.descend(stage).await?;
            }
            drop_common(a, &mut b);
        }
        new.extend(b.nodes.iter().copied());
        if b.level == 0 {
            return Ok(new);
        }
        b.descend(stage).await?;
    }
}
