//! Listeners: taking clients in, in batches, and pausing where there is no room.
//!
//! At `max-connections` a listener is left alone: the kernel's queue waits. Out of descriptors the
//! same, with a pause, because an edge is not repeated and asking at once again would spin
//! (`B8.3`). This file does not know what clients say.

use std::io::ErrorKind;

use crate::keys::Source;
use crate::net::Net;
use crate::time::Ms;

use super::Engine;
use super::client::Client;
use super::timers::Due;

/// How many clients one listener takes in per turn.
const BATCH: usize = 64;
/// How many clients more than another worker's make nobody give way.
const LEAD: usize = 4;
/// For so long it is counted how many clients leave.
const WINDOW_MS: u64 = 100;
/// How long a listener rests when the process is out of descriptors.
const PAUSE_MS: u64 = 100;

/// One listener.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// Somebody may be waiting.
    pub(super) ready: bool,
    paused: bool,
    /// It has just been left to others.
    gave_way: bool,
    due: Due,
}

/// How many clients have left of late. Where as many leave as there are, who has more of them will
/// soon have less: to leave newcomers to others then would only make them wait.
#[derive(Debug, Default)]
pub(super) struct Turnover {
    since: Ms,
    left: usize,
    before: usize,
}

impl Turnover {
    /// A client has left.
    pub(super) fn count(&mut self) {
        self.left += 1;
    }

    /// How many have left in this window, or in the one before if those were more.
    fn recent(&mut self, now: Ms) -> usize {
        let age_ms = now.since(self.since);
        if age_ms >= WINDOW_MS {
            self.before = if age_ms < 2 * WINDOW_MS { self.left } else { 0 };
            (self.since, self.left) = (now, 0);
        }
        self.before.max(self.left)
    }
}

impl<N: Net> Engine<N> {
    /// Others accept from the same listeners, and of them who has the fewest clients has so many.
    pub(crate) fn compare(&mut self, fewest: Option<usize>) {
        self.fewest = fewest;
    }

    /// Whether the next client should be another worker's: an eighth more is no matter, and if they
    /// do not stay, nothing is.
    fn is_ahead(&mut self) -> bool {
        let own = self.clients.len();
        let ahead = self.fewest.is_some_and(|fewest| own > fewest + LEAD + own / 8);
        ahead && !self.desk.draining && self.turnover.recent(self.now) < own
    }

    fn has_room(&self) -> bool {
        self.clients.len() < self.desk.config.max_connections
    }

    /// Whether a client can be taken in now.
    pub(super) fn may_accept(&self) -> bool {
        self.has_room() && self.listeners.iter().any(|l| l.ready && !l.paused)
    }

    /// Takes in who waits, and serves each at once: mostly its request is here already.
    pub(super) fn accept_all(&mut self, net: &mut N) {
        for number in 0..self.listeners.len() {
            let Some(listener) = self.listeners.get_mut(number) else { break };
            if listener.paused {
                continue;
            }
            let gave_way = std::mem::take(&mut listener.gave_way);
            for _ in 0..if gave_way { LEAD } else { BATCH } {
                let may = self.listeners.get(number).is_some_and(|l| l.ready && !l.paused);
                if !may || !self.has_room() {
                    break;
                }
                if self.is_ahead() && !gave_way {
                    self.give_way(number);
                    break;
                }
                if !self.accept_one(net, number) {
                    break;
                }
            }
        }
    }

    /// A worker that is ahead leaves a listener to the others for a millisecond, or what is left of
    /// it. Each is told of every client, so they need no more than to wake up; if they do not, it
    /// takes a few clients in itself.
    fn give_way(&mut self, number: usize) {
        let Some(listener) = self.listeners.get_mut(number) else { return };
        (listener.gave_way, listener.paused) = (true, true);
        self.timers.set(&mut listener.due, Source::Listener(number as u32), self.now);
    }

    fn accept_one(&mut self, net: &mut N, number: usize) -> bool {
        let Some(listener) = self.listeners.get_mut(number) else { return false };
        match net.accept(number as u32) {
            Ok((sock, address)) => {
                let key = self.clients.insert(Client::new(sock, address));
                self.pump(net, key);
                true
            }
            Err(error) => {
                match error.kind() {
                    ErrorKind::WouldBlock => listener.ready = false,
                    // The client gave up while it was waiting, or the call was disturbed.
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted => return true,
                    _ => {
                        log::warn!("accept: {error}; pausing for {PAUSE_MS} ms");
                        self.pipes.close_idle();
                        listener.paused = true;
                        let at = self.now + PAUSE_MS;
                        let source = Source::Listener(number as u32);
                        self.timers.set(&mut listener.due, source, at);
                    }
                }
                false
            }
        }
    }

    /// A pause may be over.
    pub(super) fn resume_listener(&mut self, number: u32, at: Ms) {
        let Some(listener) = self.listeners.get_mut(number as usize) else { return };
        let source = Source::Listener(number);
        if self.timers.comes_up(&mut listener.due, source, at, self.now) {
            listener.paused = false;
        }
    }
}
