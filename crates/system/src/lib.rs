//! What the outside world gives: time and chance. The real one, and one that a seed decides, for tests.
//!
//! Nothing above this crate asks the operating system for the time or for random bits, so that a test can say what
//! they are. Files and sockets are behind `store` and `ingest`.

mod simulated;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use polder_base::Timestamp;
pub use simulated::SimulatedSystem;

/// Time and chance.
#[async_trait::async_trait]
pub trait System: Debug + Send + Sync {
    /// The present time. It may step back when somebody sets the clock.
    fn now(&self) -> Timestamp;

    /// 64 random bits.
    fn random(&self) -> u64;

    async fn sleep(&self, duration: Duration);

    /// A random (version 4) UUID.
    fn uuid(&self) -> uuid::Uuid {
        let bits = (u128::from(self.random()) << 64) | u128::from(self.random());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}

/// The machine's own clock and entropy.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealSystem;

impl RealSystem {
    pub fn shared() -> Arc<dyn System> {
        Arc::new(Self)
    }
}

#[async_trait::async_trait]
impl System for RealSystem {
    fn now(&self) -> Timestamp {
        Timestamp(chrono::Utc::now().timestamp_micros())
    }

    fn random(&self) -> u64 {
        rand::random()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
