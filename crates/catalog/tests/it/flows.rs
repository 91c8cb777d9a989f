//! The catalog's public face on a real state store (SQLite) and a real disk.

use std::sync::Arc;
use std::time::Duration;

use polder_base::{RunId, Timestamp};
use polder_catalog::{Catalog, CatalogError, Change, CommitId, EntryKey, MAIN, TableAction};
use polder_store::{Batch, LocalDisk, Space, SqliteState, StoreError, Warehouse};
use polder_system::{SimulatedSystem, System};
use polder_table::Operation;
use tempfile::TempDir;

use crate::support::{
    append_change, author, change_set, cursor_change, find_table, numbered, relation, rows, schema, table, write_rows,
};

struct Place {
    folder: TempDir,
    clock: Arc<SimulatedSystem>,
}

impl Place {
    fn new() -> Self {
        // 2026-11-21T06:00:00Z.
        let clock = Arc::new(SimulatedSystem::new(3, Timestamp::from_millis(1_795_240_800_000)));
        Self { folder: tempfile::tempdir().unwrap(), clock }
    }

    /// Opens the catalog as a process of its own would.
    async fn open(&self) -> Catalog {
        self.try_open().await.unwrap()
    }

    async fn try_open(&self) -> polder_catalog::Result<Catalog> {
        let state = SqliteState::open(&self.folder.path().join("state.db")).await?;
        let disk = LocalDisk::open(self.folder.path().join("warehouse")).unwrap();
        let url = disk.root_url();
        let warehouse = Warehouse::new(Arc::new(disk), &url);
        Catalog::open(Arc::new(state), warehouse, Arc::clone(&self.clock) as Arc<dyn System>).await
    }

    fn files(&self, under: &str) -> usize {
        fn count(folder: &std::path::Path) -> usize {
            let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
            entries.map(|e| e.unwrap().path()).map(|p| if p.is_dir() { count(&p) } else { 1 }).sum()
        }
        count(&self.folder.path().join("warehouse").join(under))
    }
}

async fn append(catalog: &Catalog, branch: &str, name: &str, file: &str, values: &[String]) -> CommitId {
    let head = catalog.resolve(branch).await.unwrap();
    let change = append_change(catalog, &head, name, file, values).await.unwrap();
    catalog.commit(branch, change_set(file, None, vec![change])).await.unwrap()
}

/// Rows up to `last` of a source, with their cursor.
async fn ingest(
    catalog: &Catalog,
    branch: &str,
    first: u64,
    last: u64,
    run: Option<RunId>,
) -> polder_catalog::Result<CommitId> {
    let head = catalog.resolve(branch).await?;
    let file = format!("rows-{first}-{last}-{}", catalog.system().random());
    let change = append_change(catalog, &head, "bronze.orders", &file, &numbered("o", first, last)).await?;
    let base = (first > 1).then(|| (first - 1).to_string());
    let cursor = cursor_change("shop.orders", "bronze.orders", base.as_deref(), &last.to_string());
    catalog.commit(branch, change_set("Ingest", run, vec![change, cursor])).await
}

async fn head(catalog: &Catalog, name: &str) -> CommitId {
    catalog.find_ref(name).await.unwrap().unwrap().commit
}

#[tokio::test]
async fn a_commit_is_there_for_every_process() {
    let place = Place::new();
    let (ours, theirs) = (place.open().await, place.open().await);
    let commit = ingest(&ours, MAIN, 1, 3, Some(RunId(7))).await.unwrap();
    assert_eq!(head(&theirs, MAIN).await, commit);
    assert_eq!(rows(&theirs, MAIN, "bronze.orders").await.unwrap(), numbered("o", 1, 3));
    let found = theirs.commit_object(&commit).await.unwrap();
    assert_eq!((found.run, found.operations.len()), (Some(7), 2));
    assert_eq!((found.operations[0].action, found.operations[0].added_rows), (TableAction::Create, 3));
    let (entry, _) = find_table(&theirs, &commit, "bronze.orders").await.unwrap().unwrap();
    let metadata = theirs.metadata(&entry).await.unwrap();
    let snapshot = metadata.current_snapshot().unwrap();
    assert_eq!(snapshot.summary().additional_properties["polder.run"], "7");
    assert_eq!(entry.snapshot_id, Some(snapshot.snapshot_id()));
}

#[tokio::test]
async fn what_changes_nothing_makes_no_commit() {
    let place = Place::new();
    let catalog = place.open().await;
    ingest(&catalog, MAIN, 1, 3, None).await.unwrap();
    let view =
        || Change::View { table: table("gold.v"), sql: "select 1".into(), schema: schema().into(), comment: None };
    let before = catalog.commit(MAIN, change_set("View", None, vec![view()])).await.unwrap();
    let append = Change::Table {
        table: table("bronze.orders"),
        operations: vec![Operation::Append { files: vec![] }],
        read: None,
    };
    let cursor = cursor_change("shop.orders", "bronze.orders", Some("3"), "3");
    let gone = Change::Drop { key: relation("bronze.nothing") };
    let after = catalog.commit(MAIN, change_set("Nothing", None, vec![append, cursor, gone, view()])).await.unwrap();
    assert_eq!(after, before);
    assert_eq!(head(&catalog, MAIN).await, before);
}

#[tokio::test]
async fn writers_of_one_process_share_transactions_and_none_is_lost() {
    let place = Place::new();
    let (ours, theirs) = (place.open().await, place.open().await);
    append(&ours, MAIN, "bronze.events", "first", &numbered("first", 1, 1)).await;
    let bundles = place.files("_polder/bundles/main");
    let writers = (0..40).map(|n| {
        let catalog = if n % 4 == 0 { theirs.clone() } else { ours.clone() };
        tokio::spawn(async move { append(&catalog, MAIN, "bronze.events", &format!("e{n}"), &[format!("e{n}")]).await })
    });
    let commits = futures::future::join_all(writers).await;
    let mut found = rows(&ours, MAIN, "bronze.events").await.unwrap();
    found.retain(|row| row.starts_with('e'));
    assert_eq!(found.len(), 40);
    let log = ours.log(&head(&ours, MAIN).await, 1000).await.unwrap();
    for commit in commits {
        let commit = commit.unwrap();
        assert!(log.iter().any(|(id, _)| *id == commit), "{} is not in the history", commit.short());
    }
    assert!(place.files("_polder/bundles/main") - bundles < 40, "every commit had a bundle of its own");
}

#[tokio::test]
async fn a_change_of_what_was_read_meanwhile_is_a_conflict_that_names_both_sides() {
    let place = Place::new();
    let catalog = place.open().await;
    let base = append(&catalog, MAIN, "silver.t", "base", &numbered("a", 1, 2)).await;
    let (entry, folder) = find_table(&catalog, &base, "silver.t").await.unwrap().unwrap();
    catalog
        .commit(
            MAIN,
            change_set(
                "x",
                Some(RunId(4)),
                vec![append_change(&catalog, &base, "silver.t", "x", &numbered("b", 1, 1)).await.unwrap()],
            ),
        )
        .await
        .unwrap();
    let file = write_rows(catalog.tables().warehouse(), &folder, "new", &numbered("c", 1, 1)).await.unwrap();
    let replace = Operation::Replace { schema: None, files: vec![file] };
    let change =
        Change::Table { table: table("silver.t"), operations: vec![replace.clone()], read: Some(entry.metadata_path) };
    let error = catalog.commit(MAIN, change_set("Rebuild", Some(RunId(5)), vec![change])).await.unwrap_err();
    let CatalogError::Conflict { entry, ours, theirs, .. } = &error else { panic!("{error}") };
    assert_eq!((entry.as_str(), ours.as_str()), ("silver.t", "run 5"));
    assert!(theirs.starts_with("run 4 ("), "{theirs}");

    let now = find_table(&catalog, &head(&catalog, MAIN).await, "silver.t").await.unwrap().unwrap().0;
    let change = Change::Table { table: table("silver.t"), operations: vec![replace], read: Some(now.metadata_path) };
    let commit = catalog.commit(MAIN, change_set("Rebuild", Some(RunId(5)), vec![change])).await.unwrap();
    assert_eq!(rows(&catalog, MAIN, "silver.t").await.unwrap(), numbered("c", 1, 1));
    let operation = &catalog.commit_object(&commit).await.unwrap().operations[0];
    assert_eq!((operation.added_rows, operation.removed_rows, operation.read), (1, 3, true));
}

#[tokio::test]
async fn the_same_input_never_lands_twice() {
    let place = Place::new();
    let catalog = place.open().await;
    ingest(&catalog, MAIN, 1, 3, None).await.unwrap();
    let run = catalog.next_run().await.unwrap();
    catalog.create_branch(&run.branch(), &head(&catalog, MAIN).await, None).await.unwrap();
    ingest(&catalog, &run.branch(), 4, 6, Some(run)).await.unwrap();
    // Somebody else reads the same rows, comes to the same place, and is first.
    ingest(&catalog, MAIN, 4, 6, None).await.unwrap();
    let error = catalog.prepare(Some(run), &run.branch(), MAIN, &author(), "Run").await.unwrap_err();
    assert!(matches!(error, CatalogError::Conflict { .. }), "{error}");
    assert!(ingest(&catalog, MAIN, 4, 6, None).await.is_err());
}

#[tokio::test]
async fn a_run_is_published_once_in_one_commit() {
    let place = Place::new();
    let catalog = place.open().await;
    append(&catalog, MAIN, "bronze.events", "first", &numbered("e", 1, 1)).await;
    append(&catalog, MAIN, "bronze.other", "other", &numbered("x", 1, 1)).await;
    let run = catalog.next_run().await.unwrap();
    let lease = catalog.acquire_lease(run, Duration::from_secs(60)).await.unwrap();
    let branch = run.branch();
    catalog.create_branch(&branch, &head(&catalog, MAIN).await, None).await.unwrap();
    append(&catalog, &branch, "bronze.events", "mine", &numbered("m", 1, 2)).await;
    append(&catalog, &branch, "gold.daily", "daily", &numbered("d", 1, 1)).await;
    append(&catalog, &branch, "bronze.events", "more", &numbered("n", 1, 1)).await;

    // Main moves twice: once before the run prepares, once after.
    append(&catalog, MAIN, "bronze.events", "second", &numbered("e", 2, 2)).await;
    let first = catalog.prepare(Some(run), &branch, MAIN, &author(), "Run 1").await.unwrap();
    append(&catalog, MAIN, "bronze.other", "again", &numbered("x", 2, 2)).await;
    let record = || Batch::new().put(Space::Runs, "1", "published");
    assert_eq!(catalog.publish(&first, Some(&lease), record()).await.unwrap(), None);
    let second = catalog.prepare(Some(run), &branch, MAIN, &author(), "Run 1").await.unwrap();
    let names = |prepared: &polder_catalog::Prepared| {
        let rebased: Vec<String> = prepared.rebased.iter().map(|r| r.table.to_string()).collect();
        let moved: Vec<String> = prepared.moved.iter().map(ToString::to_string).collect();
        (rebased, moved)
    };
    assert_eq!(names(&second), (vec!["bronze.events".to_owned()], vec!["bronze.other".to_owned()]));
    assert_eq!(catalog.find_published(run, MAIN).await.unwrap(), None);
    let commit = catalog.publish(&second, Some(&lease), record()).await.unwrap().unwrap();

    assert_eq!(catalog.find_published(run, MAIN).await.unwrap(), Some(commit.clone()));
    assert_eq!(catalog.state().get(Space::Runs, "1").await.unwrap().unwrap(), "published");
    assert_eq!(rows(&catalog, MAIN, "bronze.events").await.unwrap(), ["e1", "e2", "m1", "m2", "n1"]);
    assert_eq!(rows(&catalog, MAIN, "bronze.other").await.unwrap(), ["x1", "x2"]);
    let published = catalog.commit_object(&commit).await.unwrap();
    assert_eq!(published.parents[0], second.onto.0);
    let appended = published.operations.iter().find(|o| o.entry == "bronze.events").unwrap();
    assert_eq!((appended.action, appended.added_rows), (TableAction::Append, 3));
    let (entry, _) = find_table(&catalog, &commit, "bronze.events").await.unwrap().unwrap();
    let metadata = catalog.metadata(&entry).await.unwrap();
    assert_eq!(metadata.snapshots().len(), 3, "two of main's own, and one for all that the run did");

    // A process that did not notice prepares again, and finds that there is nothing to do.
    assert_eq!(catalog.publish(&second, Some(&lease), record()).await.unwrap(), None);
    let third = catalog.prepare(Some(run), &branch, MAIN, &author(), "Run 1").await.unwrap();
    assert_eq!(third.commit, third.onto);
    assert_eq!(catalog.publish(&third, Some(&lease), record()).await.unwrap(), Some(commit));
}

/// What is held back stays on the branch alone, through lost races, and is what the branch publishes next.
#[tokio::test]
async fn a_part_of_a_run_is_published_and_the_rest_later() {
    let place = Place::new();
    let catalog = place.open().await;
    append(&catalog, MAIN, "bronze.bad", "first", &numbered("b", 1, 1)).await;
    append(&catalog, MAIN, "bronze.good", "first", &numbered("g", 1, 1)).await;
    let run = catalog.next_run().await.unwrap();
    let branch = run.branch();
    catalog.create_branch(&branch, &head(&catalog, MAIN).await, None).await.unwrap();
    append(&catalog, &branch, "bronze.bad", "mine", &numbered("b", 2, 3)).await;
    append(&catalog, &branch, "bronze.good", "mine", &numbered("g", 2, 3)).await;
    let hold = std::collections::BTreeSet::from([relation("bronze.bad")]);
    let (ours, accepted) = (author(), polder_catalog::Accepted { reason: "known".into(), checks: Vec::new() });
    let proposal = |hold| polder_catalog::Proposal {
        run: Some(run),
        branch: "run/1",
        target: MAIN,
        author: &ours,
        message: "run 1",
        accepted: Some(&accepted),
        hold,
    };
    let lost = catalog.propose(&proposal(&hold)).await.unwrap();
    assert_ne!(lost.commit, lost.tip);
    append(&catalog, MAIN, "bronze.bad", "theirs", &numbered("t", 1, 1)).await;
    assert_eq!(catalog.publish(&lost, None, Batch::new()).await.unwrap(), None);
    let part = catalog.propose(&proposal(&hold)).await.unwrap();
    assert!(part.rebased.is_empty(), "what is held back is not what is published: {part:?}");
    let commit = catalog.publish(&part, None, Batch::new()).await.unwrap().unwrap();
    assert_eq!(catalog.commit_object(&commit).await.unwrap().accepted.as_ref(), Some(&accepted));
    assert_eq!(rows(&catalog, MAIN, "bronze.good").await.unwrap(), ["g1", "g2", "g3"]);
    assert_eq!(rows(&catalog, MAIN, "bronze.bad").await.unwrap(), ["b1", "t1"]);
    assert_eq!(rows(&catalog, &branch, "bronze.bad").await.unwrap(), ["b1", "b2", "b3", "t1"], "on top of theirs");
    assert_eq!(rows(&catalog, &branch, "bronze.good").await.unwrap(), ["g1", "g2", "g3"]);

    // The rest, on a target that went on meanwhile.
    append(&catalog, MAIN, "bronze.bad", "theirs again", &numbered("t", 2, 2)).await;
    let none = std::collections::BTreeSet::new();
    let rest = catalog.propose(&proposal(&none)).await.unwrap();
    catalog.publish(&rest, None, Batch::new()).await.unwrap().unwrap();
    assert_eq!(rows(&catalog, MAIN, "bronze.bad").await.unwrap(), ["b1", "b2", "b3", "t1", "t2"]);
    assert_eq!(rows(&catalog, MAIN, "bronze.good").await.unwrap(), ["g1", "g2", "g3"]);
    let again = catalog.propose(&proposal(&none)).await.unwrap();
    assert_eq!(again.commit, again.onto, "nothing is left");
}

/// A process that dies between holding something back and publishing the rest leaves a branch that has both.
#[tokio::test]
async fn a_branch_with_a_part_that_was_never_published_is_gone_on_with() {
    let place = Place::new();
    let catalog = place.open().await;
    append(&catalog, MAIN, "bronze.bad", "first", &numbered("b", 1, 1)).await;
    append(&catalog, MAIN, "bronze.good", "first", &numbered("g", 1, 1)).await;
    catalog.create_branch("run/1", &head(&catalog, MAIN).await, None).await.unwrap();
    append(&catalog, "run/1", "bronze.bad", "mine", &numbered("b", 2, 3)).await;
    append(&catalog, "run/1", "bronze.good", "mine", &numbered("g", 2, 3)).await;
    let hold = std::collections::BTreeSet::from([relation("bronze.bad")]);
    let ours = author();
    let proposal = |hold| polder_catalog::Proposal {
        run: Some(RunId(1)),
        branch: "run/1",
        target: MAIN,
        author: &ours,
        message: "run 1",
        accepted: None,
        hold,
    };
    catalog.propose(&proposal(&hold)).await.unwrap();
    append(&catalog, MAIN, "bronze.good", "theirs", &numbered("t", 1, 1)).await;
    append(&catalog, "run/1", "bronze.bad", "more", &numbered("b", 4, 4)).await;
    let all = catalog.propose(&proposal(&std::collections::BTreeSet::new())).await.unwrap();
    catalog.publish(&all, None, Batch::new()).await.unwrap().unwrap();
    assert_eq!(rows(&catalog, MAIN, "bronze.bad").await.unwrap(), ["b1", "b2", "b3", "b4"]);
    assert_eq!(rows(&catalog, MAIN, "bronze.good").await.unwrap(), ["g1", "g2", "g3", "t1"]);
}

#[tokio::test]
async fn who_lost_the_lease_does_not_publish() {
    let place = Place::new();
    let (ours, theirs) = (place.open().await, place.open().await);
    let run = ours.next_run().await.unwrap();
    let lease = ours.acquire_lease(run, Duration::from_secs(60)).await.unwrap();
    assert!(matches!(
        theirs.acquire_lease(run, Duration::from_secs(60)).await,
        Err(CatalogError::LeaseHeld { run: 1, .. })
    ));
    ours.create_branch("run/1", &head(&ours, MAIN).await, None).await.unwrap();
    append(&ours, "run/1", "gold.t", "t", &numbered("t", 1, 1)).await;
    let prepared = ours.prepare(Some(run), "run/1", MAIN, &author(), "Run").await.unwrap();
    // Renewing is no change of hands.
    ours.renew_lease(&lease, Duration::from_secs(60)).await.unwrap();
    place.clock.advance(Duration::from_secs(61));
    let taken = theirs.acquire_lease(run, Duration::from_secs(60)).await.unwrap();
    assert!(matches!(ours.renew_lease(&lease, Duration::from_secs(60)).await, Err(CatalogError::LeaseLost { run: 1 })));
    assert!(matches!(
        ours.publish(&prepared, Some(&lease), Batch::new()).await,
        Err(CatalogError::LeaseLost { run: 1 })
    ));
    let change = append_change(&ours, &prepared.commit, "gold.t", "late", &numbered("l", 1, 1)).await.unwrap();
    let also = lease.expect(Batch::new()).unwrap();
    let late = ours.commit_with("run/1", change_set("Late", Some(run), vec![change]), also).await;
    assert!(matches!(late, Err(CatalogError::RecordChanged { .. })), "{late:?}");
    assert!(theirs.publish(&prepared, Some(&taken), Batch::new()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_deleted_branch_is_not_published() {
    let place = Place::new();
    let catalog = place.open().await;
    catalog.create_branch("run/1", &head(&catalog, MAIN).await, None).await.unwrap();
    append(&catalog, "run/1", "gold.t", "t", &numbered("t", 1, 1)).await;
    let prepared = catalog.prepare(Some(RunId(1)), "run/1", MAIN, &author(), "Run").await.unwrap();
    catalog.delete_ref("run/1").await.unwrap();
    let error = catalog.publish(&prepared, None, Batch::new()).await.unwrap_err();
    assert!(matches!(error, CatalogError::UnknownRef { .. }), "{error}");
    assert!(rows(&catalog, MAIN, "gold.t").await.is_none());
}

#[tokio::test]
async fn branches_are_merged_again_and_again() {
    let place = Place::new();
    let catalog = place.open().await;
    append(&catalog, MAIN, "lab.notes", "base", &numbered("base", 1, 1)).await;
    catalog.create_branch("dev", &head(&catalog, MAIN).await, None).await.unwrap();
    for n in 1..=3 {
        append(&catalog, "dev", "lab.notes", &format!("d{n}"), &numbered("d", n, n)).await;
        append(&catalog, MAIN, "lab.notes", &format!("m{n}"), &numbered("m", n, n)).await;
        catalog.merge("dev", MAIN, &author(), "Merge").await.unwrap();
        if n == 2 {
            catalog.merge(MAIN, "dev", &author(), "Catch up").await.unwrap();
        }
    }
    assert_eq!(rows(&catalog, MAIN, "lab.notes").await.unwrap(), ["base1", "d1", "d2", "d3", "m1", "m2", "m3"]);
    let merged = head(&catalog, MAIN).await;
    assert_eq!(catalog.merge("dev", MAIN, &author(), "Nothing new").await.unwrap(), merged);

    for (branch, name) in [("dev", "ours"), (MAIN, "theirs")] {
        append(&catalog, branch, "lab.made", name, &numbered(name, 1, 1)).await;
    }
    let error = catalog.merge("dev", MAIN, &author(), "Merge").await.unwrap_err();
    let CatalogError::Conflict { entry, ours, theirs, detail } = error else { panic!("{error}") };
    assert_eq!((entry.as_str(), ours.as_str(), detail.as_str()), ("lab.made", "branch `dev`", "both made it"));
    assert!(theirs.starts_with("\"theirs\""), "{theirs}");
}

#[tokio::test]
async fn branches_that_were_merged_crosswise_never_double_rows() {
    let place = Place::new();
    let catalog = place.open().await;
    append(&catalog, MAIN, "lab.notes", "base", &numbered("base", 1, 1)).await;
    catalog.create_branch("dev", &head(&catalog, MAIN).await, None).await.unwrap();
    append(&catalog, "dev", "lab.notes", "d", &numbered("d", 1, 1)).await;
    let before = append(&catalog, MAIN, "lab.notes", "m", &numbered("m", 1, 1)).await;
    // Each merges what the other was: two commits are best common ancestors now.
    catalog.merge("dev", MAIN, &author(), "Merge").await.unwrap();
    catalog.merge(&before.0, "dev", &author(), "Catch up").await.unwrap();
    append(&catalog, "dev", "lab.more", "more", &numbered("x", 1, 1)).await;
    catalog.merge("dev", MAIN, &author(), "Merge").await.unwrap();
    assert_eq!(rows(&catalog, MAIN, "lab.notes").await.unwrap(), ["base1", "d1", "m1"]);
    assert_eq!(rows(&catalog, MAIN, "lab.more").await.unwrap(), ["x1"]);
}

#[tokio::test]
async fn rows_stay_single_where_what_is_new_is_open() {
    let place = Place::new();
    let catalog = place.open().await;
    append(&catalog, MAIN, "lab.notes", "base", &numbered("base", 1, 1)).await;
    catalog.create_branch("dev", &head(&catalog, MAIN).await, None).await.unwrap();
    append(&catalog, "dev", "lab.notes", "d", &numbered("d", 1, 1)).await;
    let before = append(&catalog, MAIN, "lab.notes", "m", &numbered("m", 1, 1)).await;
    catalog.merge("dev", MAIN, &author(), "Merge").await.unwrap();
    catalog.merge(&before.0, "dev", &author(), "Catch up").await.unwrap();
    append(&catalog, "dev", "lab.notes", "d2", &numbered("d", 2, 2)).await;
    append(&catalog, MAIN, "lab.notes", "m2", &numbered("m", 2, 2)).await;
    let error = catalog.merge("dev", MAIN, &author(), "Merge").await.unwrap_err();
    assert!(matches!(&error, CatalogError::Conflict { detail, .. } if detail.contains("crosswise")), "{error}");
}

#[tokio::test]
async fn cursors_go_back_with_their_tables_so_that_rows_are_read_again() {
    let place = Place::new();
    let catalog = place.open().await;
    let first = ingest(&catalog, MAIN, 1, 3, None).await.unwrap();
    append(&catalog, MAIN, "lab.notes", "note", &numbered("n", 1, 1)).await;
    ingest(&catalog, MAIN, 4, 6, None).await.unwrap();
    catalog.rollback(MAIN, &first, Some(&[table("bronze.orders")]), &author()).await.unwrap();
    assert_eq!(rows(&catalog, MAIN, "bronze.orders").await.unwrap(), numbered("o", 1, 3));
    assert_eq!(rows(&catalog, MAIN, "lab.notes").await.unwrap(), ["n1"], "another table is left alone");
    ingest(&catalog, MAIN, 4, 6, None).await.unwrap();
    assert_eq!(rows(&catalog, MAIN, "bronze.orders").await.unwrap(), numbered("o", 1, 6));

    catalog.rollback(MAIN, &first, None, &author()).await.unwrap();
    assert!(rows(&catalog, MAIN, "lab.notes").await.is_none(), "a table that was made since is dropped");
    let there = head(&catalog, MAIN).await;
    assert_eq!(catalog.rollback(MAIN, &first, None, &author()).await.unwrap(), there, "it is there already");
    let error = catalog.rollback(MAIN, &first, Some(&[table("no.such")]), &author()).await.unwrap_err();
    assert!(matches!(error, CatalogError::UnknownTable { .. }));
}

#[tokio::test]
async fn people_name_commits_in_many_ways() {
    let place = Place::new();
    let catalog = place.open().await;
    let mut commits = vec![head(&catalog, MAIN).await];
    for n in 1..=3 {
        place.clock.advance(Duration::from_secs(3600));
        commits.push(append(&catalog, MAIN, "a.t", &format!("f{n}"), &numbered("r", n, n)).await);
    }
    catalog.create_tag("v1", &commits[2]).await.unwrap();
    catalog.create_branch("release/2026", &commits[1], None).await.unwrap();
    let resolve = async |spec: &str| catalog.resolve(spec).await;
    for (spec, index) in [
        ("main", 3),
        ("main~1", 2),
        ("main~~", 1),
        ("v1", 2),
        ("v1~1", 1),
        ("release/2026", 1),
        ("main@2026-11-21T08:00:00Z", 2),
        ("main@2026-11-21T08:30:00+00:30", 2),
        ("main@2026-11-21 07:59", 1),
        ("main@2026-11-22", 3),
        ("main@2026-11-21T08:00:00Z~1", 1),
        (&commits[2].0, 2),
        (commits[2].short(), 2),
        (&format!("{}~1", commits[2].short()), 1),
    ] {
        assert_eq!(resolve(spec).await.unwrap(), commits[index], "{spec}");
    }
    let error = resolve("mian").await.unwrap_err();
    assert!(matches!(&error, CatalogError::UnknownRef { nearest: Some(near), .. } if near == "main"), "{error}");
    assert!(matches!(resolve("0123456789").await, Err(CatalogError::UnknownCommit { .. })));
    assert!(matches!(resolve("main~9").await, Err(CatalogError::Invalid(_))));
    assert!(
        matches!(resolve("main@2026-11-21").await, Err(CatalogError::Invalid(text)) if text.contains("no history before"))
    );
    assert!(matches!(resolve("main@soon").await, Err(CatalogError::Invalid(_))));
    assert!(matches!(catalog.create_branch("v1", &commits[0], None).await, Err(CatalogError::RefExists { .. })));
    assert!(matches!(catalog.create_branch("a b", &commits[0], None).await, Err(CatalogError::Invalid(_))));
    assert!(matches!(
        catalog.commit("v1", change_set("x", None, vec![])).await,
        Err(CatalogError::Invalid(text)) if text.contains("tag")
    ));
    assert!(catalog.delete_ref(MAIN).await.is_err());
}

#[tokio::test]
async fn claims_keep_a_second_run_waiting() {
    let place = Place::new();
    let catalog = place.open().await;
    let (first, second) = (catalog.next_run().await.unwrap(), catalog.next_run().await.unwrap());
    let _lease = catalog.acquire_lease(first, Duration::from_secs(60)).await.unwrap();
    let tables = [table("gold.a"), table("gold.b")];
    catalog.claim(first, MAIN, &tables).await.unwrap();
    catalog.claim(first, MAIN, &tables).await.unwrap();
    let error = catalog.claim(second, MAIN, &tables[1..]).await.unwrap_err();
    assert!(matches!(&error, CatalogError::Claimed { run: 1, table, .. } if table == "gold.b"), "{error}");
    catalog.claim(second, "dev", &tables).await.unwrap();
    place.clock.advance(Duration::from_secs(61));
    catalog.claim(second, MAIN, &tables[1..]).await.unwrap();
    catalog.release_claims(first).await.unwrap();
    catalog.release_claims(second).await.unwrap();
    assert!(catalog.state().scan(Space::Claims, "", None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_nothing_reaches_is_collected() {
    let place = Place::new();
    let catalog = place.open().await;
    let (day, hour) = (Duration::from_secs(86_400), Duration::from_secs(3600));
    append(&catalog, MAIN, "a.t", "kept", &numbered("k", 1, 1)).await;
    let expires = place.clock.now() + day;
    catalog.create_branch("run/1", &head(&catalog, MAIN).await, Some(expires)).await.unwrap();
    append(&catalog, "run/1", "a.t", "held", &numbered("h", 1, 1)).await;
    append(&catalog, "run/1", "a.made", "made", &numbered("m", 1, 1)).await;
    let files = place.files("a");

    let nothing = catalog.expire(30 * day, hour).await.unwrap();
    assert_eq!((nothing.files, nothing.objects, nothing.refs.len()), (0, 0, 0));
    place.clock.advance(2 * day);
    // The clock of the disk is the machine's own: to it, all files were made just now.
    let expired = catalog.expire(30 * day, Duration::ZERO).await.unwrap();
    assert_eq!(expired.refs, ["run/1"]);
    assert_eq!(expired.commits, 2);
    assert!(expired.files >= 6 && expired.bytes > 0, "{expired:?}");
    assert_eq!(place.files("a"), files - usize::try_from(expired.files).unwrap());
    assert_eq!(rows(&catalog, MAIN, "a.t").await.unwrap(), ["k1"]);
    assert!(matches!(catalog.resolve("run/1").await, Err(CatalogError::UnknownRef { .. })));

    let old = head(&catalog, MAIN).await;
    place.clock.advance(10 * day);
    append(&catalog, MAIN, "a.t", "new", &numbered("n", 1, 1)).await;
    place.clock.advance(10 * day);
    append(&catalog, MAIN, "a.t", "newer", &numbered("n", 2, 2)).await;
    let cut = catalog.expire(5 * day, Duration::ZERO).await.unwrap();
    assert!(cut.commits >= 2, "{cut:?}");
    assert!(matches!(catalog.resolve(&old.0).await, Err(CatalogError::UnknownCommit { .. })));
    let log = catalog.log(&head(&catalog, MAIN).await, 100).await.unwrap();
    assert_eq!(log.len(), 2, "the newest, and what was shown when the retention began");
    assert_eq!(rows(&catalog, "main~1", "a.t").await.unwrap(), ["k1", "n1"]);
    assert!(catalog.resolve("main@2026-11-22").await.is_err());
}

#[tokio::test]
async fn a_lost_state_store_is_rebuilt_from_the_warehouse() {
    let place = Place::new();
    let catalog = place.open().await;
    let mut last = None;
    for n in 1..=70 {
        last = Some(ingest(&catalog, MAIN, n, n, Some(RunId(n))).await.unwrap());
    }
    catalog.create_branch("dev", &catalog.resolve("main~3").await.unwrap(), None).await.unwrap();
    append(&catalog, "dev", "lab.notes", "note", &numbered("n", 1, 1)).await;
    catalog.create_tag("v1", &head(&catalog, MAIN).await).await.unwrap();
    catalog.create_branch("gone", &head(&catalog, MAIN).await, None).await.unwrap();
    catalog.delete_ref("gone").await.unwrap();
    let before = place.files("_polder/bundles/main");
    catalog.expire(Duration::from_secs(86_400), Duration::ZERO).await.unwrap();
    assert!(place.files("_polder/bundles/main") < before / 2, "a row of bundles becomes a pack");
    let refs = catalog.refs().await.unwrap();
    drop(catalog);
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(place.folder.path().join(file));
    }

    let rebuilt = place.open().await;
    assert_eq!(rebuilt.rebuilt().unwrap().refs, ["dev", "main", "v1"]);
    assert_eq!(rebuilt.refs().await.unwrap(), refs);
    assert_eq!(head(&rebuilt, MAIN).await, last.unwrap());
    assert_eq!(rows(&rebuilt, MAIN, "bronze.orders").await.unwrap().len(), 70);
    assert_eq!(rows(&rebuilt, "dev", "lab.notes").await.unwrap(), ["n1"]);
    assert_eq!(rebuilt.log(&head(&rebuilt, MAIN).await, 1000).await.unwrap().len(), 71);
    assert_eq!(rebuilt.next_run().await.unwrap(), RunId(71));
    ingest(&rebuilt, MAIN, 71, 72, None).await.unwrap();
    assert!(place.open().await.rebuilt().is_none(), "it is not lost any more");
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_not_touched() {
    let place = Place::new();
    let catalog = place.open().await;
    catalog.state().apply(Batch::new().put(Space::Meta, "format", "2")).await.unwrap();
    let error = place.try_open().await.map(|_| ()).unwrap_err();
    assert!(matches!(error, CatalogError::Store(StoreError::TooNew { found: 2, known: 1, .. })), "{error}");
}

#[tokio::test]
async fn a_table_that_is_gone_cannot_be_taken_over() {
    let place = Place::new();
    let catalog = place.open().await;
    catalog.create_branch("held", &head(&catalog, MAIN).await, None).await.unwrap();
    let held = append(&catalog, "held", "gold.t", "t", &numbered("t", 1, 1)).await;
    let entry = catalog.entry(&held, &relation("gold.t")).await.unwrap().unwrap();
    let take = || Change::Take { key: relation("gold.t"), entry: entry.clone() };
    catalog.create_branch("other", &head(&catalog, MAIN).await, None).await.unwrap();
    catalog.commit("other", change_set("Take", None, vec![take()])).await.unwrap();
    assert_eq!(rows(&catalog, "other", "gold.t").await.unwrap(), ["t1"]);
    catalog.delete_ref("held").await.unwrap();
    catalog.delete_ref("other").await.unwrap();
    place.clock.advance(Duration::from_secs(86_400 * 365));
    catalog.expire(Duration::ZERO, Duration::ZERO).await.unwrap();
    let error = catalog.commit(MAIN, change_set("Take", None, vec![take()])).await.unwrap_err();
    assert!(matches!(&error, CatalogError::Invalid(text) if text.contains("not there any more")), "{error}");
    assert!(catalog.entry(&head(&catalog, MAIN).await, &EntryKey::Cursor("x".into())).await.unwrap().is_none());
}
