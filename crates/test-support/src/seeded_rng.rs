//! Random choices that are the same each time a test runs.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A random number generator with a fixed seed.
pub struct SeededRng(fastrand::Rng);

impl SeededRng {
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A generator whose seed is the hash of this value, for events that arrive in no fixed order.
    pub fn from_hash(value: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self::new(hasher.finish())
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0.usize(..limit)
    }

    pub fn choose<T: Clone>(&mut self, choices: &[T]) -> Option<T> {
        self.0.choice(choices).cloned()
    }

    /// True in one of this many calls, on average.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
