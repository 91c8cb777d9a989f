//! A fast hash for telling rows apart, fixed for all time: it is kept in cursors.
//!
//! Eight bytes at a time are folded into two lanes by 64×64→128-bit multiplications, as wyhash does. It guards against
//! accidents, not against an adversary.

const A: u64 = 0x2d35_8dcc_aa6c_78a5;
const B: u64 = 0x8bb8_4b93_962e_acc9;
const C: u64 = 0x4b33_a62e_d433_d4a3;

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// 128 bits over all bytes and their number.
pub fn hash(bytes: &[u8]) -> u128 {
    let (mut x, mut y) = (A ^ bytes.len() as u64, C);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        x = fold(x ^ word, B);
        y = fold(y.rotate_left(29) ^ word, A);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let word = u64::from_le_bytes(last);
    x = fold(x ^ word, C);
    y = fold(y.rotate_left(29) ^ word, B);
    (u128::from(fold(x ^ y, A)) << 64) | u128::from(fold(y.wrapping_add(x), C))
}

/// The content of a set of rows, whatever their order: how many, and the sum of their hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Content {
    pub rows: u64,
    /// In hexadecimal where it is written down: JSON's numbers do not reach that far.
    #[serde(with = "hexadecimal")]
    pub sum: u128,
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(sum: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{sum:032x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        u128::from_str_radix(&String::deserialize(from)?, 16).map_err(D::Error::custom)
    }
}

impl Content {
    pub fn add(&mut self, row: u128) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn small_differences_change_the_hash() {
        let mut seen = HashSet::new();
        for length in 0..40 {
            for at in 0..length {
                let mut bytes = vec![0; length];
                bytes[at] = 1;
                assert!(seen.insert(hash(&bytes)));
            }
            assert!(seen.insert(hash(&vec![0; length])));
        }
    }

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(format!("{:032x}", hash(b"order 1")), "2c625c0cfae110b73193eec12765b90d");
    }

    #[test]
    fn order_means_nothing_to_content() {
        let (mut a, mut b) = (Content::default(), Content::default());
        [1, 2, 2].into_iter().for_each(|r| a.add(r));
        [2, 1, 2].into_iter().for_each(|r| b.add(r));
        assert_eq!(a, b);
    }
}
