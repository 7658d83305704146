//! Endings: our own answers, cuts, summaries, and what becomes of the client's connection.
//!
//! Every exchange passes through [`Engine::settle_account`] exactly once. This file does not know
//! how bytes are framed or where they go.

use crate::buf::{BufPool, Purpose, SMALL_BYTES};
use crate::endpoint::Failure;
use crate::exchange::{Exchange, Lost};
use crate::h1::answer::Answer;
use crate::keys::Key;
use crate::net::{Net, Ready};
use crate::summary::{Outcome, Reason, Summary};
use crate::time::Ms;

use super::Engine;
use super::attempt::take_back;
use super::client::{Client, Ending, Phase, Stage, Work};
use super::pump::After;
use super::splice::send;
use super::timers::Timers;

/// How many unused works are kept, with the memory that their next head needs, and which part of
/// all memory that may be. So many requests at once need no allocator; it would cost each of them
/// 2,000 instructions.
const SPARE_WORKS: usize = 1024;
const SPARE_PART: usize = 16;

/// How many works are kept where so much memory may be lent.
pub(super) fn spare_works(memory_bytes: usize) -> usize {
    SPARE_WORKS.min(memory_bytes / SPARE_PART / SMALL_BYTES)
}

/// A work for a new request, with memory to read into; `None` if there is none left for that.
#[allow(clippy::vec_box, reason = "lent to a client by its box, without a copy")]
pub(super) fn borrow(spare: &mut Vec<Box<Work>>, bufs: &mut BufPool) -> Option<Box<Work>> {
    let mut work = spare.pop().unwrap_or_else(|| Box::new(Work::new()));
    let lent = if work.req.has_memory() {
        bufs.lend_again(work.req.capacity(), Purpose::Head)
    } else {
        bufs.lend(1, Purpose::Head).map(|mem| work.req.adopt(mem)).is_some()
    };
    if !lent {
        spare.push(work);
        return None;
    }
    work.clear();
    Some(work)
}

impl<N: Net> Engine<N> {
    /// Answers the request ourselves, for this reason.
    pub(super) fn refuse(
        &mut self,
        key: Key,
        work: Box<Work>,
        reason: Reason,
        exchange: Option<Box<Exchange>>,
    ) -> After {
        self.answer(key, work, reason.answer(), reason, exchange)
    }

    /// Answers the request ourselves. Without an exchange its framing is unknown: then nothing
    /// behind it can be read either, and the connection is closed (`B7.1`).
    pub(super) fn answer(
        &mut self,
        _key: Key,
        mut work: Box<Work>,
        mut answer: Answer,
        reason: Reason,
        exchange: Option<Box<Exchange>>,
    ) -> After {
        debug_assert!(work.link.is_none() && !work.down.holds_bytes());
        if let Some(hooks) = &mut self.desk.hooks {
            hooks.own_answer(&mut answer);
        }
        work.req.give_up();
        work.resp.truncate();
        let keep = exchange.is_some_and(|mut exchange| exchange.promise_own(self.desk.draining));
        let keep = self.room_to_answer(&mut work, keep);
        let mut bytes = Vec::new();
        answer.write(&mut bytes, work.version, keep, work.head_only);
        work.status = answer.status();
        self.say(&mut work, &bytes);
        work.down_at = self.now;
        work.phase = Phase::Flush(Ending { outcome: Outcome::Refused(reason), keep, linger: true });
        After::Continue(Stage::Busy(work))
    }

    /// Memory for an answer of our own, within the ceiling: what its request leaves is enough. Only
    /// if others stand behind it that are to be answered, a piece more is needed; without one, they
    /// are not. Gives whether they are.
    fn room_to_answer(&mut self, work: &mut Work, keep: bool) -> bool {
        if work.resp.has_memory() || !work.req.has_memory() {
            return keep;
        }
        if keep && !work.req.is_empty() && self.room_to_speak(work) {
            return true;
        }
        let keep = keep && work.req.is_empty();
        work.req.truncate();
        work.req.give_up();
        work.resp.adopt(work.req.detach());
        keep
    }

    /// Whether there is memory for a few words.
    fn room_to_speak(&mut self, work: &mut Work) -> bool {
        if !work.resp.has_memory() {
            let Some(mem) = self.bufs.lend(1, Purpose::Answer) else { return false };
            work.resp.adopt(mem);
        }
        true
    }

    /// Puts words of our own behind what still waits to be written to the client.
    fn say(&mut self, work: &mut Work, bytes: &[u8]) {
        if !work.resp.put(bytes) {
            let wanted = work.resp.len() + bytes.len() + crate::buf::HEADROOM;
            let mem = self.bufs.lend_always(wanted);
            self.bufs.give_back(work.resp.attach(mem));
            let fits = work.resp.put(bytes);
            debug_assert!(fits);
        }
    }

    /// The exchange cannot go on, for this reason: an answer of ours if the client has none yet,
    /// else a cut.
    pub(super) fn give_in(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        mut exchange: Box<Exchange>,
        reason: Reason,
    ) -> After {
        self.detach(&mut work);
        // Who takes no byte will not take ours either.
        if reason != Reason::ClientStalled {
            take_back(&mut work, &mut exchange);
        }
        match reason {
            Reason::Response(_) => {
                self.desk.failed(&mut work.trip, Failure::BadResponse);
            }
            Reason::FirstByteTimeout | Reason::ResponseIdle | Reason::EndpointStalled => {
                self.desk.failed(&mut work.trip, Failure::NoAnswer);
            }
            _ => {}
        }
        if exchange.answering() {
            return self.cut(net, key, work, &exchange, reason);
        }
        // What is left of a broken request cannot be told from the next one.
        let sound = !matches!(reason, Reason::Request(_));
        self.refuse(key, work, reason, sound.then_some(exchange))
    }

    /// Ends an answer in its middle so that it cannot look whole (`B4.6`): what is in the buffer
    /// still goes out, but where the end of the connection is the end of the body, an RST must
    /// say that this was not it.
    pub(super) fn cut(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        exchange: &Exchange,
        reason: Reason,
    ) -> After {
        if let Some(client) = self.clients.get_mut(key) {
            let Work { down, resp, .. } = &mut *work;
            let sent =
                send(net, &mut client.sock, &mut client.ready, &mut self.pipes, down, resp, false);
            work.response_bytes += sent.unwrap_or_default().bytes as u64;
        }
        self.cut_here(key, work, exchange, reason)
    }

    /// As [`Engine::cut`], with what is in the buffer left unsent.
    pub(super) fn cut_here(
        &mut self,
        key: Key,
        work: Box<Work>,
        exchange: &Exchange,
        reason: Reason,
    ) -> After {
        self.settle_account(key, &work, Outcome::Cut(reason));
        self.give_back(work);
        let abort = exchange.ends_with_connection() || reason == Reason::ClientStalled;
        if abort { After::Abort } else { After::Close }
    }

    /// The client is gone: its upstream exchange ends at once, and is not held against the
    /// endpoint (`B8.5`).
    pub(super) fn abandon(&mut self, key: Key, mut work: Box<Work>, outcome: Outcome) -> After {
        if matches!(work.phase, Phase::Waiting(_)) {
            self.leave_room(key, work.trip.service);
        }
        self.detach(&mut work);
        self.settle_account(key, &work, outcome);
        self.give_back(work);
        After::Close
    }

    /// The last byte of the answer is written. `more`: the client may have sent the next request.
    pub(super) fn finish(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        ending: Ending,
        more: bool,
    ) -> After {
        self.settle_account(key, &work, ending.outcome);
        if ending.keep {
            if work.down.is_laid_up() {
                if let Some(client) = self.clients.get_mut(key) {
                    net.lay_up(&mut client.sock, false);
                }
            }
            work.req.give_up();
            if work.req.is_empty() {
                self.give_back(work);
                let idle = Stage::Idle;
                return if more { After::Continue(idle) } else { After::Wait(idle) };
            }
            self.pipes.discard_both(&mut work);
            work.clear();
            self.bufs.give_back(work.resp.detach());
            return After::Continue(Stage::Busy(work));
        }
        self.give_back(work);
        let Some(client) = self.clients.get_mut(key) else { return After::Close };
        // Also before a close, which might meet unread input: what is written is on its way then.
        net.shutdown_write(&mut client.sock);
        if ending.linger { self.begin_linger() } else { After::Close }
    }

    /// Our end is sent to the client; what it still sends is read for a while.
    pub(super) fn begin_linger(&self) -> After {
        let config = &self.desk.config;
        let bytes_left = u32::try_from(config.linger_bytes).unwrap_or(u32::MAX);
        After::Continue(Stage::Linger { bytes_left, until: self.now + config.linger_ms })
    }

    /// Reads and drops what a client still sends after its answer. Out of line: its bytes lie on
    /// the stack, and those would be probed for each request.
    #[inline(never)]
    pub(super) fn linger(
        &mut self,
        net: &mut N,
        key: Key,
        mut bytes_left: u32,
        until: Ms,
        budget: &mut usize,
    ) -> After {
        let Some(client) = self.clients.get_mut(key) else { return After::Close };
        let mut drain = [0; 4096];
        // To the very end, even if the client is known to be gone: closing with unread input would
        // send an RST, which destroys what the client has not read yet. So it is not closed either
        // when enough was read: who sends too much comes to a halt, and finds the answer.
        while client.ready.has(Ready::READ) && bytes_left > 0 {
            match net.read(&mut client.sock, &mut drain) {
                Ok(0) => return After::Close,
                Ok(n) => {
                    bytes_left = bytes_left.saturating_sub(n as u32);
                    *budget = budget.saturating_sub(n);
                    if *budget == 0 {
                        return After::Continue(Stage::Linger { bytes_left, until });
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    client.ready = client.ready.without(Ready::READ);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return After::Close,
            }
        }
        After::Wait(Stage::Linger { bytes_left, until })
    }

    /// The exchange has ended: it is counted, and whoever wants to know is told.
    pub(super) fn settle_account(&mut self, key: Key, work: &Work, outcome: Outcome) {
        if !work.begun {
            return;
        }
        let clients = &self.clients;
        self.desk.finished(&work.trip, |service, endpoint| Summary {
            client: clients.get(key).and_then(|client| client.address),
            service,
            endpoint,
            status: work.status,
            outcome,
            attempts: work.attempts,
            request_bytes: work.request_bytes,
            response_bytes: work.response_bytes,
            begun: work.begun_at,
            ended: self.now,
        });
        self.stats.end(outcome);
    }

    /// Returns a work and its memory.
    pub(super) fn give_back(&mut self, mut work: Box<Work>) {
        debug_assert!(work.link.is_none());
        self.pipes.discard_both(&mut work);
        let is_kept = self.spare.len() < self.spare_most;
        if is_kept && work.req.capacity() == SMALL_BYTES {
            self.bufs.keep(SMALL_BYTES);
            work.req.reset();
        } else {
            self.bufs.give_back(work.req.detach());
        }
        self.bufs.give_back(work.resp.detach());
        if is_kept {
            self.spare.push(work);
        }
    }

    /// Something has taken too long.
    pub(super) fn client_due(&mut self, net: &mut N, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let gone = client.ready.has(Ready::GONE);
        let after = match std::mem::take(&mut client.stage) {
            // It has sent a request, and waits for memory to have it read: that is our fault.
            Stage::Idle if client.starved => After::Wait(Stage::Idle),
            Stage::Idle => return self.idle_due(net, key),
            Stage::Linger { .. } => After::Close,
            Stage::Busy(work) => self.work_due(net, key, work),
        };
        match after {
            After::Continue(stage) => self.serve(net, key, stage, gone),
            after => self.conclude(net, key, after),
        }
    }

    /// A client has been idle for long enough. After a last look: a request that has arrived since
    /// the events of this turn were taken is served, where closing would reset it.
    fn idle_due(&mut self, net: &mut N, key: Key) {
        let accepted = self.stats.accepted;
        if let Some(client) = self.clients.get_mut(key) {
            client.ready = client.ready.with(Ready::READ);
        }
        self.pump(net, key);
        let idle = |client: &Client<_>| matches!(client.stage, Stage::Idle) && !client.starved;
        if self.clients.get(key).is_some_and(idle) && accepted == self.stats.accepted {
            self.conclude(net, key, After::Close);
        }
    }

    fn work_due(&mut self, net: &mut N, key: Key, mut work: Box<Work>) -> After {
        let phase = std::mem::replace(&mut work.phase, Phase::Head(Default::default()));
        match phase {
            Phase::Head(_) => {
                work.note_method();
                self.refuse(key, work, Reason::HeadTimeout, None)
            }
            Phase::Flush(_) => {
                let reason = Reason::ClientStalled;
                self.settle_account(key, &work, Outcome::Cut(reason));
                self.give_back(work);
                After::Abort
            }
            Phase::Waiting(exchange) => self.give_up_waiting(key, work, exchange),
            Phase::Held(exchange) => self.held(net, key, work, exchange),
            Phase::Tunnel(tunnel) => self.tunnel_due(net, key, work, tunnel),
            Phase::Relay(mut exchange) => {
                let connecting = self.is_connecting(&work);
                let hedge = self.hedge_deadline(&work, connecting);
                if hedge.is_some_and(|at| at.has_passed(self.now)) {
                    let started = self.start_hedge(net, key, &mut work, &mut exchange);
                    if let Err(reason) = started {
                        return self.give_in(net, key, work, exchange, reason);
                    }
                }
                let own = self.continue_deadline(&work, &exchange);
                let ours = own.is_some_and(|at| at.has_passed(self.now));
                if ours && !self.room_to_speak(&mut work) {
                    // Once more in a while.
                    work.up_at = self.now;
                } else if ours {
                    exchange.expects = false;
                    self.say(&mut work, b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                let connecting = self.is_connecting(&work);
                let (at, reason) = self.relay_deadline(&work, &exchange, connecting);
                if !at.has_passed(self.now) {
                    work.phase = Phase::Relay(exchange);
                    return After::Continue(Stage::Busy(work));
                }
                match reason {
                    Reason::Unreached(failure) => {
                        self.lose(net, key, work, exchange, Lost::Connect(failure))
                    }
                    reason => self.give_in(net, key, work, exchange, reason),
                }
            }
        }
    }

    /// Ends a client's connection whatever it is doing.
    pub(super) fn drop_client(&mut self, net: &mut N, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let after = match std::mem::take(&mut client.stage) {
            Stage::Idle | Stage::Linger { .. } => After::Close,
            Stage::Busy(mut work) => {
                match work.phase {
                    Phase::Waiting(_) => self.leave_room(key, work.trip.service),
                    Phase::Tunnel(_) => self.abort_link(net, &mut work),
                    _ => {}
                }
                self.detach(&mut work);
                self.settle_account(key, &work, Outcome::Cut(Reason::Stopped));
                self.give_back(work);
                After::Abort
            }
        };
        self.conclude(net, key, after);
    }

    /// Ends every connection.
    pub(super) fn cut_all(&mut self, net: &mut N) {
        for key in self.clients.keys() {
            self.drop_client(net, key);
        }
        for key in self.upstreams.keys() {
            if let Some(upstream) = self.upstreams.remove(key) {
                self.desk.peers.remove(upstream.peer, key, self.now);
            }
        }
        self.queue.clear();
        self.line.clear();
        self.rooms.clear();
        self.timers = Timers::default();
    }
}
