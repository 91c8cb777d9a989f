//! What only a disk does: other processes, leftovers, no space.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use polder_store::{Batch, Space, State};
use polder_store::{LocalDisk, SqliteState, Storage, StoreError};

#[tokio::test]
async fn only_old_temporary_files_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let disk = LocalDisk::open(folder.path()).unwrap();
    assert!(disk.root_url().starts_with("file:///"));
    let temporary = folder.path().join("_polder/tmp");
    for (name, age_hours) in [("dead.tmp", 48), ("alive.tmp", 1)] {
        let file = fs::File::create(temporary.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age_hours * 3600)).unwrap();
    }
    let again = LocalDisk::open(folder.path()).unwrap();
    let left: Vec<_> = fs::read_dir(&temporary).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["alive.tmp"]);
    assert_eq!(again.list("").await.unwrap(), []);
    assert_eq!(again.list("_polder").await.unwrap(), []);
}

#[tokio::test]
async fn what_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let disk = LocalDisk::open(folder.path()).unwrap();
    disk.put("a", Bytes::from_static(b"file")).await.unwrap();
    assert!(disk.put("a/b", Bytes::from_static(b"below a file")).await.is_err());
    assert!(disk.put("a", Bytes::from_static(b"again")).await.is_err());
    drop(disk.upload("c").await.unwrap());
    assert_eq!(fs::read_dir(folder.path().join("_polder/tmp")).unwrap().count(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn files_have_the_permissions_of_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plain"), "").unwrap();
    let disk = LocalDisk::open(folder.path()).unwrap();
    disk.put("ours", Bytes::new()).await.unwrap();
    let mode = |name| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("ours"), mode("plain"));
}

/// Many writers of one name: one of them wins, and its bytes are whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_writers_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = format!("{round}/file");
        let writers: Vec<_> = (0..4u8)
            .map(|i| {
                let (disk, path) = (LocalDisk::open(folder.path()).unwrap(), path.clone());
                tokio::spawn(async move { disk.put(&path, vec![i; 10_000].into()).await.is_ok() })
            })
            .collect();
        let mut winners = 0;
        for writer in writers {
            winners += usize::from(writer.await.unwrap());
        }
        assert_eq!(winners, 1);
        let bytes = fs::read(folder.path().join(&path)).unwrap();
        assert!(bytes.len() == 10_000 && bytes.iter().all(|b| *b == bytes[0]));
    }
}

/// A file system of one megabyte, which only root can mount.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output();
        match done {
            Ok(output) if output.status.success() => Some(Self { folder }),
            _ => {
                eprintln!("skipped: a small file system to fill can only be mounted by root");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).output();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let Some(small) = SmallDisk::mount() else { return };
    let disk = LocalDisk::open(small.path()).unwrap();
    disk.put("kept", vec![1; 400_000].into()).await.unwrap();
    let full = disk.put("too/large", vec![2; 900_000].into()).await;
    assert!(matches!(full, Err(StoreError::NoSpace { .. })), "{full:?}");

    let mut upload = disk.upload("too/long").await.unwrap();
    let mut result = Ok(());
    for _ in 0..20 {
        result = upload.write(vec![3; 100_000].into()).await;
        if result.is_err() {
            break;
        }
    }
    assert!(matches!(result, Err(StoreError::NoSpace { .. })), "{result:?}");
    assert!(upload.finish().await.is_err());

    let left: Vec<_> = disk.list("").await.unwrap().into_iter().map(|i| i.path).collect();
    assert_eq!(left, ["kept"]);
    disk.put("small", vec![4; 100_000].into()).await.unwrap();
}

#[tokio::test]
async fn a_state_on_a_full_disk_keeps_what_it_has() {
    let Some(small) = SmallDisk::mount() else { return };
    let state = SqliteState::open(small.path().join("state.db")).await.unwrap();
    state.apply(Batch::new().put(Space::Refs, "main", "1")).await.unwrap();
    let large = Batch::new().put(Space::Refs, "main", "2").put(Space::Blobs, "large", vec![0; 2_000_000]);
    let full = state.apply(large).await;
    assert!(matches!(full, Err(StoreError::NoSpace { .. })), "{full:?}");
    assert_eq!(state.get(Space::Refs, "main").await.unwrap().unwrap(), "1");
    state.apply(Batch::new().put(Space::Refs, "main", "3")).await.unwrap();
    assert_eq!(state.get(Space::Refs, "main").await.unwrap().unwrap(), "3");
}
