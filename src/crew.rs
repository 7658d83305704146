//! How many clients each of several workers has, so that none of them takes in all.
//!
//! All wait at the same listeners, and each is told of every client that comes; who runs first
//! would take in a whole burst. So each says how many clients it has, in a number that only it
//! writes, and reads those of the others once in a turn. This file does not know what is done
//! about it: see `engine/accept.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A cache line for each, or one who writes would slow down another one who writes.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Count(AtomicUsize);

/// The place of one worker among all.
#[derive(Debug)]
pub(crate) struct Crew {
    counts: Arc<[Count]>,
    own: usize,
    said: usize,
}

impl Crew {
    /// Places for `count` workers.
    pub(crate) fn of(count: usize) -> impl Iterator<Item = Crew> {
        let counts: Arc<[Count]> = (0..count).map(|_| Count::default()).collect();
        (0..count).map(move |own| Crew { counts: Arc::clone(&counts), own, said: 0 })
    }

    /// This worker has so many clients now.
    pub(crate) fn say(&mut self, clients: usize) {
        if self.said == clients {
            return;
        }
        self.said = clients;
        if let Some(count) = self.counts.get(self.own) {
            count.0.store(clients, Ordering::Relaxed);
        }
    }

    /// The fewest clients that another worker has. It may have changed already.
    pub(crate) fn fewest(&self) -> Option<usize> {
        let others = self.counts.iter().enumerate().filter(|(number, _)| *number != self.own);
        others.map(|(_, count)| count.0.load(Ordering::Relaxed)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // B9.5
    #[test]
    fn b9_5_each_sees_the_others() {
        let mut crew: Vec<Crew> = Crew::of(3).collect();
        crew[0].say(5);
        crew[1].say(2);
        crew[2].say(7);
        assert_eq!([0, 1, 2].map(|n| crew[n].fewest()), [Some(2), Some(5), Some(2)]);
        crew[1].say(9);
        assert_eq!([0, 1, 2].map(|n| crew[n].fewest()), [Some(7), Some(5), Some(5)]);
        assert_eq!(Crew::of(1).next().unwrap().fewest(), None);
    }
}
