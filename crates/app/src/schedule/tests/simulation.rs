//! Schedulers on one state store that die at any operation and any wait, on a clock that leaps forward and back.
//!
//! Every change of a record is judged as it is applied: a slot may not vanish from one record to the next. A seed decides
//! everything; one that fails is named, and `POLDER_SEED` runs it alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use polder_base::{RunId, Timestamp};
use polder_project::{Missed, Overlap, Pipeline};
use polder_run::{PipelineRecord, RunRecord, RunStatus, SlotStatus};
use polder_store::{Batch, Key, MemoryState, Outcome, Space, State, StoreError, Write};
use polder_system::System;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::super::driver::Driver;
use super::super::ground::{Came, Declared, Found, Ground};
use super::super::plan::{self, Ending};
use super::super::records;
use crate::{AppError, codes};

const START: &str = "2026-11-20T05:50:30Z";
const SEEDS: u64 = 8;
const ROUNDS: usize = 300;
/// Enough without faults for everything to come to its end.
const QUIET: usize = 200;
const SERVERS: usize = 2;
/// What an execution takes at most, in seconds.
const LONGEST: u64 = 400;
/// How far the clock leaps ahead, or behind, before it is right again.
const ASTRAY: Duration = Duration::from_secs(10 * 365 * 86_400);
/// A round, and a server's start.
const SLACK: Duration = Duration::from_secs(60);

/// A time of a pipeline.
type Slot = (String, Timestamp);

/// Where the clock is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Astray {
    #[default]
    Right,
    Ahead,
    Behind,
}

/// How often runs were begun for a slot.
#[derive(Debug, Clone, Copy)]
struct Begun {
    times: usize,
    /// How often at most: once more each time that the clock was set back before it.
    most: usize,
}

impl Default for Begun {
    fn default() -> Self {
        Self { times: 0, most: 1 }
    }
}

/// What all servers share.
#[derive(Debug)]
struct World {
    chance: Mutex<SmallRng>,
    now: Mutex<Timestamp>,
    state: MemoryState,
    pipelines: Vec<Pipeline>,
    /// Nothing fails any more.
    quiet: Mutex<bool>,
    /// What is being executed: run, the pipeline, and a number for the execution.
    executing: Mutex<BTreeMap<RunId, (String, u64)>>,
    executions: Mutex<u64>,
    runs: Mutex<u64>,
    astray: Mutex<Astray>,
    /// The slots that runs were begun for.
    begun: Mutex<BTreeMap<Slot, Begun>>,
    /// When slots were decided once all was quiet, by pipeline.
    decisions: Mutex<BTreeMap<String, Vec<Timestamp>>>,
    /// Notices that were ever kept, and those that a webhook took.
    noted: Mutex<BTreeSet<String>>,
    taken: Mutex<BTreeSet<String>>,
    trace: Mutex<Vec<String>>,
    /// What must not be, and was. (The scheduler would catch a panic.)
    broken: Mutex<Vec<String>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let texts = [
            (
                "a",
                "every: 2m\nretries: { times: 2, wait: 20s, longest: 1m }\nnotify: [{ webhook: 'https://chat/a' }]\n",
            ),
            ("b", "every: 5m\noverlap: queue\ntimeout: 4m\nnotify: [{ webhook: 'https://chat/b' }]\n"),
            ("c", "cron: '*/3 * * * *'\nmissed: skip\n"),
        ];
        let named = |(name, text): (&str, &str)| Pipeline { name: name.to_owned(), ..super::pipeline(text) };
        Self {
            chance: Mutex::new(SmallRng::seed_from_u64(seed)),
            now: Mutex::new(START.parse().unwrap()),
            state: MemoryState::new(),
            pipelines: texts.into_iter().map(named).collect(),
            quiet: Mutex::new(false),
            executing: Mutex::default(),
            executions: Mutex::default(),
            runs: Mutex::default(),
            astray: Mutex::default(),
            begun: Mutex::default(),
            decisions: Mutex::default(),
            noted: Mutex::default(),
            taken: Mutex::default(),
            trace: Mutex::default(),
            broken: Mutex::default(),
        }
    }

    fn below(&self, n: u64) -> u64 {
        self.chance.lock().random_range(0..n)
    }

    /// True once in `n` times, until all is quiet.
    fn sometimes(&self, n: u64) -> bool {
        !*self.quiet.lock() && self.below(n) == 0
    }

    fn now(&self) -> Timestamp {
        *self.now.lock()
    }

    fn tell(&self, what: impl Into<String>) {
        let line = format!("{} {}", self.now(), what.into());
        self.trace.lock().push(line);
    }

    fn must(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.lock().push(what());
        }
    }

    fn pass(&self) {
        let mut now = self.now.lock();
        let quiet = *self.quiet.lock();
        let mut chance = self.chance.lock();
        let ahead = chance.random_range(0..2) == 0;
        match chance.random_range(0..60) {
            0 if !quiet => *now = *now + Duration::from_secs(chance.random_range(300..20_000)),
            1 if !quiet => *now = *now - Duration::from_secs(chance.random_range(1..2_000)),
            2 if !quiet => self.go_astray(&mut now, ahead),
            // It is seldom wrong for long.
            3..8 if *self.astray.lock() == Astray::Behind => self.go_astray(&mut now, ahead),
            _ => *now = *now + Duration::from_millis(chance.random_range(200..9_000)),
        }
    }

    /// Away by years, or right again.
    fn go_astray(&self, now: &mut Timestamp, ahead: bool) {
        let mut astray = self.astray.lock();
        (*now, *astray) = match (*astray, ahead) {
            (Astray::Right, true) => (*now + ASTRAY, Astray::Ahead),
            (Astray::Right, false) => (*now - ASTRAY, Astray::Behind),
            (Astray::Ahead, _) => (*now - ASTRAY, Astray::Right),
            (Astray::Behind, _) => (*now + ASTRAY, Astray::Right),
        };
    }

    /// From now on nothing fails, and the clock is right.
    fn be_quiet(&self) {
        *self.quiet.lock() = true;
        if *self.astray.lock() != Astray::Right {
            self.go_astray(&mut self.now.lock(), true);
        }
    }

    /// From now on the slots after `decided` may come once more than they did, or those up to there no more.
    fn count_anew(&self, before: &PipelineRecord, decided: Timestamp, set_right: bool) {
        let not_begun = before.active.as_ref().filter(|active| active.run.is_none()).map(|active| active.due);
        let pending: Vec<Timestamp> = not_begun.into_iter().chain(before.waiting).collect();
        let mut begun = self.begun.lock();
        for slot in &pending {
            begun.entry((before.pipeline.clone(), *slot)).or_default();
        }
        for ((_, slot), begun) in begun.iter_mut().filter(|((pipeline, _), _)| *pipeline == before.pipeline) {
            let due = begun.times + pending.iter().filter(|pending| *pending == slot).count();
            match set_right {
                true if *slot <= decided => begun.most = due.max(1),
                false if *slot > decided => begun.most = due + 1,
                _ => {}
            }
        }
    }

    fn pipeline(&self, name: &str) -> &Pipeline {
        self.pipelines.iter().find(|p| p.name == name).unwrap()
    }

    /// Whether a record may become another.
    fn judge(&self, before: Option<&PipelineRecord>, after: &PipelineRecord, run: Option<&RunRecord>) {
        let pipeline = self.pipeline(&after.pipeline);
        self.noted.lock().extend(after.notices.iter().map(|notice| notice.id.clone()));
        let Some(before) = before else { return };
        let told = |what: &str| format!("{what}: {before:#?}\n{after:#?}");
        let set_back = after.decided == self.now() && plan::is_ahead(pipeline, before, self.now());
        self.must(after.decided >= before.decided || set_back, || told("decided goes back"));
        let set_right = before.decided_before.contains(&after.decided)
            && (&before.active, before.waiting) == (&after.active, after.waiting);
        if after.decided < before.decided || set_right {
            self.count_anew(before, after.decided, set_right);
        }
        let run_of = |record: &PipelineRecord| record.active.as_ref().and_then(|active| active.run);
        if let (None, Some(active)) = (run_of(before), after.active.as_ref().filter(|active| active.run.is_some())) {
            let slot = (after.pipeline.clone(), active.due);
            let mut begun = self.begun.lock();
            let begun = begun.entry(slot).or_default();
            begun.times += 1;
            let twice = begun.times > begun.most;
            self.must(!twice, || told("a slot is run twice"));
        }
        let is_active = |record: &PipelineRecord, slot| record.active.as_ref().is_some_and(|active| active.due == slot);
        if after.decided > before.decided {
            if *self.quiet.lock() && !set_right {
                self.decisions.lock().entry(after.pipeline.clone()).or_default().push(self.now());
            }
            let slot = after.decided;
            let skipped = after.skipped == Some(slot)
                && (pipeline.missed == Missed::Skip || before.active.is_some() && pipeline.overlap == Overlap::Skip);
            let decided = is_active(after, slot) || after.waiting == Some(slot) || skipped;
            self.must(decided || set_right, || told("lost"));
        }
        if let Some(slot) = before.waiting {
            let later = after.waiting.is_some_and(|waiting| waiting >= slot);
            // A later one that has come due takes its place.
            let is_run = after.active.as_ref().is_some_and(|active| active.due >= slot);
            let decided = Some(after.decided).filter(|decided| *decided > before.decided);
            let replaced = decided.is_some_and(|slot| is_active(after, slot) || after.waiting == Some(slot));
            self.must(is_run || later || replaced, || told("lost in waiting"));
        }
        if let Some(active) = before.active.as_ref().filter(|active| !is_active(after, active.due)) {
            let last = after.last.as_ref().filter(|last| last.due == active.due && last.run == active.run);
            self.must(after.active.is_none() && last.is_some(), || told("a slot without an end"));
            let published = last.is_some_and(|last| last.status == SlotStatus::Published);
            let is_so = run.is_some_and(|run| run.status == RunStatus::Published);
            self.must(!published || is_so, || told("told as published, and is not"));
            let cancelled = last.is_some_and(|last| last.status == SlotStatus::Cancelled);
            self.must(!cancelled, || told("told as cancelled, and nobody did that"));
        }
    }
}

#[async_trait::async_trait]
impl System for World {
    fn now(&self) -> Timestamp {
        World::now(self)
    }

    fn random(&self) -> u64 {
        self.chance.lock().random()
    }

    async fn sleep(&self, _: Duration) {
        tokio::task::yield_now().await;
    }
}

/// One process's way to the store.
#[derive(Debug)]
struct Gate {
    world: Arc<World>,
    /// Cancelled when the process is to die: whatever it does from then on never comes back.
    dead: CancellationToken,
}

impl Gate {
    async fn pass(&self) -> polder_store::Result<()> {
        for _ in 0..self.world.below(3) {
            tokio::task::yield_now().await;
        }
        if self.world.sometimes(150) {
            self.dead.cancel();
        }
        if self.dead.is_cancelled() {
            std::future::pending::<()>().await;
        }
        if self.world.sometimes(80) {
            return Err(StoreError::Io { doing: "the state".to_owned(), detail: "unkind".to_owned(), transient: true });
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl State for Gate {
    async fn get(&self, space: Space, key: &str) -> polder_store::Result<Option<Bytes>> {
        self.pass().await?;
        self.world.state.get(space, key).await
    }

    async fn scan(
        &self,
        space: Space,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> polder_store::Result<Vec<(Key, Bytes)>> {
        self.pass().await?;
        self.world.state.scan(space, prefix, after, limit).await
    }

    async fn apply(&self, batch: Batch) -> polder_store::Result<Outcome> {
        self.pass().await?;
        let mut changes = Vec::new();
        for write in &batch.writes {
            if let Write::Put { space: Space::Pipelines, key, value } = write {
                let before = self.world.state.get(Space::Pipelines, key).await?;
                let before: Option<PipelineRecord> = before.map(|raw| serde_json::from_slice(&raw).unwrap());
                changes.push((before, serde_json::from_slice::<PipelineRecord>(value).unwrap()));
            }
        }
        let ended: Vec<RunId> = batch.writes.iter().filter_map(ended_run).collect();
        let outcome = self.world.state.apply(batch).await?;
        if outcome == Outcome::Applied {
            for (before, after) in changes {
                let run = before.as_ref().and_then(|before| before.active.as_ref()?.run);
                let run = match run {
                    Some(run) => self.world.state.get(Space::Runs, &RunRecord::key(run)).await?,
                    None => None,
                };
                let run: Option<RunRecord> = run.map(|raw| serde_json::from_slice(&raw).unwrap());
                self.world.judge(before.as_ref(), &after, run.as_ref());
            }
            // Whatever its process still does, the run is at its end.
            ended.iter().for_each(|run| _ = self.world.executing.lock().remove(run));
        }
        self.pass().await?;
        Ok(outcome)
    }
}

/// The run that a write ends.
fn ended_run(write: &Write) -> Option<RunId> {
    let Write::Put { space: Space::Runs, value, .. } = write else { return None };
    let run: RunRecord = serde_json::from_slice(value).unwrap();
    (run.status != RunStatus::Running).then_some(run.id)
}

async fn runs(state: &MemoryState) -> Vec<RunRecord> {
    let found = state.scan(Space::Runs, "", None, usize::MAX).await.unwrap();
    found.iter().map(|(_, raw)| serde_json::from_slice(raw).unwrap()).collect()
}

/// What one process stands on.
struct Process {
    world: Arc<World>,
    gate: Arc<Gate>,
}

/// A run that is being executed; a process that dies lets go of it.
struct Executing(Arc<World>, RunId, u64);

impl Drop for Executing {
    fn drop(&mut self) {
        let mut executing = self.0.executing.lock();
        if executing.get(&self.1).is_some_and(|(_, execution)| *execution == self.2) {
            executing.remove(&self.1);
        }
    }
}

impl Process {
    fn state(&self) -> Arc<dyn State> {
        Arc::clone(&self.gate) as _
    }

    /// Takes a run for this process; none while another has it.
    fn take(&self, run: RunId, pipeline: &str) -> Option<Executing> {
        let mut executing = self.world.executing.lock();
        if executing.contains_key(&run) {
            return None;
        }
        let alone = !executing.values().any(|(other, _)| other == pipeline);
        self.world.must(alone, || format!("two runs of {pipeline} at a time"));
        let mut executions = self.world.executions.lock();
        *executions += 1;
        executing.insert(run, (pipeline.to_owned(), *executions));
        Some(Executing(Arc::clone(&self.world), run, *executions))
    }

    async fn execute(&self, mut run: RunRecord, held: Executing, cancel: &CancellationToken) -> Came {
        let pipeline = run.pipeline.clone().unwrap();
        self.world.tell(format!("{pipeline}: run {} due {} executes", run.id, run.due.unwrap()));
        let end = self.world.now() + Duration::from_secs(self.world.below(LONGEST));
        // Where the clock is set back by years, nobody works for years.
        let goes_on = |now: Timestamp| now < end && end.since(now) < Duration::from_secs(LONGEST);
        while goes_on(self.world.now()) && !cancel.is_cancelled() {
            tokio::task::yield_now().await;
        }
        let (status, may_pass) = match self.world.below(6) {
            _ if cancel.is_cancelled() => (SlotStatus::Cancelled, false),
            0 => (SlotStatus::Held, false),
            1 => (SlotStatus::Failed, false),
            2 => (SlotStatus::Failed, true),
            _ => (SlotStatus::Published, false),
        };
        run.status = match status {
            SlotStatus::Cancelled => RunStatus::Cancelled,
            SlotStatus::Held => RunStatus::Held,
            SlotStatus::Published => RunStatus::Published,
            _ => RunStatus::Failed,
        };
        run.stale = status == SlotStatus::Failed && !may_pass;
        let batch = Batch::new().put(Space::Runs, RunRecord::key(run.id), serde_json::to_vec(&run).unwrap());
        if let Err(error) = self.state().apply(batch).await {
            return failed(Some(run.id), &error.into());
        }
        drop(held);
        self.world.tell(format!("{pipeline}: run {} {status:?}", run.id));
        Came::Ended(Ending { may_pass, ..Ending::new(Some(run.id), status, None) })
    }

    async fn record(&self, run: RunId) -> Result<RunRecord, AppError> {
        Ok(crate::run::journal::run_record(&self.state(), run).await?.expect("a run that was begun"))
    }
}

fn failed(run: Option<RunId>, error: &AppError) -> Came {
    Came::Failed(Ending { may_pass: true, ..Ending::new(run, SlotStatus::Failed, Some(error.to_string())) })
}

#[async_trait::async_trait]
impl Ground for Process {
    fn state(&self) -> Arc<dyn State> {
        Process::state(self)
    }

    fn system(&self) -> Arc<dyn System> {
        Arc::clone(&self.world) as _
    }

    fn declared(&self) -> Declared {
        Declared { project: "test".to_owned(), pipelines: self.world.pipelines.clone(), complete: true }
    }

    async fn begin(&self, pipeline: &Pipeline, due: Timestamp, cancel: &CancellationToken) -> Came {
        if self.world.sometimes(10) {
            return Came::Busy("its tables are written".to_owned());
        }
        let id = {
            let mut runs = self.world.runs.lock();
            *runs += 1;
            RunId(*runs)
        };
        let now = self.world.now();
        let run: RunRecord = serde_json::from_value(serde_json::json!({
            "id": id, "target": "main", "branch": id.branch(), "status": "running", "principal": "test",
            "started": now, "run_time": now, "base": "", "version": "", "pipeline": pipeline.name, "due": due,
        }))
        .unwrap();
        match records::begin(&self.state(), &run, &pipeline.name, due).await {
            Ok(()) => match self.take(id, &pipeline.name) {
                Some(held) => self.execute(run, held, cancel).await,
                None => Came::Taken,
            },
            Err(AppError::Refused(refused)) if refused.code == codes::SLOT_TAKEN => Came::Taken,
            Err(error) => failed(None, &error),
        }
    }

    async fn resume(&self, pipeline: &Pipeline, run: RunId, cancel: &CancellationToken) -> Came {
        let Some(held) = self.take(run, &pipeline.name) else { return Came::Taken };
        match self.record(run).await {
            Ok(run) if run.status == RunStatus::Published => {
                Came::Ended(Ending::new(Some(run.id), SlotStatus::Published, None))
            }
            Ok(run) if run.status == RunStatus::Held => Came::Taken,
            Ok(ended) => {
                let run = RunRecord { status: RunStatus::Running, ..ended };
                match records::take_up(&self.state(), &run, false).await {
                    Ok(()) => self.execute(run, held, cancel).await,
                    Err(error) => failed(Some(run.id), &error),
                }
            }
            Err(error) => failed(Some(run), &error),
        }
    }

    async fn look(&self, run: RunId) -> Result<Found, AppError> {
        if self.world.executing.lock().contains_key(&run) {
            return Ok(Found::Executed);
        }
        let record = self.record(run).await?;
        let ending = |status| Ending::new(Some(run), status, None);
        Ok(match record.status {
            RunStatus::Running => Found::Interrupted,
            RunStatus::Published | RunStatus::Passed => Found::Ended(ending(SlotStatus::Published)),
            RunStatus::Held => Found::Ended(ending(SlotStatus::Held)),
            RunStatus::Cancelled => Found::Ended(ending(SlotStatus::Cancelled)),
            RunStatus::Failed => Found::Ended(Ending { may_pass: !record.stale, ..ending(SlotStatus::Failed) }),
        })
    }

    fn trouble(&self, _: &str, _: Option<&str>) {}

    async fn send(&self, _: &str, body: Vec<u8>) -> Result<(), String> {
        tokio::task::yield_now().await;
        if self.world.sometimes(2) {
            return Err("nobody there".to_owned());
        }
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        self.world.taken.lock().insert(body["id"].as_str().unwrap().to_owned());
        Ok(())
    }
}

struct Server {
    driver: Driver<Process>,
    dead: CancellationToken,
}

fn start(world: &Arc<World>) -> Server {
    let dead = CancellationToken::new();
    let gate = Arc::new(Gate { world: Arc::clone(world), dead: dead.clone() });
    let driver = Driver::new(Arc::new(Process { world: Arc::clone(world), gate }));
    Server { driver, dead }
}

/// One round of all servers: some start, some work, some die or are stopped.
async fn round(world: &Arc<World>, servers: &mut [Option<Server>; SERVERS], most: usize) {
    let broken = world.broken.lock().join("\n");
    assert!(broken.is_empty(), "{broken}");
    world.pass();
    for (place, slot) in servers.iter_mut().enumerate() {
        match slot.take() {
            None if place < most && !world.sometimes(4) => *slot = Some(start(world)),
            None => {}
            Some(server) if world.sometimes(60) => {
                let Server { driver, dead } = server;
                world.tell(format!("server {place} stops"));
                tokio::select! { biased; () = dead.cancelled() => {}, () = driver.stop() => {} }
            }
            Some(mut server) => {
                let alive = tokio::select! {
                    biased;
                    () = server.dead.cancelled() => false,
                    () = server.driver.tick() => !server.dead.is_cancelled(),
                };
                match alive {
                    true => *slot = Some(server),
                    false => world.tell(format!("server {place} dies")),
                }
            }
        }
        for _ in 0..world.below(6) {
            tokio::task::yield_now().await;
        }
    }
}

async fn simulate(world: Arc<World>, most: usize) {
    let mut servers: [Option<Server>; SERVERS] = [const { None }; SERVERS];
    for _ in 0..ROUNDS {
        round(&world, &mut servers, most).await;
    }
    world.be_quiet();
    let since = world.now();
    for _ in 0..QUIET {
        round(&world, &mut servers, most).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    let runs = runs(&world.state).await;
    let broken = world.broken.lock().join("\n");
    assert!(broken.is_empty(), "{broken}");
    let begun: usize = world.begun.lock().values().map(|begun| begun.times).sum();
    assert_eq!(begun, runs.len(), "a run of no slot");
    assert!(!runs.is_empty(), "nothing happened");
    let records = records::read_all(&(Arc::new(world.state.clone()) as _)).await.unwrap().whole;
    for pipeline in &world.pipelines {
        let record = &records[&pipeline.name];
        let now = world.now();
        let latest = pipeline.schedule.up_to(now).unwrap();
        assert!(record.decided >= latest, "{} is behind: {record:#?}", pipeline.name);
        assert!(!plan::is_ahead(pipeline, record, now), "{} stands still: {record:#?}", pipeline.name);
        // However the clock was set, it goes on.
        let next = pipeline.schedule.after(now).unwrap();
        let longest = 2 * next.since(latest) + SLACK;
        let mut times = world.decisions.lock().get(&pipeline.name).cloned().unwrap_or_default();
        times.insert(0, since);
        times.push(now);
        let waits = times.windows(2).map(|pair| pair[1].since(pair[0]));
        assert!(waits.max() <= Some(longest), "{} stood still: {times:?}", pipeline.name);
    }
    let missing: Vec<_> = world.noted.lock().difference(&world.taken.lock()).cloned().collect();
    let waiting: BTreeSet<String> =
        records.values().flat_map(|record| record.notices.iter().map(|notice| notice.id.clone())).collect();
    assert!(missing.iter().all(|id| waiting.contains(id)), "never told: {missing:?}");
}

fn run_seed(seed: u64, most: usize) {
    let world = Arc::new(World::new(seed));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let told = Arc::clone(&world);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(simulate(world, most))));
    if let Err(panic) = result {
        let trace = told.trace.lock();
        for line in trace.iter().skip(trace.len().saturating_sub(60)) {
            eprintln!("{line}");
        }
        eprintln!("POLDER_SEED={seed}, {most} servers");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn wherever_servers_die_no_slot_is_lost_or_run_twice() {
    let alone = std::env::var("POLDER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = alone.map_or(0..SEEDS, |seed| seed..seed + 1);
    for seed in seeds {
        for most in 1..=SERVERS {
            run_seed(seed, most);
        }
    }
}
