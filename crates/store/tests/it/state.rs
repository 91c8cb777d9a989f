//! What every state store does.

use std::sync::Arc;

use bytes::Bytes;
use polder_store::{Batch, MemoryState, Outcome, Space, SqliteState, State};

/// Both stores, empty.
async fn stores(folder: &tempfile::TempDir) -> Vec<Arc<dyn State>> {
    vec![Arc::new(MemoryState::new()), Arc::new(SqliteState::open(folder.path().join("state.db")).await.unwrap())]
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn keys(state: &dyn State, space: Space, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    state.scan(space, prefix, after, limit).await.unwrap().into_iter().map(|(key, _)| key).collect()
}

#[tokio::test]
async fn a_record_is_as_it_was_put() {
    let folder = tempfile::tempdir().unwrap();
    for state in stores(&folder).await {
        let binary: Bytes = (0..=255u8).collect::<Vec<_>>().into();
        let batch = Batch::new()
            .put(Space::Objects, "ab", binary.clone())
            .put(Space::Refs, "ab", bytes("other space"))
            .put(Space::Refs, "main", bytes("old"))
            .put(Space::Refs, "main", bytes("new"))
            .put(Space::Claims, "main\0silver.orders", Bytes::new());
        assert_eq!(state.apply(batch).await.unwrap(), Outcome::Applied);
        assert_eq!(state.get(Space::Objects, "ab").await.unwrap(), Some(binary), "{state:?}");
        assert_eq!(state.get(Space::Refs, "ab").await.unwrap(), Some(bytes("other space")));
        assert_eq!(state.get(Space::Refs, "main").await.unwrap(), Some(bytes("new")));
        assert_eq!(state.get(Space::Claims, "main\0silver.orders").await.unwrap(), Some(Bytes::new()), "{state:?}");
        assert_eq!(state.get(Space::Claims, "main").await.unwrap(), None);

        state.apply(Batch::new().delete(Space::Refs, "main").delete(Space::Refs, "never")).await.unwrap();
        assert_eq!(state.get(Space::Refs, "main").await.unwrap(), None);
    }
}

#[tokio::test]
async fn every_space_has_a_place() {
    let folder = tempfile::tempdir().unwrap();
    for state in stores(&folder).await {
        for space in Space::ALL {
            state.apply(Batch::new().put(space, "key", format!("{space:?}"))).await.unwrap();
        }
        for space in Space::ALL {
            let found = state.scan(space, "key", None, 10).await.unwrap();
            assert_eq!(found, [("key".to_owned(), bytes(&format!("{space:?}")))], "{state:?}");
        }
    }
}

#[tokio::test]
async fn a_scan_goes_by_prefix_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    for state in stores(&folder).await {
        let all = ["a", "run/1", "run/1\0x", "run/2", "run/\u{10ffff}", "run/é", "run0", "z"];
        let batch = all.iter().fold(Batch::new(), |batch, key| batch.put(Space::Runs, *key, bytes(key)));
        state.apply(batch).await.unwrap();
        state.apply(Batch::new().put(Space::Steps, "run/9", bytes(""))).await.unwrap();

        let of = |prefix: &'static str, after, limit| keys(state.as_ref(), Space::Runs, prefix, after, limit);
        assert_eq!(of("run/", None, 10).await, ["run/1", "run/1\0x", "run/2", "run/é", "run/\u{10ffff}"], "{state:?}");
        assert_eq!(of("run/", None, 2).await, ["run/1", "run/1\0x"]);
        assert_eq!(of("run/", Some("run/1\0x"), 2).await, ["run/2", "run/é"]);
        assert_eq!(of("run/", Some("a"), 1).await, ["run/1"], "a key before the prefix is no bound");
        assert_eq!(of("run/", Some("run0"), 10).await, [""; 0]);
        assert_eq!(of("", None, 100).await.len(), all.len());
        assert_eq!(of("", Some("run0"), 100).await, ["z"]);
        assert_eq!(of("nothing", None, 100).await, [""; 0]);
        assert_eq!(of("run/", None, 0).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_batch_holds_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    for state in stores(&folder).await {
        let first = Batch::new().expect(Space::Refs, "main", None).put(Space::Refs, "main", bytes("1"));
        assert_eq!(state.apply(first.clone()).await.unwrap(), Outcome::Applied);
        let found = Some(bytes("1"));
        assert_eq!(state.apply(first).await.unwrap(), Outcome::Refused { expect: 0, found: found.clone() });

        let second = Batch::new()
            .expect(Space::Refs, "main", found.clone())
            .expect(Space::Leases, "7", Some(bytes("mine")))
            .put(Space::Refs, "main", bytes("2"))
            .put(Space::Runs, "7", bytes("published"))
            .delete(Space::Refs, "run/7");
        let refused = Outcome::Refused { expect: 1, found: None };
        assert_eq!(state.apply(second.clone()).await.unwrap(), refused, "{state:?}");
        assert_eq!(state.get(Space::Refs, "main").await.unwrap(), found);
        assert_eq!(state.get(Space::Runs, "7").await.unwrap(), None);

        state.apply(Batch::new().put(Space::Leases, "7", bytes("mine"))).await.unwrap();
        assert_eq!(state.apply(second).await.unwrap(), Outcome::Applied);
        assert_eq!(state.get(Space::Refs, "main").await.unwrap(), Some(bytes("2")));
    }
}

/// Many tasks add one to a counter by compare and swap: none may be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_two_that_swap_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for state in stores(&folder).await {
        let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(count(state.clone(), 25))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(state.get(Space::Meta, "counter").await.unwrap(), Some(bytes("200")), "{state:?}");
    }
}

pub async fn count(state: Arc<dyn State>, times: usize) {
    for _ in 0..times {
        loop {
            let old = state.get(Space::Meta, "counter").await.unwrap();
            let value: u64 = old.as_deref().map_or(0, |v| std::str::from_utf8(v).unwrap().parse().unwrap());
            let batch =
                Batch::new().expect(Space::Meta, "counter", old).put(Space::Meta, "counter", (value + 1).to_string());
            if state.apply(batch).await.unwrap() == Outcome::Applied {
                break;
            }
        }
    }
}
