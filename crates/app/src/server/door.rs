//! What a door is to a server.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use polder_project::{Doors, Listen, Tokens};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Server;

/// A protocol that people and programs come in by.
#[async_trait::async_trait]
pub trait Door: Send + Sync + fmt::Debug {
    /// What it is called in messages, in `doors:` of `polder.yaml` and in metrics: `postgres`, `http`.
    fn name(&self) -> &'static str;

    /// Where it listens unless told otherwise, if that is free.
    fn usual_port(&self) -> u16;

    /// How a person reaches it: a line to paste.
    fn greeting(&self, address: SocketAddr) -> String;

    fn listen(&self, doors: &Doors) -> Listen;

    /// Answers until the entrance closes; then ends what goes on within a few seconds. A client never ends it.
    async fn serve(self: Arc<Self>, entrance: Entrance);
}

/// What a door needs to serve.
#[derive(Debug)]
pub struct Entrance {
    pub listener: TcpListener,
    pub server: Arc<Server>,
    /// Those who come are who they say they are: nobody reaches this door from another machine.
    pub trusting: bool,
    pub stop: CancellationToken,
}

/// A door that is open.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Address {
    pub door: String,
    pub address: SocketAddr,
    /// How a person reaches it: a line to paste.
    pub greeting: String,
}

/// Whether a door at an address may take people for who they say they are.
pub(super) fn trusts(address: SocketAddr, tokens: Tokens) -> bool {
    address.ip().is_loopback() && tokens == Tokens::Remote
}
