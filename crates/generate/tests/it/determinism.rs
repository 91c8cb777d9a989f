//! The same seed gives the same bytes, however they are made.

use std::collections::BTreeMap;
use std::path::Path;

use polder_generate::{
    Compression, Defects, FileOptions, Format, NaiveDate, Shop, ShopOptions, Slice, Table, write_files,
};

fn shop(seed: u64) -> Shop {
    // Large enough for two chunks.
    Shop::new(&ShopOptions { orders: 40_000, seed, ..ShopOptions::default() }).unwrap()
}

/// Hashes of all files below a folder.
fn hashes(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for table in std::fs::read_dir(folder).unwrap() {
        for file in std::fs::read_dir(table.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            found.insert(name, blake3::hash(&std::fs::read(path).unwrap()).to_string());
        }
    }
    found
}

fn write(seed: u64, threads: usize, change: impl Fn(FileOptions) -> FileOptions) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let options = change(FileOptions { threads, ..FileOptions::new(folder.path()) });
    write_files(&shop(seed), Slice::History, &Defects::all(), &options, &|_| ()).unwrap();
    hashes(folder.path())
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    for format in [None, Some(Format::JsonLines), Some(Format::Parquet)] {
        let of = |threads| write(1, threads, |o| FileOptions { format, ..o });
        let alone = of(1);
        assert_eq!(alone.len(), 6);
        assert_eq!(alone, of(3), "{format:?}");
    }
}

#[test]
fn another_seed_gives_other_bytes() {
    let (one, two) = (write(1, 2, |o| o), write(2, 2, |o| o));
    for (file, hash) in &one {
        assert_ne!(Some(hash), two.get(file), "{file}");
    }
}

/// Whoever changes what a seed means, changes every data set that was ever quoted by its seed.
#[test]
fn bytes_are_the_same_as_in_the_last_release() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::new(&ShopOptions { orders: 500, seed: 42, ..ShopOptions::default() }).unwrap();
    let options = FileOptions { compression: Some(Compression::None), ..FileOptions::new(folder.path()) };
    write_files(&shop, Slice::History, &Defects::none(), &options, &|_| ()).unwrap();
    let day = Slice::Day(NaiveDate::from_ymd_opt(2026, 1, 1).unwrap());
    write_files(&shop, day, &Defects::all(), &options, &|_| ()).unwrap();
    let mut all = blake3::Hasher::new();
    for (name, hash) in hashes(folder.path()) {
        all.update(name.as_bytes()).update(hash.as_bytes());
    }
    assert_eq!(all.finalize().to_hex().as_str(), "9d0f56d37388580cf6a146e05a58fce4e0093d792bb7b564f11f3fa2c3a4e2dc");
}

#[test]
fn compressed_files_hold_the_same_text() {
    use std::io::Read;
    let folder = tempfile::tempdir().unwrap();
    let read = |compression| {
        let options = FileOptions {
            compression: Some(compression),
            tables: vec![Table::Payments],
            ..FileOptions::new(folder.path())
        };
        let summary = write_files(&shop(1), Slice::History, &Defects::none(), &options, &|_| ()).unwrap();
        let bytes = std::fs::read(&summary.tables[0].target).unwrap();
        assert_eq!(bytes.len() as u64, summary.tables[0].bytes);
        bytes
    };
    let plain = read(Compression::None);
    let mut gunzipped = Vec::new();
    flate2::read::MultiGzDecoder::new(read(Compression::Gzip).as_slice()).read_to_end(&mut gunzipped).unwrap();
    assert!(gunzipped == plain, "gzip");
    assert!(zstd::decode_all(read(Compression::Zstd).as_slice()).unwrap() == plain, "zstd");
}
