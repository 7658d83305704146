//! The end of an engine: it stops taking clients in, lets what has begun come to its end, and cuts
//! what is left when its time is over (`B9.1`).
//!
//! ```text
//!   Serving --drain--> Draining ----- nobody is left, or time is over ----> Ended
//!                       |-- listeners: nobody new joins the queue; who waits is taken in; closed
//!                       |-- idle clients: a second for a request that is on its way
//!                       '-- exchanges: their answers say close
//! ```
//!
//! To stop is to drain without any time. This file does not know what an exchange is doing.

use crate::keys::Source;
use crate::net::Net;
use crate::time::Ms;

use super::Engine;
use super::client::Stage;
use super::timers::Due;

/// How long a client that was promised another request may take to send it.
const IDLE_MS: u64 = 1_000;
/// How long a handshake may take that had begun when nobody new was let in: the round trip of a
/// far client. Its kernel believes in the connection before ours does.
const HANDSHAKE_MS: u64 = 250;

/// How far an engine has come.
pub(super) enum Life {
    /// Clients are taken in.
    Serving,
    /// What has begun comes to its end.
    Draining(Drain),
    /// Nothing is left.
    Ended,
}

/// What is still to be done before the end.
pub(super) struct Drain {
    /// The listeners have been told.
    begun: bool,
    /// Listeners that another process goes on with: who waits there is taken in by that one.
    handed: Vec<u32>,
    /// Listeners that are still open.
    open: Vec<u32>,
    /// When no handshake is under way any more.
    quiet: Ms,
    /// When what is left is cut.
    until: Ms,
    due: Due,
}

impl<N: Net> Engine<N> {
    /// Ends within `deadline_ms`; a second order can only shorten it.
    pub(super) fn order_drain(&mut self, deadline_ms: u64, handed: Vec<u32>) {
        let until = Ms(self.now.0.saturating_add(deadline_ms));
        match &mut self.life {
            Life::Serving => {
                self.life = Life::Draining(Drain {
                    begun: false,
                    handed,
                    open: (0..self.listeners.len() as u32).collect(),
                    quiet: self.now,
                    until,
                    due: Due::default(),
                });
            }
            Life::Draining(drain) => drain.until = drain.until.min(until),
            Life::Ended => {}
        }
        self.desk.draining = true;
        self.arm();
    }

    /// How long exchanges may take when the proxy is to end, in milliseconds.
    pub(crate) fn drain_ms(&self) -> u64 {
        self.desk.config.drain_ms
    }

    /// Whether the time is over.
    pub(super) fn out_of_time(&self) -> bool {
        matches!(&self.life, Life::Draining(drain) if drain.until <= self.now)
    }

    /// How long a client may be idle.
    pub(super) fn idle_ms(&self) -> u64 {
        let most = if self.desk.draining { IDLE_MS } else { u64::MAX };
        self.desk.config.client_idle_ms.min(most)
    }

    /// The next moment that matters.
    fn arm(&mut self) {
        if let Life::Draining(drain) = &mut self.life {
            let quiet = drain.quiet > self.now && drain.begun;
            let at = if quiet { drain.quiet.min(drain.until) } else { drain.until };
            self.timers.set(&mut drain.due, Source::Waker, at);
        }
    }

    /// A moment that mattered may have come. What follows is seen in this very turn.
    pub(super) fn drain_due(&mut self, at: Ms) {
        let Life::Draining(drain) = &mut self.life else { return };
        if self.timers.comes_up(&mut drain.due, Source::Waker, at, self.now) {
            self.arm();
        }
    }

    /// Takes in who still waits, and closes listeners where nobody does.
    pub(super) fn drain_listeners(&mut self, net: &mut N) {
        self.begin_drain(net);
        let Life::Draining(drain) = &mut self.life else { return };
        let quiet = drain.quiet <= self.now;
        let open = std::mem::take(&mut drain.open);
        for number in &open {
            if let Some(listener) = self.listeners.get_mut(*number as usize) {
                // A last look: no event may have told of the last one to come.
                listener.ready |= quiet;
            }
        }
        self.accept_all(net);
        let waits = |number: &u32| self.listeners.get(*number as usize).is_some_and(|l| l.ready);
        let (left, done) = open.into_iter().partition(|number| !quiet || waits(number));
        close(net, done);
        if let Life::Draining(drain) = &mut self.life {
            drain.open = left;
        }
    }

    fn begin_drain(&mut self, net: &mut N) {
        let Life::Draining(drain) = &mut self.life else { return };
        if std::mem::replace(&mut drain.begun, true) {
            return;
        }
        let (handed, open) = drain.open.iter().partition(|n| drain.handed.contains(n));
        close(net, handed);
        drain.open = open;
        let mut held = false;
        for number in &drain.open {
            held |= net.hold(*number);
        }
        if held {
            drain.quiet = self.now + HANDSHAKE_MS;
        }
        let at = self.now + self.idle_ms();
        for key in self.clients.keys() {
            let Some(client) = self.clients.get_mut(key) else { continue };
            if matches!(client.stage, Stage::Idle) {
                self.timers.set(&mut client.due, Source::Client(key), at);
            }
        }
        self.arm();
    }

    /// Ends the engine if nothing is left to do, or no time.
    pub(super) fn end_drain(&mut self, net: &mut N) {
        let Life::Draining(drain) = &self.life else { return };
        let nobody = self.clients.len() == 0 && drain.open.is_empty();
        if !nobody && !self.out_of_time() {
            return;
        }
        self.begin_drain(net);
        if let Life::Draining(drain) = &mut self.life {
            close(net, std::mem::take(&mut drain.open));
        }
        self.cut_all(net);
        self.life = Life::Ended;
    }
}

fn close(net: &mut impl Net, listeners: Vec<u32>) {
    for number in listeners {
        net.unlisten(number);
    }
}
