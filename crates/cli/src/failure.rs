//! What ends a command early, and the exit code that tells it.

use polder_app::{AppError, Problems};
use polder_diag::render_text;

use crate::terminal::Paint;

/// What the process ends with. Documented in `polder --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// Checks or the run failed.
    Failed = 1,
    /// The project, the statement or the command line is wrong.
    Wrong = 2,
    /// Network, disk, a database.
    Environment = 3,
    /// A defect of Polder.
    Defect = 70,
}

/// Problems for a person, an empty line between them.
pub fn told(problems: &Problems, paint: Paint) -> String {
    let texts: Vec<String> =
        problems.diagnostics.iter().map(|d| render_text(d, &problems.sources, paint.0).trim_end().to_owned()).collect();
    texts.join("\n\n")
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// Mistakes in files or statements, with the texts that they point into.
    Mistakes { exit: Exit, problems: Box<Problems> },
    /// One line, perhaps with a hint, and how to end.
    Message { exit: Exit, message: String, hints: Vec<String> },
}

impl Exit {
    /// The exit of a code that a use case gave.
    pub fn of(code: u8) -> Self {
        match code {
            0 => Self::Ok,
            1 => Self::Failed,
            2 => Self::Wrong,
            3 => Self::Environment,
            _ => Self::Defect,
        }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        let exit = Exit::of(error.exit_code());
        match error.problems() {
            Some(problems) => Self::Mistakes { exit, problems: Box::new(problems) },
            None => Self::message(exit, error.to_string()),
        }
    }
}

impl Failure {
    fn message(exit: Exit, message: impl Into<String>) -> Self {
        Self::Message { exit, message: message.into(), hints: Vec::new() }
    }

    /// The command line asks for something that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::message(Exit::Wrong, message)
    }

    pub fn environment(message: impl Into<String>) -> Self {
        Self::message(Exit::Environment, message)
    }

    /// What was asked for cannot be done as things are.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::message(Exit::Failed, message)
    }

    pub fn cancelled() -> Self {
        Self::message(Exit::Failed, "cancelled")
    }

    pub fn defect(message: impl Into<String>) -> Self {
        Self::message(Exit::Defect, message)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Message { hints, .. } = &mut self {
            hints.push(hint.into());
        }
        self
    }

    /// A mistake in a statement, as one in the text that the statement stands in.
    #[must_use]
    pub fn in_text(self, name: &str, text: &str, offset: usize) -> Self {
        match self {
            Self::Mistakes { exit, problems } => {
                Self::Mistakes { exit, problems: Box::new(problems.in_text(name, text, offset)) }
            }
            other => other,
        }
    }

    pub fn from_parquet(error: parquet::errors::ParquetError) -> Self {
        Self::environment(format!("cannot write Parquet: {error}"))
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Mistakes { exit, .. } | Self::Message { exit, .. } => *exit,
        }
    }
}
