//! How long the branch of a run that is not published is kept.

use std::time::Duration;

use polder_base::Timestamp;
use polder_catalog::{CatalogError, CommitId, MAIN};

use crate::{App, AppError};

/// Branches of runs that were not published are kept so long, from when somebody last worked on them.
pub(crate) const BRANCH_KEPT: Duration = Duration::from_secs(7 * 86_400);

impl App {
    /// Until when a branch is kept that is made now. Where the clock is behind what the branch begins with, that says what
    /// time it is at least.
    ///
    /// # Errors
    /// State that cannot be read.
    pub(super) async fn kept_until(&self, base: &CommitId) -> Result<Timestamp, AppError> {
        let base = self.catalog.commit_object(base).await?.at();
        Ok(self.system().now().max(base) + BRANCH_KEPT)
    }

    /// Keeps a run's branch as long as one that is made now, or longer where it is. `false`: it is gone.
    ///
    /// # Errors
    /// State that cannot be read or written.
    pub(super) async fn prolong(&self, branch: &str) -> Result<bool, AppError> {
        let Some(found) = self.catalog.find_ref(branch).await? else { return Ok(false) };
        let until = self.kept_until(&found.commit).await?;
        if found.expires.is_none_or(|expires| expires >= until) {
            return Ok(true);
        }
        match self.catalog.set_expiry(branch, Some(until)).await {
            Ok(()) => Ok(true),
            Err(CatalogError::UnknownRef { .. }) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }

    /// Whether a run's branch is there and not past its day.
    pub(super) async fn is_kept(&self, branch: &str) -> Result<bool, AppError> {
        let found = self.catalog.find_ref(branch).await?;
        Ok(found.is_some_and(|found| found.expires.is_none_or(|at| at > self.system().now())))
    }

    /// A run that began, or was gone on with, while the clock was ahead has a branch that would be kept until the clock is
    /// there again. Of a clock that is behind, `main` says so: no branch goes too early for it.
    ///
    /// # Errors
    /// State that cannot be read or written.
    pub(crate) async fn bound_expiries(&self) -> Result<(), AppError> {
        let refs = self.catalog.refs().await?;
        let latest = self.kept_until(&self.catalog.resolve(MAIN).await?).await?;
        for found in refs.iter().filter(|found| found.expires.is_some_and(|at| at > latest)) {
            match self.catalog.set_expiry(&found.name, Some(latest)).await {
                // Somebody was faster.
                Ok(()) | Err(CatalogError::UnknownRef { .. }) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }
}
