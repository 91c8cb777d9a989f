//! Problems that a person can mend: what is wrong, where, and what to do.
//!
//! Analysis gives a value *and* its problems; it never stops at the first. One [`Diagnostic`] serves the terminal,
//! `--format json` and an editor.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod render;
mod source;

use serde::Serialize;

pub use render::{render_json, render_text};
pub use source::{LineCol, SourceFile, Sources, Span};

/// How bad it is: an error stops what was asked for, a warning does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

/// A place in a file, and a few words to write under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable and documented: `P…` project files, `M…` models, `C…` checks, `I…` ingest, `S…` SQL, `L…` lake, `R…` runs.
    pub code: &'static str,
    pub severity: Severity,
    /// One line that stands alone, without a full stop.
    pub message: String,
    /// Where; `None` when no file is to blame.
    pub label: Option<Label>,
    /// Other places that matter (the first of two definitions, …).
    pub related: Vec<Label>,
    /// What to do, or what was probably meant.
    pub hints: Vec<String>,
}

impl Diagnostic {
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, message)
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message)
    }

    fn new(code: &'static str, severity: Severity, message: impl Into<String>) -> Self {
        Self { code, severity, message: message.into(), label: None, related: Vec::new(), hints: Vec::new() }
    }

    /// Points at `span`, with `text` written under it (may be empty).
    #[must_use]
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.label = Some(Label { span, text: text.into() });
        self
    }

    #[must_use]
    pub fn related(mut self, span: Span, text: impl Into<String>) -> Self {
        self.related.push(Label { span, text: text.into() });
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl std::fmt::Display for Diagnostic {
    /// The first line of the rendering: what a log shows.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}[{}]: {}", self.code, self.message)
    }
}

impl std::error::Error for Diagnostic {}
