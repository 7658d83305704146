//! Attempts: taking a connection for a request, losing it, trying again, parking it.
//!
//! There is one road back after every loss, whatever was lost and when: the verdict table says
//! what follows, the window is rewound, another endpoint is chosen. This file does not know how
//! bytes move.

use std::io::{self, ErrorKind};

use crate::endpoint::Failure;
use crate::exchange::{Exchange, Lost, Verdict};
use crate::keys::{Key, Source};
use crate::net::{Net, Ready};
use crate::summary::{Outcome, Reason};

use super::Engine;
use super::client::{Ending, Phase, Stage, UpState, Upstream, Work};
use super::pump::After;
use super::relay::failure_of;
use super::timers::Due;

/// Why a connection could not be asked for.
enum NoConnection {
    /// The endpoint is at fault.
    Endpoint(Failure),
    /// We are: out of descriptors or memory.
    Ours,
}

impl<N: Net> Engine<N> {
    /// Gives the request to `trip.peer`, or to another endpoint if that fails at once.
    pub(super) fn engage(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        mut exchange: Exchange,
    ) -> After {
        loop {
            let Some(peer) = work.trip.peer else {
                return self.refuse(key, work, Reason::NoEndpoint, Some(exchange));
            };
            work.attempts += 1;
            work.attempt_at = self.now;
            let pooled = exchange.may_reuse().then(|| self.desk.peers.take(peer)).flatten();
            let link = match pooled {
                Some(link) => Ok(self.reuse(link, key)),
                None => self.connect(net, key, peer),
            };
            match link {
                Ok(link) => {
                    work.link = Some(link);
                    self.desk.peers.begin(peer);
                    work.phase = Phase::Relay(exchange);
                    return After::Continue(Stage::Busy(work));
                }
                Err(NoConnection::Ours) => {
                    return self.refuse(key, work, Reason::Overloaded, Some(exchange));
                }
                Err(NoConnection::Endpoint(failure)) => {
                    let how = Lost::Connect(failure);
                    match self.judge_loss(&mut work, &mut exchange, how, 0, false) {
                        Ok(()) => {}
                        Err(reason) => return self.refuse(key, work, reason, Some(exchange)),
                    }
                }
            }
        }
    }

    fn reuse(&mut self, link: Key, owner: Key) -> Key {
        if let Some(upstream) = self.upstreams.get_mut(link) {
            debug_assert!(upstream.state == UpState::Idle && !upstream.ready.has(Ready::READ));
            upstream.state = UpState::Busy { owner };
            upstream.reused = true;
        }
        self.stats.reused += 1;
        link
    }

    fn connect(&mut self, net: &mut N, owner: Key, peer: Key) -> Result<Key, NoConnection> {
        let gone = NoConnection::Endpoint(Failure::Unreachable);
        let address = self.desk.peers.get(peer).map(|peer| peer.endpoint.address().clone());
        let address = address.ok_or(gone)?;
        self.stats.connects += 1;
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
        Ok(link)
    }

    /// Makes room for a connection that is wanted by one that is not.
    fn close_oldest_idle(&mut self) -> bool {
        match self.desk.peers.take_oldest() {
            Some(oldest) => self.upstreams.remove(oldest).is_some(),
            None => false,
        }
    }

    /// The upstream connection is lost: what follows is in the verdict table.
    pub(super) fn lose(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        mut exchange: Exchange,
        how: Lost,
    ) -> After {
        let (sent, reused) = (work.req.written(), self.detach(&mut work));
        match self.judge_loss(&mut work, &mut exchange, how, sent, reused) {
            Ok(()) => self.engage(net, key, work, exchange),
            Err(Reason::Incomplete) if exchange.answering() => {
                self.cut(net, key, work, exchange, Reason::Incomplete)
            }
            Err(reason) => self.refuse(key, work, reason, Some(exchange)),
        }
    }

    /// What a loss means: the next attempt is prepared, or there is none, for this reason.
    fn judge_loss(
        &mut self,
        work: &mut Work,
        exchange: &mut Exchange,
        how: Lost,
        sent: usize,
        reused: bool,
    ) -> Result<(), Reason> {
        let failure = match how {
            Lost::Connect(failure) | Lost::BeforeAnswer(failure) => failure,
            Lost::InsideAnswer => Failure::Closed,
        };
        let verdict = exchange.lost(how, sent, reused);
        match verdict {
            Verdict::Again { blame: true } | Verdict::Answer { blame: true, .. } => {
                self.desk.failed(&mut work.trip, failure, self.now);
            }
            Verdict::Cut(_) => self.desk.failed(&mut work.trip, failure, self.now),
            _ => {}
        }
        match verdict {
            Verdict::Answer { reason, .. } | Verdict::Cut(reason) => return Err(reason),
            Verdict::Again { .. } => {}
        }
        work.req.rewind();
        if sent > 0 {
            self.stats.retries += 1;
        } else {
            self.stats.reconnects += 1;
        }
        if self.desk.again(&mut work.trip).is_none() {
            return Err(match how {
                Lost::Connect(failure) => Reason::Unreached(failure),
                _ => Reason::Died(failure),
            });
        }
        let head = work.req.pending().get(..exchange.head_len).unwrap_or_default();
        if self.desk.readdress(head, &mut work.trip) {
            let plan = &self.desk.plan;
            exchange.head_len = work
                .req
                .rewrite_head(exchange.head_len, &plan.drops, &plan.prefix)
                .ok_or(Reason::Request(crate::h1::Bad::HeadTooLarge))?;
        }
        Ok(())
    }

    /// Lets go of the upstream connection and closes it; gives whether it came from the pool.
    pub(super) fn detach(&mut self, work: &mut Work) -> bool {
        let Some(link) = work.link.take() else { return false };
        let Some(upstream) = self.upstreams.remove(link) else { return false };
        self.desk.peers.end(upstream.peer);
        upstream.reused
    }

    /// The answer is complete: the connection is parked or closed, and the rest goes to the client.
    pub(super) fn complete(&mut self, mut work: Box<Work>, exchange: Exchange) -> After {
        let whole_request = exchange.upload.is_done() && work.req.pending().is_empty();
        let nothing_left = work.resp.fresh().is_empty();
        if let (Some(limit_ms), Some(peer)) = (exchange.idle_limit_ms, work.trip.peer) {
            self.desk.peers.learn_idle_limit(peer, limit_ms);
        }
        if exchange.upstream_keep && whole_request && nothing_left {
            self.park(&mut work);
        } else {
            self.detach(&mut work);
        }
        self.desk.succeeded(&work.trip, self.now);
        work.phase = Phase::Flush(Ending {
            outcome: Outcome::Answered,
            keep: exchange.keeps_client(),
            linger: !(exchange.asked_to_close() && whole_request && work.req.fresh().is_empty()),
        });
        work.down_at = self.now;
        After::Continue(Stage::Busy(work))
    }

    /// Puts the upstream connection into the pool, unless it shows anything but silence (`B6.3`).
    fn park(&mut self, work: &mut Work) {
        let Some(link) = work.link else { return };
        let silent = |up: &Upstream<N::Stream>| {
            up.ready.without(Ready::WRITE) == Ready::NONE && up.broken.is_none()
        };
        let Some(upstream) = self.upstreams.get_mut(link).filter(|up| silent(up)) else {
            self.detach(work);
            return;
        };
        let peer = upstream.peer;
        let limit_ms = self.desk.peers.idle_limit_ms(peer, self.desk.config.upstream_idle_ms);
        if limit_ms == 0 {
            self.detach(work);
            return;
        }
        work.link = None;
        upstream.state = UpState::Idle;
        let at = self.now + limit_ms;
        self.timers.set(&mut upstream.due, Source::Upstream(link), at);
        self.desk.peers.end(peer);
        if let Some(surplus) = self.desk.peers.park(peer, link) {
            self.upstreams.remove(surplus);
        }
    }
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
