//! Schemas that change, and old files read with new ones.

use std::sync::Arc;

use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use polder_catalog::{Change, Entry, EntryKey};
use polder_lake::{SchemaChange, evolve, from_arrow};
use polder_table::Operation;
use polder_table::spec::{Literal, NestedField, PrimitiveType, Schema as IcebergSchema, StructType, Type};

use crate::support::{World, name, world};

fn schema(fields: &[(&str, DataType)]) -> Schema {
    Schema::new(fields.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect::<Vec<_>>())
}

#[test]
fn narrower_types_fit_and_wider_ones_do_not() {
    use DataType::*;
    let fits = |table: DataType, incoming: DataType| {
        let table = from_arrow(&schema(&[("c", table)])).unwrap();
        match evolve(&table, &schema(&[("c", incoming)])).unwrap() {
            Ok(evolution) => {
                assert!(!evolution.changed);
                true
            }
            Err(changes) => {
                assert_eq!(changes[0].column, "c");
                false
            }
        }
    };
    for (table, incoming) in [
        (Int64, Int32),
        (Int64, Int64),
        (Float64, Float32),
        (Float64, Int64),
        (Decimal128(12, 2), Decimal128(6, 2)),
        (Decimal128(12, 2), Int32),
        (Decimal128(38, 2), Int64),
        (Utf8, Utf8View),
        (Utf8, Null),
        (Int32, Int8),
    ] {
        assert!(fits(table.clone(), incoming.clone()), "{incoming} into {table}");
    }
    for (table, incoming) in [
        (Int32, Int64),
        (Float32, Float64),
        (Int64, Float64),
        (Decimal128(12, 2), Decimal128(12, 3)),
        (Decimal128(11, 2), Int32),
        (Utf8, Int64),
        (Int64, Utf8),
        (Date32, Timestamp(datafusion::arrow::datatypes::TimeUnit::Microsecond, None)),
        (Timestamp(datafusion::arrow::datatypes::TimeUnit::Microsecond, None), Date32),
        (Boolean, Int32),
    ] {
        assert!(!fits(table.clone(), incoming.clone()), "{incoming} into {table}");
    }
}

#[test]
fn all_changes_are_named_with_both_types() {
    let table = from_arrow(&schema(&[("a", DataType::Int32), ("b", DataType::Utf8), ("c", DataType::Date32)])).unwrap();
    let incoming = schema(&[("a", DataType::Int64), ("b", DataType::Boolean), ("c", DataType::Date32)]);
    let change = |column: &str, from: &str, to: &str| SchemaChange {
        column: column.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
    };
    let changes = evolve(&table, &incoming).unwrap().unwrap_err();
    assert_eq!(changes, [change("a", "integer", "bigint"), change("b", "text", "boolean")]);
}

#[test]
fn new_columns_come_last_and_are_optional() {
    let inner = |fields: Vec<Field>| DataType::Struct(Fields::from(fields));
    let x = Field::new("x", DataType::Int32, true);
    let y = Field::new("y", DataType::Int32, true);
    let table = from_arrow(&schema(&[("s", inner(vec![x.clone()])), ("a", DataType::Int32)])).unwrap();
    let incoming = Schema::new(vec![
        Field::new("n", DataType::Utf8, false)
            .with_metadata([("comment".to_owned(), "Order ID".to_owned())].into_iter().collect()),
        Field::new("s", inner(vec![y, x]), true),
        Field::new("unknown", DataType::Null, true),
    ]);
    let evolution = evolve(&table, &incoming).unwrap().unwrap();
    assert!(evolution.changed);
    let fields: Vec<_> =
        evolution.schema.as_struct().fields().iter().map(|f| (f.id, f.name.as_str(), f.required)).collect();
    assert_eq!(fields, [(1, "s", false), (2, "a", false), (5, "n", false)]);
    assert_eq!(evolution.schema.name_by_field_id(4), Some("s.y"));
    assert_eq!(evolution.schema.field_by_name("n").unwrap().doc.as_deref(), Some("Order ID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_files_read_with_a_new_column() {
    let world = world().await;
    let first = batch(&[("id", Arc::new(Int64Array::from(vec![1, 2])))]);
    world.create(&first.schema(), &[]).await;
    world.append(vec![first.clone()]).await;
    let second =
        batch(&[("id", Arc::new(Int64Array::from(vec![3]))), ("note", Arc::new(StringArray::from(vec!["n"])))]);
    let evolution = world.table().await.evolve(&second.schema()).unwrap().unwrap();
    world.commit(Operation::SetSchema { schema: evolution.schema }).await;
    world.append(vec![second]).await;
    assert_eq!(world.rows("select * from t order by id").await, ["1|NULL", "2|NULL", "3|n"]);
    assert_eq!(world.rows("select id from t where note is null order by id").await, ["1", "2"]);
    assert_eq!(world.rows("select count(note), max(note) from t where note = 'n'").await, ["1|n"]);
}

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let fields = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.iter().map(|(_, array)| Arc::clone(array)).collect()).unwrap()
}

/// Gives the table another schema, as another engine would: rows stay in the files that they are in.
async fn with_schema(world: &World, fields: Vec<NestedField>) {
    let table = world.table().await;
    let schema = IcebergSchema::builder().with_fields(fields.into_iter().map(Arc::new)).build().unwrap();
    let metadata = table.metadata.as_ref().clone().into_builder(None).add_current_schema(schema).unwrap();
    let metadata = metadata.build().unwrap().metadata;
    let path = format!("{}/metadata/99999-by-hand.metadata.json", table.folder());
    let bytes = serde_json::to_vec(&metadata).unwrap();
    let catalog = world.lake().catalog();
    catalog.tables().warehouse().storage().put(&path, bytes.into()).await.unwrap();
    let key = EntryKey::Relation(name());
    let head = world.workspace.head().await.unwrap();
    let Some(Entry::Table(mut entry)) = catalog.entry(&head, &key).await.unwrap() else { panic!("a table") };
    entry.metadata_path = path;
    world.workspace.commit("by hand", vec![Change::Take { key, entry: Entry::Table(entry) }]).await.unwrap();
}

fn optional(id: i32, name: &str, primitive: PrimitiveType) -> NestedField {
    NestedField::optional(id, name, Type::Primitive(primitive))
}

#[tokio::test(flavor = "multi_thread")]
async fn renamed_swapped_and_promoted_columns() {
    let world = world().await;
    let rows = batch(&[
        ("a", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ("b", Arc::new(StringArray::from(vec!["x", "y", "z"]))),
        ("c", Arc::new(StringArray::from(vec!["p", "q", "r"]))),
    ]);
    world.create(&rows.schema(), &[]).await;
    world.append(vec![rows]).await;
    with_schema(
        &world,
        vec![
            optional(1, "number", PrimitiveType::Long),
            optional(2, "c", PrimitiveType::String),
            optional(3, "b", PrimitiveType::String),
            optional(4, "new", PrimitiveType::Int)
                .with_initial_default(Literal::int(7))
                .with_write_default(Literal::int(8)),
        ],
    )
    .await;
    assert_eq!(world.rows("select * from t order by number").await, ["1|x|p|7", "2|y|q|7", "3|z|r|7"]);
    assert_eq!(world.rows("select b, number + 5000000000 from t where c = 'y' and number = 2").await, ["q|5000000002"]);
    assert_eq!(world.rows("select count(*) from t where new = 7").await, ["3"]);
    assert_eq!(world.rows("select min(number), max(number) from t").await, ["1|3"]);
    world.append(vec![batch(&[("number", Arc::new(Int64Array::from(vec![1 << 40])))])]).await;
    assert_eq!(world.rows("select * from t where number > 3").await, [format!("{}|NULL|NULL|8", 1i64 << 40)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_inside_structs_are_found_by_id() {
    let world = world().await;
    let inner = StructArray::from(vec![
        (Arc::new(Field::new("x", DataType::Int32, true)), Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef),
        (Arc::new(Field::new("y", DataType::Int32, true)), Arc::new(Int32Array::from(vec![3, 4])) as ArrayRef),
    ]);
    let rows = batch(&[("s", Arc::new(inner))]);
    world.create(&rows.schema(), &[]).await;
    world.append(vec![rows]).await;
    let fields = vec![
        Arc::new(optional(3, "x", PrimitiveType::Long)),
        Arc::new(optional(9, "z", PrimitiveType::String)),
        Arc::new(optional(2, "first", PrimitiveType::Int)),
    ];
    with_schema(&world, vec![NestedField::optional(1, "s", Type::Struct(StructType::new(fields)))]).await;
    assert_eq!(world.rows("select s from t").await, ["{x: 3, z: , first: 1}", "{x: 4, z: , first: 2}"]);
    assert_eq!(world.rows("select s['first'] from t where s['x'] = 4").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_content_keeps_the_ids_of_columns_that_stay() {
    let world = world().await;
    world.create(&schema(&[("a", DataType::Int32), ("b", DataType::Utf8), ("c", DataType::Date32)]), &[]).await;
    let table = world.table().await;
    let replaced =
        table.replacement(&schema(&[("c", DataType::Date32), ("b", DataType::Int64), ("d", DataType::Utf8)])).unwrap();
    let ids: Vec<_> = replaced.as_struct().fields().iter().map(|f| (f.id, f.name.as_str())).collect();
    assert_eq!(ids, [(3, "c"), (4, "b"), (5, "d")]);
}
