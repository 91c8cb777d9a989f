//! What holds between the tables of a shop without defects.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use polder_generate::{Defects, NaiveDate, Shop, ShopOptions, Slice, Table};

const ORDERS: u64 = 35_000;

fn shop() -> Shop {
    Shop::new(&ShopOptions { orders: ORDERS, seed: 3, ..ShopOptions::default() }).unwrap()
}

fn rows(shop: &Shop, table: Table, slice: Slice) -> Vec<RecordBatch> {
    shop.batches(table, slice, &Defects::none()).unwrap().map(|r| r.unwrap().batch).collect()
}

fn longs(batches: &[RecordBatch], column: &str) -> Vec<i64> {
    let of = |b: &RecordBatch| b.column_by_name(column).unwrap().as_primitive::<Int64Type>().iter().flatten().collect();
    batches.iter().flat_map(|b| -> Vec<i64> { of(b) }).collect()
}

fn money(batches: &[RecordBatch], column: &str) -> Vec<i128> {
    let of = |b: &RecordBatch| b.column_by_name(column).unwrap().as_primitive::<Decimal128Type>().values().to_vec();
    batches.iter().flat_map(of).collect()
}

fn times(batches: &[RecordBatch], column: &str) -> Vec<i64> {
    let of = |b: &RecordBatch| {
        b.column_by_name(column).unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
    };
    batches.iter().flat_map(of).collect()
}

fn texts(batches: &[RecordBatch], column: &str) -> Vec<String> {
    let of = |b: &RecordBatch| {
        b.column_by_name(column).unwrap().as_string::<i32>().iter().flatten().map(str::to_owned).collect()
    };
    batches.iter().flat_map(|b| -> Vec<String> { of(b) }).collect()
}

fn date(y: i32, m: u32, d: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(y, m, d).unwrap()
}

#[test]
fn every_reference_has_its_row() {
    let shop = shop();
    let of = |table| rows(&shop, table, Slice::History);
    let (customers, products, orders) = (of(Table::Customers), of(Table::Products), of(Table::Orders));
    let (lines, payments, events) = (of(Table::OrderLines), of(Table::Payments), of(Table::Events));
    let keys = |batches: &[RecordBatch], column: &str| {
        let all = longs(batches, column);
        let unique: BTreeSet<i64> = all.iter().copied().collect();
        assert_eq!(all.len(), unique.len(), "{column}");
        unique
    };
    let customer_ids = keys(&customers, "customer_id");
    let product_ids = keys(&products, "product_id");
    let order_ids = keys(&orders, "order_id");
    assert_eq!(order_ids.len() as u64, ORDERS);
    keys(&lines, "order_line_id");
    keys(&payments, "payment_id");
    for (batches, column, known) in [
        (&orders, "customer_id", &customer_ids),
        (&lines, "order_id", &order_ids),
        (&lines, "product_id", &product_ids),
        (&payments, "order_id", &order_ids),
        (&events, "order_id", &order_ids),
        (&events, "product_id", &product_ids),
        (&events, "customer_id", &customer_ids),
    ] {
        let found = longs(batches, column);
        assert!(!found.is_empty() && found.iter().all(|id| known.contains(id)), "{column}");
    }
    let event_ids = texts(&events, "event_id");
    assert_eq!(event_ids.len(), event_ids.iter().collect::<BTreeSet<_>>().len());
    let emails = texts(&customers, "email");
    assert_eq!(emails.len(), emails.iter().collect::<BTreeSet<_>>().len());
}

#[test]
fn an_order_costs_what_its_lines_cost() {
    let shop = shop();
    let orders = rows(&shop, Table::Orders, Slice::History);
    let lines = rows(&shop, Table::OrderLines, Slice::History);
    let mut sums: BTreeMap<i64, i128> =
        longs(&orders, "order_id").into_iter().zip(money(&orders, "shipping")).collect();
    for (order, amount) in longs(&lines, "order_id").into_iter().zip(money(&lines, "amount")) {
        *sums.get_mut(&order).unwrap() += amount;
    }
    let amounts: BTreeMap<i64, i128> = longs(&orders, "order_id").into_iter().zip(money(&orders, "amount")).collect();
    assert_eq!(sums, amounts);
}

#[test]
fn nothing_happens_before_its_cause_or_after_the_history() {
    let shop = shop();
    let customers = rows(&shop, Table::Customers, Slice::History);
    let orders = rows(&shop, Table::Orders, Slice::History);
    let signed_up: BTreeMap<i64, i64> =
        longs(&customers, "customer_id").into_iter().zip(times(&customers, "signed_up_at")).collect();
    let (created, updated) = (times(&orders, "created_at"), times(&orders, "updated_at"));
    for ((customer, created), updated) in longs(&orders, "customer_id").iter().zip(&created).zip(&updated) {
        assert!(signed_up[customer] < *created && created <= updated);
    }
    let end = (date(2026, 1, 1) - NaiveDate::default()).num_days() * 86_400_000_000;
    for (table, column) in [
        (Table::Customers, "signed_up_at"),
        (Table::Orders, "updated_at"),
        (Table::OrderLines, "created_at"),
        (Table::Payments, "paid_at"),
        (Table::Events, "occurred_at"),
    ] {
        let last = times(&rows(&shop, table, Slice::History), column).into_iter().max().unwrap();
        assert!(last < end && last > end - 2 * 86_400_000_000, "{table}.{column}: {last}");
    }
}

/// The history until the second, made at once, is the history until the first with one day on top.
#[test]
fn days_add_up_to_a_history() {
    let earlier = shop();
    let day = date(2026, 1, 1);
    let orders_after = longs(&rows(&earlier, Table::Orders, Slice::Day(day)), "order_id").into_iter().max().unwrap();
    let later =
        Shop::new(&ShopOptions { orders: u64::try_from(orders_after).unwrap(), seed: 3, until: day, days: 366 });
    // The later shop rounds the orders of each day anew and has more first customers; the sum of rows is what agrees.
    let later = later.unwrap();
    let count = |shop: &Shop, table, slice| rows(shop, table, slice).iter().map(RecordBatch::num_rows).sum::<usize>();
    let lines =
        count(&earlier, Table::OrderLines, Slice::History) + count(&earlier, Table::OrderLines, Slice::Day(day));
    assert_eq!(lines, count(&later, Table::OrderLines, Slice::History));
}

#[test]
fn a_day_brings_new_orders_and_changes_old_ones() {
    let shop = shop();
    let day = rows(&shop, Table::Orders, Slice::Day(date(2026, 1, 1)));
    let start = (date(2026, 1, 1) - NaiveDate::default()).num_days() * 86_400_000_000;
    let within = start..start + 86_400_000_000;
    assert!(times(&day, "updated_at").iter().all(|t| within.contains(t)));
    let ids = longs(&day, "order_id");
    let new = ids.iter().filter(|id| **id > i64::try_from(ORDERS).unwrap()).count();
    assert!(new > 50 && ids.len() > new + 50, "{new} of {}", ids.len());
    // A payment that the history did not have yet, and none that it had.
    let paid: BTreeSet<i64> = longs(&rows(&shop, Table::Payments, Slice::History), "payment_id").into_iter().collect();
    let today = longs(&rows(&shop, Table::Payments, Slice::Day(date(2026, 1, 1))), "payment_id");
    assert!(!today.is_empty() && today.iter().all(|id| !paid.contains(id)));
    assert!(rows(&shop, Table::Products, Slice::Day(date(2026, 1, 1))).is_empty());
}

#[test]
fn many_orders_for_few_products_and_several_countries() {
    let shop = shop();
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for id in longs(&rows(&shop, Table::OrderLines, Slice::History), "product_id") {
        *counts.entry(id).or_default() += 1;
    }
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let top: usize = counts.iter().take(counts.len() / 5).sum();
    assert!(top * 2 > counts.iter().sum::<usize>(), "a fifth of the products makes half of the lines");
    let customers = rows(&shop, Table::Customers, Slice::History);
    assert_eq!(texts(&customers, "country").iter().collect::<BTreeSet<_>>().len(), 10);
    let domains =
        texts(&customers, "email").iter().map(|e| e.split_once('@').unwrap().1.to_owned()).collect::<BTreeSet<_>>();
    assert!(domains.len() >= 5, "{domains:?}");
    let statuses = texts(&rows(&shop, Table::Orders, Slice::History), "status");
    assert_eq!(statuses.iter().collect::<BTreeSet<_>>().len(), 6);
    assert!(texts(&rows(&shop, Table::Products, Slice::History), "sku").iter().any(|s| s.starts_with('0')));
}

/// Sums that were quoted once have to stay.
#[test]
fn sums_are_stable() {
    let shop = shop();
    let sum = |table, column| money(&rows(&shop, table, Slice::History), column).iter().sum::<i128>();
    let events = rows(&shop, Table::Events, Slice::History).iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!(
        (sum(Table::Orders, "amount"), sum(Table::OrderLines, "amount"), sum(Table::Payments, "amount"), events),
        (976_514_312, 970_846_016, 943_196_993, 70_109)
    );
}
