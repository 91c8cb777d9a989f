//! Changing a tree: level by level, from the leaves up, only nodes that a change touches.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::Hash;
use crate::objects::Stage;
use crate::tree::node::{Chunker, Item};
use crate::tree::read::{Seek, seek};
use crate::tree::{Key, Node, Value};
use crate::{Entry, Result};

/// What to change: an entry to set, or `None` to remove it.
pub(crate) type Edits = BTreeMap<Key, Option<Entry>>;

/// The same at any level.
type LevelEdits = BTreeMap<Key, Option<Value>>;

/// Applies edits to the tree at `root`, and gives the new root. New nodes go to the stage.
pub(crate) async fn edit(stage: &mut Stage<'_>, root: &Hash, edits: &Edits) -> Result<Hash> {
    let top = stage.node(root).await?.level;
    let mut edits: LevelEdits = edits.iter().map(|(k, e)| (Arc::clone(k), e.clone().map(Value::Entry))).collect();
    for level in 0..top {
        if edits.is_empty() {
            return Ok(*root);
        }
        let (mut above, kept) = edit_level(stage, root, level, edits).await?;
        // A node that came out as it was is no edit of its parent.
        above.retain(|key, value| match value {
            Some(Value::Child(child)) => kept.get(key) != Some(child),
            _ => true,
        });
        edits = above;
    }
    if edits.is_empty() {
        return Ok(*root);
    }
    let (top_items, _) = edit_level(stage, root, top, edits).await?;
    let children = top_items.into_iter().filter_map(|(key, value)| Some(Item { key, value: value? })).collect();
    finish(stage, top, children).await
}

/// Applies edits to the nodes of one level: gives what follows for the level above, and the old nodes that it met, by
/// their last keys.
///
/// From the first node that an edit touches on, items are cut into nodes anew, until a new node ends where an old one
/// does: behind that, the old nodes are what cutting would give.
async fn edit_level(
    stage: &mut Stage<'_>,
    root: &Hash,
    level: u8,
    edits: LevelEdits,
) -> Result<(LevelEdits, BTreeMap<Key, Hash>)> {
    let mut above = LevelEdits::new();
    let mut kept = BTreeMap::new();
    let mut edits = edits.into_iter().peekable();
    let mut chunker = Chunker::new(level);
    while let Some((key, _)) = edits.peek() {
        let mut next = seek(stage, root, level, Seek::Holding(key)).await?;
        while let Some((name, node)) = next {
            let end = node.items.last().map(|item| Arc::clone(&item.key));
            let following = match &end {
                Some(end) => seek(stage, root, level, Seek::After(end)).await?,
                None => None,
            };
            if let Some(end) = &end {
                kept.insert(Arc::clone(end), name);
                above.insert(Arc::clone(end), None);
            }
            // What lies beyond the last node of the level is added to it.
            let limit = if following.is_some() { end } else { None };
            for new in cut(&mut chunker, &node, &mut edits, limit.as_ref()) {
                place(stage, new, &kept, &mut above);
            }
            if following.is_none() {
                if let Some(new) = chunker.finish() {
                    place(stage, new, &kept, &mut above);
                }
                break;
            }
            next = if chunker.at_border() { None } else { following };
        }
    }
    Ok((above, kept))
}

/// Merges a node's items with the edits up to `limit`, and cuts them into nodes.
fn cut(
    chunker: &mut Chunker,
    node: &Node,
    edits: &mut std::iter::Peekable<impl Iterator<Item = (Key, Option<Value>)>>,
    limit: Option<&Key>,
) -> Vec<Node> {
    let mut cut = Vec::new();
    let mut old = node.items.iter().peekable();
    loop {
        let edit_key = edits.peek().map(|(key, _)| Arc::clone(key)).filter(|key| limit.is_none_or(|end| key <= end));
        let take_edit = match (&edit_key, old.peek()) {
            (None, None) => break,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(edit), Some(item)) => *edit <= item.key,
        };
        let item = if take_edit {
            if old.peek().is_some_and(|item| Some(&item.key) == edit_key.as_ref()) {
                old.next();
            }
            edits.next().and_then(|(key, value)| Some(Item { key, value: value? }))
        } else {
            old.next().cloned()
        };
        cut.extend(item.and_then(|item| chunker.push(item)));
    }
    cut
}

/// Stages a node, unless it is one of the old ones, and notes it for the level above.
fn place(stage: &mut Stage<'_>, node: Node, kept: &BTreeMap<Key, Hash>, above: &mut LevelEdits) {
    let Some(end) = node.items.last().map(|item| Arc::clone(&item.key)) else { return };
    let (name, _) = node.encode();
    if kept.get(&end) != Some(&name) {
        stage.add_node(node);
    }
    above.insert(end, Some(Value::Child(name)));
}

/// Builds the levels above the nodes `children` of `level`, until one node is left, which is the root.
async fn finish(stage: &mut Stage<'_>, mut level: u8, mut children: Vec<Item>) -> Result<Hash> {
    loop {
        match children.as_slice() {
            [] => return Ok(stage.add_node(Node::empty())),
            [only] => return lower(stage, &only.value).await,
            _ => {}
        }
        level += 1;
        let mut above = LevelEdits::new();
        let mut chunker = Chunker::new(level);
        for item in children {
            if let Some(node) = chunker.push(item) {
                place(stage, node, &BTreeMap::new(), &mut above);
            }
        }
        if let Some(node) = chunker.finish() {
            place(stage, node, &BTreeMap::new(), &mut above);
        }
        children = above.into_iter().filter_map(|(key, value)| Some(Item { key, value: value? })).collect();
    }
}

/// The lowest node that holds all: a root with one child is none.
async fn lower(stage: &Stage<'_>, value: &Value) -> Result<Hash> {
    let mut name = super::read::child(value)?;
    loop {
        let node = stage.node(&name).await?;
        match node.items.as_slice() {
            [only] if node.level > 0 => name = super::read::child(&only.value)?,
            _ => return Ok(name),
        }
    }
}
