//! Cancelling a statement from another connection, as PostgreSQL's clients do it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The statement that goes on at each connection.
#[derive(Debug, Default)]
pub(crate) struct Cancels(Mutex<HashMap<i32, Arc<Slot>>>);

/// One connection's.
#[derive(Debug)]
struct Slot {
    secret: Bytes,
    statement: Mutex<CancellationToken>,
}

/// A connection that can be asked to cancel, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Cancellable {
    all: Arc<Cancels>,
    pub(crate) process: i32,
    slot: Arc<Slot>,
}

impl Cancels {
    /// `secret`: random, and told to the client alone.
    pub(crate) fn enter(self: &Arc<Self>, secret: Bytes) -> Cancellable {
        let slot = Arc::new(Slot { secret, statement: Mutex::default() });
        let mut all = self.0.lock();
        // Numbers are free again once a connection is closed.
        let process = (1..).find(|process| !all.contains_key(process)).unwrap_or(i32::MAX);
        all.insert(process, Arc::clone(&slot));
        Cancellable { all: Arc::clone(self), process, slot }
    }

    /// Cancels what goes on at a connection, if the secret is its.
    pub(crate) fn cancel(&self, process: i32, secret: &[u8]) {
        let slot = self.0.lock().get(&process).cloned();
        if let Some(slot) = slot.filter(|slot| slot.secret == secret) {
            slot.statement.lock().cancel();
        }
    }
}

impl Cancellable {
    /// A statement begins: what was asked before is over.
    pub(crate) fn statement(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.slot.statement.lock() = token.clone();
        token
    }

    pub(crate) fn secret(&self) -> &Bytes {
        &self.slot.secret
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_secret_cancels_and_only_what_goes_on() {
        let all = Arc::new(Cancels::default());
        let ours = all.enter(Bytes::from_static(b"1234"));
        let statement = ours.statement();
        all.cancel(ours.process, b"4321");
        assert!(!statement.is_cancelled());
        all.cancel(ours.process, b"1234");
        assert!(statement.is_cancelled() && !ours.statement().is_cancelled());
        let process = ours.process;
        drop(ours);
        all.cancel(process, b"1234");
        assert_eq!(all.enter(Bytes::new()).process, process);
    }
}
