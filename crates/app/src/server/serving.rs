//! Opening the doors, and closing them.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use polder_project::Listen;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::door::trusts;
use super::lock::ServerLock;
use super::{Address, Door, Entrance, Server, ServerLog, ServerNote, reload, runs};
use crate::{App, AppError, Scheduler, codes};

/// Ports that are tried, from the usual one on.
const TRIES: u16 = 100;

/// What goes on when a server is stopped gets so long to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often there is a look at what is past its keep; most looks find that it was done today.
const HOUSEKEEPING: Duration = Duration::from_secs(3600);

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct ServingOptions {
    pub doors: Vec<Arc<dyn Door>>,
    pub log: Arc<dyn ServerLog>,
}

/// A server whose doors are open.
#[derive(Debug)]
pub struct Serving {
    server: Arc<Server>,
    addresses: Vec<Address>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    log: Arc<dyn ServerLog>,
    /// Given back last: as long as anything goes on, this is the project's server.
    _lock: ServerLock,
}

impl Serving {
    /// Opens the doors of a project.
    ///
    /// # Errors
    /// Files with mistakes, a server of the project that lives already, an address that cannot be listened at.
    pub async fn start(app: App, options: ServingOptions) -> Result<Self, AppError> {
        app.loaded.valid()?;
        let mut lock = ServerLock::take(&app)?;
        let doors = app.loaded.project.settings.doors.clone();
        let mut open = Vec::new();
        for door in options.doors {
            if let Some(listener) = listen(&*door, door.listen(&doors)).await? {
                open.push((door, listener));
            }
        }
        if open.is_empty() {
            let refused = AppError::refused(codes::REFUSED, "every door is `off`: there is nothing to serve");
            return Err(refused.hint("`doors:` in polder.yaml"));
        }
        let server = Arc::new(Server::new(app)?);
        let stop = CancellationToken::new();
        let (mut tasks, mut addresses) = (JoinSet::new(), Vec::new());
        for (door, listener) in open {
            let address = listener.local_addr().map_err(|e| unusable(&*door, None, &e))?;
            addresses.push(Address { door: door.name().to_owned(), address, greeting: door.greeting(address) });
            let trusting = trusts(address, doors.tokens);
            let entrance = Entrance { listener, server: Arc::clone(&server), trusting, stop: stop.clone() };
            tasks.spawn(door.serve(entrance));
        }
        if let Err(error) = lock.note(&addresses) {
            let told = format!("where this server listens could not be noted for other commands: {error}");
            options.log.note(&ServerNote::Trouble(told));
        }
        tasks.spawn(reload::follow(Arc::clone(&server), Arc::clone(&options.log), stop.clone()));
        let notes = runs::PipelineNotes { server: Arc::clone(&server), log: Arc::clone(&options.log) };
        let scheduler = Scheduler::new(server.apps(), Arc::new(notes));
        tasks.spawn(scheduler.work(stop.clone()));
        tasks.spawn(housekeep(Arc::clone(&server), Arc::clone(&options.log), stop.clone()));
        Ok(Self { server, addresses, tasks, stop, log: options.log, _lock: lock })
    }

    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The doors that are open.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Serves until `end` is cancelled; then closes the doors, and waits a while for what goes on.
    pub async fn until(mut self, end: CancellationToken) {
        loop {
            tokio::select! {
                () = end.cancelled() => break,
                Some(ended) = self.tasks.join_next() => self.note_end(ended),
            }
        }
        self.stop.cancel();
        let closing = async {
            while let Some(ended) = self.tasks.join_next().await {
                self.note_end(ended);
            }
        };
        if tokio::time::timeout(PATIENCE, closing).await.is_err() {
            self.log.note(&ServerNote::Trouble("something did not end in time, and was left".to_owned()));
        }
    }

    /// No task ends before it is told to, but by a defect.
    fn note_end(&self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            self.log.note(&ServerNote::Trouble("a part of the server ended by a defect of Polder".to_owned()));
        }
    }
}

/// Listens for a door; `None`: it is off.
async fn listen(door: &dyn Door, listen: Listen) -> Result<Option<TcpListener>, AppError> {
    let usual = door.usual_port();
    match listen {
        Listen::Off => Ok(None),
        Listen::At(address) => {
            TcpListener::bind(address).await.map(Some).map_err(|e| unusable(door, Some(address), &e))
        }
        Listen::Usual => {
            let mut last = None;
            for port in (0..TRIES).filter_map(|n| usual.checked_add(n)) {
                match TcpListener::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await {
                    Ok(listener) => return Ok(Some(listener)),
                    Err(e) if e.kind() == io::ErrorKind::AddrInUse => last = Some(e),
                    Err(e) => return Err(unusable(door, None, &e)),
                }
            }
            let error = last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into());
            Err(unusable(door, None, &error))
        }
    }
}

fn unusable(door: &dyn Door, address: Option<SocketAddr>, error: &io::Error) -> AppError {
    let name = door.name();
    let at = address.map_or_else(String::new, |address| format!(" at {address}"));
    let refused = AppError::refused(codes::PORT, format!("the door `{name}` cannot listen{at}: {error}"));
    refused.hint(format!("`doors: {{ {name}: … }}` in polder.yaml takes another port, an address, or `off`"))
}

async fn housekeep(server: Arc<Server>, log: Arc<dyn ServerLog>, stop: CancellationToken) {
    let mut warned = HashSet::new();
    loop {
        let app = server.app();
        if let Err(error) = app.housekeep().await {
            log.note(&ServerNote::Trouble(format!("what is past its keep was not removed: {error}")));
        }
        // A store that does not answer has been told of.
        for open in app.expiring().await.unwrap_or_default() {
            let run = open.record.id;
            if warned.insert(run) {
                log.note(&ServerNote::Expiring { run, expires: open.expires });
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HOUSEKEEPING) => {}
        }
    }
}
