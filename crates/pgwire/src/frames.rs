//! Messages as bytes: where one ends and the next begins, and what a client may send at most.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::tcp::OwnedReadHalf;

/// The first message has no type, and nothing in it is long.
const STARTUP_MAX: usize = 16 << 10;

/// The longest message: a statement with its values. Nobody's fits who is not loading data, which is not done here.
const MESSAGE_MAX: usize = 32 << 20;

/// What a client may send ahead while its statement goes on.
const AHEAD_MAX: usize = 1 << 20;

/// A message of a client, not yet understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) body: Bytes,
}

/// Splits what a client sends into messages. The buffer grows with what came, never with what a length promises.
#[derive(Debug)]
pub(crate) struct Frames {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    /// The longest message that is taken.
    max: usize,
}

impl Frames {
    pub(crate) fn new(socket: OwnedReadHalf) -> Self {
        Self { socket, buffer: BytesMut::with_capacity(4 << 10), max: STARTUP_MAX }
    }

    /// The client is known: it may send statements from now on.
    pub(crate) fn admit(&mut self) {
        self.max = MESSAGE_MAX;
    }

    /// The body of the first message, or of one of those that may come before it; `None`: the client has gone.
    pub(crate) async fn startup(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(body) = take_startup(&mut self.buffer)? {
                return Ok(Some(body));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// The next message; `None`: the client has gone.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = take(&mut self.buffer, self.max)? {
                return Ok(Some(frame));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Comes back once the client has gone. What it sends meanwhile is kept. May be dropped at any time.
    pub(crate) async fn gone(&mut self) {
        loop {
            if self.buffer.len() >= AHEAD_MAX {
                // Whoever sends so much is there.
                return std::future::pending().await;
            }
            match self.more().await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// `false`: the client has gone. Nothing is lost when this is dropped.
    async fn more(&mut self) -> io::Result<bool> {
        loop {
            self.socket.readable().await?;
            match self.socket.try_read_buf(&mut self.buffer) {
                Ok(read) => return Ok(read > 0),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The length at the start of `bytes`, which counts itself, without the four bytes that it takes.
fn length(bytes: &[u8], max: usize) -> io::Result<Option<usize>> {
    let Some(length) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    match length.checked_sub(4) {
        Some(body) if body <= max => Ok(Some(body)),
        Some(_) => Err(invalid(format!("a message of {length} bytes is longer than {max} bytes"))),
        None => Err(invalid(format!("{length} is no length of a message"))),
    }
}

fn take_startup(buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some(body) = length(buffer, STARTUP_MAX)?.filter(|body| buffer.len() >= body + 4) else { return Ok(None) };
    buffer.advance(4);
    Ok(Some(buffer.split_to(body).freeze()))
}

fn take(buffer: &mut BytesMut, max: usize) -> io::Result<Option<Frame>> {
    let Some((&kind, rest)) = buffer.split_first() else { return Ok(None) };
    let Some(body) = length(rest, max)?.filter(|body| buffer.len() >= body + 5) else { return Ok(None) };
    buffer.advance(5);
    Ok(Some(Frame { kind, body: buffer.split_to(body).freeze() }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    #[test]
    fn a_message_is_taken_once_all_of_it_is_there() {
        let bytes = frame(b'Q', b"select 1\0");
        let mut buffer = BytesMut::new();
        for byte in &bytes[..bytes.len() - 1] {
            buffer.extend_from_slice(&[*byte]);
            assert_eq!(take(&mut buffer, MESSAGE_MAX).unwrap(), None);
        }
        buffer.extend_from_slice(&bytes[bytes.len() - 1..]);
        buffer.extend_from_slice(&frame(b'X', b""));
        assert_eq!(take(&mut buffer, MESSAGE_MAX).unwrap().unwrap().body.as_ref(), b"select 1\0");
        assert_eq!(take(&mut buffer, MESSAGE_MAX).unwrap().unwrap().kind, b'X');
        assert!(buffer.is_empty());
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_anything_is_reserved() {
        for length in [0_u32, 3, u32::MAX, (MESSAGE_MAX + 5) as u32] {
            let mut buffer = BytesMut::from(&[&b"Q"[..], &length.to_be_bytes()].concat()[..]);
            assert!(take(&mut buffer, MESSAGE_MAX).is_err(), "{length}");
            let mut buffer = BytesMut::from(&length.to_be_bytes()[..]);
            assert!(take_startup(&mut buffer).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_messages_or_an_error(bytes: Vec<u8>) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take(&mut buffer, MESSAGE_MAX) {}
            let _ = take_startup(&mut BytesMut::from(&bytes[..]));
        }
    }
}
