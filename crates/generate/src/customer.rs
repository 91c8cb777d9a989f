//! Customers: who they are and since when.

use std::sync::Arc;

use arrow::array::TimestampMicrosecondBuilder;
use arrow::array::{ArrayRef, BooleanBuilder, Int64Builder, RecordBatch, StringBuilder};

use crate::calendar::{DAY, MINUTE, SECOND};
use crate::random::{Purpose, Stream};
use crate::shop::{Chunk, ORDERS_PER_CUSTOMER, Rows};
use crate::words::{COUNTRIES, Country, DOMAINS, FIRST_NAMES, LAST_NAMES};
use crate::{Defect, DefectCounts, Defects, GenerateError, Shop, Table};

/// The time over which the first customers signed up, before the history.
const BEFORE_HISTORY: i64 = 730 * DAY;

impl Shop {
    /// The first draw of a customer's stream, so that orders learn the currency without the rest.
    pub(crate) fn country_of(&self, customer: u64) -> (&'static Country, Stream) {
        let mut stream = Stream::new(self.seed, Purpose::Customer, customer);
        let mut x = stream.below(1000);
        let mut found = &COUNTRIES[0];
        for country in COUNTRIES {
            found = country;
            if x < country.weight {
                break;
            }
            x -= country.weight;
        }
        (found, stream)
    }

    fn signed_up_at(&self, customer: u64, stream: &mut Stream) -> i64 {
        if customer > self.first_customers {
            // Each new customer signs up to place an order.
            let order = (customer - self.first_customers) * ORDERS_PER_CUSTOMER;
            return self.calendar.placed_at(order) - stream.between(MINUTE / SECOND, 1800) * SECOND;
        }
        let before = u128::from(self.first_customers - customer) * BEFORE_HISTORY.unsigned_abs() as u128;
        let before = i64::try_from(before / u128::from(self.first_customers)).unwrap_or(0);
        let at = self.calendar.midnight(0) - before - stream.between(1, 86_400) * SECOND;
        at - at % SECOND
    }

    pub(crate) fn customers(&self, chunk: &Chunk, defects: &Defects) -> Result<Rows, GenerateError> {
        let mut ids = Int64Builder::new();
        let (mut name, mut email) = (StringBuilder::new(), StringBuilder::new());
        let (mut country, mut city, mut postal) = (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
        let mut newsletter = BooleanBuilder::new();
        let mut signed_up = TimestampMicrosecondBuilder::new();
        let mut counts = DefectCounts::default();
        for id in chunk.ids.clone() {
            let (land, mut stream) = self.country_of(id);
            let (first, first_ascii) = stream.pick(FIRST_NAMES);
            let (last, last_ascii) = stream.pick(LAST_NAMES);
            let domain = DOMAINS[usize::try_from(stream.skewed_below(DOMAINS.len() as u64)).unwrap_or(0)];
            let (town, code) = stream.pick(land.cities);
            ids.append_value(id.cast_signed());
            name.append_value(format!("{first} {last}"));
            let mut address = format!("{first_ascii}.{last_ascii}{id}@{domain}");
            if let Some(mut how) = defects.strikes(Defect::BrokenEmails, Purpose::Defect, self.seed, id) {
                address = break_address(&address, &mut how);
                counts.add(Defect::BrokenEmails, Table::Customers, 1);
            }
            email.append_value(address);
            country.append_value(land.code);
            city.append_value(town);
            postal.append_value(postal_code(code, &mut stream));
            newsletter.append_value(stream.per_mille(380));
            signed_up.append_value(self.signed_up_at(id, &mut stream));
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ids.finish()),
            Arc::new(name.finish()),
            Arc::new(email.finish()),
            Arc::new(country.finish()),
            Arc::new(city.finish()),
            Arc::new(postal.finish()),
            Arc::new(newsletter.finish()),
            Arc::new(signed_up.finish().with_timezone("UTC")),
        ];
        let batch = RecordBatch::try_new(Table::Customers.schema(), columns)?;
        Ok(Rows { batch, defects: counts })
    }
}

/// Ways in which people mistype addresses; none of them leaves an address.
fn break_address(address: &str, how: &mut Stream) -> String {
    match how.below(4) {
        0 => address.replace('@', ""),
        1 => address.replace('@', " at "),
        2 => address.replace('@', "@@"),
        _ => address.split_once('@').map_or_else(String::new, |(name, _)| format!("{name}@")),
    }
}

fn postal_code(pattern: &str, stream: &mut Stream) -> String {
    let letter = |n: u64| char::from(b'A' + u8::try_from(n).unwrap_or(0));
    let digit = |n: u64| char::from(b'0' + u8::try_from(n).unwrap_or(0));
    pattern
        .chars()
        .map(|c| match c {
            '#' => digit(stream.below(10)),
            '@' => letter(stream.below(26)),
            other => other,
        })
        .collect()
}
