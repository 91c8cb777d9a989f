//! A cache for what never changes: bounded, and forgetting what nobody asks for.

use std::collections::HashMap;
use std::hash::Hash;

/// A cache in two generations: what was not asked for during a whole generation goes. `limit` bounds the sum of the
/// weights, whatever they count.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    young_weight: usize,
    limit: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_weight: 0, limit }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (value, weight) = self.old.remove(key)?;
        self.insert(key.clone(), value.clone(), weight);
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V, weight: usize) {
        if self.young_weight + weight > self.limit / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_weight = 0;
        }
        if let Some((_, before)) = self.young.insert(key, (value, weight)) {
            self.young_weight -= before;
        }
        self.young_weight += weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_nobody_asks_for() {
        let mut cache = Cache::new(8);
        for n in 0..4 {
            cache.insert(n, n, 1);
        }
        for n in 4..8 {
            assert!(cache.get(&0).is_some(), "asked for all the time");
            cache.insert(n, n, 1);
        }
        assert!(cache.get(&1).is_none());
        assert!(cache.young.len() + cache.old.len() <= 8);
        assert!(cache.young_weight <= 4);
    }
}
