//! SQL for a person: sessions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use polder_base::nearest;
use polder_diag::Diagnostic;
use polder_project::Project;
use polder_sql::{DataType, Limits, Prepared, Principal, QueryResult, ScalarValue, Session, SessionOptions, SqlError};

use crate::app::has_errors;
use crate::{App, AppError, Problems, codes};

/// What a session is opened with.
#[derive(Debug, Clone, Default)]
pub struct SqlOptions {
    /// The ref to read; the current one unless set.
    pub at: Option<String>,
    /// Who asks; the user of the operating system unless set.
    pub principal: Option<String>,
    pub roles: Vec<String>,
    /// `FROM 'x.csv'`, and warnings that tell of all tables: for the person at the command line only, never through a
    /// door.
    pub allow_files: bool,
    /// The schema where names without one are looked for first; the project's default unless set.
    pub search: Option<String>,
    pub timeout: Option<Duration>,
    pub max_rows: Option<u64>,
}

/// A session, with errors as a door shows them.
#[derive(Debug, Clone)]
pub struct SqlSession {
    session: Session,
    /// Its files: a policy that does not fit its table is told at its place. Not a copy of them: there may be thousands,
    /// and a session is opened for each statement.
    project: Arc<Project>,
    /// The threads that statements work on; those of the caller unless set.
    workers: Option<tokio::runtime::Handle>,
}

impl App {
    /// Opens a session on a ref as it is now.
    ///
    /// # Errors
    /// An unknown ref; policies that cannot be read, for then nobody knows who may see what.
    pub async fn session(&self, options: &SqlOptions) -> Result<SqlSession, AppError> {
        if self.loaded.project.policies_broken {
            return Err(AppError::Project(Box::new(self.broken_policies())));
        }
        let mut principal = Principal::user(options.principal.clone().unwrap_or_else(|| self.principal()));
        principal.roles.clone_from(&options.roles);
        let session_options = SessionOptions {
            default_namespace: Some(
                options.search.clone().unwrap_or_else(|| polder_model::default_namespace(&self.loaded.project)),
            ),
            allow_files: options.allow_files,
            s3: polder_ingest::s3_options(&self.loaded.project.settings.s3),
            limits: Limits { timeout: options.timeout, max_rows: options.max_rows },
            ..SessionOptions::new(principal, self.ref_or_current(options.at.as_deref())?)
        };
        let session = self.engine.session(session_options).await?;
        Ok(SqlSession { session, project: Arc::clone(&self.loaded.project), workers: self.options.workers.clone() })
    }

    /// What is wrong with the policies; everything that is wrong where that cannot be told.
    fn broken_policies(&self) -> Problems {
        let mut problems = self.loaded.problems();
        let of_policies =
            |d: &Diagnostic| d.label.as_ref().is_some_and(|l| polder_project::is_of_policies(&l.span.file));
        let mut found: Vec<Diagnostic> = problems.diagnostics.iter().filter(|d| of_policies(d)).cloned().collect();
        if !has_errors(&found) {
            found.clone_from(&problems.diagnostics);
        }
        if let Some(last) = found.pop() {
            found.push(last.hint("until its policies can be read, no table of the project is shown to anybody"));
        }
        problems.diagnostics = found;
        problems
    }
}

impl App {
    /// What is probably not meant so about a session that opens all the same: a role that no policy names, a mask that
    /// hides nothing.
    pub async fn session_warnings(&self, session: &SqlSession) -> Problems {
        let mut diagnostics = self.unknown_roles(&session.session.options().principal.roles);
        diagnostics.extend(session.session.policy_warnings().await);
        Problems { diagnostics, sources: session.project.files.clone() }
    }

    /// Whoever asks with a role that is spelled wrong sees what everybody does, and takes it for what the role sees.
    fn unknown_roles(&self, roles: &[String]) -> Vec<Diagnostic> {
        let policies = &self.loaded.project.policies;
        let known: BTreeSet<&str> =
            policies.iter().flat_map(|p| p.principals.iter().chain(&p.except)).map(String::as_str).collect();
        let unknown = roles.iter().filter(|role| !policies.is_empty() && !known.contains(role.as_str()));
        let warning = |role: &String| {
            let diagnostic = Diagnostic::warning(codes::UNKNOWN_ROLE, format!("no policy names the role `{role}`"));
            let near = nearest(role, known.iter().copied().filter(|name| *name != "*"));
            near.iter().fold(diagnostic, |d, near| d.hint(format!("did you mean `{near}`?")))
        };
        unknown.map(warning).collect()
    }
}

impl SqlSession {
    /// The session itself.
    pub fn inner(&self) -> &Session {
        &self.session
    }

    /// The session, with statements that work on these threads.
    #[must_use]
    pub fn working_on(mut self, workers: tokio::runtime::Handle) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Runs one statement. Errors that come while rows flow are made readable by [`SqlSession::stream_error`].
    ///
    /// # Errors
    /// A statement that is wrong, denied, or too much for the session's limits.
    pub async fn query(&self, sql: &str) -> Result<QueryResult, AppError> {
        self.query_with(sql, &[]).await
    }

    /// Runs one statement with `values` in the place of `$1`, `$2`, ….
    ///
    /// # Errors
    /// As [`SqlSession::query`]; also values that are missing, or do not go where they stand.
    pub async fn query_with(&self, sql: &str, values: &[ScalarValue]) -> Result<QueryResult, AppError> {
        let result = match &self.workers {
            Some(workers) => self.session.query_on(workers, sql, values).await,
            None => self.session.query_with(sql, values).await,
        };
        result.map_err(|e| self.error(e, sql))
    }

    /// Looks at a statement before the values of its `$1`, `$2`, … are known. `types`: of the first of them, as far as
    /// the client says them.
    ///
    /// # Errors
    /// A statement that is wrong or denied.
    pub async fn prepare(&self, sql: &str, types: &[Option<DataType>]) -> Result<Prepared, AppError> {
        let prepared = match &self.workers {
            Some(workers) => self.session.prepare_on(workers, sql, types).await,
            None => self.session.prepare(sql, types).await,
        };
        prepared.map_err(|e| self.error(e, sql))
    }

    /// An error of a stream of rows.
    pub fn stream_error(&self, error: impl Into<SqlError>, sql: &str) -> AppError {
        self.error(error.into(), sql)
    }

    fn error(&self, error: SqlError, sql: &str) -> AppError {
        match error {
            SqlError::Policy(diagnostic) => {
                let sources = self.project.files.clone();
                AppError::Project(Box::new(Problems { diagnostics: vec![*diagnostic], sources }))
            }
            other => AppError::of_statement(other, sql),
        }
    }
}
