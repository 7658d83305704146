//! What the engine knows of each endpoint: who uses it, and its idle connections.
//!
//! One entry per endpoint, however many services name it; it lives as long as a service names it
//! or an exchange uses it. Idle connections are a pool: last in, first out, bounded per endpoint
//! and in all, the oldest going first (`B6.1`). This file knows keys, not connections.

use std::collections::HashMap;

use crate::endpoint::Endpoint;
use crate::health::Health;
use crate::keys::{GenSlab, Key};
use crate::time::Ms;

/// The state of one endpoint.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) endpoint: Endpoint,
    /// Exchanges that hold a connection to it now.
    pub(crate) in_flight: u32,
    /// Those of them whose request is still coming from the client: they are no work for the
    /// endpoint yet, and no proof of it (`B5.3`).
    pub(crate) coming: u32,
    /// How many of those have become whole so far, for the simulator.
    pub(crate) came: u64,
    pub(crate) health: Health,
    /// When it is asked next whether it is well.
    pub(crate) check_at: Ms,
    /// Services that name it.
    services: u32,
    /// Idle connections, the one parked last at the end.
    idle: Vec<Parked>,
}

#[derive(Clone, Copy, Debug)]
struct Parked {
    upstream: Key,
    at: Ms,
    /// Counts up with every parking: the smallest was parked first.
    order: u64,
}

/// All endpoints, and the pool of idle connections to them.
#[derive(Debug)]
pub(crate) struct Peers {
    slab: GenSlab<Peer>,
    by_endpoint: HashMap<Endpoint, Key>,
    idle: usize,
    parked: u64,
    per_endpoint: usize,
    in_all: usize,
    slow_start: bool,
    /// When the next endpoint is to be checked, at the earliest.
    next_check: Option<Ms>,
}

impl Peers {
    /// A pool with these bounds.
    pub(crate) fn new(per_endpoint: usize, in_all: usize, slow_start: bool) -> Peers {
        let (slab, by_endpoint) = (GenSlab::default(), HashMap::new());
        let next_check = None;
        Peers {
            slab,
            by_endpoint,
            idle: 0,
            parked: 0,
            per_endpoint,
            in_all,
            slow_start,
            next_check,
        }
    }

    /// Other settings. What is idle beyond the new bounds is soon too old to be kept.
    pub(crate) fn configure(&mut self, per_endpoint: usize, in_all: usize, slow_start: bool) {
        (self.per_endpoint, self.in_all) = (per_endpoint, in_all);
        self.slow_start = slow_start;
    }

    /// A service names `endpoint` from now on.
    pub(crate) fn adopt(&mut self, endpoint: &Endpoint) -> Key {
        if let Some(&key) = self.by_endpoint.get(endpoint) {
            if let Some(peer) = self.slab.get_mut(key) {
                peer.services += 1;
                return key;
            }
        }
        let endpoint = endpoint.clone();
        let key = self.slab.insert(Peer {
            endpoint: endpoint.clone(),
            in_flight: 0,
            coming: 0,
            came: 0,
            health: Health::new(self.slow_start),
            check_at: Ms::ZERO,
            services: 1,
            idle: Vec::new(),
        });
        self.by_endpoint.insert(endpoint, key);
        self.next_check = Some(Ms::ZERO);
        key
    }

    /// A service names it no longer. `closed` gets the idle connections if it was the last one.
    pub(crate) fn disown(&mut self, key: Key, closed: &mut Vec<Key>) {
        let Some(peer) = self.slab.get_mut(key) else { return };
        peer.services -= 1;
        if peer.services == 0 {
            self.idle -= peer.idle.len();
            closed.extend(peer.idle.drain(..).map(|parked| parked.upstream));
            self.drop_if_unused(key);
        }
    }

    fn drop_if_unused(&mut self, key: Key) {
        let unused = |peer: &Peer| peer.services == 0 && peer.in_flight == 0;
        if self.slab.get(key).is_some_and(unused) {
            if let Some(peer) = self.slab.remove(key) {
                self.by_endpoint.remove(&peer.endpoint);
            }
        }
    }

    /// The state of an endpoint.
    pub(crate) fn get(&self, key: Key) -> Option<&Peer> {
        self.slab.get(key)
    }

    /// An exchange has taken a connection to it; `coming` says whether its request is still on its
    /// way from the client.
    pub(crate) fn begin(&mut self, key: Key, coming: bool) {
        if let Some(peer) = self.slab.get_mut(key) {
            peer.in_flight += 1;
            peer.coming += u32::from(coming);
        }
    }

    /// A request that was coming is whole.
    pub(crate) fn came(&mut self, key: Key) {
        if let Some(peer) = self.slab.get_mut(key) {
            debug_assert!(peer.coming > 0);
            peer.coming -= 1;
            peer.came += 1;
        }
    }

    /// The exchange has let go of that connection; `coming` as above.
    pub(crate) fn end(&mut self, key: Key, coming: bool) {
        if let Some(peer) = self.slab.get_mut(key) {
            debug_assert!(peer.in_flight > 0 && peer.coming >= u32::from(coming));
            peer.in_flight -= 1;
            peer.coming -= u32::from(coming);
            self.drop_if_unused(key);
        }
    }

    /// As [`Peers::get`], to change it.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Peer> {
        self.slab.get_mut(key)
    }

    /// Takes the idle connection that was parked last, if that was at most `within_ms` ago, and
    /// says how long it was idle.
    pub(crate) fn take(&mut self, key: Key, within_ms: u64, now: Ms) -> Option<(Key, u64)> {
        let peer = self.slab.get_mut(key)?;
        let age_ms = now.since(peer.idle.last()?.at);
        if age_ms > within_ms {
            return None;
        }
        let parked = peer.idle.pop()?;
        peer.health.outlived(age_ms);
        self.idle -= 1;
        Some((parked.upstream, age_ms))
    }

    /// Parks `upstream`. Gives the connection that must be closed for it, which is `upstream`
    /// itself if the endpoint is gone.
    pub(crate) fn park(&mut self, key: Key, upstream: Key, now: Ms) -> Option<Key> {
        let (order, per_endpoint) = (self.parked, self.per_endpoint);
        self.parked += 1;
        let Some(peer) = self.slab.get_mut(key).filter(|peer| peer.services > 0) else {
            return Some(upstream);
        };
        peer.idle.push(Parked { upstream, at: now, order });
        self.idle += 1;
        if peer.idle.len() > per_endpoint {
            self.idle -= 1;
            return Some(peer.idle.remove(0).upstream);
        }
        if self.idle > self.in_all { self.take_oldest() } else { None }
    }

    /// Takes the connection that has been idle longest, of all endpoints. Walks all of them: it is
    /// called when the pool is full or descriptors are short, not on the way of a request.
    pub(crate) fn take_oldest(&mut self) -> Option<Key> {
        let first = |peer: &Peer| peer.idle.first().map(|parked| parked.order);
        let oldest = self
            .slab
            .iter()
            .filter_map(|(key, peer)| first(peer).map(|order| (order, key)))
            .min()?;
        let peer = self.slab.get_mut(oldest.1)?;
        self.idle -= 1;
        Some(peer.idle.remove(0).upstream)
    }

    /// `upstream`, parked at `key`, is gone; gives how long it had been idle.
    pub(crate) fn remove(&mut self, key: Key, upstream: Key, now: Ms) -> Option<u64> {
        let peer = self.slab.get_mut(key)?;
        let place = peer.idle.iter().position(|parked| parked.upstream == upstream)?;
        let parked = peer.idle.remove(place);
        self.idle -= 1;
        Some(now.since(parked.at))
    }

    /// When the next endpoint is to be checked, at the earliest.
    pub(crate) fn next_check(&self) -> Option<Ms> {
        self.next_check
    }

    /// Who is to be checked now. Walks all endpoints, once per moment at which any is due.
    pub(crate) fn due_checks(&mut self, now: Ms) -> Vec<Key> {
        let (due, later): (Vec<_>, Vec<_>) = self
            .slab
            .iter()
            .filter(|(_, peer)| peer.services > 0)
            .map(|(key, peer)| (key, peer.check_at))
            .partition(|(_, at)| *at <= now);
        let soonest = later.iter().map(|(_, at)| *at).min();
        // Those that are due now will be due again; not sooner than in a millisecond.
        let again = (!due.is_empty()).then_some(now + 1);
        self.next_check = soonest.into_iter().chain(again).min();
        due.into_iter().map(|(key, _)| key).collect()
    }

    /// How many connections are idle.
    pub(crate) fn idle(&self) -> usize {
        self.idle
    }

    /// Every endpoint, for the simulator.
    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = &Peer> {
        self.slab.iter().map(|(_, peer)| peer)
    }

    /// How many connections exchanges hold, for the simulator.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> usize {
        self.slab.iter().map(|(_, peer)| peer.in_flight as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(port: u16) -> Endpoint {
        Endpoint::tcp(([127, 0, 0, 1], port).into())
    }

    fn keys(n: usize) -> Vec<Key> {
        let mut slab = GenSlab::default();
        (0..n).map(|_| slab.insert(())).collect()
    }

    /// B6.1
    #[test]
    fn the_pool_is_last_in_first_out_and_bounded() {
        let mut peers = Peers::new(2, 3, false);
        let (a, b) = (peers.adopt(&endpoint(1)), peers.adopt(&endpoint(2)));
        let k = keys(6);
        assert_eq!(peers.park(a, k[0], Ms(5)), None);
        assert_eq!(peers.park(a, k[1], Ms(5)), None);
        assert_eq!(peers.park(a, k[2], Ms(5)), Some(k[0]), "two per endpoint");
        assert_eq!(peers.park(b, k[3], Ms(5)), None);
        assert_eq!(peers.park(b, k[4], Ms(5)), Some(k[1]), "three in all, the oldest goes");
        assert_eq!(peers.idle(), 3);
        assert_eq!(peers.take(b, 100, Ms(9)), Some((k[4], 4)));
        assert_eq!(peers.take(b, 3, Ms(9)), None, "too long ago");
        assert_eq!(peers.take(b, 100, Ms(9)), Some((k[3], 4)));
        assert_eq!(peers.take(b, 100, Ms(9)), None);
        assert_eq!(peers.remove(a, k[2], Ms(9)), Some(4));
        assert_eq!((peers.take(a, 100, Ms(9)), peers.idle()), (None, 0));
        assert_eq!(peers.remove(a, k[2], Ms(9)), None);
        assert_eq!(peers.take_oldest(), None);
    }

    /// B3.4
    #[test]
    fn an_endpoint_lives_as_long_as_it_is_named_or_used() {
        let mut peers = Peers::new(9, 9, false);
        let key = peers.adopt(&endpoint(1));
        assert_eq!(peers.adopt(&endpoint(1)), key, "two services share it");
        let k = keys(2);
        let mut closed = Vec::new();
        peers.park(key, k[0], Ms(5));
        peers.disown(key, &mut closed);
        assert!(closed.is_empty() && peers.get(key).is_some());
        peers.begin(key, false);
        peers.disown(key, &mut closed);
        assert_eq!(closed, [k[0]]);
        assert!(peers.get(key).is_some(), "in use");
        assert_eq!(peers.park(key, k[1], Ms(5)), Some(k[1]), "nobody may use it again");
        peers.end(key, false);
        assert!(peers.get(key).is_none());
        assert_ne!(peers.adopt(&endpoint(1)), key);
    }
}
