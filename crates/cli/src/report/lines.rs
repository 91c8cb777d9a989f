//! A run in lines, as they are printed one after another.

use std::collections::BTreeSet;

use polder_diag::{Diagnostic, Sources, render_text};
use polder_run::{CheckFailure, Event, RunKind, StepFailure, StepKey, StepKind, StepReport, StepStatus};

use crate::human;
use crate::terminal::{BAD, BOLD, DIM, GOOD, Paint, WARN};
use crate::text::{fit, one_line, pad_left, pad_right, width};

/// Where the columns of a step's line begin: ` ✓ `, the kind, two blanks.
const KIND_WIDTH: usize = 6;
const NAME_AT: usize = 3 + KIND_WIDTH + 2;

/// Columns of a sample row that are shown.
const SAMPLE_COLUMNS: usize = 4;

/// Columns of what a step did; where fewer are left on the line, it gets a line of its own.
const MIN_DETAIL: usize = 20;

/// Columns of a time at the end of a line, and the blank before it.
const TIME: usize = 8;

/// Turns events into lines.
#[derive(Debug)]
pub struct Lines {
    paint: Paint,
    /// Lines are no wider, except where a name alone is.
    width: usize,
    /// Of the longest resource's name.
    names: usize,
    /// Steps that have begun.
    begun: BTreeSet<StepKey>,
    /// Steps that a cancel came before.
    unbegun: u64,
    /// What diagnostics point into.
    sources: Sources,
}

impl Lines {
    pub fn new(paint: Paint, width: usize) -> Self {
        let sources = Sources::default();
        Self { paint, width: width.min(100), names: 20, begun: BTreeSet::new(), unbegun: 0, sources }
    }

    /// Takes the files that diagnostics of steps point into.
    pub fn know(&mut self, sources: Sources) {
        self.sources = sources;
    }

    /// The lines of an event, each with its end; empty where an event has none.
    pub fn event(&mut self, event: &Event) -> String {
        match event {
            Event::RunStarted { run, kind, target, steps, .. } => {
                self.names = names_width(steps);
                let run = self.paint.style(BOLD, &format!("run {run}"));
                match kind {
                    RunKind::Run => format!("{run} {} {target}\n\n", self.paint.style(DIM, "→")),
                    RunKind::Check => format!("{run} checks {target}\n\n"),
                }
            }
            Event::StepStarted { step, .. } => {
                self.begun.insert(step.clone());
                String::new()
            }
            Event::StepFinished { step, status: StepStatus::Cancelled, .. } if !self.begun.contains(step) => {
                self.unbegun += 1;
                String::new()
            }
            Event::StepFinished { step, status, report, failure, elapsed_ms, resumed, .. } => {
                self.step(step, *status, report, failure.as_deref(), if *resumed { None } else { Some(*elapsed_ms) })
            }
            Event::StepRetried { step, reason, wait_ms, attempt, .. } => {
                let wait = human::elapsed(*wait_ms);
                self.line("↻", WARN, step, &format!("try {attempt} failed: {reason}; again in {wait}"), None)
            }
            Event::Rebased { tables, .. } if tables.is_empty() => String::new(),
            Event::Rebased { tables, .. } => {
                let text = format!(" {} the target had moved: {} checked again\n", "↺", tables.join(", "));
                self.paint.style(WARN, &text)
            }
            Event::RunFinished { .. } if self.unbegun > 0 => {
                let steps = human::counted(std::mem::take(&mut self.unbegun), "step");
                self.paint.style(DIM, &format!(" – {steps} not begun\n"))
            }
            Event::RunFinished { .. } => String::new(),
        }
    }

    fn step(
        &self,
        step: &StepKey,
        status: StepStatus,
        report: &StepReport,
        failure: Option<&StepFailure>,
        elapsed_ms: Option<u64>,
    ) -> String {
        let mut out = String::new();
        if !report.failures.is_empty() {
            for (i, failed) in report.failures.iter().enumerate() {
                out += &self.failed_check(step, failed, elapsed_ms.filter(|_| i == 0));
            }
            return out;
        }
        let (symbol, style) = match status {
            StepStatus::Done => ("✓", GOOD),
            StepStatus::Unchanged | StepStatus::Reused => ("=", DIM),
            StepStatus::Warned => ("!", WARN),
            StepStatus::Failed => ("✗", BAD),
            StepStatus::Waiting | StepStatus::Running | StepStatus::Skipped | StepStatus::Cancelled => ("–", DIM),
        };
        let detail = self.detail(step, status, report);
        let time = elapsed_ms.filter(|_| matches!(status, StepStatus::Done | StepStatus::Warned | StepStatus::Failed));
        out += &self.line(symbol, style, step, &detail, time);
        if let Some(failure) = failure {
            out += &match &failure.diagnostic {
                Some(diagnostic) => self.diagnostic(diagnostic),
                None => self.below(&failure.message, ""),
            };
        }
        if report.rejected > 0 {
            let table = step.resource.rsplit('.').next().unwrap_or(&step.resource);
            let rejected = format!("{} set aside in quarantine.{table}", human::counted(report.rejected, "record"));
            out += &self.paint.style(WARN, &self.below(&rejected, ""));
        }
        out
    }

    /// What is wrong with the files or the data of a step, in full: it is told here, once.
    fn diagnostic(&self, diagnostic: &Diagnostic) -> String {
        let text = render_text(diagnostic, &self.sources, self.paint.0);
        text.trim_end().lines().map(|line| format!("   {line}").trim_end().to_owned() + "\n").collect()
    }

    /// What a step did, in a few words.
    fn detail(&self, step: &StepKey, status: StepStatus, report: &StepReport) -> String {
        let note = report.note.as_deref().unwrap_or("");
        match status {
            StepStatus::Unchanged => join(&["unchanged", note]),
            StepStatus::Reused => join(&["taken over", note]),
            StepStatus::Skipped => match step.kind {
                StepKind::Ingest => "not read",
                StepKind::Model => "not built",
                StepKind::Check => "not checked",
            }
            .to_owned(),
            StepStatus::Cancelled => "cancelled".to_owned(),
            StepStatus::Failed => "failed".to_owned(),
            _ if step.kind == StepKind::Check => {
                let checks = report.passed.len() as u64;
                let checks = if checks == 0 { String::new() } else { human::counted(checks, "check") };
                join(&[&checks, note])
            }
            _ => join(&[&report.rows.map(|rows| amount(step.kind, rows, report.replaced)).unwrap_or_default(), note]),
        }
    }

    fn failed_check(&self, step: &StepKey, failed: &CheckFailure, elapsed_ms: Option<u64>) -> String {
        let (symbol, style) = if failed.severity == "warn" { ("!", WARN) } else { ("✗", BAD) };
        let check = one_line(&failed.check);
        // What was promised is told in full.
        let fits = width(&check) <= self.room();
        let mut out = self.line(symbol, style, step, if fits { &check } else { "" }, elapsed_ms);
        if !fits {
            out += &self.below(&check, "");
        }
        let place = format!("{}:{}", failed.file, failed.line);
        let found = match (&failed.detail, failed.failed_rows, failed.total_rows) {
            (Some(detail), ..) => detail.clone(),
            (None, Some(bad), Some(all)) => format!("{} of {} rows", human::count(bad), human::count(all)),
            (None, Some(bad), None) => human::counted(bad, "row"),
            (None, None, _) => String::new(),
        };
        out += &self.below(&found, &place);
        if let Some(row) = failed.sample.first() {
            let columns: Vec<String> =
                row.iter().take(SAMPLE_COLUMNS).map(|(name, value)| format!("{name} {}", one_line(value))).collect();
            let others = failed.failed_rows.unwrap_or(1).saturating_sub(1);
            let more = if others > 0 { format!("(+{})", human::count(others)) } else { String::new() };
            out += &self.below(&columns.join("  "), &more);
        }
        out
    }

    /// ` ✓ ingest  bronze.shop_orders     +10,000  cursor 06:00:02          2.1s`
    fn line(
        &self,
        symbol: &str,
        style: anstyle::Style,
        step: &StepKey,
        detail: &str,
        elapsed_ms: Option<u64>,
    ) -> String {
        let time = elapsed_ms.map(human::elapsed).unwrap_or_default();
        let (kind, name, detail) = (pad_right(step.kind.as_str(), KIND_WIDTH), name(step), one_line(detail));
        let (line, more) = if self.room() < MIN_DETAIL {
            (format!("{kind}  {name}"), self.below(join(&[&detail, &time]).trim(), ""))
        } else {
            let detail = pad_right(&fit(&detail, self.room()), self.room());
            (format!("{kind}  {}  {detail} {}", pad_right(&name, self.names), pad_left(&time, 6)), String::new())
        };
        let quiet = symbol == "=" || symbol == "–";
        let shade = |text: &str| if quiet { self.paint.style(DIM, text) } else { text.to_owned() };
        let more: String = more.lines().filter(|l| !l.trim().is_empty()).map(|l| shade(l) + "\n").collect();
        format!(" {} {}\n{more}", self.paint.style(style, symbol), shade(line.trim_end()))
    }

    /// Columns for what a step did, between its name and its time.
    fn room(&self) -> usize {
        self.width.saturating_sub(NAME_AT + self.names + 2 + TIME)
    }

    /// A line that belongs to the one above: `500 of 10,000 rows     checks/orders.yaml:6`.
    fn below(&self, left: &str, right: &str) -> String {
        let indent = " ".repeat(NAME_AT);
        let room = self.width.saturating_sub(NAME_AT).max(20);
        if right.is_empty() {
            return wrap(&one_line(left), room).iter().map(|l| format!("{indent}{l}\n")).collect();
        }
        let left = one_line(left);
        let right_width = width(right);
        if width(&left) + 2 + right_width > room && self.room() < MIN_DETAIL {
            let wrapped = wrap(&left, room);
            let lines = wrapped.iter().map(String::as_str).chain([right]);
            return lines.map(|l| format!("{indent}{l}\n")).collect();
        }
        let gap = (self.names + 2).max(width(&left) + 2).min(room.saturating_sub(right_width));
        let left = fit(&left, gap.saturating_sub(2));
        format!("{indent}{}{}\n", pad_right(&left, gap), self.paint.style(DIM, right))
    }
}

/// Columns of the longest name of some steps.
pub(super) fn names_width(steps: &[StepKey]) -> usize {
    steps.iter().map(|s| width(&name(s))).max().unwrap_or(0).clamp(10, 48)
}

/// `+10,000`, `+53, 197 replaced`, `365 rows`.
fn amount(kind: StepKind, rows: u64, replaced: Option<u64>) -> String {
    match (kind, replaced) {
        (StepKind::Ingest, None) | (_, Some(0)) => format!("+{}", human::count(rows)),
        (_, Some(replaced)) => {
            let sign = if rows < replaced { "-" } else { "+" };
            format!("{sign}{}, {} replaced", human::count(rows.abs_diff(replaced)), human::count(replaced))
        }
        (_, None) => human::counted(rows, "row"),
    }
}

pub(super) fn name(step: &StepKey) -> String {
    match &step.partition {
        Some(partition) => format!("{}[{partition}]", step.resource),
        None => step.resource.clone(),
    }
}

fn join(parts: &[&str]) -> String {
    parts.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join("  ")
}

/// Breaks a text at blanks.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().map_or(0, |l| width(l));
        if line > 0 && line + 1 + width(word) > room {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use polder_base::{RunId, Timestamp};
    use polder_run::CheckPassed;

    use super::*;

    fn started(steps: &[(StepKind, &str)]) -> Event {
        Event::RunStarted {
            run: RunId(12),
            kind: RunKind::Run,
            target: "main".into(),
            branch: "run/12".into(),
            at: Timestamp(0),
            steps: steps.iter().map(|(k, n)| StepKey::new(*k, *n)).collect(),
        }
    }

    fn finished(kind: StepKind, name: &str, status: StepStatus, report: StepReport, elapsed_ms: u64) -> Event {
        Event::StepFinished {
            run: RunId(12),
            step: StepKey::new(kind, name),
            status,
            report: Box::new(report),
            failure: None,
            resumed: false,
            elapsed_ms,
            at: Timestamp(0),
        }
    }

    fn report() -> StepReport {
        StepReport::default()
    }

    #[test]
    fn a_held_run_reads_as_in_the_design() {
        let mut lines = Lines::new(Paint(false), 78);
        let failure = CheckFailure {
            table: "bronze.shop_orders".into(),
            check: "created_at <= run_time()".into(),
            severity: "error".into(),
            failed_rows: Some(500),
            total_rows: Some(10_000),
            detail: None,
            sample: vec![vec![("order_id".into(), "88123".into()), ("created_at".into(), "2027-03-01".into())]],
            query: None,
            file: "checks/orders.yaml".into(),
            line: 6,
            tables: Vec::new(),
            accepted: false,
        };
        let events = [
            started(&[(StepKind::Ingest, "bronze.shop_orders"), (StepKind::Ingest, "bronze.shop_customers")]),
            finished(
                StepKind::Ingest,
                "bronze.shop_orders",
                StepStatus::Done,
                StepReport { rows: Some(10_000), note: Some("cursor 06:00:02".into()), ..report() },
                2_140,
            ),
            finished(
                StepKind::Ingest,
                "bronze.shop_customers",
                StepStatus::Unchanged,
                StepReport { unchanged: true, ..report() },
                12,
            ),
            finished(
                StepKind::Check,
                "bronze.shop_orders",
                StepStatus::Failed,
                StepReport { failures: vec![failure], ..report() },
                140,
            ),
            finished(StepKind::Model, "gold.daily", StepStatus::Skipped, report(), 0),
        ];
        let text: String = events.iter().map(|e| lines.event(e)).collect();
        let want = "\
run 12 → main

 ✓ ingest  bronze.shop_orders     +10,000  cursor 06:00:02               2.1s
 = ingest  bronze.shop_customers  unchanged
 ✗ check   bronze.shop_orders     created_at <= run_time()               0.1s
           500 of 10,000 rows     checks/orders.yaml:6
           order_id 88123  created_at 2027-03-01  (+499)
 – model   gold.daily             not built
";
        assert_eq!(text, want);
    }

    #[test]
    fn lines_fit_the_terminal() {
        let mut lines = Lines::new(Paint(false), 60);
        lines.event(&started(&[(StepKind::Ingest, "bronze.a_table_with_quite_a_long_name")]));
        let event = Event::StepFinished {
            run: RunId(1),
            step: StepKey::new(StepKind::Ingest, "bronze.a_table_with_quite_a_long_name"),
            status: StepStatus::Failed,
            report: Box::new(report()),
            failure: Some(Box::new(StepFailure {
                kind: polder_run::FailureKind::Environment,
                message: "cannot connect to PostgreSQL at db.internal:5432: no route to that host at all".into(),
                diagnostic: None,
            })),
            resumed: false,
            elapsed_ms: 30,
            at: Timestamp(0),
        };
        let text = lines.event(&event);
        assert!(text.lines().skip(1).all(|l| width(l) <= 60), "{text}");
        assert!(text.contains("no route"));
    }

    #[test]
    fn checks_that_hold_are_counted_and_rejected_records_told() {
        let mut lines = Lines::new(Paint(false), 80);
        let passed = |check: &str| CheckPassed {
            table: "gold.daily".into(),
            check: check.into(),
            severity: "error".into(),
            total_rows: Some(3),
            file: "checks/gold.yaml".into(),
            line: 1,
        };
        let both = StepReport { passed: vec![passed("unique day"), passed("not_null day")], ..report() };
        let text = lines.event(&finished(StepKind::Check, "gold.daily", StepStatus::Done, both, 90));
        assert!(text.starts_with(" ✓ check   gold.daily            2 checks "), "{text}");
        let rejected = StepReport { rows: Some(7), rejected: 2, ..report() };
        let text = lines.event(&finished(StepKind::Ingest, "bronze.payments", StepStatus::Done, rejected, 90));
        assert!(text.ends_with("           2 records set aside in quarantine.payments\n"), "{text}");
    }

    #[test]
    fn rows_that_replaced_others_are_told_apart() {
        assert_eq!(amount(StepKind::Ingest, 1_000, None), "+1,000");
        assert_eq!(amount(StepKind::Model, 1_000, None), "1,000 rows");
        assert_eq!(amount(StepKind::Model, 1_000, Some(0)), "+1,000");
        assert_eq!(amount(StepKind::Ingest, 250, Some(197)), "+53, 197 replaced");
        assert_eq!(amount(StepKind::Model, 1, Some(3)), "-2, 3 replaced");
    }

    #[test]
    fn a_cancel_tells_what_it_stopped_and_counts_the_rest() {
        let mut lines = Lines::new(Paint(false), 80);
        let begun = StepKey::new(StepKind::Ingest, "bronze.orders");
        lines.event(&Event::StepStarted { run: RunId(1), step: begun, attempt: 1, at: Timestamp(0) });
        let mut cancelled = |kind, name| lines.event(&finished(kind, name, StepStatus::Cancelled, report(), 0));
        assert_eq!(cancelled(StepKind::Ingest, "bronze.orders"), " – ingest  bronze.orders         cancelled\n");
        assert_eq!(cancelled(StepKind::Model, "gold.daily"), "");
        assert_eq!(cancelled(StepKind::Check, "gold.daily"), "");
        let ended = Event::RunFinished {
            run: RunId(1),
            status: polder_run::RunStatus::Cancelled,
            reason: None,
            commit: None,
            elapsed_ms: 1,
            at: Timestamp(0),
        };
        assert_eq!(lines.event(&ended), " – 2 steps not begun\n");
    }

    #[test]
    fn a_narrow_terminal_gets_two_lines() {
        let mut lines = Lines::new(Paint(false), 40);
        lines.event(&started(&[(StepKind::Ingest, "bronze.shop_order_lines")]));
        let done = StepReport { rows: Some(10_000), note: Some("1 file".into()), ..report() };
        let text = lines.event(&finished(StepKind::Ingest, "bronze.shop_orders", StepStatus::Done, done, 2_140));
        assert_eq!(text, " ✓ ingest  bronze.shop_orders\n           +10,000  1 file  2.1s\n");
        let text = lines.event(&finished(StepKind::Model, "gold.daily", StepStatus::Skipped, report(), 0));
        assert_eq!(text, " – model   gold.daily\n           not built\n");
    }

    #[test]
    fn colours_are_only_there_when_wanted() {
        let mut plain = Lines::new(Paint(false), 80);
        let mut coloured = Lines::new(Paint(true), 80);
        let event = finished(StepKind::Model, "gold.daily", StepStatus::Done, report(), 5);
        assert!(!plain.event(&event).contains('\u{1b}'));
        assert!(coloured.event(&event).contains('\u{1b}'));
    }
}
