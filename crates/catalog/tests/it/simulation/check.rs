//! What must be true of the world after every step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::executor::block_on;
use polder_base::RunId;
use polder_catalog::{Catalog, Commit, CommitId, Entry, EntryKey, MAIN, RefInfo};
use polder_store::{Space, State, Storage};
use polder_table::spec::ManifestFile;

use super::actors::run::{COUNTER, RunRecord, key_of_marks, run_key};
use super::actors::{source_cursor, source_table};
use super::world::{SOURCES, World};
use crate::support::{relation, rows_of_file};

/// What a metadata file leads to; it never changes.
#[derive(Debug)]
struct TableFacts {
    /// Of the current snapshot.
    rows: Vec<String>,
    /// Everything that a reader of any of its snapshots needs.
    files: BTreeSet<String>,
}

type Content = BTreeMap<EntryKey, Entry>;

#[derive(Debug)]
pub struct Checker {
    world: Arc<World>,
    observer: Option<Catalog>,
    heads: BTreeMap<String, RefInfo>,
    epochs: BTreeMap<String, u64>,
    facts: HashMap<String, Arc<TableFacts>>,
    lists: HashMap<String, Vec<ManifestFile>>,
    manifests: HashMap<String, Vec<String>>,
    rows: HashMap<String, Vec<String>>,
}

impl Checker {
    pub fn new(world: Arc<World>) -> Self {
        Self {
            world,
            observer: None,
            heads: BTreeMap::new(),
            epochs: BTreeMap::new(),
            facts: HashMap::new(),
            lists: HashMap::new(),
            manifests: HashMap::new(),
            rows: HashMap::new(),
        }
    }

    /// Checks what the last step may have changed.
    pub fn check(&mut self) {
        let (changed, deleted) = self.world.take_changes();
        if changed.is_empty() && !deleted {
            return;
        }
        if block_on(self.world.state.get(Space::Refs, MAIN)).unwrap().is_none() {
            return;
        }
        if deleted || self.observer.is_none() {
            // One that has nothing cached, so that what is gone is missed.
            self.observer = Some(block_on(self.world.observe()).unwrap());
        }
        for name in changed {
            self.check_ref(&name);
        }
        if deleted {
            self.check_all_readable();
        }
    }

    fn observer(&self) -> Catalog {
        self.observer.clone().unwrap()
    }

    fn check_ref(&mut self, name: &str) {
        let Some(info) = block_on(self.observer().find_ref(name)).unwrap() else {
            self.heads.remove(name);
            return;
        };
        let before = self.heads.insert(name.to_owned(), info.clone());
        let epoch = self.epochs.insert(name.to_owned(), info.epoch);
        if let Some(epoch) = epoch {
            let same = before.as_ref().is_some_and(|b| b.commit == info.commit && b.epoch == info.epoch);
            assert!(same || info.epoch > epoch, "{name} went from epoch {epoch} to {}", info.epoch);
        }
        self.check_content(name, &self.content(&info.commit));
        if name == MAIN {
            self.check_moves_of_main(before.map(|b| b.commit), &info.commit);
        }
    }

    fn content(&self, at: &CommitId) -> Content {
        let observer = self.observer();
        block_on(observer.entries(at))
            .unwrap_or_else(|e| panic!("{} does not read: {e}", at.short()))
            .into_iter()
            .collect()
    }

    // ---- any ref ----

    /// No row is there twice, and of each source the rows up to the cursor, no more and no fewer.
    fn check_content(&mut self, name: &str, content: &Content) {
        for (key, entry) in content {
            if let Entry::Table(table) = entry {
                let facts = self.facts(&table.metadata_path);
                for pair in facts.rows.windows(2) {
                    assert_ne!(pair[0], pair[1], "a row of {key} is twice on {name}");
                }
            }
        }
        for source in 0..SOURCES {
            let cursor = match content.get(&EntryKey::Cursor(source_cursor(source))) {
                Some(Entry::Cursor(cursor)) => cursor.value.parse::<u64>().unwrap(),
                _ => 0,
            };
            let rows = self.rows_in(content, &relation(&source_table(source)));
            let numbers: BTreeSet<u64> = rows.iter().map(|r| r.split_once(':').unwrap().1.parse().unwrap()).collect();
            assert_eq!(
                numbers,
                (1..=cursor).collect(),
                "rows of source {source} on {name}, of which the cursor says {cursor}"
            );
        }
    }

    fn rows_in(&mut self, content: &Content, key: &EntryKey) -> Vec<String> {
        match content.get(key) {
            Some(Entry::Table(table)) => self.facts(&table.metadata_path).rows.clone(),
            _ => Vec::new(),
        }
    }

    fn facts(&mut self, metadata_path: &str) -> Arc<TableFacts> {
        if let Some(facts) = self.facts.get(metadata_path) {
            return Arc::clone(facts);
        }
        let facts = Arc::new(block_on(self.read_facts(metadata_path)));
        self.facts.insert(metadata_path.to_owned(), Arc::clone(&facts));
        facts
    }

    /// Reads what a metadata file leads to. Files that were read before are not read again, as none ever changes.
    async fn read_facts(&mut self, metadata_path: &str) -> TableFacts {
        let observer = self.observer();
        let (tables, warehouse) = (observer.tables(), observer.tables().warehouse());
        let path = |location: &str| warehouse.path(location).unwrap().to_owned();
        let metadata = tables.metadata(metadata_path).await.unwrap();
        let mut facts = TableFacts { rows: Vec::new(), files: BTreeSet::from([metadata_path.to_owned()]) };
        for snapshot in metadata.snapshots() {
            let list = path(snapshot.manifest_list());
            if !self.lists.contains_key(&list) {
                let manifests = tables.manifests(&metadata, Some(snapshot.snapshot_id())).await.unwrap();
                self.lists.insert(list.clone(), manifests);
            }
            for manifest in &self.lists[&list] {
                let manifest_path = path(&manifest.manifest_path);
                if !self.manifests.contains_key(&manifest_path) {
                    let files = tables.files(&metadata, manifest).await.unwrap();
                    let files = files.iter().map(|info| path(info.file.file_path())).collect();
                    self.manifests.insert(manifest_path.clone(), files);
                }
                let files = &self.manifests[&manifest_path];
                facts.files.extend(files.iter().cloned());
                facts.files.insert(manifest_path);
                if metadata.current_snapshot_id() == Some(snapshot.snapshot_id()) {
                    for file in files {
                        if !self.rows.contains_key(file) {
                            let rows = rows_of_file(warehouse, &warehouse.location(file)).await.unwrap();
                            self.rows.insert(file.clone(), rows);
                        }
                        facts.rows.extend(self.rows[file].iter().cloned());
                    }
                }
            }
            facts.files.insert(list);
        }
        facts.rows.sort();
        facts
    }

    /// Every ref reads, with every file that any snapshot of it needs.
    fn check_all_readable(&mut self) {
        for name in self.heads.keys().cloned().collect::<Vec<_>>() {
            let head = self.heads[&name].commit.clone();
            self.check_readable(&name, &head);
        }
    }

    fn check_readable(&mut self, name: &str, commit: &CommitId) {
        for (key, entry) in self.content(commit) {
            match entry {
                Entry::Table(table) => {
                    for file in &self.facts(&table.metadata_path).files.clone() {
                        self.check_file(name, &key, file);
                    }
                }
                Entry::View(view) => self.check_file(name, &key, &view.metadata_path),
                Entry::Cursor(_) => {}
            }
        }
    }

    fn check_file(&self, name: &str, key: &EntryKey, path: &str) {
        let found = block_on(self.world.storage.head(path));
        assert!(found.is_ok(), "{key} on {name} needs {path}, which is gone");
    }

    // ---- main ----

    /// Main goes forward only: every commit that was its head stays in its history, and none takes rows away but a
    /// rollback, and an increment from the tables that it writes anew.
    fn check_moves_of_main(&mut self, before: Option<CommitId>, head: &CommitId) {
        let observer = self.observer();
        let mut moves: Vec<(CommitId, Arc<Commit>)> = Vec::new();
        let mut next = Some(head.clone());
        while let Some(id) = next.filter(|id| Some(id) != before.as_ref()) {
            let commit = block_on(observer.commit_object(&id)).unwrap_or_else(|e| panic!("main's history: {e}"));
            next = commit.parents.first().map(|parent| CommitId(parent.clone()));
            if next.is_none() {
                assert!(before.is_none(), "main lost {}", before.unwrap().short());
                break;
            }
            moves.push((id, commit));
        }
        for (id, commit) in moves.into_iter().rev() {
            self.check_move(&id, &commit);
        }
    }

    fn check_move(&mut self, id: &CommitId, commit: &Commit) {
        let parent = CommitId(commit.parents[0].clone());
        let (then, now) = (self.content(&parent), self.content(id));
        let parent_time = block_on(self.observer().commit_object(&parent)).unwrap().time;
        assert!(commit.time > parent_time, "{} is not younger than its parent", id.short());
        self.check_runs(&now);
        if commit.message.starts_with("Roll back to") {
            return self.check_rollback(commit, &now);
        }
        if commit.message.starts_with("Roll back") {
            return check_untouched(commit, &then, &now);
        }
        for key in then.keys().filter(|key| is_append_only(key)) {
            let (old, new) = (self.rows_in(&then, key), self.rows_in(&now, key));
            let new: BTreeSet<&String> = new.iter().collect();
            let lost: Vec<&String> = old.iter().filter(|row| !new.contains(row)).collect();
            assert!(lost.is_empty(), "{} ({}) lost rows of {key}: {lost:?}", id.short(), commit.message);
        }
        if let (Some(run), true) = (commit.run, commit.rebased_from.is_some()) {
            for key in key_of_marks() {
                let (old, mut new) = (self.rows_in(&then, &key), self.rows_in(&now, &key));
                new.retain(|row| !old.contains(row));
                assert_eq!(new, [run.to_string()], "run {run} in {key}");
            }
        }
    }

    /// Of each run both marks or none, and its increment exactly when it made one.
    fn check_runs(&mut self, content: &Content) {
        let [first, second] = key_of_marks().map(|key| self.rows_in(content, &key));
        assert_eq!(first, second, "a run is published in part");
        let mut counted: BTreeSet<String> = BTreeSet::new();
        for run in &first {
            let run = RunId(run.parse().unwrap());
            let raw = block_on(self.world.state.get(Space::Runs, &run_key(run))).unwrap().unwrap();
            let record: RunRecord = serde_json::from_slice(&raw).unwrap();
            if record.increments() {
                counted.insert(run.to_string());
            }
        }
        let counter: BTreeSet<String> = self.rows_in(content, &relation(COUNTER)).into_iter().collect();
        assert_eq!(counter, counted, "the counter lost an increment, or has one of a run that is not there");
    }

    fn check_rollback(&self, commit: &Commit, now: &Content) {
        let digits = commit.message.rsplit(' ').next().unwrap();
        // Retention may have cut it since.
        if let Ok(to) = block_on(self.observer().resolve(digits)) {
            assert_eq!(&self.content(&to), now, "{}", commit.message);
        }
    }

    // ---- the end ----

    /// Every commit that refs lead to, through all parents that are still there.
    fn commits(&self) -> BTreeSet<CommitId> {
        let observer = self.observer();
        let mut commits = BTreeSet::new();
        let mut queue: Vec<CommitId> = self.heads.values().map(|info| info.commit.clone()).collect();
        while let Some(id) = queue.pop() {
            if let (false, Ok(commit)) = (commits.contains(&id), block_on(observer.commit_object(&id))) {
                queue.extend(commit.parents.iter().map(|parent| CommitId(parent.clone())));
                commits.insert(id);
            }
        }
        commits
    }

    /// When all is quiet: every commit that is still there reads.
    pub fn check_history(&mut self) {
        self.observer = Some(block_on(self.world.observe()).unwrap());
        for id in self.commits() {
            self.check_readable(id.short(), &id);
        }
    }

    /// After a collection, the files of tables are exactly those that commits need.
    pub fn check_nothing_is_left(&mut self) {
        let mut needed = BTreeSet::new();
        let mut commits = self.commits();
        // Where branches began, which no commit names.
        for (_, raw) in block_on(self.world.state.scan(Space::Refs, "", None, usize::MAX)).unwrap() {
            let record: serde_json::Value = serde_json::from_slice(&raw).unwrap();
            commits.extend(record["fork"].as_str().map(|fork| CommitId(fork.to_owned())));
        }
        for id in commits {
            for entry in self.content(&id).into_values() {
                match entry {
                    Entry::Table(table) => needed.extend(self.facts(&table.metadata_path).files.iter().cloned()),
                    Entry::View(view) => {
                        needed.insert(view.metadata_path);
                    }
                    Entry::Cursor(_) => {}
                }
            }
        }
        let files = block_on(self.world.storage.list("")).unwrap();
        let files: BTreeSet<String> = files.into_iter().map(|f| f.path).filter(|p| !p.starts_with('_')).collect();
        let left: Vec<&String> = files.difference(&needed).collect();
        assert!(left.is_empty(), "nobody needs {left:?}");
    }

    /// Of every source all rows are on main.
    pub fn check_complete(&mut self) {
        let content = self.content(&self.heads[MAIN].commit.clone());
        for source in 0..SOURCES {
            let rows = self.rows_in(&content, &relation(&source_table(source)));
            assert_eq!(rows.len() as u64, self.world.available(source), "rows of source {source}");
        }
    }

    /// A head that was rebuilt from the warehouse is the true one, or the one move that was tried beyond it.
    pub fn check_rebuilt(&mut self, rebuilt: &Catalog) {
        let head = block_on(rebuilt.find_ref(MAIN)).unwrap().unwrap().commit;
        let truth = self.heads[MAIN].commit.clone();
        if head != truth {
            let commit = block_on(rebuilt.commit_object(&head)).unwrap();
            assert_eq!(commit.parents[0], truth.0, "main was rebuilt as {}, it was {}", head.short(), truth.short());
        }
        self.observer = Some(rebuilt.clone());
        for info in block_on(rebuilt.refs()).unwrap() {
            let content = self.content(&info.commit);
            self.check_content(&info.name, &content);
            self.check_readable(&info.name, &info.commit);
        }
    }
}

/// A rollback of some tables leaves the others as they are.
fn check_untouched(commit: &Commit, then: &Content, now: &Content) {
    let keys: BTreeSet<&EntryKey> = then.keys().chain(now.keys()).collect();
    for key in keys.into_iter().filter(|key| then.get(*key) != now.get(*key)) {
        let named = commit.operations.iter().any(|o| o.entry == key.to_string());
        assert!(named, "{} changed {key}", commit.message);
    }
}

fn is_append_only(key: &EntryKey) -> bool {
    match key {
        EntryKey::Relation(name) => {
            ["bronze", "lab"].contains(&name.namespace.as_str()) || key_of_marks().contains(key)
        }
        EntryKey::Cursor(_) => false,
    }
}
