//! A connection from its first statement to its end.

use std::collections::HashMap;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::{DataRow, NoData, ParameterDescription};
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse, ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::ParameterStatus;
use polder_app::{Guest, SqlOptions, SqlSession};
use polder_base::statements;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::cancel::Cancellable;
use crate::command::Command;
use crate::door::{NAME, Shared};
use crate::frames::Frames;
use crate::frontend::{Bind, Formats, Frontend, Named};
use crate::problem::{Problem, sqlstate};
use crate::results::Results;
use crate::settings::{REPORTED, Settings};
use crate::startup::Start;
use crate::statement::{Parameter, Portal, PortalState, Statement, are_alike, description, one_text, said};

/// Prepared statements of one connection, and bytes of their texts together.
const MOST_STATEMENTS: usize = 2_000;
const MOST_TEXT: usize = 64 << 20;

/// Portals of one connection: each may be a statement that goes on.
const MOST_PORTALS: usize = 32;

/// Why a message was not answered as it was meant.
#[derive(Debug)]
enum Trouble {
    Told(Problem),
    /// The client has gone, or cannot be reached.
    Gone,
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Told(problem)
    }
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

type Answer<T = ()> = Result<T, Trouble>;

/// Where a connection stands between BEGIN and COMMIT.
#[derive(Debug)]
enum Transaction {
    None,
    /// All statements read the commit that the first of them found.
    Open(Option<String>),
    /// A statement failed: nothing is answered before the end.
    Failed,
}

pub(crate) struct Connection {
    frames: Frames,
    backend: Backend,
    shared: Arc<Shared>,
    guest: Guest,
    at: String,
    settings: Settings,
    cancel: Cancellable,
    transaction: Transaction,
    statements: HashMap<String, Arc<Statement>>,
    portals: HashMap<String, Portal>,
    /// After an error all is passed over up to the next `Sync`.
    skipping: bool,
}

impl Connection {
    pub(crate) fn new(frames: Frames, backend: Backend, shared: Arc<Shared>, start: Start) -> Self {
        let Start { guest, at, settings, cancel } = start;
        Self {
            frames,
            backend,
            shared,
            guest,
            at,
            settings,
            cancel,
            transaction: Transaction::None,
            statements: HashMap::new(),
            portals: HashMap::new(),
            skipping: false,
        }
    }

    /// Answers until the client or the server ends it.
    pub(crate) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => {
                    let _ = self.backend.say(shutdown().message());
                    break;
                }
                next = self.frames.next() => next,
            };
            let message = match next {
                Ok(Some(frame)) => Frontend::decode(frame),
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    let _ = self.backend.say(Problem::fatal(sqlstate::PROTOCOL_VIOLATION, error.to_string()).message());
                    break;
                }
                Err(_) => break,
            };
            let message = match message {
                Ok(Frontend::Terminate) => break,
                Ok(message) => message,
                Err(malformed) => {
                    // Where one message is not what it says, neither are those behind it.
                    let problem = Problem::fatal(sqlstate::PROTOCOL_VIOLATION, malformed.to_string());
                    let _ = self.backend.say(problem.message());
                    break;
                }
            };
            if self.message(message).await.is_err() {
                break;
            }
        }
        self.backend.close().await;
    }

    /// Answers a message; an error ends the connection.
    async fn message(&mut self, message: Frontend) -> Answer {
        if self.skipping && message != Frontend::Sync {
            return Ok(());
        }
        let extended = message.is_extended();
        let answered = AssertUnwindSafe(self.answer(message)).catch_unwind().await;
        let answered = answered.unwrap_or_else(|_| {
            Err(Problem::new(sqlstate::DEFECT, "a defect of Polder: the server goes on, and has told more").into())
        });
        let problem = match answered {
            Ok(()) => return Ok(()),
            Err(Trouble::Gone) => return Err(Trouble::Gone),
            Err(Trouble::Told(problem)) => problem,
        };
        let fatal = problem.fatal;
        self.backend.say(problem.message())?;
        if matches!(self.transaction, Transaction::Open(_)) {
            self.transaction = Transaction::Failed;
        }
        if fatal {
            return Err(Trouble::Gone);
        }
        self.skipping = extended;
        if extended {
            // Who asked with `Flush` waits for it, and no `Flush` is heard any more.
            return Ok(self.backend.flush().await?);
        }
        self.ready().await
    }

    async fn answer(&mut self, message: Frontend) -> Answer {
        match message {
            Frontend::Query(sql) => self.simple(&sql).await,
            Frontend::Parse { statement, sql, types } => self.parse(statement, sql, &types).await,
            Frontend::Bind(bind) => self.bind(bind),
            Frontend::Describe(named) => self.describe(&named),
            Frontend::Execute { portal, rows } => self.execute(&portal, rows).await,
            Frontend::Close(named) => self.close(named),
            Frontend::Flush => Ok(self.backend.flush().await?),
            Frontend::Sync => {
                self.skipping = false;
                if matches!(self.transaction, Transaction::None) {
                    self.portals.clear();
                }
                self.ready().await
            }
            Frontend::Password(_) => {
                Err(Problem::new(sqlstate::PROTOCOL_VIOLATION, "nobody asked for a password").into())
            }
            // What is left of a COPY that was refused.
            Frontend::Copy | Frontend::Terminate => Ok(()),
        }
    }

    async fn ready(&mut self) -> Answer {
        let status = match self.transaction {
            Transaction::None => TransactionStatus::Idle,
            Transaction::Open(_) => TransactionStatus::Transaction,
            Transaction::Failed => TransactionStatus::Error,
        };
        self.backend.say(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(status)))?;
        Ok(self.backend.flush().await?)
    }

    fn say(&mut self, message: PgWireBackendMessage) -> Answer {
        Ok(self.backend.say(message)?)
    }

    fn complete(&mut self, tag: impl Into<String>) -> Answer {
        self.say(PgWireBackendMessage::CommandComplete(CommandComplete::new(tag.into())))
    }

    // ---- simple queries ----

    async fn simple(&mut self, text: &str) -> Answer {
        let split = statements::split(text);
        let mut all = split.statements;
        if !statements::is_blank(split.rest) {
            all.push(split.rest.trim());
        }
        if all.is_empty() {
            self.say(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new()))?;
        }
        for sql in all {
            let command = Command::of(sql);
            self.may_answer(&command)?;
            match command {
                Command::Query => {
                    let mut results = self.query(sql, &[], Formats::TEXT).await?;
                    let columns = description(results.schema(), &Formats::TEXT);
                    self.say(PgWireBackendMessage::RowDescription(columns))?;
                    self.send(&mut results, u64::MAX).await?;
                    self.complete(format!("SELECT {}", results.given))?;
                }
                Command::Show(name) => {
                    let (name, value) = self.settings.show(&name)?;
                    let columns = description(&one_text(name), &Formats::TEXT);
                    self.say(PgWireBackendMessage::RowDescription(columns))?;
                    self.say(one_value(&value))?;
                    self.complete("SHOW")?;
                }
                own => self.own(own)?,
            }
        }
        self.ready().await
    }

    /// After an error in a transaction nothing is answered but its end.
    fn may_answer(&self, command: &Command) -> Result<(), Problem> {
        if matches!(self.transaction, Transaction::Failed) && !matches!(command, Command::End { .. }) {
            let message = "a statement of this transaction failed: nothing is answered until ROLLBACK";
            return Err(Problem::new(sqlstate::IN_FAILED_TRANSACTION, message));
        }
        Ok(())
    }

    /// Does what needs no session.
    fn own(&mut self, command: Command) -> Answer {
        let mut tag = command.tag();
        match command {
            Command::Begin => {
                if matches!(self.transaction, Transaction::None) {
                    self.transaction = Transaction::Open(None);
                    self.settings.begin_transaction();
                }
            }
            Command::End { commit } => {
                let failed = matches!(self.transaction, Transaction::Failed);
                if failed {
                    tag = "ROLLBACK";
                }
                self.transaction = Transaction::None;
                self.portals.clear();
                for (name, value) in self.settings.end_transaction(commit && !failed) {
                    self.say(PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name.to_owned(), value)))?;
                }
            }
            Command::Set { name, value, local } => {
                let reported = match local {
                    true => self.settings.set_local(&name, value.as_deref())?,
                    false => self.settings.set(&name, value.as_deref())?,
                };
                if let Some((name, value)) = reported {
                    self.say(PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name.to_owned(), value)))?;
                }
            }
            Command::Reset { tag } => {
                self.settings.reset();
                for name in REPORTED {
                    let (name, value) = self.settings.show(name)?;
                    self.say(PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name.to_owned(), value)))?;
                }
                if tag == "DISCARD ALL" {
                    self.statements.clear();
                    self.portals.clear();
                }
            }
            Command::Nothing { .. } => {}
            Command::Deallocate(Some(name)) => {
                self.statements.remove(&name);
            }
            Command::Deallocate(None) => self.statements.clear(),
            // Answered with a row by those who call.
            Command::Show(_) | Command::Query => {}
        }
        self.complete(tag)
    }

    // ---- extended queries ----

    async fn parse(&mut self, name: String, sql: String, types: &[u32]) -> Answer {
        if !name.is_empty() && self.statements.contains_key(&name) {
            let message = format!("there is a prepared statement `{name}` already");
            return Err(Problem::new(sqlstate::DUPLICATE_STATEMENT, message).into());
        }
        let statement = self.prepare(sql, types).await?;
        let text: usize = self.statements.values().map(|known| known.sql.len()).sum();
        if self.statements.len() >= MOST_STATEMENTS || text + statement.sql.len() > MOST_TEXT {
            let message = format!("this connection has {} prepared statements already", self.statements.len());
            return Err(Problem::new(sqlstate::TOO_MUCH, message).hint("DEALLOCATE those that are not needed").into());
        }
        self.statements.insert(name, Arc::new(statement));
        self.say(PgWireBackendMessage::ParseComplete(ParseComplete::new()))
    }

    async fn prepare(&mut self, sql: String, types: &[u32]) -> Answer<Statement> {
        let split = statements::split(&sql);
        if split.statements.is_empty() && statements::is_blank(split.rest) {
            return Ok(Statement { command: None, sql, parameters: Vec::new(), schema: None });
        }
        if split.statements.len() + usize::from(!statements::is_blank(split.rest)) > 1 {
            let message = "a prepared statement is one statement";
            return Err(Problem::new(sqlstate::SYNTAX, message).hint("send them one after the other").into());
        }
        let command = Command::of(&sql);
        self.may_answer(&command)?;
        match &command {
            Command::Query => {
                let session = self.session().await?;
                let stop = self.cancel.statement();
                let wanted = said(types)?;
                let prepared = self.waiting(session.prepare(&sql, &wanted), &stop).await?;
                let prepared = prepared.map_err(|error| Problem::of(&error, &sql))?;
                let said_of = |at: usize| types.get(at).copied().unwrap_or_default();
                let parameters = prepared.parameters.into_iter().enumerate();
                let parameters = parameters.map(|(at, of)| Parameter::new(of, said_of(at))).collect();
                Ok(Statement { command: Some(command), sql, parameters, schema: Some(prepared.schema) })
            }
            Command::Show(name) => {
                let schema = Some(one_text(self.settings.show(name)?.0));
                Ok(Statement { command: Some(command), sql, parameters: Vec::new(), schema })
            }
            _ => Ok(Statement { command: Some(command), sql, parameters: Vec::new(), schema: None }),
        }
    }

    fn statement(&self, name: &str) -> Result<Arc<Statement>, Problem> {
        self.statements.get(name).cloned().ok_or_else(|| {
            Problem::new(sqlstate::INVALID_STATEMENT_NAME, format!("there is no prepared statement `{name}`"))
        })
    }

    fn bind(&mut self, bind: Bind) -> Answer {
        let statement = self.statement(&bind.statement)?;
        let name = bind.portal.clone();
        let portal = Portal::new(bind, statement)?;
        if self.portals.len() >= MOST_PORTALS && !self.portals.contains_key(&name) {
            let message = format!("this connection has {MOST_PORTALS} portals already");
            return Err(Problem::new(sqlstate::TOO_MUCH, message).into());
        }
        self.portals.insert(name, portal);
        self.say(PgWireBackendMessage::BindComplete(BindComplete::new()))
    }

    fn describe(&mut self, named: &Named) -> Answer {
        let (statement, formats) = match named {
            Named::Statement(name) => {
                let statement = self.statement(name)?;
                let oids = statement.parameters.iter().map(|parameter| parameter.oid).collect();
                self.say(PgWireBackendMessage::ParameterDescription(ParameterDescription::new(oids)))?;
                (statement, Formats::TEXT)
            }
            Named::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (Arc::clone(&portal.statement), portal.formats.clone())
            }
        };
        match &statement.schema {
            Some(schema) => self.say(PgWireBackendMessage::RowDescription(description(schema, &formats))),
            None => self.say(PgWireBackendMessage::NoData(NoData::new())),
        }
    }

    fn close(&mut self, named: Named) -> Answer {
        match named {
            Named::Statement(name) => _ = self.statements.remove(&name),
            Named::Portal(name) => _ = self.portals.remove(&name),
        }
        self.say(PgWireBackendMessage::CloseComplete(CloseComplete::new()))
    }

    async fn execute(&mut self, name: &str, rows: u32) -> Answer {
        // Put back once it has done its part: an error leaves none behind.
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let Some(command) = portal.statement.command.clone() else {
            self.say(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new()))?;
            self.portals.insert(name.to_owned(), portal);
            return Ok(());
        };
        self.may_answer(&command)?;
        match command {
            Command::Query => self.execute_query(&mut portal, rows).await?,
            Command::Show(setting) => {
                let (_, value) = self.settings.show(&setting)?;
                self.say(one_value(&value))?;
                self.complete("SHOW")?;
            }
            own => return self.own(own),
        }
        self.portals.insert(name.to_owned(), portal);
        Ok(())
    }

    async fn execute_query(&mut self, portal: &mut Portal, rows: u32) -> Answer {
        if matches!(portal.state, PortalState::Ready) {
            let results = self.query(&portal.statement.sql, &portal.values, portal.formats.clone()).await?;
            if portal.statement.schema.as_ref().is_some_and(|told| !are_alike(told, results.schema())) {
                let message =
                    "the tables have changed since the statement was prepared, and it gives other columns now";
                return Err(Problem::new(sqlstate::FEATURE_NOT_SUPPORTED, message).hint("prepare it again").into());
            }
            portal.state = PortalState::Running(Box::new(results));
        }
        let PortalState::Running(results) = &mut portal.state else { return self.complete("SELECT 0") };
        results.stop = self.cancel.statement();
        let most = if rows == 0 { u64::MAX } else { u64::from(rows) };
        let before = results.given;
        if self.send(results, most).await? {
            return self.say(PgWireBackendMessage::PortalSuspended(PortalSuspended::new()));
        }
        let given = results.given - before;
        portal.state = PortalState::Done;
        self.complete(format!("SELECT {given}"))
    }

    // ---- sessions ----

    /// A session at the ref as it is now, or as the transaction found it.
    async fn session(&mut self) -> Result<SqlSession, Problem> {
        let pinned = if let Transaction::Open(Some(commit)) = &self.transaction { Some(commit.clone()) } else { None };
        let options = SqlOptions {
            at: Some(pinned.unwrap_or_else(|| self.at.clone())),
            principal: Some(self.guest.principal.clone()),
            roles: self.guest.roles.clone(),
            timeout: self.settings.timeout(),
            search: self.settings.search().map(str::to_owned),
            ..SqlOptions::default()
        };
        let app = self.shared.server.app();
        let session = app.session(&options).await.map_err(|error| Problem::of(&error, ""))?;
        if let Transaction::Open(found) = &mut self.transaction {
            found.get_or_insert_with(|| session.inner().at().0.clone());
        }
        Ok(session)
    }

    /// Runs a statement up to its first rows.
    async fn query(&mut self, sql: &str, values: &[polder_app::ScalarValue], formats: Formats) -> Answer<Results> {
        let measured = self.shared.server.metrics().statement(NAME);
        let stop = self.cancel.statement();
        let session = self.session().await?;
        match self.waiting(session.query_with(sql, values), &stop).await? {
            Ok(result) => Ok(Results::new(result, session, sql, formats, stop, measured)),
            Err(error) => {
                let problem = Problem::of(&error, sql);
                measured.end(problem.outcome());
                Err(problem.into())
            }
        }
    }

    /// Waits for something that a statement does, unless it is cancelled, the client goes, or the server ends.
    async fn waiting<T>(&mut self, work: impl Future<Output = T>, stop: &CancellationToken) -> Answer<T> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = stop.cancelled() => Err(Problem::cancelled("cancelled as the client asked").into()),
            () = self.shared.stop.cancelled() => Err(shutdown().into()),
            () = self.frames.gone() => Err(Trouble::Gone),
        }
    }

    /// Sends rows, `most` at most. `true`: there are more.
    async fn send(&mut self, results: &mut Results, most: u64) -> Answer<bool> {
        let stop = results.stop.clone();
        let mut left = most;
        loop {
            if !self.waiting(results.has_row(), &stop).await?? {
                return Ok(false);
            }
            if left == 0 {
                return Ok(true);
            }
            left -= results.write(left, self.backend.buffer(), Backend::is_enough);
            if self.backend.has_enough() {
                // A client that does not read is waited for, but not against its own word or the end of the server.
                tokio::select! {
                    sent = self.backend.flush() => sent?,
                    () = stop.cancelled() => return Err(Trouble::Gone),
                    () = self.shared.stop.cancelled() => return Err(Trouble::Gone),
                }
            }
        }
    }
}

fn shutdown() -> Problem {
    Problem::fatal(sqlstate::SHUTDOWN, "the server is being stopped")
}

fn no_portal(name: &str) -> Problem {
    Problem::new(sqlstate::INVALID_CURSOR_NAME, format!("there is no portal `{name}`"))
}

/// A row of one text.
fn one_value(text: &str) -> PgWireBackendMessage {
    let mut row = bytes::BytesMut::new();
    row.extend_from_slice(&u32::try_from(text.len()).unwrap_or_default().to_be_bytes());
    row.extend_from_slice(text.as_bytes());
    PgWireBackendMessage::DataRow(DataRow::new(row, 1))
}
