//! What summaries say.

use futures::executor::block_on;
use polder_table::Operation;

use crate::fixture::{Fixture, Table, file, locations};

fn summary(table: &Table) -> Vec<String> {
    let summary = table.metadata.current_snapshot().unwrap().summary();
    let mut lines: Vec<_> = summary.additional_properties.iter().map(|(k, v)| format!("{k}={v}")).collect();
    lines.push(format!("operation={}", summary.operation.as_str()));
    lines.sort();
    lines
}

#[test]
fn summaries_count_and_total() {
    block_on(async {
        let lake = Fixture::new();
        let table = lake.create(vec![file("a"), file("b")]).await;
        let totals = |files: u64| {
            [
                format!("total-data-files={files}"),
                "total-delete-files=0".to_owned(),
                "total-equality-deletes=0".to_owned(),
                format!("total-files-size={}", files * 1000),
                "total-position-deletes=0".to_owned(),
                format!("total-records={}", files * 10),
            ]
        };
        let start = ["added-data-files=2", "added-files-size=2000", "added-records=20", "changed-partition-count=1"];
        let run = "polder.run=12";
        let expected = |start: &[&str], operation, files| -> Vec<String> {
            let head = start.iter().map(|s| (*s).to_owned());
            head.chain([format!("operation={operation}"), run.to_owned()]).chain(totals(files)).collect()
        };
        assert_eq!(summary(&table), expected(&start, "append", 2));

        let table = lake.append(&table, &["c"]).await;
        let start = ["added-data-files=1", "added-files-size=1000", "added-records=10", "changed-partition-count=1"];
        assert_eq!(summary(&table), expected(&start, "append", 3));

        let overwrite = Operation::Overwrite { remove: locations(&["a", "c"]), add: vec![file("d")] };
        let table = lake.commit(&table, &[overwrite]).await;
        let start = [
            "added-data-files=1",
            "added-files-size=1000",
            "added-records=10",
            "changed-partition-count=1",
            "deleted-data-files=2",
            "deleted-records=20",
        ];
        let mut all = expected(&start, "overwrite", 2);
        all.push("removed-files-size=2000".to_owned());
        all.sort();
        assert_eq!(summary(&table), all);
    });
}
