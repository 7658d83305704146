//! Who waits for memory, first in first out, by what it is wanted for.
//!
//! Nobody is reset for want of memory: a client whose request cannot get its first buffer is not
//! read, an exchange that cannot get another one is not read further, until some comes back
//! (`B8.3`). This file does not know what the memory is for beyond its purpose.

use std::collections::VecDeque;

use crate::buf::{Purpose, SMALL_BYTES};
use crate::keys::Key;
use crate::net::Net;

use super::Engine;

/// The queues, one for each purpose.
#[derive(Debug, Default)]
pub(super) struct Starved {
    head: VecDeque<Key>,
    window: VecDeque<Key>,
    answer: VecDeque<Key>,
}

impl Starved {
    fn queue(&mut self, purpose: Purpose) -> &mut VecDeque<Key> {
        match purpose {
            Purpose::Head => &mut self.head,
            Purpose::Window => &mut self.window,
            Purpose::Answer => &mut self.answer,
        }
    }

    fn is_empty(&self) -> bool {
        self.head.is_empty() && self.window.is_empty() && self.answer.is_empty()
    }
}

impl<N: Net> Engine<N> {
    /// `key` wanted memory and got none.
    pub(super) fn starve(&mut self, key: Key, purpose: Purpose) {
        if let Some(client) = self.clients.get_mut(key) {
            if !client.starved {
                client.starved = true;
                self.starved.queue(purpose).push_back(key);
            }
        }
    }

    /// Wakes as many as there is memory for now, those furthest on first.
    pub(super) fn feed_starved(&mut self) {
        if !self.bufs.take_returned() || self.starved.is_empty() {
            return;
        }
        for purpose in [Purpose::Answer, Purpose::Window, Purpose::Head] {
            let piece = match purpose {
                Purpose::Head => SMALL_BYTES,
                Purpose::Window | Purpose::Answer => self.bufs.large_bytes(),
            };
            let mut pieces = self.bufs.left_bytes(purpose) / piece;
            while pieces > 0 {
                let Some(key) = self.starved.queue(purpose).pop_front() else { break };
                if let Some(client) = self.clients.get_mut(key) {
                    client.starved = false;
                    self.enqueue(key);
                    pieces -= 1;
                }
            }
        }
    }
}
