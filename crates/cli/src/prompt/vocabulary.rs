//! The names that Tab completes. They are read elsewhere, while the person types.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polder_app::Names;

/// What a Tab waits for names that are on their way: too short to notice, and often long enough.
const PATIENCE: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub struct Vocabulary {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    names: Arc<Names>,
    /// Counts what was begun: what an earlier reading brings after a later one began is out of date.
    reading: u64,
    under_way: bool,
}

impl Vocabulary {
    /// A reading begins; until it ends, Tab completes what is known. Gives what [`Vocabulary::end`] takes.
    pub fn begin(&self) -> u64 {
        let mut state = self.lock();
        state.reading += 1;
        state.under_way = true;
        state.reading
    }

    /// A reading has ended, with names or without.
    pub fn end(&self, reading: u64, names: Option<Names>) {
        let mut state = self.lock();
        if state.reading != reading {
            return;
        }
        state.under_way = false;
        // Names that are no more are better than names of another ref.
        state.names = Arc::new(names.unwrap_or_default());
        self.arrived.notify_all();
    }

    /// The names, as far as they are known.
    pub fn names(&self) -> Arc<Names> {
        let waited = self.arrived.wait_timeout_while(self.lock(), PATIENCE, |state| state.under_way);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state.names)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &str) -> Names {
        Names { refs: vec![of.to_owned()], ..Names::default() }
    }

    #[test]
    fn a_reading_that_was_overtaken_changes_nothing() {
        let vocabulary = Vocabulary::default();
        let (first, second) = (vocabulary.begin(), vocabulary.begin());
        vocabulary.end(second, Some(names("new")));
        vocabulary.end(first, Some(names("old")));
        assert_eq!(vocabulary.names().refs, ["new"]);
    }
}
