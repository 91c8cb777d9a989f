//! Does what [`super::plan`] says, tick by tick.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use polder_base::{RunId, Timestamp};
use polder_project::Pipeline;
use polder_run::{ActiveSlot, PipelineRecord, SlotStatus};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ground::{Came, Declared, Found, Ground};
use super::notices;
use super::plan::{self, Ending, Next};
use super::records::{self, Records};
use crate::AppError;

/// Time that passes between two ticks at most. More of it was slept away by the machine, and no run went on meanwhile.
const LONGEST_TICK: Duration = Duration::from_secs(10);
/// What trouble with all pipelines is kept under: no name of one.
const ALL: &str = "";
/// Changes of one record in a tick: new schedule, slot decided, waiting slot started.
const MOST_CHANGES: usize = 4;
/// Notices that are sent at once.
const MOST_SENDING: usize = 8;
/// What runs get to end by themselves when the server stops. Those that take longer look as after a crash.
const GRACE: Duration = Duration::from_secs(8);

/// Executes due runs, and sends notices.
pub(super) struct Driver<G: Ground> {
    ground: Arc<G>,
    tasks: JoinSet<Done>,
    /// What this process executes, by pipeline.
    running: BTreeMap<String, Local>,
    /// Executions that ended and whose record is not kept yet.
    ended: VecDeque<Done>,
    senders: JoinSet<Sent>,
    /// Notices on their way: pipeline and id.
    sending: BTreeSet<(String, String)>,
    last_tick: Option<Timestamp>,
    /// Nothing is declared, and nothing is left of what was.
    idle: bool,
    /// What was told that keeps pipelines from going on, so that it is told once.
    troubles: BTreeMap<String, String>,
    /// Why it is not kept how runs ended, by pipeline.
    unkept: BTreeMap<String, String>,
}

/// An execution in this process.
struct Local {
    pipeline: Pipeline,
    cancel: CancellationToken,
    ran: Duration,
    timed_out: bool,
}

/// The execution of a slot that something is about: what is known of it holds for no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Try {
    due: Timestamp,
    /// Where the clock was set back, a slot may come twice.
    since: Timestamp,
    attempt: u32,
    resumed: u32,
}

impl Try {
    fn of(active: &ActiveSlot) -> Self {
        Self { due: active.due, since: active.since, attempt: active.attempt, resumed: active.resumed }
    }
}

/// An execution that ended.
struct Done {
    pipeline: String,
    slot: Try,
    /// The run that was gone on with; none where one was to begin.
    run: Option<RunId>,
    came: Came,
}

struct Sent {
    pipeline: String,
    id: String,
    result: Result<(), String>,
}

impl<G: Ground> Driver<G> {
    pub(super) fn new(ground: Arc<G>) -> Self {
        Self {
            ground,
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            ended: VecDeque::new(),
            senders: JoinSet::new(),
            sending: BTreeSet::new(),
            last_tick: None,
            idle: false,
            troubles: BTreeMap::new(),
            unkept: BTreeMap::new(),
        }
    }

    /// Notes whether something keeps a pipeline from going on, and tells when that changes.
    fn note_trouble(&mut self, pipeline: &str, what: Option<String>) {
        let before = match &what {
            Some(what) => self.troubles.insert(pipeline.to_owned(), what.clone()),
            None => self.troubles.remove(pipeline),
        };
        if before != what {
            self.ground.trouble(pipeline, what.as_deref());
        }
    }

    /// Takes note of what ended, and does what is due. What goes wrong with one pipeline is told, and tried again at the
    /// next tick.
    pub(super) async fn tick(&mut self) {
        self.collect().await;
        let now = self.ground.system().now();
        let passed = self.last_tick.map_or(Duration::ZERO, |last| now.since(last)).min(LONGEST_TICK);
        self.last_tick = Some(now);
        self.end_what_takes_too_long(passed).await;
        let declared = self.ground.declared();
        if declared.pipelines.is_empty() && self.running.is_empty() && self.idle {
            // Nothing is kept from going on where nothing is to.
            return self.note_trouble(ALL, None);
        }
        let records = match records::read_all(&self.ground.state()).await {
            Ok(records) => records,
            Err(error) => return self.note_trouble(ALL, Some(format!("their records cannot be read: {error}"))),
        };
        self.note_trouble(ALL, None);
        self.idle = declared.pipelines.is_empty() && declared.complete;
        for pipeline in &declared.pipelines {
            let trouble = match records.damaged.get(&pipeline.name) {
                Some(damaged) => Some(damaged.told()),
                None => {
                    let served = self.serve(pipeline, records.whole.get(&pipeline.name).cloned()).await;
                    served.err().map(|error| format!("the scheduler cannot go on with it: {error}"))
                }
            };
            let trouble = trouble.or_else(|| self.unkept.get(&pipeline.name).cloned());
            self.note_trouble(&pipeline.name, trouble);
        }
        self.send(&declared, &records.whole, now);
        self.forget(&declared, &records).await;
    }

    /// Does what a pipeline needs.
    async fn serve(&mut self, pipeline: &Pipeline, mut record: Option<PipelineRecord>) -> Result<(), AppError> {
        let state = self.ground.state();
        for _ in 0..MOST_CHANGES {
            let now = self.ground.system().now();
            let next = plan::next(pipeline, record.as_ref(), now);
            match next {
                Next::Keep(changed) => {
                    if !records::replace(&state, record.as_ref(), &changed).await? {
                        // Another server was faster: the next tick sees what it did.
                        return Ok(());
                    }
                    tell(record.as_ref(), &changed);
                    record = Some(*changed);
                }
                Next::Nothing => return Ok(()),
                _ if self.running.contains_key(&pipeline.name) => return Ok(()),
                Next::Begin => {
                    self.execute(pipeline, record.as_ref(), None);
                    return Ok(());
                }
                Next::Look(run) => return self.look(pipeline, record.as_ref(), run).await,
            }
        }
        Ok(())
    }

    /// Finds out what became of a run that nobody here executes. Whatever was known of it, somebody else may have gone on
    /// with it since: another server, or a person.
    async fn look(&mut self, pipeline: &Pipeline, record: Option<&PipelineRecord>, run: RunId) -> Result<(), AppError> {
        let Some(record) = record else { return Ok(()) };
        let Some(active) = &record.active else { return Ok(()) };
        let ended = match self.ground.look(run).await? {
            Found::Executed => return Ok(()),
            Found::Interrupted if !active.timed_out => None,
            Found::Interrupted => Some(Ending::new(Some(run), SlotStatus::Cancelled, None)),
            Found::Ended(ending) => Some(ending),
        };
        let mut is_stopped = false;
        if let Some(ending) = ended {
            is_stopped = is_of_server(&ending) && is_left(active);
            let is_tried_again = ending.may_pass && active.begun < active.attempt;
            if !is_stopped && !is_tried_again {
                return self.settle(pipeline, Try::of(active), ending).await;
            }
        }
        let resumed = plan::resumed(record, is_stopped, self.ground.system().now());
        if records::replace(&self.ground.state(), Some(record), &resumed).await? {
            tracing::info!(pipeline = pipeline.name, %run, "goes on");
            self.execute(pipeline, Some(&resumed), Some(run));
        }
        Ok(())
    }

    /// Executes the active slot: goes on with its run, or begins one.
    fn execute(&mut self, pipeline: &Pipeline, record: Option<&PipelineRecord>, run: Option<RunId>) {
        let Some(slot) = record.and_then(|record| record.active.as_ref()).map(Try::of) else { return };
        let cancel = CancellationToken::new();
        let local = Local { pipeline: pipeline.clone(), cancel: cancel.clone(), ran: Duration::ZERO, timed_out: false };
        self.running.insert(pipeline.name.clone(), local);
        let (ground, pipeline) = (Arc::clone(&self.ground), pipeline.clone());
        self.tasks.spawn(async move {
            let work = async {
                match run {
                    None => ground.begin(&pipeline, slot.due, &cancel).await,
                    Some(run) => ground.resume(&pipeline, run, &cancel).await,
                }
            };
            // A defect ends this run, and nothing else.
            let came =
                AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| Came::Failed(defect(&*panic)));
            Done { pipeline: pipeline.name, slot, run, came }
        });
    }

    /// Takes note of executions and notices that ended.
    async fn collect(&mut self) {
        while let Some(joined) = self.tasks.try_join_next() {
            self.ended.extend(joined.ok());
        }
        self.settle_ended().await;
        while let Some(joined) = self.senders.try_join_next() {
            if let Ok(sent) = joined {
                self.note_sent(sent).await;
            }
        }
    }

    async fn settle_ended(&mut self) {
        self.unkept.clear();
        // One after another: a defect at one of them leaves the others where they are.
        for _ in 0..self.ended.len() {
            let Some(done) = self.ended.pop_front() else { return };
            let noted = AssertUnwindSafe(self.note(&done)).catch_unwind().await;
            let noted = noted.unwrap_or_else(|panic| Err(AppError::Defect(panicked(&*panic))));
            if let Err(error) = noted {
                // It is kept here until it can be noted.
                let what = format!("how its run ended cannot be kept yet: {error}");
                self.unkept.insert(done.pipeline.clone(), what);
                self.ended.push_back(done);
            } else {
                self.running.remove(&done.pipeline);
            }
        }
    }

    async fn note(&self, done: &Done) -> Result<(), AppError> {
        let Some(local) = self.running.get(&done.pipeline) else { return Ok(()) };
        match &done.came {
            Came::Ended(ending) if ending.status != SlotStatus::Published => {
                self.settle_as_kept(local, done, ending).await
            }
            Came::Failed(ending) if ending.may_pass => self.settle_as_kept(local, done, ending).await,
            Came::Ended(ending) | Came::Failed(ending) => self.settle(&local.pipeline, done.slot, ending.clone()).await,
            Came::Taken => Ok(()),
            Came::Superseded(reason) => {
                tracing::info!(pipeline = done.pipeline, reason, "is run anew");
                self.update(&done.pipeline, done.slot, |record, active| match active.run == done.run {
                    true => plan::anew(record, reason.clone()),
                    false => record.clone(),
                })
                .await
            }
            Came::Busy(reason) => {
                let now = self.ground.system().now();
                tracing::info!(pipeline = done.pipeline, reason, "waits");
                self.update(&done.pipeline, done.slot, |record, active| match active.run == done.run {
                    true => plan::busy(record, reason.clone(), now),
                    // Another server has begun it meanwhile.
                    false => record.clone(),
                })
                .await
            }
        }
    }

    /// Records how an execution ended as the run's own record has it. Where the state failed and it has no end, the run is
    /// interrupted for every server, and perhaps another goes on with it already.
    async fn settle_as_kept(&self, local: &Local, done: &Done, ending: &Ending) -> Result<(), AppError> {
        let record = records::read(&self.ground.state(), &done.pipeline).await?;
        let active = record.as_ref().and_then(|record| record.active.as_ref());
        let run = ending.run.or_else(|| active.filter(|active| Try::of(active) == done.slot)?.run);
        let Some(run) = run else { return self.settle(&local.pipeline, done.slot, ending.clone()).await };
        match self.ground.look(run).await? {
            // It was not taken up again since.
            Found::Ended(kept) if is_of_server(&kept) && active.is_some_and(is_left) => self.wait(done, ending).await,
            Found::Ended(kept) => {
                let reason = kept.reason.or_else(|| ending.reason.clone());
                self.settle(&local.pipeline, done.slot, Ending { reason, ..kept }).await
            }
            Found::Executed => Ok(()),
            Found::Interrupted => self.wait(done, ending).await,
        }
    }

    /// Goes on with a run in a while, on which nobody works.
    async fn wait(&self, done: &Done, ending: &Ending) -> Result<(), AppError> {
        let (now, reason) = (self.ground.system().now(), ending.reason.clone().unwrap_or_default());
        self.update(&done.pipeline, done.slot, |record, _| plan::busy(record, reason.clone(), now)).await
    }

    /// Records how an execution of a slot ended.
    async fn settle(&self, pipeline: &Pipeline, slot: Try, ending: Ending) -> Result<(), AppError> {
        let system = self.ground.system();
        let (now, chance) = (system.now(), system.random());
        self.update(&pipeline.name, slot, |record, active| {
            let ending = match ending.status {
                SlotStatus::Cancelled if active.timed_out => timed_out(pipeline, &ending),
                _ => ending.clone(),
            };
            tracing::info!(pipeline = pipeline.name, run = ?ending.run, status = ending.status.as_str(), "ended");
            plan::settled(pipeline, record, ending, now, chance)
        })
        .await
    }

    /// Changes the record of a pipeline as long as this try is the active one: what another server settled stays so.
    async fn update(
        &self,
        pipeline: &str,
        slot: Try,
        mut change: impl FnMut(&PipelineRecord, &ActiveSlot) -> PipelineRecord,
    ) -> Result<(), AppError> {
        records::update(&self.ground.state(), pipeline, |record| {
            let active = record.active.as_ref().filter(|active| Try::of(active) == slot)?;
            Some(change(record, active))
        })
        .await
    }

    async fn end_what_takes_too_long(&mut self, passed: Duration) {
        let state = self.ground.state();
        for (name, local) in &mut self.running {
            local.ran += passed;
            let limit = local.pipeline.timeout_seconds.map(Duration::from_secs);
            if local.timed_out || limit.is_none_or(|limit| local.ran < limit) {
                continue;
            }
            // Before it ends, it is recorded why: a crash between the two must not make it a person's doing.
            if let Err(error) =
                records::update(&state, name, |record| mark(record, |active| active.timed_out = true)).await
            {
                tracing::warn!(pipeline = name, %error, "a run that takes too long cannot be ended yet");
                continue;
            }
            local.timed_out = true;
            local.cancel.cancel();
        }
    }

    /// Sends the notices that are due, each in a task of its own.
    fn send(&mut self, declared: &Declared, records: &BTreeMap<String, PipelineRecord>, now: Timestamp) {
        for pipeline in &declared.pipelines {
            let Some(record) = records.get(&pipeline.name) else { continue };
            for notice in record.notices.iter().filter(|notice| notices::is_due(notice, now)) {
                let key = (pipeline.name.clone(), notice.id.clone());
                if self.senders.len() >= MOST_SENDING || !self.sending.insert(key.clone()) {
                    continue;
                }
                let hook = pipeline.notify.iter().find(|hook| plan::hook_name(hook) == notice.hook);
                let address = hook.map(|hook| hook.webhook.clone());
                let body = notices::body(&declared.project, &pipeline.name, notice);
                let ground = Arc::clone(&self.ground);
                self.senders.spawn(async move {
                    let result = match address {
                        Some(address) => ground.send(&address, body).await,
                        // Nobody wants it any more.
                        None => Ok(()),
                    };
                    Sent { pipeline: key.0, id: key.1, result }
                });
            }
        }
    }

    async fn note_sent(&mut self, sent: Sent) {
        let now = self.ground.system().now();
        let state = self.ground.state();
        let noted = records::update(&state, &sent.pipeline, |record| {
            if let Err(reason) = &sent.result
                && let Some(notice) = record.notices.iter().find(|notice| notice.id == sent.id)
            {
                let given_up = notices::is_given_up(notice);
                let what =
                    if given_up { "a webhook was not told, and is given up" } else { "a webhook was not told yet" };
                tracing::warn!(pipeline = sent.pipeline, reason, tries = notice.tries + 1, "{what}");
            }
            notices::sent(record, &sent.id, sent.result.is_ok(), now)
        });
        if let Err(error) = noted.await {
            // It is sent once more, then.
            tracing::warn!(pipeline = sent.pipeline, %error, "what a webhook was told was not kept");
        }
        self.sending.remove(&(sent.pipeline, sent.id));
    }

    /// Forgets pipelines that no file declares any more.
    async fn forget(&mut self, declared: &Declared, records: &Records) {
        if !declared.complete {
            return;
        }
        let names: BTreeSet<&str> = declared.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
        let state = self.ground.state();
        for (name, record) in records.whole.iter().filter(|(name, _)| !names.contains(name.as_str())) {
            if self.running.contains_key(name) {
                continue;
            }
            if let Err(error) = records::remove(&state, record).await {
                tracing::warn!(pipeline = name, %error, "a pipeline was not forgotten");
            }
        }
        for (name, damaged) in records.damaged.iter().filter(|(name, _)| !names.contains(name.as_str())) {
            if let Err(error) = records::remove_damaged(&state, name, damaged).await {
                tracing::warn!(pipeline = name, %error, "a pipeline was not forgotten");
            }
        }
        let gone = self.troubles.keys().filter(|name| *name != ALL && !names.contains(name.as_str()));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.note_trouble(&name, None);
        }
    }

    /// Ends what is being executed, so that the next server goes on with it.
    pub(super) async fn stop(mut self) {
        let state = self.ground.state();
        for (name, local) in &self.running {
            if let Err(error) =
                records::update(&state, name, |record| mark(record, |active| active.interrupted = true)).await
            {
                // Cancelled now, it would look like a person's doing. Dropped, it is interrupted.
                tracing::warn!(pipeline = name, %error, "that a run was interrupted was not kept");
                continue;
            }
            local.cancel.cancel();
        }
        let end = async {
            while let Some(joined) = self.tasks.join_next().await {
                let Ok(done) = joined else { continue };
                let timed_out = self.running.get(&done.pipeline).is_some_and(|local| local.timed_out);
                let is_ours = matches!(&done.came, Came::Ended(ending) if is_of_server(ending));
                if !is_ours || timed_out {
                    self.ended.push_back(done);
                }
            }
        };
        let _ = tokio::time::timeout(GRACE, end).await;
        self.settle_ended().await;
    }
}

/// Whether a server that stopped left the run behind, for the next one to go on with.
fn is_left(active: &ActiveSlot) -> bool {
    (active.interrupted || active.left) && !active.timed_out
}

/// Whether no person ended it: a server that stops does.
fn is_of_server(ending: &Ending) -> bool {
    ending.status == SlotStatus::Cancelled && !ending.asked
}

fn mark(record: &PipelineRecord, change: impl Fn(&mut ActiveSlot)) -> Option<PipelineRecord> {
    let mut record = record.clone();
    change(record.active.as_mut()?);
    Some(record)
}

fn timed_out(pipeline: &Pipeline, ending: &Ending) -> Ending {
    let limit = pipeline.timeout_seconds.map(|seconds| format!(" of {seconds}s")).unwrap_or_default();
    let reason = Some(format!("cancelled at its timeout{limit}"));
    Ending { status: SlotStatus::TimedOut, reason, may_pass: false, ..ending.clone() }
}

fn defect(panic: &(dyn std::any::Any + Send)) -> Ending {
    let reason = Some(format!("this is a defect of Polder: {}", panicked(panic)));
    Ending::new(None, SlotStatus::Failed, reason)
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let message = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Tells the log what was decided.
fn tell(before: Option<&PipelineRecord>, after: &PipelineRecord) {
    let pipeline = &after.pipeline;
    if before.and_then(|before| before.skipped) != after.skipped
        && let Some(slot) = after.skipped
    {
        tracing::info!(pipeline, due = %slot, "skipped");
    }
    if let Some(active) = after.active.as_ref().filter(|_| before.is_none_or(|before| before.active.is_none())) {
        tracing::info!(pipeline, due = %active.due, "due");
    }
}
