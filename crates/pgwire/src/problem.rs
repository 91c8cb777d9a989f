//! Errors as PostgreSQL tells them: a code that programs act on, a message, a hint, a place in the statement.

use pgwire::error::ErrorInfo;
use pgwire::messages::PgWireBackendMessage;
use polder_app::{AppError, Outcome};

/// Codes of <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
pub(crate) mod sqlstate {
    pub(crate) const PROTOCOL_VIOLATION: &str = "08P01";
    pub(crate) const FEATURE_NOT_SUPPORTED: &str = "0A000";
    pub(crate) const DATA: &str = "22000";
    pub(crate) const INVALID_TEXT: &str = "22P02";
    pub(crate) const READ_ONLY: &str = "25006";
    pub(crate) const IN_FAILED_TRANSACTION: &str = "25P02";
    pub(crate) const INVALID_STATEMENT_NAME: &str = "26000";
    pub(crate) const INVALID_AUTHORIZATION: &str = "28000";
    pub(crate) const INVALID_PASSWORD: &str = "28P01";
    pub(crate) const INVALID_CURSOR_NAME: &str = "34000";
    pub(crate) const UNKNOWN_DATABASE: &str = "3D000";
    pub(crate) const SYNTAX_OR_ACCESS: &str = "42000";
    pub(crate) const SYNTAX: &str = "42601";
    pub(crate) const UNDEFINED_COLUMN: &str = "42703";
    pub(crate) const UNDEFINED_OBJECT: &str = "42704";
    pub(crate) const UNDEFINED_TABLE: &str = "42P01";
    pub(crate) const DUPLICATE_STATEMENT: &str = "42P05";
    pub(crate) const TOO_MUCH: &str = "53400";
    pub(crate) const CANCELLED: &str = "57014";
    pub(crate) const SHUTDOWN: &str = "57P01";
    pub(crate) const TOO_MANY_CONNECTIONS: &str = "53300";
    pub(crate) const SYSTEM: &str = "58000";
    pub(crate) const DEFECT: &str = "XX000";
}

/// What a client is told went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// In characters from 1 on.
    pub(crate) position: Option<usize>,
    /// The connection ends with it.
    pub(crate) fatal: bool,
}

impl Problem {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, position: None, fatal: false }
    }

    pub(crate) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self { fatal: true, ..Self::new(code, message) }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn cancelled(why: &str) -> Self {
        Self::new(sqlstate::CANCELLED, why)
    }

    /// An error of a statement.
    pub(crate) fn of(error: &AppError, sql: &str) -> Self {
        let code = match error {
            AppError::Statement(_) | AppError::Project(_) => sqlstate::SYNTAX_OR_ACCESS,
            AppError::Refused(diagnostic) => code_of(diagnostic.code),
            AppError::Environment(_) => sqlstate::SYSTEM,
            AppError::Defect(_) => sqlstate::DEFECT,
            AppError::Cancelled => sqlstate::CANCELLED,
        };
        let Some(told) = error.told(sql) else { return Self::new(code, error.to_string()) };
        let code = if matches!(error, AppError::Statement(_)) { code_of(told.code) } else { code };
        Self { code, message: told.message, hint: told.hint, position: told.position, fatal: false }
    }

    /// What it counts as.
    pub(crate) fn outcome(&self) -> Outcome {
        match self.code {
            sqlstate::CANCELLED => Outcome::Cancelled,
            sqlstate::SYSTEM | sqlstate::DEFECT => Outcome::Failed,
            _ => Outcome::Refused,
        }
    }

    pub(crate) fn message(self) -> PgWireBackendMessage {
        let severity = if self.fatal { "FATAL" } else { "ERROR" };
        let mut info = ErrorInfo::new(severity.to_owned(), self.code.to_owned(), self.message);
        info.hint = self.hint;
        info.position = self.position.map(|at| at.to_string());
        PgWireBackendMessage::ErrorResponse(info.into())
    }
}

/// The code of PostgreSQL for one of Polder's.
fn code_of(code: &str) -> &'static str {
    match code {
        "S001" => sqlstate::SYNTAX,
        "S002" => sqlstate::UNDEFINED_TABLE,
        "S003" => sqlstate::UNDEFINED_COLUMN,
        "S005" => sqlstate::READ_ONLY,
        "S009" => sqlstate::DATA,
        "R002" => sqlstate::UNKNOWN_DATABASE,
        _ => sqlstate::SYNTAX_OR_ACCESS,
    }
}
