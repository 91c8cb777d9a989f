//! Runs: a graph of steps, executed with bounded concurrency, retries, timeouts and cancel, resumed after a crash.
//!
//! This crate knows neither tables nor branches: a step is anything that implements [`Step`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod event;
mod executor;
mod graph;
mod journal;
mod pipeline;
mod record;
mod schedule;
mod selection;
mod step;

pub use event::{CheckFailure, CheckPassed, Event, EventSink, RunKind, RunStatus, Silent, StepStatus};
pub use executor::{Execution, Executor, ExecutorOptions};
pub use graph::{Graph, GraphError};
pub use journal::{Journal, JournalError};
pub use pipeline::{ActiveSlot, Notice, NoticeKind, PipelineRecord, SlotOutcome, SlotStatus};
pub use record::{
    Acceptance, CheckRecord, FailureKind, FingerprintRecord, HeldTable, RunRecord, StepFailure, StepRecord, TakenOver,
};
pub use selection::{Candidate, Selection, SelectionError};
pub use step::{Fingerprint, Output, Progress, Retold, Step, StepContext, StepError, StepKey, StepKind, StepReport};
