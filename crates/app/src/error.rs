//! Errors as a door needs them: what kind, which exit code, and the diagnostics with the files they point into.

use polder_catalog::CatalogError;
use polder_diag::{Diagnostic, Sources, Span};
use polder_lake::LakeError;
use polder_run::JournalError;
use polder_sql::SqlError;
use polder_store::{MEND_STATE, StoreError};
use polder_table::TableError;

use crate::codes;

/// Why a use case did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The files of the project are wrong.
    #[error("{}", first_line(.0))]
    Project(Box<Problems>),
    /// A statement is wrong, or asks for what is not there. The statement is the file `sql`.
    #[error("{}", first_line(.0))]
    Statement(Box<Problems>),
    /// What was asked for cannot be done as things are.
    #[error("{0}")]
    Refused(Box<Diagnostic>),
    /// Network, disk, a database.
    #[error("{0}")]
    Environment(String),
    /// A bug of Polder.
    #[error("{0}")]
    Defect(String),
    #[error("cancelled")]
    Cancelled,
}

/// Diagnostics, and the files that they point into.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    pub diagnostics: Vec<Diagnostic>,
    pub sources: Sources,
}

/// An error as doors tell it to programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// `docs/errors.md` lists them.
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
    /// Where in the statement, in characters from 1 on.
    pub position: Option<usize>,
}

/// What places of a statement are called.
const STATEMENT: &str = "sql";

impl Problems {
    /// The same problems of a statement as problems of the text that it stands in, `offset` bytes from its start.
    #[must_use]
    pub fn in_text(mut self, name: &str, text: &str, offset: usize) -> Self {
        let file = self.sources.add(name, text);
        for diagnostic in &mut self.diagnostics {
            let labels = diagnostic.label.iter_mut().chain(&mut diagnostic.related);
            for label in labels.filter(|label| &*label.span.file == STATEMENT) {
                label.span = Span::new(&file, label.span.start + offset..label.span.end + offset);
            }
        }
        self
    }
}

fn first_line(problems: &Problems) -> String {
    let errors = problems.diagnostics.iter().filter(|d| d.severity == polder_diag::Severity::Error);
    let mut lines = errors.map(ToString::to_string);
    let first = lines.next().unwrap_or_default();
    match lines.count() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}

impl AppError {
    /// The exit code of what network, disk or a database did.
    pub(crate) const ENVIRONMENT: u8 = 3;

    pub(crate) fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Self::Refused(Box::new(Diagnostic::error(code, message)))
    }

    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Refused(diagnostic) => Self::Refused(Box::new(diagnostic.hint(hint))),
            other => other,
        }
    }

    /// 1: cannot be done or cancelled; 2: files or a statement are wrong; 3: the environment; 70: a bug.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Cancelled => 1,
            Self::Project(_) | Self::Statement(_) => 2,
            Self::Environment(_) => Self::ENVIRONMENT,
            Self::Defect(_) => 70,
        }
    }

    /// The diagnostics to show, with the files that they point into.
    pub fn problems(&self) -> Option<Problems> {
        match self {
            Self::Project(problems) | Self::Statement(problems) => Some(Problems::clone(problems)),
            Self::Refused(diagnostic) => {
                Some(Problems { diagnostics: vec![Diagnostic::clone(diagnostic)], sources: Sources::default() })
            }
            Self::Environment(_) | Self::Defect(_) | Self::Cancelled => None,
        }
    }

    /// What a program is told: the first problem alone. `sql`: the statement, where there is one. `None`: the error's own
    /// sentence is all there is.
    pub fn told(&self, sql: &str) -> Option<Told> {
        let first = self.problems()?.diagnostics.into_iter().next()?;
        let place = first.label.as_ref().filter(|label| &*label.span.file == STATEMENT);
        let position = place.and_then(|label| sql.get(..label.span.start)).map(|before| before.chars().count() + 1);
        let hint = Some(first.hints.join("\n")).filter(|hint| !hint.is_empty());
        Some(Told { code: first.code, message: first.message, hint, position })
    }

    /// The first problem in one line, with where it is: `error[M012]: … (models/gold/daily.sql:3:13)`.
    pub fn in_one_line(&self) -> String {
        let Some(problems) = self.problems() else { return self.to_string() };
        let mut errors = problems.diagnostics.iter().filter(|d| d.severity == polder_diag::Severity::Error);
        let place = errors.next().and_then(|first| {
            let span = &first.label.as_ref()?.span;
            let at = problems.sources.line_col(span)?;
            Some(format!(" ({}:{}:{})", span.file, at.line, at.column))
        });
        format!("{self}{}", place.unwrap_or_default())
    }

    /// An error of a statement of a person.
    pub fn of_statement(error: SqlError, sql: &str) -> Self {
        match error {
            SqlError::Statement(diagnostic) => {
                let mut sources = Sources::default();
                sources.add(STATEMENT, sql);
                Self::Statement(Box::new(Problems { diagnostics: vec![*diagnostic], sources }))
            }
            other => other.into(),
        }
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        Self::Environment(match &error {
            StoreError::Corrupt { path, .. } if path.starts_with("object ") || path.starts_with("record ") => {
                format!("{message}; {MEND_STATE}")
            }
            // Names are looked up in the catalog: what is missing below them was taken away by somebody.
            StoreError::NotFound { .. } => format!(
                "{message}, although the catalog names it: bring it back from a backup, or `polder rollback` to a \
                 commit that does without it"
            ),
            _ => message,
        })
    }
}

impl From<TableError> for AppError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Store(error) => error.into(),
            other => Self::Environment(other.to_string()),
        }
    }
}

impl From<JournalError> for AppError {
    fn from(error: JournalError) -> Self {
        Self::Environment(error.to_string())
    }
}

impl From<CatalogError> for AppError {
    fn from(error: CatalogError) -> Self {
        let message = error.to_string();
        match error {
            CatalogError::UnknownRef { nearest, .. } => {
                let refused = Self::refused(codes::UNKNOWN_REF, message);
                nearest.iter().fold(refused, |e, near| e.hint(format!("did you mean `{near}`?")))
            }
            CatalogError::UnknownCommit { .. } => Self::refused(codes::UNKNOWN_REF, message),
            CatalogError::UnknownTable { .. } => Self::refused(codes::UNKNOWN_TABLE, message),
            CatalogError::Claimed { run, .. } => {
                Self::refused(codes::CLAIMED, message).hint(format!("wait for run {run} to end, then run again"))
            }
            CatalogError::Conflict { .. } => Self::refused(codes::CONFLICT, message)
                .hint("`polder diff` shows what a side did; `polder rollback` takes it back"),
            CatalogError::RefExists { .. } | CatalogError::Contended { .. } | CatalogError::Invalid(_) => {
                Self::refused(codes::REFUSED, message)
            }
            CatalogError::LeaseLost { .. } | CatalogError::LeaseHeld { .. } | CatalogError::RecordChanged { .. } => {
                Self::refused(codes::RUNNING, message)
            }
            CatalogError::Store(error) => error.into(),
            CatalogError::Table(error) => error.into(),
        }
    }
}

impl From<LakeError> for AppError {
    fn from(error: LakeError) -> Self {
        match error {
            LakeError::Catalog(error) => error.into(),
            LakeError::Store(error) => error.into(),
            LakeError::Table(error) => error.into(),
            LakeError::Cancelled => Self::Cancelled,
            other => Self::Environment(other.to_string()),
        }
    }
}

impl From<SqlError> for AppError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Statement(diagnostic) => {
                Self::Statement(Box::new(Problems { diagnostics: vec![*diagnostic], sources: Sources::default() }))
            }
            SqlError::Catalog(error) => error.into(),
            SqlError::Store(error) => error.into(),
            SqlError::Lake(error) => error.into(),
            SqlError::Cancelled => Self::Cancelled,
            SqlError::Denied(message) | SqlError::Limit(message) => Self::refused(codes::REFUSED, message),
            SqlError::Policy(diagnostic) => {
                Self::Project(Box::new(Problems { diagnostics: vec![*diagnostic], sources: Sources::default() }))
            }
            SqlError::Execution(_) => Self::refused(polder_sql::codes::VALUE, error.to_string()),
        }
    }
}
