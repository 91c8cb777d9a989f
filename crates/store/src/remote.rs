//! Files of other machines that are read by their addresses, as stores of objects.

use std::sync::Arc;

use object_store::http::HttpBuilder;
use object_store::{ObjectStore, RetryConfig};

use crate::s3::{Bucket, S3Location, S3Options, as_slow_as_read};
use crate::{Result, StoreError};

/// Somebody waits for the answer of a web server.
const MOST_RETRIES: usize = 3;

/// The store that an address is of, and the beginning of the address by which it is known: `s3://bucket`,
/// `https://host:port`. `None`: the address is none of another machine.
///
/// # Errors
/// An address that is malformed, options that do not go together.
pub async fn remote_store(address: &str, options: &S3Options) -> Result<Option<(String, Arc<dyn ObjectStore>)>> {
    if address.starts_with("s3://") {
        let bucket = S3Location::parse(address)?.bucket;
        let store = Bucket::object_store(&bucket, options).await?;
        return Ok(Some((format!("s3://{bucket}"), store)));
    }
    let Some((scheme, rest)) = address.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
    else {
        return Ok(None);
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let root = format!("{scheme}://{host}");
    let client = as_slow_as_read(options);
    let retry = RetryConfig { max_retries: MOST_RETRIES, retry_timeout: options.retry_for, ..RetryConfig::default() };
    let builder = HttpBuilder::new().with_url(&root).with_client_options(client).with_retry(retry);
    let store = builder.build().map_err(|e| StoreError::Io {
        doing: format!("reading the address `{scheme}://{}`", host.rsplit('@').next().unwrap_or_default()),
        detail: e.to_string(),
        transient: false,
    })?;
    Ok(Some((root, Arc::new(store))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stores_are_known_by_where_addresses_begin() {
        let root = async |address: &str| {
            let found = remote_store(address, &S3Options { anonymous: true, ..S3Options::default() }).await;
            found.map(|found| found.map(|(root, _)| root))
        };
        assert_eq!(root("s3://lake/a/*.csv").await.unwrap().as_deref(), Some("s3://lake"));
        assert_eq!(root("https://host:8443/a/b.csv?x=1").await.unwrap().as_deref(), Some("https://host:8443"));
        assert_eq!(root("data/a.csv").await.unwrap(), None);
        assert!(root("s3://").await.is_err());
    }
}
