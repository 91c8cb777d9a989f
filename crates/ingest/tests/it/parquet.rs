//! Parquet files.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Int8Array, ListArray, RecordBatch, StringArray,
    StructArray, TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{Field, Int32Type};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use polder_project::FileFormat;

use crate::support::{World, declared, files, world};

fn write(w: &World, name: &str, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2)).build();
    let mut writer =
        ArrowWriter::try_new(File::create(w.path(name)).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[tokio::test]
async fn types_that_tables_lack_are_widened() {
    let w = world().await;
    let dictionary: DictionaryArray<Int32Type> = vec!["x", "y", "x"].into_iter().collect();
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    let nested = StructArray::from(vec![(
        Arc::new(Field::new("ok", arrow::datatypes::DataType::Boolean, true)),
        Arc::new(BooleanArray::from(vec![true, false, true])) as ArrayRef,
    )]);
    write(
        &w,
        "t.parquet",
        vec![
            ("Small", Arc::new(Int8Array::from(vec![-1, 2, 3]))),
            ("u32", Arc::new(UInt32Array::from(vec![u32::MAX, 0, 1]))),
            ("u64", Arc::new(UInt64Array::from(vec![u64::MAX, 0, 1]))),
            ("dict", Arc::new(dictionary)),
            ("ns", Arc::new(TimestampNanosecondArray::from(vec![1_000, 2_000, 3_001]))),
            ("list", Arc::new(list)),
            ("nested", Arc::new(nested)),
        ],
    );
    let report = w.take(&files("t.parquet", FileFormat::Parquet)).await;
    assert_eq!(report.rows, Some(3));
    assert_eq!(report.note.as_deref(), Some("1 file; `ns`: nanoseconds cut to microseconds"));
    assert_eq!(
        w.columns().await,
        [
            "small integer",
            "u32 bigint",
            "u64 decimal(20, 0)",
            "dict text",
            "ns timestamp",
            "list integer[]",
            "nested struct(ok boolean)"
        ]
    );
    let rows = w.sql("select small, u32, u64, dict, ns, list, nested['ok'], _position from t order by _position").await;
    assert_eq!(rows[0], "-1 | 4294967295 | 18446744073709551615 | x | 1970-01-01T00:00:00.000001 | [1, ] | true | 1");
    assert_eq!(rows[2], "3 | 1 | 1 | x | 1970-01-01T00:00:00.000003 | [] | true | 3");
}

#[tokio::test]
async fn identifiers_can_be_declared_as_text() {
    let w = world().await;
    let ids = FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some([0x11; 16]), None].into_iter(), 16).unwrap();
    write(&w, "t.parquet", vec![("id", Arc::new(ids))]);
    let stream =
        polder_project::Stream { columns: declared(&[("id", "uuid")]), ..files("t.parquet", FileFormat::Parquet) };
    w.take(&stream).await;
    assert_eq!(w.columns().await, ["id text"]);
    assert_eq!(w.sql("select id from t").await, ["11111111-1111-1111-1111-111111111111", "∅"]);
}

#[tokio::test]
async fn a_file_cut_in_half_is_named() {
    let w = world().await;
    write(&w, "t.parquet", vec![("a", Arc::new(StringArray::from(vec!["x"; 1000])))]);
    let whole = std::fs::read(w.path("t.parquet")).unwrap();
    w.file("t.parquet", &whole[..whole.len() / 2]);
    let told = w.refused(&files("t.parquet", FileFormat::Parquet)).await;
    assert!(told.starts_with("error[I004]: t.parquet is damaged or cut off"), "{told}");
    w.file("t.parquet", "");
    let told = w.refused(&files("t.parquet", FileFormat::Parquet)).await;
    assert!(told.starts_with("error[I004]: t.parquet is empty"), "{told}");
}

#[tokio::test]
async fn damage_in_the_middle_leaves_nothing_behind() {
    let w = world().await;
    let values: Vec<String> = (0..5000).map(|n| format!("value {n}")).collect();
    write(&w, "t.parquet", vec![("a", Arc::new(StringArray::from(values)))]);
    let mut bytes = std::fs::read(w.path("t.parquet")).unwrap();
    // The footer of a file with so many row groups is longer than its data.
    let middle = bytes.len() / 10;
    bytes[middle..middle + 200].fill(0xff);
    w.file("t.parquet", bytes);
    let told = w.refused(&files("t.parquet", FileFormat::Parquet)).await;
    assert!(told.contains("I004") && told.contains("t.parquet"), "{told}");
    assert!(!w.exists("bronze.t").await);
}

#[tokio::test]
async fn columns_of_several_files_must_agree() {
    let w = world().await;
    write(&w, "1.parquet", vec![("a", Arc::new(UInt32Array::from(vec![1])))]);
    write(&w, "2.parquet", vec![("a", Arc::new(StringArray::from(vec!["x"])))]);
    let told = w.refused(&files("*.parquet", FileFormat::Parquet)).await;
    assert!(told.starts_with("error[I011]: column `a` is bigint in 1.parquet and text in 2.parquet"), "{told}");
}
