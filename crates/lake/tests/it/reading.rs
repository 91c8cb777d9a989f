//! What a statement that was asked before reads again.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use crate::support::world;

/// Files never change: of what says where rows are, nothing is read twice.
#[tokio::test]
async fn only_pages_are_read_again() {
    let world = world().await;
    let numbers: ArrayRef = Arc::new((0..100_000).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new((0..100_000).map(|n| Some(format!("row {n}"))).collect::<StringArray>());
    let batch = RecordBatch::try_from_iter([("i", numbers), ("s", texts)]).unwrap();
    world.create(&batch.schema(), &[]).await;
    world.append(vec![batch]).await;
    let row = async |n: i64| world.rows(&format!("SELECT s FROM t WHERE i = {n}")).await;
    assert_eq!(row(70_000).await, ["row 70000"]);
    world.asked();
    assert_eq!(row(30_000).await, ["row 30000"]);
    let asked = world.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].contains("/data/"), "{asked:?}");
}
