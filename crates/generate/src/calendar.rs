//! How many orders a day has, and when in the day they come: growth, seasons, weekdays, hours.

use chrono::{Datelike, Days, NaiveDate};

use crate::GenerateError;
use crate::random::{Purpose, Stream};

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// Days that can be generated after the history.
const DAYS_AFTER: u32 = 3650;

/// Monday first.
const WEEKDAYS: [u64; 7] = [98, 92, 90, 94, 102, 118, 126];
/// January first.
const MONTHS: [u64; 12] = [92, 88, 95, 97, 100, 96, 90, 92, 98, 104, 128, 138];
/// Midnight first; the sum is 1000.
const HOURS: [u64; 24] = [14, 8, 5, 4, 4, 7, 14, 26, 36, 44, 50, 54, 58, 52, 48, 48, 50, 56, 66, 80, 92, 88, 62, 34];

/// Orders numbered from 1 over the days of the shop. What a day has follows from seed and day, so any day can be made
/// alone and agrees with the days before it.
#[derive(Debug)]
pub(crate) struct Calendar {
    seed: u64,
    first: NaiveDate,
    history_days: usize,
    /// Orders until the end of each day, so `ends[0]` are the orders of the first day.
    ends: Vec<u64>,
}

impl Calendar {
    pub fn new(seed: u64, orders: u64, until: NaiveDate, days: u32) -> Result<Self, GenerateError> {
        let out_of_range = || GenerateError::Options(format!("a history of {days} days until {until} is out of range"));
        if days == 0 || days > DAYS_AFTER {
            return Err(out_of_range());
        }
        let first = until.checked_sub_days(Days::new(u64::from(days) - 1)).ok_or_else(out_of_range)?;
        let mut sum = 0;
        let sums: Vec<u128> = (0..days + DAYS_AFTER)
            .map_while(|day| {
                sum += u128::from(weight(seed, first.checked_add_days(Days::new(u64::from(day)))?, day));
                Some(sum)
            })
            .collect();
        let history_days = days as usize;
        let total = sums.get(history_days - 1).copied().ok_or_else(out_of_range)?;
        let ends = sums
            .into_iter()
            .map(|sum| u64::try_from(u128::from(orders) * sum / total))
            .collect::<Result<_, _>>()
            .map_err(|_| GenerateError::Options(format!("{orders} orders are more than can be numbered")))?;
        Ok(Self { seed, first, history_days, ends })
    }

    /// The index of a date.
    ///
    /// # Errors
    /// A date inside the history, or too far after it.
    pub fn day(&self, date: NaiveDate) -> Result<usize, GenerateError> {
        let index = usize::try_from((date - self.first).num_days()).unwrap_or(0);
        if index < self.history_days {
            let until = self.date(self.history_days - 1);
            return Err(GenerateError::Options(format!(
                "{date} belongs to the history, which ends with {until}: ask for a later day, or move `--until`"
            )));
        }
        if index >= self.ends.len() {
            return Err(GenerateError::Options(format!("{date} is more than {DAYS_AFTER} days after the history")));
        }
        Ok(index)
    }

    pub fn history_days(&self) -> usize {
        self.history_days
    }

    pub fn date(&self, day: usize) -> NaiveDate {
        self.first.checked_add_days(Days::new(day as u64)).unwrap_or(self.first)
    }

    /// Midnight at which a day begins, in microseconds since 1970.
    pub fn midnight(&self, day: usize) -> i64 {
        let days = (self.date(day) - NaiveDate::default()).num_days();
        days * DAY
    }

    /// Orders placed before a day begins.
    pub fn orders_before(&self, day: usize) -> u64 {
        day.checked_sub(1).map_or(0, |d| self.ends[d])
    }

    /// When an order was placed; never before the order with the number below it.
    pub fn placed_at(&self, order: u64) -> i64 {
        let day = self.ends.partition_point(|end| *end < order).min(self.ends.len() - 1);
        let before = self.orders_before(day);
        let count = (self.ends[day] - before).max(1);
        let jitter = Stream::new(self.seed, Purpose::Calendar, order).bits() >> 48;
        // The order's place among the day's, in 1/65536 of an order, mapped on the day's hours by their weights.
        let place = u128::from(order - before - 1) * 65_536 + u128::from(jitter);
        let seconds = second_of_day(place, u128::from(count) * 65_536);
        self.midnight(day) + seconds * SECOND
    }
}

/// The second of the day at which a share `place / whole` of the day's orders is reached.
fn second_of_day(place: u128, whole: u128) -> i64 {
    let mut rest = place * 1000;
    for (hour, weight) in (0_i64..).zip(HOURS) {
        let share = whole * u128::from(weight);
        if rest < share {
            let second = i64::try_from(rest * 3600 / share).unwrap_or(0);
            return hour * 3600 + second;
        }
        rest -= share;
    }
    86_399
}

/// How busy a day is, relative to others.
fn weight(seed: u64, date: NaiveDate, index: u32) -> u64 {
    let growth = 1000 + u64::from(index) * 600 / 365;
    let weekday = WEEKDAYS[date.weekday().num_days_from_monday() as usize];
    let month = MONTHS[date.month0() as usize];
    // Rows of this purpose are order numbers; the upper half of the numbers is free for days.
    let noise = 92 + Stream::new(seed, Purpose::Calendar, u64::MAX - u64::from(index)).below(17);
    growth * weekday * month * noise
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar() -> Calendar {
        Calendar::new(7, 100_000, NaiveDate::from_ymd_opt(2025, 12, 31).unwrap(), 365).unwrap()
    }

    #[test]
    fn the_hours_of_a_day_sum_to_a_thousand() {
        assert_eq!(HOURS.iter().sum::<u64>(), 1000);
    }

    #[test]
    fn history_has_exactly_the_orders_asked_for() {
        let c = calendar();
        assert_eq!(c.orders_before(c.history_days()), 100_000);
        assert_eq!(c.date(0), NaiveDate::from_ymd_opt(2025, 1, 1).unwrap());
        assert!(c.orders_before(c.history_days() + 1) > 100_000);
    }

    #[test]
    fn orders_are_numbered_in_the_order_of_time() {
        let c = calendar();
        let mut last = c.midnight(0);
        for order in 1..=100_500 {
            let at = c.placed_at(order);
            assert!(at >= last, "order {order}");
            last = at;
        }
        assert!(last >= c.midnight(365) && last < c.midnight(367));
    }

    #[test]
    fn weekends_and_december_are_busier() {
        let c = calendar();
        let of = |m: u32, d: u32| {
            let day = (NaiveDate::from_ymd_opt(2025, m, d).unwrap() - c.date(0)).num_days();
            let day = usize::try_from(day).unwrap();
            c.orders_before(day + 1) - c.orders_before(day)
        };
        assert!(of(12, 14) > of(12, 10), "Sunday over Wednesday");
        assert!(of(12, 10) > of(2, 12), "December over February");
    }

    #[test]
    fn days_of_the_history_are_refused() {
        let err = calendar().day(NaiveDate::from_ymd_opt(2025, 12, 31).unwrap()).unwrap_err();
        assert!(err.to_string().contains("belongs to the history"), "{err}");
        assert_eq!(calendar().day(NaiveDate::from_ymd_opt(2026, 1, 1).unwrap()).unwrap(), 365);
    }
}
