//! Dice from a seed: the only source of chance below the shell.
//!
//! This file hides the `rand` crate, so that its major versions are ours to choose. It does not
//! know entropy: whoever builds a proxy decides where the seed comes from.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// A small, fast, seeded generator. Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(SmallRng);

impl Rng {
    /// The generator that always gives the same numbers for the same `seed`.
    pub fn from_seed(seed: u64) -> Rng {
        Rng(SmallRng::seed_from_u64(seed))
    }

    /// A number from 0 to `n - 1`, each as likely as the other; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n < 2 { 0 } else { self.0.random_range(0..n) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_numbers_and_all_in_range() {
        let (mut a, mut b) = (Rng::from_seed(7), Rng::from_seed(7));
        let mut seen = [false; 5];
        for _ in 0..200 {
            let n = a.below(5);
            assert_eq!(n, b.below(5));
            seen[n as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(a.below(0), 0);
        assert_eq!(a.below(1), 0);
    }
}
