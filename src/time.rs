//! Milliseconds since the start: the only notion of time below the shell.
//!
//! This file does not know the clock. The reactor reads it once per turn and hands the value
//! down; the simulator makes values up.

use core::ops::Add;
use core::time::Duration;

/// A moment, in milliseconds since the proxy was built.
///
/// 64 bits of milliseconds last longer than any machine; a turn of the loop sees one value only,
/// so two moments of the same turn are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ms(pub u64);

impl Ms {
    /// The moment the proxy was built.
    pub const ZERO: Ms = Ms(0);

    /// Whether this moment has passed at `now`, for certain.
    ///
    /// A moment is cut to whole milliseconds, and one that bears the same number may be anywhere in
    /// the same millisecond: only the next number says that a time which was given is over.
    pub fn has_passed(self, now: Ms) -> bool {
        self < now
    }

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

/// A duration in whole milliseconds, cut; what is longer than 64 bits of them is as long as that.
pub(crate) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b8_4_a_time_is_over_when_the_clock_shows_more() {
        // From 5.9 to 7.1 are 1.2 milliseconds, not 2.
        assert!(!(Ms(5) + 2).has_passed(Ms(7)));
        assert!((Ms(5) + 2).has_passed(Ms(8)));
        assert!(!(Ms(5) + u64::MAX).has_passed(Ms(u64::MAX)));
    }

    #[test]
    fn durations_are_cut() {
        assert_eq!(whole_ms(Duration::from_micros(2999)), 2);
        assert_eq!(whole_ms(Duration::MAX), u64::MAX);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Ms(5).since(Ms(3)), 2);
        assert_eq!(Ms(3).since(Ms(5)), 0);
        assert_eq!(Ms(5) + u64::MAX, Ms(u64::MAX));
    }
}
