//! What is deleted from a warehouse in a bucket, and what is not.

use std::io::Write;
use std::time::Duration;

use crate::support::{ORDERS_SOURCE, Project, orders, row};

/// Says that something was not tested here; `tools/test.sh` collects it.
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
    let Some(list) = std::env::var_os("POLDER_TEST_SKIPPED") else { return };
    let line = format!("what_nothing_reaches_is_deleted_from_a_bucket: {why}\n");
    std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap().write_all(line.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_reaches_is_deleted_from_a_bucket() {
    for name in ["POLDER_TEST_S3", "POLDER_TEST_VERSITYGW"] {
        let Ok(url) = std::env::var(name) else {
            skipped(&format!("{name} names no server (tools/s3.py run -- …)"));
            continue;
        };
        let (keys, place) = url.strip_prefix("http://").unwrap().split_once('@').unwrap();
        let ((key, secret), (host, bucket)) = (keys.split_once(':').unwrap(), place.split_once('/').unwrap());
        let project = Project::new(&[
            ORDERS_SOURCE,
            ("data/orders/1.csv", &orders(1..4)),
            ("models/gold/total.sql", "select count(*) as orders from bronze.orders"),
        ]);
        let folder = project.path().file_name().unwrap().to_str().unwrap().replace('.', "-");
        project.write(
            "polder.yaml",
            &format!(
                "name: test\nconcurrency: 2\nmemory_limit: 256MB\nwarehouse: s3://{bucket}/gc{folder}\ns3:\n  \
                 endpoint: http://{host}\n  access_key_id: {key}\n  secret_access_key: {secret}\n"
            ),
        );
        for day in 2..5 {
            project.publish().await;
            project.write(&format!("data/orders/{day}.csv"), &orders(day * 10..day * 10 + 3));
        }
        let app = project.open().await;
        let storage = app.catalog().tables().warehouse().storage();
        let before = storage.list("").await.unwrap().len();
        let expired = app.catalog().expire(Duration::ZERO, Duration::ZERO).await.unwrap();
        let after = storage.list("").await.unwrap().len();
        assert!(expired.files > 2 && after < before, "{name}: {expired:?}, {before} files before, {after} after");
        assert_eq!(row(&app, "main", "select orders from gold.total").await, "9", "{name}");
        assert_eq!(row(&app, "main", "select count(*) from bronze.orders").await, "9", "{name}");
        drop(app);
        project.publish().await;
        assert_eq!(row(&project.open().await, "main", "select orders from gold.total").await, "12", "{name}");
    }
}
