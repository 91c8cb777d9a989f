//! Runs the steps of a graph.
//!
//! Each state of a step is recorded in the [`Journal`] before anybody is told, so what was once reported is still true
//! after a crash. The executor knows neither tables nor branches.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use polder_base::{RunId, Timestamp};
use polder_system::System;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::schedule::Schedule;
use crate::{
    CheckFailure, Event, EventSink, FailureKind, Fingerprint, Graph, Journal, JournalError, Output, Progress, Step,
    StepContext, StepError, StepFailure, StepKey, StepRecord, StepReport, StepStatus,
};

/// How steps are run.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// Steps that run at once; 1 at least.
    pub concurrency: usize,
    /// Tries of a step whose errors may pass, the first one included.
    pub attempts: u32,
    /// Wait before the second try; it doubles with each further one, and chance takes off up to half, so that steps
    /// that failed together do not come back together.
    pub backoff: Duration,
    pub max_backoff: Duration,
    /// For each try. What takes longer is stopped and counts as an error that may pass.
    pub timeout: Option<Duration>,
    /// What steps get to stop by themselves after a cancel, before they are dropped.
    pub cancel_grace: Duration,
    /// Take over the outputs of equal steps. Off for a full refresh.
    pub reuse: bool,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self {
            concurrency: 2,
            attempts: 3,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(30),
            timeout: None,
            cancel_grace: Duration::from_secs(5),
            reuse: true,
        }
    }
}

/// Runs graphs.
#[derive(Clone)]
pub struct Executor {
    pub system: Arc<dyn System>,
    pub journal: Arc<dyn Journal>,
    pub sink: Arc<dyn EventSink>,
    pub options: ExecutorOptions,
}

/// How a graph went: one record for each step, in the order of the graph.
#[derive(Debug, Clone)]
pub struct Execution {
    pub records: Vec<StepRecord>,
}

impl Execution {
    /// All steps succeeded.
    pub fn succeeded(&self) -> bool {
        self.records.iter().all(|r| r.status.succeeded())
    }

    pub fn cancelled(&self) -> bool {
        self.records.iter().any(|r| r.status == StepStatus::Cancelled)
    }

    /// The failures, the most serious kind (a defect) first.
    pub fn failures(&self) -> Vec<(&StepKey, &StepFailure)> {
        let mut failures: Vec<_> =
            self.records.iter().filter_map(|r| r.failure.as_ref().map(|f| (&r.step, f))).collect();
        failures.sort_by_key(|(_, f)| std::cmp::Reverse(f.kind));
        failures
    }
}

/// What a task that drives one step brings back.
struct Ended {
    index: usize,
    attempt: u32,
    started: Timestamp,
    fingerprint: Option<Fingerprint>,
    result: Result<(StepReport, bool), StepError>,
}

impl Executor {
    /// Runs all steps of a graph that the journal does not have as succeeded. Ends when nothing runs any more: all
    /// steps are done, failed, skipped behind a failed one, or cancelled.
    ///
    /// # Errors
    /// The journal. Running steps are dropped then.
    pub async fn execute(
        &self,
        run: RunId,
        graph: &Graph<Arc<dyn Step>>,
        cancel: &CancellationToken,
    ) -> Result<Execution, JournalError> {
        let mut records = self.restore(run, graph).await?;
        let succeeded: Vec<(usize, StepStatus)> =
            records.iter().enumerate().filter_map(|(i, r)| r.as_ref().map(|r| (i, r.status))).collect();
        let mut schedule = Schedule::new(graph, &succeeded);
        let mut tasks: JoinSet<Result<Ended, JournalError>> = JoinSet::new();
        loop {
            while !cancel.is_cancelled() && tasks.len() < self.options.concurrency.max(1) {
                let Some(index) = schedule.start() else { break };
                let driver = Driver { executor: self.clone(), run, step: Arc::clone(graph.value(index)) };
                let cancel = cancel.child_token();
                tasks.spawn(async move { driver.drive(index, cancel).await });
            }
            let Some(joined) = tasks.join_next().await else { break };
            let ended = joined.map_err(|e| JournalError::new(format!("a task ended early: {e}")))??;
            let index = ended.index;
            let record = step_record(run, graph.key(index).clone(), ended, self.system.now());
            let status = record.status;
            self.finished(&record, false).await?;
            records[index] = Some(record);
            for skipped in schedule.finish(graph, index, status) {
                records[skipped] = Some(self.not_run(run, graph.key(skipped), StepStatus::Skipped).await?);
            }
        }
        for waiting in schedule.cancel_waiting() {
            records[waiting] = Some(self.not_run(run, graph.key(waiting), StepStatus::Cancelled).await?);
        }
        Ok(Execution { records: records.into_iter().flatten().collect() })
    }

    /// What an interrupted run has done already.
    async fn restore(&self, run: RunId, graph: &Graph<Arc<dyn Step>>) -> Result<Vec<Option<StepRecord>>, JournalError> {
        let mut records: Vec<Option<StepRecord>> = vec![None; graph.len()];
        for record in self.journal.steps().await? {
            if let Some(index) = graph.index_of(&record.step).filter(|_| record.run == run && record.status.succeeded())
            {
                records[index] = Some(record);
            }
        }
        for index in graph.topological() {
            if let Some(record) = &records[index] {
                self.sink.event(&finished_event(record, true, self.system.now()));
            }
        }
        Ok(records)
    }

    async fn finished(&self, record: &StepRecord, resumed: bool) -> Result<(), JournalError> {
        self.journal.record(record).await?;
        self.sink.event(&finished_event(record, resumed, self.system.now()));
        Ok(())
    }

    async fn not_run(&self, run: RunId, step: &StepKey, status: StepStatus) -> Result<StepRecord, JournalError> {
        let record = StepRecord {
            run,
            step: step.clone(),
            status,
            attempt: 0,
            started: None,
            finished: Some(self.system.now()),
            fingerprint: None,
            report: StepReport::default(),
            failure: None,
        };
        self.finished(&record, false).await?;
        Ok(record)
    }
}

fn finished_event(record: &StepRecord, resumed: bool, at: Timestamp) -> Event {
    Event::StepFinished {
        run: record.run,
        step: record.step.clone(),
        status: record.status,
        report: Box::new(record.report.clone()),
        failure: record.failure.clone().map(Box::new),
        resumed,
        elapsed_ms: record.elapsed_ms(),
        at,
    }
}

fn step_record(run: RunId, step: StepKey, ended: Ended, now: Timestamp) -> StepRecord {
    let mut record = StepRecord {
        run,
        step,
        status: StepStatus::Done,
        attempt: ended.attempt,
        started: Some(ended.started),
        finished: Some(now),
        fingerprint: ended.fingerprint,
        report: StepReport::default(),
        failure: None,
    };
    match ended.result {
        Ok((report, adopted)) => {
            record.status = status_of(&report, adopted);
            record.failure = (record.status == StepStatus::Failed).then(|| check_failure(&report));
            record.report = report;
        }
        Err(error) => {
            record.failure = StepFailure::of(error);
            record.status = if record.failure.is_some() { StepStatus::Failed } else { StepStatus::Cancelled };
        }
    }
    record
}

fn status_of(report: &StepReport, adopted: bool) -> StepStatus {
    if report.failures.iter().any(CheckFailure::holds) {
        StepStatus::Failed
    } else if !report.failures.is_empty() {
        StepStatus::Warned
    } else if report.unchanged {
        StepStatus::Unchanged
    } else if adopted {
        StepStatus::Reused
    } else {
        StepStatus::Done
    }
}

fn check_failure(report: &StepReport) -> StepFailure {
    let mut failed = report.failures.iter().filter(|f| f.holds());
    let first = failed.next().map(|f| format!("{} on {} does not hold", f.check, f.table)).unwrap_or_default();
    let message = match failed.count() {
        0 => first,
        more => format!("{first}, and {more} more"),
    };
    StepFailure { kind: FailureKind::Check, message, diagnostic: None }
}

/// Drives one step through its tries, in a task of its own.
struct Driver {
    executor: Executor,
    run: RunId,
    step: Arc<dyn Step>,
}

impl Driver {
    async fn drive(self, index: usize, cancel: CancellationToken) -> Result<Ended, JournalError> {
        let mut attempt = 1;
        let mut fingerprint = None;
        let first_start = self.system().now();
        loop {
            self.started(attempt).await?;
            let result = self.attempt(attempt, &cancel, &mut fingerprint).await?;
            let wait = match &result {
                Err(StepError::Environment { transient: true, .. }) if attempt < self.options().attempts => {
                    self.wait_before(attempt)
                }
                _ => return Ok(Ended { index, attempt, started: first_start, fingerprint, result }),
            };
            self.retried(attempt, &result, wait);
            tokio::select! {
                () = self.system().sleep(wait) => {}
                () = cancel.cancelled() => {
                    let result = Err(StepError::Cancelled);
                    return Ok(Ended { index, attempt, started: first_start, fingerprint, result });
                }
            }
            attempt += 1;
        }
    }

    fn system(&self) -> &Arc<dyn System> {
        &self.executor.system
    }

    fn options(&self) -> &ExecutorOptions {
        &self.executor.options
    }

    fn wait_before(&self, attempt: u32) -> Duration {
        let full = self.options().backoff.saturating_mul(1 << (attempt - 1).min(16)).min(self.options().max_backoff);
        let thousandths = u32::try_from(self.system().random() % 501).unwrap_or(0);
        full - full / 1000 * thousandths
    }

    async fn started(&self, attempt: u32) -> Result<(), JournalError> {
        let at = self.system().now();
        let record = StepRecord {
            run: self.run,
            step: self.step.key().clone(),
            status: StepStatus::Running,
            attempt,
            started: Some(at),
            finished: None,
            fingerprint: None,
            report: StepReport::default(),
            failure: None,
        };
        self.executor.journal.record(&record).await?;
        let step = self.step.key().clone();
        self.executor.sink.event(&Event::StepStarted { run: self.run, step, attempt, at });
        Ok(())
    }

    fn retried<T>(&self, attempt: u32, result: &Result<T, StepError>, wait: Duration) {
        let reason = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        self.executor.sink.event(&Event::StepRetried {
            run: self.run,
            step: self.step.key().clone(),
            attempt,
            reason,
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            at: self.system().now(),
        });
    }

    /// One try: take over an equal step's output, or run. The inner result is the step's; `true`: taken over.
    async fn attempt(
        &self,
        attempt: u32,
        cancel: &CancellationToken,
        fingerprint: &mut Option<Fingerprint>,
    ) -> Result<Result<(StepReport, bool), StepError>, JournalError> {
        *fingerprint = match self.guarded(cancel, self.step.fingerprint()).await {
            Ok(fingerprint) => fingerprint,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(output) = self.reusable(fingerprint.as_ref()).await? {
            match self.guarded(cancel, self.step.adopt(&output)).await {
                Ok(Some(report)) => return Ok(Ok((report, true))),
                Ok(None) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        let context = StepContext { cancel: cancel.clone(), progress: Arc::new(Progress::default()), attempt };
        self.executor.sink.progress(self.step.key(), &context.progress);
        Ok(self.guarded(cancel, self.step.run(&context)).await.map(|report| (report, false)))
    }

    async fn reusable(&self, fingerprint: Option<&Fingerprint>) -> Result<Option<Output>, JournalError> {
        match fingerprint.filter(|_| self.options().reuse) {
            Some(fingerprint) => self.executor.journal.lookup(fingerprint).await,
            None => Ok(None),
        }
    }

    /// Runs a part of a step so that neither a panic nor an endless wait leaves this task.
    async fn guarded<T>(
        &self,
        cancel: &CancellationToken,
        work: impl Future<Output = Result<T, StepError>>,
    ) -> Result<T, StepError> {
        if cancel.is_cancelled() {
            return Err(StepError::Cancelled);
        }
        let given_up = async {
            cancel.cancelled().await;
            self.system().sleep(self.options().cancel_grace).await;
        };
        let too_late = async {
            match self.options().timeout {
                Some(timeout) => self.system().sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            result = AssertUnwindSafe(work).catch_unwind() => {
                result.unwrap_or_else(|panic| Err(StepError::Defect(panic_message(panic.as_ref()))))
            }
            () = given_up => Err(StepError::Cancelled),
            () = too_late => {
                let seconds = self.options().timeout.unwrap_or_default().as_secs_f64();
                Err(StepError::Environment { message: format!("no result after {seconds} s"), transient: true })
            }
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a step panicked".to_owned())
}
