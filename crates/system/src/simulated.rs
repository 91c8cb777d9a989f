//! Time and chance that follow from a seed.

use std::sync::Mutex;
use std::time::Duration;

use polder_base::Timestamp;
use rand::{RngCore, SeedableRng, rngs::SmallRng};

use crate::System;

/// A clock that moves only when told, and chance that repeats for the same seed.
#[derive(Debug)]
pub struct SimulatedSystem {
    inner: Mutex<(Timestamp, SmallRng)>,
}

impl SimulatedSystem {
    pub fn new(seed: u64, start: Timestamp) -> Self {
        Self { inner: Mutex::new((start, SmallRng::seed_from_u64(seed))) }
    }

    pub fn advance(&self, duration: Duration) {
        let mut inner = self.lock();
        inner.0 = inner.0 + duration;
    }

    /// Somebody sets the clock back.
    pub fn set_back(&self, duration: Duration) {
        let mut inner = self.lock();
        inner.0 = inner.0 - duration;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Timestamp, SmallRng)> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl System for SimulatedSystem {
    fn now(&self) -> Timestamp {
        self.lock().0
    }

    fn random(&self) -> u64 {
        self.lock().1.next_u64()
    }

    /// Lets the time pass at once.
    async fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}
