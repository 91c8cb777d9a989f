//! A run as it is told: plain lines, bars on a terminal, or JSON events.

mod bars;
mod lines;

pub use bars::Bars;
pub use lines::Lines;

use std::sync::{Arc, Mutex, PoisonError};

use polder_run::{Event, EventSink, Progress, StepKey};

use crate::terminal;

/// One JSON object a line, for programs.
#[derive(Debug, Default)]
pub struct JsonEvents;

impl EventSink for JsonEvents {
    fn event(&self, event: &Event) {
        // An event is plain data: it always has a JSON form.
        if let Ok(json) = serde_json::to_string(event) {
            terminal::line(&json);
        }
    }
}

/// Lines for people; on a terminal with bars of what runs below them.
pub struct TextEvents {
    lines: Mutex<Lines>,
    bars: Option<Bars>,
}

impl TextEvents {
    pub fn new(lines: Lines, bars: Option<Bars>) -> Self {
        Self { lines: Mutex::new(lines), bars }
    }
}

impl EventSink for TextEvents {
    fn event(&self, event: &Event) {
        let text = self.lines.lock().unwrap_or_else(PoisonError::into_inner).event(event);
        let Some(bars) = &self.bars else { return terminal::print(&text) };
        bars.event(event);
        if !text.is_empty() {
            bars.above(&text);
        }
    }

    fn progress(&self, step: &StepKey, progress: &Arc<Progress>) {
        if let Some(bars) = &self.bars {
            bars.progress(step, progress);
        }
    }
}
