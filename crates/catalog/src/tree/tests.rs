//! A tree against an ordered map, and what must hold of its shape.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::executor::block_on;
use polder_store::{Batch, MemoryState, State};
use proptest::prelude::*;

use super::*;
use crate::codec::Hash;
use crate::objects::{Objects, Stage};
use crate::{CursorEntry, Entry};

fn objects() -> Objects {
    Objects::new(Arc::new(MemoryState::new()))
}

fn entry(value: u32) -> Entry {
    Entry::Cursor(CursorEntry { table: "t".into(), value: value.to_string() })
}

fn key(n: u32) -> Key {
    format!("c{n:08}").into_bytes().into()
}

fn build(stage: &mut Stage<'_>, content: &BTreeMap<Key, Entry>) -> Hash {
    let root = stage.add_node(Node::empty());
    let edits: Edits = content.iter().map(|(k, e)| (Key::clone(k), Some(e.clone()))).collect();
    block_on(edit(stage, &root, &edits)).unwrap()
}

fn content(stage: &Stage<'_>, root: &Hash) -> BTreeMap<Key, Entry> {
    block_on(list(stage, root, b"")).unwrap().into_iter().collect()
}

/// Edits in batches: key, and value or removal. Keys are dense, so that edits hit, and batches big enough for two
/// levels and more.
fn batches() -> impl Strategy<Value = Vec<Vec<(u32, Option<u32>)>>> {
    let one = (0u32..3000, proptest::option::weighted(0.6, 0u32..4));
    proptest::collection::vec(proptest::collection::vec(one, 0..1200), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_is_a_map_and_its_shape_follows_from_its_content(batches in batches()) {
        let objects = objects();
        let mut stage = Stage::new(&objects);
        let mut model = BTreeMap::new();
        let mut root = stage.add_node(Node::empty());
        for batch in batches {
            let edits: Edits = batch.into_iter().map(|(k, v)| (key(k), v.map(entry))).collect();
            let before = (root, model.clone());
            root = block_on(edit(&mut stage, &root, &edits)).unwrap();
            for (key, entry) in edits {
                match entry {
                    Some(entry) => model.insert(key, entry),
                    None => model.remove(&key),
                };
            }
            prop_assert_eq!(&content(&stage, &root), &model);
            prop_assert_eq!(build(&mut stage, &model), root, "built at once, the tree is the same");
            prop_assert_eq!(block_on(diff(&stage, &before.0, &root)).unwrap(), expected_diff(&before.1, &model));
            prop_assert_eq!(block_on(diff(&stage, &root, &before.0)).unwrap(), expected_diff(&model, &before.1));
        }
        for n in (0..3000).step_by(7) {
            let found = block_on(get(&stage, &root, &key(n))).unwrap();
            prop_assert_eq!(found.as_ref(), model.get(&key(n)));
        }
    }

    #[test]
    fn new_nodes_are_what_a_reader_of_the_old_tree_lacks(first in batches(), second in batches()) {
        let objects = objects();
        let mut stage = Stage::new(&objects);
        let empty = stage.add_node(Node::empty());
        let apply = |stage: &mut Stage<'_>, mut root: Hash, batches: Vec<Vec<(u32, Option<u32>)>>| {
            for batch in batches {
                let edits: Edits = batch.into_iter().map(|(k, v)| (key(k), v.map(entry))).collect();
                root = block_on(edit(stage, &root, &edits)).unwrap();
            }
            root
        };
        let old = apply(&mut stage, empty, first);
        let new = apply(&mut stage, old, second);
        let whole = |root: &Hash| block_on(new_nodes(&stage, None, root)).unwrap();
        let lacking = block_on(new_nodes(&stage, Some(&old), &new)).unwrap();
        prop_assert!(whole(&new).iter().all(|n| lacking.contains(n) || whole(&old).contains(n)));
        prop_assert!(lacking.iter().all(|n| whole(&new).contains(n)));
    }
}

fn expected_diff(before: &BTreeMap<Key, Entry>, after: &BTreeMap<Key, Entry>) -> BTreeMap<Key, Difference> {
    let keys: std::collections::BTreeSet<&Key> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter(|k| before.get(*k) != after.get(*k))
        .map(|k| (Key::clone(k), Difference { before: before.get(k).cloned(), after: after.get(k).cloned() }))
        .collect()
}

/// A catalog of 100,000 entries: a commit rewrites a path, and a comparison reads what differs.
#[test]
fn one_edit_in_a_large_tree_rewrites_few_nodes() {
    let state = Arc::new(MemoryState::new());
    let objects = Objects::new(Arc::clone(&state) as Arc<dyn State>);
    let mut stage = Stage::new(&objects);
    let root = build(&mut stage, &(0..100_000).map(|n| (key(n), entry(0))).collect());
    let nodes = stage.bytes().count();
    assert!((1_000..3_000).contains(&nodes), "{nodes} nodes");
    block_on(state.apply(stage.put_all(Batch::new()))).unwrap();

    let mut stage = Stage::new(&objects);
    let edits = Edits::from([(key(51_234), Some(entry(1)))]);
    let changed = block_on(edit(&mut stage, &root, &edits)).unwrap();
    assert!(stage.bytes().count() <= 8, "{} nodes were written", stage.bytes().count());
    assert_eq!(block_on(diff(&stage, &root, &changed)).unwrap().len(), 1);
    let back = block_on(edit(&mut stage, &changed, &Edits::from([(key(51_234), Some(entry(0)))]))).unwrap();
    assert_eq!(back, root);
}

#[test]
fn an_edit_that_changes_nothing_writes_nothing() {
    let objects = objects();
    let mut stage = Stage::new(&objects);
    let root = build(&mut stage, &(0..1000).map(|n| (key(n), entry(n))).collect());
    let before = stage.bytes().count();
    let edits = Edits::from([(key(5), Some(entry(5))), (key(999), Some(entry(999))), (key(5000), None)]);
    assert_eq!(block_on(edit(&mut stage, &root, &edits)).unwrap(), root);
    assert_eq!(stage.bytes().count(), before);
}

#[test]
fn listing_by_prefix_stops_where_the_prefix_does() {
    let objects = objects();
    let mut stage = Stage::new(&objects);
    let root = build(&mut stage, &(0..5000).map(|n| (key(n), entry(n))).collect());
    let found = block_on(list(&stage, &root, b"c000012")).unwrap();
    assert_eq!(found.len(), 100);
    assert_eq!(found.first().map(|(k, _)| Key::clone(k)), Some(key(1200)));
    assert!(block_on(list(&stage, &root, b"x")).unwrap().is_empty());
}
