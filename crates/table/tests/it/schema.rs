//! Schemas that follow each other.

use std::sync::Arc;

use futures::executor::block_on;
use polder_table::Operation;
use polder_table::spec::{NestedField, PrimitiveType, Schema, Type};

use crate::fixture::{Fixture, Table, assert_history, by_city, column, extended, file, schema, set};

fn with(fields: Vec<Arc<NestedField>>) -> Schema {
    Schema::builder().with_fields(fields).build().unwrap()
}

async fn refused(lake: &Fixture, table: &Table, operation: Operation) -> String {
    lake.try_commit(table, &[operation]).await.unwrap_err().to_string()
}

#[test]
fn a_column_is_added() {
    block_on(async {
        let lake = Fixture::new();
        let table = lake.create(vec![file("a")]).await;
        let first = table.metadata.current_snapshot_id();
        let new = extended([column(3, "note", PrimitiveType::String)]);
        let operations = [Operation::SetSchema { schema: new.clone() }, Operation::Append { files: vec![file("b")] }];
        let table = lake.commit(&table, &operations).await;
        assert_eq!(table.metadata.current_schema().as_struct(), new.as_struct());
        assert_eq!((table.metadata.current_schema_id(), table.metadata.last_column_id()), (1, 3));
        let current = table.metadata.current_snapshot().unwrap();
        assert_eq!(current.schema_id(), Some(1));
        assert_eq!(lake.io.schema(&table.metadata, first).unwrap().as_struct(), schema().as_struct());
        assert_eq!(lake.io.schema(&table.metadata, None).unwrap().as_struct(), new.as_struct());
        assert_eq!(lake.live(&table).await, set(&["a", "b"]));

        // Alone it makes no snapshot, and the current one is read with it.
        let newer = extended([column(3, "note", PrimitiveType::String), column(4, "more", PrimitiveType::Date)]);
        let table = lake.commit(&table, &[Operation::SetSchema { schema: newer }]).await;
        assert_eq!(table.metadata.snapshots().len(), 2);
        let read_with = lake.io.schema(&table.metadata, table.metadata.current_snapshot_id()).unwrap();
        assert_eq!(read_with.schema_id(), 2);
        assert_history(&table.metadata);

        // A schema that was there before is found again.
        let back = lake.commit(&table, &[Operation::Replace { schema: Some(new), files: vec![] }]).await;
        assert_eq!((back.metadata.current_schema_id(), back.metadata.last_column_id()), (1, 4));
    });
}

#[test]
fn comments_names_and_wider_types_are_changes_too() {
    block_on(async {
        let lake = Fixture::new();
        let narrow = Operation::Create {
            folder: "silver/narrow".to_owned(),
            schema: with(vec![column(1, "n", PrimitiveType::Int), column(2, "city", PrimitiveType::String)]),
            partition: Default::default(),
            sort: None,
            properties: Default::default(),
            files: vec![],
        };
        let table: Table = lake.io.commit(None, &[narrow], &lake.summary).await.unwrap().into();
        let city = NestedField::optional(2, "town", Type::Primitive(PrimitiveType::String)).with_doc("Town Name");
        let wider = with(vec![column(1, "n", PrimitiveType::Long), city.into()]);
        let table = lake.commit(&table, &[Operation::SetSchema { schema: wider }]).await;
        let town = table.metadata.current_schema().field_by_name("town").unwrap().clone();
        assert_eq!((town.id, town.doc.as_deref()), (2, Some("Town Name")));
        assert_eq!(table.metadata.current_schema_id(), 1);

        let narrower = with(vec![column(1, "n", PrimitiveType::Int), column(2, "town", PrimitiveType::String)]);
        let why = refused(&lake, &table, Operation::SetSchema { schema: narrower }).await;
        assert_eq!(why, "column `n` cannot change from long to int");
    });
}

#[test]
fn what_does_not_evolve_is_refused() {
    block_on(async {
        let lake = Fixture::new();
        let table = lake.create(vec![file("a")]).await;
        let required = NestedField::required(3, "note", Type::Primitive(PrimitiveType::String)).into();
        let cases = [
            (with(vec![column(1, "id", PrimitiveType::Long)]), "column `city` is missing in the new schema"),
            (
                with(vec![column(1, "id", PrimitiveType::String), column(2, "city", PrimitiveType::String)]),
                "column `id` cannot change from long to string",
            ),
            (extended([required]), "new column `note` must be optional: rows exist without it"),
        ];
        for (schema, expected) in cases {
            assert_eq!(refused(&lake, &table, Operation::SetSchema { schema }).await, expected);
        }
    });
}

#[test]
fn field_ids_are_never_used_again() {
    block_on(async {
        let lake = Fixture::new();
        let table = lake.create(vec![file("a")]).await;
        let without_city = with(vec![column(1, "id", PrimitiveType::Long), column(3, "town", PrimitiveType::String)]);
        let replace = Operation::Replace { schema: Some(without_city), files: vec![file("b")] };
        let table = lake.commit(&table, &[replace]).await;
        assert_eq!(table.metadata.last_column_id(), 3);
        assert_eq!(lake.live(&table).await, set(&["b"]));

        // Id 2 was a text once, and is that for ever.
        let reused = with(vec![column(1, "id", PrimitiveType::Long), column(2, "n", PrimitiveType::Date)]);
        let why = refused(&lake, &table, Operation::Replace { schema: Some(reused), files: vec![] }).await;
        assert_eq!(why, "column `n` cannot change from string to date");
        let evolved = with(vec![
            column(1, "id", PrimitiveType::Long),
            column(3, "town", PrimitiveType::String),
            column(2, "city", PrimitiveType::String),
        ]);
        let why = refused(&lake, &table, Operation::SetSchema { schema: evolved }).await;
        assert_eq!(why, "new column `city` has field id 2, which was used before");
    });
}

#[test]
fn the_partition_column_stays() {
    block_on(async {
        let lake = Fixture::new();
        let table = lake.create_with(by_city(), Default::default(), vec![]).await;
        let without = with(vec![column(1, "id", PrimitiveType::Long)]);
        let why = refused(&lake, &table, Operation::Replace { schema: Some(without), files: vec![] }).await;
        assert!(why.contains("partitioned by `city`"), "{why}");
    });
}
