//! What a project throws away: branches past their day, history past its keep, files that nothing reaches.
//!
//! A clock can be wrong by years for a moment, and what is deleted stays so. Each look therefore keeps its time, and deletes
//! what was past its keep at the time of the *last* look, a day before: one false reading of the clock deletes nothing,
//! for at the next look it is either still that late, or seen to have been false.

use std::time::Duration;

use polder_base::Timestamp;
use polder_catalog::Expired;
use polder_store::{Batch, Space};
use serde::{Deserialize, Serialize};

use crate::run::journal::encode;
use crate::{App, AppError};

/// How long history is kept, unless the project says otherwise.
const RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// Files younger than this may be those of a writer that is about to commit.
const GRACE: Duration = Duration::from_secs(86_400);

/// How often there is something worth looking for.
const PERIOD: Duration = Duration::from_secs(86_400);

/// Where the state store keeps when it was done last.
const KEY: &str = "housekeeping";

#[derive(Debug, Serialize, Deserialize)]
struct Done {
    at: Timestamp,
}

impl App {
    /// Removes what is past its keep, once a day: `None` when it is not time yet. A new project begins to count now, and so
    /// does one whose clock was set back behind the last look.
    ///
    /// # Errors
    /// Something that is reachable cannot be read: nothing is deleted then.
    pub async fn housekeep(&self) -> Result<Option<Expired>, AppError> {
        let now = self.system().now();
        // A mark that cannot be read is as good as none.
        let last = self.catalog.state().get(Space::Meta, KEY).await?;
        let last = last.and_then(|bytes| serde_json::from_slice::<Done>(&bytes).ok()).map(|done| done.at);
        let Some(last) = last.filter(|last| *last <= now) else {
            self.mark_housekeeping(now).await?;
            return Ok(None);
        };
        if now.since(last) < PERIOD {
            return Ok(None);
        }
        let retention = self.loaded.project.settings.retention_seconds.map_or(RETENTION, Duration::from_secs);
        self.bound_expiries().await?;
        let expired = self.catalog.expire_as_of(last, retention, GRACE).await?;
        self.forget_events(last, retention).await?;
        self.mark_housekeeping(now).await?;
        Ok(Some(expired))
    }

    async fn mark_housekeeping(&self, at: Timestamp) -> Result<(), AppError> {
        self.catalog.state().apply(Batch::new().put(Space::Meta, KEY, encode(&Done { at })?)).await?;
        Ok(())
    }
}
