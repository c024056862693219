//! Randomness from one seed. Owns a ChaCha stream; must never be used for secrets that outlive the
//! process.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::ChaCha12Rng;
use rand::{Rng as _, RngExt as _, SeedableRng};

/// A random stream. Clones draw from the same stream; [`Rng::fork`] begins another.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<ChaCha12Rng>>);

impl Rng {
    /// A stream that nobody can repeat.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the seam itself")]
    pub fn from_os() -> Self {
        Self::new(rand::make_rng())
    }

    /// The stream of `seed`.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self::new(ChaCha12Rng::seed_from_u64(seed))
    }

    fn new(stream: ChaCha12Rng) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    /// Uniform over all 64-bit numbers.
    #[must_use]
    pub fn u64(&self) -> u64 {
        self.0.lock().next_u64()
    }

    /// Uniform over `0..bound`; 0 when `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        if bound <= 1 {
            return 0;
        }
        self.0.lock().random_range(0..bound)
    }

    /// True with probability `numerator / denominator`; never when the denominator is 0.
    #[must_use]
    pub fn chance(&self, numerator: u64, denominator: u64) -> bool {
        denominator > 0 && self.below(denominator) < numerator
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill_bytes(bytes);
    }

    /// A new stream whose seed is drawn from this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::from_seed(self.u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(rng: &Rng) -> Vec<u64> {
        (0..8).map(|_| rng.u64()).collect()
    }

    #[test]
    fn one_seed_is_one_stream() {
        assert_eq!(draw(&Rng::from_seed(7)), draw(&Rng::from_seed(7)));
        assert_ne!(draw(&Rng::from_seed(7)), draw(&Rng::from_seed(8)));
        assert_ne!(draw(&Rng::from_os()), draw(&Rng::from_os()));
    }

    #[test]
    fn forks_repeat_with_their_parent_and_differ_from_it() {
        let (a, b) = (Rng::from_seed(1), Rng::from_seed(1));
        let (fork_a, fork_b) = (a.fork(), b.fork());
        assert_eq!(draw(&fork_a), draw(&fork_b));
        assert_ne!(draw(&a), draw(&fork_a));
    }

    #[test]
    fn below_stays_below_and_reaches_all() {
        let rng = Rng::from_seed(3);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[usize::try_from(rng.below(5)).unwrap()] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
        assert!(rng.chance(1, 1) && !rng.chance(0, 9) && !rng.chance(1, 0));
        let mut bytes = [0; 16];
        rng.fill(&mut bytes);
        assert_ne!(bytes, [0; 16]);
    }
}
