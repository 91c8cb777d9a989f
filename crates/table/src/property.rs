//! Table properties that the commit producer goes by.

use std::collections::HashMap;
use std::str::FromStr;

/// Only Polder deletes files: engines that load a table leave them alone.
pub(crate) const GC_ENABLED: &str = "gc.enabled";

/// Snapshots that a metadata file keeps, counted back from the current one. Older ones stay reachable through the
/// catalog's history; in here each costs about a kilobyte in every metadata file that is written.
const SNAPSHOTS_MAX: (&str, usize) = ("polder.snapshots-max", 32);

/// Entries of the metadata log.
const METADATA_LOG_MAX: (&str, usize) = ("write.metadata.previous-versions-max", 32);

/// As many manifests of about one size are merged into one.
const MERGE_COUNT: (&str, usize) = ("commit.manifest.min-count-to-merge", 16);

/// A manifest of this size is never merged again.
const MANIFEST_TARGET_BYTES: (&str, u64) = ("commit.manifest.target-size-bytes", 8 * 1024 * 1024);

const MERGE_ENABLED: (&str, bool) = ("commit.manifest-merge.enabled", true);

/// What to merge when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MergePolicy {
    /// At least 2.
    pub count: usize,
    pub target_bytes: u64,
}

/// `None`: manifests are not merged.
pub(crate) fn merge_policy(properties: &HashMap<String, String>) -> Option<MergePolicy> {
    get(properties, MERGE_ENABLED).then(|| MergePolicy {
        count: get(properties, MERGE_COUNT).max(2),
        target_bytes: get(properties, MANIFEST_TARGET_BYTES),
    })
}

pub(crate) fn snapshots_max(properties: &HashMap<String, String>) -> usize {
    get(properties, SNAPSHOTS_MAX).max(1)
}

pub(crate) fn metadata_log_max(properties: &HashMap<String, String>) -> usize {
    get(properties, METADATA_LOG_MAX).max(1)
}

/// A property's value, or its default where it is missing or no such value: a table that somebody gave an odd property
/// must still take commits.
fn get<T: FromStr + Copy>(properties: &HashMap<String, String>, (key, default): (&str, T)) -> T {
    properties.get(key).and_then(|value| value.parse().ok()).unwrap_or(default)
}
