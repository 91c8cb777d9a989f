//! What is written is what is read.

use std::sync::Arc;

use datafusion::arrow::array::*;
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema, TimeUnit};
use polder_lake::{from_arrow, to_arrow};
use polder_table::spec::Type;

use crate::support::{World, world};

/// One column of each type that a table can have, three rows, the last one NULL throughout.
fn every_type() -> RecordBatch {
    let uuid = |field: Field| {
        field.with_metadata([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())].into_iter().collect())
    };
    let micros = TimeUnit::Microsecond;
    let columns: Vec<(Field, ArrayRef)> = vec![
        (nullable("bool", DataType::Boolean), Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
        (nullable("int", DataType::Int32), Arc::new(Int32Array::from(vec![Some(i32::MIN), Some(i32::MAX), None]))),
        (nullable("long", DataType::Int64), Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None]))),
        (nullable("float", DataType::Float32), Arc::new(Float32Array::from(vec![Some(f32::NAN), Some(-0.0), None]))),
        (
            nullable("double", DataType::Float64),
            Arc::new(Float64Array::from(vec![Some(f64::NEG_INFINITY), Some(f64::MAX), None])),
        ),
        (nullable("d9", DataType::Decimal128(9, 2)), decimals(&[-999_999_999, 1], 9, 2)),
        (nullable("d18", DataType::Decimal128(18, 4)), decimals(&[-1, 999_999_999_999_999_999], 18, 4)),
        (nullable("d38", DataType::Decimal128(38, 10)), decimals(&[i128::from(i64::MIN) * 9, 5], 38, 10)),
        (nullable("date", DataType::Date32), Arc::new(Date32Array::from(vec![Some(-1), Some(20_000), None]))),
        (
            nullable("time", DataType::Time64(micros)),
            Arc::new(Time64MicrosecondArray::from(vec![Some(0), Some(86_399_999_999), None])),
        ),
        (
            nullable("ts", DataType::Timestamp(micros, None)),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), Some(1_700_000_000_123_456), None])),
        ),
        (
            nullable("tstz", DataType::Timestamp(micros, Some("UTC".into()))),
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(-1), Some(1_700_000_000_123_456), None]).with_timezone("UTC"),
            ),
        ),
        (nullable("text", DataType::Utf8), Arc::new(StringArray::from(vec![Some(""), Some("añ\u{10ffff}"), None]))),
        (
            nullable("bytes", DataType::Binary),
            Arc::new(BinaryArray::from(vec![Some(&[][..]), Some(&[0xff, 0][..]), None])),
        ),
        (
            nullable("fixed", DataType::FixedSizeBinary(3)),
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some([1u8, 2, 3]), Some([0xff; 3]), None].into_iter(),
                    3,
                )
                .unwrap(),
            ),
        ),
        (
            uuid(nullable("uuid", DataType::FixedSizeBinary(16))),
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some([1u8; 16]), Some([0xfe; 16]), None].into_iter(),
                    16,
                )
                .unwrap(),
            ),
        ),
        list_column(),
        struct_column(),
        map_column(),
    ];
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn nullable(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn decimals(values: &[i128], precision: u8, scale: i8) -> ArrayRef {
    let values = values.iter().map(|v| Some(*v)).chain([None]);
    Arc::new(values.collect::<Decimal128Array>().with_precision_and_scale(precision, scale).unwrap())
}

fn list_column() -> (Field, ArrayRef) {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), Some(vec![]), None]);
    (nullable("list", lists.data_type().clone()), Arc::new(lists))
}

fn struct_column() -> (Field, ArrayRef) {
    let inner = Fields::from(vec![nullable("x", DataType::Int64), nullable("y", DataType::Utf8)]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(1), None, None])),
        Arc::new(StringArray::from(vec![None, Some("b"), None])),
    ];
    let nulls = vec![true, true, false].into();
    let array = StructArray::new(inner, columns, Some(nulls));
    (nullable("struct", array.data_type().clone()), Arc::new(array))
}

fn map_column() -> (Field, ArrayRef) {
    let entries = Fields::from(vec![Field::new("keys", DataType::Utf8, false), nullable("values", DataType::Int64)]);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(vec!["a", "b"])), Arc::new(Int64Array::from(vec![Some(1), None]))];
    let entries = StructArray::new(entries, columns, None);
    let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let map = MapArray::new(
        field,
        OffsetBuffer::from_lengths([2, 0, 0]),
        entries,
        Some(vec![true, true, false].into()),
        false,
    );
    (nullable("map", map.data_type().clone()), Arc::new(map))
}

async fn read(world: &World) -> RecordBatch {
    let schema = world.table().await.schema;
    concat_batches(&schema, &world.query("select * from t").await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_survives() {
    let world = world().await;
    let batch = every_type();
    world.create(&batch.schema(), &[]).await;
    world.append(vec![batch.clone()]).await;
    let back = read(&world).await;
    assert_eq!(back.num_rows(), 3);
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let read = back.column_by_name(field.name()).unwrap();
        let as_read = match field.data_type() {
            data_type if data_type.is_nested() => {
                assert_eq!(format!("{column:?}").lines().count(), format!("{read:?}").lines().count());
                continue;
            }
            _ => cast(column, read.data_type()).unwrap(),
        };
        // By bits, so that NaN is NaN and -0.0 is not 0.0.
        assert_eq!(as_read.to_data().buffers().len(), read.to_data().buffers().len(), "{field:?}");
        for row in 0..3 {
            assert_eq!(text(&as_read, row), text(read, row), "{} of row {row}", field.name());
        }
    }
    let nested = world.rows(r#"select "list", "struct", "map" from t"#).await;
    assert_eq!(nested, ["[1, ]|{x: 1, y: }|{a: 1, b: }", "[]|{x: , y: b}|{}", "NULL|NULL|NULL"]);
}

fn text(array: &ArrayRef, row: usize) -> String {
    datafusion::common::ScalarValue::try_from_array(array, row).map(|v| format!("{v:?}")).unwrap()
}

#[test]
fn a_schema_survives_the_way_to_iceberg_and_back() {
    let schema = from_arrow(&every_type().schema()).unwrap();
    let names = |s: &polder_table::spec::Schema| -> Vec<_> {
        s.as_struct()
            .fields()
            .iter()
            .map(|f| (f.id, f.name.clone(), polder_lake::sql_type_name(&f.field_type)))
            .collect()
    };
    let again = from_arrow(&to_arrow(&schema).unwrap()).unwrap();
    assert_eq!(names(&schema), names(&again));
    let ids: Vec<_> = schema.as_struct().fields().iter().map(|f| f.id).collect();
    assert_eq!(ids, (1..=19).collect::<Vec<_>>(), "columns come first, what is in them after");
    assert!(matches!(*schema.field_by_id(20).unwrap().field_type, Type::Primitive(_)));
    assert_eq!(schema.highest_field_id(), 24);
    let types: Vec<_> = names(&schema).into_iter().map(|(_, _, t)| t).collect();
    assert_eq!(
        types.join(" "),
        "boolean integer bigint real double decimal(9, 2) decimal(18, 4) decimal(38, 10) date time timestamp timestamptz \
         text binary binary(3) uuid integer[] struct(x bigint, y text) map(text, bigint)"
    );
}

#[test]
fn types_without_a_place_are_refused_by_name() {
    for (data_type, says) in [
        (DataType::Null, "column `c` is NULL and has no type"),
        (DataType::Interval(datafusion::arrow::datatypes::IntervalUnit::DayTime), "column `c` is a length of time"),
        (DataType::Decimal256(50, 2), "column `c` is decimal(50, 2)"),
        (DataType::Struct(Fields::empty()), "column `c` is Struct"),
    ] {
        let error = from_arrow(&Schema::new(vec![nullable("c", data_type)])).unwrap_err();
        assert!(error.to_string().starts_with(says), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_batches_and_empty_tables() {
    let world = world().await;
    let batch = every_type();
    world.create(&batch.schema(), &[]).await;
    assert_eq!(world.rows("select count(*), max(int) from t").await, ["0|NULL"]);
    assert!(world.rows("select * from t where int > 3 limit 3").await.is_empty());
    world.append(vec![batch.slice(0, 0)]).await;
    assert!(world.data_files().await.is_empty());
    world.append(vec![batch.slice(0, 0), batch.slice(0, 1), batch.slice(1, 0)]).await;
    assert_eq!(world.rows("select count(*), max(int) from t").await, [format!("1|{}", i32::MIN)]);
}

/// Field ids inside of nested types would be a type of their own to every operator that makes such values itself.
#[tokio::test(flavor = "multi_thread")]
async fn nested_columns_go_through_all_operators() {
    let world = world().await;
    let rows = every_type().project(&[1, 16, 17, 18]).unwrap();
    world.create(&rows.schema(), &[]).await;
    world.append(vec![rows.clone()]).await;
    for (sql, expected) in [
        ("select max(list), min(\"struct\") from t", &["[1, ]|{x: 1, y: }"][..]),
        (
            "select any_value(list), any_value(\"map\"), any_value(\"struct\") from t where int > 0",
            &["[]|{}|{x: , y: b}"],
        ),
        ("select first_value(list order by int) from t", &["[1, ]"]),
        ("select lag(list) over (order by int) from t where int is not null order by int", &["NULL", "[1, ]"]),
        ("select l from (select list as l from t where int < 0 union all select [7]) order by l[1]", &["[1, ]", "[7]"]),
        (
            "select distinct \"struct\" from t where int < 0 union select \"struct\" from t where int < 0",
            &["{x: 1, y: }"],
        ),
        ("select a.list, b.\"map\" from t a cross join t b where a.int < 0 and b.int < 0", &["[1, ]|{a: 1, b: }"]),
        ("select a.\"struct\" from t a join t b on a.list = b.list where a.int < 0", &["{x: 1, y: }"]),
        (
            "select case when int < 0 then list else [5] end from t where int is not null order by int",
            &["[1, ]", "[5]"],
        ),
        ("select array_agg(\"struct\") from t where int < 0", &["[{x: 1, y: }]"]),
        ("select coalesce(list, [3]) from t where int is null", &["[3]"]),
        ("select list, count(*) from t where int < 0 group by list", &["[1, ]|1"]),
        ("select \"struct\"['x'], list[1] from t where int < 0", &["1|1"]),
    ] {
        assert_eq!(world.rows(sql).await, expected, "{sql}");
    }
}
