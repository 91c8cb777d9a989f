//! Objects of a bucket.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use polder_diag::{Diagnostic, Span};
use polder_project::{FileStream, S3Settings};
use polder_store::{Bucket, BucketObject, S3Location, S3Options, Secret, StoreError};

use super::super::find::{Place, SourceFile, WILDCARDS};
use super::{Bytestream, Remote, Unread, version_of};
use crate::{IngestError, Result, codes};

/// How a project's settings are said to the store.
pub fn s3_options(settings: &S3Settings) -> S3Options {
    let usual = S3Options::default();
    let seconds = |given: Option<u64>, usual| given.map_or(usual, std::time::Duration::from_secs);
    S3Options {
        endpoint: settings.endpoint.clone(),
        region: settings.region.clone(),
        path_style: settings.path_style,
        allow_http: settings.allow_http,
        profile: settings.profile.clone(),
        access_key: settings.access_key.as_ref().map(|(id, secret)| (id.clone(), Secret(secret.0.clone()))),
        anonymous: settings.anonymous,
        timeout: seconds(settings.timeout_seconds, usual.timeout),
        retry_for: seconds(settings.retry_seconds, usual.retry_for),
    }
}

/// The objects that a pattern names. Keys with a part that begins with a dot are left out, as hidden files are.
pub(super) async fn find(stream: &FileStream, span: &Span) -> Result<Vec<SourceFile>> {
    let pattern = &stream.pattern;
    let location = S3Location::parse(pattern).map_err(told)?;
    let bucket = open(&location.bucket, s3_options(&stream.s3)).await?;
    if location.path.is_empty() || pattern.ends_with('/') {
        let problem = Diagnostic::error(codes::NO_FILE, format!("`{pattern}` is a folder")).at(span.clone(), "");
        let hint = format!("name the files in it, such as `{}/*.csv`", pattern.trim_end_matches('/'));
        return Err(problem.hint(hint).into());
    }
    let objects = match location.path.find(WILDCARDS) {
        Some(wildcard) => matching(&bucket, &location.path, wildcard, span).await?,
        None => match bucket.head(&location.path).await {
            Ok(object) => vec![object],
            Err(StoreError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(told(error)),
        },
    };
    if objects.is_empty() {
        return Err(Diagnostic::error(codes::NO_FILE, format!("no object matches `{pattern}`"))
            .at(span.clone(), "")
            .into());
    }
    Ok(objects.into_iter().map(|object| source_file(&bucket, object)).collect())
}

/// A bucket, with the connections and credentials of those who read from it before.
async fn open(name: &str, options: S3Options) -> Result<Bucket> {
    static OPENED: LazyLock<Mutex<HashMap<(String, S3Options), Bucket>>> = LazyLock::new(Mutex::default);
    let key = (name.to_owned(), options);
    let known = OPENED.lock().get(&key).cloned();
    match known {
        Some(bucket) => Ok(bucket),
        None => {
            let bucket = Bucket::open(&key.0, &key.1).await.map_err(told)?;
            OPENED.lock().insert(key, bucket.clone());
            Ok(bucket)
        }
    }
}

async fn matching(bucket: &Bucket, pattern: &str, wildcard: usize, span: &Span) -> Result<Vec<BucketObject>> {
    // The part before the first wildcard, up to the last slash in it: only what is below it is listed.
    let folder = pattern[..wildcard].rfind('/').map_or("", |slash| &pattern[..slash]);
    let glob = globset::GlobBuilder::new(pattern).literal_separator(true).build().map_err(|e| {
        let message = format!("`{pattern}` is not a pattern: {}", e.kind());
        Diagnostic::error(codes::NO_FILE, message).at(span.clone(), "")
    })?;
    let glob = glob.compile_matcher();
    let hidden = |key: &str| key[folder.len()..].split('/').any(|part| part.starts_with('.'));
    let mut objects = bucket.list(folder).await.map_err(told)?;
    objects.retain(|object| glob.is_match(&object.key) && !hidden(&object.key));
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(objects)
}

fn source_file(bucket: &Bucket, object: BucketObject) -> SourceFile {
    let name = format!("s3://{}/{}", bucket.name(), object.key);
    let modified_us = object.etag.as_deref().map_or(object.modified.micros(), version_of);
    let size_bytes = object.size_bytes;
    let remote = S3Object { bucket: bucket.clone(), object };
    SourceFile { place: Place::Remote(Arc::new(remote)), name: name.into(), size_bytes, modified_us }
}

fn told(error: StoreError) -> IngestError {
    unread(&error).into()
}

fn unread(error: &StoreError) -> Unread {
    let transient = matches!(error, StoreError::Io { transient: true, .. });
    Unread { message: error.to_string(), transient }
}

/// An object as it was when it was found.
#[derive(Debug)]
struct S3Object {
    bucket: Bucket,
    object: BucketObject,
}

#[async_trait]
impl Remote for S3Object {
    async fn read(&self, start: u64, end: Option<u64>) -> Result<Bytestream, Unread> {
        Ok(self.bucket.read(&self.object, start, end).map_err(|e| unread(&e)).boxed())
    }
}
