//! Defects are where they were asked for, and as many as reported.

use std::io::Read;

use polder_generate::{
    Compression, Defect, DefectCounts, Defects, FileOptions, NaiveDate, Shop, ShopOptions, Slice, Table, write_files,
};

struct Written {
    folder: tempfile::TempDir,
    counts: DefectCounts,
}

fn write(defects: &Defects, slice: Slice) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::new(&ShopOptions { orders: 30_000, seed: 5, ..ShopOptions::default() }).unwrap();
    let options = FileOptions { compression: Some(Compression::None), ..FileOptions::new(folder.path()) };
    let summary = write_files(&shop, slice, defects, &options, &|_| ()).unwrap();
    Written { folder, counts: summary.defects }
}

impl Written {
    fn text(&self, table: Table) -> String {
        let folder = self.folder.path().join(table.as_str());
        let mut text = String::new();
        for file in std::fs::read_dir(folder).unwrap() {
            std::fs::File::open(file.unwrap().path()).unwrap().read_to_string(&mut text).unwrap();
        }
        text
    }

    /// Values of a column, the header left out.
    fn column(&self, table: Table, name: &str) -> Vec<String> {
        let text = self.text(table);
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
        let at = reader.headers().unwrap().iter().position(|h| h == name).unwrap();
        reader.records().map(|r| r.unwrap().get(at).unwrap_or("").to_owned()).collect()
    }
}

#[test]
fn none_are_there_unless_asked_for() {
    let w = write(&Defects::none(), Slice::History);
    assert!(w.counts.is_empty());
    assert!(w.column(Table::OrderLines, "quantity").iter().all(|q| q.parse::<i64>().unwrap() > 0));
}

#[test]
fn every_count_is_exact() {
    let w = write(&Defects::all(), Slice::History);
    let count = |n: usize| n as u64;
    let future = w.column(Table::Orders, "created_at").iter().filter(|t| t.as_str() >= "2030").count();
    let negative = w.column(Table::OrderLines, "quantity").iter().filter(|q| q.starts_with('-')).count();
    let products = w.column(Table::Products, "product_id").len();
    let orphan = |p: &String| p.parse::<usize>().unwrap() > products;
    let orphans = w.column(Table::OrderLines, "product_id").iter().filter(|p| orphan(p)).count();
    let broken = |e: &String| e.matches('@').count() != 1 || e.ends_with('@');
    let emails = w.column(Table::Customers, "email").iter().filter(|e| broken(e)).count();
    let mut ids = w.column(Table::Orders, "order_id");
    let all = ids.len();
    ids.dedup();
    let future_twice = {
        let rows: Vec<(String, String)> =
            w.column(Table::Orders, "order_id").into_iter().zip(w.column(Table::Orders, "created_at")).collect();
        rows.windows(2).filter(|p| p[0] == p[1] && p[0].1.as_str() >= "2030").count()
    };
    assert_eq!(w.counts.get(Defect::FutureOrders, Table::Orders), count(future - future_twice));
    assert_eq!(w.counts.get(Defect::NegativeQuantities, Table::OrderLines), count(negative));
    assert_eq!(w.counts.get(Defect::Orphans, Table::OrderLines), count(orphans));
    assert_eq!(w.counts.get(Defect::BrokenEmails, Table::Customers), count(emails));
    assert_eq!(w.counts.get(Defect::DuplicateKeys, Table::Orders), count(all - ids.len()));
    assert!(future > 1000 && negative > 400 && orphans > 400 && emails > 30 && all > ids.len() + 100);
}

#[test]
fn torn_lines_are_no_records() {
    let w = write(&Defects::none().with(Defect::TornLines, 10_000), Slice::History);
    let torn_csv = w.text(Table::Payments).lines().skip(1).filter(|l| l.matches(',').count() < 7).count();
    assert_eq!(w.counts.get(Defect::TornLines, Table::Payments), torn_csv as u64);
    let torn_json =
        w.text(Table::Events).lines().filter(|l| serde_json::from_str::<serde_json::Value>(l).is_err()).count();
    assert_eq!(w.counts.get(Defect::TornLines, Table::Events), torn_json as u64);
    assert!(torn_csv > 200 && torn_json > 300);
}

#[test]
fn a_bad_day_spoils_only_what_is_new() {
    let day = Slice::Day(NaiveDate::from_ymd_opt(2026, 1, 2).unwrap());
    let w = write(&Defects::none().with(Defect::FutureOrders, 1_000_000), day);
    let (ids, created) = (w.column(Table::Orders, "order_id"), w.column(Table::Orders, "created_at"));
    let (mut new, mut old) = (0, 0);
    for (id, created) in ids.iter().zip(&created) {
        let future = created.as_str() >= "2030";
        if future {
            new += 1
        } else {
            old += 1
        }
        assert_eq!(future, !created.starts_with("2025-12") && !created.starts_with("2026-01-01"), "{id} {created}");
    }
    assert!(new > 50 && old > 50, "{new} {old}");
    assert_eq!(w.counts.get(Defect::FutureOrders, Table::Orders), new);
}
