//! What a project throws away: branches past their day, history past its keep, files that nothing reaches.

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
    /// Removes what is past its keep, once a day: `None` when it is not time yet. A new project begins to count now.
    ///
    /// # Errors
    /// Something that is reachable cannot be read: nothing is deleted then.
    pub async fn housekeep(&self) -> Result<Option<Expired>, AppError> {
        let now = self.system().now();
        let state = self.catalog.state();
        let last = state.get(Space::Meta, KEY).await?;
        // A mark that cannot be read is as good as none.
        let last = last.and_then(|bytes| serde_json::from_slice::<Done>(&bytes).ok());
        if last.as_ref().is_some_and(|done| now.since(done.at) < PERIOD) {
            return Ok(None);
        }
        let retention = self.loaded.project.settings.retention_seconds.map_or(RETENTION, Duration::from_secs);
        let expired = match last {
            Some(_) => Some(self.catalog.expire(retention, GRACE).await?),
            None => None,
        };
        self.forget_events(retention).await?;
        state.apply(Batch::new().put(Space::Meta, KEY, encode(&Done { at: now })?)).await?;
        Ok(expired)
    }
}
