//! Group commit: callers that wait for one branch share the next turn on it.
//!
//! A group's work is one shared future that all its callers poll, so it needs no task of its own, and goes on when the
//! caller that happened to drive it goes away.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

use super::Request;
use crate::{Catalog, CatalogError, CommitId, Result};

/// One lane for each branch that is being committed to by this process.
#[derive(Debug, Default)]
pub(crate) struct Lanes(Mutex<HashMap<String, Arc<Lane>>>);

#[derive(Default)]
struct Lane {
    /// Held by the group that is committing.
    turn: tokio::sync::Mutex<()>,
    /// The group that takes the next turn.
    waiting: Mutex<Option<Group>>,
}

type Done = BoxFuture<'static, ()>;

struct Group {
    tickets: Vec<Arc<Ticket>>,
    /// Weak: a group whose callers all went away is no more.
    done: WeakShared<Done>,
}

/// One caller's place in a group.
struct Ticket {
    request: Mutex<Option<Request>>,
    result: Mutex<Option<Result<CommitId>>>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

impl Lanes {
    fn enter(&self, branch: &str) -> InLane<'_> {
        let lane = Arc::clone(self.0.lock().entry(branch.to_owned()).or_default());
        InLane { lanes: self, branch: branch.to_owned(), lane }
    }
}

/// A caller's use of a lane. The last one out forgets the lane.
struct InLane<'l> {
    lanes: &'l Lanes,
    branch: String,
    lane: Arc<Lane>,
}

impl Drop for InLane<'_> {
    fn drop(&mut self) {
        let mut lanes = self.lanes.0.lock();
        // The map's and ours: nobody can come by another while the map is locked.
        if Arc::strong_count(&self.lane) == 2 {
            lanes.remove(&self.branch);
        }
    }
}

/// Takes a caller's changes back when it goes away before its group's turn.
struct Waiting(Arc<Ticket>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.request.lock().take();
    }
}

impl Catalog {
    pub(super) async fn commit_in_group(&self, branch: &str, request: Request) -> Result<CommitId> {
        let entered = self.lanes().enter(branch);
        let ticket = Arc::new(Ticket { request: Mutex::new(Some(request)), result: Mutex::new(None) });
        let waiting = Waiting(Arc::clone(&ticket));
        self.join(branch, &entered.lane, ticket).await;
        let result = waiting.0.result.lock().take();
        result.unwrap_or_else(|| Err(CatalogError::Invalid("a commit was left without an answer".to_owned())))
    }

    /// Joins the group that waits for the next turn, or starts one.
    fn join(&self, branch: &str, lane: &Arc<Lane>, ticket: Arc<Ticket>) -> Shared<Done> {
        let mut waiting = lane.waiting.lock();
        if let Some(group) = &mut *waiting
            && let Some(done) = group.done.upgrade()
        {
            group.tickets.push(ticket);
            return done;
        }
        let done = take_turn(self.clone(), branch.to_owned(), Arc::clone(lane)).boxed().shared();
        if let Some(weak) = done.downgrade() {
            *waiting = Some(Group { tickets: vec![ticket], done: weak });
        }
        done
    }
}

/// Waits for the turn, closes the group, and commits for all of it.
async fn take_turn(catalog: Catalog, branch: String, lane: Arc<Lane>) {
    let _turn = lane.turn.lock().await;
    let tickets = lane.waiting.lock().take().map(|group| group.tickets).unwrap_or_default();
    let (tickets, requests): (Vec<_>, Vec<_>) = tickets
        .into_iter()
        .filter_map(|ticket| {
            let request = ticket.request.lock().take()?;
            Some((ticket, request))
        })
        .unzip();
    let results = catalog.commit_group(&branch, requests).await;
    for (ticket, result) in tickets.iter().zip(results) {
        *ticket.result.lock() = Some(result);
    }
}
