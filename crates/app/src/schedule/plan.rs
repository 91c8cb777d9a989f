//! What a pipeline needs, from its file, its record and the time. Pure.
//!
//! One slot after another is *decided*, once and for all, by a record that is kept before anything is done. A decided slot
//! is run (it becomes active), caught up by the run of a later one, or skipped. Only where the clock was set back by more
//! than a slot are those decided again that come again; but not where that was one false reading of it.

use std::time::Duration;

use polder_base::{RunId, Timestamp};
use polder_project::{Missed, Notify, Overlap, Pipeline};
use polder_run::{ActiveSlot, Notice, NoticeKind, PipelineRecord, SlotOutcome, SlotStatus};

/// A slot that is no older was not missed: a server that restarts, or a machine that is busy, is a little late.
const ON_TIME: Duration = Duration::from_secs(60);
/// The wait for tables that another run writes.
const BUSY: Duration = Duration::from_secs(15);
/// Notices that are kept for a webhook that does not answer.
const MOST_NOTICES: usize = 100;
/// Hexadecimal digits that a webhook is known by.
const HOOK_DIGITS: usize = 16;
/// Times that are kept of a clock which is set back again and again.
const MOST_SET_BACK: usize = 8;

/// What has to be done for a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// Keep this record in the place of the one there is, and ask again.
    Keep(Box<PipelineRecord>),
    /// Begin a run for the active slot.
    Begin,
    /// Find out how the run of the active slot fares, if nobody here executes it, and go on with it where that is due.
    Look(RunId),
    Nothing,
}

/// How an execution of a run ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ending {
    /// None where no run could begin.
    pub(super) run: Option<RunId>,
    pub(super) status: SlotStatus,
    pub(super) reason: Option<String>,
    /// The environment made it fail: another try may succeed.
    pub(super) may_pass: bool,
    /// A person asked for this end, so that no server goes on.
    pub(super) asked: bool,
}

impl Ending {
    /// An end that stays one, and that nobody asked for.
    pub(super) fn new(run: Option<RunId>, status: SlotStatus, reason: Option<String>) -> Self {
        Self { run, status, reason, may_pass: false, asked: false }
    }
}

/// The next thing that a pipeline needs. `record`: as it is kept; none: the pipeline is new.
pub(super) fn next(pipeline: &Pipeline, record: Option<&PipelineRecord>, now: Timestamp) -> Next {
    let record = match record {
        Some(record) if counts_for(record, pipeline) && !is_ahead(pipeline, record, now) => record,
        Some(record) if counts_for(record, pipeline) => return keep(set_back(record, pipeline, now)),
        Some(record) => return keep(counted_from(record.clone(), pipeline, now)),
        None => return keep(counted_from(empty(pipeline, now), pipeline, now)),
    };
    if let Some(seen) = record.decided_before.iter().copied().filter(|before| *before <= now).max() {
        return keep(set_right(record, pipeline, seen));
    }
    let due = due(pipeline, record, now);
    match (&record.active, due, record.waiting) {
        (Some(_), Some(slot), _) => keep(beside_active(pipeline, record, slot, now)),
        (Some(active), None, _) => next_of_active(pipeline, active, now),
        (None, None, Some(waiting)) => keep(started(record, waiting, now)),
        (None, Some(slot), _) if is_wanted(pipeline, slot, now) => {
            keep(started(&decided(pipeline, record, slot), slot, now))
        }
        (None, Some(slot), _) => keep(PipelineRecord { skipped: Some(slot), ..decided(pipeline, record, slot) }),
        (None, None, None) => Next::Nothing,
    }
}

fn keep(record: PipelineRecord) -> Next {
    Next::Keep(Box::new(record))
}

/// Whether the record is about the schedule that the file has now.
fn counts_for(record: &PipelineRecord, pipeline: &Pipeline) -> bool {
    record.schedule == pipeline.schedule.words()
        && record.time_zone.as_deref() == pipeline.schedule.time_zone()
        && record.paused == pipeline.paused
}

/// Whether the clock was set back: slots are decided that are further away than the next one. The pipeline would stand
/// still until the clock is there again, which may be years; a slot that comes twice runs twice instead.
pub(super) fn is_ahead(pipeline: &Pipeline, record: &PipelineRecord, now: Timestamp) -> bool {
    record.decided > now && pipeline.schedule.after(now).is_none_or(|next| next < record.decided)
}

fn empty(pipeline: &Pipeline, now: Timestamp) -> PipelineRecord {
    PipelineRecord {
        pipeline: pipeline.name.clone(),
        schedule: String::new(),
        time_zone: None,
        paused: false,
        decided: now,
        decided_before: Vec::new(),
        next: None,
        active: None,
        waiting: None,
        skipped: None,
        last: None,
        failing_since: None,
        notices: Vec::new(),
    }
}

/// A schedule counts from when it was written: what it would have made due before is no business of anybody.
fn counted_from(record: PipelineRecord, pipeline: &Pipeline, now: Timestamp) -> PipelineRecord {
    let counted = PipelineRecord {
        schedule: pipeline.schedule.words(),
        time_zone: pipeline.schedule.time_zone().map(str::to_owned),
        paused: pipeline.paused,
        waiting: None,
        ..record
    };
    PipelineRecord { decided: now, decided_before: Vec::new(), next: slot_after(pipeline, now), ..counted }
}

/// The record with counting begun anew, because the clock was set back. A slot that waits still has its turn.
fn set_back(record: &PipelineRecord, pipeline: &Pipeline, now: Timestamp) -> PipelineRecord {
    let mut decided_before = record.decided_before.clone();
    decided_before.push(record.decided);
    decided_before.sort_unstable();
    // Those that are furthest away are the least likely to come again.
    decided_before.truncate(MOST_SET_BACK);
    PipelineRecord { decided: now, decided_before, next: slot_after(pipeline, now), ..record.clone() }
}

/// The record once the clock has passed again what was decided before it was set back, and no slot came between.
fn set_right(record: &PipelineRecord, pipeline: &Pipeline, seen: Timestamp) -> PipelineRecord {
    let decided_before = record.decided_before.iter().copied().filter(|before| *before > seen).collect();
    let decided = record.decided.max(seen);
    PipelineRecord { decided, decided_before, next: slot_after(pipeline, decided), ..record.clone() }
}

fn slot_after(pipeline: &Pipeline, time: Timestamp) -> Option<Timestamp> {
    if pipeline.paused { None } else { pipeline.schedule.after(time) }
}

/// The last slot that is due and not decided.
fn due(pipeline: &Pipeline, record: &PipelineRecord, now: Timestamp) -> Option<Timestamp> {
    record.next.filter(|next| *next <= now)?;
    pipeline.schedule.up_to(now).filter(|slot| *slot > record.decided)
}

fn is_on_time(slot: Timestamp, now: Timestamp) -> bool {
    now.since(slot) <= ON_TIME
}

fn is_wanted(pipeline: &Pipeline, slot: Timestamp, now: Timestamp) -> bool {
    is_on_time(slot, now) || pipeline.missed == Missed::Run
}

/// The record with all slots up to this one decided.
fn decided(pipeline: &Pipeline, record: &PipelineRecord, slot: Timestamp) -> PipelineRecord {
    let next = pipeline.schedule.after(slot);
    PipelineRecord { decided: slot, decided_before: Vec::new(), next, ..record.clone() }
}

fn started(record: &PipelineRecord, slot: Timestamp, now: Timestamp) -> PipelineRecord {
    let active = ActiveSlot {
        due: slot,
        since: now,
        run: None,
        attempt: 1,
        begun: 0,
        resumed: 0,
        next_try: None,
        reason: None,
        interrupted: false,
        left: false,
        timed_out: false,
    };
    PipelineRecord { active: Some(active), waiting: None, ..record.clone() }
}

/// A slot that comes due while the run of an earlier one is not at its end. One that nothing was there to see is missed,
/// although a run was left behind: that run knows nothing of it.
fn beside_active(pipeline: &Pipeline, record: &PipelineRecord, slot: Timestamp, now: Timestamp) -> PipelineRecord {
    let decided = decided(pipeline, record, slot);
    let waits = match is_on_time(slot, now) {
        true => pipeline.overlap == Overlap::Queue,
        false => pipeline.missed == Missed::Run,
    };
    match waits {
        true => PipelineRecord { waiting: Some(slot), ..decided },
        false => PipelineRecord { skipped: Some(slot), ..decided },
    }
}

fn next_of_active(pipeline: &Pipeline, active: &ActiveSlot, now: Timestamp) -> Next {
    if active.next_try.is_some_and(|next_try| must_wait(pipeline, next_try, now)) {
        return Next::Nothing;
    }
    active.run.map_or(Next::Begin, Next::Look)
}

/// Whether another try is still to come. One that is further away than any wait tells that the clock was set back.
fn must_wait(pipeline: &Pipeline, next_try: Timestamp, now: Timestamp) -> bool {
    let longest = Duration::from_secs(pipeline.retries.longest_seconds).max(BUSY);
    next_try > now && next_try.since(now) <= longest
}

/// The record with which a server goes on with the run of the active slot. Others leave it alone until it has the run.
/// `stopped`: its record says that it was cancelled, by a server that stopped. Until the run goes on, that must not look
/// like a person's doing; and once a run has died by itself, nothing of an earlier end counts any more.
pub(super) fn resumed(record: &PipelineRecord, stopped: bool, now: Timestamp) -> PipelineRecord {
    let resumed = |active: ActiveSlot| ActiveSlot {
        begun: active.attempt,
        resumed: active.resumed + 1,
        next_try: Some(now + BUSY),
        reason: None,
        interrupted: false,
        left: stopped,
        timed_out: false,
        ..active
    };
    PipelineRecord { active: record.active.clone().map(resumed), ..record.clone() }
}

/// The record after an execution of its active slot. `chance`: random bits.
pub(super) fn settled(
    pipeline: &Pipeline,
    record: &PipelineRecord,
    ending: Ending,
    now: Timestamp,
    chance: u64,
) -> PipelineRecord {
    let Some(active) = &record.active else { return record.clone() };
    if ending.may_pass && active.attempt <= pipeline.retries.times {
        let next_try = now + wait(pipeline, active.attempt, chance);
        let active = ActiveSlot {
            run: ending.run.or(active.run),
            attempt: active.attempt + 1,
            next_try: Some(next_try),
            reason: ending.reason,
            interrupted: false,
            left: false,
            timed_out: false,
            ..active.clone()
        };
        return PipelineRecord { active: Some(active), ..record.clone() };
    }
    let outcome = SlotOutcome {
        due: active.due,
        run: ending.run.or(active.run),
        status: ending.status,
        reason: ending.reason,
        attempts: active.attempt,
        finished: now,
    };
    ended(pipeline, record, outcome)
}

fn ended(pipeline: &Pipeline, record: &PipelineRecord, outcome: SlotOutcome) -> PipelineRecord {
    let mut after = PipelineRecord { active: None, last: Some(outcome.clone()), ..record.clone() };
    match outcome.status {
        SlotStatus::Published => {
            if let Some(since) = after.failing_since.take() {
                let hooks = pipeline.notify.iter().filter(|hook| hook.recovery);
                after.notices.extend(notices(&record.pipeline, hooks, NoticeKind::Recovery, &outcome, since));
            }
        }
        status if status.is_failure() => {
            let since = *after.failing_since.get_or_insert(outcome.finished);
            let hooks = pipeline.notify.iter().filter(|hook| hook.failure);
            after.notices.extend(notices(&record.pipeline, hooks, NoticeKind::Failure, &outcome, since));
        }
        _ => {}
    }
    let surplus = after.notices.len().saturating_sub(MOST_NOTICES);
    after.notices.drain(..surplus);
    after
}

fn notices<'a>(
    pipeline: &'a str,
    hooks: impl Iterator<Item = &'a Notify>,
    kind: NoticeKind,
    outcome: &'a SlotOutcome,
    since: Timestamp,
) -> impl Iterator<Item = Notice> {
    hooks.map(move |hook| {
        let hook = hook_name(hook);
        // Where the clock was set back a slot may come twice, but its run does not.
        let which = outcome.run.map_or_else(|| outcome.finished.to_string(), |run| run.to_string());
        Notice {
            id: format!("{pipeline}/{}/{which}/{}/{hook}", outcome.due, kind.as_str()),
            kind,
            hook,
            at: outcome.finished,
            outcome: outcome.clone(),
            failing_since: Some(since),
            tries: 0,
            next_try: outcome.finished,
        }
    })
}

/// What a webhook is known by where its address must not stand.
pub(super) fn hook_name(hook: &Notify) -> String {
    let mut name = blake3::hash(hook.webhook.as_bytes()).to_hex().to_string();
    name.truncate(HOOK_DIGITS);
    name
}

/// The wait after a failed attempt: it doubles with each, and chance takes off up to half, so that pipelines which failed
/// together do not come back together.
fn wait(pipeline: &Pipeline, attempt: u32, chance: u64) -> Duration {
    let doubled = pipeline.retries.wait_seconds.saturating_mul(1 << (attempt - 1).min(30));
    let millis = doubled.min(pipeline.retries.longest_seconds).saturating_mul(1000);
    Duration::from_millis(millis - chance % (millis / 2 + 1))
}

/// The record of a slot whose run nothing more can become of, although it is not done: this try begins another.
pub(super) fn anew(record: &PipelineRecord, reason: String) -> PipelineRecord {
    let anew = |active: ActiveSlot| ActiveSlot {
        run: None,
        begun: active.attempt.saturating_sub(1),
        next_try: None,
        reason: Some(reason),
        interrupted: false,
        left: false,
        timed_out: false,
        ..active
    };
    PipelineRecord { active: record.active.clone().map(anew), ..record.clone() }
}

/// The record of a slot whose run cannot begin or go on yet, because another writes its tables.
pub(super) fn busy(record: &PipelineRecord, reason: String, now: Timestamp) -> PipelineRecord {
    let waiting = |active: ActiveSlot| ActiveSlot {
        begun: active.attempt.saturating_sub(1),
        next_try: Some(now + BUSY),
        reason: Some(reason),
        ..active
    };
    PipelineRecord { active: record.active.clone().map(waiting), ..record.clone() }
}
