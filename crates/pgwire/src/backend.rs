//! What is said to clients: messages are gathered, and sent when there is something to wait for or enough of them.

use std::io;

use bytes::BytesMut;
use pgwire::messages::PgWireBackendMessage;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

/// As many bytes are sent at once.
const ENOUGH: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Backend {
    socket: OwnedWriteHalf,
    buffer: BytesMut,
}

impl Backend {
    pub(crate) fn new(socket: OwnedWriteHalf) -> Self {
        Self { socket, buffer: BytesMut::with_capacity(8 << 10) }
    }

    pub(crate) fn say(&mut self, message: PgWireBackendMessage) -> io::Result<()> {
        message.encode(&mut self.buffer).map_err(io::Error::other)
    }

    /// The bytes that are gathered, to write messages of one's own behind them.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    pub(crate) fn has_enough(&self) -> bool {
        Self::is_enough(&self.buffer)
    }

    /// Whether gathered bytes are better sent than kept.
    pub(crate) fn is_enough(buffer: &BytesMut) -> bool {
        buffer.len() >= ENOUGH
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.socket.write_all(&self.buffer).await?;
        self.buffer.clear();
        Ok(())
    }

    pub(crate) async fn close(mut self) {
        // The client may have gone before.
        let _ = self.flush().await;
        let _ = self.socket.shutdown().await;
    }
}
