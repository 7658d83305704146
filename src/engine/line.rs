//! The line of those who need a new connection to their endpoint.
//!
//! A connect costs some 40 us: a burst of thousands that need one would hold the turns of everybody
//! else for a tenth of a second. So a turn makes a few, and who gets none stands in line:
//!
//! ```text
//!   a turn's connects   [ called from the line, in order: 3/4 ] [ who comes in it: the rest ]
//!                                      ^                                  | nothing is left
//!                                      '------- the end of the line <-----'
//! ```
//!
//! Those who come keep a part, so that nobody stands behind a burst that came before him, and the
//! line keeps the larger one, so that it moves whoever comes. This file does not know how a
//! connection is made.

use std::collections::VecDeque;

use crate::keys::Key;
use crate::net::Net;

use super::Engine;
use super::client::{Phase, Stage};

/// How many connections to endpoints one turn makes, 3 ms of work or so.
const CONNECTS: u32 = 64;
/// A turn with so many clients makes one in [`HURRIED`] of them: there may be more events than it
/// was told of (a wait gives 256 at most), and those behind shall be heard soon.
const MANY: usize = 192;
const HURRIED: u32 = 4;
/// One in so many is left to those who come in this turn.
const NEWCOMERS: u32 = 4;

/// Who waits for a connect, and how many this turn still makes.
#[derive(Debug)]
pub(super) struct Line {
    queue: VecDeque<Key>,
    most: u32,
    many: usize,
    left: u32,
    /// The one who is called now, until it has its connection or stands in line again.
    calling: Option<Key>,
}

impl Default for Line {
    fn default() -> Line {
        Line { queue: VecDeque::new(), most: CONNECTS, many: MANY, left: 0, calling: None }
    }
}

impl Line {
    /// A turn begins, in which something has happened to so many clients.
    pub(super) fn begin(&mut self, clients: usize) {
        self.left = if clients < self.many { self.most } else { (self.most / HURRIED).max(1) };
    }

    /// Whether a request that needs a new connection may have one now.
    pub(super) fn may_connect(&self) -> bool {
        self.left > 0
    }

    /// Whether `key` has been called, and not woken by something else.
    pub(super) fn is_calling(&self, key: Key) -> bool {
        self.calling == Some(key)
    }

    /// Who was called has been served: what else it asks for is as everybody's.
    pub(super) fn has_answered(&mut self) {
        self.calling = None;
    }

    /// A connection has been made, or tried.
    pub(super) fn connected(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// Nothing was left for `key`. Who was called stays the first.
    pub(super) fn join(&mut self, key: Key) {
        if self.is_calling(key) { self.queue.push_front(key) } else { self.queue.push_back(key) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many a turn may call.
    pub(super) fn called(&self) -> usize {
        self.queue.len().min(self.most as usize)
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }
}

impl<N: Net> Engine<N> {
    /// A turn makes `most` connects, and few if something has happened to `many` clients: for the
    /// simulator, whose worlds are small.
    #[cfg(test)]
    pub(crate) fn narrow(&mut self, most: u32, many: usize) {
        (self.line.most, self.line.many) = (most, many);
    }

    /// Serves those whose turn it is, one at least. Their endpoints are chosen anew
    /// (`Engine::held`).
    pub(super) fn serve_line(&mut self, net: &mut N) {
        self.line.left = self.line.left.max(1);
        let newcomers = self.line.left / NEWCOMERS;
        for _ in newcomers..self.line.left {
            self.tidy_line();
            if self.line.left <= newcomers {
                return;
            }
            let Some(key) = self.line.queue.pop_front() else { return };
            self.line.calling = Some(key);
            self.pump(net, key);
            self.line.calling = None;
        }
    }

    /// Those at the front who have gone, or been given up, are not called.
    pub(super) fn tidy_line(&mut self) {
        while let Some(&key) = self.line.queue.front() {
            if let Some(Stage::Busy(work)) = self.clients.get(key).map(|client| &client.stage) {
                if matches!(work.phase, Phase::Held(_)) {
                    return;
                }
            }
            self.line.queue.pop_front();
        }
    }
}
