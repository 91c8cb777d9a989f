//! When a pipeline is due. Pure: times in, times out.
//!
//! A schedule is a row of moments, its *slots*. Those of an interval are the multiples of it since 1970. Those of cron are
//! what a clock on the wall shows, which daylight saving turns forward and back:
//!
//! - A time that the clock leaps over is due once, at the first moment after the leap.
//! - A time that it shows twice is due once, the first time.
//! - Where the hour is `*`, the schedule says how often, not when: it goes on through both, at each moment that fits.
//!
//! `croner` has the first two rules only for patterns of one single time a day (`30 2,14 * * *` would be left out on the
//! day of the leap, and twice due on the other), so it searches the clock on the wall here, and the moments are found
//! afterwards.

use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use polder_base::Timestamp;

/// When a pipeline is due.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// At the multiples of an interval, counted from 1970-01-01T00:00:00Z. Never 0.
    Every {
        seconds: u64,
    },
    Cron(Box<CronSchedule>),
}

/// Five fields and the zone that they are read in.
#[derive(Debug, Clone)]
pub struct CronSchedule {
    /// As it was written, one space between the fields.
    text: String,
    cron: Cron,
    zone: Tz,
    /// Every hour of the day is meant.
    hourly: bool,
}

const MICROS: i64 = 1_000_000;

/// No clock is turned back further, but where a country changed its date.
const FURTHEST_BACK_HOURS: i64 = 25;

impl Schedule {
    /// # Errors
    /// What is wrong with the fields, in words.
    pub fn cron(text: &str, zone: Tz) -> Result<Self, String> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let fields = text.split(' ').count();
        if fields != 5 && !text.starts_with('@') {
            return Err(format!("it has {fields} {}, not five", if fields == 1 { "field" } else { "fields" }));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&text).map_err(|e| plain(&e.to_string()))?;
        let hourly = text.split(' ').nth(1).map_or(text.eq_ignore_ascii_case("@hourly"), |hour| hour == "*");
        let schedule = CronSchedule { text, cron, zone, hourly };
        // 30 February.
        if schedule.after(Timestamp(0)).is_none() {
            return Err("it never comes".to_owned());
        }
        Ok(Self::Cron(Box::new(schedule)))
    }

    /// The first slot after a time. `None`: there is none before the year 5000.
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every { seconds } => {
                let interval = interval_micros(*seconds);
                time.0.div_euclid(interval).checked_add(1)?.checked_mul(interval).map(Timestamp)
            }
            Self::Cron(cron) => cron.after(time),
        }
    }

    /// The last slot up to a time, itself included.
    pub fn up_to(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every { seconds } => {
                let interval = interval_micros(*seconds);
                Some(Timestamp(time.0.div_euclid(interval) * interval))
            }
            Self::Cron(cron) => cron.up_to(time),
        }
    }

    /// As people write it: `0 6 * * 1-5`, `every 15m`.
    pub fn words(&self) -> String {
        match self {
            Self::Every { seconds } => format!("every {}", duration(*seconds)),
            Self::Cron(cron) => cron.text.clone(),
        }
    }

    /// The zone that it is read in; `None` where no zone matters.
    pub fn time_zone(&self) -> Option<&'static str> {
        match self {
            Self::Every { .. } => None,
            Self::Cron(cron) => Some(cron.zone.name()),
        }
    }
}

fn interval_micros(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX / MICROS).saturating_mul(MICROS).max(1)
}

impl CronSchedule {
    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let time = moment(time, self.zone)?;
        if self.hourly {
            return Some(stamp(&self.cron.find_next_occurrence(&time, false).ok()?));
        }
        // The moments have the order of what the wall shows, so whatever comes later than `time` is shown later.
        let mut shown = time.naive_local();
        loop {
            shown = self.cron.find_next_occurrence(&shown, false).ok()?;
            let slot = self.moment_of(shown)?;
            if slot > time {
                return Some(stamp(&slot));
            }
        }
    }

    fn up_to(&self, time: Timestamp) -> Option<Timestamp> {
        let time = moment(time, self.zone)?;
        if self.hourly {
            return Some(stamp(&self.cron.find_previous_occurrence(&time, true).ok()?));
        }
        // Where the clock was turned back, the wall has shown later times before.
        let mut shown = time.naive_local() + Duration::hours(FURTHEST_BACK_HOURS);
        let mut inclusive = true;
        loop {
            shown = self.cron.find_previous_occurrence(&shown, inclusive).ok()?;
            inclusive = false;
            let slot = self.moment_of(shown)?;
            if slot <= time {
                return Some(stamp(&slot));
            }
        }
    }

    /// The moment at which the wall shows a time: the first of two, or the first after a leap over it.
    fn moment_of(&self, shown: NaiveDateTime) -> Option<DateTime<Tz>> {
        match self.zone.from_local_datetime(&shown) {
            LocalResult::Single(moment) => Some(moment),
            LocalResult::Ambiguous(first, _) => Some(first),
            LocalResult::None => self.after_leap(shown),
        }
    }

    /// The first moment after a leap that a time lies in: leaps end at a full minute.
    fn after_leap(&self, shown: NaiveDateTime) -> Option<DateTime<Tz>> {
        let full = shown.with_second(0)?.with_nanosecond(0)?;
        (1..=FURTHEST_BACK_HOURS * 60)
            .find_map(|minutes| self.zone.from_local_datetime(&(full + Duration::minutes(minutes))).earliest())
    }
}

/// To the second, as cron counts; what is lost is shorter than any distance of slots, and lies before `time`.
fn moment(time: Timestamp, zone: Tz) -> Option<DateTime<Tz>> {
    Some(DateTime::<Utc>::from_timestamp(time.0.div_euclid(MICROS), 0)?.with_timezone(&zone))
}

fn stamp(moment: &DateTime<Tz>) -> Timestamp {
    Timestamp(moment.timestamp() * MICROS)
}

/// `15m`, `1h 30m`.
fn duration(seconds: u64) -> String {
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let words: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    words.join(" ")
}

/// The parser's message without what it calls itself.
fn plain(message: &str) -> String {
    let message = message.trim_end_matches('.');
    let cut = ["Invalid pattern: ", "Component error: ", "Pattern contains illegal characters: "];
    let message = cut.iter().find_map(|cut| message.strip_prefix(cut)).unwrap_or(message);
    let mut letters = message.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule(cron: &str, zone: &str) -> Schedule {
        Schedule::cron(cron, zone.parse().unwrap()).unwrap()
    }

    /// The slots of a stretch of time, in UTC without the year; found forwards, and the same backwards.
    fn slots(schedule: &Schedule, from: &str, to: &str) -> Vec<String> {
        let (from, to) = (time(from), time(to));
        let mut forwards = Vec::new();
        let mut at = from;
        while let Some(slot) = schedule.after(at).filter(|slot| *slot <= to) {
            assert!(slot > at);
            forwards.push(slot);
            at = slot;
        }
        let mut backwards = Vec::new();
        let mut at = to;
        while let Some(slot) = schedule.up_to(at).filter(|slot| *slot > from) {
            backwards.push(slot);
            at = Timestamp(slot.0 - 1);
        }
        backwards.reverse();
        assert_eq!(forwards, backwards);
        forwards.iter().map(|slot| slot.to_string()[5..16].to_owned()).collect()
    }

    #[test]
    fn a_time_that_the_clock_leaps_over_is_due_once_right_after() {
        // 2026-03-29, 02:00 → 03:00 (01:00 UTC).
        let amsterdam =
            |cron| slots(&schedule(cron, "Europe/Amsterdam"), "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
        assert_eq!(amsterdam("30 2 * * *"), ["03-29T01:00"]);
        assert_eq!(amsterdam("30 2,13 * * *"), ["03-28T12:30", "03-29T01:00", "03-29T11:30"]);
        assert_eq!(amsterdam("*/20 2 * * *"), ["03-29T01:00"]);
        assert_eq!(amsterdam("0 3 * * *"), ["03-29T01:00"]);
        // 2026-03-08, 02:00 → 03:00 (07:00 UTC).
        let york = |cron| slots(&schedule(cron, "America/New_York"), "2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z");
        assert_eq!(york("15 2 * * *"), ["03-08T07:00", "03-09T06:15"]);
        assert_eq!(york("0 2 8 3 *"), ["03-08T07:00"]);
    }

    #[test]
    fn a_time_that_the_clock_shows_twice_is_due_once() {
        // 2026-10-25, 03:00 → 02:00 (01:00 UTC).
        let amsterdam =
            |cron| slots(&schedule(cron, "Europe/Amsterdam"), "2026-10-24T12:00:00Z", "2026-10-25T06:00:00Z");
        assert_eq!(amsterdam("30 2 * * *"), ["10-25T00:30"]);
        assert_eq!(amsterdam("30 2,4 * * *"), ["10-25T00:30", "10-25T03:30"]);
        assert_eq!(amsterdam("*/30 2-3 * * *"), ["10-25T00:00", "10-25T00:30", "10-25T02:00", "10-25T02:30"]);
        // 2026-11-01, 02:00 → 01:00 (06:00 UTC).
        let york = |cron| slots(&schedule(cron, "America/New_York"), "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z");
        assert_eq!(york("15 1 * * *"), ["11-01T05:15", "11-02T06:15"]);
    }

    #[test]
    fn what_runs_every_hour_goes_on_through_both() {
        let amsterdam = schedule("30 * * * *", "Europe/Amsterdam");
        assert_eq!(
            slots(&amsterdam, "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z"),
            ["10-24T23:30", "10-25T00:30", "10-25T01:30", "10-25T02:30"]
        );
        assert_eq!(
            slots(&amsterdam, "2026-03-28T23:00:00Z", "2026-03-29T03:00:00Z"),
            ["03-28T23:30", "03-29T00:30", "03-29T01:30", "03-29T02:30"]
        );
        let york = schedule("*/30 * * * *", "America/New_York");
        assert_eq!(slots(&york, "2026-11-01T04:00:00Z", "2026-11-01T08:00:00Z").len(), 8);
        assert_eq!(slots(&york, "2026-03-08T05:00:00Z", "2026-03-08T09:00:00Z").len(), 8);
    }

    #[test]
    fn half_an_hour_is_a_leap_too() {
        // Lord Howe: 2026-04-05 02:00 → 01:30 (15:00 UTC the day before), 2026-10-04 02:00 → 02:30 (15:30 UTC).
        let howe = |cron, from, to| slots(&schedule(cron, "Australia/Lord_Howe"), from, to);
        assert_eq!(howe("45 1 * * *", "2026-04-04T10:00:00Z", "2026-04-04T20:00:00Z"), ["04-04T14:45"]);
        assert_eq!(howe("15 2 * * *", "2026-10-03T10:00:00Z", "2026-10-03T20:00:00Z"), ["10-03T15:30"]);
    }

    #[test]
    fn intervals_are_counted_from_1970() {
        let every = Schedule::Every { seconds: 900 };
        assert_eq!(every.after(time("2026-11-20T06:00:00Z")), Some(time("2026-11-20T06:15:00Z")));
        assert_eq!(every.after(time("2026-11-20T06:14:59.999999Z")), Some(time("2026-11-20T06:15:00Z")));
        assert_eq!(every.up_to(time("2026-11-20T06:15:00Z")), Some(time("2026-11-20T06:15:00Z")));
        assert_eq!(every.words(), "every 15m");
        assert_eq!(Schedule::Every { seconds: 5400 }.words(), "every 1h 30m");
    }

    #[test]
    fn a_fraction_of_a_second_neither_skips_nor_repeats() {
        let six = schedule("0 6 * * *", "UTC");
        assert_eq!(six.after(time("2026-11-20T05:59:59.999999Z")), Some(time("2026-11-20T06:00:00Z")));
        assert_eq!(six.after(time("2026-11-20T06:00:00Z")), Some(time("2026-11-21T06:00:00Z")));
        assert_eq!(six.after(time("2026-11-20T06:00:00.5Z")), Some(time("2026-11-21T06:00:00Z")));
        assert_eq!(six.up_to(time("2026-11-20T06:00:00.5Z")), Some(time("2026-11-20T06:00:00Z")));
        assert_eq!(six.up_to(time("2026-11-20T05:59:59.9Z")), Some(time("2026-11-19T06:00:00Z")));
    }

    #[test]
    fn what_is_no_schedule_says_so() {
        for (cron, why) in [("0 6 * *", "it has 4 fields, not five"), ("0 0 30 2 *", "it never comes")] {
            assert_eq!(Schedule::cron(cron, Tz::UTC).unwrap_err(), why);
        }
        for cron in ["", "61 * * * *", "a b c d e", "@never", "0 6 * * 1-9", "0 0 6 * * 1"] {
            assert!(Schedule::cron(cron, Tz::UTC).is_err(), "{cron}");
        }
        assert_eq!(schedule("@daily", "UTC").after(time("2026-11-20")), Some(time("2026-11-21")));
    }
}
