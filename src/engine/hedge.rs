//! Hedged connects (`B4.2`): a connect that is still pending after a while is joined by one to
//! another endpoint, and the first that stands carries the request.
//!
//! Nothing has been written to either of them, so this is safe for every method and every body.
//! The loser is closed unused. This file does not know what a request says.

use crate::endpoint::Failure;
use crate::exchange::Exchange;
use crate::keys::Key;
use crate::net::{Net, Ready};
use crate::summary::Reason;
use crate::time::Ms;

use super::Engine;
use super::attempt::NoConnection;
use super::client::{Hedge, UpState, Work};
use super::services::{Chosen, Depth};

impl<N: Net> Engine<N> {
    /// When the connect that `work` waits for is joined by another one, if it waits for one.
    pub(super) fn hedge_deadline(&self, work: &Work, connecting: bool) -> Option<Ms> {
        let may = connecting && !work.hedged;
        may.then(|| work.attempt_at + self.desk.config.hedge_ms)
    }

    pub(super) fn is_connecting(&self, work: &Work) -> bool {
        let upstream = work.link.and_then(|link| self.upstreams.get(link));
        upstream.is_some_and(|upstream| matches!(upstream.state, UpState::Connecting { .. }))
    }

    /// Joins a connect that is pending by one to another endpoint that stands well, if there is
    /// one. A connection to it that lies in the pool is the quickest of all.
    pub(super) fn start_hedge(
        &mut self,
        net: &mut N,
        key: Key,
        work: &mut Work,
        exchange: &mut Exchange,
    ) -> Result<(), Reason> {
        work.hedged = true;
        while let Some(peer) = self.choose_hedge(work) {
            self.stats.hedges += 1;
            if let Some(link) = self.take_pooled(net, key, exchange, peer) {
                work.hedge = Some(Hedge { link, peer });
                self.desk.failed(&mut work.trip, Failure::Timeout);
                return self.swap_to_hedge(work, exchange);
            }
            match self.connect(net, key, peer, exchange) {
                Ok(link) => {
                    work.hedge = Some(Hedge { link, peer });
                    if let Some(upstream) = self.upstreams.get_mut(link) {
                        // Only an event may say that it stands: nothing is written to find out.
                        upstream.ready = Ready::NONE;
                    }
                    return Ok(());
                }
                Err(NoConnection::Endpoint(failure)) => self.hedge_failed(work, peer, failure),
                Err(NoConnection::Ours) => return Ok(()),
            }
        }
        Ok(())
    }

    /// An endpoint that stands well, beside the one that does not answer.
    fn choose_hedge(&mut self, work: &mut Work) -> Option<Key> {
        let first = work.trip.peer;
        work.trip.tried.extend(first);
        let chosen = self.desk.choose(&mut work.trip, Depth::Sound);
        if first.is_some() {
            work.trip.tried.pop();
        }
        work.trip.peer = first;
        match chosen {
            Chosen::Peer(peer) => Some(peer),
            Chosen::Later | Chosen::Nobody => None,
        }
    }

    fn hedge_failed(&mut self, work: &mut Work, peer: Key, failure: Failure) {
        let first = work.trip.peer.replace(peer);
        self.desk.failed(&mut work.trip, failure);
        work.trip.peer = first;
    }

    /// Looks at a race: it is over when one of the two stands. If the second has failed, a third
    /// takes its place.
    pub(super) fn mind_hedge(
        &mut self,
        net: &mut N,
        key: Key,
        work: &mut Work,
        exchange: &mut Exchange,
    ) -> Result<(), Reason> {
        let Some(hedge) = work.hedge else { return Ok(()) };
        if !self.is_connecting(work) {
            self.drop_hedge(work);
            return Ok(());
        }
        let ready = self.upstreams.get(hedge.link).map_or(Ready::GONE, |upstream| upstream.ready);
        if ready.has(Ready::END) || ready.has(Ready::GONE) {
            self.drop_hedge(work);
            self.hedge_failed(work, hedge.peer, Failure::Refused);
            return self.start_hedge(net, key, work, exchange);
        } else if ready.has(Ready::WRITE) {
            self.desk.failed(&mut work.trip, Failure::Timeout);
            return self.swap_to_hedge(work, exchange);
        }
        Ok(())
    }

    /// The second connection takes the place of the first, which is closed unused. It fails if the
    /// head, as this endpoint needs it, does not fit.
    pub(super) fn swap_to_hedge(
        &mut self,
        work: &mut Work,
        exchange: &mut Exchange,
    ) -> Result<(), Reason> {
        let Some(hedge) = work.hedge.take() else { return Ok(()) };
        if let Some(link) = work.link.take() {
            self.release(link);
        }
        work.link = Some(hedge.link);
        work.trip.peer = Some(hedge.peer);
        work.attempts += 1;
        work.attempt_at = self.now;
        // If it only connects as well, it may be joined in its turn.
        work.hedged = false;
        self.readdress(work, exchange)
    }

    /// Closes the second connection.
    pub(super) fn drop_hedge(&mut self, work: &mut Work) {
        if let Some(hedge) = work.hedge.take() {
            self.release(hedge.link);
        }
    }
}
