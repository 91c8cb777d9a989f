//! What runs right now, below the lines of what is done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use polder_run::{Event, Progress, StepKey};

use crate::human;
use crate::terminal;
use crate::text::{fit, pad_right};

/// How often the numbers change: often enough to look alive, seldom enough to be read.
const TICK: Duration = Duration::from_millis(125);

/// Cells of a bar.
const CELLS: u64 = 16;

/// One bar for each running step.
pub struct Bars {
    inner: Arc<Inner>,
}

struct Inner {
    screen: MultiProgress,
    steps: Mutex<BTreeMap<StepKey, Running>>,
    width: usize,
}

struct Running {
    bar: ProgressBar,
    progress: Option<Arc<Progress>>,
    since: Instant,
}

impl Bars {
    pub fn new(width: usize) -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(16));
        let inner = Arc::new(Inner { screen, steps: Mutex::default(), width });
        let weak = Arc::downgrade(&inner);
        std::thread::spawn(move || tick(&weak));
        Self { inner }
    }

    pub fn event(&self, event: &Event) {
        match event {
            Event::StepStarted { step, .. } => {
                let mut steps = self.inner.steps();
                if !steps.contains_key(step) {
                    let bar = self.inner.screen.add(ProgressBar::new_spinner());
                    if let Ok(style) = ProgressStyle::with_template(" {spinner:.cyan} {msg}") {
                        bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
                    }
                    let running = Running { bar, progress: None, since: Instant::now() };
                    running.draw(step, self.inner.width);
                    steps.insert(step.clone(), running);
                }
            }
            Event::StepFinished { step, .. } => {
                if let Some(running) = self.inner.steps().remove(step) {
                    running.bar.finish_and_clear();
                    self.inner.screen.remove(&running.bar);
                }
            }
            Event::RunFinished { .. } => self.clear(),
            _ => {}
        }
    }

    pub fn progress(&self, step: &StepKey, progress: &Arc<Progress>) {
        if let Some(running) = self.inner.steps().get_mut(step) {
            running.progress = Some(Arc::clone(progress));
        }
    }

    /// Prints finished lines above the bars.
    pub fn above(&self, text: &str) {
        self.inner.screen.suspend(|| {
            terminal::print(text);
            terminal::flush();
        });
    }

    pub fn clear(&self) {
        self.inner.steps().clear();
        // What cannot be drawn on a terminal that is gone does not matter.
        let _ = self.inner.screen.clear();
    }
}

impl Inner {
    fn steps(&self) -> MutexGuard<'_, BTreeMap<StepKey, Running>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Redraws until the bars are dropped.
fn tick(inner: &Weak<Inner>) {
    while let Some(inner) = inner.upgrade() {
        for (step, running) in inner.steps().iter() {
            running.draw(step, inner.width);
            running.bar.tick();
        }
        drop(inner);
        std::thread::sleep(TICK);
    }
}

impl Running {
    fn draw(&self, step: &StepKey, width: usize) {
        let head = format!("{}  {}  ", pad_right(step.kind.as_str(), 6), step.resource);
        let text = self.progress.as_ref().map(|p| amounts(p, self.since.elapsed())).unwrap_or_default();
        self.bar.set_message(fit(&format!("{head}{text}"), width.saturating_sub(4)));
    }
}

/// `▰▰▰▱▱▱  1,234,567 rows  120.1 MB of 500.0 MB  60.2 MB/s  2.1s`
fn amounts(progress: &Progress, since: Duration) -> String {
    let (rows, bytes, total) = (progress.rows(), progress.bytes(), progress.total_bytes());
    let mut parts = Vec::new();
    if let Some(total) = total {
        let full = (bytes.min(total) * CELLS / total).min(CELLS);
        parts.push(
            "▰".repeat(usize::try_from(full).unwrap_or(0)) + &"▱".repeat(usize::try_from(CELLS - full).unwrap_or(0)),
        );
    }
    if rows > 0 {
        parts.push(human::counted(rows, "row"));
    }
    if bytes > 0 {
        parts.push(match total {
            Some(total) => format!("{} of {}", human::bytes(bytes), human::bytes(total)),
            None => human::bytes(bytes),
        });
        if let Some(rate) = rate(bytes, since) {
            parts.push(format!("{}/s", human::bytes(rate)));
        }
    }
    parts.push(human::elapsed(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)));
    parts.join("  ")
}

/// Per second; nothing in the first moments, when it would jump.
fn rate(amount: u64, since: Duration) -> Option<u64> {
    let ms = u64::try_from(since.as_millis()).ok().filter(|ms| *ms >= 300)?;
    amount.checked_mul(1000).map(|a| a / ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_bar_rate_and_time() {
        let progress = Progress::default();
        assert_eq!(amounts(&progress, Duration::from_millis(100)), "0.1s");
        progress.add_rows(1_500);
        progress.add_bytes(2_000_000);
        assert_eq!(amounts(&progress, Duration::from_secs(2)), "1,500 rows  2.0 MB  1.0 MB/s  2.0s");
        progress.set_total_bytes(4_000_000);
        assert_eq!(
            amounts(&progress, Duration::from_secs(2)),
            "▰▰▰▰▰▰▰▰▱▱▱▱▱▱▱▱  1,500 rows  2.0 MB of 4.0 MB  1.0 MB/s  2.0s"
        );
    }
}
