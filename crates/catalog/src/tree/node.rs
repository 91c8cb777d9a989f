//! The nodes of a tree, and where they end.

use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::Entry;
use crate::codec::{Hash, Kind, encode};

/// A key of the tree as bytes; their order is the tree's order.
pub(crate) type Key = Arc<[u8]>;

/// One node: the entries themselves at level 0, and the nodes below at higher levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) level: u8,
    /// In key order.
    pub(crate) items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Of a child: the greatest key below it.
    pub(crate) key: Key,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Entry(Entry),
    Child(Hash),
}

#[derive(Encode)]
struct LeafBody<'a> {
    #[n(0)]
    entries: Vec<LeafItem<'a>>,
}

#[derive(Encode)]
struct LeafItem<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    key: &'a [u8],
    #[n(1)]
    entry: &'a Entry,
}

#[derive(Decode)]
struct OwnedLeafBody {
    #[n(0)]
    entries: Vec<OwnedLeafItem>,
}

#[derive(Decode)]
struct OwnedLeafItem {
    #[cbor(n(0), with = "minicbor::bytes")]
    key: Vec<u8>,
    #[n(1)]
    entry: Entry,
}

#[derive(Encode, Decode)]
struct InnerBody {
    #[n(0)]
    level: u8,
    #[n(1)]
    children: Vec<InnerItem>,
}

#[derive(Encode, Decode)]
struct InnerItem {
    #[cbor(n(0), with = "minicbor::bytes")]
    key: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    child: [u8; 32],
}

impl Node {
    pub(crate) fn empty() -> Self {
        Self { level: 0, items: Vec::new() }
    }

    pub(crate) fn encode(&self) -> (Hash, Vec<u8>) {
        if self.level == 0 {
            let entries = self.items.iter().filter_map(|item| match &item.value {
                Value::Entry(entry) => Some(LeafItem { key: &item.key, entry }),
                Value::Child(_) => None,
            });
            return encode(Kind::Leaf, &LeafBody { entries: entries.collect() });
        }
        let children = self.items.iter().filter_map(|item| match &item.value {
            Value::Child(child) => Some(InnerItem { key: item.key.to_vec(), child: *child.as_bytes() }),
            Value::Entry(_) => None,
        });
        encode(Kind::Inner, &InnerBody { level: self.level, children: children.collect() })
    }

    pub(crate) fn from_body(kind: Kind, body: &[u8]) -> Result<Self, minicbor::decode::Error> {
        let node = if kind == Kind::Leaf {
            let leaf: OwnedLeafBody = minicbor::decode(body)?;
            let item = |i: OwnedLeafItem| Item { key: i.key.into(), value: Value::Entry(i.entry) };
            Self { level: 0, items: leaf.entries.into_iter().map(item).collect() }
        } else {
            let inner: InnerBody = minicbor::decode(body)?;
            let item = |i: InnerItem| Item { key: i.key.into(), value: Value::Child(Hash::from_bytes(i.child)) };
            Self { level: inner.level, items: inner.children.into_iter().map(item).collect() }
        };
        if (kind == Kind::Inner) != (node.level > 0) {
            return Err(minicbor::decode::Error::message("its level does not go with its kind"));
        }
        if !node.items.is_sorted_by(|a, b| a.key < b.key) {
            return Err(minicbor::decode::Error::message("its keys are not in order"));
        }
        Ok(node)
    }

    /// Bytes in memory, near enough to weigh a cache by.
    pub(crate) fn weight(&self) -> usize {
        let item = |item: &Item| {
            let value = match &item.value {
                Value::Entry(Entry::Table(t)) => t.uuid.len() + t.metadata_path.len(),
                Value::Entry(Entry::View(v)) => v.uuid.len() + v.metadata_path.len(),
                Value::Entry(Entry::Cursor(c)) => c.table.len() + c.value.len(),
                Value::Child(_) => 0,
            };
            size_of::<Item>() + item.key.len() + 16 + value
        };
        64 + self.items.iter().map(item).sum::<usize>()
    }
}

/// A node holds about this many items: one key in so many is a border.
const TARGET_ITEMS: u32 = 64;
/// A node ends here at the latest, border or not.
const MAX_ITEMS: usize = 512;
/// Above the leaves a node takes two items at least, so that each level is at most half of the one below.
const MIN_CHILDREN: usize = 2;

/// Whether a node that holds `count` items ends with this key.
///
/// It depends on the items since the last border only, so that equal content has equal nodes however it came about. The
/// level goes into the hash: a key that ends a leaf would otherwise end every node above it as well.
fn is_border(level: u8, key: &[u8], count: usize) -> bool {
    if level > 0 && count < MIN_CHILDREN {
        return false;
    }
    if count >= MAX_ITEMS {
        return true;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[level]);
    hasher.update(key);
    let hash = hasher.finalize();
    let [a, b, c, d, ..] = *hash.as_bytes();
    u32::from_le_bytes([a, b, c, d]) % TARGET_ITEMS == 0
}

/// Cuts a sequence of items of one level into nodes.
#[derive(Debug)]
pub(crate) struct Chunker {
    level: u8,
    items: Vec<Item>,
}

impl Chunker {
    pub(crate) fn new(level: u8) -> Self {
        Self { level, items: Vec::new() }
    }

    /// Takes the next item, and gives the node that it ends, if it ends one.
    pub(crate) fn push(&mut self, item: Item) -> Option<Node> {
        let border = is_border(self.level, &item.key, self.items.len() + 1);
        self.items.push(item);
        if border { self.finish() } else { None }
    }

    /// Whether the next item starts a node.
    pub(crate) fn at_border(&self) -> bool {
        self.items.is_empty()
    }

    /// The node that the end of the sequence ends.
    pub(crate) fn finish(&mut self) -> Option<Node> {
        if self.items.is_empty() {
            return None;
        }
        Some(Node { level: self.level, items: std::mem::take(&mut self.items) })
    }
}
