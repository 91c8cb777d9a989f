//! Steps that do what a script says, a journal in memory, and a sink that checks what it is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use polder_base::{RunId, Timestamp};
use polder_run::{
    CheckFailure, Event, EventSink, Fingerprint, Graph, Journal, JournalError, Output, Step, StepContext, StepError,
    StepKey, StepKind, StepRecord, StepReport, StepStatus,
};
use polder_system::{SimulatedSystem, System};

pub const RUN: RunId = RunId(7);

/// What a step does when it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Succeed,
    /// Fails so many times in a way that may pass, then succeeds.
    Flaky(u32),
    Fail,
    Panic,
    CheckFails,
    CheckWarns,
    /// Runs until it is cancelled.
    Hang,
    /// Ignores a cancel, too.
    HangForever,
}

/// What all steps of a test share.
#[derive(Debug, Default)]
pub struct World {
    pub running: AtomicUsize,
    pub most_running: AtomicUsize,
    pub tries: Mutex<BTreeMap<StepKey, u32>>,
    pub successes: Mutex<BTreeMap<StepKey, u32>>,
    pub adopted: AtomicUsize,
}

pub struct Scripted {
    pub key: StepKey,
    pub act: Act,
    pub fingerprint: Option<String>,
    pub yields: u64,
    pub world: Arc<World>,
}

struct Running(Arc<World>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    fn enter(&self) -> Running {
        let running = self.world.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.world.most_running.fetch_max(running, Ordering::SeqCst);
        Running(Arc::clone(&self.world))
    }

    fn success(&self) -> StepReport {
        *self.world.successes.lock().unwrap().entry(self.key.clone()).or_default() += 1;
        StepReport {
            rows: Some(1),
            output: Some(Output(serde_json::json!({ "made_by": self.key.to_string() }))),
            ..StepReport::default()
        }
    }

    fn failure(&self, severity: &str) -> CheckFailure {
        CheckFailure {
            table: self.key.resource.clone(),
            check: "not_null x".to_owned(),
            severity: severity.to_owned(),
            failed_rows: Some(3),
            total_rows: Some(10),
            detail: None,
            sample: Vec::new(),
            query: None,
            file: "checks/x.yaml".to_owned(),
            line: 1,
            tables: Vec::new(),
            accepted: false,
        }
    }
}

#[async_trait::async_trait]
impl Step for Scripted {
    fn key(&self) -> &StepKey {
        &self.key
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>, StepError> {
        Ok(self.fingerprint.clone().map(Fingerprint))
    }

    async fn adopt(&self, output: &Output) -> Result<Option<StepReport>, StepError> {
        self.world.adopted.fetch_add(1, Ordering::SeqCst);
        Ok(Some(StepReport { output: Some(output.clone()), ..StepReport::default() }))
    }

    async fn run(&self, cx: &StepContext) -> Result<StepReport, StepError> {
        let _running = self.enter();
        let tries = {
            let mut tries = self.world.tries.lock().unwrap();
            let tries = tries.entry(self.key.clone()).or_default();
            *tries += 1;
            *tries
        };
        for _ in 0..self.yields {
            tokio::task::yield_now().await;
        }
        match self.act {
            Act::Succeed => Ok(self.success()),
            Act::Flaky(times) if tries <= times => {
                Err(StepError::Environment { message: "the network went away".to_owned(), transient: true })
            }
            Act::Flaky(_) => Ok(self.success()),
            Act::Fail => Err(StepError::Environment { message: "wrong password".to_owned(), transient: false }),
            Act::Panic => panic!("index out of bounds"),
            Act::CheckFails => Ok(StepReport { failures: vec![self.failure("error")], ..StepReport::default() }),
            Act::CheckWarns => {
                let report = self.success();
                Ok(StepReport { failures: vec![self.failure("warn")], ..report })
            }
            Act::Hang => {
                cx.cancel.cancelled().await;
                Err(StepError::Cancelled)
            }
            Act::HangForever => std::future::pending().await,
        }
    }
}

/// A journal that remembers, and a sink that holds it against what is reported.
#[derive(Debug, Default)]
pub struct Memory {
    pub steps: Mutex<BTreeMap<StepKey, StepRecord>>,
    pub outputs: Mutex<BTreeMap<String, Output>>,
    pub events: Mutex<Vec<Event>>,
    /// Refuses to record after so many records, if set.
    pub fail_after: Option<usize>,
    pub records: AtomicUsize,
}

#[async_trait::async_trait]
impl Journal for Memory {
    async fn steps(&self) -> Result<Vec<StepRecord>, JournalError> {
        Ok(self.steps.lock().unwrap().values().cloned().collect())
    }

    async fn record(&self, record: &StepRecord) -> Result<(), JournalError> {
        tokio::task::yield_now().await;
        if self.fail_after.is_some_and(|n| self.records.fetch_add(1, Ordering::SeqCst) >= n) {
            return Err(JournalError::new("disk full"));
        }
        self.steps.lock().unwrap().insert(record.step.clone(), record.clone());
        if let (true, Some(fingerprint), Some(output)) =
            (record.status.succeeded(), &record.fingerprint, &record.report.output)
        {
            self.outputs.lock().unwrap().insert(fingerprint.0.clone(), output.clone());
        }
        Ok(())
    }

    async fn lookup(&self, fingerprint: &Fingerprint) -> Result<Option<Output>, JournalError> {
        Ok(self.outputs.lock().unwrap().get(&fingerprint.0).cloned())
    }
}

impl EventSink for Memory {
    fn event(&self, event: &Event) {
        let (step, want) = match event {
            Event::StepStarted { step, .. } => (step, StepStatus::Running),
            Event::StepFinished { step, status, .. } => (step, *status),
            _ => {
                self.events.lock().unwrap().push(event.clone());
                return;
            }
        };
        let recorded = self.steps.lock().unwrap().get(step).map(|r| r.status);
        assert_eq!(recorded, Some(want), "{step} is reported before it is durable");
        self.events.lock().unwrap().push(event.clone());
    }
}

impl Memory {
    /// How often each step was reported as finished, and how.
    pub fn finished(&self) -> BTreeMap<StepKey, Vec<StepStatus>> {
        let mut finished: BTreeMap<StepKey, Vec<StepStatus>> = BTreeMap::new();
        for event in self.events.lock().unwrap().iter() {
            if let Event::StepFinished { step, status, .. } = event {
                finished.entry(step.clone()).or_default().push(*status);
            }
        }
        finished
    }
}

pub fn key(name: impl ToString) -> StepKey {
    StepKey::new(StepKind::Model, name.to_string())
}

pub fn system(seed: u64) -> Arc<SimulatedSystem> {
    Arc::new(SimulatedSystem::new(seed, Timestamp(1_000_000)))
}

/// A random graph: `acts` weighs what the steps do.
pub fn graph(system: &SimulatedSystem, world: &Arc<World>, acts: &[Act]) -> Graph<Arc<dyn Step>> {
    let pick = |n: u64| system.random() % n;
    let mut graph: Graph<Arc<dyn Step>> = Graph::new();
    let size = 1 + pick(24);
    for i in 0..size {
        let act = acts[usize::try_from(pick(acts.len() as u64)).unwrap()];
        let step = Scripted {
            key: key(format!("t{i:02}")),
            act,
            fingerprint: None,
            yields: pick(6),
            world: Arc::clone(world),
        };
        graph.add(step.key.clone(), Arc::new(step)).unwrap();
        for earlier in 0..i {
            if pick(5) == 0 {
                graph.edge(&key(format!("t{earlier:02}")), &key(format!("t{i:02}"))).unwrap();
            }
        }
    }
    graph
}
