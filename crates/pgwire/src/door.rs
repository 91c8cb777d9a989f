//! Listening, and a task for each connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use polder_app::{Door, Doors, Entrance, Listen, Server};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::cancel::Cancels;
use crate::connection::Connection;
use crate::frames::Frames;
use crate::problem::{Problem, sqlstate};
use crate::startup;

pub(crate) const NAME: &str = "postgres";

const PORT: u16 = 5433;

/// Connections at once.
const MOST: usize = 1000;

/// Connections at once of which nobody knows yet whose they are.
const MOST_STARTING: usize = 500;

/// Who has not said who they are by then is let go.
const STARTUP: Duration = Duration::from_secs(30);

/// After an error of accepting, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// What connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) server: Arc<Server>,
    pub(crate) cancels: Arc<Cancels>,
    pub(crate) trusting: bool,
    pub(crate) stop: CancellationToken,
}

/// The door for PostgreSQL's clients.
#[derive(Debug, Clone, Copy, Default)]
pub struct PostgresDoor;

#[async_trait::async_trait]
impl Door for PostgresDoor {
    fn name(&self) -> &'static str {
        NAME
    }

    fn usual_port(&self) -> u16 {
        PORT
    }

    fn greeting(&self, address: SocketAddr) -> String {
        format!("psql -h {} -p {} main", address.ip(), address.port())
    }

    fn listen(&self, doors: &Doors) -> Listen {
        doors.postgres
    }

    async fn serve(self: Arc<Self>, entrance: Entrance) {
        let Entrance { listener, server, trusting, stop } = entrance;
        let shared = Arc::new(Shared { server, cancels: Arc::default(), trusting, stop: stop.clone() });
        let (places, starting) = (Arc::new(Semaphore::new(MOST)), Arc::new(Semaphore::new(MOST_STARTING)));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
                // What has ended is forgotten.
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((socket, _)) => {
                    // Who has not said who they are takes no place of those who have.
                    let Ok(starting) = Arc::clone(&starting).try_acquire_owned() else { continue };
                    connections.spawn(converse(socket, Arc::clone(&shared), Arc::clone(&places), starting));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        while connections.join_next().await.is_some() {}
    }
}

/// Speaks with one client to the end. What goes wrong with the socket is the client's to know.
async fn converse(socket: TcpStream, shared: Arc<Shared>, places: Arc<Semaphore>, started: OwnedSemaphorePermit) {
    // Answers are gathered here, and go out when they are complete.
    let _ = socket.set_nodelay(true);
    let (read, write) = socket.into_split();
    let (mut frames, mut backend) = (Frames::new(read), Backend::new(write));
    let starting = tokio::select! {
        () = shared.stop.cancelled() => return,
        starting = tokio::time::timeout(STARTUP, startup::start(&mut frames, &mut backend, &shared)) => starting,
    };
    drop(started);
    let Ok(Ok(Some(start))) = starting else { return backend.close().await };
    let _place = match places.try_acquire() {
        Ok(place) => place,
        Err(_) => {
            let full = Problem::fatal(sqlstate::TOO_MANY_CONNECTIONS, format!("{MOST} clients are connected already"));
            let _ = backend.say(full.message());
            return backend.close().await;
        }
    };
    let _counted = shared.server.metrics().connection(NAME);
    Connection::new(frames, backend, Arc::clone(&shared), start).run().await;
}
