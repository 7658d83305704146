//! What the engine knows of each endpoint: who uses it, and its idle connections.
//!
//! One entry per endpoint, however many services name it; it lives as long as a service names it
//! or an exchange uses it. Idle connections are a pool: last in, first out, bounded per endpoint
//! and in all, the oldest going first (`B6.1`). This file knows keys, not connections.
//!
//! ```text
//!   endpoint   idle  [ oldest .. newest ]   taken and parked at the right end
//!   heap       (not older than this, endpoint)   one entry each, put right when it comes up
//! ```

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use crate::endpoint::Endpoint;
use crate::health::Health;
use crate::keys::{GenSlab, Key};
use crate::time::Ms;

/// So many endpoints that are gone may stand in the heap.
const FEW: usize = 64;

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
    idle: VecDeque<Parked>,
    /// Whether it stands in [`Peers::oldest`].
    listed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Parked {
    upstream: Key,
    at: Ms,
    /// Counts up with every parking: the smallest was parked first.
    order: u64,
}

/// What parking a connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parking {
    /// How long it may be idle.
    pub(crate) limit_ms: u64,
    /// The connection that must be closed for it.
    pub(crate) surplus: Option<Key>,
}

/// All endpoints, and the pool of idle connections to them.
#[derive(Debug)]
pub(crate) struct Peers {
    slab: GenSlab<Peer>,
    by_endpoint: HashMap<Endpoint, Key>,
    idle: usize,
    /// Endpoints that have had an idle connection, by the order of the oldest one that they can
    /// have. Taking and parking leave it alone, so what it says of an endpoint may be too old, but
    /// never too young.
    oldest: BinaryHeap<Reverse<(u64, Key)>>,
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
            oldest: BinaryHeap::new(),
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
            idle: VecDeque::new(),
            listed: false,
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
            if self.oldest.len() > FEW.max(2 * self.slab.len()) {
                self.oldest.retain(|Reverse((_, key))| self.slab.get(*key).is_some());
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
            if peer.services == 0 {
                self.drop_if_unused(key);
            }
        }
    }

    /// As [`Peers::get`], to change it.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Peer> {
        self.slab.get_mut(key)
    }

    /// An exchange takes the idle connection that was parked last, if that was at most as many
    /// milliseconds ago as `within_ms` allows: as [`Peers::begin`]. Says how long it was idle.
    pub(crate) fn take(
        &mut self,
        key: Key,
        within_ms: impl Fn(&Health) -> Option<u64>,
        coming: bool,
        now: Ms,
    ) -> Option<(Key, u64)> {
        let peer = self.slab.get_mut(key)?;
        let age_ms = now.since(peer.idle.back()?.at);
        if age_ms > within_ms(&peer.health)? {
            return None;
        }
        let parked = peer.idle.pop_back()?;
        peer.health.outlived(age_ms);
        peer.in_flight += 1;
        peer.coming += u32::from(coming);
        self.idle -= 1;
        Some((parked.upstream, age_ms))
    }

    /// An exchange parks its connection `upstream`, for `own_ms` at most: as [`Peers::end`]. `None`
    /// if nobody may use it again; then the exchange still holds it.
    pub(crate) fn park(
        &mut self,
        key: Key,
        upstream: Key,
        own_ms: u64,
        now: Ms,
    ) -> Option<Parking> {
        let peer = self.slab.get_mut(key).filter(|peer| peer.services > 0)?;
        let limit_ms = peer.health.idle_limit_ms(own_ms);
        if limit_ms == 0 || !peer.health.may_reuse(now) {
            return None;
        }
        debug_assert!(peer.in_flight > 0);
        peer.in_flight -= 1;
        let order = self.parked;
        self.parked += 1;
        peer.idle.push_back(Parked { upstream, at: now, order });
        if !peer.listed {
            peer.listed = true;
            self.oldest.push(Reverse((order, key)));
        }
        let surplus = if peer.idle.len() > self.per_endpoint {
            peer.idle.pop_front().map(|oldest| oldest.upstream)
        } else {
            self.idle += 1;
            if self.idle > self.in_all { self.take_oldest() } else { None }
        };
        Some(Parking { limit_ms, surplus })
    }

    /// Takes the connection that has been idle longest, of all endpoints.
    pub(crate) fn take_oldest(&mut self) -> Option<Key> {
        loop {
            let mut top = self.oldest.peek_mut()?;
            let Reverse((order, key)) = *top;
            let peer = self.slab.get_mut(key);
            let first = peer.as_ref().and_then(|peer| Some(peer.idle.front()?.order));
            let (Some(peer), Some(first)) = (peer, first) else {
                PeekMut::pop(top);
                if let Some(peer) = self.slab.get_mut(key) {
                    peer.listed = false;
                }
                continue;
            };
            if first != order {
                *top = Reverse((first, key));
                continue;
            }
            self.idle -= 1;
            return peer.idle.pop_front().map(|oldest| oldest.upstream);
        }
    }

    /// `upstream`, parked at `key`, is gone; gives how long it had been idle.
    pub(crate) fn remove(&mut self, key: Key, upstream: Key, now: Ms) -> Option<u64> {
        let peer = self.slab.get_mut(key)?;
        let place = peer.idle.iter().position(|parked| parked.upstream == upstream)?;
        let parked = peer.idle.remove(place)?;
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

    /// An exchange of its own comes by the connection, and parks it. Gives what must be closed.
    fn park(peers: &mut Peers, key: Key, upstream: Key, now: Ms) -> Option<Key> {
        peers.begin(key, false);
        let in_flight = peers.get(key).map(|peer| peer.in_flight);
        let parked = peers.park(key, upstream, 60_000, now);
        if parked.is_none() {
            assert_eq!(in_flight, peers.get(key).map(|peer| peer.in_flight));
            peers.end(key, false);
        }
        parked.map_or(Some(upstream), |parking| parking.surplus)
    }

    fn take(peers: &mut Peers, key: Key, within_ms: u64, now: Ms) -> Option<(Key, u64)> {
        let taken = peers.take(key, |_| Some(within_ms), false, now)?;
        peers.end(key, false);
        Some(taken)
    }

    /// B6.1
    #[test]
    fn the_pool_is_last_in_first_out_and_bounded() {
        let mut peers = Peers::new(2, 3, false);
        let (a, b) = (peers.adopt(&endpoint(1)), peers.adopt(&endpoint(2)));
        let k = keys(6);
        assert_eq!(park(&mut peers, a, k[0], Ms(5)), None);
        assert_eq!(park(&mut peers, a, k[1], Ms(5)), None);
        assert_eq!(park(&mut peers, a, k[2], Ms(5)), Some(k[0]), "two per endpoint");
        assert_eq!(park(&mut peers, b, k[3], Ms(5)), None);
        assert_eq!(park(&mut peers, b, k[4], Ms(5)), Some(k[1]), "three in all, the oldest goes");
        assert_eq!(peers.idle(), 3);
        assert_eq!(take(&mut peers, b, 100, Ms(9)), Some((k[4], 4)));
        assert_eq!(take(&mut peers, b, 3, Ms(9)), None, "too long ago");
        assert_eq!(take(&mut peers, b, 100, Ms(9)), Some((k[3], 4)));
        assert_eq!(take(&mut peers, b, 100, Ms(9)), None);
        assert_eq!(peers.remove(a, k[2], Ms(9)), Some(4));
        assert_eq!((take(&mut peers, a, 100, Ms(9)), peers.idle()), (None, 0));
        assert_eq!(peers.remove(a, k[2], Ms(9)), None);
        assert_eq!(peers.take_oldest(), None);
    }

    /// B6.1: whatever is taken, parked and closed, the one that has been idle longest goes first.
    #[test]
    fn b6_1_the_oldest_of_all_endpoints_goes_first() {
        let mut rng = crate::rng::Rng::from_seed(61);
        let mut peers = Peers::new(4, 40, false);
        let all: Vec<Key> = (1..=20).map(|port| peers.adopt(&endpoint(port))).collect();
        let mut names = GenSlab::default();
        // What is idle, the oldest first.
        let mut model: VecDeque<(Key, Key)> = VecDeque::new();
        let mut evicted = 0;
        for _ in 0..20_000 {
            let at = all[rng.below(20) as usize];
            match rng.below(8) {
                0 | 1 => {
                    let newest = model.iter().rposition(|(peer, _)| *peer == at);
                    let expected = newest.and_then(|place| model.remove(place));
                    let taken = take(&mut peers, at, u64::MAX, Ms::ZERO).map(|(link, _)| link);
                    assert_eq!(taken, expected.map(|(_, link)| link));
                }
                2 => {
                    let place = rng.below(model.len().max(1) as u64) as usize;
                    if let Some((peer, link)) = model.remove(place) {
                        assert_eq!(peers.remove(peer, link, Ms::ZERO), Some(0));
                    }
                }
                3 if rng.below(50) == 0 => {
                    let expected = model.pop_front().map(|(_, link)| link);
                    assert_eq!(peers.take_oldest(), expected);
                }
                _ => {
                    let link = names.insert(());
                    model.push_back((at, link));
                    let here = || model.iter().filter(|(peer, _)| *peer == at);
                    let expected = match (here().count() > 4, model.len() > 40) {
                        (true, _) => here().next().map(|(_, link)| *link),
                        (_, true) => model.front().map(|(_, link)| *link),
                        _ => None,
                    };
                    assert_eq!(park(&mut peers, at, link, Ms::ZERO), expected);
                    model.retain(|(_, link)| Some(*link) != expected);
                    evicted += usize::from(expected.is_some());
                }
            }
            assert_eq!(peers.idle(), model.len());
            assert!(peers.oldest.len() <= 20);
        }
        assert!(evicted > 1000, "{evicted}");
    }

    #[test]
    fn endpoints_that_are_gone_leave_no_more_than_a_few_entries() {
        let mut peers = Peers::new(4, 40, false);
        let link = keys(1)[0];
        for port in 1..=5_000 {
            let key = peers.adopt(&endpoint(port));
            assert_eq!(park(&mut peers, key, link, Ms::ZERO), None);
            peers.disown(key, &mut Vec::new());
            assert!(peers.oldest.len() <= FEW + 1);
        }
        assert_eq!((peers.take_oldest(), peers.oldest.len()), (None, 0));
    }

    /// B3.4
    #[test]
    fn an_endpoint_lives_as_long_as_it_is_named_or_used() {
        let mut peers = Peers::new(9, 9, false);
        let key = peers.adopt(&endpoint(1));
        assert_eq!(peers.adopt(&endpoint(1)), key, "two services share it");
        let k = keys(2);
        let mut closed = Vec::new();
        park(&mut peers, key, k[0], Ms(5));
        peers.disown(key, &mut closed);
        assert!(closed.is_empty() && peers.get(key).is_some());
        peers.begin(key, false);
        peers.disown(key, &mut closed);
        assert_eq!(closed, [k[0]]);
        assert!(peers.get(key).is_some(), "in use");
        assert_eq!(park(&mut peers, key, k[1], Ms(5)), Some(k[1]), "nobody may use it again");
        peers.end(key, false);
        assert!(peers.get(key).is_none());
        assert_ne!(peers.adopt(&endpoint(1)), key);
    }
}
