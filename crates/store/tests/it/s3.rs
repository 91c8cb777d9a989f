//! What a warehouse in a bucket does beyond what every warehouse does, against real servers and broken networks.

use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use polder_store::{Bucket, S3Location, S3Options, S3Storage, Secret, Storage, StoreError};

use crate::proxy::{Fault, Proxy, Request};

/// The servers there are: `(name, URL)`.
pub fn servers() -> Vec<(&'static str, String)> {
    let found: Vec<_> = ["POLDER_TEST_S3", "POLDER_TEST_VERSITYGW"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok().map(|url| (name, url)))
        .collect();
    if found.len() < 2 {
        skipped("POLDER_TEST_S3 and POLDER_TEST_VERSITYGW do not both name a server (tools/s3.py run -- …)");
    }
    found
}

fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
    let Some(list) = std::env::var_os("POLDER_TEST_SKIPPED") else { return };
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap().write_all(line.as_bytes()).unwrap();
}

/// How the server of a URL is reached, without much patience; and its bucket.
pub fn options(url: &str) -> (S3Options, String) {
    let (keys, place) = url.strip_prefix("http://").unwrap().split_once('@').unwrap();
    let ((id, secret), (host, bucket)) = (keys.split_once(':').unwrap(), place.split_once('/').unwrap());
    let options = S3Options {
        endpoint: Some(format!("http://{host}")),
        access_key: Some((id.to_owned(), Secret(secret.to_owned()))),
        timeout: Duration::from_secs(10),
        retry_for: Duration::from_secs(2),
        ..S3Options::default()
    };
    (options, bucket.to_owned())
}

/// A warehouse of its own on the server of a URL.
pub async fn try_open(url: &str) -> Result<S3Storage, StoreError> {
    let (options, bucket) = options(url);
    let folder = format!("warehouse-{}", uuid::Uuid::new_v4().simple());
    S3Storage::open(S3Location { bucket, path: folder }, &options).await
}

pub async fn open(url: &str) -> S3Storage {
    try_open(url).await.unwrap()
}

/// More than one part.
fn large() -> Bytes {
    (0..20 * 1024 * 1024u32).map(|i| (i % 251) as u8).collect::<Vec<_>>().into()
}

async fn upload(storage: &S3Storage, path: &str, bytes: &Bytes) -> Result<u64, StoreError> {
    let mut upload = storage.upload(path).await?;
    for start in (0..bytes.len()).step_by(3_000_000) {
        upload.write(bytes.slice(start..bytes.len().min(start + 3_000_000))).await?;
    }
    Ok(upload.finish().await?.size_bytes)
}

/// A rule that fails the first request of a kind.
fn first(kind: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) -> impl FnMut(&Request) -> Fault + Send {
    let mut fault = Some(fault);
    move |request| if kind(request) { fault.take().unwrap_or(Fault::None) } else { Fault::None }
}

fn is_put(request: &Request) -> bool {
    request.method == "PUT"
}

fn is_completion(request: &Request) -> bool {
    request.method == "POST" && request.path.contains("uploadId=")
}

#[tokio::test]
async fn an_object_of_many_parts_is_written_once() {
    for (name, url) in servers() {
        let storage = open(&url).await;
        let bytes = large();
        assert_eq!(upload(&storage, "data/big", &bytes).await.unwrap(), bytes.len() as u64, "{name}");
        assert_eq!(storage.get("data/big").await.unwrap(), bytes, "{name}");
        let middle = storage.get_range("data/big", 9_000_000, 9_000_010).await.unwrap();
        assert_eq!(middle, bytes.slice(9_000_000..9_000_010), "{name}");
        let again = upload(&storage, "data/big", &bytes).await;
        assert!(matches!(again, Err(StoreError::Exists { .. })), "{name}: {again:?}");
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_known_again() {
    for (name, url) in servers() {
        let proxy = Proxy::before(&url);
        let storage = open(&proxy.url).await;
        proxy.fail(first(is_put, Fault::LoseAnswer));
        storage.put("a", Bytes::from_static(b"mine")).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let puts = proxy.seen().iter().filter(|r| is_put(r) && r.path.ends_with("/a")).count();
        assert!(puts >= 1, "{name}: {:?}", proxy.seen());
        // Of another writer it is said what is so.
        proxy.fail(first(is_put, Fault::LoseAnswer));
        let other = storage.put("a", Bytes::from_static(b"mine")).await;
        assert!(matches!(other, Err(StoreError::Exists { .. })), "{name}: {other:?}");
        assert_eq!(storage.get("a").await.unwrap(), "mine");

        proxy.fail(first(is_completion, Fault::LoseAnswer));
        let bytes = large();
        let size_bytes = upload(&storage, "data/big", &bytes).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(size_bytes, bytes.len() as u64);
        assert_eq!(storage.get("data/big").await.unwrap(), bytes, "{name}");
    }
}

#[tokio::test]
async fn a_busy_store_is_asked_again_and_one_that_stays_busy_is_told() {
    const BUSY: Fault = Fault::Answer(503, "<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>");
    for (name, url) in servers() {
        let proxy = Proxy::before(&url);
        let storage = open(&proxy.url).await;
        let mut left = 3;
        proxy.fail(move |_| {
            if left > 0 {
                left -= 1;
                BUSY
            } else {
                Fault::None
            }
        });
        storage.put("a", Bytes::from_static(b"x")).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        proxy.fail(|_| BUSY);
        let errors = [storage.put("b", Bytes::new()).await.unwrap_err(), storage.get("a").await.unwrap_err()];
        for error in errors {
            let text = error.to_string();
            assert!(matches!(error, StoreError::Io { transient: true, .. }), "{name}: {text}");
            assert!(text.contains("the store answered 503 (SlowDown: Reduce your rate.), after "), "{name}: {text}");
            assert!(text.contains("s3://polder-test/warehouse-"), "{name}: {text}");
        }
        proxy.recover();
        storage.put("b", Bytes::new()).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_that_says_nothing_is_told() {
    for (name, url) in servers() {
        let proxy = Proxy::before(&url);
        let (options, bucket) = options(&proxy.url);
        let options = S3Options { timeout: Duration::from_millis(300), retry_for: Duration::from_secs(1), ..options };
        let location = S3Location { bucket, path: format!("silent-{}", uuid::Uuid::new_v4().simple()) };
        let storage = S3Storage::open(location, &options).await.unwrap();
        proxy.fail(|_| Fault::Silence(Duration::from_secs(5)));
        let error = storage.get("a").await.unwrap_err();
        assert!(matches!(error, StoreError::Io { transient: true, .. }), "{name}: {error}");
        assert!(error.to_string().contains("the store did not answer in time"), "{name}: {error}");
    }
}

#[tokio::test]
async fn reading_that_breaks_off_goes_on_where_it_was() {
    for (name, url) in servers() {
        let proxy = Proxy::before(&url);
        let storage = open(&proxy.url).await;
        let bytes = large();
        upload(&storage, "data/big", &bytes).await.unwrap();
        proxy.fail(first(|request| request.method == "GET", Fault::Cut(5_000_000)));
        assert_eq!(storage.get("data/big").await.unwrap(), bytes, "{name}");
    }
}

/// No request lasts as long as its reader takes.
#[tokio::test]
async fn a_slow_reader_gets_the_whole_object() {
    for (name, url) in servers() {
        let (options, bucket) = options(&url);
        let options = S3Options { timeout: Duration::from_secs(1), retry_for: Duration::from_secs(1), ..options };
        let path = format!("warehouse-{}", uuid::Uuid::new_v4().simple());
        let storage =
            S3Storage::open(S3Location { bucket: bucket.clone(), path: path.clone() }, &options).await.unwrap();
        let bytes = large();
        upload(&storage, "data/big", &bytes).await.unwrap();
        let bucket = Bucket::open(&bucket, &options).await.unwrap();
        let object = bucket.head(&format!("{path}/data/big")).await.unwrap();
        for (start, end) in [(0, None), (3, Some(17_000_000))] {
            let mut stream = bucket.read(&object, start, end);
            let mut read = stream.next().await.unwrap().unwrap().to_vec();
            tokio::time::sleep(Duration::from_secs(3)).await;
            while let Some(part) = stream.next().await {
                read.extend_from_slice(&part.unwrap());
            }
            let end = end.map_or(bytes.len(), |end| end as usize);
            assert!(read == bytes[start as usize..end], "{name}: {} bytes, {start} to {end}", read.len());
        }
    }
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused_and_tried_only_once_where_it_does_not() {
    let Some((_, url)) = servers().into_iter().find(|(name, _)| *name == "POLDER_TEST_S3") else { return };
    let proxy = Proxy::before(&url);
    proxy.fail(|request| if is_put(request) { Fault::Without("if-none-match") } else { Fault::None });
    let error = try_open(&proxy.url).await.unwrap_err().to_string();
    assert!(error.contains("it overwrites objects although it is asked not to"), "{error}");
    assert!(error.contains("could destroy each other's commits"), "{error}");
    proxy.fail(|request| if is_put(request) { Fault::Answer(501, "") } else { Fault::None });
    let error = try_open(&proxy.url).await.unwrap_err().to_string();
    assert!(error.contains("it does not know writes that must not overwrite"), "{error}");

    proxy.recover();
    let (options, bucket) = options(&proxy.url);
    let location = S3Location { bucket, path: format!("probed-{}", uuid::Uuid::new_v4().simple()) };
    S3Storage::open(location.clone(), &options).await.unwrap();
    let before = proxy.seen().len();
    let storage = S3Storage::open(location, &options).await.unwrap();
    assert_eq!(proxy.seen().len(), before + 1, "one look at the mark: {:?}", &proxy.seen()[before..]);
    let left = storage.list("").await.unwrap();
    assert_eq!(left.len(), 1, "the probe is gone: {left:?}");
}

/// A store gives a thousand names at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_has_all_its_pages() {
    use futures::StreamExt;
    const FILES: usize = 1_100;
    for (name, url) in servers() {
        let storage = open(&url).await;
        let put = |i: usize| {
            let storage = storage.clone();
            async move { storage.put(&format!("many/{i:05}"), Bytes::new()).await.unwrap() }
        };
        futures::stream::iter((0..FILES).map(put)).buffer_unordered(32).collect::<Vec<()>>().await;
        assert_eq!(storage.list("many").await.unwrap().len(), FILES, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_given_up_leaves_nothing() {
    for (name, url) in servers() {
        let proxy = Proxy::before(&url);
        let storage = open(&proxy.url).await;
        let mut upload = storage.upload("data/none").await.unwrap();
        upload.write(large()).await.unwrap();
        drop(upload);
        let gone = || proxy.seen().iter().any(|r| r.method == "DELETE" && r.path.contains("uploadId="));
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while !gone() && std::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(gone(), "{name}: {:?}", proxy.seen());
        assert!(matches!(storage.head("data/none").await, Err(StoreError::NotFound { .. })), "{name}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_told_without_them() {
    let Some((_, url)) = servers().into_iter().find(|(name, _)| *name == "POLDER_TEST_VERSITYGW") else { return };
    let (options, bucket) = options(&url);
    let wrong = S3Options { access_key: Some(("polder".into(), Secret("sesame-open".into()))), ..options.clone() };
    let location = S3Location { bucket, path: "denied".to_owned() };
    let error = S3Storage::open(location, &wrong).await.unwrap_err();
    assert!(matches!(error, StoreError::Io { transient: false, .. }), "{error:?}");
    assert!(!error.to_string().contains("sesame"), "{error}");
    let missing = S3Location { bucket: "polder-no-such-bucket".to_owned(), path: "x".to_owned() };
    let error = S3Storage::open(missing, &options).await.unwrap_err().to_string();
    assert!(error.contains("NoSuchBucket") && error.contains("make the bucket first"), "{error}");
}

/// Two writers at once: one of them writes, the other is told.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_one_writes() {
    for (name, url) in servers() {
        let storage = open(&url).await;
        let wins = Mutex::new(0);
        for round in 0..8 {
            let path = format!("race/{round}");
            let writes = (0..4u8).map(|writer| storage.put(&path, Bytes::from(vec![writer; 100])));
            let outcomes = futures::future::join_all(writes).await;
            let won: Vec<usize> = (0..4).filter(|i| outcomes[*i].is_ok()).collect();
            assert_eq!(won.len(), 1, "{name}: {outcomes:?}");
            assert_eq!(storage.get(&path).await.unwrap()[0] as usize, won[0], "{name}");
            *wins.lock().unwrap() += 1;
        }
    }
}
