//! A table with a long life: a commit costs no more late than early.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use futures::executor::block_on;

use crate::fixture::{Fixture, assert_history, file};

#[test]
fn two_thousand_appends_stay_cheap() {
    block_on(async {
        let lake = Fixture::new();
        let mut table = lake.create(vec![]).await;
        let mut written = Vec::new();
        for i in 0..2000 {
            let before = lake.storage.bytes.load(Ordering::Relaxed);
            table = lake.append(&table, &[&format!("part-{i:05}.parquet")]).await;
            written.push(lake.storage.bytes.load(Ordering::Relaxed) - before);
        }
        assert_eq!(lake.live(&table).await.len(), 2000);
        assert_history(&table.metadata);
        assert_eq!(
            table.metadata.current_snapshot().unwrap().summary().additional_properties["total-records"],
            "20000"
        );

        // Metadata, snapshots, log and manifest list have reached their size after some hundreds of commits.
        let mean = |commits: &[u64]| commits.iter().sum::<u64>() / commits.len() as u64;
        let (early, late) = (mean(&written[300..800]), mean(&written[1500..]));
        assert!(late < early + early / 10, "commits 300 to 800 wrote {early} bytes each, the last 500 {late}");
        assert!(late < 60_000, "{late} bytes for each of the last 500 commits");
        let most = written.iter().max().unwrap();
        assert!(*most < 300_000, "one commit wrote {most} bytes");
        let manifests = lake.io.manifests(&table.metadata, table.metadata.current_snapshot_id()).await.unwrap();
        assert!(manifests.len() < 50, "{} manifests", manifests.len());
        assert!(table.metadata.snapshots().len() <= 32 && table.metadata.metadata_log().len() <= 32);
    });
}

#[test]
fn merged_manifests_keep_files_and_their_origin() {
    block_on(async {
        let lake = Fixture::new();
        let property = ("commit.manifest.min-count-to-merge".to_owned(), "3".to_owned());
        let mut table = lake.create_with(Default::default(), BTreeMap::from([property]), vec![file("f0")]).await;
        let mut origin = BTreeMap::from([("f0".to_owned(), (table.metadata.current_snapshot_id().unwrap(), 1))]);
        for i in 1..30i64 {
            let name = format!("f{i}");
            table = lake.append(&table, &[&name]).await;
            origin.insert(name, (table.metadata.current_snapshot_id().unwrap(), i + 1));
            let id = table.metadata.current_snapshot_id();
            let files = lake.io.snapshot_files(&table.metadata, id).await.unwrap();
            let found: BTreeMap<_, _> = files
                .iter()
                .map(|f| {
                    assert_eq!((f.sequence_number, f.file.record_count()), (f.file_sequence_number, 10));
                    (crate::fixture::name(f.file.file_path()), (f.snapshot_id, f.sequence_number))
                })
                .collect();
            assert_eq!(found, origin, "after {i} appends");
            let manifests = lake.io.manifests(&table.metadata, id).await.unwrap();
            assert!(manifests.len() <= 8, "{} manifests after {i} appends", manifests.len());
            let rows: u64 =
                manifests.iter().map(|m| m.added_rows_count.unwrap() + m.existing_rows_count.unwrap()).sum();
            assert_eq!(rows, origin.len() as u64 * 10);
        }
    });
}

#[test]
fn merging_can_be_switched_off() {
    block_on(async {
        let lake = Fixture::new();
        let property = ("commit.manifest-merge.enabled".to_owned(), "false".to_owned());
        let mut table = lake.create_with(Default::default(), BTreeMap::from([property]), vec![]).await;
        for i in 0..40 {
            table = lake.append(&table, &[&format!("f{i}")]).await;
        }
        let manifests = lake.io.manifests(&table.metadata, table.metadata.current_snapshot_id()).await.unwrap();
        assert_eq!(manifests.len(), 40);
    });
}
