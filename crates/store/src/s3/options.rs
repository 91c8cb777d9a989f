//! Where a bucket is, and how it is reached.

use std::fmt;
use std::time::Duration;

use crate::{Result, StoreError};

/// How long one request may take, with all of its bytes.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request is tried again.
const RETRY_FOR: Duration = Duration::from_secs(120);

/// How a store is reached. What is not set comes from where AWS's own tools look for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct S3Options {
    /// The URL of a store that is not Amazon's: `https://minio.example:9000`.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// `https://host/bucket/key` rather than `https://bucket.host/key`. Unless set, so where there is an endpoint.
    pub path_style: Option<bool>,
    /// Without encryption, beyond this machine too.
    pub allow_http: bool,
    /// The profile of `~/.aws/config` that credentials and region are taken from.
    pub profile: Option<String>,
    /// An access key and its secret, in the place of the chain that AWS's tools go through.
    pub access_key: Option<(String, Secret)>,
    /// Requests are not signed: for buckets that are open to all.
    pub anonymous: bool,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long a request that failed is tried again, further and further apart.
    pub retry_for: Duration,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            path_style: None,
            allow_http: false,
            profile: None,
            access_key: None,
            anonymous: false,
            timeout: TIMEOUT,
            retry_for: RETRY_FOR,
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A place in a bucket: `s3://bucket/some/prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Location {
    pub bucket: String,
    /// Without slashes around it; empty for the bucket itself.
    pub path: String,
}

impl S3Location {
    /// # Errors
    /// What is no such URL.
    pub fn parse(url: &str) -> Result<Self> {
        let wrong = |detail: &str| StoreError::Io {
            doing: format!("reading the address `{url}`"),
            detail: detail.to_owned(),
            transient: false,
        };
        let rest = url
            .strip_prefix("s3://")
            .or_else(|| url.strip_prefix("s3a://"))
            .ok_or_else(|| wrong("it does not begin with `s3://`"))?;
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bucket.is_empty() || !bucket.chars().all(plain) {
            return Err(wrong("a bucket's name is made of letters, digits, `.` and `-`"));
        }
        Ok(Self { bucket: bucket.to_owned(), path: path.trim_matches('/').to_owned() })
    }
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, "/{}", self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let location = S3Location::parse("s3://lake/shop/dev/").unwrap();
        assert_eq!((location.bucket.as_str(), location.path.as_str()), ("lake", "shop/dev"));
        assert_eq!(location.to_string(), "s3://lake/shop/dev");
        assert_eq!(S3Location::parse("s3://lake").unwrap().to_string(), "s3://lake");
        for wrong in ["https://lake/x", "s3:///x", "s3://a b/x", "s3://user:secret@host/x"] {
            assert!(S3Location::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let options = S3Options { access_key: Some(("AKIA".into(), Secret("hush".into()))), ..S3Options::default() };
        assert!(!format!("{options:?}").contains("hush"));
    }
}
