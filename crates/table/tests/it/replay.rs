//! Appends of a branch on a target that moved.

use futures::executor::block_on;
use polder_table::spec::{PrimitiveType, Schema};
use polder_table::{Operation, Replay};

use crate::fixture::{Fixture, Table, assert_history, column, extended, file, locations, set};

async fn replay(lake: &Fixture, fork: &Table, branch: &Table, target: &Table) -> Result<Table, String> {
    lake.system.advance(std::time::Duration::from_secs(1));
    let target = (target.metadata.as_ref(), target.path.as_str());
    match lake.io.replay_appends(Some(&fork.metadata), &branch.metadata, target, &lake.summary).await.unwrap() {
        Replay::Done(committed) => Ok(committed.into()),
        Replay::Conflict(reason) => Err(reason),
    }
}

fn wider(id: i32, name: &str) -> Operation {
    Operation::SetSchema { schema: extended([column(id, name, PrimitiveType::String)]) }
}

#[test]
fn appends_come_onto_the_targets_head() {
    block_on(async {
        let lake = Fixture::new();
        let fork = lake.create(vec![file("a")]).await;
        let branch = lake.append(&fork, &["b1"]).await;
        let branch = lake.append(&branch, &["b2"]).await;
        let target = lake.append(&fork, &["t1"]).await;
        let target = lake.append(&target, &["t2"]).await;
        let target = lake.append(&target, &["t3"]).await;

        let done = replay(&lake, &fork, &branch, &target).await.unwrap();
        assert_eq!(lake.live(&done).await, set(&["a", "b1", "b2", "t1", "t2", "t3"]));
        assert_history(&done.metadata);
        let snapshot = done.metadata.current_snapshot().unwrap();
        assert_eq!(snapshot.parent_snapshot_id(), target.metadata.current_snapshot_id());
        assert_eq!(snapshot.sequence_number(), 5);
        assert_eq!(done.metadata.snapshots().len(), 5, "two commits of the branch became one");
        assert_eq!(snapshot.summary().additional_properties["added-records"], "20");
        assert_eq!(snapshot.summary().additional_properties["total-records"], "60");

        // The branch's manifests were taken over, and what they list has inherited the target's numbers.
        let ours = lake.io.manifests(&branch.metadata, branch.metadata.current_snapshot_id()).await.unwrap();
        let theirs = lake.io.manifests(&done.metadata, Some(snapshot.snapshot_id())).await.unwrap();
        assert_eq!(theirs[0].manifest_path, ours[0].manifest_path);
        for info in lake.io.snapshot_files(&done.metadata, Some(snapshot.snapshot_id())).await.unwrap() {
            let new = info.file.file_path().contains("/b");
            assert_eq!(info.sequence_number == 5, new, "{}", info.file.file_path());
            assert_eq!(info.snapshot_id == snapshot.snapshot_id(), new);
        }
        // The branch is as it was.
        assert_eq!(lake.live(&branch).await, set(&["a", "b1", "b2"]));
    });
}

/// More commits than a metadata file remembers, on both sides, with manifests merged on the way.
#[test]
fn a_long_branch_is_replayed_too() {
    block_on(async {
        let lake = Fixture::new();
        let fork = lake.create(vec![file("a")]).await;
        let (mut branch, mut target) = (fork.clone(), fork.clone());
        let mut expected = set(&["a"]);
        for i in 0..50 {
            branch = lake.append(&branch, &[&format!("b{i}")]).await;
            target = lake.append(&target, &[&format!("t{i}")]).await;
            expected.extend([format!("b{i}"), format!("t{i}")]);
        }
        let fork_snapshot = fork.metadata.current_snapshot_id().unwrap();
        assert!(branch.metadata.snapshot_by_id(fork_snapshot).is_none(), "the test needs a trimmed history");
        let done = replay(&lake, &fork, &branch, &target).await.unwrap();
        assert_eq!(lake.live(&done).await, expected);
        assert_history(&done.metadata);
    });
}

#[test]
fn columns_that_the_branch_added_come_along() {
    block_on(async {
        let lake = Fixture::new();
        let fork = lake.create(vec![file("a")]).await;
        let branch = lake.commit(&fork, &[wider(3, "note"), Operation::Append { files: vec![file("b")] }]).await;
        let target = lake.append(&fork, &["t"]).await;
        let done = replay(&lake, &fork, &branch, &target).await.unwrap();
        assert_eq!(done.metadata.current_schema().as_struct(), branch.metadata.current_schema().as_struct());
        assert_eq!((done.metadata.last_column_id(), lake.live(&done).await), (3, set(&["a", "b", "t"])));

        // The other way round, the target's columns stay.
        let branch = lake.append(&fork, &["b2"]).await;
        let target = lake.commit(&fork, &[wider(3, "note")]).await;
        let done = replay(&lake, &fork, &branch, &target).await.unwrap();
        assert_eq!(done.metadata.current_schema().as_struct(), target.metadata.current_schema().as_struct());

        // The same on both sides goes together; different columns with one id do not.
        let same = lake.commit(&fork, &[wider(3, "note"), Operation::Append { files: vec![file("b3")] }]).await;
        assert!(replay(&lake, &fork, &same, &target).await.is_ok());
        let other = lake.commit(&fork, &[wider(3, "other"), Operation::Append { files: vec![file("b4")] }]).await;
        assert_eq!(replay(&lake, &fork, &other, &target).await.unwrap_err(), "both sides changed its columns");
    });
}

#[test]
fn what_is_no_append_is_a_conflict() {
    block_on(async {
        let lake = Fixture::new();
        let fork = lake.create(vec![file("a"), file("b")]).await;
        let target = lake.append(&fork, &["t"]).await;

        let overwrite = Operation::Overwrite { remove: locations(&["a"]), add: vec![file("c")] };
        let branch = lake.commit(&fork, &[overwrite]).await;
        assert_eq!(replay(&lake, &fork, &branch, &target).await.unwrap_err(), "it replaced rows");

        // On an empty table nothing is removed, but it decides about all of the content all the same.
        let empty = lake.create(vec![]).await;
        let grown = lake.append(&empty, &["x"]).await;
        let replace = Operation::Replace { schema: None, files: vec![file("y")] };
        let appended = lake.commit(&grown, &[replace]).await;
        let moved = lake.append(&grown, &["z"]).await;
        assert_eq!(replay(&lake, &grown, &appended, &moved).await.unwrap_err(), "it replaced rows");

        // A table of the same name that was made anew.
        let other = lake.create(vec![]).await;
        let branch = lake.append(&fork, &["c"]).await;
        assert_eq!(replay(&lake, &fork, &branch, &other).await.unwrap_err(), "the table was made anew");

        // A target that lost a column that the branch wrote.
        let narrow = Schema::builder().with_fields([column(1, "id", PrimitiveType::Long)]).build().unwrap();
        let narrowed = lake.commit(&fork, &[Operation::Replace { schema: Some(narrow), files: vec![] }]).await;
        assert_eq!(replay(&lake, &fork, &branch, &narrowed).await.unwrap_err(), "column `city` was dropped");

        let done = replay(&lake, &fork, &branch, &target).await.unwrap();
        assert_eq!(replay(&lake, &fork, &branch, &done).await.unwrap_err(), "its rows are there already");
    });
}

/// Removed files are seen even when the metadata has forgotten which snapshot removed them.
#[test]
fn a_forgotten_removal_is_a_conflict() {
    block_on(async {
        let lake = Fixture::new();
        let fork = lake.create(vec![file("a")]).await;
        let overwrite = Operation::Overwrite { remove: locations(&["a"]), add: vec![file("b")] };
        let mut branch = lake.commit(&fork, &[overwrite]).await;
        for i in 0..40 {
            branch = lake.append(&branch, &[&format!("c{i}")]).await;
        }
        let target = lake.append(&fork, &["t"]).await;
        let why = replay(&lake, &fork, &branch, &target).await.unwrap_err();
        assert_eq!(why, "it removed rows that were there before");
    });
}

#[test]
fn a_branch_without_changes_gives_the_target() {
    block_on(async {
        let lake = Fixture::new();
        let fork = lake.create(vec![file("a")]).await;
        let target = lake.append(&fork, &["t"]).await;
        let done = replay(&lake, &fork, &fork, &target).await.unwrap();
        assert_eq!(done.path, target.path);
        let conflict = lake.io.replay_appends(None, &fork.metadata, (&target.metadata, &target.path), &lake.summary);
        assert!(matches!(conflict.await.unwrap(), Replay::Conflict(_)));
    });
}
