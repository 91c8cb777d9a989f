//! Answers from statistics are the answers of the rows.

use std::sync::Arc;

use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::{DataType, Field, Schema};

use crate::support::world;

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_extremes() {
    let world = world().await;
    let long = "x".repeat(70);
    let file = |ids: Vec<Option<i64>>, floats: Vec<f64>, texts: Vec<String>| {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("f", DataType::Float64, true),
            Field::new("text", DataType::Utf8, true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(ids)),
            Arc::new(Float64Array::from(floats)),
            Arc::new(StringArray::from(texts)),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    };
    let first = file(
        vec![Some(3), None, Some(-2)],
        vec![1.0, f64::NAN, -0.0],
        vec![long.clone() + "a", long.clone() + "b", "m".into()],
    );
    world.create(&first.schema(), &[]).await;
    world.append(vec![first]).await;
    world.append(vec![file(vec![None, None], vec![0.0, 2.0], vec!["a".into(), "b".into()])]).await;

    // From statistics alone: no scan is left in the plan.
    for sql in ["select count(*) from t", "select min(id), max(id), count(id) from t"] {
        let plan = world.explain(sql).await;
        assert!(!plan.contains("DataSourceExec"), "{plan}");
    }
    assert_eq!(world.rows("select count(*), count(id), min(id), max(id) from t").await, ["5|2|-2|3"]);
    // Cut bounds and NaN: from the rows.
    for sql in ["select max(text) from t", "select max(f), min(f) from t"] {
        let plan = world.explain(sql).await;
        assert!(plan.contains("DataSourceExec"), "{plan}");
    }
    assert_eq!(world.rows("select min(text), max(text) from t").await, [format!("a|{long}b")]);
    assert_eq!(world.rows("select max(f) from t where f < 5 ").await, ["2.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_reads_as_few_files_as_it_can() {
    let world = world().await;
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    world.create(&schema, &[]).await;
    for start in [0, 100, 200] {
        let ids = Int64Array::from_iter_values(start..start + 100);
        world.append(vec![RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids)]).unwrap()]).await;
    }
    assert!(world.explain("select * from t limit 150").await.contains("files=2/3"));
    assert_eq!(world.rows("select * from t limit 150").await.len(), 150);
    assert_eq!(world.rows("select * from t offset 250 limit 150").await.len(), 50);
}
