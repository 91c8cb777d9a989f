//! Random numbers that are a pure function of seed, purpose and row.
//!
//! Each row has a stream of its own, so any row can be made alone, by any thread, in any order. Only integer arithmetic
//! and IEEE multiplication and division are used, which every machine computes alike; `ln`, `pow` and `sin` are not.

/// What a stream is for. Streams of different purposes share nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Calendar = 1,
    Customer,
    Product,
    Order,
    OrderLines,
    Session,
    Rate,
    Defect,
    TornLine,
    EventId,
    SessionId,
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub(crate) struct Stream(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finaliser: a bijection on 64 bits, so that distinct numbers stay distinct.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Stream {
    /// The stream of row `row` for a purpose.
    pub fn new(seed: u64, purpose: Purpose, row: u64) -> Self {
        let key = mix(seed.wrapping_add((purpose as u64).wrapping_mul(GOLDEN)));
        Self(mix(key ^ row.wrapping_mul(GOLDEN)))
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Evenly from `0..n`; 0 for an empty range.
    pub fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(n);
        #[allow(clippy::cast_possible_truncation, reason = "the upper half of a 128-bit product")]
        let high = (wide >> 64) as u64;
        high
    }

    /// Evenly from `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low).unsigned_abs() + 1).cast_signed()
    }

    /// True `n` times in a thousand.
    pub fn per_mille(&mut self, n: u64) -> bool {
        self.below(1000) < n
    }

    /// Evenly from `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
        let bits = (self.bits() >> 11) as f64;
        bits / (1_u64 << 53) as f64
    }

    /// From `0..n`, the small ones far more often: density falls as `x^(-2/3)`.
    pub fn skewed_below(&mut self, n: u64) -> u64 {
        let u = self.unit();
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let x = (u * u * u * n as f64) as u64;
        x.min(n.saturating_sub(1))
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let i = usize::try_from(self.below(items.len() as u64)).unwrap_or(0);
        &items[i]
    }

    /// The index of a weight, as often as its share of the sum.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut x = self.below(weights.iter().sum());
        for (i, w) in weights.iter().enumerate() {
            if x < *w {
                return i;
            }
            x -= w;
        }
        weights.len().saturating_sub(1)
    }
}

/// Ranks `0..n` by Zipf's law with exponent 1, flattened a little at the top.
#[derive(Debug)]
pub(crate) struct Zipf {
    cumulative: Vec<u64>,
}

impl Zipf {
    pub fn new(n: usize) -> Self {
        let mut sum = 0;
        let cumulative = (0..n as u64)
            .map(|rank| {
                sum += (1_u64 << 32) / (rank + 3);
                sum
            })
            .collect();
        Self { cumulative }
    }

    pub fn sample(&self, stream: &mut Stream) -> usize {
        let x = stream.below(self.cumulative.last().copied().unwrap_or(0));
        self.cumulative.partition_point(|c| *c <= x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_on_every_machine() {
        let mut s = Stream::new(42, Purpose::Order, 7);
        assert_eq!(
            [s.bits(), s.below(1000), s.between(-5, 5).unsigned_abs(), s.skewed_below(1_000_000)],
            [9_418_329_441_048_009_932, 886, 0, 18_293]
        );
    }

    #[test]
    fn zipf_prefers_low_ranks_and_reaches_all() {
        let zipf = Zipf::new(50);
        let mut counts = [0_u32; 50];
        let mut stream = Stream::new(1, Purpose::Product, 0);
        for _ in 0..20_000 {
            counts[zipf.sample(&mut stream)] += 1;
        }
        assert!(counts[0] > 5 * counts[40], "{counts:?}");
        assert!(counts.iter().all(|c| *c > 0), "{counts:?}");
    }

    #[test]
    fn weights_are_kept() {
        let mut stream = Stream::new(1, Purpose::Product, 0);
        let hits = (0..10_000).filter(|_| stream.weighted(&[9, 0, 1]) == 2).count();
        assert!((900..1100).contains(&hits), "{hits}");
    }
}
