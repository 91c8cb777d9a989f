//! What runs right now, below the lines of what is done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use polder_run::{Event, Progress, StepKey};

use super::lines::{name, names_width};
use super::screen::{MARGIN, Screen};
use crate::human;
use crate::terminal;
use crate::text::{fit, pad_right, width};

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
    steps: Mutex<Steps>,
    width: usize,
}

#[derive(Default)]
struct Steps {
    running: BTreeMap<StepKey, Running>,
    /// Columns of the longest name in the run, so that bars stand where the lines above them have their numbers.
    names: usize,
}

struct Running {
    bar: ProgressBar,
    progress: Option<Arc<Progress>>,
    since: Instant,
}

impl Bars {
    pub fn new(width: usize) -> Self {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(Screen::new(width)), 16);
        let screen = MultiProgress::with_draw_target(target);
        let inner = Arc::new(Inner { screen, steps: Mutex::default(), width });
        let weak = Arc::downgrade(&inner);
        std::thread::spawn(move || tick(&weak));
        Self { inner }
    }

    pub fn event(&self, event: &Event) {
        match event {
            Event::RunStarted { steps, .. } => self.inner.steps().names = names_width(steps),
            Event::StepStarted { step, .. } => {
                let mut steps = self.inner.steps();
                if !steps.running.contains_key(step) {
                    let bar = self.inner.screen.add(ProgressBar::new_spinner());
                    if let Ok(style) = ProgressStyle::with_template(" {spinner:.cyan} {msg}") {
                        bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
                    }
                    let running = Running { bar, progress: None, since: Instant::now() };
                    running.draw(step, steps.names, self.inner.width);
                    steps.running.insert(step.clone(), running);
                }
            }
            Event::StepFinished { step, .. } => {
                if let Some(running) = self.inner.steps().running.remove(step) {
                    running.bar.finish_and_clear();
                    self.inner.screen.remove(&running.bar);
                }
            }
            Event::RunFinished { .. } => self.clear(),
            _ => {}
        }
    }

    pub fn progress(&self, step: &StepKey, progress: &Arc<Progress>) {
        if let Some(running) = self.inner.steps().running.get_mut(step) {
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

    /// Says something on standard error above the bars.
    pub fn note(&self, text: &str) {
        self.inner.screen.suspend(|| terminal::note(text));
    }

    pub fn clear(&self) {
        self.inner.steps().running.clear();
        // What cannot be drawn on a terminal that is gone does not matter.
        let _ = self.inner.screen.clear();
    }
}

impl Inner {
    fn steps(&self) -> MutexGuard<'_, Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Redraws until the bars are dropped.
fn tick(inner: &Weak<Inner>) {
    while let Some(inner) = inner.upgrade() {
        let steps = inner.steps();
        for (step, running) in &steps.running {
            running.draw(step, steps.names, inner.width);
            running.bar.tick();
        }
        drop(steps);
        drop(inner);
        std::thread::sleep(TICK);
    }
}

impl Running {
    fn draw(&self, step: &StepKey, names: usize, columns: usize) {
        let (kind, name) = (pad_right(step.kind.as_str(), 6), name(step));
        // The spinner and the blanks around it.
        let room = columns.saturating_sub(4 + MARGIN);
        let wide = format!("{kind}  {}  ", pad_right(&name, names));
        let head = if width(&wide) + LEAST <= room { wide } else { format!("{kind}  {name}  ") };
        let text = match &self.progress {
            Some(progress) => amounts(progress, self.since.elapsed(), room.saturating_sub(width(&head))),
            None => String::new(),
        };
        self.bar.set_message(fit(format!("{head}{text}").trim_end(), room));
    }
}

/// Columns that a bar with nothing beside it needs.
const LEAST: usize = CELLS as usize;

/// `▰▰▰▱▱▱  1,234,567 rows  120.1 MB of 500.0 MB  60.2 MB/s  2.1s`, or as much of that as there is room for.
fn amounts(progress: &Progress, since: Duration, room: usize) -> String {
    let (rows, bytes, total) = (progress.rows(), progress.bytes(), progress.total_bytes());
    let bar = total.map(|total| bar((bytes.min(total) * CELLS / total).min(CELLS)));
    let share = total.map(|total| format!("{}%", bytes.min(total) * 100 / total));
    let rows = (rows > 0).then(|| human::counted(rows, "row"));
    let amount = (bytes > 0).then(|| match total {
        Some(total) => format!("{} of {}", human::bytes(bytes), human::bytes(total)),
        None => human::bytes(bytes),
    });
    let rate = rate(bytes, since).filter(|_| bytes > 0).map(|rate| format!("{}/s", human::bytes(rate)));
    let time = Some(human::elapsed(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)));
    let choices: [&[&Option<String>]; 6] = [
        &[&bar, &rows, &amount, &rate, &time],
        &[&bar, &rows, &amount, &time],
        &[&bar, &rows, &time],
        &[&share, &rows, &time],
        &[&share, &time],
        &[&share],
    ];
    let texts = choices.iter().map(|parts| parts.iter().filter_map(|p| p.as_deref()).collect::<Vec<_>>().join("  "));
    texts.into_iter().find(|text| width(text) <= room).unwrap_or_default()
}

fn bar(full: u64) -> String {
    (0..CELLS).map(|cell| if cell < full { '▰' } else { '▱' }).collect()
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
        assert_eq!(amounts(&progress, Duration::from_millis(100), 80), "0.1s");
        progress.add_rows(1_500);
        progress.add_bytes(2_000_000);
        let after = Duration::from_secs(2);
        assert_eq!(amounts(&progress, after, 80), "1,500 rows  2.0 MB  1.0 MB/s  2.0s");
        progress.set_total_bytes(4_000_000);
        for (room, want) in [
            (80, "▰▰▰▰▰▰▰▰▱▱▱▱▱▱▱▱  1,500 rows  2.0 MB of 4.0 MB  1.0 MB/s  2.0s"),
            (60, "▰▰▰▰▰▰▰▰▱▱▱▱▱▱▱▱  1,500 rows  2.0 MB of 4.0 MB  2.0s"),
            (40, "▰▰▰▰▰▰▰▰▱▱▱▱▱▱▱▱  1,500 rows  2.0s"),
            (25, "50%  1,500 rows  2.0s"),
            (12, "50%  2.0s"),
            (3, "50%"),
            (2, ""),
        ] {
            assert_eq!(amounts(&progress, after, room), want);
        }
    }
}
