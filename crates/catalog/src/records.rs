//! Records of the state store as JSON.

use bytes::Bytes;
use polder_store::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{CatalogError, Result};

pub(crate) fn encode_record<T: Serialize>(record: &T) -> Result<Bytes> {
    let bytes = serde_json::to_vec(record);
    bytes.map(Bytes::from).map_err(|e| CatalogError::Invalid(format!("a record does not become JSON: {e}")))
}

pub(crate) fn decode_record<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|e| StoreError::Corrupt { path: format!("record {what}"), detail: e.to_string() }.into())
}
