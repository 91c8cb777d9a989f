//! Products: what there is to buy, at what price, and how often it is bought.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Int32Builder, Int64Builder};
use arrow::array::{RecordBatch, StringBuilder};

use crate::random::{Purpose, Stream, Zipf};
use crate::shop::{Chunk, Rows};
use crate::words::{GOODS, Goods, MATERIALS, STYLES};
use crate::{DefectCounts, GenerateError, Shop, Table};

/// Prices of all products, and their popularity.
#[derive(Debug)]
pub(crate) struct Catalogue {
    prices: Vec<i64>,
    popularity: Zipf,
    /// Spreads the popular ranks over the product numbers.
    stride: u64,
}

/// What is drawn for a product, always in this order.
struct Product {
    goods: &'static Goods,
    price: i64,
    stream: Stream,
}

fn product(seed: u64, id: u64) -> Product {
    let mut stream = Stream::new(seed, Purpose::Product, id);
    let goods = stream.pick(GOODS);
    let (low, high) = goods.price;
    let span = u64::try_from(high - low).unwrap_or(0);
    let raw = low + stream.skewed_below(span).cast_signed();
    // Prices end with a nine.
    let price = raw - raw % 10 + 9;
    Product { goods, price, stream }
}

impl Catalogue {
    pub fn new(seed: u64, products: u64) -> Self {
        let stride = (products * 5 / 8..).find(|s| gcd(*s, products) == 1).unwrap_or(1);
        let prices: Vec<i64> = (1..=products).map(|id| product(seed, id).price).collect();
        Self { popularity: Zipf::new(prices.len()), prices, stride }
    }

    pub fn len(&self) -> u64 {
        self.prices.len() as u64
    }

    /// A product's number and price in euro cents, by popularity.
    pub fn draw(&self, stream: &mut Stream) -> (u64, i64) {
        let rank = self.popularity.sample(stream) as u64;
        let index = rank * self.stride % self.len();
        (index + 1, self.prices[usize::try_from(index).unwrap_or(0)])
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Shop {
    pub(crate) fn products(&self, chunk: &Chunk) -> Result<Rows, GenerateError> {
        let mut ids = Int64Builder::new();
        let (mut sku, mut name, mut category) = (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
        let mut price = Decimal128Builder::new().with_precision_and_scale(12, 2)?;
        let mut grams = Int32Builder::new();
        let mut launched = Date32Builder::new();
        let mut discontinued = BooleanBuilder::new();
        let opening = self.calendar.midnight(0) / crate::calendar::DAY;
        for id in chunk.ids.clone() {
            let Product { goods, price: cents, mut stream } = product(self.seed, id);
            ids.append_value(id.cast_signed());
            // Digits with leading zeros: they have to stay text.
            sku.append_value(format!("{:08}", id * 7919 % 100_000_000));
            name.append_value(format!("{} {} {}", stream.pick(STYLES), stream.pick(MATERIALS), goods.noun));
            category.append_value(goods.category);
            price.append_value(i128::from(cents));
            let weight = stream.between(goods.grams.0, goods.grams.1);
            grams.append_value(i32::try_from(weight).unwrap_or(i32::MAX));
            let day = opening - stream.between(1, 900);
            launched.append_value(i32::try_from(day).unwrap_or(0));
            discontinued.append_value(stream.per_mille(30));
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ids.finish()),
            Arc::new(sku.finish()),
            Arc::new(name.finish()),
            Arc::new(category.finish()),
            Arc::new(price.finish()),
            Arc::new(grams.finish()),
            Arc::new(launched.finish()),
            Arc::new(discontinued.finish()),
        ];
        let batch = RecordBatch::try_new(Table::Products.schema(), columns)?;
        Ok(Rows { batch, defects: DefectCounts::default() })
    }
}
