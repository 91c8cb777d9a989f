//! The beginning of a connection: who is it, and which ref do they want.

use std::io;

use bytes::Bytes;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::{GssEncResponse, ReadyForQuery, SslResponse, TransactionStatus};
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey};
use polder_app::{Admission, AppError, CatalogError, Claim, Guest};

use crate::backend::Backend;
use crate::cancel::Cancellable;
use crate::door::Shared;
use crate::frames::Frames;
use crate::frontend::{Frontend, Startup};
use crate::problem::{Problem, sqlstate};
use crate::settings::{REPORTED, Settings};

/// Version 3.0 of the protocol.
const PROTOCOL: i32 = 3 << 16;

/// The ref of those who do not name one.
const MAIN: &str = "main";

/// A connection whose client is known.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) guest: Guest,
    /// The ref.
    pub(crate) at: String,
    pub(crate) settings: Settings,
    pub(crate) cancel: Cancellable,
}

/// Speaks with a client until it may ask; `None`: it goes no further, and was told why.
pub(crate) async fn start(frames: &mut Frames, backend: &mut Backend, shared: &Shared) -> io::Result<Option<Start>> {
    let Some(hello) = hello(frames, backend, shared).await? else { return Ok(None) };
    match admit(hello, frames, backend, shared).await? {
        Ok(start) => {
            frames.admit();
            greet(&start, backend)?;
            backend.flush().await?;
            Ok(Some(start))
        }
        Err(problem) => {
            backend.say(problem.message())?;
            backend.flush().await?;
            Ok(None)
        }
    }
}

/// What the client says about itself.
struct Hello {
    user: String,
    at: Option<String>,
    others: Vec<(String, String)>,
}

async fn hello(frames: &mut Frames, backend: &mut Backend, shared: &Shared) -> io::Result<Option<Hello>> {
    loop {
        let Some(body) = frames.startup().await? else { return Ok(None) };
        let (minor, parameters) = match Startup::decode(body) {
            Ok(Startup::Ssl) => {
                refuse(backend, PgWireBackendMessage::SslResponse(SslResponse::Refuse)).await?;
                continue;
            }
            Ok(Startup::Gss) => {
                refuse(backend, PgWireBackendMessage::GssEncResponse(GssEncResponse::Refuse)).await?;
                continue;
            }
            Ok(Startup::Cancel { process, secret }) => {
                shared.cancels.cancel(process, &secret);
                return Ok(None);
            }
            Ok(Startup::Hello { minor, parameters }) => (minor, parameters),
            Err(malformed) => {
                return fail(backend, Problem::fatal(sqlstate::PROTOCOL_VIOLATION, malformed.to_string())).await;
            }
        };
        let (options, parameters): (Vec<_>, Vec<_>) = parameters.into_iter().partition(|(n, _)| n.starts_with("_pq_."));
        if minor > 0 || !options.is_empty() {
            let options = options.into_iter().map(|(name, _)| name).collect();
            let answer = NegotiateProtocolVersion::new(PROTOCOL, options);
            backend.say(PgWireBackendMessage::NegotiateProtocolVersion(answer))?;
        }
        return match said(parameters) {
            Ok(hello) => Ok(Some(hello)),
            Err(problem) => fail(backend, problem).await,
        };
    }
}

async fn refuse(backend: &mut Backend, answer: PgWireBackendMessage) -> io::Result<()> {
    backend.say(answer)?;
    backend.flush().await
}

async fn fail<T>(backend: &mut Backend, problem: Problem) -> io::Result<Option<T>> {
    backend.say(problem.message())?;
    backend.flush().await?;
    Ok(None)
}

fn said(parameters: Vec<(String, String)>) -> Result<Hello, Problem> {
    let (mut user, mut at, mut others) = (None, None, Vec::new());
    for (name, value) in parameters {
        match name.as_str() {
            "user" => user = Some(value),
            "database" => at = Some(value).filter(|name| !name.is_empty()),
            "replication" if matches!(value.as_str(), "" | "false" | "off" | "no" | "0") => {}
            "replication" => {
                return Err(Problem::fatal(sqlstate::FEATURE_NOT_SUPPORTED, "there is no replication from here"));
            }
            "options" => others.extend(options(&value)?),
            _ => others.push((name, value)),
        }
    }
    let user = user.filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| Problem::fatal(sqlstate::INVALID_AUTHORIZATION, "a user is missing"))?;
    Ok(Hello { user, at, others })
}

/// `-c name=value --other=value`, as libpq's `options` has it.
fn options(text: &str) -> Result<Vec<(String, String)>, Problem> {
    let mut words = text.split_whitespace();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--") {
            Some(setting) => Some(setting),
            None if word == "-c" => words.next(),
            None => word.strip_prefix("-c"),
        };
        let Some((name, value)) = setting.and_then(|setting| setting.split_once('=')) else {
            let message = format!("`{word}` is no option: they are written `-c name=value`");
            return Err(Problem::fatal(sqlstate::SYNTAX, message));
        };
        settings.push((name.to_owned(), value.to_owned()));
    }
    Ok(settings)
}

async fn admit(
    hello: Hello,
    frames: &mut Frames,
    backend: &mut Backend,
    shared: &Shared,
) -> io::Result<Result<Start, Problem>> {
    let mut claim = Claim { user: Some(&hello.user), token: None, trusting: shared.trusting };
    let mut admission = shared.server.admit(claim).await;
    let token;
    if matches!(admission, Ok(Admission::TokenNeeded)) {
        backend.say(PgWireBackendMessage::Authentication(Authentication::CleartextPassword))?;
        backend.flush().await?;
        let Some(frame) = frames.next().await? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        match Frontend::decode(frame) {
            Ok(Frontend::Password(given)) => token = given,
            Ok(_) => return Ok(Err(Problem::fatal(sqlstate::PROTOCOL_VIOLATION, "a password was expected"))),
            Err(e) => return Ok(Err(Problem::fatal(sqlstate::PROTOCOL_VIOLATION, e.to_string()))),
        }
        claim.token = Some(&token);
        admission = shared.server.admit(claim).await;
    }
    let guest = match admission {
        Ok(Admission::Granted(guest)) => guest,
        Ok(Admission::TokenNeeded) => {
            let problem = Problem::fatal(sqlstate::INVALID_PASSWORD, "a token is needed as the password");
            return Ok(Err(problem.hint("`polder token NAME` makes one")));
        }
        Ok(Admission::Refused(why)) => return Ok(Err(Problem::fatal(sqlstate::INVALID_PASSWORD, why))),
        Err(error) => return Ok(Err(Problem { fatal: true, ..Problem::of(&error, "") })),
    };
    Ok(enter(hello, guest, shared).await)
}

/// Names the ref and takes the settings.
async fn enter(hello: Hello, guest: Guest, shared: &Shared) -> Result<Start, Problem> {
    let mut settings = Settings::of(&hello.user);
    for (name, value) in &hello.others {
        settings.set(name, Some(value)).map_err(|problem| Problem { fatal: true, ..problem })?;
    }
    settings.begin();
    let at = which_ref(hello.at, &hello.user, shared).await?;
    let app = shared.server.app();
    let secret = app.catalog().system().random().to_be_bytes();
    let cancel = shared.cancels.enter(Bytes::copy_from_slice(&secret[..4]));
    Ok(Start { guest, at, settings, cancel })
}

/// The database is the ref. Clients that are not told one take the user's name, or `postgres`, for it.
async fn which_ref(named: Option<String>, user: &str, shared: &Shared) -> Result<String, Problem> {
    let app = shared.server.app();
    let Some(name) = named else { return Ok(MAIN.to_owned()) };
    match app.catalog().resolve(&name).await {
        Ok(_) => Ok(name),
        Err(CatalogError::UnknownRef { .. } | CatalogError::UnknownCommit { .. })
            if name == user || name == "postgres" =>
        {
            Ok(MAIN.to_owned())
        }
        Err(error) => {
            let problem = Problem::of(&AppError::from(error), "");
            let hint = problem
                .hint
                .clone()
                .unwrap_or_else(|| "the database is the ref: `main`, `run/12`, `main@2026-11-20`".to_owned());
            Err(Problem { fatal: true, ..problem }.hint(hint))
        }
    }
}

fn greet(start: &Start, backend: &mut Backend) -> io::Result<()> {
    backend.say(PgWireBackendMessage::Authentication(Authentication::Ok))?;
    for name in REPORTED {
        let (name, value) = start.settings.show(name).map_err(|problem| io::Error::other(problem.message))?;
        backend.say(PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name.to_owned(), value)))?;
    }
    let secret = start.cancel.secret().first_chunk::<4>().copied().unwrap_or_default();
    let key = BackendKeyData::new(start.cancel.process, SecretKey::I32(i32::from_be_bytes(secret)));
    backend.say(PgWireBackendMessage::BackendKeyData(key))?;
    backend.say(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(TransactionStatus::Idle)))
}
