//! The pump: serves one client until nothing more is possible or its budget is spent.
//!
//! One order everywhere: judge what is here, then read, then judge. The functions that move bytes
//! report a step; what it means for the connection is decided here and in `finish.rs`, in one
//! place each. This file does not know policy.

use crate::buf::Purpose;
use crate::exchange::Exchange;
use crate::h1::Bad;
use crate::h1::head::{Search, empty_lines};
use crate::keys::{Key, Source};
use crate::net::{Net, Ready};
use crate::summary::{Outcome, Reason};

use super::Engine;
use super::bytes::{Pulled, pull};
use super::client::{Ending, Phase, Stage, Watch, Work};
use super::desk::Received;
use super::finish::borrow;
use super::relay::Step;
use super::splice::send;

/// How many bytes all clients that something has happened to may move in one turn: a few
/// milliseconds, so that nobody waits longer than that for his turn. They share it evenly.
const TURN_BYTES: usize = 4 * 1024 * 1024;
/// The most that one client gets of it, and the least.
const MOST_BYTES: usize = 256 * 1024;
const LEAST_BYTES: usize = 4 * 1024;
/// How many clients that have sent their end are served in one turn: most only have to be closed.
pub(super) const LEAVES: u32 = 64;
/// What an answer costs of it at least: pipelined requests with tiny answers are more work than
/// their bytes.
const ANSWER_BYTES: usize = 8 * 1024;

/// What a client's connection does after a piece of work.
pub(super) enum After {
    /// There may be more to do at once.
    Continue(Stage),
    /// Something must happen first.
    Wait(Stage),
    /// It writes behind what others of its group do, in the third pass.
    Write(Stage),
    /// It goes on in the next turn, behind all others.
    Later(Stage),
    /// It is closed. What was written may still be read by the client.
    Close,
    /// It is closed so that the client cannot take what it got for the whole.
    Abort,
}

impl<N: Net> Engine<N> {
    /// What each client may move that is served in this turn.
    pub(super) fn share(&self) -> usize {
        let clients = self.queue.len() + self.line.called();
        if clients <= TURN_BYTES / MOST_BYTES {
            return MOST_BYTES;
        }
        (TURN_BYTES / clients).clamp(LEAST_BYTES, MOST_BYTES)
    }

    /// Serves one client.
    pub(super) fn pump(&mut self, net: &mut N, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let (stage, gone) = client.take_up();
        self.serve(net, key, stage, gone);
    }

    /// Goes on with what a client is doing, until nothing more is possible or its budget is spent.
    pub(super) fn serve(&mut self, net: &mut N, key: Key, mut stage: Stage, gone: bool) {
        let mut budget = self.share_bytes;
        let after = loop {
            let after = match stage {
                Stage::Idle => self.idle(net, key, gone, &mut budget),
                Stage::Busy(work) => self.busy(net, key, work, gone, &mut budget),
                Stage::Linger { bytes_left, until } => {
                    self.linger(net, key, bytes_left, until, &mut budget)
                }
            };
            match after {
                After::Continue(next) if budget > 0 => stage = next,
                After::Continue(next) => return self.spent(net, key, next),
                after => break after,
            }
        };
        match after {
            // As concluding would, for the price of a call less.
            After::Write(stage) => self.write_later(key, stage),
            after => self.conclude(net, key, after),
        }
    }

    /// Carries out what serving came to. What the client is doing goes back to its place, its
    /// deadline is set, and events are reported from now on, or soon.
    pub(super) fn conclude(&mut self, net: &mut N, key: Key, after: After) {
        let (stage, later) = match after {
            After::Close | After::Abort => {
                if let Some(client) = self.clients.remove(key) {
                    self.turnover.count();
                    if matches!(after, After::Abort) {
                        net.abort(client.sock);
                    }
                }
                return;
            }
            After::Write(stage) => return self.write_later(key, stage),
            After::Wait(stage) => (stage, false),
            After::Later(stage) | After::Continue(stage) => (stage, true),
        };
        let (at, _) = self.deadline(&stage);
        let Some(client) = self.clients.get_mut(key) else { return };
        client.stage = stage;
        self.timers.set(&mut client.due, Source::Client(key), at);
        if client.watch != Watch::Yes {
            self.see_to(net, key, later);
        }
        if later {
            self.enqueue(key);
        }
        self.check_nothing_possible(key);
    }

    /// Between exchanges: if there may be input, borrow what is needed to read it.
    fn idle(&mut self, net: &mut N, key: Key, gone: bool, budget: &mut usize) -> After {
        if gone {
            return After::Close;
        }
        if !self.clients.get(key).is_some_and(|client| client.ready.has(Ready::READ)) {
            return After::Wait(Stage::Idle);
        }
        let Some(work) = borrow(&mut self.spare, &mut self.bufs) else {
            self.starve(key, Purpose::Head);
            return After::Wait(Stage::Idle);
        };
        self.read_head(net, key, work, Search::default(), budget)
    }

    fn busy(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        gone: bool,
        budget: &mut usize,
    ) -> After {
        // Both ends of a tunnel may have been sent, and bytes before the client's lie unread.
        if gone && work.begun && !matches!(work.phase, Phase::Tunnel(_)) {
            return self.abandon(key, work, Outcome::ClientGone);
        }
        match std::mem::replace(&mut work.phase, Phase::Head(Search::default())) {
            Phase::Head(search) => self.read_head(net, key, work, search, budget),
            Phase::Waiting(exchange) if work.called => self.called(net, key, work, exchange),
            Phase::Waiting(exchange) => {
                work.phase = Phase::Waiting(exchange);
                After::Wait(Stage::Busy(work))
            }
            Phase::Held(exchange) => self.held(net, key, work, exchange),
            Phase::Relay(exchange) => self.relay_on(net, key, work, exchange, budget),
            Phase::Tunnel(tunnel) => self.tunnel(net, key, work, tunnel, budget),
            Phase::Flush(ending) => self.flush(net, key, work, ending, budget),
        }
    }

    /// Reads until a request head is whole, then sends it off.
    fn read_head(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        mut search: Search,
        budget: &mut usize,
    ) -> After {
        loop {
            let empty = empty_lines(work.req.fresh());
            if empty > 0 {
                work.req.discard(empty);
            }
            if !work.req.is_empty() {
                self.begin(&mut work);
                let limit = self.desk.config.max_head_bytes;
                let bytes = work.req.fresh();
                if search.worth_parsing(bytes) || bytes.len() >= limit {
                    let address = self.clients.get(key).and_then(|client| client.address);
                    let received =
                        self.desk.receive(bytes, &mut self.slots, address, &mut work.trip);
                    if !matches!(received, Received::Partial) {
                        return self.received(net, key, work, received);
                    }
                }
                if work.req.room() == 0 && !self.make_room_for_head(&mut work) {
                    work.phase = Phase::Head(search);
                    self.starve(key, Purpose::Window);
                    return After::Wait(Stage::Busy(work));
                }
            }
            let Some(client) = self.clients.get_mut(key) else { return After::Close };
            match pull(net, &mut client.sock, &mut client.ready, &mut work.req) {
                // Empty lines may come without end, and as fast as they are read.
                Pulled::Bytes(n) if n >= *budget => {
                    *budget = 0;
                    work.phase = Phase::Head(search);
                    return After::Continue(Stage::Busy(work));
                }
                Pulled::Bytes(n) => *budget -= n,
                Pulled::Nothing if work.begun => {
                    work.phase = Phase::Head(search);
                    return After::Wait(Stage::Busy(work));
                }
                Pulled::Nothing => {
                    self.give_back(work);
                    return After::Wait(Stage::Idle);
                }
                Pulled::End | Pulled::Failed(_) => {
                    return self.abandon(key, work, Outcome::ClientGone);
                }
            }
        }
    }

    /// The first byte of a request is here.
    fn begin(&mut self, work: &mut Work) {
        if !work.begun {
            work.begun = true;
            work.begun_at = self.now;
            work.up_at = self.now;
            work.down_at = self.now;
            self.stats.begin();
        }
    }

    /// A head that does not fit: moves it to the front, or into a larger piece of memory.
    fn make_room_for_head(&mut self, work: &mut Work) -> bool {
        work.req.compact();
        if work.req.room() > 0 {
            return true;
        }
        let wanted = work.req.len() * 2 + 2 * crate::buf::HEADROOM;
        match self.bufs.lend(wanted, Purpose::Window) {
            Some(mem) => {
                self.bufs.give_back(work.req.attach(mem));
                true
            }
            None => false,
        }
    }

    /// A head is whole, or will never be.
    fn received(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        received: Received,
    ) -> After {
        match received {
            Received::Partial => After::Wait(Stage::Busy(work)),
            Received::Forward(mut exchange, len) => {
                work.version = exchange.version;
                work.head_only = exchange.method == crate::h1::request::Method::Head;
                let plan = &self.desk.plan;
                match work.req.rewrite_head(len, &plan.drops, &plan.prefix) {
                    Some(new_len) => exchange.head_len = new_len,
                    None => {
                        let reason = Reason::Request(Bad::HeadTooLarge);
                        return self.refuse(key, work, reason, None);
                    }
                }
                // Who comes later does not overtake those who wait.
                if work.trip.service.is_some_and(|service| self.is_crowded(service)) {
                    work.trip.peer = None;
                }
                self.engage(net, key, work, exchange)
            }
            Received::Refused(reason, sound) => {
                work.note_method();
                let exchange = sound.map(|(exchange, len)| self.swallow(&mut work, exchange, len));
                self.refuse(key, work, reason, exchange)
            }
            Received::Hook(answer, exchange, len) => {
                let exchange = self.swallow(&mut work, exchange, len);
                self.answer(key, work, answer, Reason::Hook, Some(exchange))
            }
        }
    }

    /// A request has been called from the waiting room, to `trip.peer`.
    fn called(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        mut exchange: Box<Exchange>,
    ) -> After {
        match self.readdress(&mut work, &mut exchange) {
            Ok(()) => self.engage(net, key, work, exchange),
            Err(reason) => self.turn_away(key, work, exchange, reason),
        }
    }

    /// Takes a request out of the buffer that goes nowhere, as far as it is here.
    fn swallow(
        &mut self,
        work: &mut Work,
        mut exchange: Box<Exchange>,
        len: usize,
    ) -> Box<Exchange> {
        work.version = exchange.version;
        work.head_only = exchange.method == crate::h1::request::Method::Head;
        work.req.release(len);
        // A body that is malformed is left where it is: then the connection is not kept.
        let _ = super::bytes::judge(&mut exchange.upload, &mut work.req);
        work.req.give_up();
        exchange
    }

    /// Moves bytes both ways and acts on what happens.
    fn relay_on(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        mut exchange: Box<Exchange>,
        budget: &mut usize,
    ) -> After {
        if let Err(reason) = self.mind_hedge(net, key, &mut work, &mut exchange) {
            return self.give_in(net, key, work, exchange, reason);
        }
        let step = self.relay(net, key, &mut work, &mut exchange, budget);
        if work.hedge.is_some() && !self.is_connecting(&work) {
            self.drop_hedge(&mut work);
        }
        match step {
            Step::Wait => {
                work.phase = Phase::Relay(exchange);
                After::Wait(Stage::Busy(work))
            }
            Step::Yield => {
                work.phase = Phase::Relay(exchange);
                After::Continue(Stage::Busy(work))
            }
            Step::Starved(purpose) => {
                work.phase = Phase::Relay(exchange);
                self.starve(key, purpose);
                After::Wait(Stage::Busy(work))
            }
            Step::Complete => {
                let ending = self.complete(&mut work, exchange);
                if self.passes.takes_answer(&work) {
                    work.phase = Phase::Flush(ending);
                    return After::Write(Stage::Busy(work));
                }
                self.flush(net, key, work, ending, budget)
            }
            Step::Switched => self.open_tunnel(work),
            Step::Lost(how) => self.lose(net, key, work, exchange, how),
            Step::ClientGone => self.abandon(key, work, Outcome::ClientGone),
            Step::BadRequest(bad) => self.give_in(net, key, work, exchange, Reason::Request(bad)),
            Step::BadResponse(bad) => self.give_in(net, key, work, exchange, Reason::Response(bad)),
        }
    }

    /// The last bytes of an answer go to the client.
    pub(super) fn flush(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        ending: Ending,
        budget: &mut usize,
    ) -> After {
        let Some(client) = self.clients.get_mut(key) else { return After::Close };
        let Work { down, resp, .. } = &mut *work;
        let (sock, ready) = (&mut client.sock, &mut client.ready);
        match send(net, sock, ready, &mut self.pipes, down, resp, !ending.keep) {
            Ok(sent) if sent.bytes == 0 => {}
            Ok(sent) => {
                *budget = budget.saturating_sub(sent.cost.max(ANSWER_BYTES));
                work.response_bytes += sent.bytes as u64;
                work.down_at = self.now;
            }
            Err(_) => return self.abandon(key, work, Outcome::ClientGone),
        }
        if !work.has_bytes_down() {
            let more = client.ready.has(Ready::READ);
            return self.finish(net, key, work, ending, more);
        }
        work.phase = Phase::Flush(ending);
        After::Wait(Stage::Busy(work))
    }

    /// After a pump that was not cut by its budget, nothing is both wanted and possible: whoever
    /// stops early without queueing himself would sleep for ever, because an edge is not repeated.
    fn check_nothing_possible(&self, key: Key) {
        if !cfg!(debug_assertions) {
            return;
        }
        let Some(client) = self.clients.get(key) else { return };
        if client.queued || client.starved {
            return;
        }
        match &client.stage {
            Stage::Idle => debug_assert!(!client.ready.has(Ready::READ), "unread request"),
            Stage::Linger { .. } => {}
            Stage::Busy(work) => match &work.phase {
                Phase::Head(_) => debug_assert!(!client.ready.has(Ready::READ), "unread head"),
                Phase::Waiting(_) | Phase::Held(_) => {}
                Phase::Tunnel(tunnel) => self.check_tunnel(client, work, tunnel),
                Phase::Flush(_) => debug_assert!(!client.ready.has(Ready::WRITE), "unsent answer"),
                Phase::Relay(exchange) => {
                    let upstream = work.link.and_then(|link| self.upstreams.get(link));
                    debug_assert!(upstream.is_some(), "a relay without an upstream");
                    let Some(upstream) = upstream else { return };
                    let can_push = client.ready.has(Ready::WRITE);
                    debug_assert!(!work.has_bytes_down() || !can_push, "unsent bytes");
                    let can_pour = upstream.ready.has(Ready::WRITE) && upstream.broken.is_none();
                    debug_assert!(!work.up.holds_bytes() || !can_pour, "unsent request");
                    let detour = work.down.holds_bytes();
                    let full = work.resp.has_memory() && work.resp.room_compacted() == 0;
                    let blocked = !exchange.answering() && work.resp.has_pending();
                    debug_assert!(
                        full || blocked || detour || !upstream.ready.has(Ready::READ),
                        "unread answer"
                    );
                }
            },
        }
    }
}
