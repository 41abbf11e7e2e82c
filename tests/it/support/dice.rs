//! Chance that is the same in each run of a test.

use std::hash::{DefaultHasher, Hash, Hasher};

/// SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    /// Of this throw alone, whatever was thrown before: for what comes in no order.
    pub fn of(throw: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        throw.hash(&mut hasher);
        Self(hasher.finish())
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }

    pub fn one_of<T: Clone>(&mut self, choices: &[T]) -> Option<T> {
        (!choices.is_empty()).then(|| choices[self.below(choices.len())].clone())
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
