//! SQL for a person: sessions.

use std::time::Duration;

use polder_sql::{Limits, Principal, QueryResult, Session, SessionOptions, SqlError};

use crate::{App, AppError};

/// What a session is opened with.
#[derive(Debug, Clone, Default)]
pub struct SqlOptions {
    /// The ref to read; the current one unless set.
    pub at: Option<String>,
    /// Who asks; the user of the operating system unless set.
    pub principal: Option<String>,
    pub roles: Vec<String>,
    /// `FROM 'x.csv'`: for the person at the command line only, never through a door.
    pub allow_files: bool,
    pub timeout: Option<Duration>,
    pub max_rows: Option<u64>,
}

/// A session, with errors as a door shows them.
#[derive(Debug, Clone)]
pub struct SqlSession {
    session: Session,
}

impl App {
    /// Opens a session on a ref as it is now.
    ///
    /// # Errors
    /// An unknown ref; policies that cannot be read, for then nobody knows who may see what.
    pub async fn session(&self, options: &SqlOptions) -> Result<SqlSession, AppError> {
        if self.loaded.project.policies_broken {
            return Err(AppError::Project(Box::new(self.loaded.problems())));
        }
        let mut principal = Principal::user(options.principal.clone().unwrap_or_else(|| self.principal()));
        principal.roles.clone_from(&options.roles);
        let session_options = SessionOptions {
            default_namespace: Some(polder_model::default_namespace(&self.loaded.project)),
            allow_files: options.allow_files,
            limits: Limits { timeout: options.timeout, max_rows: options.max_rows },
            ..SessionOptions::new(principal, self.ref_or_current(options.at.as_deref())?)
        };
        Ok(SqlSession { session: self.engine.session(session_options).await? })
    }
}

impl SqlSession {
    /// The session itself.
    pub fn inner(&self) -> &Session {
        &self.session
    }

    /// Runs one statement. Errors that come while rows flow are made readable by [`SqlSession::stream_error`].
    ///
    /// # Errors
    /// A statement that is wrong, denied, or too much for the session's limits.
    pub async fn query(&self, sql: &str) -> Result<QueryResult, AppError> {
        self.session.query(sql).await.map_err(|e| AppError::of_statement(e, sql))
    }

    /// An error of a stream of rows.
    pub fn stream_error(&self, error: impl Into<SqlError>, sql: &str) -> AppError {
        AppError::of_statement(error.into(), sql)
    }
}
