//! Files that no table refers to yet.

use std::sync::Arc;

use parking_lot::Mutex;
use polder_store::{Storage, StoreError};
use tokio::runtime::Handle;

/// Remembers the files of a write until it is whole. Dropped before that, it removes them.
#[derive(Debug)]
pub(crate) struct Begun {
    storage: Arc<dyn Storage>,
    paths: Mutex<Vec<String>>,
    runtime: Handle,
}

impl Begun {
    pub(crate) fn new(storage: Arc<dyn Storage>, runtime: Handle) -> Self {
        Self { storage, paths: Mutex::new(Vec::new()), runtime }
    }

    pub(crate) fn add(&self, path: &str) {
        self.paths.lock().push(path.to_owned());
    }

    /// The write is whole: the files stay.
    pub(crate) fn keep(&self) {
        self.paths.lock().clear();
    }

    /// Removes the files now. One that cannot be removed is left to the collection of garbage, which finds what no table
    /// refers to.
    pub(crate) async fn remove(&self) {
        let paths = std::mem::take(&mut *self.paths.lock());
        delete(&self.storage, paths).await;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let paths = std::mem::take(self.paths.get_mut());
        if !paths.is_empty() {
            let storage = Arc::clone(&self.storage);
            self.runtime.spawn(async move { delete(&storage, paths).await });
        }
    }
}

async fn delete(storage: &Arc<dyn Storage>, paths: Vec<String>) {
    for path in paths {
        if let Err(error) = storage.delete(&path).await {
            tracing::warn!(%path, %error, "a file of a write that failed stays behind");
            // A store that does not answer has been waited for long enough; it would be so for each of the others.
            if matches!(error, StoreError::Io { transient: true, .. }) {
                return;
            }
        }
    }
}
