//! Files, sizes, errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::exec_datafusion_err;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, stream};
use polder_lake::LakeError;
use polder_table::Operation;
use polder_table::spec::Transform;
use tokio_util::sync::CancellationToken;

use crate::support::{stream_of, world, world_with_memory};

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let ids = Int64Array::from_iter_values(range.clone());
    // Digits that do not compress.
    let noise = StringArray::from_iter_values(range.map(|i| {
        format!("{:x}", u128::from(i.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_0c1a_3f84_d2b1))
    }));
    RecordBatch::try_new(numbers_schema(), vec![Arc::new(ids), Arc::new(noise)]).unwrap()
}

fn numbers_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("noise", DataType::Utf8, true)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_closed_at_their_size() {
    let world = world().await;
    let mut target = world.create(&numbers_schema(), &[]).await;
    target.target_file_bytes = 1_000_000;
    let batches = (0..40).map(|i| numbers(i * 10_000..(i + 1) * 10_000)).collect();
    let reported = AtomicU64::new(0);
    let count = |rows, _| {
        reported.fetch_add(rows, Ordering::Relaxed);
    };
    let stream = stream_of(numbers_schema(), batches);
    let written = world.lake().write(&target, vec![stream], &CancellationToken::new(), &count).await.unwrap();
    assert_eq!((written.rows, reported.into_inner()), (400_000, 400_000));
    assert!(written.files.len() > 3, "{} files", written.files.len());
    let sizes: Vec<_> = written.files.iter().map(|f| f.file_size_in_bytes()).collect();
    assert!(sizes.iter().all(|size| *size < 2_000_000), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<u64>(), written.bytes);
    for file in &written.files {
        assert!(file.file_path().contains("/data/run-7-"), "{}", file.file_path());
        assert_eq!(file.split_offsets().unwrap()[0], 4, "the first row group comes after the magic bytes");
    }
    world.commit(Operation::Append { files: written.files }).await;
    assert_eq!(
        world.rows("select count(*), sum(id), count(distinct noise) from t").await,
        ["400000|79999800000|400000"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_written_side_by_side() {
    let world = world().await;
    let target = world.create(&numbers_schema(), &[]).await;
    let streams = (0..4).map(|i| stream_of(numbers_schema(), vec![numbers(i * 100..(i + 1) * 100)])).collect();
    let written = world.lake().write(&target, streams, &CancellationToken::new(), &|_, _| {}).await.unwrap();
    assert_eq!((written.files.len(), written.rows), (1, 400), "small streams share a file");
    let streams = (0..3).map(|i| stream_of(numbers_schema(), vec![numbers(i * 200_000..(i + 1) * 200_000)])).collect();
    let written = world.lake().write(&target, streams, &CancellationToken::new(), &|_, _| {}).await.unwrap();
    assert_eq!((written.files.len(), written.rows), (3, 600_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uuid_is_no_partition_as_it_is() {
    let world = world().await;
    let uuid = [("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())].into_iter().collect();
    let field = Field::new("u", DataType::FixedSizeBinary(16), true).with_metadata(uuid);
    let schema = Arc::new(Schema::new(vec![field]));
    let target = world.create(&schema, &[("u", Transform::Identity)]).await;
    let values = FixedSizeBinaryArray::try_from_iter([[7u8; 16]].iter()).unwrap();
    let batch = RecordBatch::try_new(schema, vec![Arc::new(values)]).unwrap();
    let error = world.write(&target, vec![batch]).await.unwrap_err();
    assert_eq!(error.to_string(), "a table cannot be partitioned by the uuid `u` as it is: partition by bucket of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_are_one_file_each() {
    let world = world_with_memory(256 << 20).await;
    let target = world.create(&numbers_schema(), &[("id", Transform::Bucket(200))]).await;
    let batches: Vec<_> = (0..30).map(|i| numbers(i * 10_000..(i + 1) * 10_000)).collect();
    let written = world.write(&target, batches).await.unwrap();
    let partitions: std::collections::HashSet<_> = written.files.iter().map(|f| f.partition().clone()).collect();
    assert_eq!((partitions.len(), written.files.len()), (200, 200));
    assert!(written.files.iter().any(|f| f.file_path().contains("/data/id_1=17/run-7-")));
    world.commit(Operation::Append { files: written.files }).await;
    assert_eq!(world.rows("select count(*), sum(id) from t").await, ["300000|44999850000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_in_little_memory() {
    let world = world_with_memory(8 << 20).await;
    let target = world.create(&numbers_schema(), &[("id", Transform::Bucket(100))]).await;
    let batches: Vec<_> = (0..30).map(|i| numbers(i * 10_000..(i + 1) * 10_000)).collect();
    let written = world.write(&target, batches).await.unwrap();
    assert!(written.files.len() < 1000, "{} files", written.files.len());
    world.commit(Operation::Append { files: written.files }).await;
    assert_eq!(world.rows("select count(*), sum(id) from t").await, ["300000|44999850000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn little_memory_makes_small_row_groups_not_an_error() {
    let world = world_with_memory(4 << 20).await;
    let target = world.create(&numbers_schema(), &[]).await;
    let written = world.write(&target, (0..60).map(|i| numbers(i * 10_000..(i + 1) * 10_000)).collect()).await.unwrap();
    assert_eq!(written.rows, 600_000);
    assert!(written.files.iter().any(|f| f.split_offsets().unwrap().len() > 1));
    world.commit(Operation::Append { files: written.files }).await;
    assert_eq!(world.rows("select sum(id) from t").await, ["179999700000"]);
    assert_eq!(world.lake().runtime().memory_pool.reserved(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_a_stream_removes_all_files() {
    let world = world().await;
    let mut target = world.create(&numbers_schema(), &[]).await;
    target.target_file_bytes = 1;
    let good = (0..20).map(|i| Ok(numbers(i * 1000..(i + 1) * 1000)));
    let bad = good.clone().chain([Err(exec_datafusion_err!("the source broke"))]);
    let streams: Vec<SendableRecordBatchStream> = vec![
        Box::pin(RecordBatchStreamAdapter::new(numbers_schema(), stream::iter(good))),
        Box::pin(RecordBatchStreamAdapter::new(numbers_schema(), stream::iter(bad))),
    ];
    let error = world.lake().write(&target, streams, &CancellationToken::new(), &|_, _| {}).await.unwrap_err();
    assert!(error.to_string().contains("the source broke"), "{error}");
    assert!(world.data_files().await.is_empty());
}

fn endless() -> SendableRecordBatchStream {
    let batches = stream::iter(0..).then(|i| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(numbers(i * 1000..(i + 1) * 1000))
    });
    Box::pin(RecordBatchStreamAdapter::new(numbers_schema(), batches))
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_removes_all_files() {
    let world = world().await;
    let mut target = world.create(&numbers_schema(), &[]).await;
    target.target_file_bytes = 1;
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let stop_after_a_file = move |_, bytes| {
        if bytes > 0 {
            stop.cancel()
        }
    };
    let error = world.lake().write(&target, vec![endless(), endless()], &cancel, &stop_after_a_file).await.unwrap_err();
    assert!(matches!(error, LakeError::Cancelled), "{error}");
    assert!(world.data_files().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_write_leaves_nothing() {
    let world = world().await;
    let mut target = world.create(&numbers_schema(), &[]).await;
    target.target_file_bytes = 1;
    let cancel = CancellationToken::new();
    let began = tokio::sync::Notify::new();
    let notify = |_, bytes| {
        if bytes > 0 {
            began.notify_one()
        }
    };
    let write = world.lake().write(&target, vec![endless()], &cancel, &notify);
    tokio::select! {
        _ = write => panic!("the stream is endless"),
        () = began.notified() => {}
    }
    for _ in 0..200 {
        if world.data_files().await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("left behind: {:?}", world.data_files().await);
}

async fn refused(table: DataType, rows: ArrayRef) -> String {
    let world = world().await;
    let target = world.create(&Schema::new(vec![Field::new("c", table, true)]), &[]).await;
    let schema = Arc::new(Schema::new(vec![Field::new("c", rows.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema, vec![rows]).unwrap();
    let error = world.write(&target, vec![batch]).await.unwrap_err();
    assert!(world.data_files().await.is_empty());
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_named() {
    let says = refused(DataType::Int32, Arc::new(Int64Array::from(vec![1 << 40]))).await;
    assert!(says.starts_with("column `c`") && says.contains("1099511627776"), "{says}");
    let says = refused(DataType::Int64, Arc::new(UInt64Array::from(vec![u64::MAX]))).await;
    assert!(says.starts_with("column `c`") && says.contains("18446744073709551615"), "{says}");
    let says = refused(DataType::Float64, Arc::new(Int64Array::from(vec![(1 << 53) + 1]))).await;
    assert_eq!(says, "column `c` is double, and has no place for a value of type bigint");
    let says = refused(DataType::Int64, Arc::new(StringArray::from(vec!["12"]))).await;
    assert_eq!(says, "column `c` is bigint, and the rows have text");
    let says = refused(DataType::Utf8, Arc::new(Int64Array::from(vec![12]))).await;
    assert_eq!(says, "column `c` is text, and the rows have bigint");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_matched_by_name() {
    let world = world().await;
    let target = world.create(&numbers_schema(), &[]).await;
    let schema = Arc::new(Schema::new(vec![
        Field::new("noise", DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), true),
        Field::new("id", DataType::Int16, true),
    ]));
    let noise: DictionaryArray<datafusion::arrow::datatypes::Int32Type> = ["x", "y", "x"].into_iter().collect();
    let batch = RecordBatch::try_new(schema, vec![Arc::new(noise), Arc::new(Int16Array::from(vec![1, 2, 3]))]).unwrap();
    world.append(vec![batch]).await;
    world.append(vec![numbers(4..5).project(&[0]).unwrap()]).await;
    assert_eq!(world.rows("select * from t order by id").await, ["1|x", "2|y", "3|x", "4|NULL"]);

    let extra = Arc::new(Schema::new(vec![Field::new("colour", DataType::Utf8, true)]));
    let batch = RecordBatch::try_new(extra, vec![Arc::new(StringArray::from(vec!["red"]))]).unwrap();
    let error = world.write(&target, vec![batch]).await.unwrap_err();
    assert_eq!(error.to_string(), "the table has no column `colour`");
}
