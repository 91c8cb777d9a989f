//! The shop as a whole: its size, its calendar, and how its tables are cut into chunks.

use std::ops::Range;

use arrow::array::RecordBatch;
use chrono::NaiveDate;

use crate::calendar::Calendar;
use crate::order::LONGEST_ORDER_DAYS;
use crate::product::Catalogue;
use crate::{DefectCounts, Defects, GenerateError, Table};

/// What decides every byte of the shop.
#[derive(Debug, Clone)]
pub struct ShopOptions {
    /// Orders in the history; everything else follows from it.
    pub orders: u64,
    pub seed: u64,
    /// The last day of the history.
    pub until: NaiveDate,
    /// Days of the history.
    pub days: u32,
}

impl Default for ShopOptions {
    /// 100,000 orders in the year 2025.
    fn default() -> Self {
        Self { orders: 100_000, seed: 1, until: NaiveDate::from_ymd_opt(2025, 12, 31).unwrap_or_default(), days: 365 }
    }
}

/// What part of the shop's time is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slice {
    /// All rows as they stand at the end of the history.
    History,
    /// What one later day adds and changes: new rows, and orders as they stand at the end of the day.
    Day(NaiveDate),
}

/// A shop, ready to make any part of its data.
#[derive(Debug)]
pub struct Shop {
    pub(crate) seed: u64,
    pub(crate) calendar: Calendar,
    pub(crate) catalogue: Catalogue,
    /// Customers that the shop had before the history.
    pub(crate) first_customers: u64,
}

/// Orders in a chunk: small enough for bounded memory, large enough for good row groups.
const CHUNK_ORDERS: u64 = 32_768;

/// One customer in so many orders is new.
pub(crate) const ORDERS_PER_CUSTOMER: u64 = 20;

/// A piece of a table that is made on its own. Chunks of a table in their order are the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub table: Table,
    pub index: usize,
    /// Numbers of the rows of `customers` and `products`, numbers of orders for everything else.
    pub(crate) ids: Range<u64>,
    pub(crate) window: Window,
}

/// The time that a slice covers, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub start: i64,
    /// The first moment after the slice: rows are as they stand then.
    pub end: i64,
    /// The first order that was placed in the slice.
    pub first_order: u64,
}

impl Window {
    pub fn contains(&self, at: i64) -> bool {
        self.start <= at && at < self.end
    }
}

/// Rows, and the defects among them.
#[derive(Debug, Clone)]
pub struct Rows {
    pub batch: RecordBatch,
    pub defects: DefectCounts,
}

impl Shop {
    /// # Errors
    /// Options that make no shop.
    pub fn new(options: &ShopOptions) -> Result<Self, GenerateError> {
        if options.orders == 0 || options.orders > 1_000_000_000_000 {
            let message = format!("a shop has 1 to 1,000,000,000,000 orders, not {}", options.orders);
            return Err(GenerateError::Options(message));
        }
        let products = (options.orders / 500).clamp(100, 20_000);
        Ok(Self {
            seed: options.seed,
            calendar: Calendar::new(options.seed, options.orders, options.until, options.days)?,
            catalogue: Catalogue::new(options.seed, products),
            first_customers: (options.orders / ORDERS_PER_CUSTOMER).max(10),
        })
    }

    /// The chunks of a table, in order. Empty where the slice has none (no product is new on a single day).
    ///
    /// # Errors
    /// A day that is not after the history.
    pub fn chunks(&self, table: Table, slice: Slice) -> Result<Vec<Chunk>, GenerateError> {
        let window = self.window(slice)?;
        let ids = self.ids(table, slice)?;
        let step = CHUNK_ORDERS;
        let count = (ids.end - ids.start).div_ceil(step);
        Ok((0..count)
            .map(|i| {
                let start = ids.start + i * step;
                let ids = start..(start + step).min(ids.end);
                Chunk { table, index: usize::try_from(i).unwrap_or(usize::MAX), ids, window }
            })
            .collect())
    }

    /// Makes the rows of a chunk.
    ///
    /// # Errors
    /// A defect of this crate alone: columns that do not fit the schema.
    pub fn rows(&self, chunk: &Chunk, defects: &Defects) -> Result<Rows, GenerateError> {
        match chunk.table {
            Table::Customers => self.customers(chunk, defects),
            Table::Products => self.products(chunk),
            Table::Orders => self.orders(chunk, defects),
            Table::OrderLines => self.order_lines(chunk, defects),
            Table::Payments => self.payments(chunk, defects),
            Table::Events => self.events(chunk),
        }
    }

    /// All rows of a table in a slice, a bounded batch at a time.
    ///
    /// # Errors
    /// As for [`Shop::chunks`] and [`Shop::rows`].
    pub fn batches<'a>(
        &'a self,
        table: Table,
        slice: Slice,
        defects: &'a Defects,
    ) -> Result<impl Iterator<Item = Result<Rows, GenerateError>> + 'a, GenerateError> {
        Ok(self.chunks(table, slice)?.into_iter().map(move |chunk| self.rows(&chunk, defects)))
    }

    /// A file name for the slice: names sort in the order of time.
    pub fn slice_name(&self, slice: Slice) -> String {
        match slice {
            Slice::History => format!("{}-history", self.calendar.date(self.calendar.history_days() - 1)),
            Slice::Day(date) => date.to_string(),
        }
    }

    fn window(&self, slice: Slice) -> Result<Window, GenerateError> {
        Ok(match slice {
            Slice::History => {
                Window { start: i64::MIN, end: self.calendar.midnight(self.calendar.history_days()), first_order: 1 }
            }
            Slice::Day(date) => {
                let day = self.calendar.day(date)?;
                Window {
                    start: self.calendar.midnight(day),
                    end: self.calendar.midnight(day + 1),
                    first_order: self.calendar.orders_before(day) + 1,
                }
            }
        })
    }

    fn ids(&self, table: Table, slice: Slice) -> Result<Range<u64>, GenerateError> {
        let (first_day, end_day) = match slice {
            Slice::History => (0, self.calendar.history_days()),
            Slice::Day(date) => {
                let day = self.calendar.day(date)?;
                (day, day + 1)
            }
        };
        let orders = |first_day: usize| self.calendar.orders_before(first_day)..self.calendar.orders_before(end_day);
        let ids = match table {
            Table::Products if slice == Slice::History => 0..self.catalogue.len(),
            Table::Products => 0..0,
            Table::Customers => {
                let start = if first_day == 0 { 0 } else { self.customers_after(orders(first_day).start) };
                start..self.customers_after(orders(first_day).end)
            }
            Table::OrderLines | Table::Events => orders(first_day),
            // Orders of the days before may change their status, or be paid, on this day.
            Table::Orders | Table::Payments => orders(first_day.saturating_sub(LONGEST_ORDER_DAYS)),
        };
        Ok(ids.start + 1..ids.end + 1)
    }

    /// Customers that the shop has once `orders` orders were placed.
    pub(crate) fn customers_after(&self, orders: u64) -> u64 {
        self.first_customers + orders / ORDERS_PER_CUSTOMER
    }
}
