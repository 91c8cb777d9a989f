use std::time::Duration;

use polder_base::{RunId, Timestamp};
use polder_project::Pipeline;
use polder_run::{NoticeKind, PipelineRecord, SlotStatus};

use super::super::notices;
use super::super::plan::{Ending, Next, anew, busy, next, resumed, settled};
use super::pipeline;

fn time(text: &str) -> Timestamp {
    format!("2026-11-{text}Z").parse().unwrap()
}

/// Follows a pipeline until it needs nothing, or something is to be done.
fn follow(pipeline: &Pipeline, record: &mut Option<PipelineRecord>, now: &str) -> Next {
    for _ in 0..10 {
        match next(pipeline, record.as_ref(), time(now)) {
            Next::Keep(kept) => *record = Some(*kept),
            other => return other,
        }
    }
    panic!("it does not come to an end: {record:#?}");
}

/// The slot that a run is to begin for.
fn begins(pipeline: &Pipeline, record: &mut Option<PipelineRecord>, now: &str) -> Option<Timestamp> {
    let begins = follow(pipeline, record, now) == Next::Begin;
    record.as_ref()?.active.as_ref().filter(|_| begins).map(|active| active.due)
}

/// A record as after the run has begun.
fn begun(record: &mut Option<PipelineRecord>, run: u64) {
    record.as_mut().unwrap().active.as_mut().unwrap().run = Some(RunId(run));
}

fn end(pipeline: &Pipeline, record: &mut Option<PipelineRecord>, status: SlotStatus, may_pass: bool, now: &str) {
    let ending = Ending { may_pass, ..Ending::new(None, status, Some("because".to_owned())) };
    *record = Some(settled(pipeline, record.as_ref().unwrap(), ending, time(now), 0));
}

#[test]
fn a_slot_is_run_once_and_a_new_pipeline_waits_for_its_first() {
    let daily = pipeline("cron: 0 6 * * *\n");
    let mut record = None;
    assert_eq!(follow(&daily, &mut record, "20T07:00:00"), Next::Nothing);
    assert_eq!(record.as_ref().unwrap().next, Some(time("21T06:00:00")));
    assert_eq!(begins(&daily, &mut record, "21T06:00:01"), Some(time("21T06:00:00")));
    begun(&mut record, 1);
    assert_eq!(follow(&daily, &mut record, "21T06:00:02"), Next::Look(RunId(1)));
    end(&daily, &mut record, SlotStatus::Published, false, "21T06:10:00");
    assert_eq!(follow(&daily, &mut record, "21T06:10:01"), Next::Nothing);
    // However the clock is set.
    for now in ["21T05:59:00", "20T06:00:00", "21T06:00:00", "21T23:59:59"] {
        assert_eq!(follow(&daily, &mut record, now), Next::Nothing, "{now}");
    }
    assert_eq!(begins(&daily, &mut record, "22T06:00:00"), Some(time("22T06:00:00")));
}

#[test]
fn missed_slots_are_caught_up_by_one_run_or_skipped() {
    let mut record = None;
    let hourly = pipeline("every: 1h\n");
    follow(&hourly, &mut record, "20T07:30:00");
    let (mut caught, mut skipped) = (record.clone(), record);
    assert_eq!(begins(&hourly, &mut caught, "22T12:20:00"), Some(time("22T12:00:00")));
    begun(&mut caught, 1);
    end(&hourly, &mut caught, SlotStatus::Published, false, "22T12:21:00");
    assert_eq!(follow(&hourly, &mut caught, "22T12:22:00"), Next::Nothing);

    let skip = pipeline("every: 1h\nmissed: skip\n");
    assert_eq!(follow(&skip, &mut skipped, "22T12:20:00"), Next::Nothing);
    assert_eq!(skipped.as_ref().unwrap().skipped, Some(time("22T12:00:00")));
    assert_eq!(begins(&skip, &mut skipped, "22T13:00:30"), Some(time("22T13:00:00")));
}

#[test]
fn a_slot_beside_a_run_is_skipped_or_queued_once() {
    for (overlap, wants) in [("skip", None), ("queue", Some("20T11:00:00"))] {
        let hourly = pipeline(&format!("every: 1h\noverlap: {overlap}\n"));
        let mut record = None;
        follow(&hourly, &mut record, "20T08:30:00");
        assert_eq!(begins(&hourly, &mut record, "20T09:00:00"), Some(time("20T09:00:00")));
        begun(&mut record, 1);
        for now in ["20T10:00:01", "20T11:00:01"] {
            assert_eq!(follow(&hourly, &mut record, now), Next::Look(RunId(1)));
        }
        end(&hourly, &mut record, SlotStatus::Published, false, "20T11:20:00");
        assert_eq!(begins(&hourly, &mut record, "20T11:20:01"), wants.map(time), "{overlap}");
    }
}

#[test]
fn what_was_missed_is_not_taken_for_overlap() {
    // The server died with a run, and came back a day later.
    let daily = pipeline("cron: 0 6 * * *\n");
    let mut record = None;
    follow(&daily, &mut record, "19T07:00:00");
    follow(&daily, &mut record, "20T06:00:00");
    begun(&mut record, 1);
    assert_eq!(follow(&daily, &mut record, "21T12:00:00"), Next::Look(RunId(1)));
    end(&daily, &mut record, SlotStatus::Published, false, "21T12:10:00");
    assert_eq!(begins(&daily, &mut record, "21T12:10:01"), Some(time("21T06:00:00")));
}

#[test]
fn another_schedule_counts_from_the_change() {
    let mut record = None;
    follow(&pipeline("every: 1h\n"), &mut record, "20T08:30:00");
    let other = pipeline("every: 20m\n");
    assert_eq!(follow(&other, &mut record, "20T12:30:00"), Next::Nothing);
    assert_eq!(begins(&other, &mut record, "20T12:40:00"), Some(time("20T12:40:00")));
    let mut record = None;
    follow(&pipeline("every: 1h\n"), &mut record, "20T08:30:00");
    let paused = pipeline("every: 1h\npaused: true\n");
    assert_eq!(follow(&paused, &mut record, "20T12:30:00"), Next::Nothing);
    assert_eq!(record.as_ref().unwrap().next, None);
    assert_eq!(follow(&pipeline("every: 1h\n"), &mut record, "21T12:30:00"), Next::Nothing);
    assert_eq!(record.unwrap().next, Some(time("21T13:00:00")));
}

#[test]
fn the_environment_is_tried_again_with_growing_waits_and_a_person_is_told_once() {
    let hourly =
        pipeline("every: 1d\nretries: { times: 3, wait: 1m, longest: 3m }\nnotify: [{ webhook: 'https://chat/x' }]\n");
    let mut record = None;
    follow(&hourly, &mut record, "19T12:00:00");
    follow(&hourly, &mut record, "20T00:00:00");
    begun(&mut record, 1);
    for (wait, attempt) in [(60, 2), (120, 3), (180, 4)] {
        end(&hourly, &mut record, SlotStatus::Failed, true, "20T01:00:00");
        let active = record.as_ref().unwrap().active.clone().unwrap();
        assert_eq!((active.attempt, active.next_try), (attempt, Some(time("20T01:00:00") + Duration::from_secs(wait))));
        assert_eq!(record.as_ref().unwrap().status(), Some("retrying"));
        assert_eq!(follow(&hourly, &mut record, "20T01:00:59"), Next::Nothing);
        assert_eq!(follow(&hourly, &mut record, "20T01:03:00"), Next::Look(RunId(1)));
        // The clock was set back by a day.
        assert_eq!(follow(&hourly, &mut record, "19T01:00:00"), Next::Look(RunId(1)));
    }
    assert!(record.as_ref().unwrap().notices.is_empty());
    end(&hourly, &mut record, SlotStatus::Failed, true, "20T01:00:00");
    let given_up = record.clone().unwrap();
    assert_eq!((given_up.status(), given_up.failing_since), (Some("failed"), Some(time("20T01:00:00"))));
    assert_eq!(given_up.last.as_ref().map(|last| (last.run, last.attempts)), Some((Some(RunId(1)), 4)));
    assert_eq!(given_up.notices.iter().map(|notice| notice.kind).collect::<Vec<_>>(), [NoticeKind::Failure]);
}

#[test]
fn chance_shortens_a_wait_by_half_at_most() {
    let daily = pipeline("every: 1d\nretries: { times: 9, wait: 1m }\n");
    let mut record = None;
    follow(&daily, &mut record, "19T12:00:00");
    follow(&daily, &mut record, "20T00:00:00");
    for chance in [0, 1, 29_999, 30_000, 30_001, u64::MAX] {
        let ending = Ending { may_pass: true, ..Ending::new(None, SlotStatus::Failed, None) };
        let after = settled(&daily, record.as_ref().unwrap(), ending, time("20T00:00:00"), chance);
        let wait = after.active.unwrap().next_try.unwrap().since(time("20T00:00:00"));
        assert!((30_000..=60_000).contains(&wait.as_millis()), "{wait:?}");
    }
}

#[test]
fn held_runs_and_mistakes_are_not_tried_again_and_recovery_is_told() {
    let daily = pipeline(
        "every: 1d\nretries: { times: 3 }\nnotify:\n  - webhook: https://chat/x\n  - { webhook: 'https://chat/y', on: recovery }\n",
    );
    let mut record = None;
    follow(&daily, &mut record, "19T12:00:00");
    follow(&daily, &mut record, "20T00:00:00");
    end(&daily, &mut record, SlotStatus::Held, false, "20T00:10:00");
    follow(&daily, &mut record, "21T00:00:00");
    end(&daily, &mut record, SlotStatus::TimedOut, false, "21T00:10:00");
    assert_eq!(record.as_ref().unwrap().failing_since, Some(time("20T00:10:00")));
    follow(&daily, &mut record, "22T00:00:00");
    // By a person: no news, and no recovery.
    end(&daily, &mut record, SlotStatus::Cancelled, false, "22T00:10:00");
    follow(&daily, &mut record, "23T00:00:00");
    end(&daily, &mut record, SlotStatus::Published, false, "23T00:10:00");
    follow(&daily, &mut record, "24T00:00:00");
    end(&daily, &mut record, SlotStatus::Published, false, "24T00:10:00");
    let record = record.unwrap();
    let told: Vec<_> = record.notices.iter().map(|n| (n.kind, n.outcome.status, n.at)).collect();
    let (failure, recovery) = (NoticeKind::Failure, NoticeKind::Recovery);
    assert_eq!(
        told,
        [
            (failure, SlotStatus::Held, time("20T00:10:00")),
            (failure, SlotStatus::TimedOut, time("21T00:10:00")),
            (recovery, SlotStatus::Published, time("23T00:10:00")),
            (recovery, SlotStatus::Published, time("23T00:10:00")),
        ]
    );
    assert_eq!(record.failing_since, None);
    // No address in what is kept.
    assert!(!serde_json::to_string(&record).unwrap().contains("chat"));
}

#[test]
fn tables_that_another_run_writes_are_waited_for() {
    let daily = pipeline("every: 1d\n");
    let mut record = None;
    follow(&daily, &mut record, "19T12:00:00");
    assert_eq!(begins(&daily, &mut record, "20T00:00:00"), Some(time("20T00:00:00")));
    record = Some(busy(record.as_ref().unwrap(), "run 7 writes gold.daily".to_owned(), time("20T00:00:00")));
    assert_eq!(record.as_ref().unwrap().status(), Some("waiting"));
    assert_eq!(follow(&daily, &mut record, "20T00:00:10"), Next::Nothing);
    assert_eq!(begins(&daily, &mut record, "20T00:00:15"), Some(time("20T00:00:00")));
    assert_eq!(record.unwrap().active.unwrap().attempt, 1);
}

#[test]
fn a_notice_is_sent_for_a_day_with_growing_waits() {
    let daily = pipeline("every: 1d\nnotify: [{ webhook: 'https://chat/x' }]\n");
    let mut record = None;
    follow(&daily, &mut record, "19T12:00:00");
    follow(&daily, &mut record, "20T00:00:00");
    end(&daily, &mut record, SlotStatus::Held, false, "20T00:10:00");
    let mut record = record.unwrap();
    let id = record.notices[0].id.clone();
    let (mut now, mut tries) = (time("20T00:10:00"), 0);
    while let Some(notice) = record.notices.first() {
        assert!(notices::is_due(notice, now));
        record = notices::sent(&record, &id, false, now).unwrap();
        now = record.notices.first().map_or(now, |notice| notice.next_try);
        tries += 1;
    }
    assert!(now.since(time("20T00:10:00")) > Duration::from_secs(86_400));
    assert_eq!(tries, 31);
    assert_eq!(notices::sent(&record, &id, true, now), None);
}

#[test]
fn a_clock_that_was_ahead_by_years_stops_no_pipeline() {
    for text in ["every: 1h\n", "cron: '0 * * * *'\n", "every: 1h\noverlap: queue\n"] {
        let hourly = pipeline(text);
        let mut record = None;
        follow(&hourly, &mut record, "20T07:30:00");
        let ahead: Timestamp = "2036-01-01T00:00:10Z".parse().unwrap();
        while let Next::Keep(kept) = next(&hourly, record.as_ref(), ahead) {
            record = Some(*kept);
        }
        begun(&mut record, 1);
        // While its run goes on, the clock is set back.
        assert_eq!(follow(&hourly, &mut record, "20T07:31:00"), Next::Look(RunId(1)), "{text}");
        end(&hourly, &mut record, SlotStatus::Published, false, "20T07:32:00");
        assert_eq!(follow(&hourly, &mut record, "20T07:33:00"), Next::Nothing, "{text}");
        assert_eq!(record.as_ref().unwrap().next, Some(time("20T08:00:00")), "{text}");
        assert_eq!(begins(&hourly, &mut record, "20T08:00:01"), Some(time("20T08:00:00")), "{text}");
    }
}

#[test]
fn a_clock_set_back_by_less_than_a_slot_repeats_none() {
    let hourly = pipeline("every: 1h\n");
    let mut record = None;
    follow(&hourly, &mut record, "20T07:30:00");
    assert_eq!(begins(&hourly, &mut record, "20T08:00:01"), Some(time("20T08:00:00")));
    begun(&mut record, 1);
    end(&hourly, &mut record, SlotStatus::Published, false, "20T08:10:00");
    for now in ["20T07:10:00", "20T08:00:00", "20T08:59:59"] {
        assert_eq!(follow(&hourly, &mut record, now), Next::Nothing, "{now}");
    }
    assert_eq!(begins(&hourly, &mut record, "20T09:00:00"), Some(time("20T09:00:00")));
}

/// A reading that is years behind, once or again and again, is seen to have been false when the clock is right again.
#[test]
fn a_clock_that_was_behind_for_a_moment_repeats_no_slot() {
    for falsely in [&["1970-01-01T00:00:03Z"][..], &["2020-05-01T00:00:00Z", "1970-01-01T00:00:03Z"]] {
        let monthly = pipeline("cron: 0 0 20 * *\n");
        let mut record = None;
        follow(&monthly, &mut record, "19T12:00:00");
        assert_eq!(begins(&monthly, &mut record, "20T00:00:01"), Some(time("20T00:00:00")));
        begun(&mut record, 1);
        end(&monthly, &mut record, SlotStatus::Published, false, "20T00:10:00");
        // And once it was ahead.
        for now in std::iter::once(&"2036-11-20T12:00:00Z").chain(falsely) {
            while let Next::Keep(kept) = next(&monthly, record.as_ref(), now.parse().unwrap()) {
                record = Some(*kept);
            }
            if record.as_ref().unwrap().active.is_some() {
                begun(&mut record, 2);
                end(&monthly, &mut record, SlotStatus::Published, false, "20T00:20:00");
                assert_eq!(follow(&monthly, &mut record, "20T00:20:00"), Next::Nothing);
            }
        }
        assert_eq!(follow(&monthly, &mut record, "20T00:20:01"), Next::Nothing, "{record:#?}");
        let december: Timestamp = "2026-12-20T00:00:00Z".parse().unwrap();
        assert_eq!(record.as_ref().unwrap().next, Some(december));
        // It counts on: what comes is run, and what was far ahead is nothing to wait for.
        while let Next::Keep(kept) = next(&monthly, record.as_ref(), december) {
            record = Some(*kept);
        }
        let record = record.unwrap();
        assert_eq!((record.active.map(|active| active.due), record.decided_before), (Some(december), Vec::new()));
    }
}

/// Where slots came while the clock was behind, it was no false reading: counting goes on from there.
#[test]
fn a_clock_that_stays_behind_counts_from_there() {
    let hourly = pipeline("every: 1h\n");
    let mut record = None;
    follow(&hourly, &mut record, "20T07:30:00");
    assert_eq!(begins(&hourly, &mut record, "20T12:00:01"), Some(time("20T12:00:00")));
    begun(&mut record, 1);
    end(&hourly, &mut record, SlotStatus::Published, false, "20T12:00:05");
    assert_eq!(follow(&hourly, &mut record, "20T09:30:00"), Next::Nothing);
    for hour in ["10", "11", "12"] {
        let slot = format!("20T{hour}:00:00");
        assert_eq!(begins(&hourly, &mut record, &slot), Some(time(&slot)));
        begun(&mut record, 2);
        end(&hourly, &mut record, SlotStatus::Published, false, &slot);
    }
}

#[test]
fn a_try_whose_run_is_superseded_begins_another() {
    let daily = pipeline("every: 1d\nretries: { times: 1, wait: 1m }\n");
    let mut record = None;
    follow(&daily, &mut record, "19T12:00:00");
    follow(&daily, &mut record, "20T00:00:00");
    begun(&mut record, 1);
    end(&daily, &mut record, SlotStatus::Failed, true, "20T00:10:00");
    assert_eq!(follow(&daily, &mut record, "20T00:11:00"), Next::Look(RunId(1)));
    let going_on = resumed(record.as_ref().unwrap(), false, time("20T00:11:00"));
    record = Some(anew(&going_on, "run 2 went on".to_owned()));
    assert_eq!(begins(&daily, &mut record, "20T00:11:01"), Some(time("20T00:00:00")));
    assert_eq!(record.as_ref().unwrap().active.as_ref().unwrap().attempt, 2);
}

/// Each night at half past two, which one night in spring has not and one in autumn has twice.
#[test]
fn a_pipeline_that_is_due_where_the_clock_leaps_runs_once_each_night() {
    let nightly = pipeline("cron: 30 2 * * *\ntime_zone: Europe/Amsterdam\n");
    let nights = [
        ("2026-03-28T00:00:00Z", ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
        ("2026-10-24T00:00:00Z", ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
    ];
    for (from, due) in nights {
        let from: Timestamp = from.parse().unwrap();
        let (mut record, mut ran) = (None, Vec::new());
        for minute in 0..3 * 24 * 60 {
            let now = from + Duration::from_secs(60 * minute);
            loop {
                match next(&nightly, record.as_ref(), now) {
                    Next::Keep(kept) => record = Some(*kept),
                    Next::Begin => {
                        let due = record.as_ref().unwrap().active.as_ref().unwrap().due;
                        assert!(now.since(due) < Duration::from_secs(60), "{due} at {now}");
                        ran.push(due.to_string());
                        let ending = Ending::new(None, SlotStatus::Published, None);
                        record = Some(settled(&nightly, record.as_ref().unwrap(), ending, now, 0));
                    }
                    Next::Look(_) | Next::Nothing => break,
                }
            }
        }
        assert_eq!(ran, due);
    }
}

#[test]
fn how_a_try_was_told_to_end_is_forgotten_with_it() {
    let daily = pipeline("every: 1d\nretries: { times: 3, wait: 1m }\n");
    let mut record = None;
    follow(&daily, &mut record, "19T12:00:00");
    follow(&daily, &mut record, "20T00:00:00");
    begun(&mut record, 1);
    let flags = |record: &PipelineRecord| {
        record.active.as_ref().map(|active| (active.interrupted, active.left, active.timed_out))
    };
    let active = record.as_mut().unwrap().active.as_mut().unwrap();
    (active.interrupted, active.timed_out) = (true, true);
    let stopped = record.clone().unwrap();
    // It failed by itself before it could be told.
    end(&daily, &mut record, SlotStatus::Failed, true, "20T00:10:00");
    assert_eq!(flags(record.as_ref().unwrap()), Some((false, false, false)));
    assert_eq!(flags(&resumed(&stopped, false, time("20T00:10:00"))), Some((false, false, false)));
    // Until the run goes on it is known that the server stopped, and not taken for what ends it next.
    assert_eq!(flags(&resumed(&stopped, true, time("20T00:10:00"))), Some((false, true, false)));
}
