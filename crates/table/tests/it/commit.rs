//! Create, append, overwrite, replace: which files are live, and what the manifests say.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::executor::block_on;
use polder_system::System;
use polder_table::spec::{Manifest, ManifestFile, ManifestStatus, Operation as Kind, PrimitiveType};
use polder_table::{Operation, TableError};

use crate::fixture::{
    Fixture, START, assert_history, by_city, city, column, extended, file, location, locations, partitioned_file, set,
};

async fn read(lake: &Fixture, manifest: &ManifestFile) -> Manifest {
    let warehouse = lake.io.warehouse();
    let bytes = warehouse.storage().get(warehouse.path(&manifest.manifest_path).unwrap()).await.unwrap();
    Manifest::parse_avro(&bytes).unwrap()
}

#[test]
fn a_table_begins_empty_or_with_files() {
    block_on(async {
        let lake = Fixture::new();
        let empty = lake.create(vec![]).await;
        assert_eq!(empty.metadata.current_snapshot_id(), None);
        assert_eq!(empty.metadata.location(), "file:///warehouse/silver/orders-00000000");
        assert_eq!(empty.metadata.properties()["gc.enabled"], "false");
        assert_eq!(empty.metadata.last_column_id(), 2);
        assert_eq!(empty.metadata.last_updated_ms(), START.millis());
        let start = "silver/orders-00000000/metadata/00000-";
        assert!(empty.path.starts_with(start) && empty.path.ends_with(".metadata.json"), "{}", empty.path);
        assert_eq!(lake.live(&empty).await, set(&[]));

        let filled = lake.create(vec![file("a"), file("b")]).await;
        assert_eq!(lake.live(&filled).await, set(&["a", "b"]));
        assert_eq!(filled.metadata.last_sequence_number(), 1);
        assert_history(&filled.metadata);
        assert_ne!(filled.metadata.uuid(), empty.metadata.uuid());
    });
}

#[test]
fn appends_leave_ids_and_sequence_numbers_to_the_list() {
    block_on(async {
        let lake = Fixture::new();
        let table = lake.create(vec![file("a")]).await;
        let table = lake.append(&table, &["b", "c"]).await;
        assert_eq!(lake.live(&table).await, set(&["a", "b", "c"]));
        assert!(table.path.contains("/metadata/00001-"), "{}", table.path);
        assert_history(&table.metadata);

        let current = table.metadata.current_snapshot_id().unwrap();
        let manifests = lake.io.manifests(&table.metadata, Some(current)).await.unwrap();
        assert_eq!(manifests.len(), 2);
        assert_eq!((manifests[0].added_snapshot_id, manifests[0].sequence_number), (current, 2));
        assert_eq!(manifests[1].sequence_number, 1);
        for manifest in &manifests {
            for entry in read(&lake, manifest).await.entries() {
                assert_eq!(entry.status, ManifestStatus::Added);
                assert_eq!((entry.snapshot_id, entry.sequence_number, entry.file_sequence_number), (None, None, None));
            }
        }
        let infos = lake.io.snapshot_files(&table.metadata, Some(current)).await.unwrap();
        let numbers: Vec<_> = infos.iter().map(|i| (i.sequence_number, i.file_sequence_number)).collect();
        assert_eq!(numbers, [(2, 2), (2, 2), (1, 1)]);
        assert!(infos[0].snapshot_id == current && infos[2].snapshot_id != current);
    });
}

#[test]
fn an_overwrite_names_what_goes_and_what_stays() {
    block_on(async {
        let lake = Fixture::new();
        let table = lake.create(vec![file("a"), file("b")]).await;
        let first = table.metadata.current_snapshot_id().unwrap();
        let table = lake.append(&table, &["c"]).await;
        let overwrite = Operation::Overwrite { remove: locations(&["a"]), add: vec![file("d")] };
        let table = lake.commit(&table, &[overwrite]).await;
        assert_eq!(lake.live(&table).await, set(&["b", "c", "d"]));
        assert_history(&table.metadata);

        let current = table.metadata.current_snapshot_id().unwrap();
        let manifests = lake.io.manifests(&table.metadata, Some(current)).await.unwrap();
        let counts: Vec<_> = manifests
            .iter()
            .map(|m| (m.added_files_count, m.existing_files_count, m.deleted_files_count, m.sequence_number))
            .collect();
        assert_eq!(
            counts,
            [
                (Some(1), Some(0), Some(0), 3), // d
                (Some(0), Some(1), Some(1), 3), // a and b, rewritten
                (Some(1), Some(0), Some(0), 2), // c, as it was
            ]
        );
        assert_eq!(manifests[1].min_sequence_number, 1);
        let rewritten = read(&lake, &manifests[1]).await;
        for entry in rewritten.entries() {
            assert_eq!((entry.sequence_number, entry.file_sequence_number), (Some(1), Some(1)), "{entry:?}");
            let (status, snapshot) = match entry.file_path() == location("a") {
                true => (ManifestStatus::Deleted, current),
                false => (ManifestStatus::Existing, first),
            };
            assert_eq!((entry.status, entry.snapshot_id), (status, Some(snapshot)));
        }

        // What only tells of the removal is left out by the next snapshot.
        let all = Operation::Overwrite { remove: locations(&["b", "c", "d"]), add: vec![] };
        let table = lake.commit(&table, &[all]).await;
        assert_eq!(lake.live(&table).await, set(&[]));
        let summary = table.metadata.current_snapshot().unwrap().summary();
        assert_eq!(summary.operation, Kind::Delete);
        let table = lake.append(&table, &["e"]).await;
        let manifests = lake.io.manifests(&table.metadata, table.metadata.current_snapshot_id()).await.unwrap();
        assert_eq!(manifests.len(), 1);
    });
}

#[test]
fn a_file_that_is_not_there_cannot_be_removed() {
    block_on(async {
        let lake = Fixture::new();
        let table = lake.create(vec![file("a")]).await;
        let files = lake.storage.files.load(Ordering::Relaxed);
        let gone = Operation::Overwrite { remove: locations(&["a", "x"]), add: vec![] };
        let error = lake.try_commit(&table, &[gone]).await.unwrap_err();
        assert!(matches!(&error, TableError::Invalid(why) if why.contains("data/x cannot be removed")), "{error}");
        let twice = Operation::Append { files: vec![file("b"), file("b")] };
        assert!(lake.try_commit(&table, &[twice]).await.is_err());
        assert_eq!(lake.storage.files.load(Ordering::Relaxed), files, "a refused commit wrote something");
    });
}

#[test]
fn a_replace_takes_everything_out() {
    block_on(async {
        let lake = Fixture::new();
        let table = lake.create(vec![file("a")]).await;
        let table = lake.append(&table, &["b"]).await;
        let table = lake.commit(&table, &[Operation::Replace { schema: None, files: vec![file("c")] }]).await;
        assert_eq!(lake.live(&table).await, set(&["c"]));
        let snapshot = table.metadata.current_snapshot().unwrap();
        assert_eq!(snapshot.summary().operation, Kind::Overwrite);
        assert_eq!(snapshot.summary().additional_properties["deleted-records"], "20");
        let table = lake.commit(&table, &[Operation::Replace { schema: None, files: vec![] }]).await;
        assert_eq!(lake.live(&table).await, set(&[]));
        assert_history(&table.metadata);

        // The old is still there, for whoever reads it.
        let before = table.metadata.snapshots().find(|s| s.sequence_number() == 2).unwrap().snapshot_id();
        assert_eq!(lake.io.snapshot_files(&table.metadata, Some(before)).await.unwrap().len(), 2);
    });
}

#[test]
fn several_operations_are_one_metadata_file() {
    block_on(async {
        let lake = Fixture::new();
        let table = lake.create(vec![file("a")]).await;
        let operations = [
            Operation::Append { files: vec![file("b")] },
            Operation::Overwrite { remove: locations(&["a", "b"]), add: vec![file("c")] },
            Operation::Append { files: vec![] },
        ];
        let table = lake.commit(&table, &operations).await;
        assert_eq!(lake.live(&table).await, set(&["c"]));
        assert_eq!((table.metadata.snapshots().len(), table.metadata.metadata_log().len()), (3, 1));
        assert_history(&table.metadata);
        let metadata_files = lake.storage.inner.clone();
        let listed = polder_store::Storage::list(&metadata_files, "silver").await.unwrap();
        assert_eq!(listed.iter().filter(|i| i.path.ends_with(".metadata.json")).count(), 2);
    });
}

#[test]
fn what_changes_nothing_writes_nothing() {
    block_on(async {
        let lake = Fixture::new();
        let table = lake.create(vec![]).await;
        let files = lake.storage.files.load(Ordering::Relaxed);
        for operation in [
            Operation::Append { files: vec![] },
            Operation::Overwrite { remove: locations(&[]), add: vec![] },
            Operation::Replace { schema: None, files: vec![] },
            Operation::SetSchema { schema: crate::fixture::schema() },
        ] {
            let same = lake.commit(&table, &[operation]).await;
            assert_eq!(same.path, table.path);
        }
        assert_eq!(lake.storage.files.load(Ordering::Relaxed), files);
    });
}

#[test]
fn time_goes_on_when_the_clock_steps_back() {
    block_on(async {
        let ahead = Fixture::new();
        ahead.system.advance(Duration::from_secs(30 * 24 * 3600));
        let table = ahead.create(vec![file("a")]).await;

        // A machine whose clock is a month behind goes on with the table.
        let behind = Fixture { system: Fixture::new().system, ..ahead };
        let behind =
            Fixture { io: polder_table::TableIo::new(behind.io.warehouse().clone(), behind.system.clone()), ..behind };
        let then = table.metadata.last_updated_ms();
        assert!(behind.system.now().millis() < then);
        let table = behind.append(&table, &["b"]).await;
        let schema = extended([column(3, "note", PrimitiveType::String)]);
        let table = behind.commit(&table, &[Operation::SetSchema { schema }]).await;
        let table = behind.append(&table, &["c"]).await;
        assert_eq!(table.metadata.last_updated_ms(), then + 3);
        assert_history(&table.metadata);
        assert_eq!(behind.live(&table).await, set(&["a", "b", "c"]));
    });
}

#[test]
fn partition_values_are_summarised_and_kept() {
    block_on(async {
        let lake = Fixture::new();
        let files = vec![partitioned_file("a", city("Bonn")), partitioned_file("b", city("Köln"))];
        let table = lake.create_with(by_city(), BTreeMap::new(), files).await;
        let remove = Operation::Overwrite {
            remove: locations(&["a"]),
            add: vec![partitioned_file("c", city("Ulm")), partitioned_file("d", city("Ulm"))],
        };
        let table = lake.commit(&table, &[remove]).await;
        let current = table.metadata.current_snapshot().unwrap();
        assert_eq!(current.summary().additional_properties["changed-partition-count"], "2");
        let mut cities: Vec<_> = lake
            .io
            .snapshot_files(&table.metadata, Some(current.snapshot_id()))
            .await
            .unwrap()
            .into_iter()
            .map(|info| info.file.partition().clone())
            .collect();
        cities.sort_by_key(|c| format!("{c:?}"));
        assert_eq!(cities, [city("Köln"), city("Ulm"), city("Ulm")]);

        let wrong = lake.try_commit(&table, &[Operation::Append { files: vec![file("e")] }]).await.unwrap_err();
        assert!(wrong.to_string().contains("other partition fields"), "{wrong}");
    });
}

#[test]
fn damaged_files_are_named() {
    block_on(async {
        let lake = Fixture::new();
        let storage = lake.io.warehouse().storage().clone();
        storage.put("t/metadata/00001-x.metadata.json", b"{\"format-version\": 2".as_slice().into()).await.unwrap();
        let error = lake.io.metadata("t/metadata/00001-x.metadata.json").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "t/metadata/00001-x.metadata.json is damaged: EOF while parsing an object at line 1 column 20"
        );
        let missing = lake.io.metadata("t/metadata/none").await.unwrap_err();
        assert!(matches!(missing, TableError::Store(polder_store::StoreError::NotFound { .. })));
        let table = lake.create(vec![file("a")]).await;
        assert!(lake.io.manifests(&table.metadata, Some(42)).await.is_err());
    });
}
