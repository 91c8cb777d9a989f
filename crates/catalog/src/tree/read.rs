//! Looking things up.

use std::sync::Arc;

use crate::codec::{Hash, corrupt};
use crate::objects::Stage;
use crate::tree::{Key, Node, Value};
use crate::{Entry, Result};

/// Which node of a level to find.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seek<'k> {
    /// The one whose keys reach up to this one; for a key beyond all, the last.
    Holding(&'k [u8]),
    /// The first one that ends after this key.
    After(&'k [u8]),
}

/// Finds a node of a level, with its name. `None`: nothing comes after that key.
pub(super) async fn seek(
    stage: &Stage<'_>,
    root: &Hash,
    level: u8,
    seek: Seek<'_>,
) -> Result<Option<(Hash, Arc<Node>)>> {
    let mut name = *root;
    let mut node = stage.node(&name).await?;
    while node.level > level {
        let index = match seek {
            Seek::Holding(key) => node.items.partition_point(|i| *i.key < *key).min(node.items.len().saturating_sub(1)),
            Seek::After(key) => node.items.partition_point(|i| *i.key <= *key),
        };
        let Some(item) = node.items.get(index) else { return Ok(None) };
        name = child(&item.value)?;
        node = descend(stage, &name, node.level).await?;
    }
    let passed = matches!(seek, Seek::After(key) if node.items.last().is_none_or(|i| *i.key <= *key));
    Ok(if passed { None } else { Some((name, node)) })
}

/// Loads a child, and verifies that it lies one level below its parent.
pub(super) async fn descend(stage: &Stage<'_>, name: &Hash, parent_level: u8) -> Result<Arc<Node>> {
    let node = stage.node(name).await?;
    if node.level.checked_add(1) == Some(parent_level) {
        Ok(node)
    } else {
        Err(corrupt(&name.to_hex(), "it lies at another level than its parent says"))
    }
}

pub(super) fn child(value: &Value) -> Result<Hash> {
    match value {
        Value::Child(child) => Ok(*child),
        Value::Entry(_) => Err(corrupt("node", "an entry stands where a node must")),
    }
}

pub(crate) async fn get(stage: &Stage<'_>, root: &Hash, key: &[u8]) -> Result<Option<Entry>> {
    let Some((_, leaf)) = seek(stage, root, 0, Seek::Holding(key)).await? else { return Ok(None) };
    let Ok(index) = leaf.items.binary_search_by(|i| (*i.key).cmp(key)) else { return Ok(None) };
    match leaf.items.get(index).map(|i| &i.value) {
        Some(Value::Entry(entry)) => Ok(Some(entry.clone())),
        _ => Err(corrupt("leaf", "a node stands where an entry must")),
    }
}

/// The entries whose keys start with `prefix`, in key order.
pub(crate) async fn list(stage: &Stage<'_>, root: &Hash, prefix: &[u8]) -> Result<Vec<(Key, Entry)>> {
    let mut found = Vec::new();
    let mut next = seek(stage, root, 0, Seek::Holding(prefix)).await?;
    while let Some((_, leaf)) = next {
        for item in &leaf.items {
            match &item.value {
                Value::Entry(entry) if item.key.starts_with(prefix) => {
                    found.push((Arc::clone(&item.key), entry.clone()))
                }
                _ => {}
            }
        }
        let Some(last) = leaf.items.last() else { break };
        if *last.key > *prefix && !last.key.starts_with(prefix) {
            break;
        }
        next = seek(stage, root, 0, Seek::After(&last.key)).await?;
    }
    Ok(found)
}
