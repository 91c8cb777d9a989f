//! What a web server has: one file by its address.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use polder_diag::{Diagnostic, Span};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Client, Response, StatusCode};
use tempfile::TempPath;
use url::Url;

use super::super::find::{Place, SourceFile};
use super::{Bytestream, Remote, Unread, version_of};
use crate::{Result, codes};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nothing at all may come.
const SILENCE: Duration = Duration::from_secs(60);
/// How often reading is taken up again without a byte having come since.
const MOST_TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// A file as it was when it was found.
#[derive(Clone)]
struct HttpFile {
    url: Url,
    /// The address as it may be shown: without what lets somebody in.
    name: Arc<str>,
    size_bytes: Option<u64>,
    /// What changes when the file does: its ETag, or when it was last changed.
    version: Option<Version>,
    /// The server gives out parts of it.
    has_ranges: bool,
    /// Of a server that does not, once a copy was needed.
    copy: Arc<OnceLock<TempPath>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Version {
    ETag(String),
    LastModified(String),
}

impl Version {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        text(ETAG).map(Self::ETag).or_else(|| text(LAST_MODIFIED).map(Self::LastModified))
    }

    fn text(&self) -> &str {
        match self {
            Self::ETag(text) | Self::LastModified(text) => text,
        }
    }

    /// Whether it stands for the very bytes: a weak ETag does not.
    fn is_exact(&self) -> bool {
        !self.text().starts_with("W/")
    }
}

impl std::fmt::Debug for HttpFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpFile").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Looks at a file, by asking for its first byte: not every server answers to `HEAD`, and so it is known whether it gives
/// out parts.
pub(super) async fn find(address: &str, span: &Span) -> Result<SourceFile> {
    let wrong =
        |e: url::ParseError| Diagnostic::error(codes::NO_FILE, format!("this is no address: {e}")).at(span.clone(), "");
    let url = Url::parse(address).map_err(wrong)?;
    let name: Arc<str> = shown(&url).into();
    let answer = client()?.get(url.clone()).header(ACCEPT_ENCODING, "identity").header(RANGE, "bytes=0-0").send().await;
    let answer = answer.map_err(|e| broken(&name, &e))?;
    let (status, headers) = (answer.status(), answer.headers());
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        let message = format!("there is no file at {name} (the server answered {})", status.as_u16());
        return Err(Diagnostic::error(codes::NO_FILE, message).at(span.clone(), "").into());
    }
    let empty = status == StatusCode::RANGE_NOT_SATISFIABLE;
    if !status.is_success() && !empty {
        return Err(refused(&name, status).into());
    }
    let has_ranges = status == StatusCode::PARTIAL_CONTENT || empty;
    let size_bytes = if has_ranges { size_of_range(headers) } else { number(headers) };
    let version = Version::of(headers);
    let modified_us = version.as_ref().map_or_else(now_us, |version| version_of(version.text()));
    let file = HttpFile { url, name: Arc::clone(&name), size_bytes, version, has_ranges, copy: Arc::default() };
    let place = Place::Remote(Arc::new(file));
    Ok(SourceFile { place, name, size_bytes: size_bytes.unwrap_or_default(), modified_us })
}

/// A file that says nothing about its version may be another one at any time.
fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}

/// An address without user, password and parameters, which may be a signature.
fn shown(url: &Url) -> String {
    let mut plain = url.clone();
    plain.set_query(None);
    plain.set_fragment(None);
    // Addresses that cannot have a user have none to take away.
    let _ = plain.set_username("").and_then(|()| plain.set_password(None));
    plain.to_string()
}

/// The whole size, behind the slash of `bytes 0-0/1234`.
fn size_of_range(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_RANGE)?.to_str().ok()?.rsplit_once('/')?.1.parse().ok()
}

fn number(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn client() -> Result<&'static Client, Unread> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client);
    }
    let agent = concat!("polder/", env!("CARGO_PKG_VERSION"));
    let built = Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(SILENCE).user_agent(agent).build();
    let built = built.map_err(|e| Unread { message: format!("cannot read over HTTP: {e}"), transient: false })?;
    Ok(CLIENT.get_or_init(|| built))
}

/// An error on the way, with its cause and without the address, which may hold a secret.
fn broken(name: &str, error: &reqwest::Error) -> Unread {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let what = if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_redirect() {
        "the server sends us on and on".to_owned()
    } else if error.is_connect() {
        format!("cannot connect: {cause}")
    } else {
        format!("the connection broke: {cause}")
    };
    Unread { message: format!("cannot read {name}: {what}"), transient: !error.is_builder() && !error.is_redirect() }
}

fn refused(name: &str, status: StatusCode) -> Unread {
    let transient =
        status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    Unread { message: format!("cannot read {name}: the server answered {status}"), transient }
}

impl HttpFile {
    /// One request for the bytes from `start` on.
    async fn request(&self, start: u64, end: Option<u64>) -> Result<Response, Unread> {
        let mut request = client()?.get(self.url.clone()).header(ACCEPT_ENCODING, "identity");
        let in_part = start > 0 || end.is_some();
        if in_part {
            let last = end.map(|end| end.saturating_sub(1).to_string()).unwrap_or_default();
            request = request.header(RANGE, format!("bytes={start}-{last}"));
            if let Some(version) = self.version.as_ref().filter(|version| version.is_exact()) {
                request = request.header(IF_RANGE, version.text());
            }
        }
        let answer = request.send().await.map_err(|e| broken(&self.name, &e))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(refused(&self.name, status));
        }
        let other_version = self.version.is_some() && Version::of(answer.headers()) != self.version;
        // The whole in the place of a part means that the part would be one of another version.
        if other_version || (in_part && status != StatusCode::PARTIAL_CONTENT) {
            let message = format!("{} was replaced while it was being read", self.name);
            return Err(Unread { message, transient: true });
        }
        Ok(answer)
    }

    fn can_go_on(&self) -> bool {
        self.has_ranges && self.version.as_ref().is_some_and(Version::is_exact)
    }
}

/// Where reading a file stands.
struct Reading {
    file: HttpFile,
    at: u64,
    end: Option<u64>,
    body: Option<BoxStream<'static, reqwest::Result<Bytes>>>,
    /// In vain, since the last byte came.
    tries: u32,
}

impl Reading {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Unread> {
        loop {
            match self.step().await {
                Err(unread)
                    if unread.transient && self.tries < MOST_TRIES && (self.at == 0 || self.file.can_go_on()) =>
                {
                    tracing::info!(file = %self.file.name, at = self.at, %unread, "reading again");
                    self.body = None;
                    tokio::time::sleep(FIRST_WAIT * 2_u32.pow(self.tries)).await;
                    self.tries += 1;
                }
                other => return other,
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>, Unread> {
        if self.body.is_none() {
            self.body = Some(self.file.request(self.at, self.end).await?.bytes_stream().boxed());
        }
        let Some(body) = &mut self.body else { return Ok(None) };
        match body.try_next().await.map_err(|e| broken(&self.file.name, &e))? {
            Some(bytes) => {
                self.at += bytes.len() as u64;
                self.tries = 0;
                Ok(Some(bytes))
            }
            None => Ok(None),
        }
    }
}

#[async_trait]
impl Remote for HttpFile {
    async fn read(&self, start: u64, end: Option<u64>) -> Result<Bytestream, Unread> {
        if self.size_bytes.is_some_and(|size| start >= size) {
            return Ok(stream::empty().boxed());
        }
        let reading = Reading { file: self.clone(), at: start, end, body: None, tries: 0 };
        let next = |mut reading: Reading| async move { Ok(reading.next().await?.map(|bytes| (bytes, reading))) };
        Ok(stream::try_unfold(reading, next).boxed())
    }

    fn is_of_unknown_size(&self) -> bool {
        self.size_bytes.is_none()
    }

    fn copy(&self) -> Option<&OnceLock<TempPath>> {
        (!self.has_ranges || self.size_bytes.is_none()).then_some(&*self.copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_what_lets_somebody_in() {
        let url = Url::parse("https://me:secret@data.example/x/y.csv.gz?X-Amz-Signature=abc#top").unwrap();
        assert_eq!(shown(&url), "https://data.example/x/y.csv.gz");
    }

    #[test]
    fn versions_are_of_etags_first() {
        let mut headers = HeaderMap::new();
        assert_eq!(Version::of(&headers), None);
        headers.insert(LAST_MODIFIED, "Mon, 05 Jan 2026 10:00:00 GMT".parse().unwrap());
        assert!(matches!(Version::of(&headers), Some(Version::LastModified(_))));
        headers.insert(ETAG, "W/\"1\"".parse().unwrap());
        assert!(Version::of(&headers).is_some_and(|version| !version.is_exact()));
        headers.insert(CONTENT_RANGE, "bytes 0-0/1234".parse().unwrap());
        assert_eq!(size_of_range(&headers), Some(1234));
    }
}
