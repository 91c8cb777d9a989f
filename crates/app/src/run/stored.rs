//! The project as a run saw it: files by content hash, so that any run can be replayed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use polder_project::Project;
use polder_run::RunRecord;
use polder_store::{Batch, Space, State, StoreError};

use crate::AppError;
use crate::app::Loaded;

/// Stores the files of a project, and gives path → hash.
pub(crate) async fn store(state: &Arc<dyn State>, project: &Project) -> Result<BTreeMap<String, String>, AppError> {
    let mut files = BTreeMap::new();
    let mut batch = Batch::new();
    for file in project.files.iter() {
        let hash = blake3::hash(file.text.as_bytes()).to_hex().to_string();
        if state.get(Space::Blobs, &hash).await?.is_none() {
            batch = batch.put(Space::Blobs, hash.clone(), file.text.as_bytes().to_vec());
        }
        files.insert(file.path.to_string(), hash);
    }
    if !batch.writes.is_empty() {
        state.apply(batch).await?;
    }
    Ok(files)
}

/// The project of a run, as it was stored.
///
/// Secrets are never stored: `.env` is read from the folder, as it is now.
pub(crate) async fn load(state: &Arc<dyn State>, record: &RunRecord, root: &Path) -> Result<Loaded, AppError> {
    let mut texts: Vec<(String, String)> = Vec::with_capacity(record.files.len());
    for (path, hash) in &record.files {
        let damaged = |detail: String| StoreError::Corrupt { path: format!("{path} of run {}", record.id), detail };
        let bytes = state.get(Space::Blobs, hash).await?;
        let bytes = bytes.ok_or_else(|| damaged("its text is not there any more".to_owned()))?;
        let text = String::from_utf8(bytes.to_vec()).map_err(|e| damaged(e.to_string()))?;
        texts.push((path.clone(), text));
    }
    let variables = std::fs::read_to_string(root.join(".env")).map(|text| (".env".to_owned(), text));
    let options = polder_project::Options {
        environment: record.environment.clone(),
        overlay: variables.into_iter().collect(),
        ..polder_project::Options::default()
    };
    let borrowed = texts.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    let (project, diagnostics) = polder_project::load_texts(borrowed, &options);
    Ok(Loaded { project: Arc::new(project), diagnostics })
}
