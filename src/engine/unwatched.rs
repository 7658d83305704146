//! New clients that are not watched yet: who has asked for one answer, and is closed behind it,
//! needs no events if the answer is quick.
//!
//! ```text
//!   accept -> request read and sent on -> [ unwatched ] --- answer ---> closed, and never watched
//!                                               '-------- 10 ms ------> watched, as all others
//! ```
//!
//! To have the kernel watch a connection, and forget it again, is a tenth of what a request on a
//! connection of its own costs. The price is that a client which goes away meanwhile is noticed
//! these milliseconds later (`B8.5`). This file does not know what is asked or answered.

use std::collections::VecDeque;

use crate::keys::{Key, Source};
use crate::net::{Net, Ready};
use crate::time::Ms;

use super::Engine;
use super::client::{Client, Phase, Stage, Watch};

/// How long an answer may take for that: a turn with many clients takes some milliseconds.
const QUICK_MS: u64 = 10;
/// If one took longer, so many of the next clients are watched at once. Where endpoints are slow,
/// each of them would wake us up for nothing else, which costs more than it spares.
const WARY: u32 = 64;

/// All new clients that are not watched yet.
#[derive(Debug, Default)]
pub(super) struct Unwatched {
    /// Each with its time, the one that came first in front: between two runs it is still here.
    queue: VecDeque<(Key, Ms)>,
    /// How many of the next are watched at once.
    wary: u32,
}

impl Unwatched {
    /// When the first one has waited for too long.
    pub(super) fn due(&self) -> Option<Ms> {
        self.queue.front().map(|(_, since)| *since + QUICK_MS)
    }

    fn may_take(&mut self) -> bool {
        let may = self.wary == 0;
        self.wary = self.wary.saturating_sub(1);
        may
    }
}

/// Whether all that can still happen to it, but for its end, is an answer.
fn only_waits<S>(client: &Client<S>) -> bool {
    let Stage::Busy(work) = &client.stage else { return false };
    let Phase::Relay(exchange) = &work.phase else { return false };
    let asked = exchange.asked_to_close() && exchange.upload.is_done() && !work.has_bytes_up();
    asked && client.ready.has(Ready::WRITE)
}

impl<N: Net> Engine<N> {
    /// Sees to it that events of a client are reported: at once, or a little later if it is new,
    /// waits for an answer, and has no more to do in this turn. If that fails, it is gone.
    pub(super) fn see_to(&mut self, net: &mut N, key: Key, more: bool) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let waits = client.watch == Watch::No && !more && only_waits(client);
        if waits && self.unwatched.may_take() {
            client.watch = Watch::Soon;
            self.unwatched.queue.push_back((key, self.now));
        } else {
            self.watch(net, key);
        }
    }

    fn watch(&mut self, net: &mut N, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.watch = Watch::Yes;
        if let Err(error) = net.watch(&mut client.sock, Source::Client(key)) {
            log::warn!("watching a client: {error}");
            self.drop_client(net, key);
        }
    }

    /// Whoever has not been answered by now is watched from here on.
    pub(super) fn serve_unwatched(&mut self, net: &mut N) {
        while let Some(&(key, since)) = self.unwatched.queue.front() {
            if self.clients.get(key).is_some_and(|client| client.watch == Watch::Soon) {
                if self.now < since + QUICK_MS {
                    return;
                }
                self.unwatched.wary = WARY;
                self.watch(net, key);
            }
            self.unwatched.queue.pop_front();
        }
    }
}
