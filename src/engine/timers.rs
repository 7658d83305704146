//! Wake-ups: a heap with at most one live entry per connection.
//!
//! Moving a deadline later costs nothing: the entry comes up early and is put back. Only an earlier
//! deadline adds an entry, and the one it overtakes no longer matches `armed` and dies unnoticed.
//! So a warm request costs no heap operation. This file does not know what is timed.

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

/// All wake-ups of one engine.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Ms, u64)>>,
}

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
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes an entry that has come up: whose it is, and what to show to [`Timers::comes_up`].
    pub(crate) fn pop(&mut self, now: Ms) -> Option<(Source, Ms)> {
        let Reverse((at, who)) = *self.heap.peek()?;
        if at > now {
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
        if due.at <= now {
            return true;
        }
        if due.at != NEVER {
            let at = due.at;
            self.set(due, who, at);
        }
        false
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
        assert_eq!((timers.len(), timers.next()), (1, Some(Ms(10))));
        assert_eq!(timers.pop(Ms(9)), None);
        let (who, at) = timers.pop(Ms(500)).unwrap();
        assert!(!timers.comes_up(&mut due, who, at, Ms(500)), "due at 999");
        assert_eq!(timers.next(), Some(Ms(999)));
        let (who, at) = timers.pop(Ms(999)).unwrap();
        assert!(timers.comes_up(&mut due, who, at, Ms(999)));
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn an_earlier_deadline_overtakes() {
        let (mut timers, mut due) = (Timers::default(), Due::default());
        timers.set(&mut due, WHO, Ms(100));
        timers.set(&mut due, WHO, Ms(50));
        let (who, at) = timers.pop(Ms(50)).unwrap();
        assert!(timers.comes_up(&mut due, who, at, Ms(50)));
        timers.set(&mut due, WHO, Ms(200));
        let (who, at) = timers.pop(Ms(150)).unwrap();
        assert_eq!(at, Ms(100));
        assert!(!timers.comes_up(&mut due, who, at, Ms(150)), "overtaken");
        assert_eq!((timers.len(), timers.next()), (1, Some(Ms(200))));
    }
}
