//! What a store's refusals mean.

use std::error::Error as StdError;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::credentials::NoCredentials;
use crate::StoreError;

/// Why a request failed, cut by what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is an object of that name, or somebody is writing it.
    Exists,
    /// There is no such object.
    Missing,
    /// The store will not, and did not do anything.
    Refused,
    /// The store may have done what it was asked for, and its answer was lost.
    Unclear,
}

/// What went wrong, as the store said it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer<'e> {
    /// The HTTP status.
    status: Option<u16>,
    /// What the store calls it: `SlowDown`, `AccessDenied`.
    code: Option<&'e str>,
    message: Option<&'e str>,
    retries: Option<&'e str>,
}

impl<'e> Answer<'e> {
    /// Takes apart what `object_store` writes: of a failed request it tells nothing but this text.
    fn read(text: &'e str) -> Self {
        let after = |mark: &str| text.find(mark).and_then(|at| text.get(at + mark.len()..));
        let element = |open: &str, close: &str| after(open).and_then(|rest| rest.split(close).next());
        let digits = |rest: &'e str| rest.split(|c: char| !c.is_ascii_digit()).next().filter(|d| !d.is_empty());
        Self {
            status: after("status code: ").and_then(digits).and_then(|status| status.parse().ok()),
            code: element("<Code>", "</Code>"),
            message: element("<Message>", "</Message>").filter(|message| !message.is_empty()),
            retries: after(", after ").and_then(digits).filter(|retries| *retries != "0"),
        }
    }
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => Self::Exists,
            Error::NotFound { .. } if has_bucket(error) => Self::Missing,
            Error::NotFound { .. }
            | Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::InvalidPath { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. } => Self::Refused,
            error if in_chain::<NoCredentials>(error).is_some() => Self::Refused,
            error => match Answer::read(&error.to_string()).status {
                Some(400..=499 | 501) => Self::Refused,
                _ => Self::Unclear,
            },
        }
    }
}

/// No answer came at all. (Those that say that the store is busy have been waited for already.)
pub(super) fn is_unanswered(error: &Error) -> bool {
    Answer::read(&error.to_string()).status.is_none()
}

fn has_bucket(error: &Error) -> bool {
    Answer::read(&error.to_string()).code != Some("NoSuchBucket")
}

/// The error of a request. `place`: the bucket or object as its URL, `path`: as the warehouse knows it.
pub(super) fn store_error(doing: &str, place: &str, path: &str, error: &Error) -> StoreError {
    let text = error.to_string();
    let answer = Answer::read(&text);
    match Failure::of(error) {
        Failure::Missing => return StoreError::NotFound { path: path.to_owned() },
        Failure::Exists => return StoreError::Exists { path: path.to_owned() },
        Failure::Refused | Failure::Unclear => {}
    }
    if answer.status == Some(507) || matches!(answer.code, Some("QuotaExceeded" | "XMinioStorageFull")) {
        return StoreError::NoSpace { path: place.to_owned() };
    }
    StoreError::Io {
        doing: format!("{doing} {place}"),
        detail: detail(error, &text, &answer),
        transient: is_transient(error, &answer),
    }
}

fn is_transient(error: &Error, answer: &Answer<'_>) -> bool {
    if let Some(missing) = in_chain::<NoCredentials>(error) {
        return missing.transient;
    }
    match answer.status {
        Some(501) => false,
        Some(408 | 429 | 500..=599) => true,
        // New credentials are fetched for the next request.
        Some(_) => matches!(answer.code, Some("ExpiredToken" | "RequestTimeout")),
        None => in_chain::<HttpError>(error).is_some_and(|e| e.kind() != HttpErrorKind::Unknown),
    }
}

fn detail(error: &Error, text: &str, answer: &Answer<'_>) -> String {
    let mut detail = if let Some(missing) = in_chain::<NoCredentials>(error) {
        missing.message.clone()
    } else if let Some(status) = answer.status {
        let said = [answer.code, answer.message].into_iter().flatten().collect::<Vec<_>>().join(": ");
        match said.is_empty() {
            true => format!("the store answered {status}"),
            false => format!("the store answered {status} ({said})"),
        }
    } else if let Some(http) = in_chain::<HttpError>(error) {
        match http.kind() {
            HttpErrorKind::Timeout => "the store did not answer in time".to_owned(),
            HttpErrorKind::Connect => format!("the store cannot be reached: {}", innermost(http)),
            _ => format!("the connection to the store broke: {}", innermost(http)),
        }
    } else if text.contains("redirect") {
        "the store sends us elsewhere".to_owned()
    } else {
        text.to_owned()
    };
    if let Some(retries) = answer.retries {
        detail += &format!(", after {retries} retries");
    }
    if let Some(hint) = hint(text, answer) {
        detail += ": ";
        detail += hint;
    }
    detail
}

/// What mends it.
fn hint(text: &str, answer: &Answer<'_>) -> Option<&'static str> {
    match answer.code {
        Some("NoSuchBucket") => Some("make the bucket first"),
        Some("InvalidAccessKeyId" | "SignatureDoesNotMatch") => Some("are these the credentials of this store?"),
        Some("ExpiredToken" | "TokenRefreshRequired") => Some("sign in again (`aws sso login`)"),
        Some("RequestTimeTooSkewed") => Some("set this machine's clock"),
        Some("AuthorizationHeaderMalformed" | "PermanentRedirect") => Some("set `region` to that of the bucket"),
        None if text.contains("without LOCATION") => Some("set `region` to that of the bucket"),
        None if matches!(answer.status, Some(403)) => Some("may these credentials read and write there?"),
        _ => None,
    }
}

/// The first error of a type among an error and its causes.
fn in_chain<'e, E: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The cause that all others only wrap.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: &str = "Generic S3 error: Error performing PUT http://h/b/k in 1.2s, after 3 retries, max_retries: 3, \
        retry_timeout: 10s  - Server returned non-2xx status code: 503 Service Unavailable: <Error><Code>SlowDown</Code>\
        <Message>Reduce your rate.</Message></Error>";

    fn generic(text: &str) -> Error {
        Error::Generic { store: "S3", source: text.into() }
    }

    #[test]
    fn answers_are_read() {
        let expected = Answer {
            status: Some(503),
            code: Some("SlowDown"),
            message: Some("Reduce your rate."),
            retries: Some("3"),
        };
        assert_eq!(Answer::read(BUSY), expected);
        assert_eq!(Answer::read("what?"), Answer::default());
    }

    #[test]
    fn an_error_says_what_the_store_said() {
        let error = store_error("writing", "s3://lake/a", "a", &generic(BUSY));
        assert_eq!(
            error.to_string(),
            "writing s3://lake/a: the store answered 503 (SlowDown: Reduce your rate.), after 3 retries"
        );
        assert!(matches!(error, StoreError::Io { transient: true, .. }));
        let skewed = "status code: 403 Forbidden: <Error><Code>RequestTimeTooSkewed</Code></Error>";
        let error = store_error("reading", "s3://lake/a", "a", &generic(skewed));
        assert!(error.to_string().ends_with("(RequestTimeTooSkewed): set this machine's clock"), "{error}");
        assert!(matches!(error, StoreError::Io { transient: false, .. }));
    }

    #[test]
    fn a_lost_answer_is_unclear_and_a_refusal_is_not() {
        assert_eq!(Failure::of(&generic(BUSY)), Failure::Unclear);
        assert_eq!(Failure::of(&generic("something broke")), Failure::Unclear);
        assert_eq!(Failure::of(&generic("status code: 400 Bad Request: ")), Failure::Refused);
        let no_bucket = Error::NotFound { path: "k".into(), source: "<Code>NoSuchBucket</Code>".into() };
        assert_eq!(Failure::of(&no_bucket), Failure::Refused);
    }
}
