//! Which manifests a commit merges.
//!
//! Manifests are merged with others of about their own size (a power of the merge count), as in a log-structured merge
//! tree: the list stays short (a few dozens for a hundred thousand files), and a file is listed anew only a few times
//! in its life. So the bytes that a commit writes do not grow with the number of commits before it.

use std::collections::BTreeMap;

use crate::property::MergePolicy;
use crate::spec::{ManifestContentType, ManifestFile};

/// Groups of manifests to merge into one each, as indices into `manifests`.
pub(crate) fn groups(manifests: &[ManifestFile], policy: MergePolicy) -> Vec<Vec<usize>> {
    let mut tiers: BTreeMap<(i32, u32), Vec<usize>> = BTreeMap::new();
    for (index, manifest) in manifests.iter().enumerate() {
        let small = bytes(manifest) < policy.target_bytes;
        if manifest.content == ManifestContentType::Data && small {
            tiers.entry((manifest.partition_spec_id, tier(manifest, policy.count))).or_default().push(index);
        }
    }
    tiers
        .into_values()
        .filter(|tier| tier.len() >= policy.count)
        .flat_map(|tier| split(&tier, manifests, policy.target_bytes))
        .filter(|group| group.len() > 1)
        .collect()
}

/// How many files a manifest lists, as a logarithm.
fn tier(manifest: &ManifestFile, base: usize) -> u32 {
    let files = manifest.added_files_count.unwrap_or(0) as usize + manifest.existing_files_count.unwrap_or(0) as usize;
    files.max(1).ilog(base)
}

/// Cuts a tier so that no merged manifest is much larger than the target.
fn split(tier: &[usize], manifests: &[ManifestFile], target_bytes: u64) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut size = u64::MAX;
    for &index in tier {
        let bytes = bytes(&manifests[index]);
        match groups.last_mut() {
            Some(group) if size.saturating_add(bytes) <= target_bytes => {
                group.push(index);
                size += bytes;
            }
            _ => {
                groups.push(vec![index]);
                size = bytes;
            }
        }
    }
    groups
}

fn bytes(manifest: &ManifestFile) -> u64 {
    u64::try_from(manifest.manifest_length).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(files: u32, bytes: i64, spec: i32) -> ManifestFile {
        ManifestFile {
            manifest_path: String::new(),
            manifest_length: bytes,
            partition_spec_id: spec,
            content: ManifestContentType::Data,
            sequence_number: 1,
            min_sequence_number: 1,
            added_snapshot_id: 1,
            added_files_count: Some(files),
            existing_files_count: Some(0),
            deleted_files_count: Some(0),
            added_rows_count: Some(0),
            existing_rows_count: Some(0),
            deleted_rows_count: Some(0),
            partitions: None,
            key_metadata: None,
            first_row_id: None,
        }
    }

    #[test]
    fn equals_are_merged_with_equals() {
        let policy = MergePolicy { count: 4, target_bytes: 1000 };
        let mut manifests = vec![manifest(1, 10, 0), manifest(3, 10, 0), manifest(20, 10, 0), manifest(2, 10, 0)];
        assert!(groups(&manifests, policy).is_empty());
        manifests.push(manifest(1, 10, 1));
        assert!(groups(&manifests, policy).is_empty(), "another partition spec");
        manifests.push(manifest(1, 10, 0));
        assert_eq!(groups(&manifests, policy), [vec![0, 1, 3, 5]]);
    }

    #[test]
    fn a_merged_manifest_keeps_to_its_size() {
        let policy = MergePolicy { count: 4, target_bytes: 1000 };
        let manifests = [400, 400, 400, 400, 400, 2000].map(|bytes| manifest(1, bytes, 0));
        assert_eq!(groups(&manifests, policy), [vec![0, 1], vec![2, 3]]);
    }
}
