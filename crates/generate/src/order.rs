//! Orders, their lines and their payments. All facts about an order follow from its number.

use std::sync::Arc;

use arrow::array::TimestampMicrosecondBuilder;
use arrow::array::{ArrayRef, Decimal128Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder};

use crate::calendar::{DAY, HOUR, MINUTE, SECOND};
use crate::random::{Purpose, Stream};
use crate::shop::{Chunk, ORDERS_PER_CUSTOMER, Rows};
use crate::words::{CHANNEL_WEIGHTS, CHANNELS, CURRENCIES, Currency, PAYMENT_METHODS, PAYMENT_WEIGHTS};
use crate::{Defect, DefectCounts, Defects, GenerateError, Shop, Table};

/// No order changes later than this after it was placed.
pub(crate) const LONGEST_ORDER_DAYS: usize = 24;

/// How many orders in a hundred have 1, 2, … lines.
const LINE_COUNTS: [u64; 7] = [35, 25, 17, 10, 7, 4, 2];

/// What becomes of an order, step by step: when it got which status.
#[derive(Debug, Clone)]
pub(crate) struct Lifecycle {
    steps: [(i64, &'static str); 5],
    len: usize,
    paid_at: Option<i64>,
    refunded_at: Option<i64>,
}

impl Lifecycle {
    fn draw(placed_at: i64, method: &str, stream: &mut Stream) -> Self {
        let mut life = Self { steps: [(placed_at, "placed"); 5], len: 1, paid_at: None, refunded_at: None };
        if stream.per_mille(30) {
            life.push(placed_at + stream.between(60, 172_800) * SECOND, "cancelled");
            return life;
        }
        let delay =
            if method == "transfer" { stream.between(DAY, 3 * DAY) } else { stream.between(MINUTE, 20 * MINUTE) };
        let paid_at = life.push(placed_at + delay, "paid");
        life.paid_at = Some(paid_at);
        let shipped_at = life.push(paid_at + stream.between(5 * HOUR, 3 * DAY), "shipped");
        let delivered_at = life.push(shipped_at + stream.between(18 * HOUR, 6 * DAY), "delivered");
        if stream.per_mille(42) {
            life.refunded_at = Some(life.push(delivered_at + stream.between(DAY, 10 * DAY), "refunded"));
        }
        life
    }

    /// Adds a step, to the second, and gives its time.
    fn push(&mut self, at: i64, status: &'static str) -> i64 {
        let at = at - at % SECOND;
        self.steps[self.len] = (at, status);
        self.len += 1;
        at
    }

    /// The status before a moment, and since when.
    fn before(&self, end: i64) -> (i64, &'static str) {
        self.steps[..self.len].iter().rev().find(|(at, _)| *at < end).copied().unwrap_or(self.steps[0])
    }
}

/// The facts about an order that other tables need as well.
#[derive(Debug)]
pub(crate) struct Order {
    pub placed_at: i64,
    pub customer: u64,
    pub currency: &'static Currency,
    pub method: &'static str,
    pub life: Lifecycle,
    /// For what only one table asks.
    pub stream: Stream,
}

/// One line, amounts in hundredths of the order's currency.
#[derive(Debug)]
pub(crate) struct Line {
    pub product: u64,
    pub quantity: i64,
    pub unit_price: i64,
    pub discount_percent: i64,
    pub amount: i64,
}

impl Shop {
    pub(crate) fn order(&self, id: u64) -> Order {
        let mut stream = Stream::new(self.seed, Purpose::Order, id);
        let placed_at = self.calendar.placed_at(id);
        let customer = self.customer_of(id, &mut stream);
        let currency = &CURRENCIES[self.country_of(customer).0.currency];
        let method = PAYMENT_METHODS[stream.weighted(PAYMENT_WEIGHTS)];
        let life = Lifecycle::draw(placed_at, method, &mut stream);
        Order { placed_at, customer, currency, method, life, stream }
    }

    /// New customers place their first order; the others are mostly loyal ones of old, and some of the newest.
    fn customer_of(&self, order: u64, stream: &mut Stream) -> u64 {
        if order.is_multiple_of(ORDERS_PER_CUSTOMER) {
            return self.customers_after(order);
        }
        let known = self.customers_after(order - 1);
        let rank = stream.skewed_below(known);
        if stream.per_mille(700) { rank + 1 } else { known - rank }
    }

    /// Calls `f` with each line of an order and its number, from 1.
    pub(crate) fn each_line(&self, order: u64, currency: &Currency, mut f: impl FnMut(u64, Line)) {
        let mut stream = Stream::new(self.seed, Purpose::OrderLines, order);
        let count = stream.weighted(&LINE_COUNTS) as u64 + 1;
        for number in 1..=count {
            let (product, euro_cents) = self.catalogue.draw(&mut stream);
            let quantity = 1 + stream.weighted(&[72, 17, 6, 3, 2]) as i64;
            let discount_percent = [0, 5, 10, 20][stream.weighted(&[84, 5, 7, 4])];
            let unit_price = euro_cents * 10_000 / currency.rate;
            let amount = (quantity * unit_price * (100 - discount_percent) + 50) / 100;
            f(number, Line { product, quantity, unit_price, discount_percent, amount });
        }
    }

    /// The sum of the lines, and the shipping: free for larger orders.
    fn amounts(&self, order: u64, currency: &Currency) -> (i64, i64) {
        let mut goods = 0;
        self.each_line(order, currency, |_, line| goods += line.amount);
        let shipping = if goods * currency.rate / 10_000 >= 5_000 { 0 } else { 490 * 10_000 / currency.rate };
        (goods + shipping, shipping)
    }

    /// Euros for 10,000 units: moves by up to two percent around the base from day to day.
    fn exchange_rate(&self, currency: &Currency, at: i64) -> i64 {
        if currency.code == "EUR" {
            return currency.rate;
        }
        let name = currency.code.bytes().fold(0_u64, |sum, b| sum << 8 | u64::from(b));
        let day = at.div_euclid(DAY).cast_unsigned();
        let drift = Stream::new(self.seed, Purpose::Rate, day << 24 | name).between(9_800, 10_200);
        currency.rate * drift / 10_000
    }

    pub(crate) fn orders(&self, chunk: &Chunk, defects: &Defects) -> Result<Rows, GenerateError> {
        let mut ids = Int64Builder::new();
        let mut customers = Int64Builder::new();
        let (mut statuses, mut channels) = (StringBuilder::new(), StringBuilder::new());
        let mut currencies = StringBuilder::new();
        let mut rates = Decimal128Builder::new().with_precision_and_scale(10, 4)?;
        let mut shippings = Decimal128Builder::new().with_precision_and_scale(12, 2)?;
        let mut amounts = Decimal128Builder::new().with_precision_and_scale(12, 2)?;
        let (mut created, mut updated) = (TimestampMicrosecondBuilder::new(), TimestampMicrosecondBuilder::new());
        let mut counts = DefectCounts::default();
        for id in chunk.ids.clone() {
            let mut order = self.order(id);
            let (updated_at, status) = order.life.before(chunk.window.end);
            if !chunk.window.contains(updated_at) {
                continue;
            }
            let (amount, shipping) = self.amounts(id, order.currency);
            let channel = CHANNELS[order.stream.weighted(CHANNEL_WEIGHTS)];
            let strikes = |defect| {
                let new = id >= chunk.window.first_order;
                new.then(|| defects.strikes(defect, Purpose::Defect, self.seed, id)).flatten()
            };
            let mut created_at = order.placed_at;
            if let Some(mut how) = strikes(Defect::FutureOrders) {
                // Beyond any clock that reads the file within some years: the year is a typing error.
                created_at += how.between(20, 70) * 365 * DAY;
                counts.add(Defect::FutureOrders, Table::Orders, 1);
            }
            let twice = strikes(Defect::DuplicateKeys).is_some();
            counts.add(Defect::DuplicateKeys, Table::Orders, u64::from(twice));
            for _ in 0..=u64::from(twice) {
                ids.append_value(id.cast_signed());
                customers.append_value(order.customer.cast_signed());
                statuses.append_value(status);
                channels.append_value(channel);
                currencies.append_value(order.currency.code);
                rates.append_value(i128::from(self.exchange_rate(order.currency, order.placed_at)));
                shippings.append_value(i128::from(shipping));
                amounts.append_value(i128::from(amount));
                created.append_value(created_at);
                updated.append_value(updated_at);
            }
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ids.finish()),
            Arc::new(customers.finish()),
            Arc::new(statuses.finish()),
            Arc::new(channels.finish()),
            Arc::new(currencies.finish()),
            Arc::new(rates.finish()),
            Arc::new(shippings.finish()),
            Arc::new(amounts.finish()),
            Arc::new(created.finish().with_timezone("UTC")),
            Arc::new(updated.finish().with_timezone("UTC")),
        ];
        Ok(Rows { batch: RecordBatch::try_new(Table::Orders.schema(), columns)?, defects: counts })
    }

    pub(crate) fn order_lines(&self, chunk: &Chunk, defects: &Defects) -> Result<Rows, GenerateError> {
        let (mut ids, mut orders, mut products) = (Int64Builder::new(), Int64Builder::new(), Int64Builder::new());
        let (mut quantities, mut discounts) = (Int32Builder::new(), Int32Builder::new());
        let mut prices = Decimal128Builder::new().with_precision_and_scale(12, 2)?;
        let mut amounts = Decimal128Builder::new().with_precision_and_scale(12, 2)?;
        let mut created = TimestampMicrosecondBuilder::new();
        let mut counts = DefectCounts::default();
        for order_id in chunk.ids.clone() {
            let order = self.order(order_id);
            self.each_line(order_id, order.currency, |number, mut line| {
                let id = order_id * 10 + number;
                if defects.strikes(Defect::NegativeQuantities, Purpose::Defect, self.seed, id).is_some() {
                    line.quantity = -line.quantity;
                    line.amount = -line.amount;
                    counts.add(Defect::NegativeQuantities, Table::OrderLines, 1);
                }
                if let Some(mut how) = defects.strikes(Defect::Orphans, Purpose::Defect, self.seed, id) {
                    line.product = self.catalogue.len() + 1 + how.below(1_000_000);
                    counts.add(Defect::Orphans, Table::OrderLines, 1);
                }
                ids.append_value(id.cast_signed());
                orders.append_value(order_id.cast_signed());
                products.append_value(line.product.cast_signed());
                quantities.append_value(i32::try_from(line.quantity).unwrap_or(0));
                prices.append_value(i128::from(line.unit_price));
                discounts.append_value(i32::try_from(line.discount_percent).unwrap_or(0));
                amounts.append_value(i128::from(line.amount));
                created.append_value(order.placed_at);
            });
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ids.finish()),
            Arc::new(orders.finish()),
            Arc::new(products.finish()),
            Arc::new(quantities.finish()),
            Arc::new(prices.finish()),
            Arc::new(discounts.finish()),
            Arc::new(amounts.finish()),
            Arc::new(created.finish().with_timezone("UTC")),
        ];
        Ok(Rows { batch: RecordBatch::try_new(Table::OrderLines.schema(), columns)?, defects: counts })
    }

    pub(crate) fn payments(&self, chunk: &Chunk, defects: &Defects) -> Result<Rows, GenerateError> {
        let mut out = PaymentRows::new()?;
        let mut counts = DefectCounts::default();
        for id in chunk.ids.clone() {
            let mut order = self.order(id);
            let (amount, _) = self.amounts(id, order.currency);
            let rejected_first = order.stream.per_mille(35);
            let tries = [
                (0, rejected_first.then_some(order.placed_at + 30 * SECOND), "payment", "rejected", amount),
                (1, order.life.paid_at, "payment", "captured", amount),
                (2, order.life.refunded_at, "refund", "captured", -amount),
            ];
            for (number, at, kind, status, amount) in tries {
                let Some(at) = at.filter(|at| chunk.window.contains(*at)) else { continue };
                let payment_id = id * 4 + number;
                let twice = defects.strikes(Defect::DuplicateKeys, Purpose::Defect, self.seed, payment_id).is_some();
                counts.add(Defect::DuplicateKeys, Table::Payments, u64::from(twice));
                for _ in 0..=u64::from(twice) {
                    out.push(payment_id, id, kind, order.method, status, amount, order.currency.code, at);
                }
            }
        }
        Ok(Rows { batch: out.finish()?, defects: counts })
    }
}

/// Columns of `payments` as they grow.
struct PaymentRows {
    ids: Int64Builder,
    orders: Int64Builder,
    texts: [StringBuilder; 4],
    amounts: Decimal128Builder,
    paid: TimestampMicrosecondBuilder,
}

impl PaymentRows {
    fn new() -> Result<Self, GenerateError> {
        Ok(Self {
            ids: Int64Builder::new(),
            orders: Int64Builder::new(),
            texts: std::array::from_fn(|_| StringBuilder::new()),
            amounts: Decimal128Builder::new().with_precision_and_scale(12, 2)?,
            paid: TimestampMicrosecondBuilder::new(),
        })
    }

    #[allow(clippy::too_many_arguments, reason = "one for each column")]
    fn push(&mut self, id: u64, order: u64, kind: &str, method: &str, status: &str, amount: i64, code: &str, at: i64) {
        self.ids.append_value(id.cast_signed());
        self.orders.append_value(order.cast_signed());
        for (column, value) in self.texts.iter_mut().zip([kind, method, status, code]) {
            column.append_value(value);
        }
        self.amounts.append_value(i128::from(amount));
        self.paid.append_value(at);
    }

    fn finish(mut self) -> Result<RecordBatch, GenerateError> {
        let [kind, method, status, currency] = self.texts.each_mut().map(|t| Arc::new(t.finish()) as ArrayRef);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.ids.finish()),
            Arc::new(self.orders.finish()),
            kind,
            method,
            status,
            Arc::new(self.amounts.finish()),
            currency,
            Arc::new(self.paid.finish().with_timezone("UTC")),
        ];
        Ok(RecordBatch::try_new(Table::Payments.schema(), columns)?)
    }
}
