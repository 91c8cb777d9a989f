//! Random sequences of changes, next to a model that is a set of names.

use std::collections::BTreeSet;

use futures::executor::block_on;
use polder_table::spec::{PrimitiveType, Schema};
use polder_table::{Operation, Replay};
use proptest::prelude::*;

use crate::fixture::{Fixture, Table, assert_history, column, file, location};

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    /// Which of the live files go, by index, and how many come.
    Overwrite(Vec<prop::sample::Index>, usize),
    Replace(usize),
    AddColumn,
    /// Appends on a branch and on the table meanwhile, then replays.
    Replay(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4usize).prop_map(Step::Append),
        3 => (prop::collection::vec(any::<prop::sample::Index>(), 0..4), 0..3usize)
            .prop_map(|(remove, add)| Step::Overwrite(remove, add)),
        1 => (0..3usize).prop_map(Step::Replace),
        1 => Just(Step::AddColumn),
        2 => (0..5usize, 0..5usize).prop_map(|(ours, theirs)| Step::Replay(ours, theirs)),
    ]
}

/// The table and what must be in it.
struct World {
    lake: Fixture,
    table: Table,
    live: BTreeSet<String>,
    names: usize,
}

impl World {
    fn fresh(&mut self, count: usize) -> Vec<String> {
        self.names += count;
        (self.names - count..self.names).map(|i| format!("f{i}")).collect()
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Append(count) => {
                let new = self.fresh(*count);
                self.table = self.lake.commit(&self.table, &[append(&new)]).await;
                self.live.extend(new);
            }
            Step::Overwrite(remove, add) => {
                let all: Vec<_> = self.live.iter().cloned().collect();
                let gone: BTreeSet<_> =
                    remove.iter().filter(|_| !all.is_empty()).map(|i| i.get(&all).clone()).collect();
                let new = self.fresh(*add);
                let operation = Operation::Overwrite {
                    remove: gone.iter().map(|n| location(n)).collect(),
                    add: new.iter().map(|n| file(n)).collect(),
                };
                self.table = self.lake.commit(&self.table, &[operation]).await;
                self.live.retain(|n| !gone.contains(n));
                self.live.extend(new);
            }
            Step::Replace(count) => {
                let new = self.fresh(*count);
                let files = new.iter().map(|n| file(n)).collect();
                self.table = self.lake.commit(&self.table, &[Operation::Replace { schema: None, files }]).await;
                self.live = new.into_iter().collect();
            }
            Step::AddColumn => {
                let schema = self.wider();
                self.table = self.lake.commit(&self.table, &[Operation::SetSchema { schema }]).await;
            }
            Step::Replay(ours, theirs) => self.replay(*ours, *theirs).await,
        }
    }

    fn wider(&self) -> Schema {
        let id = self.table.metadata.last_column_id() + 1;
        let mut fields = self.table.metadata.current_schema().as_struct().fields().to_vec();
        fields.push(column(id, &format!("c{id}"), PrimitiveType::String));
        Schema::builder().with_fields(fields).build().unwrap()
    }

    async fn replay(&mut self, ours: usize, theirs: usize) {
        let fork = self.table.clone();
        let mut branch = fork.clone();
        for _ in 0..ours {
            let new = self.fresh(1);
            branch = self.lake.commit(&branch, &[append(&new)]).await;
            self.live.extend(new);
        }
        for _ in 0..theirs {
            let new = self.fresh(1);
            self.table = self.lake.commit(&self.table, &[append(&new)]).await;
            self.live.extend(new);
        }
        let target = (self.table.metadata.as_ref(), self.table.path.as_str());
        let fork = Some(fork.metadata.as_ref());
        match self.lake.io.replay_appends(fork, &branch.metadata, target, &self.lake.summary).await.unwrap() {
            Replay::Done(done) => self.table = done.into(),
            Replay::Conflict(why) => panic!("{why}"),
        }
    }

    async fn check(&self) {
        assert_eq!(self.lake.live(&self.table).await, self.live);
        assert_history(&self.table.metadata);
        if let Some(current) = self.table.metadata.current_snapshot() {
            let total = &current.summary().additional_properties["total-data-files"];
            assert_eq!(*total, self.live.len().to_string());
            let manifests = self.lake.io.manifests(&self.table.metadata, Some(current.snapshot_id())).await.unwrap();
            let listed: u64 =
                manifests.iter().map(|m| m.added_rows_count.unwrap() + m.existing_rows_count.unwrap()).sum();
            assert_eq!(listed, self.live.len() as u64 * 10);
        }
    }
}

fn append(names: &[String]) -> Operation {
    Operation::Append { files: names.iter().map(|n| file(n)).collect() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_live_files_are_those_of_the_model(steps in prop::collection::vec(step(), 1..25), count in 2..6u32) {
        block_on(async {
            let lake = Fixture::new();
            // Small numbers, so that merging and forgetting happen all the time.
            let properties = [
                ("commit.manifest.min-count-to-merge".to_owned(), count.to_string()),
                ("polder.snapshots-max".to_owned(), (count + 1).to_string()),
            ];
            let table = lake.create_with(Default::default(), properties.into(), vec![]).await;
            let mut world = World { lake, table, live: BTreeSet::new(), names: 0 };
            for step in &steps {
                world.take(step).await;
                world.check().await;
            }
        });
    }
}
