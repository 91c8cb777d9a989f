//! What is remembered of a pipeline: which times of its schedule were decided, and what became of them.
//!
//! The records are JSON in the state store's space `Pipelines`, and are read as `system.pipelines`. Fields are only ever
//! added, each with a default. A *slot* is a time of a schedule.

use polder_base::{RunId, Timestamp};
use serde::{Deserialize, Serialize};

/// A pipeline as the scheduler last left it. Key: its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineRecord {
    pub pipeline: String,
    /// The schedule that `decided` counts for, as people write it. Where the file says another, counting begins anew.
    pub schedule: String,
    #[serde(default)]
    pub time_zone: Option<String>,
    #[serde(default)]
    pub paused: bool,
    /// All slots up to this time are decided: run, caught up by a later one, or skipped. It grows with each decision, so
    /// no slot is decided twice. Where the schedule changes, or the clock was set back by more than a slot, it is the time
    /// from which counting began anew, which may be earlier.
    pub decided: Timestamp,
    /// What `decided` was before the clock was set back, for as long as no slot has been decided since: when the clock has
    /// passed it once more, it was one false reading, and slots up to there are decided still.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decided_before: Vec<Timestamp>,
    /// The first slot after that.
    #[serde(default)]
    pub next: Option<Timestamp>,
    /// The slot that is being run.
    #[serde(default)]
    pub active: Option<ActiveSlot>,
    /// A slot that waits for that to end.
    #[serde(default)]
    pub waiting: Option<Timestamp>,
    /// The last slot that was not run, because the run of an earlier one went on, or because nothing served.
    #[serde(default)]
    pub skipped: Option<Timestamp>,
    #[serde(default)]
    pub last: Option<SlotOutcome>,
    /// When the first of the failures ended that no success has followed.
    #[serde(default)]
    pub failing_since: Option<Timestamp>,
    /// What still has to be told, oldest first.
    #[serde(default)]
    pub notices: Vec<Notice>,
}

/// A slot from the decision to run it until its run has ended for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActiveSlot {
    pub due: Timestamp,
    /// When it was decided.
    pub since: Timestamp,
    /// Its run, from the transaction on that began it.
    #[serde(default)]
    pub run: Option<RunId>,
    /// 1 for the first try.
    pub attempt: u32,
    /// The last try that somebody has started; the next one waits where it is less than `attempt`.
    #[serde(default)]
    pub begun: u32,
    /// How often its run was gone on with: of several servers that want to, the one that counts up here does.
    #[serde(default)]
    pub resumed: u32,
    /// Nobody looks at it before: it waits for another try, or somebody is just about to start one.
    #[serde(default)]
    pub next_try: Option<Timestamp>,
    /// Why it waits.
    #[serde(default)]
    pub reason: Option<String>,
    /// The server that executes it stops: whoever comes next goes on with the run.
    #[serde(default)]
    pub interrupted: bool,
    /// An earlier server stopped, and the run's record still says that it was cancelled: until the run goes on, that is no
    /// person's doing.
    #[serde(default)]
    pub left: bool,
    /// The run took too long, and was told to end.
    #[serde(default)]
    pub timed_out: bool,
}

/// What became of a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotOutcome {
    pub due: Timestamp,
    /// None where no run could begin.
    #[serde(default)]
    pub run: Option<RunId>,
    pub status: SlotStatus,
    /// In one line.
    #[serde(default)]
    pub reason: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    pub finished: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotStatus {
    Published,
    Held,
    Failed,
    TimedOut,
    /// By a person.
    Cancelled,
}

impl SlotStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
        }
    }

    /// Somebody has to look at it. Who cancelled a run knows.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Held | Self::Failed | Self::TimedOut)
    }
}

/// Something that has to be told to a webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The same however often it is sent, so that whoever gets it twice can tell.
    pub id: String,
    pub kind: NoticeKind,
    /// What the webhook's address is known by: a hash, since the address is a secret.
    pub hook: String,
    pub at: Timestamp,
    pub outcome: SlotOutcome,
    /// Since when the pipeline has failed; of a recovery, until then.
    #[serde(default)]
    pub failing_since: Option<Timestamp>,
    /// How often it was sent in vain.
    #[serde(default)]
    pub tries: u32,
    #[serde(default)]
    pub next_try: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    Failure,
    Recovery,
}

impl NoticeKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Recovery => "recovery",
        }
    }
}

impl PipelineRecord {
    /// How it stands, in a word or two: `running`, `waiting` for tables that another run writes, `retrying` after a
    /// failure that may pass, or how the last slot ended. `None`: nothing was due yet.
    pub fn status(&self) -> Option<&'static str> {
        match &self.active {
            Some(active) if active.next_try.is_none() || active.begun == active.attempt => Some("running"),
            Some(ActiveSlot { run: None, attempt: 1, .. }) => Some("waiting"),
            Some(_) => Some("retrying"),
            None => self.last.as_ref().map(|last| last.status.as_str()),
        }
    }

    /// The last slot that was not skipped.
    pub fn last_due(&self) -> Option<Timestamp> {
        let active = self.active.as_ref().map(|active| active.due);
        active.or_else(|| self.last.as_ref().map(|last| last.due))
    }

    /// Its run; `None`: it has none, or not yet.
    pub fn last_run(&self) -> Option<RunId> {
        match &self.active {
            Some(active) => active.run,
            None => self.last.as_ref().and_then(|last| last.run),
        }
    }

    /// Why it waits or failed; while it is run once more, why it has been failing.
    pub fn reason(&self) -> Option<&str> {
        let last = || self.last.as_ref().and_then(|last| last.reason.as_deref());
        match &self.active {
            Some(active) => active.reason.as_deref().or_else(|| self.failing_since.and_then(|_| last())),
            None => last(),
        }
    }
}
