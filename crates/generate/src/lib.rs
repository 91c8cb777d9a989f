//! Test data: a shop with customers, products, orders, order lines, payments and click events.
//!
//! Every row is a pure function of the seed and its number, so the same seed gives the same bytes on every machine and
//! with any number of threads, a single day can be made without the days before it, and memory does not grow with the
//! number of rows. Skew is realistic: few products and customers make most of the orders, there are seasons, weekdays
//! and hours, the shop grows, and orders run through statuses over days.
//!
//! [`Shop`] makes Arrow batches; [`write_files`] and [`load_postgres`] take them somewhere.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod calendar;
mod customer;
mod defect;
mod encode;
mod error;
mod event;
mod files;
mod order;
mod parallel;
mod postgres;
mod product;
mod random;
mod shop;
mod summary;
mod table;
mod words;

pub use chrono::NaiveDate;
pub use defect::{Defect, DefectCounts, Defects};
pub use error::GenerateError;
pub use files::{Compression, FileKind, FileOptions, Format, write_files};
pub use postgres::{PostgresOptions, load_postgres};
pub use shop::{Chunk, Rows, Shop, ShopOptions, Slice};
pub use summary::{Progress, Summary, TableSummary};
pub use table::Table;
