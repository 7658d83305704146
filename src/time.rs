//! Milliseconds since the start: the only notion of time below the shell.
//!
//! This file does not know the clock. The reactor reads it once per turn and hands the value
//! down; the simulator makes values up.

use core::ops::Add;

/// A moment, in milliseconds since the proxy was built.
///
/// 64 bits of milliseconds last longer than any machine; a turn of the loop sees one value only,
/// so two moments of the same turn are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ms(pub u64);

impl Ms {
    /// The moment the proxy was built.
    pub const ZERO: Ms = Ms(0);

    /// How many milliseconds have passed from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Ms) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Ms {
    type Output = Ms;

    /// `duration_ms` later; saturates, so that "never" may be written as `u64::MAX`.
    fn add(self, duration_ms: u64) -> Ms {
        Ms(self.0.saturating_add(duration_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Ms(5).since(Ms(3)), 2);
        assert_eq!(Ms(3).since(Ms(5)), 0);
        assert_eq!(Ms(5) + u64::MAX, Ms(u64::MAX));
    }
}
