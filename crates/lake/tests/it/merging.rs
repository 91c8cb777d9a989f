//! Copy-on-write against a model of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::prelude::{col, lit};
use polder_lake::{Duplicates, LakeError, Merge, Merged, NullKeys};
use polder_table::Operation;
use polder_table::spec::Transform;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::support::{World, streams, world};

type Row = (Option<i64>, String, i64);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>()),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.1))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn by_key(duplicates: Duplicates) -> Merge {
    Merge { keys: vec!["a".to_owned(), "b".to_owned()], duplicates, nulls: NullKeys::Keep, besides: None }
}

async fn merge(world: &World, rows: &[Row], merge: &Merge) -> Result<Merged, LakeError> {
    let table = world.table().await;
    let target = world.workspace.target(&table);
    let cancel = CancellationToken::new();
    world.lake().merge(&table, &target, streams(vec![batch(rows)]), merge, &cancel, &|_, _| {}).await
}

async fn apply(world: &World, merged: Merged) {
    let operation = Operation::Overwrite { remove: merged.remove, add: merged.written.files };
    world.commit(operation).await;
}

async fn rows(world: &World) -> Vec<String> {
    world.rows("select * from t order by a, b, v").await
}

fn text(rows: &[Row]) -> Vec<String> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|(a, b, v)| (a.is_none(), *a, b.clone(), *v));
    rows.iter().map(|(a, b, v)| format!("{}|{b}|{v}", a.map_or("NULL".to_owned(), |a| a.to_string()))).collect()
}

/// Random merges by a key of two columns, some keys NULL, against a map.
async fn merges_equal_a_map(partition: &[(&str, Transform)], seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let world = world().await;
    world.create(&schema(), partition).await;
    let mut model: BTreeMap<(i64, String), i64> = BTreeMap::new();
    let mut keyless: Vec<Row> = Vec::new();
    for round in 0..12i64 {
        let mut incoming: BTreeMap<(i64, String), i64> = BTreeMap::new();
        let mut new: Vec<Row> = Vec::new();
        for _ in 0..random.random_range(0..30) {
            let a = random.random_range(0..40);
            let b = ["x", "y"][random.random_range(0..2)].to_owned();
            if random.random_bool(0.1) {
                new.push((None, b, round));
            } else {
                incoming.insert((a, b), round * 1000 + random.random_range(0..1000));
            }
        }
        keyless.extend(new.clone());
        new.extend(incoming.iter().map(|((a, b), v)| (Some(*a), b.clone(), *v)));
        let replaced = incoming.keys().filter(|key| model.contains_key(*key)).count() as u64;
        let merged = merge(&world, &new, &by_key(Duplicates::Refuse)).await.unwrap();
        assert_eq!((merged.new_rows, merged.removed_rows), (new.len() as u64, replaced), "round {round}");
        apply(&world, merged).await;
        model.extend(incoming);
        let mut want: Vec<Row> = model.iter().map(|((a, b), v)| (Some(*a), b.clone(), *v)).collect();
        want.extend(keyless.clone());
        assert_eq!(rows(&world).await, text(&want), "round {round} of seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_are_those_of_a_map() {
    for seed in 0..3 {
        merges_equal_a_map(&[], seed).await;
    }
    merges_equal_a_map(&[("a", Transform::Truncate(10))], 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_files_with_a_match_are_rewritten() {
    let world = world().await;
    world.create(&schema(), &[]).await;
    for start in [0, 10, 20] {
        world.append(vec![batch(&(start..start + 10).map(|a| (Some(a), "x".to_owned(), 0)).collect::<Vec<_>>())]).await;
    }
    let merged = merge(&world, &[(Some(12), "x".to_owned(), 1)], &by_key(Duplicates::Refuse)).await.unwrap();
    assert_eq!((merged.remove.len(), merged.written.files.len(), merged.written.rows), (1, 2, 10));
    // All rows of a file go: nothing of it is written again.
    let all: Vec<Row> = (20..30).map(|a| (Some(a), "x".to_owned(), 2)).collect();
    let merged = merge(&world, &all, &by_key(Duplicates::Refuse)).await.unwrap();
    assert_eq!((merged.remove.len(), merged.written.files.len(), merged.removed_rows), (1, 1, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_duplicates_wins_or_they_are_refused() {
    let world = world().await;
    world.create(&schema(), &[]).await;
    let new = [
        (Some(1), "x".to_owned(), 5),
        (Some(1), "x".to_owned(), 9),
        (Some(1), "y".to_owned(), 1),
        (None, "x".to_owned(), 1),
        (None, "x".to_owned(), 2),
        (Some(1), "x".to_owned(), 7),
    ];
    let error = merge(&world, &new, &by_key(Duplicates::Refuse)).await.unwrap_err();
    assert_eq!(error.to_string(), "3 of the new rows have the same key: a = 1, b = x");
    assert!(world.data_files().await.is_empty());
    let merged = merge(&world, &new, &by_key(Duplicates::LastBy(vec!["v".to_owned()]))).await.unwrap();
    apply(&world, merged).await;
    assert_eq!(rows(&world).await, ["1|x|9", "1|y|1", "NULL|x|1", "NULL|x|2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_must_be_columns() {
    let world = world().await;
    world.create(&schema(), &[]).await;
    let wrong = Merge { keys: vec!["nope".to_owned()], ..by_key(Duplicates::Refuse) };
    let error = merge(&world, &[(Some(1), "x".to_owned(), 1)], &wrong).await.unwrap_err();
    assert_eq!(error.to_string(), "the table has no column `nope`");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_rewritten_file_are_replaced() {
    let world = world().await;
    world.create(&schema(), &[]).await;
    let of = |file: &str, v| (Some(1), file.to_owned(), v);
    world.append(vec![batch(&[of("one.csv", 1), of("two.csv", 2)])]).await;
    world.append(vec![batch(&[of("two.csv", 3), of("three.csv", 4)])]).await;
    let table = world.table().await;
    let target = world.workspace.target(&table);
    let new = streams(vec![batch(&[of("two.csv", 5)])]);
    let files = ["two.csv".to_owned(), "gone.csv".to_owned()];
    let merged = world
        .lake()
        .replace_where_in(&table, &target, ("b", &files), new, &CancellationToken::new(), &|_, _| {})
        .await
        .unwrap();
    assert_eq!((merged.new_rows, merged.removed_rows), (1, 2));
    apply(&world, merged).await;
    assert_eq!(rows(&world).await, ["1|one.csv|1", "1|three.csv|4", "1|two.csv|5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_overwritten() {
    let world = world().await;
    world.create(&schema(), &[("b", Transform::Identity)]).await;
    let row = |b: &str, v| (Some(1), b.to_owned(), v);
    world.append(vec![batch(&[row("x", 1), row("x", 2), row("y", 3)])]).await;
    world.append(vec![batch(&[row("y", 4), row("z", 5)])]).await;
    let table = world.table().await;
    let target = world.workspace.target(&table);
    let cancel = CancellationToken::new();
    let new = streams(vec![batch(&[row("y", 6), row("w", 7)])]);
    let merged = world.lake().overwrite_partitions(&table, &target, new, &cancel, &|_, _| {}).await.unwrap();
    assert_eq!((merged.new_rows, merged.removed_rows), (2, 2));
    apply(&world, merged).await;
    assert_eq!(rows(&world).await, ["1|w|7", "1|x|1", "1|x|2", "1|y|6", "1|z|5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_deleted_where_a_predicate_is_true() {
    let world = world().await;
    world.create(&schema(), &[]).await;
    world
        .append(vec![batch(&[(Some(1), "x".to_owned(), 1), (None, "x".to_owned(), 2), (Some(3), "x".to_owned(), 3)])])
        .await;
    let table = world.table().await;
    let target = world.workspace.target(&table);
    let cancel = CancellationToken::new();
    let merged = world.lake().delete_where(&table, &target, col("a").gt(lit(1)), &cancel, &|_, _| {}).await.unwrap();
    assert_eq!(merged.removed_rows, 1);
    apply(&world, merged).await;
    assert_eq!(rows(&world).await, ["1|x|1", "NULL|x|2"]);
}

/// Random rows of several streams, by a key of two columns, some keys NULL, against a map.
async fn keyed_writes_equal_a_map(partition: &[(&str, Transform)], seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    for round in 0..8 {
        let world = world().await;
        let target = world.create(&schema(), partition).await;
        let keys = random.random_range(5..400);
        let parts: Vec<Vec<Row>> = (0..3)
            .map(|_| {
                let row = |random: &mut SmallRng| {
                    let a = random.random_bool(0.95).then(|| random.random_range(0..keys));
                    (a, ["x", "y"][random.random_range(0..2)].to_owned(), random.random_range(0..1_000_000))
                };
                (0..random.random_range(0..60)).map(|_| row(&mut random)).collect()
            })
            .collect();
        let all: Vec<Row> = parts.iter().flatten().cloned().collect();
        let mut want: BTreeMap<(i64, &str), i64> = BTreeMap::new();
        for (a, b, v) in &all {
            if let Some(a) = a {
                let last = want.entry((*a, b)).or_insert(*v);
                *last = (*last).max(*v);
            }
        }
        let keyless = all.iter().filter(|(a, ..)| a.is_none()).cloned();
        let want: Vec<Row> = want.iter().map(|((a, b), v)| (Some(*a), (*b).to_owned(), *v)).chain(keyless).collect();
        let rows = streams(parts.iter().map(|rows| batch(rows)).collect());
        let merge = by_key(Duplicates::LastBy(vec!["v".to_owned()]));
        let written =
            world.lake().write_keyed(&target, rows, &merge, &CancellationToken::new(), &|_, _| {}).await.unwrap();
        assert_eq!(written.rows, want.len() as u64, "round {round} of seed {seed}");
        assert_eq!(world.data_files().await.len(), written.files.len(), "nothing is left behind");
        world.commit(Operation::Append { files: written.files }).await;
        assert_eq!(self::rows(&world).await, text(&want), "round {round} of seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_writes_are_those_of_a_map() {
    keyed_writes_equal_a_map(&[], 1).await;
    keyed_writes_equal_a_map(&[("a", Transform::Truncate(10))], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_files_with_a_repeated_key_are_written_again() {
    let world = world().await;
    let target = world.create(&schema(), &[("a", Transform::Truncate(10))]).await;
    let mut new: Vec<Row> = (0..50).map(|a| (Some(a), "x".to_owned(), 0)).collect();
    new.push((Some(25), "x".to_owned(), 1));
    let bytes = std::sync::atomic::AtomicU64::new(0);
    let report = |_, more| {
        bytes.fetch_add(more, std::sync::atomic::Ordering::Relaxed);
    };
    let merge = by_key(Duplicates::LastBy(vec!["v".to_owned()]));
    let cancel = CancellationToken::new();
    let written =
        world.lake().write_keyed(&target, streams(vec![batch(&new)]), &merge, &cancel, &report).await.unwrap();
    assert_eq!((written.files.len(), written.rows), (5, 50));
    let all: u64 = written.files.iter().map(|file| file.file_size_in_bytes()).sum();
    let bytes = bytes.into_inner();
    assert!(bytes > all && bytes < all * 3 / 2, "{bytes} of {all} bytes: one file of five was written twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_rewritten_file_go_beside_those_of_a_key() {
    let world = world().await;
    world.create(&schema(), &[]).await;
    let row = |a: Option<i64>, file: &str, v| (a, file.to_owned(), v);
    let old = [row(Some(1), "one", 1), row(Some(2), "one", 1), row(None, "one", 1), row(Some(2), "two", 1)];
    world.append(vec![batch(&old)]).await;
    world.append(vec![batch(&[row(Some(9), "far", 1)])]).await;
    let merge_by_a = Merge {
        keys: vec!["a".to_owned()],
        besides: Some(("b".to_owned(), vec!["one".to_owned()])),
        ..by_key(Duplicates::Refuse)
    };
    // Of `one` only these rows are left, and 2 is also in `two`.
    let merged = merge(&world, &[row(Some(2), "one", 2), row(None, "one", 2)], &merge_by_a).await.unwrap();
    assert_eq!((merged.new_rows, merged.removed_rows, merged.remove.len()), (2, 4, 1));
    apply(&world, merged).await;
    assert_eq!(rows(&world).await, ["2|one|2", "9|far|1", "NULL|one|2"]);
    // No row at all is left of it.
    let merged = merge(&world, &[], &merge_by_a).await.unwrap();
    apply(&world, merged).await;
    assert_eq!(rows(&world).await, ["9|far|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_without_a_value_are_refused_where_they_must_be_found_again() {
    let world = world().await;
    world.create(&schema(), &[]).await;
    let strict = Merge { nulls: NullKeys::Refuse, ..by_key(Duplicates::Refuse) };
    let new = [(Some(1), "x".to_owned(), 5), (None, "x".to_owned(), 9)];
    let error = merge(&world, &new, &strict).await.unwrap_err();
    assert_eq!(error.to_string(), "1 of the new rows has NULL in a, b, which is the key");
    assert!(world.data_files().await.is_empty());
}
