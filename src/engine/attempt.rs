//! Attempts: taking a connection for a request, losing it, trying again, parking it.
//!
//! There is one road back after every loss, whatever was lost and when: the verdict table says
//! what follows, the window is rewound, another endpoint is chosen; if there is none now, the
//! request waits (`room.rs`). This file does not know how bytes move.

use std::io::{self, ErrorKind};

use crate::config::ReuseUnsafe;
use crate::endpoint::Failure;
use crate::exchange::{Exchange, Lost, Verdict};
use crate::health::{Health, TRUST_IDLE_MS};
use crate::keys::{Key, Source};
use crate::net::{Net, Ready};
use crate::summary::{Outcome, Reason};

use super::Engine;
use super::bytes::failure_of;
use super::client::{Ending, Phase, Stage, UpState, Upstream, Work};
use super::passes::send_whole;
use super::pump::After;
use super::services::Chosen;
use super::timers::Due;

/// How often one request may be written again: who kills one endpoint after the other is stopped.
pub(super) const MAX_REPEATS: u8 = 5;

/// Why a connection could not be asked for.
pub(super) enum NoConnection {
    /// The endpoint is at fault.
    Endpoint(Failure),
    /// We are: out of descriptors or memory.
    Ours,
}

/// Why a request is not offered again at once.
enum NoMore {
    /// Nobody is left, or has a hand free; for this reason, if it cannot wait.
    Nobody(Reason),
    /// It must not be.
    Never(Reason),
}

impl<N: Net> Engine<N> {
    /// Gives the request to `trip.peer`, or to another endpoint if that fails at once.
    pub(super) fn engage(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        mut exchange: Box<Exchange>,
    ) -> After {
        loop {
            let Some(peer) = work.trip.peer else {
                return self.wait(key, work, exchange, Reason::NoEndpoint);
            };
            let pooled = self.take_pooled(net, key, &exchange, peer);
            if pooled.is_none() && !self.line.may_connect() {
                self.line.join(key);
                work.phase = Phase::Held(exchange);
                return After::Wait(Stage::Busy(work));
            }
            work.attempts += 1;
            work.attempt_at = self.now;
            work.hedged = false;
            let stands = pooled.is_some();
            let link = match pooled {
                Some(link) => Ok(link),
                None => self.connect(net, key, peer, &exchange),
            };
            match link {
                Ok(link) => {
                    work.link = Some(link);
                    let whole = stands && exchange.upload.is_done();
                    let later = whole && self.passes.takes_request(&exchange);
                    work.phase = Phase::Relay(exchange);
                    if later {
                        return After::Write(Stage::Busy(work));
                    }
                    let sent = whole && send_whole(net, &mut self.upstreams, &mut work, self.now);
                    let stage = Stage::Busy(work);
                    return if sent { After::Wait(stage) } else { After::Continue(stage) };
                }
                Err(NoConnection::Ours) => {
                    return self.wait(key, work, exchange, Reason::Overloaded);
                }
                Err(NoConnection::Endpoint(failure)) => {
                    let how = Lost::Connect(failure);
                    if let Err(end) = self.judge_loss(&mut work, &mut exchange, how, 0, false) {
                        return self.no_more(net, key, work, exchange, end);
                    }
                }
            }
        }
    }

    /// A request that came in a turn with too many new connections is called from the line. Its
    /// endpoint is chosen anew: others have been given work since.
    pub(super) fn held(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        mut exchange: Box<Exchange>,
    ) -> After {
        if !self.line.is_calling(key) {
            work.phase = Phase::Held(exchange);
            return After::Wait(Stage::Busy(work));
        }
        let crowded = work.trip.service.is_some_and(|service| self.is_crowded(service));
        if crowded || !matches!(self.desk.again(&mut work.trip), Chosen::Peer(_)) {
            work.trip.peer = None;
        } else if let Err(reason) = self.readdress(&mut work, &mut exchange) {
            return self.turn_away(key, work, exchange, reason);
        }
        let after = self.engage(net, key, work, exchange);
        self.line.has_answered();
        after
    }

    /// A used connection for the request, if it may ride one (`B4.3`); the exchange holds it now.
    pub(super) fn take_pooled(
        &mut self,
        net: &mut N,
        owner: Key,
        exchange: &Exchange,
        peer: Key,
    ) -> Option<Key> {
        if exchange.fresh_only {
            return None;
        }
        let (repeatable, coming) = (exchange.may_reuse(), !exchange.upload.is_done());
        let (now, reuse_unsafe) = (self.now, self.desk.config.reuse_unsafe);
        let within_ms = |health: &Health| match reuse_unsafe {
            _ if !health.may_reuse(now) => None,
            _ if repeatable => Some(u64::MAX),
            ReuseUnsafe::Always => Some(u64::MAX),
            ReuseUnsafe::Fresh => None,
            ReuseUnsafe::Auto => health.trusted(now).then_some(TRUST_IDLE_MS),
        };
        loop {
            let (link, idle_ms) = self.desk.peers.take(peer, within_ms, coming, now)?;
            let Some(upstream) = self.upstreams.get_mut(link) else {
                self.desk.peers.end(peer, coming);
                continue;
            };
            debug_assert!(upstream.state == UpState::Idle && !upstream.ready.has(Ready::READ));
            // The last look before the first write: an end that has arrived since the last batch.
            if !repeatable && !net.is_silent(&mut upstream.sock) {
                self.upstreams.remove(link);
                if let Some(peer) = self.desk.peers.get_mut(peer) {
                    peer.health.idle_closed(idle_ms, now);
                }
                self.desk.peers.end(peer, coming);
                continue;
            }
            upstream.state = UpState::Busy { owner };
            upstream.reused = true;
            upstream.coming = coming;
            self.stats.reused += 1;
            return Some(link);
        }
    }

    /// A new connection for the request; the exchange holds it now.
    pub(super) fn connect(
        &mut self,
        net: &mut N,
        owner: Key,
        peer: Key,
        exchange: &Exchange,
    ) -> Result<Key, NoConnection> {
        let gone = NoConnection::Endpoint(Failure::Unreachable);
        let address = self.desk.peers.get(peer).map(|peer| peer.endpoint.address().clone());
        let address = address.ok_or(gone)?;
        let coming = !exchange.upload.is_done();
        self.stats.connects += 1;
        self.line.connected();
        let mut result = net.connect(&address);
        if result.as_ref().is_err_and(is_ours) && self.close_oldest_idle() {
            result = net.connect(&address);
        }
        let sock = result.map_err(|error| {
            let ours = is_ours(&error);
            if ours { NoConnection::Ours } else { NoConnection::Endpoint(failure_of(error.kind())) }
        })?;
        let link = self.upstreams.insert(Upstream {
            sock,
            // Whether it stands is found out by writing: on the same host it mostly does already.
            ready: Ready::WRITE,
            peer,
            state: UpState::Connecting { owner },
            reused: false,
            coming,
            broken: None,
            due: Due::default(),
        });
        let watched = match self.upstreams.get_mut(link) {
            Some(upstream) => net.watch(&mut upstream.sock, Source::Upstream(link)),
            None => Ok(()),
        };
        if watched.is_err() {
            self.upstreams.remove(link);
            return Err(NoConnection::Ours);
        }
        self.desk.peers.begin(peer, coming);
        Ok(link)
    }

    /// Makes room for a connection that is wanted, by one that is not and by pipes that lie idle.
    fn close_oldest_idle(&mut self) -> bool {
        let pipes = self.pipes.close_idle();
        match self.desk.peers.take_oldest() {
            Some(oldest) => self.upstreams.remove(oldest).is_some() || pipes,
            None => pipes,
        }
    }

    /// The upstream connection is lost: what follows is in the verdict table.
    pub(super) fn lose(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        mut exchange: Box<Exchange>,
        how: Lost,
    ) -> After {
        if let (Lost::Connect(failure), Some(_)) = (how, work.hedge) {
            // The second connection is on its way already.
            self.desk.failed(&mut work.trip, failure);
            return match self.swap_to_hedge(&mut work, &mut exchange) {
                Ok(()) => {
                    work.phase = Phase::Relay(exchange);
                    After::Continue(Stage::Busy(work))
                }
                Err(reason) => self.give_in(net, key, work, exchange, reason),
            };
        }
        let how = if take_back(&mut work, &mut exchange) { Lost::Unforwarded } else { how };
        let (sent, reused) = (work.req.written(), self.detach(&mut work));
        // What came over this connection and was not passed on must never be taken for a part of
        // what another one says.
        work.resp.truncate();
        match self.judge_loss(&mut work, &mut exchange, how, sent, reused) {
            Ok(()) => self.engage(net, key, work, exchange),
            Err(end) => self.no_more(net, key, work, exchange, end),
        }
    }

    fn no_more(
        &mut self,
        net: &mut N,
        key: Key,
        work: Box<Work>,
        exchange: Box<Exchange>,
        end: NoMore,
    ) -> After {
        match end {
            NoMore::Nobody(reason) => self.wait(key, work, exchange, reason),
            NoMore::Never(reason) if exchange.answering() => {
                self.cut(net, key, work, &exchange, reason)
            }
            NoMore::Never(reason) => self.refuse(key, work, reason, Some(exchange)),
        }
    }

    /// What a loss means: the next attempt is prepared, or there is none now, or never.
    fn judge_loss(
        &mut self,
        work: &mut Work,
        exchange: &mut Exchange,
        how: Lost,
        sent: usize,
        reused: bool,
    ) -> Result<(), NoMore> {
        let failure = match how {
            Lost::Connect(failure) | Lost::BeforeAnswer(failure) => failure,
            Lost::InsideAnswer | Lost::Unforwarded | Lost::Status => Failure::Closed,
        };
        let stale = reused && matches!(how, Lost::BeforeAnswer(_));
        if let Some(peer) = work.trip.peer.filter(|_| stale) {
            if let Some(peer) = self.desk.peers.get_mut(peer) {
                peer.health.died_on_reuse(self.now);
            }
        }
        let verdict = exchange.lost(how, sent, reused);
        let (Verdict::Again { blame } | Verdict::Answer { blame, .. }) = verdict else {
            self.desk.failed(&mut work.trip, failure);
            return Err(NoMore::Never(Reason::Incomplete));
        };
        if blame {
            self.desk.failed(&mut work.trip, failure);
        }
        if let Verdict::Answer { reason, .. } = verdict {
            return Err(NoMore::Never(reason));
        }
        let final_reason = match how {
            Lost::Connect(failure) => Reason::Unreached(failure),
            Lost::BeforeAnswer(_) | Lost::Status => Reason::Died(failure),
            Lost::InsideAnswer | Lost::Unforwarded => Reason::Incomplete,
        };
        work.req.rewind();
        if sent >= exchange.head_len {
            work.repeats += 1;
            if work.repeats > MAX_REPEATS || !self.desk.spend_repeat(&work.trip) {
                return Err(NoMore::Never(final_reason));
            }
            self.stats.retries += 1;
        } else {
            self.stats.reconnects += 1;
        }
        match self.desk.again(&mut work.trip) {
            Chosen::Peer(_) => self.readdress(work, exchange).map_err(NoMore::Never),
            Chosen::Later | Chosen::Nobody => Err(NoMore::Nobody(final_reason)),
        }
    }

    /// Changes the head, which lies unsent in the window, as `trip.peer` needs it.
    pub(super) fn readdress(
        &mut self,
        work: &mut Work,
        exchange: &mut Exchange,
    ) -> Result<(), Reason> {
        let head = work.req.pending().get(..exchange.head_len).unwrap_or_default();
        if !self.desk.readdress(head, &mut work.trip, exchange.resume_at()) {
            return Ok(());
        }
        let plan = &self.desk.plan;
        exchange.head_len = work
            .req
            .rewrite_head(exchange.head_len, &plan.drops, &plan.prefix)
            .ok_or(Reason::Request(crate::h1::Bad::HeadTooLarge))?;
        Ok(())
    }

    /// Lets go of the upstream connections and closes them; gives whether the first came from the
    /// pool.
    pub(super) fn detach(&mut self, work: &mut Work) -> bool {
        self.drop_hedge(work);
        self.pipes.discard(&mut work.up);
        work.link.take().is_some_and(|link| self.release(link))
    }

    /// Closes a connection that an exchange held; gives whether it came from the pool.
    pub(super) fn release(&mut self, link: Key) -> bool {
        let Some(upstream) = self.upstreams.remove(link) else { return false };
        self.desk.peers.end(upstream.peer, upstream.coming);
        upstream.reused
    }

    /// The answer is complete: the connection is parked or closed, and the rest goes to the client.
    pub(super) fn complete(&mut self, work: &mut Work, exchange: Box<Exchange>) -> Ending {
        let whole_request = exchange.upload.is_done() && !work.has_bytes_up();
        let nothing_left = work.resp.fresh().is_empty();
        let fit = exchange.upstream_keep && whole_request && nothing_left;
        if !self.let_go(work, exchange.idle_limit_ms, fit) {
            self.detach(work);
        }
        work.down_at = self.now;
        let ending = Ending {
            outcome: Outcome::Answered,
            keep: exchange.keeps_client(),
            linger: !(exchange.asked_to_close() && whole_request && work.req.fresh().is_empty()),
        };
        self.desk.keep_spare(exchange);
        ending
    }

    /// `trip.peer` has answered: what that shows of it is noted.
    pub(super) fn answered_by(&mut self, work: &Work, idle_limit_ms: Option<u64>) {
        let reused = work.link.and_then(|link| self.upstreams.get(link)).is_some_and(|u| u.reused);
        self.desk.succeeded(&work.trip, idle_limit_ms, reused);
    }

    /// As above. Then the upstream connection goes into the pool, if it is `fit` for that and shows
    /// nothing but silence (`B6.3`). Gives `false` if it is still held.
    fn let_go(&mut self, work: &mut Work, idle_limit_ms: Option<u64>, fit: bool) -> bool {
        let Some(link) = work.link else { return true };
        let Some(upstream) = self.upstreams.get_mut(link) else { return true };
        self.desk.succeeded(&work.trip, idle_limit_ms, upstream.reused);
        let silent = upstream.ready.without(Ready::WRITE) == Ready::NONE;
        if !fit || !silent || upstream.broken.is_some() || upstream.coming {
            return false;
        }
        let (peer, own_ms) = (upstream.peer, self.desk.config.upstream_idle_ms);
        let Some(parking) = self.desk.peers.park(peer, link, own_ms, self.now) else {
            return false;
        };
        work.link = None;
        upstream.state = UpState::Idle;
        let at = self.now + parking.limit_ms;
        self.timers.set(&mut upstream.due, Source::Upstream(link), at);
        if let Some(surplus) = parking.surplus {
            self.upstreams.remove(surplus);
        }
        true
    }
}

/// Takes an answer back of which nothing was forwarded, but perhaps interim responses: then its end
/// is no cut, but another attempt (`B4.4`) or a 502 of ours (`B7.2`). Gives whether it did.
pub(super) fn take_back(work: &mut Work, exchange: &mut Exchange) -> bool {
    let taken = exchange.answering() && work.response_bytes == work.interim_bytes;
    if taken {
        exchange.unanswer();
        work.status = 0;
        work.resp.give_up();
    }
    taken
}

/// Whether an error says that we, not the endpoint, have run out of something.
fn is_ours(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    // Out of local ports: the endpoint is well.
    const EADDRNOTAVAIL: i32 = 99;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS | EADDRNOTAVAIL))
        || error.kind() == ErrorKind::OutOfMemory
}
