//! Listening, and a task for each connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use polder_app::{Door, Doors, Entrance, Listen};
use tokio::sync::Semaphore;

use crate::routes;

pub(crate) const NAME: &str = "http";

const PORT: u16 = 7070;

/// Connections at once. Whoever comes then waits until one is closed.
const MOST: usize = 2000;

/// Who has not said what they want by then is let go.
const HEADERS: Duration = Duration::from_secs(30);

/// Bytes of the headers of one request, and how many there may be.
const HEADER_BYTES: usize = 64 << 10;
const HEADER_COUNT: usize = 100;

/// What goes on when the server is stopped gets so long.
const GRACE: Duration = Duration::from_secs(5);

/// After an error of accepting, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// The door for browsers, `curl`, load balancers and Prometheus.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpDoor;

#[async_trait::async_trait]
impl Door for HttpDoor {
    fn name(&self) -> &'static str {
        NAME
    }

    fn usual_port(&self) -> u16 {
        PORT
    }

    fn greeting(&self, address: SocketAddr) -> String {
        format!("http://{address}")
    }

    fn listen(&self, doors: &Doors) -> Listen {
        doors.http
    }

    async fn serve(self: Arc<Self>, entrance: Entrance) {
        let Entrance { listener, server, trusting, stop } = entrance;
        let service = TowerToHyperService::new(routes::router(Arc::clone(&server), trusting, stop.clone()));
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(MOST));
        loop {
            let accepted = async {
                // The semaphore is never closed.
                let place = Arc::clone(&places).acquire_owned().await.ok();
                (listener.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accepted => accepted,
            };
            let socket = match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let _ = socket.set_nodelay(true);
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .max_buf_size(HEADER_BYTES)
                .max_headers(HEADER_COUNT)
                .serve_connection(TokioIo::new(socket), service.clone());
            let connection = graceful.watch(connection);
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let _counted = server.metrics().connection(NAME);
                // What is wrong with a connection is its client's to know.
                let _ = connection.await;
                drop(place);
            });
        }
        // Who is still reading then is cut off with the process.
        let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    }
}
