//! What a server counts, for Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::Shown;

/// From a lookup by key to a report that takes minutes, in seconds.
const FIRST_BUCKET: f64 = 0.001;
const BUCKET_FACTOR: f64 = 4.0;
const BUCKETS: u16 = 10;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDoor {
    door: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStatement {
    door: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBuild {
    version: &'static str,
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// The statement is wrong, or asks for what is not theirs.
    Refused,
    /// The environment or Polder failed.
    Failed,
    Cancelled,
}

/// The counters of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    statements: Family<OfStatement, Counter>,
    seconds: Family<OfDoor, Histogram>,
    rows: Family<OfDoor, Counter>,
    connections: Family<OfDoor, Gauge>,
    main_shown: Gauge<f64, AtomicU64>,
    files_wrong: Gauge<i64, AtomicI64>,
    pipelines_failing: Gauge<i64, AtomicI64>,
    healthy: Gauge<i64, AtomicI64>,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(FIRST_BUCKET, BUCKET_FACTOR, BUCKETS))
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("polder");
        let build = Family::<OfBuild, Gauge>::default();
        build.get_or_create(&OfBuild { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "The version that runs", build);
        let metrics = Self {
            statements: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            rows: Family::default(),
            connections: Family::default(),
            main_shown: Gauge::default(),
            files_wrong: Gauge::default(),
            pipelines_failing: Gauge::default(),
            healthy: Gauge::default(),
            registry,
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("statements", "Statements by door and how they ended", self.statements.clone());
        let help = "Time from a statement to its last row";
        registry.register_with_unit("statement_duration", help, Unit::Seconds, self.seconds.clone());
        registry.register("rows", "Rows given by door", self.rows.clone());
        registry.register("connections", "Connections that are open, by door", self.connections.clone());
        let help = "When `main` last changed, in seconds since 1970";
        registry.register_with_unit("main_changed_timestamp", help, Unit::Seconds, self.main_shown.clone());
        registry.register("files_wrong", "1 while the project's files have mistakes", self.files_wrong.clone());
        let help = "Pipelines that have not come to a good end since they last failed or were held";
        registry.register("pipelines_failing", help, self.pipelines_failing.clone());
        registry.register("healthy", "1 while the state store answers", self.healthy.clone());
        self
    }

    /// A statement begins. Dropped before its end is told, it was cancelled.
    pub fn statement(self: &Arc<Self>, door: &'static str) -> Measured {
        Measured { metrics: Arc::clone(self), door, begun: Instant::now(), outcome: Outcome::Cancelled }
    }

    /// Somebody came in, and is counted until what comes back is dropped.
    pub fn connection(self: &Arc<Self>, door: &'static str) -> Counted {
        self.connections.get_or_create(&OfDoor { door }).inc();
        Counted { metrics: Arc::clone(self), door }
    }

    pub(super) fn main_shown(&self, shown: &Shown) {
        // A double counts microseconds exactly for another two centuries.
        #[expect(clippy::cast_precision_loss)]
        self.main_shown.set(shown.at.micros() as f64 / 1e6);
    }

    pub(super) fn files_wrong(&self, wrong: bool) {
        self.files_wrong.set(i64::from(wrong));
    }

    pub(super) fn pipelines_failing(&self, count: usize) {
        self.pipelines_failing.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn text(&self, healthy: bool) -> String {
        self.healthy.set(i64::from(healthy));
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// A connection that is open.
#[derive(Debug)]
pub struct Counted {
    metrics: Arc<Metrics>,
    door: &'static str,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connections.get_or_create(&OfDoor { door: self.door }).dec();
    }
}

/// A statement that goes on.
#[derive(Debug)]
pub struct Measured {
    metrics: Arc<Metrics>,
    door: &'static str,
    begun: Instant,
    outcome: Outcome,
}

impl Measured {
    pub fn rows(&self, rows: u64) {
        self.metrics.rows.get_or_create(&OfDoor { door: self.door }).inc_by(rows);
    }

    /// The statement is at its end.
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let outcome = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::Cancelled => "cancelled",
        };
        self.metrics.statements.get_or_create(&OfStatement { door: self.door, outcome }).inc();
        let seconds = self.begun.elapsed().as_secs_f64();
        self.metrics.seconds.get_or_create(&OfDoor { door: self.door }).observe(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_counted_under_documented_names() {
        let metrics = Arc::new(Metrics::new());
        let _open = metrics.connection("http");
        let measured = metrics.statement("http");
        measured.rows(3);
        measured.end(Outcome::Ok);
        drop(metrics.statement("http"));
        let text = metrics.text(true);
        for line in [
            "polder_statements_total{door=\"http\",outcome=\"ok\"} 1",
            "polder_statements_total{door=\"http\",outcome=\"cancelled\"} 1",
            "polder_statement_duration_seconds_count{door=\"http\"} 2",
            "polder_rows_total{door=\"http\"} 3",
            "polder_connections{door=\"http\"} 1",
            "polder_healthy 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
