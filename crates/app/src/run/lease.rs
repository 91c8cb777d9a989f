//! The right of this process to write a run's state, renewed while the run goes on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polder_base::RunId;
use polder_catalog::{Catalog, CatalogError, Lease};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::lock::RunLock;
use crate::{App, AppError, codes};

/// A process that stops renewing is taken for dead after this. Renewing comes three times as often.
const TTL: Duration = Duration::from_secs(20);

/// How long a resumed run waits between looks at a lease that another process may have left behind.
const PAUSE: Duration = Duration::from_millis(250);

/// A lease, and the task that renews it. Dropped, it is left to end by itself.
#[derive(Debug)]
pub(crate) struct LeaseKeeper {
    catalog: Catalog,
    lease: Arc<Mutex<Lease>>,
    task: JoinHandle<()>,
    lock: Option<RunLock>,
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LeaseKeeper {
    /// Takes the lease of a run, new or left by a process that died. `lost` is cancelled when another process takes it
    /// over.
    ///
    /// # Errors
    /// A living process has the run. A lease whose holder is not known to be dead, because it was on another machine, is
    /// waited for until it is over.
    pub(crate) async fn acquire(app: &App, run: RunId, lost: CancellationToken) -> Result<Self, AppError> {
        let Some(mut lock) = RunLock::take(&app.home.locks(), run).map_err(|e| app.lock_failed(&e))? else {
            return Err(executed_by_another(run));
        };
        let catalog = &app.catalog;
        if let Some(term) = lock.last_term() {
            catalog.end_lease(run, term).await?;
        }
        let lease = wait_for_lease(catalog, run).await?;
        // What was asked of an earlier try is over; what is asked from now on is meant.
        app.forget_requests(run).await;
        if let Err(error) = lock.note(&lease) {
            // Nobody would know that it is over when we are gone. What fails here, too, is over in a while.
            let _ = catalog.release_lease(&lease).await;
            return Err(app.lock_failed(&error));
        }
        let lease = Arc::new(Mutex::new(lease));
        let task = tokio::spawn(keep(catalog.clone(), Arc::clone(&lease), lost));
        Ok(Self { catalog: catalog.clone(), lease, task, lock: Some(lock) })
    }

    pub(crate) fn lease(&self) -> Lease {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the lease back. What goes wrong here ends by itself when the lease does.
    pub(crate) async fn release(mut self) {
        self.task.abort();
        let lease = self.lease();
        match (self.catalog.release_lease(&lease).await, self.lock.take()) {
            (Ok(()), Some(lock)) => lock.give_back(),
            (Ok(()), None) => {}
            // The lock is left behind as by a process that died: whoever comes next ends the lease.
            (Err(error), _) => tracing::warn!(run = %lease.run, %error, "the lease was not given back"),
        }
    }
}

impl App {
    /// Ends the lease of a run whose process died on this machine. `false`: it lives, or nothing is known of it.
    pub(crate) async fn end_if_dead(&self, run: RunId) -> Result<bool, AppError> {
        let found = RunLock::take_left_behind(&self.home.locks(), run).map_err(|e| self.lock_failed(&e))?;
        let Some(mut lock) = found else { return Ok(false) };
        let Some(term) = lock.last_term() else { return Ok(false) };
        let ended = self.catalog.end_lease(run, term).await?;
        lock.give_back();
        Ok(ended)
    }

    /// Whether a process works on a run now.
    pub(crate) async fn is_executed(&self, run: RunId) -> Result<bool, AppError> {
        self.end_if_dead(run).await?;
        Ok(self.catalog.is_leased(run).await?)
    }

    fn lock_failed(&self, error: &std::io::Error) -> AppError {
        AppError::Environment(format!("locking a run in {}: {error}", self.home.locks().display()))
    }
}

fn executed_by_another(run: RunId) -> AppError {
    AppError::refused(codes::RUNNING, format!("run {run} is being executed by another process"))
}

async fn wait_for_lease(catalog: &Catalog, run: RunId) -> Result<Lease, AppError> {
    let mut waited = Duration::ZERO;
    loop {
        match catalog.acquire_lease(run, TTL).await {
            Ok(lease) => return Ok(lease),
            Err(CatalogError::LeaseHeld { .. }) if waited < TTL + PAUSE => {
                catalog.system().sleep(PAUSE).await;
                waited += PAUSE;
            }
            Err(CatalogError::LeaseHeld { .. }) => return Err(executed_by_another(run)),
            Err(other) => return Err(other.into()),
        }
    }
}

async fn keep(catalog: Catalog, lease: Arc<Mutex<Lease>>, lost: CancellationToken) {
    loop {
        catalog.system().sleep(TTL / 3).await;
        let held = lease.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match catalog.renew_lease(&held, TTL).await {
            Ok(renewed) => *lease.lock().unwrap_or_else(PoisonError::into_inner) = renewed,
            Err(CatalogError::LeaseLost { .. }) => {
                lost.cancel();
                return;
            }
            // The store may come back before the lease is over.
            Err(error) => tracing::warn!(run = %held.run, %error, "the lease was not renewed"),
        }
    }
}
