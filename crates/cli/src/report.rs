//! A run as it is told: plain lines, bars on a terminal, or JSON events.

mod bars;
mod lines;
mod screen;

pub use bars::Bars;
pub use lines::Lines;

use std::sync::{Arc, Mutex, PoisonError};

use polder_diag::Sources;
use polder_run::{Event, EventSink, Progress, StepKey};
use serde_json::Value;

use crate::terminal;

/// Who is told what happens in a run, and what the program has to say beside it.
pub trait Report: EventSink {
    /// A line for people on standard error.
    fn note(&self, text: &str) {
        terminal::note(text);
    }
}

/// One JSON object a line, for programs.
#[derive(Debug, Default)]
pub struct JsonEvents;

impl Report for JsonEvents {}

impl EventSink for JsonEvents {
    fn event(&self, event: &Event) {
        // An event is plain data: it always has a JSON form.
        if let Ok(mut json) = serde_json::to_value(event) {
            if let Some(report) = json.get_mut("report").and_then(Value::as_object_mut) {
                // What steps leave for later runs is nobody else's business.
                report.retain(|name, _| name != "output" && name != "settled");
            }
            terminal::line(&json.to_string());
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

impl Report for TextEvents {
    fn note(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.note(text),
            None => terminal::note(text),
        }
    }
}

impl EventSink for TextEvents {
    fn sources(&self, sources: &Sources) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).know(sources.clone());
    }

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
