//! Bundles: what a move of a ref makes new, written to the warehouse before the ref moves.
//!
//! The state store can be lost; tables and bundles together hold all that it knew about refs. A bundle holds the
//! objects of its new commit that a reader of the ref's earlier bundles, and of `main`'s, does not have.

use std::collections::BTreeMap;

use bytes::Bytes;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use polder_store::StoreError;

use crate::codec::Hash;
use crate::guard::Guard;
use crate::objects::Stage;
use crate::refs::RefRecord;
use crate::tree::new_nodes;
use crate::{Catalog, CatalogError, CommitId, MAIN, Result};

pub(crate) const FOLDER: &str = "_polder/bundles";
const LEVEL: i32 = 3;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Bundle {
    #[n(0)]
    pub(crate) name: String,
    /// The commit that the ref named before; none for a new ref.
    #[n(1)]
    pub(crate) old: Option<String>,
    /// The commit that it names afterwards; none when it was deleted.
    #[n(2)]
    pub(crate) new: Option<String>,
    #[n(3)]
    pub(crate) epoch: u64,
    /// Microseconds since the epoch.
    #[n(4)]
    pub(crate) time: i64,
    /// Bytes of objects.
    #[n(5)]
    pub(crate) objects: Vec<ByteVec>,
    /// The ref's record, as JSON.
    #[n(6)]
    pub(crate) record: Option<ByteVec>,
    /// Of a pack, which stands for all bundles from this epoch on up to its own.
    #[n(7)]
    pub(crate) since: Option<u64>,
    /// The collection of garbage that its writer knew of. A later collection deletes bundles of moves that did not take
    /// place; whoever tries such a move again must not find the old file and believe it.
    #[n(8)]
    pub(crate) collection: Option<u64>,
}

/// What a bundle's path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BundleFile {
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) epoch: u64,
    pub(crate) size_bytes: u64,
}

impl BundleFile {
    /// `None` for a file that is no bundle.
    pub(crate) fn parse(info: &polder_store::ObjectInfo) -> Option<Self> {
        let (name, file) = info.path.strip_prefix(FOLDER)?.strip_prefix('/')?.rsplit_once('/')?;
        let stem = file.strip_suffix(".bundle").or_else(|| file.strip_suffix(".pack"))?;
        let (epoch, _) = stem.split_once('-')?;
        let epoch = epoch.parse().ok().filter(|_| epoch.len() == 20)?;
        Some(Self { path: info.path.clone(), name: name.to_owned(), epoch, size_bytes: info.size_bytes })
    }
}

impl Bundle {
    pub(crate) fn path(&self) -> String {
        let commit = self.new.as_deref().and_then(|hex| hex.get(..12)).unwrap_or("deleted");
        let extension = if self.since.is_some() { "pack" } else { "bundle" };
        let collection = self.collection.unwrap_or_default();
        format!("{FOLDER}/{}/{:020}-{commit}-{collection}.{extension}", self.name, self.epoch)
    }

    pub(crate) fn encode(&self) -> Result<Bytes> {
        let plain =
            minicbor::to_vec(self).map_err(|e| CatalogError::Invalid(format!("a bundle does not encode: {e}")))?;
        let packed = zstd::bulk::compress(&plain, LEVEL).map_err(|e| damaged(&self.path(), &e.to_string()))?;
        Ok(packed.into())
    }

    pub(crate) fn decode(path: &str, bytes: &[u8]) -> Result<Self> {
        let plain = zstd::stream::decode_all(bytes).map_err(|e| damaged(path, &e.to_string()))?;
        minicbor::decode(&plain).map_err(|e| damaged(path, &e.to_string()))
    }
}

fn damaged(path: &str, detail: &str) -> CatalogError {
    StoreError::Corrupt { path: path.to_owned(), detail: detail.to_owned() }.into()
}

impl Catalog {
    /// Writes the bundle of a ref's move; it is durable when this returns. Gives its path when the file is ours: `None`
    /// when another process had written the same before.
    pub(crate) async fn write_bundle(
        &self,
        guard: &Guard,
        name: &str,
        old: Option<&CommitId>,
        new: Option<(&RefRecord, Bytes)>,
        epoch: u64,
        objects: Vec<Bytes>,
    ) -> Result<Option<String>> {
        let bundle = Bundle {
            name: name.to_owned(),
            old: old.map(|id| id.0.clone()),
            new: new.as_ref().map(|(record, _)| record.commit.0.clone()),
            epoch,
            time: self.system().now().micros(),
            objects: objects.into_iter().map(|bytes| ByteVec::from(bytes.to_vec())).collect(),
            record: new.map(|(_, raw)| ByteVec::from(raw.to_vec())),
            since: None,
            collection: Some(guard.record.epoch),
        };
        self.put_bundle(&bundle).await
    }

    pub(crate) async fn put_bundle(&self, bundle: &Bundle) -> Result<Option<String>> {
        let path = bundle.path();
        let storage = self.tables().warehouse().storage();
        match storage.put(&path, bundle.encode()?).await {
            Err(StoreError::Exists { .. }) => {
                // Somebody wanted this very move of the ref before, and crashed or lost. The same commit has the same
                // objects; another one of the same first digits must not hide behind it.
                let found = Bundle::decode(&path, &storage.get(&path).await?)?;
                if found.new == bundle.new && found.old == bundle.old {
                    Ok(None)
                } else {
                    Err(StoreError::Exists { path }.into())
                }
            }
            other => Ok(other.map(|()| Some(path))?),
        }
    }

    pub(crate) async fn read_bundle(&self, path: &str) -> Result<Bundle> {
        Bundle::decode(path, &self.tables().warehouse().storage().get(path).await?)
    }

    /// All files of bundles and packs, by ref.
    pub(crate) async fn bundle_files(&self) -> Result<BTreeMap<String, Vec<BundleFile>>> {
        let mut files: BTreeMap<String, Vec<BundleFile>> = BTreeMap::new();
        for file in self.tables().warehouse().storage().list(FOLDER).await?.iter().filter_map(BundleFile::parse) {
            files.entry(file.name.clone()).or_default().push(file);
        }
        for files in files.values_mut() {
            files.sort_by(|a, b| (a.epoch, &a.path).cmp(&(b.epoch, &b.path)));
        }
        Ok(files)
    }

    /// The objects that a bundle needs for `new` when its readers know `old`.
    pub(crate) async fn objects_beyond(&self, stage: &Stage<'_>, old: Option<&Hash>, new: &Hash) -> Result<Vec<Bytes>> {
        let commit = stage.commit(new).await?;
        let tree = Hash::parse(&commit.tree)?;
        let known = match old {
            Some(old) => Some(Hash::parse(&stage.commit(old).await?.tree)?),
            None => None,
        };
        let mut objects = Vec::new();
        if old != Some(new) {
            objects.push(stage.bytes_of(new).await?);
        }
        for name in new_nodes(stage, known.as_ref(), &tree).await? {
            objects.push(stage.bytes_of(&name).await?);
        }
        Ok(objects)
    }

    pub(crate) async fn objects_beyond_main(&self, stage: &Stage<'_>, new: &Hash) -> Result<Vec<Bytes>> {
        let main = self.head(MAIN).await?.hash()?;
        self.objects_beyond(stage, Some(&main), new).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_reads_back() {
        let bundle = Bundle {
            name: "run/12".into(),
            old: None,
            new: Some("ab".repeat(32)),
            epoch: 7,
            time: 1,
            objects: vec![ByteVec::from(vec![1, 1, 0x80])],
            record: None,
            since: None,
            collection: Some(3),
        };
        let path = "_polder/bundles/run/12/00000000000000000007-abababababab-3.bundle";
        assert_eq!(bundle.path(), path);
        let info = polder_store::ObjectInfo { path: path.into(), size_bytes: 9, modified: polder_base::Timestamp(0) };
        let file = BundleFile::parse(&info).unwrap();
        assert_eq!((file.name.as_str(), file.epoch), ("run/12", 7));
        let bytes = bundle.encode().unwrap();
        assert_eq!(Bundle::decode("x", &bytes).unwrap(), bundle);
        assert!(Bundle::decode("x", &bytes[..bytes.len() - 4]).is_err());
    }
}
