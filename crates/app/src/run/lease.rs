//! The right of this process to write a run's state, renewed while the run goes on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polder_base::RunId;
use polder_catalog::{Catalog, CatalogError, Lease};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{AppError, codes};

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
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LeaseKeeper {
    /// Takes the lease of a new run. `lost` is cancelled when another process takes it over.
    pub(crate) async fn acquire(catalog: &Catalog, run: RunId, lost: CancellationToken) -> Result<Self, CatalogError> {
        let lease = Arc::new(Mutex::new(catalog.acquire_lease(run, TTL).await?));
        let task = tokio::spawn(keep(catalog.clone(), Arc::clone(&lease), lost));
        Ok(Self { catalog: catalog.clone(), lease, task })
    }

    /// Takes the lease of a run that may have been left by a process that died: waits until that one's is over.
    pub(crate) async fn take_over(catalog: &Catalog, run: RunId, lost: CancellationToken) -> Result<Self, AppError> {
        let mut waited = Duration::ZERO;
        loop {
            match Self::acquire(catalog, run, lost.clone()).await {
                Ok(keeper) => return Ok(keeper),
                Err(CatalogError::LeaseHeld { .. }) if waited < TTL + PAUSE => {
                    catalog.system().sleep(PAUSE).await;
                    waited += PAUSE;
                }
                Err(CatalogError::LeaseHeld { .. }) => {
                    let message = format!("run {run} is being executed by another process");
                    return Err(AppError::refused(codes::RUNNING, message));
                }
                Err(other) => return Err(other.into()),
            }
        }
    }

    pub(crate) fn lease(&self) -> Lease {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the lease back. What goes wrong here ends by itself when the lease does.
    pub(crate) async fn release(self) {
        self.task.abort();
        let lease = self.lease();
        if let Err(error) = self.catalog.release_lease(&lease).await {
            tracing::warn!(run = %lease.run, %error, "the lease was not given back");
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
