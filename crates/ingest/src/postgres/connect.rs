//! Connections to PostgreSQL, and what its errors mean to a person.

use std::str::FromStr;
use std::time::Duration;

use polder_diag::{Diagnostic, Span};
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::{IngestError, Result, codes};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Values as text must read the same whatever the server's or the role's settings are.
const SETTINGS: &str = "SET TIME ZONE 'UTC'; SET datestyle TO 'ISO, YMD'; SET intervalstyle TO 'iso_8601'; \
    SET extra_float_digits TO 3; SET bytea_output TO 'hex'; SET statement_timeout TO 0; \
    SET idle_in_transaction_session_timeout TO 0";

/// A server, as messages name it: never with its password.
#[derive(Debug, Clone)]
pub struct Server {
    options: PgConnectOptions,
    span: Span,
}

impl Server {
    /// # Errors
    /// `I020` when `url` is none.
    pub fn parse(url: &str, span: &Span) -> Result<Self> {
        let wrong = |what: &str| {
            Diagnostic::error(codes::ADDRESS, format!("the PostgreSQL URL cannot be read: {what}"))
                .at(span.clone(), "")
                .hint("it looks like `postgres://user:password@host:5432/database?sslmode=prefer`")
        };
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(wrong("it does not begin with `postgres://`").into());
        }
        let options = PgConnectOptions::from_str(url).map_err(|e| wrong(&cause(&e)))?;
        let options = options.application_name("polder").disable_statement_logging();
        Ok(Self { options, span: span.clone() })
    }

    /// `shop on db.example.com:5432`.
    pub fn name(&self) -> String {
        let database = self.options.get_database().unwrap_or_else(|| self.options.get_username());
        match self.options.get_socket() {
            Some(socket) => format!("{database} on {}", socket.display()),
            None => format!("{database} on {}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    pub async fn connect(&self) -> Result<PgConnection> {
        let connecting = PgConnection::connect_with(&self.options);
        let mut connection = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(|e| self.connect_error(&e))?,
            Err(_) => {
                let waited = CONNECT_TIMEOUT.as_secs();
                return Err(IngestError::transient(format!("{} does not answer within {waited} s", self.name())));
            }
        };
        self.execute(&mut connection, SETTINGS).await?;
        Ok(connection)
    }

    pub async fn execute(&self, connection: &mut PgConnection, sql: &str) -> Result<()> {
        let run = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
        run.map(|_| ()).map_err(|e| self.error(&e))
    }

    fn connect_error(&self, error: &sqlx::Error) -> IngestError {
        let diagnostic = |message: String, hint: &str| {
            IngestError::refused(
                Diagnostic::error(codes::LOGIN, message).at(self.span.clone(), "").hint(hint.to_owned()),
            )
        };
        let code = database_error(error).map(PgDatabaseError::code);
        match (code, error) {
            (Some("28P01" | "28000"), _) => diagnostic(
                format!("{} refuses user `{}`: {}", self.name(), self.options.get_username(), cause(error)),
                "check user and password of the source's URL, and the server's pg_hba.conf",
            ),
            (Some("3D000"), _) => diagnostic(format!("{}: {}", self.name(), cause(error)), "check the URL's last part"),
            (_, sqlx::Error::Tls(_)) => diagnostic(
                format!("{}: no encrypted connection: {}", self.name(), cause(error)),
                if matches!(self.options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull) {
                    "name the certificate authority with `sslrootcert=…` in the URL"
                } else {
                    "`sslmode=prefer` goes on without encryption where the server offers none"
                },
            ),
            (_, sqlx::Error::Io(io)) if is_unknown_host(io) => diagnostic(
                format!("there is no host `{}`: {}", self.options.get_host(), io),
                "check the host of the source's URL",
            ),
            (_, sqlx::Error::Io(io)) => IngestError::transient(format!("{} cannot be reached: {io}", self.name())),
            _ => self.error(error),
        }
    }

    /// An error after the connection was made.
    pub fn error(&self, error: &sqlx::Error) -> IngestError {
        let place = self.name();
        if let Some(db) = database_error(error) {
            let message = format!("{place}: {}", db.message());
            return match db.code() {
                "42501" => IngestError::refused(
                    Diagnostic::error(codes::PERMISSION, message)
                        .at(self.span.clone(), "")
                        .hint(format!("grant it: `GRANT SELECT ON … TO {}`", self.options.get_username())),
                ),
                code => IngestError::Environment { transient: is_transient(code), message },
            };
        }
        match error {
            sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
                IngestError::transient(format!("{place}: the server has closed the connection"))
            }
            sqlx::Error::Io(io) => IngestError::transient(format!("{place}: the connection is gone: {io}")),
            sqlx::Error::Protocol(what) => IngestError::permanent(format!("{place}: unexpected answer: {what}")),
            other => IngestError::permanent(format!("{place}: {}", cause(other))),
        }
    }
}

fn database_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()
}

/// Conditions that pass (PostgreSQL documentation, appendix A): connection exceptions, lack of resources, operator
/// intervention, serialization failures and deadlocks, and a standby that cancels queries.
fn is_transient(code: &str) -> bool {
    matches!(code.get(..2), Some("08" | "53" | "57" | "58")) || matches!(code, "40001" | "40P01")
}

fn is_unknown_host(error: &std::io::Error) -> bool {
    let text = error.to_string();
    text.contains("Name or service not known")
        || text.contains("nodename nor servname")
        || text.contains("No address associated")
}

/// What an error says, without the driver's words around it.
fn cause(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(db) => db.message().to_owned(),
        sqlx::Error::Configuration(inner) | sqlx::Error::Tls(inner) => inner.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_server_is_named_without_its_password() {
        let span = Span::file(&Arc::from("sources/shop.yaml"));
        let server = Server::parse("postgres://me:secret@db.example.com:5433/shop", &span).unwrap();
        assert_eq!(server.name(), "shop on db.example.com:5433");
        let wrong = Server::parse("mysql://me:secret@host/db", &span).unwrap_err().to_string();
        assert!(wrong.contains("I020") && !wrong.contains("secret"), "{wrong}");
    }
}
