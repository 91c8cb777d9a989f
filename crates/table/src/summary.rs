//! What a snapshot's summary says: the keys of the specification's appendix F, filled as Iceberg's Java library does.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::spec::{DataContentType, DataFile, Operation, Struct, Summary};

/// Files that a snapshot adds or removes, counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    added: Counts,
    removed: Counts,
    partitions: HashSet<(i32, Struct)>,
}

#[derive(Debug, Default)]
struct Counts {
    bytes: u64,
    data_files: u64,
    records: u64,
    position_delete_files: u64,
    position_deletes: u64,
    equality_delete_files: u64,
    equality_deletes: u64,
}

impl Tally {
    pub fn add(&mut self, file: &DataFile, spec_id: i32) {
        self.added.count(file);
        self.partitions.insert((spec_id, file.partition().clone()));
    }

    pub fn remove(&mut self, file: &DataFile, spec_id: i32) {
        self.removed.count(file);
        self.partitions.insert((spec_id, file.partition().clone()));
    }

    /// The specification's operation for this change. `replacing`: the change decides about all of the content, even
    /// when it happens to remove nothing.
    pub fn operation(&self, replacing: bool) -> Operation {
        let (adds, removes) = (self.added.files() > 0, replacing || self.removed.files() > 0);
        match (adds, removes) {
            (_, false) => Operation::Append,
            (true, true) => Operation::Overwrite,
            (false, true) => Operation::Delete,
        }
    }

    /// The summary of a snapshot that follows one with the summary `previous`.
    pub fn summary(
        &self,
        operation: Operation,
        previous: Option<&Summary>,
        extra: &BTreeMap<String, String>,
    ) -> Summary {
        let mut all: HashMap<String, String> = extra.clone().into_iter().collect();
        let mut set = |key: &str, value: u64| all.insert(key.to_owned(), value.to_string());
        for (key, value) in self.changes().into_iter().filter(|(_, value)| *value > 0) {
            set(key, value);
        }
        set("changed-partition-count", self.partitions.len() as u64);
        for (key, added, removed) in self.totals() {
            // A total that the parent does not know cannot be known here either.
            let before = previous.map_or(Some(0), |s| s.additional_properties.get(key)?.parse::<u64>().ok());
            if let Some(before) = before {
                set(key, before.saturating_add(added).saturating_sub(removed));
            }
        }
        Summary { operation, additional_properties: all }
    }

    fn changes(&self) -> [(&'static str, u64); 16] {
        let (a, r) = (&self.added, &self.removed);
        [
            ("added-data-files", a.data_files),
            ("deleted-data-files", r.data_files),
            ("added-records", a.records),
            ("deleted-records", r.records),
            ("added-files-size", a.bytes),
            ("removed-files-size", r.bytes),
            ("added-delete-files", a.delete_files()),
            ("removed-delete-files", r.delete_files()),
            ("added-position-delete-files", a.position_delete_files),
            ("removed-position-delete-files", r.position_delete_files),
            ("added-position-deletes", a.position_deletes),
            ("removed-position-deletes", r.position_deletes),
            ("added-equality-delete-files", a.equality_delete_files),
            ("removed-equality-delete-files", r.equality_delete_files),
            ("added-equality-deletes", a.equality_deletes),
            ("removed-equality-deletes", r.equality_deletes),
        ]
    }

    /// Key, what was added, what was removed.
    fn totals(&self) -> [(&'static str, u64, u64); 6] {
        let (a, r) = (&self.added, &self.removed);
        [
            ("total-data-files", a.data_files, r.data_files),
            ("total-records", a.records, r.records),
            ("total-files-size", a.bytes, r.bytes),
            ("total-delete-files", a.delete_files(), r.delete_files()),
            ("total-position-deletes", a.position_deletes, r.position_deletes),
            ("total-equality-deletes", a.equality_deletes, r.equality_deletes),
        ]
    }
}

impl Counts {
    fn count(&mut self, file: &DataFile) {
        self.bytes += file.file_size_in_bytes();
        match file.content_type() {
            DataContentType::Data => {
                self.data_files += 1;
                self.records += file.record_count();
            }
            DataContentType::PositionDeletes => {
                self.position_delete_files += 1;
                self.position_deletes += file.record_count();
            }
            DataContentType::EqualityDeletes => {
                self.equality_delete_files += 1;
                self.equality_deletes += file.record_count();
            }
        }
    }

    fn delete_files(&self) -> u64 {
        self.position_delete_files + self.equality_delete_files
    }

    fn files(&self) -> u64 {
        self.data_files + self.delete_files()
    }
}
