//! The waiting room: requests that no endpoint can take now (`B4.5`).
//!
//! ```text
//!   no endpoint --> | front ... back |   one queue per service, first in first out
//!                      |
//!                      '--> an endpoint stands well, or has a hand free: at once
//!                      '--> else the front one scouts: after 50, 100, 200, 250 ms it tries
//!                           whoever failed longest ago, while the others wait
//! ```
//!
//! Nobody has to remember to wake anybody: after every run each queue is looked at, and whoever can
//! be served is served. So no wake-up can be forgotten, and a run in which nothing has changed
//! costs one look per service that has somebody waiting. This file does not know why an endpoint
//! stands as it does.

use std::collections::{BTreeMap, VecDeque};

use crate::exchange::Exchange;
use crate::keys::{Key, Source};
use crate::net::Net;
use crate::summary::Reason;
use crate::time::Ms;

use super::Engine;
use super::client::{Phase, Stage, Work};
use super::pump::After;
use super::services::{Chosen, Depth, ServiceId};
use super::timers::Due;

/// How long the first scout waits; doubled for each further one.
const FIRST_SCOUT_MS: u64 = 50;
/// A restarted endpoint is found again within this time.
const LAST_SCOUT_MS: u64 = 250;

/// The requests of one service that wait.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// In the order of their tickets.
    queue: VecDeque<(u64, Key)>,
    /// One that was called has come back unserved: nobody is called before this.
    closed_until: Ms,
    scout_at: Ms,
    scout_ms: u64,
    due: Due,
}

/// All rooms that somebody waits in.
pub(super) type Rooms = BTreeMap<ServiceId, Room>;

impl<N: Net> Engine<N> {
    /// Whether requests of this service wait, so that a new one must queue behind them.
    pub(super) fn is_crowded(&self, service: ServiceId) -> bool {
        let waits = |room: &Room| !room.queue.is_empty();
        !self.rooms.is_empty() && self.rooms.get(&service).is_some_and(waits)
    }

    /// Puts a request into its service's room; without a place there, or when it has waited long
    /// enough, it is answered with `reason`.
    pub(super) fn wait(
        &mut self,
        key: Key,
        mut work: Box<Work>,
        exchange: Box<Exchange>,
        reason: Reason,
    ) -> After {
        let config = &self.desk.config;
        let until = *work.wait_until.get_or_insert(self.now + config.wait_ms);
        let Some(service) = work.trip.service else {
            return self.turn_away(key, work, exchange, reason);
        };
        if config.wait_requests == 0 {
            return self.turn_away(key, work, exchange, reason);
        }
        if until.has_passed(self.now) {
            return self.give_up_waiting(key, work, exchange);
        }
        let room = self.rooms.entry(service).or_default();
        if room.queue.is_empty() {
            room.scout_ms = FIRST_SCOUT_MS;
            room.scout_at = self.now + FIRST_SCOUT_MS;
        }
        if work.called {
            // It was called, in vain, and keeps its place. Others may have been called as well.
            let behind = |&(ticket, _): &(u64, Key)| ticket > work.ticket;
            let place = room.queue.iter().position(behind).unwrap_or(room.queue.len());
            room.queue.insert(place, (work.ticket, key));
            room.closed_until = room.scout_at;
        } else if room.queue.len() < config.wait_requests {
            self.stats.waited += 1;
            work.ticket = self.stats.waited;
            room.queue.push_back((work.ticket, key));
        } else {
            return self.turn_away(key, work, exchange, reason);
        }
        work.called = false;
        work.phase = Phase::Waiting(exchange);
        After::Wait(Stage::Busy(work))
    }

    /// `key` waits no longer. Its place must not wait for it: the next request of the same client
    /// would stand in it, ahead of others.
    pub(super) fn leave_room(&mut self, key: Key, service: Option<ServiceId>) {
        let Some(room) = service.and_then(|service| self.rooms.get_mut(&service)) else { return };
        if let Some(place) = room.queue.iter().position(|&(_, waits)| waits == key) {
            room.queue.remove(place);
        }
    }

    /// The client's patience has ended.
    pub(super) fn give_up_waiting(
        &mut self,
        key: Key,
        work: Box<Work>,
        from: Box<Exchange>,
    ) -> After {
        self.leave_room(key, work.trip.service);
        self.turn_away(key, work, from, Reason::NoEndpoint)
    }

    /// Nobody takes a request, for this reason: the client is told, unless it has the beginning of
    /// an answer, which must not look whole.
    pub(super) fn turn_away(
        &mut self,
        key: Key,
        work: Box<Work>,
        exchange: Box<Exchange>,
        reason: Reason,
    ) -> After {
        if exchange.answering() {
            return self.cut_here(key, work, &exchange, Reason::Incomplete);
        }
        self.refuse(key, work, reason, Some(exchange))
    }

    /// A scout may be due. That it is will be seen when the rooms are served.
    pub(super) fn room_due(&mut self, service: u32, at: Ms) {
        if let Some(room) = self.rooms.get_mut(&(service as ServiceId)) {
            self.timers.comes_up(&mut room.due, Source::Service(service), at, self.now);
        }
    }

    /// Serves whoever waits and can be served now.
    pub(super) fn serve_rooms(&mut self, net: &mut N) {
        if self.rooms.is_empty() {
            return;
        }
        for service in self.rooms.keys().copied().collect::<Vec<_>>() {
            while self.serve_front(net, service) {}
            self.tidy_room(service);
        }
    }

    /// Serves the one at the front. Gives `false` if it cannot be served, or there is none.
    fn serve_front(&mut self, net: &mut N, service: ServiceId) -> bool {
        let Some(room) = self.rooms.get_mut(&service) else { return false };
        let Some(&(_, key)) = room.queue.front() else { return false };
        let waits = |work: &Work| matches!(work.phase, Phase::Waiting(_));
        let client = self.clients.get_mut(key);
        let work = client.and_then(|client| match &mut client.stage {
            Stage::Busy(work) if waits(work) => Some(work),
            _ => None,
        });
        let Some(work) = work else {
            // It has gone, or given up.
            room.queue.pop_front();
            return true;
        };
        let scouts = room.scout_at <= self.now;
        if !scouts && self.now < room.closed_until {
            return false;
        }
        work.trip.tried.clear();
        self.desk.refresh_trip(&work.trip);
        let depth = if scouts { Depth::Unproven } else { Depth::Sound };
        let chosen = self.desk.choose(&mut work.trip, depth);
        if scouts {
            room.scout_ms = (room.scout_ms * 2).min(LAST_SCOUT_MS);
            room.scout_at = self.now + room.scout_ms;
        }
        let Chosen::Peer(_) = chosen else { return false };
        work.called = true;
        room.queue.pop_front();
        self.pump(net, key);
        true
    }

    /// Arms the next scout, or closes a room that nobody waits in.
    fn tidy_room(&mut self, service: ServiceId) {
        let Some(room) = self.rooms.get_mut(&service) else { return };
        if room.queue.is_empty() {
            self.rooms.remove(&service);
            return;
        }
        let at = room.scout_at.max(self.now + 1);
        self.timers.set(&mut room.due, Source::Service(service as u32), at);
    }

    /// Something has changed outside: whoever was turned away may try again.
    pub(super) fn reopen_rooms(&mut self) {
        self.rooms.values_mut().for_each(|room| room.closed_until = Ms::ZERO);
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> usize {
        self.rooms.values().map(|room| room.queue.len()).sum()
    }
}

#[cfg(test)]
impl Room {
    /// Who waits, in order, for the simulator.
    pub(super) fn queue(&self) -> impl Iterator<Item = &Key> {
        self.queue.iter().map(|(_, key)| key)
    }
}
