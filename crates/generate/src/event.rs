//! Click events: sessions that lead to an order, and many more that do not.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};

use crate::calendar::SECOND;
use crate::random::{Purpose, Stream, mix};
use crate::shop::{Chunk, Rows};
use crate::words::{DEVICE_WEIGHTS, DEVICES, REFERRERS};
use crate::{DefectCounts, GenerateError, Shop, Table};

/// Orders whose visitors agreed to be counted, in a thousand.
const TRACKED_PER_MILLE: u64 = 60;
/// Sessions without an order, in a thousand orders.
const BROWSING_PER_MILLE: u64 = 800;

const MILLISECOND: i64 = 1_000;

/// What is the same for all events of a session.
struct Session {
    number: u64,
    customer: Option<u64>,
    device: &'static str,
    referrer: Option<&'static str>,
}

/// Columns of `events` as they grow.
struct EventRows {
    seed: u64,
    ids: StringBuilder,
    sessions: StringBuilder,
    times: TimestampMicrosecondBuilder,
    kinds: StringBuilder,
    pages: StringBuilder,
    products: Int64Builder,
    customers: Int64Builder,
    orders: Int64Builder,
    devices: StringBuilder,
    referrers: StringBuilder,
    text: String,
}

impl EventRows {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            ids: StringBuilder::new(),
            sessions: StringBuilder::new(),
            times: TimestampMicrosecondBuilder::new(),
            kinds: StringBuilder::new(),
            pages: StringBuilder::new(),
            products: Int64Builder::new(),
            customers: Int64Builder::new(),
            orders: Int64Builder::new(),
            devices: StringBuilder::new(),
            referrers: StringBuilder::new(),
            text: String::new(),
        }
    }

    /// Adds the `n`-th event of a session.
    fn push(&mut self, session: &Session, n: u64, at: i64, kind: &str, product: Option<u64>, order: Option<u64>) {
        self.set_text(format_args!("evt_{:016x}", self.scramble(Purpose::EventId, session.number * 32 + n)));
        self.ids.append_value(&self.text);
        self.set_text(format_args!("ses_{:016x}", self.scramble(Purpose::SessionId, session.number)));
        self.sessions.append_value(&self.text);
        self.times.append_value(at);
        self.kinds.append_value(kind);
        match product {
            Some(product) => self.set_text(format_args!("/products/{product}")),
            None => self.set_text(format_args!("/{kind}")),
        }
        self.pages.append_value(&self.text);
        self.products.append_option(product.map(u64::cast_signed));
        self.customers.append_option(session.customer.map(u64::cast_signed));
        self.orders.append_option(order.map(u64::cast_signed));
        self.devices.append_value(session.device);
        self.referrers.append_option(session.referrer);
    }

    fn set_text(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.clear();
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(text);
    }

    /// Numbers that look random and never collide: `mix` is a bijection.
    fn scramble(&self, purpose: Purpose, number: u64) -> u64 {
        mix(number ^ mix(self.seed.wrapping_mul(64).wrapping_add(purpose as u64)))
    }

    fn finish(mut self) -> Result<RecordBatch, GenerateError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.ids.finish()),
            Arc::new(self.sessions.finish()),
            Arc::new(self.times.finish().with_timezone("UTC")),
            Arc::new(self.kinds.finish()),
            Arc::new(self.pages.finish()),
            Arc::new(self.products.finish()),
            Arc::new(self.customers.finish()),
            Arc::new(self.orders.finish()),
            Arc::new(self.devices.finish()),
            Arc::new(self.referrers.finish()),
        ];
        Ok(RecordBatch::try_new(Table::Events.schema(), columns)?)
    }
}

impl Shop {
    /// Sessions belong to orders only in that they are spread over time alike; all their events come before the moment
    /// at which the order was placed.
    pub(crate) fn events(&self, chunk: &Chunk) -> Result<Rows, GenerateError> {
        let mut out = EventRows::new(self.seed);
        for id in chunk.ids.clone() {
            let mut stream = Stream::new(self.seed, Purpose::Session, id);
            if stream.per_mille(BROWSING_PER_MILLE) {
                self.browse(id, &mut stream, &mut out);
            }
            if stream.per_mille(TRACKED_PER_MILLE) {
                self.buy(id, &mut stream, &mut out);
            }
        }
        Ok(Rows { batch: out.finish()?, defects: DefectCounts::default() })
    }

    /// Views; now and then something is put into the cart and left there.
    fn browse(&self, id: u64, stream: &mut Stream, out: &mut EventRows) {
        let session = draw_session(id * 2, None, stream);
        let views = 1 + stream.weighted(&[50, 25, 15, 6, 4]) as u64;
        let cart = stream.per_mille(150);
        let checkout = cart && stream.per_mille(400);
        let mut at = self.calendar.placed_at(id) - stream.between(700, 1800) * SECOND;
        let mut product = 0;
        for n in 0..views {
            product = self.catalogue.draw(stream).0;
            out.push(&session, n, at, "view", Some(product), None);
            at += pause(stream);
        }
        if cart {
            out.push(&session, views, at, "cart", Some(product), None);
            at += pause(stream);
        }
        if checkout {
            out.push(&session, views + 1, at, "checkout", None, None);
        }
    }

    /// The whole way from the first view to the purchase.
    fn buy(&self, id: u64, stream: &mut Stream, out: &mut EventRows) {
        let order = self.order(id);
        let session = draw_session(id * 2 + 1, Some(order.customer), stream);
        let mut clicks = Vec::new();
        self.each_line(id, order.currency, |_, line| clicks.push(("view", Some(line.product))));
        clicks.push(("cart", clicks.last().and_then(|(_, product)| *product)));
        clicks.push(("checkout", None));
        let pauses: Vec<i64> = clicks.iter().map(|_| pause(stream)).collect();
        let mut at = order.placed_at - pauses.iter().sum::<i64>();
        let mut n = 0;
        for ((kind, product), pause) in clicks.into_iter().zip(pauses) {
            out.push(&session, n, at, kind, product, None);
            at += pause;
            n += 1;
        }
        out.push(&session, n, order.placed_at, "purchase", None, Some(id));
    }
}

fn draw_session(number: u64, customer: Option<u64>, stream: &mut Stream) -> Session {
    Session {
        number,
        customer,
        device: DEVICES[stream.weighted(DEVICE_WEIGHTS)],
        referrer: stream.per_mille(640).then(|| *stream.pick(REFERRERS)),
    }
}

/// The time between two clicks: 4 to 90 seconds.
fn pause(stream: &mut Stream) -> i64 {
    stream.between(4_000, 90_000) * MILLISECOND
}
