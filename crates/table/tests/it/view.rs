//! Views.

use futures::executor::block_on;
use polder_table::spec::{PrimitiveType, Schema};
use polder_table::{CommittedView, DIALECT, ViewDefinition, view_definition};

use crate::fixture::{Fixture, column, extended, schema};

fn definition(sql: &str, schema: Schema, comment: Option<&str>) -> ViewDefinition {
    ViewDefinition {
        sql: sql.to_owned(),
        dialect: DIALECT.to_owned(),
        schema: schema.into(),
        comment: comment.map(ToOwned::to_owned),
    }
}

async fn next(lake: &Fixture, view: &CommittedView, definition: &ViewDefinition) -> CommittedView {
    let base = Some((view.metadata.as_ref(), view.metadata_path.as_str()));
    lake.io.commit_view(base, "ignored", definition, &lake.summary).await.unwrap()
}

#[test]
fn a_view_is_read_as_it_was_written() {
    block_on(async {
        let lake = Fixture::new();
        let first = definition("select id, city from silver.orders", schema(), Some("All orders"));
        let view = lake.io.commit_view(None, "gold/daily-00aa", &first, &lake.summary).await.unwrap();
        assert!(view.metadata_path.starts_with("gold/daily-00aa/metadata/00000-"), "{}", view.metadata_path);
        let read = lake.io.view(&view.metadata_path).await.unwrap();
        assert_eq!(read, view.metadata);
        let found = view_definition(&read).unwrap();
        assert_eq!((found.sql.as_str(), found.dialect.as_str()), ("select id, city from silver.orders", "datafusion"));
        assert_eq!((found.comment.as_deref(), found.schema.as_struct()), (Some("All orders"), schema().as_struct()));
        assert_eq!(read.current_version().summary()["polder.run"], "12");

        let narrow = Schema::builder().with_fields([column(1, "id", PrimitiveType::Long)]).build().unwrap();
        let second = next(&lake, &view, &definition("select id from silver.orders", narrow.clone(), None)).await;
        assert!(second.metadata_path.starts_with("gold/daily-00aa/metadata/00001-"), "{}", second.metadata_path);
        assert_eq!(second.metadata.uuid(), view.metadata.uuid());
        let found = view_definition(&second.metadata).unwrap();
        assert_eq!((found.sql.as_str(), found.comment), ("select id from silver.orders", None));
        assert_eq!(found.schema.as_struct(), narrow.as_struct());
        assert_eq!((second.metadata.versions().len(), second.metadata.history().len()), (2, 2));
    });
}

#[test]
fn old_versions_of_a_view_are_let_go() {
    block_on(async {
        let lake = Fixture::new();
        let first = definition("select 0", schema(), None);
        let mut view = lake.io.commit_view(None, "gold/v", &first, &lake.summary).await.unwrap();
        for i in 1..30 {
            let schema = extended([column(3, &format!("c{i}"), PrimitiveType::Date)]);
            view = next(&lake, &view, &definition(&format!("select {i}"), schema, None)).await;
        }
        assert_eq!((view.metadata.versions().len(), view.metadata.schemas_iter().len()), (10, 10));
        assert_eq!(view.metadata.history().len(), 10);
        assert_eq!(view_definition(&view.metadata).unwrap().sql, "select 29");
        assert_eq!(lake.io.view(&view.metadata_path).await.unwrap(), view.metadata);
    });
}
