//! `warehouse:` and `s3:`, in `polder.yaml`, in an environment, and in a source of files.

use polder_diag::{Diagnostic, Span};

use crate::codes;
use crate::resource::{Hidden, S3Settings};
use crate::units::parse_duration_seconds;
use crate::yaml::{At, Problems, raw};

/// The word for a warehouse below `home`.
const LOCAL: &str = "local";
/// A request may not take longer than this, nor be tried again for longer: credentials are as of its beginning.
const LONGEST_SECONDS: u64 = 300;

raw! {
    /// How object storage is reached, where that is not as AWS's own tools find it out.
    S3Yaml {
        /// URL of a store that is not Amazon's, such as `https://minio.example:9000`.
        endpoint: Option<At<String>>,
        /// The region. Default: that of the environment (`AWS_REGION`) or of the profile, else `us-east-1`.
        region: Option<At<String>>,
        /// `true`: `https://host/bucket/key`, `false`: `https://bucket.host/key`. Default: `true` where there is an
        /// `endpoint`.
        path_style: Option<At<bool>>,
        /// Whether an `endpoint` beyond this machine may be without encryption (`http://`). Default: false.
        allow_http: Option<At<bool>>,
        /// A profile of `~/.aws/config` to take credentials from.
        profile: Option<At<String>>,
        /// An access key, in the place of AWS's own chain of credentials: `${env:MINIO_KEY}`.
        access_key_id: Option<At<String>>,
        /// The secret of `access_key_id`: `${env:MINIO_SECRET}`.
        secret_access_key: Option<At<String>>,
        /// For a bucket that is open to all: requests are not signed. Default: false.
        anonymous: Option<At<bool>>,
        /// How long one request may take, such as `60s`; at most `5m`. Default: 60 seconds.
        timeout: Option<At<String>>,
        /// How long a request that fails is tried again, such as `2m`; at most `5m`. Default: 2 minutes.
        retry_for: Option<At<String>>,
    }
}

/// The `s3://` address of the warehouse; `None` for the one on disk.
pub(crate) fn warehouse(raw: &At<String>, problems: &mut Problems<'_>) -> Option<String> {
    let address = raw.value.trim();
    // What could not be put in has been told already.
    if address == LOCAL || address.contains("${") {
        return None;
    }
    let bucket = address.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
    if bucket.is_some_and(|bucket| !bucket.is_empty() && !bucket.contains(['@', ':', ' ', '?'])) {
        return Some(address.trim_end_matches('/').to_owned());
    }
    let diagnostic =
        Diagnostic::error(codes::VALUE, "`warehouse` is an address such as `s3://bucket/prefix`, or `local`")
            .at(raw.span.clone(), "")
            .hint("a warehouse on disk is in the folder that `home` names");
    problems.push(diagnostic);
    None
}

pub(crate) fn resolve(raw: S3Yaml, problems: &mut Problems<'_>) -> S3Settings {
    let mut wrong = |span: &Span, message: &str, hint: &str| {
        problems.push(Diagnostic::error(codes::VALUE, message).at(span.clone(), "").hint(hint));
    };
    let mut seconds = |given: Option<At<String>>, key: &str| {
        let given = given?;
        let seconds = parse_duration_seconds(&given.value).filter(|s| (1..=LONGEST_SECONDS).contains(s));
        if seconds.is_none() {
            wrong(&given.span, &format!("`{key}` is a duration from `1s` to `5m`"), "such as `60s`");
        }
        seconds
    };
    let (timeout_seconds, retry_seconds) = (seconds(raw.timeout, "timeout"), seconds(raw.retry_for, "retry_for"));
    let access_key = match (raw.access_key_id, raw.secret_access_key) {
        (Some(id), Some(secret)) => Some((id.value, Hidden(secret.value))),
        (Some(At { span, .. }), None) | (None, Some(At { span, .. })) => {
            wrong(&span, "`access_key_id` and `secret_access_key` go together", "give both, or none of them");
            None
        }
        (None, None) => None,
    };
    if let Some(endpoint) = &raw.endpoint {
        check_endpoint(endpoint, raw.allow_http.as_ref().is_some_and(|allow| allow.value), &mut wrong);
    }
    S3Settings {
        endpoint: raw.endpoint.map(|e| e.value),
        region: raw.region.map(|r| r.value),
        path_style: raw.path_style.map(|p| p.value),
        allow_http: raw.allow_http.is_some_and(|a| a.value),
        profile: raw.profile.map(|p| p.value),
        access_key,
        anonymous: raw.anonymous.is_some_and(|a| a.value),
        timeout_seconds,
        retry_seconds,
    }
}

fn check_endpoint(endpoint: &At<String>, allow_http: bool, wrong: &mut dyn FnMut(&Span, &str, &str)) {
    let url = endpoint.value.as_str();
    if url.contains("${") {
        return;
    }
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let Some(host) = host.map(|h| h.trim_end_matches('/')).filter(|h| !h.is_empty() && !h.contains(['/', '@', '?']))
    else {
        let message = "`endpoint` is the URL of a store, with nothing behind its host and port";
        return wrong(&endpoint.span, message, "such as `https://minio.example:9000`");
    };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let near = name == "localhost" || name.starts_with("127.") || name == "[::1]";
    if url.starts_with("http://") && !near && !allow_http {
        wrong(
            &endpoint.span,
            "`endpoint` is not encrypted",
            "use `https://`, or add `allow_http: true` if that is meant",
        );
    }
}
