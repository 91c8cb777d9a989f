//! What every warehouse does.

use std::sync::Arc;

use bytes::Bytes;
use polder_base::Timestamp;
use polder_store::{LocalDisk, MemoryStorage, Storage, StoreError, Warehouse};
use polder_system::{RealSystem, SimulatedSystem};

async fn storages(folder: &tempfile::TempDir) -> Vec<Arc<dyn Storage>> {
    let mut storages: Vec<Arc<dyn Storage>> = vec![
        Arc::new(MemoryStorage::new(RealSystem::shared())),
        Arc::new(LocalDisk::open(folder.path().join("deep/warehouse")).unwrap()),
    ];
    for (_, url) in crate::s3::servers() {
        storages.push(Arc::new(crate::s3::open(&url).await));
    }
    storages
}

async fn list(storage: &dyn Storage, folder: &str) -> Vec<String> {
    let mut paths: Vec<_> = storage.list(folder).await.unwrap().into_iter().map(|i| i.path).collect();
    paths.retain(|path| !path.starts_with("_polder/"));
    paths.sort();
    paths
}

#[tokio::test]
async fn a_file_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    for storage in storages(&folder).await {
        storage.put("silver/orders/a.parquet", Bytes::from_static(b"first")).await.unwrap();
        let again = storage.put("silver/orders/a.parquet", Bytes::from_static(b"second")).await;
        assert!(matches!(again, Err(StoreError::Exists { .. })), "{storage:?}: {again:?}");
        assert_eq!(storage.get("silver/orders/a.parquet").await.unwrap(), "first");

        let info = storage.head("silver/orders/a.parquet").await.unwrap();
        assert_eq!((info.path.as_str(), info.size_bytes), ("silver/orders/a.parquet", 5));
        assert!(info.modified.micros() > 1_700_000_000_000_000, "{storage:?}: {}", info.modified);

        storage.delete("silver/orders/a.parquet").await.unwrap();
        storage.delete("silver/orders/a.parquet").await.unwrap();
        for missing in [storage.get("silver/orders/a.parquet").await.err(), storage.head("silver").await.err()] {
            assert!(matches!(missing, Some(StoreError::NotFound { .. })), "{storage:?}: {missing:?}");
        }
        storage.put("silver/orders/a.parquet", Bytes::new()).await.unwrap();
        assert_eq!(storage.get("silver/orders/a.parquet").await.unwrap(), "");
    }
}

#[tokio::test]
async fn a_range_is_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for storage in storages(&folder).await {
        storage.put("f", Bytes::from_static(b"0123456789")).await.unwrap();
        assert_eq!(storage.get_range("f", 2, 5).await.unwrap(), "234");
        assert_eq!(storage.get_range("f", 0, 10).await.unwrap(), "0123456789");
        assert_eq!(storage.get_range("f", 10, 10).await.unwrap(), "");
        for (start, end) in [(5, 11), (6, 5), (11, 12)] {
            let short = storage.get_range("f", start, end).await;
            assert!(matches!(short, Err(StoreError::Corrupt { .. })), "{storage:?}: {short:?}");
        }
        assert!(matches!(storage.get_range("g", 0, 1).await, Err(StoreError::NotFound { .. })));
    }
}

#[tokio::test]
async fn a_folder_lists_what_is_below_it() {
    let folder = tempfile::tempdir().unwrap();
    for storage in storages(&folder).await {
        for path in ["a/x", "a/b/y", "a/b/c/z", "ab/x", "top"] {
            storage.put(path, Bytes::from_static(b".")).await.unwrap();
        }
        assert_eq!(list(storage.as_ref(), "a").await, ["a/b/c/z", "a/b/y", "a/x"], "{storage:?}");
        assert_eq!(list(storage.as_ref(), "a/b/").await, ["a/b/c/z", "a/b/y"]);
        assert_eq!(list(storage.as_ref(), "none").await, [""; 0]);
        assert_eq!(list(storage.as_ref(), "").await.len(), 5);
    }
}

#[tokio::test]
async fn an_upload_is_there_when_it_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    for storage in storages(&folder).await {
        let mut upload = storage.upload("data/big").await.unwrap();
        for part in ["one ", "two ", "three"] {
            upload.write(Bytes::from_static(part.as_bytes())).await.unwrap();
        }
        assert!(matches!(storage.head("data/big").await, Err(StoreError::NotFound { .. })), "{storage:?}");
        assert_eq!(list(storage.as_ref(), "").await, [""; 0], "{storage:?}");
        let info = upload.finish().await.unwrap();
        assert_eq!((info.path.as_str(), info.size_bytes), ("data/big", 13));
        assert_eq!(storage.get("data/big").await.unwrap(), "one two three");

        let second = storage.upload("data/big").await.unwrap();
        assert!(matches!(second.finish().await, Err(StoreError::Exists { .. })), "{storage:?}");

        let mut dropped = storage.upload("data/none").await.unwrap();
        dropped.write(Bytes::from_static(b"x")).await.unwrap();
        drop(dropped);
        assert_eq!(list(storage.as_ref(), "").await, ["data/big"], "{storage:?}");
    }
}

#[tokio::test]
async fn no_path_leads_out_of_the_root() {
    let folder = tempfile::tempdir().unwrap();
    for storage in storages(&folder).await {
        for path in ["../x", "a/../../x", "/etc/passwd", "", ".", "a//b", "a/./b", "a/", "a\0b", "a\\..\\b"] {
            assert!(storage.put(path, Bytes::new()).await.is_err(), "{storage:?}: put {path:?}");
            assert!(storage.get(path).await.is_err(), "{storage:?}: get {path:?}");
            assert!(storage.delete(path).await.is_err(), "{storage:?}: delete {path:?}");
            assert!(storage.upload(path).await.is_err(), "{storage:?}: upload {path:?}");
        }
        assert!(storage.list("..").await.is_err(), "{storage:?}");
    }
    assert!(!folder.path().join("deep/x").exists() && !folder.path().join("x").exists());
}

#[tokio::test]
async fn memory_takes_its_times_from_the_system() {
    let system = Arc::new(SimulatedSystem::new(1, Timestamp::from_millis(1_000)));
    let storage = MemoryStorage::new(system.clone());
    storage.put("a", Bytes::new()).await.unwrap();
    system.advance(std::time::Duration::from_secs(1));
    storage.clone().put("b", Bytes::new()).await.unwrap();
    assert_eq!(storage.head("a").await.unwrap().modified.millis(), 1_000);
    assert_eq!(storage.head("b").await.unwrap().modified.millis(), 2_000);
}

#[test]
fn locations_are_paths_below_a_root() {
    let warehouse = Warehouse::new(Arc::new(MemoryStorage::new(RealSystem::shared())), "file:///srv/shop/");
    assert_eq!(warehouse.location("a/b"), "file:///srv/shop/a/b");
    assert_eq!(warehouse.path("file:///srv/shop/a/b").unwrap(), "a/b");
    assert!(warehouse.path("file:///srv/shopping/a").is_err());
    assert!(warehouse.path("s3://srv/shop/a").is_err());
}
