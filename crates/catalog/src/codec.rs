//! Objects as bytes: a kind byte, a format byte, CBOR with numbered fields; named by the BLAKE3 hash over all of it.

use std::fmt;

use minicbor::{Decode, Encode};
use polder_base::TableName;
use polder_store::StoreError;

use crate::tree::{Key, Node};
use crate::{CatalogError, Commit, CommitId, EntryKey, Result};

/// The format that this version writes. Readers skip field numbers they do not know, so a new one means that old
/// readers would misunderstand.
const FORMAT: u8 = 1;

/// The name of an object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hash([u8; 32]);

impl Hash {
    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    pub(crate) fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// # Errors
    /// Anything but 64 lower-case hexadecimal digits.
    pub(crate) fn parse(hex: &str) -> Result<Self> {
        match blake3::Hash::from_hex(hex) {
            Ok(hash) if hash.to_hex().as_str() == hex => Ok(Self(*hash.as_bytes())),
            _ => Err(corrupt(hex, "it is no object's name")),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex()[..12])
    }
}

impl From<Hash> for CommitId {
    fn from(hash: Hash) -> Self {
        Self(hash.to_hex())
    }
}

impl TryFrom<&CommitId> for Hash {
    type Error = CatalogError;

    fn try_from(id: &CommitId) -> Result<Self> {
        Self::parse(&id.0).map_err(|_| CatalogError::UnknownCommit { commit: id.0.clone() })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Commit = 1,
    Leaf = 2,
    Inner = 3,
}

impl Kind {
    /// What an object's bytes are, by their first one.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? {
            1 => Some(Self::Commit),
            2 => Some(Self::Leaf),
            3 => Some(Self::Inner),
            _ => None,
        }
    }
}

/// A decoded object.
#[derive(Debug, Clone)]
pub(crate) enum Object {
    Commit(std::sync::Arc<Commit>),
    Node(std::sync::Arc<Node>),
}

pub(crate) fn encode<T: Encode<()>>(kind: Kind, body: &T) -> (Hash, Vec<u8>) {
    let mut bytes = vec![kind as u8, FORMAT];
    // Writing to a Vec cannot fail, and none of our types' own encoders does.
    let written = minicbor::encode(body, &mut bytes);
    debug_assert!(written.is_ok(), "encoding to memory failed");
    (Hash::of(&bytes), bytes)
}

/// Decodes an object and verifies that it is the one called `name`.
pub(crate) fn decode(name: &Hash, bytes: &[u8]) -> Result<Object> {
    if Hash::of(bytes) != *name {
        return Err(corrupt(&name.to_hex(), "its content does not match its name"));
    }
    let kind = Kind::of(bytes).ok_or_else(|| corrupt(&name.to_hex(), "it is of no known kind"))?;
    let (format, body) = match bytes {
        [_, format, body @ ..] => (*format, body),
        _ => return Err(corrupt(&name.to_hex(), "it is cut short")),
    };
    if format > FORMAT {
        return Err(StoreError::TooNew {
            path: format!("object {name}"),
            found: u32::from(format),
            known: u32::from(FORMAT),
        }
        .into());
    }
    let object = match kind {
        Kind::Commit => Object::Commit(std::sync::Arc::new(decode_body(name, body)?)),
        Kind::Leaf | Kind::Inner => {
            let node = Node::from_body(kind, body).map_err(|e| corrupt(&name.to_hex(), &e.to_string()))?;
            Object::Node(std::sync::Arc::new(node))
        }
    };
    Ok(object)
}

fn decode_body<'b, T: Decode<'b, ()>>(name: &Hash, body: &'b [u8]) -> Result<T> {
    minicbor::decode(body).map_err(|e| corrupt(&name.to_hex(), &e.to_string()))
}

pub(crate) fn corrupt(object: &str, detail: &str) -> CatalogError {
    StoreError::Corrupt { path: format!("object {object}"), detail: detail.to_owned() }.into()
}

/// The bytes of a tree's key: `r` namespace NUL name, or `c` cursor.
pub(crate) fn encode_key(key: &EntryKey) -> Key {
    match key {
        EntryKey::Relation(name) => {
            let mut bytes = Vec::with_capacity(name.namespace.len() + name.name.len() + 2);
            bytes.push(b'r');
            bytes.extend_from_slice(name.namespace.as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(name.name.as_bytes());
            bytes.into()
        }
        EntryKey::Cursor(name) => [b"c", name.as_bytes()].concat().into(),
    }
}

pub(crate) fn decode_key(bytes: &[u8]) -> Result<EntryKey> {
    let text = std::str::from_utf8(bytes).map_err(|_| corrupt("key", "it is not UTF-8"))?;
    if let Some(cursor) = text.strip_prefix('c') {
        return Ok(EntryKey::Cursor(cursor.to_owned()));
    }
    text.strip_prefix('r')
        .and_then(|rest| rest.split_once('\0'))
        .map(|(namespace, name)| EntryKey::Relation(TableName::new(namespace, name)))
        .ok_or_else(|| corrupt("key", &format!("`{}` names nothing", text.escape_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_and_keep_their_order() {
        let keys = [
            EntryKey::Cursor("shop.orders".into()),
            EntryKey::Relation(TableName::new("a", "z")),
            EntryKey::Relation(TableName::new("a.b", "a")),
            EntryKey::Relation(TableName::new("ab", "a")),
        ];
        let bytes: Vec<Key> = keys.iter().map(encode_key).collect();
        assert!(bytes.is_sorted());
        for (key, bytes) in keys.iter().zip(&bytes) {
            assert_eq!(decode_key(bytes).unwrap(), *key);
        }
        assert!(decode_key(b"x").is_err());
        assert!(decode_key(b"rno-nul").is_err());
    }

    #[test]
    fn an_object_that_was_changed_is_refused() {
        let commit = Commit {
            tree: Hash::of(b"t").to_hex(),
            parents: vec![],
            author: crate::Author { principal: "me".into() },
            time: 1,
            message: "m".into(),
            run: None,
            operations: vec![],
            rebased_from: None,
            accepted: None,
        };
        let (name, mut bytes) = encode(Kind::Commit, &commit);
        assert!(matches!(decode(&name, &bytes), Ok(Object::Commit(c)) if *c == commit));
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        assert!(decode(&name, &bytes).is_err());
    }

    #[test]
    fn a_newer_format_is_named_as_such() {
        let bytes = [Kind::Commit as u8, FORMAT + 1, 0x80];
        let err = decode(&Hash::of(&bytes), &bytes).unwrap_err();
        assert!(matches!(err, CatalogError::Store(StoreError::TooNew { found: 2, .. })), "{err}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_reading_panic(kind in 0u8..5, rest in proptest::collection::vec(0u8.., 0..200)) {
            let bytes = [&[kind, FORMAT], rest.as_slice()].concat();
            let _ = decode(&Hash::of(&bytes), &bytes);
            let _ = decode_key(&rest);
            let _ = crate::bundle::Bundle::decode("x", &rest);
        }
    }

    /// A commit as it was written before commits had a reason keeps its name, and is read.
    #[test]
    fn a_commit_without_the_newest_fields_is_read_as_it_was() {
        #[derive(Encode)]
        struct Before {
            #[n(0)]
            tree: String,
            #[n(1)]
            parents: Vec<String>,
            #[n(2)]
            author: crate::Author,
            #[n(3)]
            time: i64,
            #[n(4)]
            message: String,
            #[n(5)]
            run: Option<u64>,
            #[n(6)]
            operations: Vec<crate::TableOperation>,
            #[n(7)]
            rebased_from: Option<String>,
        }
        let author = crate::Author { principal: "me".into() };
        let (tree, message) = (Hash::of(b"t").to_hex(), "m".to_owned());
        let before = Before {
            tree: tree.clone(),
            parents: vec![],
            author: author.clone(),
            time: 1,
            message: message.clone(),
            run: Some(3),
            operations: vec![],
            rebased_from: Some("r".into()),
        };
        let (name, bytes) = encode(Kind::Commit, &before);
        let Ok(Object::Commit(commit)) = decode(&name, &bytes) else { panic!("not read") };
        assert_eq!((commit.run, commit.rebased_from.as_deref(), &commit.accepted), (Some(3), Some("r"), &None));
        assert_eq!(encode(Kind::Commit, &*commit).0, name, "and is the same when it is written again");
        let accepted = crate::Accepted { reason: "known".into(), checks: vec!["gold.t: unique id".into()] };
        let now = Commit { accepted: Some(accepted), ..Commit::clone(&commit) };
        let (name, bytes) = encode(Kind::Commit, &now);
        assert!(matches!(decode(&name, &bytes), Ok(Object::Commit(c)) if *c == now));
    }

    #[test]
    fn unknown_fields_are_skipped() {
        #[derive(Encode)]
        struct Future {
            #[n(0)]
            principal: String,
            #[n(1)]
            more: u64,
        }
        let bytes = minicbor::to_vec(Future { principal: "me".into(), more: 7 }).unwrap();
        let author: crate::Author = minicbor::decode(&bytes).unwrap();
        assert_eq!(author.principal, "me");
    }
}
