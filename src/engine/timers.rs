//! Wake-ups: a heap with at most one live entry per connection.
//!
//! Moving a deadline later costs nothing: the entry comes up early and is put back. Only an earlier
//! deadline adds an entry, and the one it overtakes no longer matches `armed` and dies unnoticed.
//! So a warm request costs no heap operation. None comes up before its moment has passed. This
//! file does not know what is timed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::keys::Source;
use crate::time::Ms;

const NEVER: Ms = Ms(u64::MAX);

/// When a connection is due, and when the heap will say so. Only [`Timers`] writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    at: Ms,
    armed: Ms,
}

impl Default for Due {
    fn default() -> Self {
        Due { at: NEVER, armed: NEVER }
    }
}

impl Due {
    /// Whether an entry for `at` is the live one.
    pub(crate) fn is_armed(&self, at: Ms) -> bool {
        self.armed == at
    }
}

/// All wake-ups of one engine.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Ms, u64)>>,
    /// Above this many entries it is worth looking for dead ones.
    sweep_above: usize,
}

/// So few entries are not worth looking at.
const FEW: usize = 1024;

impl Timers {
    /// From now on `who` is due at `at`.
    pub(crate) fn set(&mut self, due: &mut Due, who: Source, at: Ms) {
        due.at = at;
        if at < due.armed {
            due.armed = at;
            self.heap.push(Reverse((at, who.pack())));
        }
    }

    /// The next moment at which [`Timers::pop`] may give something.
    pub(crate) fn next(&self) -> Option<Ms> {
        self.heap.peek().map(|Reverse((at, _))| *at + 1)
    }

    /// Takes an entry that has come up: whose it is, and what to show to [`Timers::comes_up`].
    pub(crate) fn pop(&mut self, now: Ms) -> Option<(Source, Ms)> {
        let Reverse((at, who)) = *self.heap.peek()?;
        if !at.has_passed(now) {
            return None;
        }
        self.heap.pop();
        Some((Source::unpack(who), at))
    }

    /// An entry armed for `at` has come up: whether its owner is due. If it is due later, the
    /// entry goes back; if the entry was overtaken, nothing happens.
    pub(crate) fn comes_up(&mut self, due: &mut Due, who: Source, at: Ms, now: Ms) -> bool {
        if due.armed != at {
            return false;
        }
        // First of all: an owner that is still marked as armed would never be armed again.
        due.armed = NEVER;
        if due.at.has_passed(now) {
            return true;
        }
        if due.at != NEVER {
            let at = due.at;
            self.set(due, who, at);
        }
        false
    }

    /// Drops the entries that are not `live`, if there are twice as many as were left last time:
    /// who connects and goes leaves one for as long as he might have stayed.
    pub(crate) fn sweep(&mut self, live: impl Fn(Source, Ms) -> bool) {
        if self.heap.len() > self.sweep_above {
            self.heap.retain(|Reverse((at, who))| live(Source::unpack(*who), *at));
            self.sweep_above = FEW.max(2 * self.heap.len());
        }
    }

    /// How many entries there are, dead ones included.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Source = Source::Listener(1);

    #[test]
    fn moving_later_costs_no_entry_and_still_comes_up() {
        let (mut timers, mut due) = (Timers::default(), Due::default());
        for at in 10..1000 {
            timers.set(&mut due, WHO, Ms(at));
        }
        assert_eq!((timers.len(), timers.next()), (1, Some(Ms(11))));
        assert_eq!(timers.pop(Ms(10)), None, "ten milliseconds may not be over");
        let (who, at) = timers.pop(Ms(500)).unwrap();
        assert!(!timers.comes_up(&mut due, who, at, Ms(500)), "due at 999");
        assert_eq!(timers.next(), Some(Ms(1000)));
        let (who, at) = timers.pop(Ms(1000)).unwrap();
        assert!(timers.comes_up(&mut due, who, at, Ms(1000)));
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn dead_entries_are_swept_when_there_are_many() {
        let (mut timers, mut due) = (Timers::default(), Due::default());
        timers.sweep(|_, _| false);
        timers.set(&mut due, WHO, Ms(7));
        for at in 0..10_000 {
            let mut gone = Due::default();
            timers.set(&mut gone, Source::Listener(2), Ms(60_000 + at));
            timers.sweep(|who, at| who == WHO && due.is_armed(at));
            assert!(timers.len() <= FEW + 1, "{}", timers.len());
        }
        assert_eq!(timers.next(), Some(Ms(8)), "what lives stays");
    }

    #[test]
    fn an_earlier_deadline_overtakes() {
        let (mut timers, mut due) = (Timers::default(), Due::default());
        timers.set(&mut due, WHO, Ms(100));
        timers.set(&mut due, WHO, Ms(50));
        let (who, at) = timers.pop(Ms(51)).unwrap();
        assert!(timers.comes_up(&mut due, who, at, Ms(51)));
        timers.set(&mut due, WHO, Ms(200));
        let (who, at) = timers.pop(Ms(150)).unwrap();
        assert_eq!(at, Ms(100));
        assert!(!timers.comes_up(&mut due, who, at, Ms(150)), "overtaken");
        assert_eq!((timers.len(), timers.next()), (1, Some(Ms(201))));
    }
}
